//! How a database refuses: at the start, and once it has let us in.

use super::*;

#[tokio::test]
async fn a_database_that_cannot_be_had_is_told_without_secrets() {
    let database = TestDatabase::create().await;
    let at = database.url.rfind('/').unwrap();
    let missing = format!("{}/laterna_no_such_database", &database.url[..at]);
    let error = PostgresSink::connect(PostgresSettings::new(missing)).await.err().unwrap();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "database_missing"), "{error}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("postgres://someone:verysecret@127.0.0.1:{port}/shop");
    let error = PostgresSink::connect(PostgresSettings::new(nobody)).await.err().unwrap();
    assert_eq!((error.kind, error.code), (ErrorKind::Transient, "database_unreachable"), "{error}");
    for part in ["127.0.0.1", &port.to_string(), "\"shop\"", "\"someone\""] {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(!error.message.contains("verysecret"), "{error}");
    // Somebody listens and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = PostgresSettings::new(format!("postgres://a:verysecret@{}/shop", silent.local_addr().unwrap()));
    settings.connect_timeout = Duration::from_millis(200);
    let error = PostgresSink::connect(settings).await.err().unwrap();
    assert_eq!((error.kind, error.code), (ErrorKind::Transient, "database_unreachable"), "{error}");
    let error = PostgresSink::connect(PostgresSettings::new("postgres://a:verysecret@[/shop")).await.err().unwrap();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "database_url"), "{error}");
    assert!(!error.message.contains("verysecret"), "{error}");
    database.drop().await;
}

#[tokio::test]
async fn a_database_that_let_us_in_and_refuses_now_is_waited_for() {
    let mut bench = Bench::new(|_| {}).await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    let mut admin = PgConnection::connect(&bench.database.admin).await.unwrap();
    let name = bench.database.name.clone();
    run(&mut admin, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    let others = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    run(&mut admin, &others).await;
    assert!(bench.commit(&[add("a", 1)]).await.is_err());
    let refused = bench.commit(&[add("a", 1)]).await;
    assert!(
        matches!(&refused, Err(CommitError::Failed(error)) if error.kind == ErrorKind::Transient && error.message.contains("55000")),
        "{refused:?}"
    );
    // Who begins now is told that it is wrong.
    assert_eq!(PostgresSink::connect(bench.database.settings()).await.err().unwrap().kind, ErrorKind::Fatal);
    run(&mut admin, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    assert_eq!(bench.sums().await, BTreeMap::from([("a".into(), Some(2))]));
    bench.database.drop().await;
}
