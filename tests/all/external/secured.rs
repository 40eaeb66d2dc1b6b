//! A broker that asks for TLS and SASL, and a database that asks for TLS: what the default build can do, and what it says when it may not.

use laterna_tests::engine::{From, Home};
use laterna_tests::kafka_log::{KafkaLog, create_topic};
use laterna_tests::load::Sender;
use laterna_tests::oracle::{self, COUNTER, TOPIC};
use laterna_tests::random::Random;
use laterna_tests::services::{Certificate, Kafka, Postgres, USER, create_database};
use sqlx::{Connection, PgConnection};

use crate::workload::mixed;

/// A home that comes in by the secured doors, with what is written there of the user and the authority.
fn home(kafka: &Kafka, database: &str, password: &str, authority: Option<&Certificate>) -> Home {
    let home = Home::new(From::Kafka(kafka.secured_bootstrap()), database, &["counter"])
        .with("kafka.properties", "\"security.protocol\" = \"SASL_SSL\"")
        .with("kafka.properties", "\"sasl.mechanism\" = \"SCRAM-SHA-512\"")
        .with("kafka.properties", format!("\"sasl.username\" = \"{}\"", USER.0))
        .with("kafka.properties", format!("\"sasl.password\" = \"{password}\""));
    match authority {
        Some(certificate) => {
            home.with("kafka.properties", format!("\"ssl.ca.location\" = \"{}\"", certificate.authority().display()))
        }
        None => home,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_over_sasl_and_tls_and_rows_go_over_tls() {
    let certificate = Certificate::new();
    let (kafka, postgres) = (Kafka::start_secured(&certificate), Postgres::start_secured(&certificate));
    let name = create_database(postgres.port(), "secured").await;
    create_topic(&kafka.bootstrap(), TOPIC, 2, &[]);
    tokio::task::block_in_place(|| {
        let (sender, mut random) = (Sender::new(&kafka.bootstrap(), TOPIC), Random::new(3));
        (0..500).for_each(|number| sender.send(&mixed(number, &mut random)));
        sender.flush();
    });
    let plain = postgres.url(&name);
    let verified = format!("{plain}?sslmode=verify-full&sslrootcert={}", certificate.authority().display());
    let verifying = home(&kafka, &verified, USER.1, Some(&certificate));
    let mut engine = verifying.start();
    engine.wait_projection("counter", "idle", |status| status["state"] == "idle");
    assert_eq!(oracle::settle(&plain, COUNTER, KafkaLog::new(&kafka.bootstrap(), TOPIC)).await, 500);
    let mut ours = PgConnection::connect(&plain).await.unwrap();
    let others = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let (all, encrypted): (i64, i64) = sqlx::query_as(others).fetch_one(&mut ours).await.unwrap();
    assert!(all > 0 && all == encrypted, "{encrypted} of {all} connections speak TLS");

    // Another authority, and a wrong password: each is named, and no secret is printed.
    let stranger = Certificate::new();
    for (password, authority, said) in [("wrong-word", &certificate, "SASL"), (USER.1, &stranger, "certificate")] {
        let refused = home(&kafka, &plain, password, Some(authority));
        let mut engine = refused.start();
        let why = laterna_tests::wait::until("the engine to say why", laterna_tests::wait::PATIENCE, || {
            let output = engine.output();
            if output.contains(said) { Ok(output) } else { Err(format!("{:?}\n{output}", engine.ended())) }
        });
        assert!(!why.contains(password), "the password stands in the log:\n{why}");
    }
    let untrusted = format!("{plain}?sslmode=verify-full&sslrootcert={}", stranger.authority().display());
    let distrusting = home(&kafka, &untrusted, USER.1, Some(&certificate));
    let mut engine = distrusting.start();
    laterna_tests::wait::until("the engine to name the database's certificate", laterna_tests::wait::PATIENCE, || {
        let output = engine.output();
        if output.contains("certificate") { Ok(()) } else { Err(format!("{:?}\n{output}", engine.ended())) }
    });
}
