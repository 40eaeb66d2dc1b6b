//! What becomes of an operation when the engine dies in its midst. The same scenes on files and SQLite (`control.rs`) and on Kafka and
//! PostgreSQL (`external/control.rs`): each step has its crash point, and readers look on while it happens.

use laterna_tests::engine::{Engine, Home};
use laterna_tests::observer::Observer;
use laterna_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

pub(crate) const PROJECTION: &str = "/api/v1/projections/counter";

/// Where a scene plays: a log that somebody writes to, a database, and engines between them.
pub(crate) trait Place {
    /// A home of engines with these guests.
    fn home(&self, guests: &[&str]) -> Home;
    /// Holds `counter` against the law from now on.
    fn observe(&self) -> Observer;
    /// More events come, and all are applied, each once, as the oracle folds them.
    async fn goes_on(&mut self);
    /// What the database has of `counter`: the names of tables, views, and indexes that can be used.
    async fn stored(&self) -> Vec<String>;
}

/// An operation, and the points at which a test ends the process while it is under way.
pub(crate) const CRASHES: [(&str, &[&str]); 6] = [
    ("reload", &["build-stored", "deployed"]),
    ("alter", &["deployed"]),
    (
        "revision",
        &[
            "build-stored",
            "rebuild-build-stored",
            "rebuild-begun",
            "rebuild-filled",
            "rebuild-moved:1",
            "rebuild-indexed",
            "rebuild-moved:2",
            "rebuild-caught-up",
            "rebuild-moved:3",
            "before-swap",
            "after-swap",
            "collected",
        ],
    ),
    ("switch", &["before-swap", "after-swap"]),
    ("cancel", &["rebuild-cancelled", "collected"]),
    ("rollback", &["rolled-back"]),
];

pub(crate) fn live_digest(status: &Value) -> String {
    status["plugin_digest"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn wait_generation(engine: &mut Engine, number: u64) -> Value {
    engine.wait_projection("counter", &format!("on generation {number}"), |status| status["generation"] == number)
}

/// More events come, all are applied, and readers have seen it.
async fn seen(place: &mut impl Place, observer: &mut Observer) {
    let before = observer.advanced();
    place.goes_on().await;
    wait::until("readers to see it", PATIENCE, || {
        observer.still_right();
        if observer.advanced() > before { Ok(()) } else { Err(format!("{} snapshots", observer.snapshots())) }
    });
}

/// Waits until the engine has ended itself at its crash point.
pub(crate) fn wait_crash(engine: &mut Engine, point: &str) {
    let status = engine.wait_end(PATIENCE);
    assert!(status.code().is_none(), "{point}: {status:?}\n{}", engine.tail());
}

/// The engine dies twice while a projection is made, and twice while it is dropped.
pub(crate) async fn is_made_or_dropped(place: &mut impl Place) {
    let home = place.home(&["counter"]);
    let mut observer = place.observe();
    for point in ["build-stored", "created"] {
        wait_crash(&mut home.start_with(&[("LATERNA_CRASH_POINT", point)]), point);
    }
    let mut engine = home.start();
    seen(place, &mut observer).await;
    seen(place, &mut observer).await;
    observer.finish();
    home.take_out("counter.wasm");
    engine.wait_projection("counter", "stopped", |s| s["state"] == "stopped");
    for point in ["drop-stopped", "dropped"] {
        engine.kill();
        engine = home.start_with(&[("LATERNA_CRASH_POINT", point)]);
        engine.wait_projection("counter", "still stopped", |s| s["state"] == "stopped");
        // It dies before it answers.
        drop(engine.request("DELETE", PROJECTION, None));
        wait_crash(&mut engine, point);
        engine = home.start();
        let left = place.stored().await;
        assert_eq!(left.is_empty(), point == "dropped", "{point}: {left:?}");
    }
    home.drop_in("counter");
    place.goes_on().await;
}

/// The engine dies at each of the points, and the next one does what is left to do, or undoes what was begun.
pub(crate) async fn goes_on_or_is_undone(place: &mut impl Place, operation: &str, points: &[&str]) {
    let keep = if operation == "rollback" { "1h" } else { "1s" };
    let home = place.home(&["counter"]).with("defaults", format!("\"rebuild.keep\" = \"{keep}\""));
    let mut observer = place.observe();
    let mut engine = home.start();
    seen(place, &mut observer).await;
    if operation == "rollback" {
        home.drop_in_build("counter_r2", "counter.wasm", 0);
        wait_generation(&mut engine, 2);
    }
    let rebuilds = format!("{PROJECTION}/rebuilds");
    let rebuild = |begun: &Value| format!("/api/v1/rebuilds/{}", begun["id"].as_str().unwrap());
    for (build, point) in (1..).zip(points) {
        let before = engine.projection("counter").unwrap();
        engine.terminate();
        engine = home.start_with(&[("LATERNA_CRASH_POINT", point)]);
        seen(place, &mut observer).await;
        // Where it is a request, the engine may die before it answers.
        match operation {
            "reload" => home.drop_in_build("counter", "counter.wasm", build),
            "alter" => home.drop_in_build("counter_indexed", "counter.wasm", build),
            "revision" => {
                // Up and down in turn: any other revision is another meaning.
                let guest = if build % 2 == 1 { "counter_r2" } else { "counter" };
                home.drop_in_build(guest, "counter.wasm", build);
            }
            "rollback" => drop(engine.request("POST", &format!("{PROJECTION}/rollback"), None)),
            "switch" => {
                let begun = engine.ask("POST", &rebuilds, Some(&json!({ "switch": "manual" })));
                engine.wait_projection("counter", "ready", |status| status["rebuild"]["state"] == "ready");
                drop(engine.request("POST", &format!("{}/switch", rebuild(&begun)), None));
            }
            _ => {
                let begun = engine.ask("POST", &rebuilds, Some(&json!({ "max_rate": 10 })));
                drop(engine.request("DELETE", &rebuild(&begun), None));
            }
        }
        wait_crash(&mut engine, point);
        engine = home.start();
        seen(place, &mut observer).await;
        let number = before["generation"].as_u64().unwrap();
        let (number, kept) = match operation {
            "revision" | "switch" => (number + 1, 1),
            "rollback" => (number - 1, 2),
            _ => (number, 1),
        };
        let takes_over = matches!(operation, "reload" | "alter");
        engine.wait_projection("counter", &format!("through {operation} after {point}"), |status| {
            status["generation"] == number
                && status["generations"].as_array().is_some_and(|all| all.len() == kept)
                && (!takes_over || status["plan"].is_null() && live_digest(status) != live_digest(&before))
        });
        seen(place, &mut observer).await;
    }
    if operation == "alter" {
        wait::until_async("two indexes", PATIENCE, || async {
            let stored = place.stored().await;
            let indexes = stored.iter().filter(|name| name.starts_with("laterna_index")).count();
            if indexes == 2 { Ok(()) } else { Err(format!("{stored:?}")) }
        })
        .await;
    }
    observer.finish();
}
