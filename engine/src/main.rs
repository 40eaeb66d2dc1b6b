//! The command `laterna`. Everything is in `laterna::cli`: what the library compiles is not compiled a second time here.

/// Events and changes are allocated on one thread and freed on another all the time, which is what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Milliseconds after which freed memory goes back to the system, unless `MIMALLOC_PURGE_DELAY` says otherwise. The default
/// is a second, and only looked at by threads that allocate: after a backlog, idle ones kept half of the process's memory.
const PURGE_DELAY_MS: std::ffi::c_long = 10;

fn main() -> std::process::ExitCode {
    purge_soon();
    laterna::cli::main()
}

#[allow(unsafe_code, reason = "the allocator's options have no safe form")]
fn purge_soon() {
    /// `mi_option_purge_delay`, which the crate has no name for.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: it sets a number that the allocator reads whenever it purges, and refuses one that it does not know.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) }
}
