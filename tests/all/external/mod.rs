//! On a real Kafka and a real PostgreSQL.

mod services;
