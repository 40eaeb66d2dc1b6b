//! What HTTP needs of the engine, so that tests can stand in for it. [`Control`] is the engine.
//!
//! A request's future is dropped when its client goes away; a database future must never be. So whatever asks the database runs in a task of
//! its own, to its end, whoever still listens; and keeps the request's place until then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::guard;
use crate::control::{
    Asked, AuditEntry, Control, ControlError, ControlErrorKind, Done, History, LogLine, Plan, PluginView,
    ProjectionView, ReadyCheck, RebuildForecast, RebuildRequest, RebuildView, RejectedPlugin, StepEvents, StepReport,
    TableDifference, TableView, WaitFor, Waited,
};

/// What a request comes to.
pub(super) type Answer<T> = BoxFuture<'static, Result<T, ControlError>>;

/// The engine as its API sees it. Each method means what it means on [`Control`].
#[allow(missing_docs, reason = "Control says it")]
pub(super) trait Engine: Send + Sync + 'static {
    fn ready(&self) -> Vec<ReadyCheck>;
    fn plugins_dir(&self) -> PathBuf;
    fn rejected(&self) -> Vec<RejectedPlugin>;
    fn views(&self) -> Vec<ProjectionView>;
    fn view(&self, projection: &str) -> Result<ProjectionView, ControlError>;
    fn changes(&self) -> watch::Receiver<u64>;
    fn plugins(&self) -> Vec<PluginView>;
    fn plan(&self, projection: &str) -> Result<Plan, ControlError>;
    fn rebuilds(&self, projection: &str) -> Result<Vec<RebuildView>, ControlError>;
    fn rebuild(&self, id: &str) -> Result<RebuildView, ControlError>;
    fn logs(&self, projection: &str, after: u64, limit: usize) -> Result<Vec<LogLine>, ControlError>;
    fn history(&self, projection: &str, window: Duration) -> Result<History, ControlError>;

    fn pause(&self, projection: String, asked: Asked) -> Answer<Done>;
    fn resume(&self, projection: String, asked: Asked) -> Answer<Done>;
    fn restart(&self, projection: String, asked: Asked) -> Answer<Done>;
    fn deploy(&self, projection: String, asked: Asked) -> Answer<Done>;
    fn rollback(&self, projection: String, asked: Asked) -> Answer<Done>;
    fn drop_projection(&self, projection: String, asked: Asked) -> Answer<Done>;
    fn plan_build(&self, bytes: Arc<[u8]>) -> Answer<Plan>;
    fn add_plugin(&self, file: String, bytes: Arc<[u8]>, asked: Asked) -> Answer<Plan>;
    fn remove_plugin(&self, file: String, asked: Asked) -> Answer<Done>;
    fn forecast_rebuild(&self, projection: String, held: bool) -> Answer<RebuildForecast>;
    fn begin_rebuild(&self, projection: String, request: RebuildRequest, asked: Asked) -> Answer<RebuildView>;
    fn switch_rebuild(&self, id: String, asked: Asked) -> Answer<Done>;
    fn cancel_rebuild(&self, id: String, asked: Asked) -> Answer<Done>;
    fn diff(&self, id: String, samples_max: usize) -> Answer<Vec<TableDifference>>;
    fn wait(&self, projection: String, what: WaitFor, limit: Duration) -> Answer<Waited>;
    fn step(&self, projection: String, events: StepEvents, build: Option<Arc<[u8]>>) -> Answer<StepReport>;
    fn tables(&self, projection: String, rows: u32) -> Answer<Vec<TableView>>;
    fn audit(&self, projection: Option<String>, before: Option<i64>, limit: u32) -> Answer<Vec<AuditEntry>>;
}

/// Runs to its end, also where nobody waits for it any more.
pub(super) fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, ControlError>> + Send + 'static,
) -> Answer<T> {
    let places = guard::places();
    Box::pin(async move {
        let work = async move {
            let outcome = work.await;
            drop(places);
            outcome
        };
        tokio::spawn(work.boxed()).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request did not come to its end");
            Err(ControlError {
                kind: ControlErrorKind::Internal,
                code: "request_lost",
                message: "the engine failed while it did this; its log says why".into(),
                subject: None,
            })
        })
    })
}

/// A request about one thing that has a name, with who asks for it.
macro_rules! orders {
    ($($name:ident)*) => {
        $(fn $name(&self, about: String, asked: Asked) -> Answer<Done> {
            let control = self.clone();
            whole(async move { control.$name(&about, &asked).await })
        })*
    };
}

impl Engine for Control {
    fn ready(&self) -> Vec<ReadyCheck> {
        self.ready()
    }

    fn plugins_dir(&self) -> PathBuf {
        self.plugins_dir()
    }

    fn rejected(&self) -> Vec<RejectedPlugin> {
        self.rejected()
    }

    fn views(&self) -> Vec<ProjectionView> {
        self.views()
    }

    fn view(&self, projection: &str) -> Result<ProjectionView, ControlError> {
        self.view(projection)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes()
    }

    fn plugins(&self) -> Vec<PluginView> {
        self.plugins()
    }

    fn plan(&self, projection: &str) -> Result<Plan, ControlError> {
        self.plan(projection)
    }

    fn rebuilds(&self, projection: &str) -> Result<Vec<RebuildView>, ControlError> {
        self.rebuilds(projection)
    }

    fn rebuild(&self, id: &str) -> Result<RebuildView, ControlError> {
        self.rebuild(id)
    }

    fn logs(&self, projection: &str, after: u64, limit: usize) -> Result<Vec<LogLine>, ControlError> {
        self.logs(projection, after, limit)
    }

    fn history(&self, projection: &str, window: Duration) -> Result<History, ControlError> {
        self.history(projection, window)
    }

    orders! { pause resume restart deploy rollback drop_projection remove_plugin switch_rebuild cancel_rebuild }

    fn plan_build(&self, bytes: Arc<[u8]>) -> Answer<Plan> {
        let control = self.clone();
        whole(async move { control.plan_build(bytes).await })
    }

    fn add_plugin(&self, file: String, bytes: Arc<[u8]>, asked: Asked) -> Answer<Plan> {
        let control = self.clone();
        whole(async move { control.add_plugin(&file, bytes, &asked).await })
    }

    fn forecast_rebuild(&self, projection: String, held: bool) -> Answer<RebuildForecast> {
        let control = self.clone();
        whole(async move { control.forecast_rebuild(&projection, held).await })
    }

    fn begin_rebuild(&self, projection: String, request: RebuildRequest, asked: Asked) -> Answer<RebuildView> {
        let control = self.clone();
        whole(async move { control.begin_rebuild(&projection, request, &asked).await })
    }

    fn diff(&self, id: String, samples_max: usize) -> Answer<Vec<TableDifference>> {
        let control = self.clone();
        whole(async move { control.diff(&id, samples_max).await })
    }

    fn wait(&self, projection: String, what: WaitFor, limit: Duration) -> Answer<Waited> {
        let control = self.clone();
        whole(async move { control.wait(&projection, what, limit).await })
    }

    fn step(&self, projection: String, events: StepEvents, build: Option<Arc<[u8]>>) -> Answer<StepReport> {
        let control = self.clone();
        whole(async move { control.step(&projection, events, build).await })
    }

    fn tables(&self, projection: String, rows: u32) -> Answer<Vec<TableView>> {
        let control = self.clone();
        whole(async move { control.tables(&projection, rows).await })
    }

    fn audit(&self, projection: Option<String>, before: Option<i64>, limit: u32) -> Answer<Vec<AuditEntry>> {
        let control = self.clone();
        whole(async move { control.audit(projection.as_deref(), before, limit).await })
    }
}
