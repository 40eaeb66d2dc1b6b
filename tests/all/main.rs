//! The black-box tests, by theme. `blackbox` needs the engine's binary and the guests, `external` also starts Kafka and
//! PostgreSQL; without features there are none.

#[cfg(feature = "blackbox")]
mod author;
#[cfg(feature = "blackbox")]
mod command_line;
#[cfg(feature = "blackbox")]
mod control;
#[cfg(feature = "blackbox")]
mod crashes;
#[cfg(feature = "external")]
mod external;
#[cfg(feature = "blackbox")]
mod file_sqlite;
#[cfg(feature = "blackbox")]
mod traces;
#[cfg(feature = "blackbox")]
mod workload;
