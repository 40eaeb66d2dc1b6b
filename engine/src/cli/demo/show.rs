//! What the demo shows: one screen that is redrawn, or a plain line now and then.

use std::path::PathBuf;

use laterna::control::Control;
use laterna::runner::{ProjectionStatus, State};

use super::super::terminal::{Tone, clear, one_line, redraw, say, shorten, table, toned};
use super::rows::{self, View};

/// Without a terminal, one line in so many seconds.
const SECONDS_PER_LINE: u64 = 3;

/// The running demo's output.
pub(super) struct Screen {
    hints: String,
    database: PathBuf,
    style: Style,
    updates: u64,
}

/// Where the output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Not a terminal: a line now and then.
    Lines,
    /// One screen, redrawn.
    Plain,
    /// One screen, redrawn, with colours.
    Colored,
}

impl Screen {
    pub(super) fn new(hints: String, database: PathBuf, style: Style) -> Self {
        if style != Style::Lines {
            clear();
        }
        Self { hints, database, style, updates: 0 }
    }

    /// Called once a second.
    pub(super) async fn update(&mut self, control: &Control) {
        let projections = control.projections();
        self.updates += 1;
        if self.style == Style::Lines {
            if self.updates.is_multiple_of(SECONDS_PER_LINE) {
                say(&summary(&projections));
            }
            return;
        }
        // Before the engine has made the tables there is nothing to show.
        let views = rows::views(&self.database).await.unwrap_or_default();
        let mut text = format!("Laterna demo\n\n{}\n\n{}\n", self.hints, self.projections(&projections));
        for file in control.rejected() {
            text.push_str(&format!("{} does not run: {}\n", shorten(&file.file), brief(&file.reason)));
        }
        for projection in &projections {
            if let Some(halt) = &projection.halt {
                text.push_str(&format!("{} is halted: {}\n", projection.name, brief(&halt.to_string())));
            }
        }
        // The order items are many and say little: the first view with a key that grows is the one to watch.
        if let Some(newest) = views.iter().find(|view| view.name == "orders").or(views.first()) {
            text.push_str(&format!("\n{}\n", self::view(newest)));
        }
        let sizes = views.iter().map(|view| format!("{} {}", view.name, view.count)).collect::<Vec<_>>().join(" · ");
        text.push_str(&format!("\nrows: {sizes}"));
        redraw(&text);
    }

    fn projections(&self, projections: &[ProjectionStatus]) -> String {
        let columns = ["projection", "state", "behind", "events behind", "events/s", "rows written"].map(str::to_owned);
        let rows: Vec<Vec<String>> = projections.iter().map(row).collect();
        let text = table(&columns, &rows);
        let tone = |projection: &ProjectionStatus| {
            if projection.state == State::Halted { Tone::Bad } else { Tone::Plain }
        };
        toned(&text, &projections.iter().map(tone).collect::<Vec<_>>(), self.style == Style::Colored)
    }
}

fn row(projection: &ProjectionStatus) -> Vec<String> {
    vec![
        projection.name.clone(),
        projection.state.name().into(),
        projection.lag_seconds.map_or("unknown".into(), |seconds| format!("{seconds:.1} s")),
        projection.lag_events.map_or("unknown".into(), |events| events.to_string()),
        format!("{:.0}", projection.rate_per_second),
        projection.counters.rows_written.values().sum::<u64>().to_string(),
    ]
}

/// All projections in one line.
pub(super) fn summary(projections: &[ProjectionStatus]) -> String {
    if projections.is_empty() {
        return "no projection runs yet".into();
    }
    let one = |projection: &ProjectionStatus| {
        let behind = projection.lag_events.map_or("unknown".into(), |events| events.to_string());
        let rate = projection.rate_per_second;
        format!(
            "{} {} ({behind} behind, {} applied, {rate:.0}/s)",
            projection.name,
            projection.state.name(),
            projection.counters.applied
        )
    };
    projections.iter().map(one).collect::<Vec<_>>().join(" · ")
}

/// A view with its last rows.
pub(super) fn view(view: &View) -> String {
    let shown = view.rows.len();
    format!("{} ({} rows, the last {shown})\n{}\n", view.name, view.count, table(&view.columns, &view.rows))
}

/// So much of a reason as leaves the tables on the screen.
fn brief(text: &str) -> String {
    one_line(text).chars().take(300).collect()
}
