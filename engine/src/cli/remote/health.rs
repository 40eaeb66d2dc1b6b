//! `healthcheck`: whether the engine is ready, as an exit code. Needs no token.

use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;

use super::Engine;
use super::client::Body;
use crate::cli::terminal::{complain, say};

/// Docker waits for three seconds.
const TIME_MAX: Duration = Duration::from_secs(2);

/// Asks `/readyz`.
pub(super) async fn check(engine: &Engine) -> anyhow::Result<ExitCode> {
    let unhealthy = ExitCode::from(crate::cli::UNHEALTHY);
    match engine.client.send(Method::GET, "/readyz?verbose", Body::None, TIME_MAX).await {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body);
            let plain: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
            say(plain.trim_end());
            Ok(if answer.status.is_success() { ExitCode::SUCCESS } else { unhealthy })
        }
        Err(error) => {
            complain(&format!("error: {error}"));
            Ok(unhealthy)
        }
    }
}
