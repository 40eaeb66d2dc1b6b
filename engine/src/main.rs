//! The command `laterna`. Everything is in `cli`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
