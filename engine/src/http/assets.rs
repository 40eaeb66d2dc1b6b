//! The pages' files, embedded: a table that the build script makes of their folders. No path of a request reaches a file system.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::answer;
use super::problem::Problem;

const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

struct Asset {
    content: &'static [u8],
    content_type: &'static str,
    tag: HeaderValue,
}

static ASSETS: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
    let asset = |&(path, content): &(&'static str, &'static [u8])| {
        (path, Asset { content, content_type: content_type(path), tag: answer::tag(content) })
    };
    FILES.iter().map(asset).collect()
});

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn asset(path: &str) -> Response {
    match ASSETS.get(path) {
        Some(asset) => {
            let kind = HeaderValue::from_static(asset.content_type);
            ([(header::CONTENT_TYPE, kind), (header::ETAG, asset.tag.clone())], asset.content).into_response()
        }
        None => {
            let shown: String = path.chars().take(100).collect();
            Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no file {shown:?}")).into_response()
        }
    }
}

pub(super) async fn to_ui() -> Redirect {
    Redirect::temporary("ui/")
}

pub(super) async fn to_docs() -> Redirect {
    Redirect::temporary("docs/")
}

pub(super) async fn ui() -> Response {
    asset("ui/index.html")
}

pub(super) async fn ui_file(Path(path): Path<String>) -> Response {
    asset(&format!("ui/{path}"))
}

pub(super) async fn docs() -> Response {
    asset("docs/index.html")
}

pub(super) async fn docs_file(Path(path): Path<String>) -> Response {
    asset(&format!("docs/{path}"))
}

#[cfg(test)]
pub(super) fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| *name == path).and_then(|(_, content)| std::str::from_utf8(content).ok())
}

#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| *path)
}
