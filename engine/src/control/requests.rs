//! What users ask of the engine: each request is checked, becomes an order to the database, and is carried out by whoever runs the projection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Control;
use super::view::{
    ControlError, ControlErrorKind, History, LogLine, Plan, PluginView, ProjectionView, RebuildForecast, RebuildRequest, RebuildView,
    StepEvents, StepReport, TableView, WaitFor, Waited,
};
use crate::sink::{Asked, AuditEntry, Done, TableDifference};

impl Control {
    /// All projections, by name.
    pub fn views(&self) -> Vec<ProjectionView> {
        Vec::new()
    }

    /// One projection.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn view(&self, projection: &str) -> Result<ProjectionView, ControlError> {
        Err(unknown(projection))
    }

    /// Raised whenever something that a view shows has changed, at most about four times a second.
    pub fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// The files in `plugins/` and what runs without one.
    pub fn plugins(&self) -> Vec<PluginView> {
        Vec::new()
    }

    /// Stops taking events, on every engine, until it is resumed.
    ///
    /// # Errors
    /// `projection_unknown`, or the database's.
    pub async fn pause(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(projection))
    }

    /// Takes events again.
    ///
    /// # Errors
    /// As for [`Control::pause`].
    pub async fn resume(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(projection))
    }

    /// Starts its runners anew, on every engine; also where it is halted.
    ///
    /// # Errors
    /// As for [`Control::pause`].
    pub async fn restart(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(projection))
    }

    /// Removes a projection with its tables.
    ///
    /// # Errors
    /// As for [`Control::pause`]; `plugin_present` where its file is still in `plugins/`; `view_in_use`.
    pub async fn drop_projection(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(projection))
    }

    /// What waits to be done with the build on disk, or `nothing`.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn plan(&self, projection: &str) -> Result<Plan, ControlError> {
        Err(unknown(projection))
    }

    /// What these bytes would need. Nothing is stored.
    ///
    /// # Errors
    /// The plugin's own codes, with every problem.
    pub async fn plan_build(&self, bytes: Arc<[u8]>) -> Result<Plan, ControlError> {
        let _ = bytes;
        Err(unknown(""))
    }

    /// Carries out the plan that is held back (`on_change = "hold"`).
    ///
    /// # Errors
    /// `nothing_held`; what the orders refuse.
    pub async fn deploy(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(projection))
    }

    /// Puts a build into `plugins/` under a name, whole or not at all, and tells its plan.
    ///
    /// # Errors
    /// `file_name`; the plugin's own codes; what the folder says.
    pub async fn add_plugin(&self, file: &str, bytes: Arc<[u8]>, asked: &Asked) -> Result<Plan, ControlError> {
        let _ = (bytes, asked);
        Err(unknown(file))
    }

    /// Takes a file out of `plugins/`: its projection stops, its tables stay.
    ///
    /// # Errors
    /// `plugin_unknown`; what the folder says.
    pub async fn remove_plugin(&self, file: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(file))
    }

    /// What a rebuild would be.
    ///
    /// # Errors
    /// `projection_unknown`; the broker's.
    pub async fn forecast_rebuild(&self, projection: &str) -> Result<RebuildForecast, ControlError> {
        Err(unknown(projection))
    }

    /// Begins to fill the next generation beside the live one.
    ///
    /// # Errors
    /// `projection_unknown`, `rebuild_active` (names it), `log_begins_later` (unless forced).
    pub async fn begin_rebuild(
        &self,
        projection: &str,
        request: RebuildRequest,
        asked: &Asked,
    ) -> Result<RebuildView, ControlError> {
        let _ = (request, asked);
        Err(unknown(projection))
    }

    /// The rebuilds of a projection, newest first.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn rebuilds(&self, projection: &str) -> Result<Vec<RebuildView>, ControlError> {
        Err(unknown(projection))
    }

    /// One rebuild, by its identity.
    ///
    /// # Errors
    /// `rebuild_unknown`.
    pub fn rebuild(&self, id: &str) -> Result<RebuildView, ControlError> {
        Err(unknown(id))
    }

    /// Lets a rebuilt generation become the live one as soon as it has caught up.
    ///
    /// # Errors
    /// `rebuild_unknown`, `rebuild_state`.
    pub async fn switch_rebuild(&self, id: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(id))
    }

    /// Calls a rebuild off; the live generation has never noticed it.
    ///
    /// # Errors
    /// `rebuild_unknown`, `rebuild_state`.
    pub async fn cancel_rebuild(&self, id: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(id))
    }

    /// Makes the generation that was live before the live one again.
    ///
    /// # Errors
    /// `projection_unknown`, `no_warm_generation`, `behind` (it does not catch up in time), `readers`.
    pub async fn rollback(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let _ = asked;
        Err(unknown(projection))
    }

    /// Compares the live rows with the rebuilt ones at the same checkpoints.
    ///
    /// # Errors
    /// `rebuild_unknown`, `rebuild_state` (not caught up yet), `behind`.
    pub async fn diff(&self, id: &str, samples_max: usize) -> Result<Vec<TableDifference>, ControlError> {
        let _ = samples_max;
        Err(unknown(id))
    }

    /// Waits until something is applied, at most for `limit`: read your writes.
    ///
    /// # Errors
    /// `projection_unknown`, `partition_unknown`, `halted` (it would never come).
    pub async fn wait(&self, projection: &str, what: WaitFor, limit: Duration) -> Result<Waited, ControlError> {
        let _ = (what, limit);
        Err(unknown(projection))
    }

    /// Runs events through the current build, or through `build`, and shows what would change. Nothing is written.
    ///
    /// # Errors
    /// `projection_unknown`, `topic_unknown`, `bad_line`, `range_unavailable`; the plugin's own codes.
    pub async fn step(
        &self,
        projection: &str,
        events: StepEvents,
        build: Option<Arc<[u8]>>,
    ) -> Result<StepReport, ControlError> {
        let _ = (events, build);
        Err(unknown(projection))
    }

    /// The last lines of a projection's log: at most `limit` with numbers above `after`, oldest first.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn logs(&self, projection: &str, after: u64, limit: usize) -> Result<Vec<LogLine>, ControlError> {
        let _ = (after, limit);
        Err(unknown(projection))
    }

    /// Lag and rates over the last `window`, at most 6 h.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn history(&self, projection: &str, window: Duration) -> Result<History, ControlError> {
        let _ = window;
        Err(unknown(projection))
    }

    /// The tables that readers see, each with its first `rows` rows.
    ///
    /// # Errors
    /// `projection_unknown`; the database's.
    pub async fn tables(&self, projection: &str, rows: u32) -> Result<Vec<TableView>, ControlError> {
        let _ = rows;
        Err(unknown(projection))
    }

    /// The audit, newest first: at most `limit` entries with numbers below `before`.
    ///
    /// # Errors
    /// The database's.
    pub async fn audit(
        &self,
        projection: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, ControlError> {
        let _ = (projection, before, limit);
        Ok(Vec::new())
    }
}

fn unknown(projection: &str) -> ControlError {
    let projection: String = projection.chars().take(100).collect();
    ControlError {
        kind: ControlErrorKind::NotFound,
        code: "projection_unknown",
        message: format!("there is no projection {projection:?}; GET /api/v1/projections lists them"),
        subject: None,
    }
}
