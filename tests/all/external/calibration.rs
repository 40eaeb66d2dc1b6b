//! Can the harness fail? A consumer of a hundred lines stands in for the engine, right or with one of the classic bugs:
//! the right one must pass, every other one must be caught.

use laterna_tests::kafka_log::{KafkaLog, Record};
use laterna_tests::oracle::{COUNTER, Follower, TOPIC};
use laterna_tests::sql::Reader;
use sqlx::{Connection, PgConnection};

use super::stage::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The checkpoint is committed after the rows, in a transaction of its own.
    CheckpointApart,
    /// A commit whose outcome is unknown is sent again.
    BlindRetry,
    /// The checkpoint is the last event applied, not the first one not applied.
    OffByOne,
    /// After a gap, it goes on at the end of the log.
    Skips,
    /// A zombie's commit has no fence.
    NoFence,
}

struct Consumer {
    connection: PgConnection,
    records: Vec<Record>,
    bug: Bug,
}

impl Consumer {
    /// Applies the records from `at` to `to`; commits with the checkpoint, or as the bug has it.
    async fn batch(&mut self, at: usize, to: usize) {
        let apart = self.bug == Bug::CheckpointApart;
        sqlx::raw_sql("BEGIN").execute(&mut self.connection).await.unwrap();
        let fence = if self.bug == Bug::NoFence { "true" } else { "next_offset = $2" };
        let next = if self.bug == Bug::OffByOne { to - 1 } else { to };
        let advance = format!("UPDATE laterna.checkpoint SET next_offset = $1 WHERE {fence} AND $2 >= 0");
        let advance = || sqlx::query(sqlx::AssertSqlSafe(advance.clone())).bind(next as i64).bind(at as i64);
        if !apart {
            let fenced = advance().execute(&mut self.connection).await.unwrap();
            if fenced.rows_affected() == 0 {
                sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await.unwrap();
                return;
            }
        }
        for record in &self.records[at..to] {
            let number: i64 = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).parse().unwrap_or(0);
            let add = "INSERT INTO counter.counts VALUES ($1, 1, $2) ON CONFLICT (key) DO UPDATE SET \
                       events = counts.events + 1, total = counts.total + excluded.total";
            let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            sqlx::query(add).bind(key).bind(number).execute(&mut self.connection).await.unwrap();
        }
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await.unwrap();
        if apart {
            advance().execute(&mut self.connection).await.unwrap();
        }
    }
}

const SCHEMA: &str = "CREATE SCHEMA laterna; CREATE SCHEMA counter; \
    CREATE TABLE laterna.generation (projection text, generation int4, state text); \
    INSERT INTO laterna.generation VALUES ('counter', 1, 'live'); \
    CREATE TABLE laterna.checkpoint (projection text, generation int4, topic text, partition int4, next_offset int8); \
    INSERT INTO laterna.checkpoint VALUES ('counter', 1, 'events', 0, 0); \
    CREATE TABLE counter.counts (key text PRIMARY KEY, events int8, total int8)";

/// Three hundred records in batches of ten, with what provokes the bug; every snapshot between is held against the law.
async fn run(bug: Bug) -> Result<(), String> {
    let stage = Stage::new(1).await;
    stage.execute(SCHEMA).await;
    let load = stage.load("calibration", 5_000);
    let mut log = stage.log();
    let records = tokio::task::block_in_place(|| {
        laterna_tests::wait::until("records", laterna_tests::wait::PATIENCE, || {
            if log.ends()[&0] > 400 { Ok(()) } else { Err("too few".to_owned()) }
        });
        load.stop();
        log.range(0, 0, 300).to_vec()
    });
    let mut consumer = Consumer { connection: PgConnection::connect(&stage.url()).await.unwrap(), records, bug };
    let mut follower = Follower::new(COUNTER, KafkaLog::new(&stage.bootstrap(), TOPIC));
    let mut reader = Reader::connect(&stage.url()).await.unwrap();
    for at in (0..300).step_by(10) {
        match bug {
            Bug::Skips if at == 100 => {
                let skip = "UPDATE laterna.checkpoint SET next_offset = 110";
                sqlx::query(skip).execute(&mut consumer.connection).await.unwrap();
            }
            Bug::CheckpointApart if at == 100 => {
                // It is killed between the two, and begins again where the checkpoint stands.
                consumer.batch(at, at + 10).await;
                let lost = "UPDATE laterna.checkpoint SET next_offset = 100";
                sqlx::query(lost).execute(&mut consumer.connection).await.unwrap();
                consumer.batch(at, at + 10).await;
            }
            Bug::BlindRetry if at == 100 => {
                consumer.batch(at, at + 10).await;
                // The retry repeats the rows under the fence of what it believes.
                sqlx::query("UPDATE laterna.checkpoint SET next_offset = 100")
                    .execute(&mut consumer.connection)
                    .await
                    .unwrap();
                consumer.batch(at, at + 10).await;
            }
            Bug::NoFence | Bug::None if at == 100 => {
                consumer.batch(at, at + 10).await;
                // A zombie awakes and commits what it had in hand. The right one is fenced.
                consumer.batch(at, at + 10).await;
            }
            _ => consumer.batch(at, at + 10).await,
        }
        let snapshot = reader.snapshot("counter", COUNTER.quick).await.unwrap();
        tokio::task::block_in_place(|| follower.check(&snapshot))?;
        if bug == Bug::OffByOne {
            // As it would after a restart: from what it has stored.
            consumer.batch(at + 9, at + 10).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_consumer_passes_and_every_bug_is_caught() {
    run(Bug::None).await.unwrap();
    for bug in [Bug::CheckpointApart, Bug::BlindRetry, Bug::OffByOne, Bug::Skips, Bug::NoFence] {
        let said = run(bug).await.expect_err(&format!("{bug:?} was not caught"));
        println!("{bug:?}: {said}");
    }
}
