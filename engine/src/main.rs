//! The command `laterna`. Everything is in `cli`.

mod cli;

/// Events and changes are allocated on one thread and freed on another all the time, which is what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
