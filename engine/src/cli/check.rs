//! `laterna check`: whether the engine would run as it is configured, without running it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use laterna::config::{Config, Loaded, SourceKind, masked_url};
use laterna::control;
use laterna::source::check_properties;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::inspect::Loader;
use super::terminal::say;

/// How long the broker may take to answer.
const BROKER_TIME_MAX: Duration = Duration::from_secs(5);

/// What was found; the worse of all findings is the exit code.
#[derive(Default)]
struct Findings {
    failures: usize,
    unhealthy: usize,
}

impl Findings {
    fn well(&self, name: &str, detail: &str) {
        say(&format!("ok      {name}: {detail}"));
    }

    fn failed(&mut self, name: &str, detail: &str) {
        self.failures += 1;
        say(&format!("FAILED  {name}: {detail}"));
    }

    fn unhealthy(&mut self, name: &str, detail: &str) {
        self.unhealthy += 1;
        say(&format!("AWAY    {name}: {detail}"));
    }
}

/// Validates all plugins; with `connect` also asks the database and the source.
pub(super) async fn check(loaded: Loaded, connect: bool) -> anyhow::Result<ExitCode> {
    let config = loaded.config;
    let mut findings = Findings::default();
    let file = loaded.file.map_or_else(|| "no file, all defaults".to_owned(), |file| file.display().to_string());
    findings.well("configuration", &file);
    if config.source == SourceKind::Kafka
        && let Err(refused) = check_properties(config.kafka.properties.keys().map(String::as_str))
    {
        refused.iter().for_each(|reason| findings.failed("kafka.properties", reason));
    }
    let topics = plugins(&config, &mut findings).await?;
    if connect {
        database(&config, &mut findings).await;
        match config.source {
            SourceKind::Kafka => broker(&config, topics, &mut findings).await,
            SourceKind::File => folders(&config.file.dir, &topics, &mut findings),
        }
    }
    Ok(match findings {
        Findings { failures: 1.., .. } => ExitCode::from(super::FAILURE),
        Findings { unhealthy: 1.., .. } => ExitCode::from(super::UNHEALTHY),
        _ => ExitCode::SUCCESS,
    })
}

/// Loads every file of the folder; answers the topics that their projections read.
async fn plugins(config: &Config, findings: &mut Findings) -> anyhow::Result<Vec<String>> {
    let dir = &config.plugins_dir;
    let files = match wasm_files(dir) {
        Ok(files) => files,
        Err(error) => {
            let name = dir.display();
            findings.failed(
                "plugins",
                &format!("the folder {name} cannot be read: {error}; create it (mkdir -p {name}) or set plugins_dir"),
            );
            return Ok(Vec::new());
        }
    };
    if files.is_empty() {
        findings.well(
            "plugins",
            &format!("{} is empty; drop one in: cp MY_PROJECTION.wasm {}/", dir.display(), dir.display()),
        );
    }
    let loader = Loader::new(config.clone())?;
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut topics = Vec::new();
    for file in files {
        let place = file.display().to_string();
        match loader.load(&file).await {
            Ok(plugin) => {
                let descriptor = &plugin.schema().descriptor;
                if let Some(other) = names.insert(descriptor.name.clone(), file.clone()) {
                    findings.failed(
                        &place,
                        &format!("projection {:?} is also in {}; one name runs once", descriptor.name, other.display()),
                    );
                    continue;
                }
                let mut reads: Vec<String> = descriptor.topics.iter().map(|topic| topic.name.clone()).collect();
                findings.well(
                    &place,
                    &format!(
                        "projection {} revision {}, reads {}",
                        descriptor.name,
                        descriptor.revision,
                        reads.join(", ")
                    ),
                );
                topics.append(&mut reads);
            }
            Err(error) => findings.failed(&place, &format!("{error:#}")),
        }
    }
    topics.sort();
    topics.dedup();
    Ok(topics)
}

fn wasm_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

async fn database(config: &Config, findings: &mut Findings) {
    let place = masked_url(config.database.url.expose());
    let answer = match control::connect(&config.database).await {
        Ok(sink) => {
            let answer = sink.ping().await;
            sink.close().await;
            answer
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(product) => findings.well("database", &format!("{place} answers: {product}")),
        Err(error) => findings.unhealthy("database", &format!("{place}: {error}")),
    }
}

async fn broker(config: &Config, topics: Vec<String>, findings: &mut Findings) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &config.kafka.bootstrap_servers);
    for (key, value) in &config.kafka.properties {
        settings.set(key, value.expose());
    }
    let servers = config.kafka.bootstrap_servers.clone();
    let asked = tokio::task::spawn_blocking(move || -> anyhow::Result<(usize, Vec<String>)> {
        let consumer: BaseConsumer = settings.create().context("librdkafka refused the properties")?;
        let metadata = consumer.fetch_metadata(None, BROKER_TIME_MAX)?;
        let is_there = |name: &String| metadata.topics().iter().any(|topic| topic.name() == name);
        Ok((metadata.brokers().len(), topics.into_iter().filter(|name| !is_there(name)).collect()))
    });
    match asked.await {
        Ok(Ok((brokers, missing))) => {
            findings.well("kafka", &format!("{servers} answers: {brokers} broker(s)"));
            for topic in missing {
                findings.unhealthy("kafka", &format!("the topic {topic} does not exist; its projection waits for it"));
            }
        }
        Ok(Err(error)) => {
            let hint = "is the broker up, and does [kafka.properties] name its security.protocol?";
            findings.unhealthy(
                "kafka",
                &format!("{servers} did not answer in {} s: {error:#}; {hint}", BROKER_TIME_MAX.as_secs()),
            );
        }
        Err(error) => findings.unhealthy("kafka", &format!("{servers}: {error}")),
    }
}

fn folders(dir: &Path, topics: &[String], findings: &mut Findings) {
    for topic in topics {
        let folder = dir.join(topic);
        if folder.is_dir() {
            findings.well("files", &format!("{} exists", folder.display()));
        } else {
            findings.unhealthy(
                "files",
                &format!("the folder {} does not exist; its projection waits for it", folder.display()),
            );
        }
    }
}
