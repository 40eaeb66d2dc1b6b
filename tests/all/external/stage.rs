//! A broker, a cluster, a database of one's own, and what most tests do with them.

use laterna_tests::engine::{Engine, From, Home};
use laterna_tests::kafka_log::{KafkaLog, create_topic};
use laterna_tests::load::Load;
use laterna_tests::observer::Observer;
use laterna_tests::oracle::{self, COUNTER, Projection, TOPIC};
use laterna_tests::random::Random;
use laterna_tests::services::{Kafka, Lease, Postgres, create_database, unique, url};
use laterna_tests::sql::{Reader, Snapshot};
use laterna_tests::wait::{self, PATIENCE};
use sqlx::{Connection as _, PgConnection};

use crate::crashes::Place;
use crate::workload::mixed;

pub(crate) struct Stage {
    pub(crate) kafka: Lease<Kafka>,
    pub(crate) postgres: Lease<Postgres>,
    database: String,
    group: String,
}

impl Stage {
    /// With the topic in so many partitions.
    pub(crate) async fn new(partitions: i32) -> Self {
        Self::with_topic(partitions, &[]).await
    }

    pub(crate) async fn with_topic(partitions: i32, settings: &[(&str, &str)]) -> Self {
        let (kafka, postgres) = tokio::task::block_in_place(|| (Lease::<Kafka>::take(), Lease::<Postgres>::take()));
        let database = create_database(postgres.port(), "blackbox").await;
        tokio::task::block_in_place(|| create_topic(&kafka.bootstrap(), TOPIC, partitions, settings));
        Self { kafka, postgres, database, group: unique("laterna") }
    }

    /// The database itself, whatever stands between it and the engine.
    pub(crate) fn url(&self) -> String {
        self.postgres.url(&self.database)
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.kafka.bootstrap()
    }

    pub(crate) fn home(&self, guests: &[&str]) -> Home {
        self.home_at(self.postgres.port(), guests)
    }

    /// With the database behind another port.
    pub(crate) fn home_at(&self, port: u16, guests: &[&str]) -> Home {
        let home = Home::new(From::Kafka(self.bootstrap()), &url(port, &self.database), guests);
        home.with("kafka", format!("group_prefix = \"{}\"", self.group))
    }

    pub(crate) fn log(&self) -> KafkaLog {
        KafkaLog::new(&self.bootstrap(), TOPIC)
    }

    pub(crate) fn observe(&self, projection: Projection) -> Observer {
        Observer::start(&self.url(), projection, self.log())
    }

    pub(crate) fn load(&self, what: &str, rate: u64) -> Load {
        Load::start(&self.bootstrap(), TOPIC, rate, Random::from_environment(what), mixed)
    }

    /// Holds every row against a fold of the whole topic, and what was acknowledged against the topic.
    pub(crate) async fn settle(&self, projections: &[Projection], acknowledged: &[(i32, i64)]) -> u64 {
        let mut count = 0;
        for projection in projections {
            count = oracle::settle(&self.url(), *projection, self.log()).await;
        }
        tokio::task::block_in_place(|| {
            let mut log = self.log();
            log.ends();
            for (partition, offset) in acknowledged {
                let found = log.known(*partition).binary_search_by_key(offset, |record| record.offset);
                assert!(found.is_ok(), "the broker lost {partition}@{offset}, which it had acknowledged");
            }
        });
        count
    }

    pub(crate) async fn snapshot(&self, projection: Projection) -> Snapshot {
        let mut reader = Reader::connect(&self.url()).await.unwrap();
        reader.snapshot(projection.name, projection.whole).await.unwrap()
    }

    /// One statement of ours against the database.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// Under a load of its own: events come all the time.
impl Place for Stage {
    fn home(&self, guests: &[&str]) -> Home {
        Stage::home(self, guests)
    }

    fn observe(&self) -> Observer {
        Stage::observe(self, COUNTER)
    }

    async fn goes_on(&mut self) {
        self.settle(&[COUNTER], &[]).await;
    }

    async fn stored(&self) -> Vec<String> {
        let names = "SELECT relname::text FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid \
                     WHERE relname LIKE '%counts%' AND coalesce(indisvalid, true)";
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        sqlx::query_scalar(names).fetch_all(&mut connection).await.unwrap()
    }
}

/// Waits until readers have seen `more` advances, while nothing is wrong.
pub(crate) fn progress(observers: &mut [Observer], more: u64, engines: &mut [&mut Engine]) {
    let goals: Vec<u64> = observers.iter().map(|observer| observer.advanced() + more).collect();
    wait::until("progress that readers see", PATIENCE, || {
        for engine in engines.iter_mut() {
            assert!(engine.ended().is_none(), "an engine ended\n{}", engine.tail());
        }
        observers.iter_mut().for_each(Observer::still_right);
        if observers.iter().zip(&goals).all(|(observer, goal)| observer.advanced() >= *goal) {
            return Ok(());
        }
        let seen: Vec<u64> = observers.iter().map(Observer::snapshots).collect();
        let tails: Vec<String> = engines.iter().map(|engine| engine.tail()).collect();
        Err(format!("{seen:?} snapshots\n{}", tails.join("\n")))
    });
}

/// How many partitions an engine owns of a projection.
pub(crate) fn owned(engine: &Engine, projection: &str) -> Result<usize, String> {
    Ok(engine.projection(projection)?["partitions"].as_array().map_or(0, Vec::len))
}

/// Ends all observers; gives how many snapshots they held against the law.
pub(crate) fn finish(observers: impl IntoIterator<Item = Observer>) -> u64 {
    observers.into_iter().map(Observer::finish).sum()
}
