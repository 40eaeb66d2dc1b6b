//! Named places at which a test ends the process as `kill -9` would. In a build for users there are none.
//!
//! Every step of the control plane's operations has one before and behind it, so that "whatever dies, it goes on or is undone" is a test.

/// Ends the process here, at once and without a trace, if `LATERNA_CRASH_POINT` names this point (in builds with debug assertions).
///
/// `name:3` ends it the third time that it comes here.
pub(crate) fn point(name: &str) {
    #[cfg(debug_assertions)]
    {
        use std::sync::OnceLock;
        use std::sync::atomic::{AtomicU32, Ordering};
        static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let wanted = WANTED.get_or_init(|| {
            let text = std::env::var("LATERNA_CRASH_POINT").ok()?;
            let (name, times) = text.split_once(':').map_or((text.as_str(), 1), |(n, t)| (n, t.parse().unwrap_or(1)));
            Some((name.to_owned(), times))
        });
        if let Some((wanted, times)) = wanted
            && wanted == name
            && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *times
        {
            let us = rustix::process::getpid();
            // Where the signal cannot be sent the process goes on, and the test says so.
            rustix::process::kill_process(us, rustix::process::Signal::KILL).ok();
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
