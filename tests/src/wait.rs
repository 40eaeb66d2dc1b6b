//! Awaiting conditions. A deadline is how long a broken engine may waste our time, never how fast a good one must be.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(180);

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `probe` gives a value; panics with what it said last.
///
/// # Panics
/// The patience is over.
#[track_caller]
pub fn until<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(said) if begin.elapsed() > patience => panic!("waited {patience:?} for {what}; last: {said}"),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Waits until `probe` gives a value; panics with what it said last.
///
/// # Panics
/// The patience is over.
pub async fn until_async<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    patience: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let begin = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(said) if begin.elapsed() > patience => panic!("waited {patience:?} for {what}; last: {said}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
