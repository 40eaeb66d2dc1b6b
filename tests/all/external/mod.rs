//! On a real Kafka and a real PostgreSQL.

mod author;
mod calibration;
mod control;
mod determinism;
mod faults;
mod formats;
mod log_betrays;
mod postgres_faults;
mod rebuild_speed;
mod records;
mod secured;
mod services;
mod stage;
