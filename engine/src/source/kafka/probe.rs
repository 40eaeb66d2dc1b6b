//! One look at the cluster, for `laterna check --connect` and for the first lines of a start.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::SourceError;
use super::raw::Failure;
use super::{KafkaSettings, base_config, config_error, fatal, transient, verdict};

/// How long the brokers have to answer, for all questions together.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// Keeps what the client said last, since the call itself only says that time has passed.
#[derive(Default)]
struct Ear(Mutex<Option<Failure>>);

impl ClientContext for Ear {
    fn log(&self, _: RDKafkaLogLevel, fac: &str, text: &str) {
        tracing::debug!(target: "librdkafka", "{fac} {text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // `all brokers down` says less than what came before it.
        if heard.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *heard = Some(Failure { code, text: reason.to_owned() });
        }
    }
}

impl ConsumerContext for Ear {}

/// Looks whether the brokers answer and what they have of the topics, within about 5 s. The text is for people, a line a topic.
///
/// # Errors
/// The brokers do not answer, refuse us, or lack a topic (all transient), or the configuration is wrong (fatal).
pub async fn probe(settings: &KafkaSettings) -> Result<String, SourceError> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || look(&settings)).await.unwrap_or_else(|error| {
        Err(fatal("probe_failed", format!("the look at kafka broke off: {error}"), "report this"))
    })
}

fn look(settings: &KafkaSettings) -> Result<String, SourceError> {
    let servers = &settings.bootstrap_servers;
    let config = base_config(settings)?;
    let consumer =
        BaseConsumer::from_config_and_context(&config, Ear::default()).map_err(|error| config_error(&error))?;
    let until = Instant::now() + PROBE_MAX;
    let (mut lines, mut missing) = (Vec::new(), Vec::new());
    for topic in &settings.topics {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let metadata = consumer.fetch_metadata(Some(topic), left).map_err(|error| {
            // What the client has to say about it waits to be polled; without a group there are no records to lose.
            while consumer.poll(Duration::ZERO).is_some() {}
            unanswered(servers, &error, consumer.context())
        })?;
        if lines.is_empty() {
            lines.push(format!("kafka at {servers}: {} broker(s)", metadata.brokers().len()));
        }
        for found in metadata.topics().iter().filter(|found| found.name() == topic) {
            match found.error().map(RDKafkaErrorCode::from) {
                None => lines.push(format!("topic {topic}: {} partition(s)", found.partitions().len())),
                Some(code) => {
                    let failure = Failure { code, text: format!("topic {topic}: {code}") };
                    if let Some((_, error)) = verdict::trouble(&failure, servers, None) {
                        return Err(error);
                    }
                    missing.push(topic.clone());
                }
            }
        }
    }
    if missing.is_empty() { Ok(lines.join("\n")) } else { Err(verdict::missing(servers, &missing)) }
}

fn unanswered(servers: &str, error: &KafkaError, ear: &Ear) -> SourceError {
    let heard = ear.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(failure) = &heard
        && let Some((_, refused)) = verdict::trouble(failure, servers, Some(&failure.text))
    {
        return refused;
    }
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::BrokerTransportFailure) | None => {
            let said = heard.map_or_else(|| error.to_string(), |failure| failure.text);
            verdict::disconnected(servers, &said)
        }
        Some(code) => transient("disconnected", format!("kafka at {servers} says: {code}"), "check the broker's log"),
    }
}
