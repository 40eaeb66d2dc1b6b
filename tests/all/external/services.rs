//! The harness's own services: they start, survive what we do to them, and the proxy cuts what it says.

use laterna_tests::proxy::{Carries, Cut, Proxy};
use laterna_tests::services::{Kafka, Lease, Postgres, create_database, url};
use sqlx::{Connection, PgConnection};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_what_was_committed_over_an_immediate_restart() {
    let mut cluster = Lease::<Postgres>::take();
    let database = create_database(cluster.port(), "kept").await;
    let mut connection = PgConnection::connect(&cluster.url(&database)).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (a int); INSERT INTO t VALUES (7)").execute(&mut connection).await.unwrap();
    cluster.restart_immediate();
    assert!(connection.ping().await.is_err(), "the old connection is cut");
    let mut connection = PgConnection::connect(&cluster.url(&database)).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i32>("SELECT a FROM t").fetch_one(&mut connection).await.unwrap(), 7);
}

#[test]
fn a_broker_comes_back_after_a_kill() {
    let mut broker = Lease::<Kafka>::take();
    broker.kill();
    broker.restart();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_loses_either_half_of_a_commit() {
    let cluster = Lease::<Postgres>::take();
    let port = cluster.port();
    let database = create_database(port, "cut").await;
    let mut direct = PgConnection::connect(&url(port, &database)).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE checkpoint (next_offset bigint, owner_epoch bigint); INSERT INTO checkpoint VALUES (0, 0)",
    )
    .execute(&mut direct)
    .await
    .unwrap();
    let proxy = Proxy::start(port, Carries::Postgres).await;
    let advance = "UPDATE checkpoint SET next_offset = next_offset + $1 WHERE owner_epoch = 0";
    for (explicit, cut, expected) in
        [(true, Cut::Reply, 1), (true, Cut::Request, 0), (false, Cut::Reply, 1), (false, Cut::Request, 0)]
    {
        sqlx::query("UPDATE checkpoint SET next_offset = 0").execute(&mut direct).await.unwrap();
        let mut through = PgConnection::connect(&url(proxy.port(), &database)).await.unwrap();
        if explicit {
            sqlx::raw_sql("BEGIN").execute(&mut through).await.unwrap();
            sqlx::query(advance).bind(1_i64).execute(&mut through).await.unwrap();
            proxy.arm(cut);
            assert!(sqlx::raw_sql("COMMIT").execute(&mut through).await.is_err(), "{cut:?}");
        } else {
            proxy.arm(cut);
            assert!(sqlx::query(advance).bind(1_i64).execute(&mut through).await.is_err(), "{cut:?}");
        }
        let stands: i64 =
            sqlx::query_scalar("SELECT next_offset FROM checkpoint").fetch_one(&mut direct).await.unwrap();
        assert_eq!(stands, expected, "explicit {explicit}, {cut:?}");
    }
    assert_eq!(proxy.cut_counts(), (2, 2));
}
