//! The same events give the same rows, whatever the database, the batches and the restarts.

use std::time::Duration;

use laterna_tests::engine::{From, Home};
use laterna_tests::file_log::{FileLog, FileSender};
use laterna_tests::guardian::Folder;
use laterna_tests::load::Draft;
use laterna_tests::oracle::{CHAIN, COUNTER, LEDGER, TOPIC, settle};
use laterna_tests::random::Random;
use laterna_tests::services::{Lease, Postgres, create_database};
use laterna_tests::sql::Reader;

use crate::workload::spread;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_postgresql_give_one_digest_in_any_batches() {
    let postgres = tokio::task::block_in_place(Lease::<Postgres>::take);
    let folder = Folder::new("determinism");
    let events = folder.path().join("events");
    let mut sender = FileSender::new(&events, TOPIC);
    let mut random = Random::from_environment("determinism on two databases");
    let mut draft = spread(3);
    sender.send(&(0..6_000).map(|at| draft(at, &mut random)).collect::<Vec<Draft>>());
    let projections = [LEDGER, COUNTER, CHAIN];
    let mut digests = Vec::new();
    for (batch, kills, sqlite) in [(1, 1, false), (7, 3, false), (1000, 3, false), (20_000, 0, false), (1000, 1, true)]
    {
        let url = match sqlite {
            true => format!("sqlite://{}", folder.path().join("db").display()),
            false => postgres.url(&create_database(postgres.port(), "determinism").await),
        };
        let home = Home::new(From::Files(events.clone()), &url, &projections.map(|projection| projection.name));
        let home = home.with("defaults.batch", format!("max_events = {batch}"));
        for _ in 0..kills {
            let mut engine = home.start();
            engine.wait_projection("chain", "listed", |status| {
                status["partitions"].as_array().is_some_and(|list| !list.is_empty())
            });
            std::thread::sleep(Duration::from_micros(random.below(100_000)));
            engine.kill();
        }
        let mut engine = home.start();
        let mut of_batch = Vec::new();
        for projection in projections {
            assert_eq!(settle(&url, projection, FileLog::new(&events, TOPIC)).await, 6_000);
            let mut reader = Reader::connect(&url).await.unwrap();
            of_batch.push(reader.snapshot(projection.name, projection.whole).await.unwrap().digest());
        }
        assert!(engine.terminate().0.success());
        digests.push(of_batch);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:#?}");
}
