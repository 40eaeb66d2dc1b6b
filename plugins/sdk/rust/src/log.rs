//! Lines in the projection's log. The engine adds time, projection, topic and partition, and bounds how many there are.
//!
//! Use the macros: `info!("{} lines", order.items.len())`. In native tests the lines go to stderr.

pub use crate::bindings::laterna::projection::log::Level;

/// Writes one line.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::laterna::projection::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    #[allow(clippy::print_stderr, reason = "where no engine is, a test's output is the log")]
    {
        eprintln!("{level:?}: {message}");
    }
}

/// Logs every step.
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($message)+)) };
}

/// Logs what helps an author.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($message)+)) };
}

/// Logs what an operator may want to know.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($message)+)) };
}

/// Logs what an operator should know.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($message)+)) };
}

/// Logs what an operator must act on.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($message)+)) };
}
