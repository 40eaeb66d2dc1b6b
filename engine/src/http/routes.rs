//! All routes, with the OpenAPI document that comes from the same handlers.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{Api, assets, feed, guard, observe, openapi, operate, plugins, rebuilds};

/// All routes behind the guard.
pub(super) fn router(api: Arc<Api>) -> Router {
    let (documented, _) = documented().split_for_parts();
    documented
        .route("/", get(assets::to_ui))
        .route("/ui", get(assets::to_ui))
        .route("/ui/", get(assets::ui))
        .route("/ui/{*path}", get(assets::ui_file))
        .route("/docs", get(assets::to_docs))
        .route("/docs/", get(assets::docs))
        .route("/docs/{*path}", get(assets::docs_file))
        .route("/openapi.json", get(openapi::show))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        // The guard bounds bodies, by its table.
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

/// What the handlers say of themselves, before `openapi.rs` adds what holds for all of them.
pub(super) fn document() -> OpenApi {
    documented().split_for_parts().1
}

fn documented() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(observe::livez))
        .routes(routes!(observe::readyz))
        .routes(routes!(observe::healthz))
        .routes(routes!(observe::version))
        .routes(routes!(observe::show_metrics))
        .routes(routes!(observe::status))
        .routes(routes!(feed::events))
        .routes(routes!(observe::audit))
        .routes(routes!(observe::projections))
        .routes(routes!(observe::projection, operate::drop_projection))
        .routes(routes!(observe::partitions))
        .routes(routes!(observe::history))
        .routes(routes!(observe::logs))
        .routes(routes!(observe::tables))
        .routes(routes!(observe::schema))
        .routes(routes!(observe::plan))
        .routes(routes!(observe::wait))
        .routes(routes!(operate::pause))
        .routes(routes!(operate::resume))
        .routes(routes!(operate::restart))
        .routes(routes!(operate::deploy))
        .routes(routes!(operate::rollback))
        .routes(routes!(operate::step))
        .routes(routes!(rebuilds::rebuilds, rebuilds::begin_rebuild))
        .routes(routes!(rebuilds::rebuild, rebuilds::cancel_rebuild))
        .routes(routes!(rebuilds::diff))
        .routes(routes!(rebuilds::switch_rebuild))
        .routes(routes!(plugins::plugins, plugins::add_plugin))
        .routes(routes!(plugins::plan_build))
        .routes(routes!(plugins::plugin, plugins::remove_plugin))
}

/// Never seen: the guard refuses what has no route.
async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
}
