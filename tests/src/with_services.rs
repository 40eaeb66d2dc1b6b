//! `with-services COMMAND..`: starts Kafka and PostgreSQL, runs the command with their addresses in the environment
//! (`LATERNA_TEST_KAFKA`, `LATERNA_TEST_POSTGRES_URL`, `LATERNA_TEST_POSTGRES_PORT`), ends them, and exits as the
//! command did.

use std::process::{Command, ExitCode};

use laterna_tests::services::{Kafka, Postgres};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-services COMMAND [ARGUMENT..]");
        return ExitCode::from(2);
    };
    let (kafka, postgres) = (Kafka::start(), Postgres::start());
    let status = Command::new(program)
        .args(arguments)
        .env("LATERNA_TEST_KAFKA", kafka.bootstrap())
        .env("LATERNA_TEST_POSTGRES_URL", postgres.url("postgres"))
        .env("LATERNA_TEST_POSTGRES_PORT", postgres.port().to_string())
        .status();
    drop((kafka, postgres));
    match status {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("with-services: {error}");
            ExitCode::FAILURE
        }
    }
}
