//! `laterna check`: whether the engine would run as it is configured, without running it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use laterna::config::{Config, Loaded, SourceKind, masked_url};
use laterna::control;
use laterna::error::ErrorKind;
use laterna::source::{KafkaSettings, check_properties, probe};

use super::inspect::Loader;
use super::terminal::say;

/// What was found, said as it is found; the worse of all findings is the exit code.
#[derive(Default)]
pub(super) struct Findings {
    failures: usize,
    /// What does not answer, each by its name.
    away: Vec<String>,
}

impl Findings {
    pub(super) fn well(&self, name: &str, detail: &str) {
        say(&format!("ok      {name}: {detail}"));
    }

    /// Not there, and only some need it.
    pub(super) fn absent(&self, name: &str, detail: &str) {
        say(&format!("--      {name}: {detail}"));
    }

    pub(super) fn failed(&mut self, name: &str, detail: &str) {
        self.failures += 1;
        say(&format!("FAILED  {name}: {detail}"));
    }

    pub(super) fn unhealthy(&mut self, name: &str, detail: &str) {
        self.away.push(name.to_owned());
        say(&format!("AWAY    {name}: {detail}"));
    }

    /// What does not answer, each by its name.
    pub(super) fn away(&self) -> &[String] {
        &self.away
    }

    /// The exit code.
    pub(super) fn code(&self) -> ExitCode {
        match (self.failures, self.away.as_slice()) {
            (1.., _) => ExitCode::from(super::FAILURE),
            (0, [_, ..]) => ExitCode::from(super::UNHEALTHY),
            (0, []) => ExitCode::SUCCESS,
        }
    }
}

/// Validates all plugins; with `connect` also asks the database and the source.
pub(super) async fn check(loaded: Loaded, connect: bool) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    look(loaded, connect, &mut findings).await?;
    Ok(findings.code())
}

/// Looks at all of it.
pub(super) async fn look(loaded: Loaded, connect: bool, findings: &mut Findings) -> anyhow::Result<()> {
    let config = loaded.config;
    let file = loaded.file.map_or_else(|| "no file, all defaults".to_owned(), |file| file.display().to_string());
    findings.well("configuration", &file);
    if config.source == SourceKind::Kafka
        && let Err(refused) = check_properties(config.kafka.properties.keys().map(String::as_str))
    {
        refused.iter().for_each(|reason| findings.failed("kafka.properties", reason));
    }
    let topics = plugins(&config, findings).await?;
    if connect {
        database(&config, findings).await;
        match config.source {
            SourceKind::Kafka => broker(&config, topics, findings).await,
            SourceKind::File => folders(&config.file.dir, &topics, findings),
        }
        registry(&config, findings).await;
    }
    Ok(())
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
    let url = config.database.url.expose();
    let place = masked_url(url);
    // To look must not make the file: that is for the engine's first start.
    if let Some(file) = url.strip_prefix("sqlite:").map(|rest| Path::new(rest.strip_prefix("//").unwrap_or(rest)))
        && !file.exists()
    {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.is_dir() {
            findings.well("database", &format!("{place} is made when the engine starts"));
        } else {
            findings
                .failed("database", &format!("{place}: the folder {0} does not exist: mkdir -p {0}", folder.display()));
        }
        return;
    }
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

/// How single looks at the cluster are taken: beside every group.
pub(super) fn kafka_settings(config: &Config, topics: Vec<String>) -> KafkaSettings {
    let properties = config.kafka.properties.iter().map(|(key, value)| (key.clone(), value.expose().to_owned()));
    KafkaSettings {
        bootstrap_servers: config.kafka.bootstrap_servers.clone(),
        group_id: format!("{}.check", config.kafka.group_prefix),
        topics,
        serial: false,
        buffer_bytes_max: config.kafka.buffer_bytes_max,
        properties: properties.collect(),
    }
}

async fn broker(config: &Config, topics: Vec<String>, findings: &mut Findings) {
    if topics.is_empty() {
        findings.well("kafka", "not asked: there is no plugin that reads a topic");
        return;
    }
    let settings = kafka_settings(config, topics);
    match probe(&settings).await {
        Ok(answer) => answer.lines().for_each(|line| findings.well("kafka", line)),
        Err(error) if error.kind == ErrorKind::Transient => findings.unhealthy("kafka", &error.to_string()),
        Err(error) => findings.failed("kafka", &error.to_string()),
    }
}

async fn registry(config: &Config, findings: &mut Findings) {
    let answer = match control::schema_registry(config) {
        Ok(None) => return,
        Ok(Some(registry)) => registry.probe().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => findings.well("schema registry", &answer),
        Err(error) if error.kind == ErrorKind::Transient => findings.unhealthy("schema registry", &error.to_string()),
        Err(error) => findings.failed("schema registry", &error.to_string()),
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
