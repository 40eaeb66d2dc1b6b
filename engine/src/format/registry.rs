//! The schema registry: which schema an id means. Hides its API, references between schemas, the cache.
//!
//! Invariants: a schema never changes under its id, so what was found is kept (bounded) and asked for once, whoever wants it; that an id is
//! unknown is believed for half a minute only. A registry that does not answer is waited for, and nothing is guessed meanwhile.
//! The password goes nowhere but to the address that was named. Time and size of an answer are bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{StatusCode, header};
use tokio_native_tls::native_tls::Certificate;

use super::{FormatError, avro, protobuf};
use crate::error::{ErrorKind, Halt};
use crate::peer::{Peer, UrlError, check_url, segment};

const ANSWER_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Schemas that are kept; beyond, the oldest go.
const KEPT_MAX: usize = 1000;
/// How long it is believed that an id is unknown: it may be registered at any time.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);
/// Schemas that one schema may refer to, and they in turn.
const REFERENCES_MAX: usize = 500;
const SHOWN_MAX: usize = 200;

/// Where the registry is, and who asks.
#[derive(Clone)]
pub struct RegistrySettings {
    /// `http://HOST:PORT` or `https://..`, with a path where it has one.
    pub url: String,
    /// For basic authentication; none asks without.
    pub username: Option<String>,
    /// Its password. Never shown.
    pub password: Option<String>,
    /// Certificates in PEM that are trusted beside the system's.
    pub ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for RegistrySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySettings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// How an event names its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SchemaId {
    /// Counted by the registry.
    Number(i32),
    /// In a header, since Confluent 8.0.
    Guid([u8; 16]),
}

impl std::fmt::Display for SchemaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "schema id {number}"),
            Self::Guid(bytes) => write!(f, "schema {}", super::text::uuid(*bytes)),
        }
    }
}

/// A schema that is ready to decode with.
#[derive(Debug)]
pub(super) enum Schema {
    Avro(avro::Schema),
    Protobuf(protobuf::Schema),
    /// What it describes is JSON already.
    Json,
    /// The registry has it, and nothing can be decoded with it: why, and what to do.
    Unusable(String),
}

impl Schema {
    /// Its kind, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Avro(_) => "Avro",
            Self::Protobuf(_) => "Protobuf",
            Self::Json => "JSON Schema",
            Self::Unusable(_) => "unusable",
        }
    }
}

#[derive(Default)]
struct Cache {
    found: HashMap<SchemaId, Arc<Schema>>,
    /// In the order in which they came.
    order: VecDeque<SchemaId>,
    unknown: HashMap<SchemaId, Instant>,
}

/// A schema registry that speaks Confluent's API.
pub struct Registry {
    settings: RegistrySettings,
    peer: Peer,
    cache: Mutex<Cache>,
    /// One asks at a time; the others find what it found.
    asking: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

#[derive(serde::Deserialize)]
struct Registered {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Clone, serde::Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

#[derive(serde::Deserialize)]
struct Version {
    id: i32,
}

#[derive(serde::Deserialize)]
struct Refusal {
    error_code: i64,
    #[serde(default)]
    message: String,
}

/// What the registry says of one thing.
enum Answer<T> {
    Found(T),
    /// It is there, and does not have it.
    Unknown,
}

/// Looks at what a user may have written as the registry's address.
///
/// # Errors
/// What is wrong, for people.
pub fn check_registry_url(url: &str) -> Result<(), String> {
    check_url(url).map_err(url_error)
}

fn url_error(error: UrlError) -> String {
    match error {
        UrlError::Password => {
            format!("{error}; set schema_registry.username and schema_registry.password instead")
        }
        _ => format!("{error}; write it as \"http://HOST:8081\""),
    }
}

impl Registry {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Fatal ones: the address is none, or the certificates cannot be read.
    pub fn new(settings: RegistrySettings) -> Result<Self, FormatError> {
        let fatal = |reason: String, remedy: &str| error(ErrorKind::Fatal, "schema_registry_setting", reason, remedy);
        let trusted = settings.ca.as_deref().map(Certificate::stack_from_pem).transpose();
        let trusted =
            trusted.map_err(|e| fatal(format!("schema_registry.ca: {e}"), "name a file with certificates in PEM"))?;
        let peer = Peer::new(&settings.url, trusted.unwrap_or_default())
            .map_err(|what| {
                let reason = format!("schema_registry.url {:?}: {}", settings.url, url_error(what));
                fatal(reason, "correct [schema_registry]")
            })?
            .map_err(|e| fatal(format!("TLS: {e}"), "check the system's certificates"))?;
        Ok(Self { settings, peer, cache: Mutex::default(), asking: tokio::sync::Mutex::default() })
    }

    /// Whether it answers, in one line for people.
    ///
    /// # Errors
    /// As it would fail to give a schema.
    pub async fn probe(&self) -> Result<String, FormatError> {
        match self.get::<Vec<String>>("/schemas/types").await? {
            Answer::Found(kinds) => Ok(format!("{} has schemas of {}", self.settings.url, kinds.join(", "))),
            // Those that are older than the route have Avro.
            Answer::Unknown => Ok(format!("{} answers", self.settings.url)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // Nothing is left half done under the lock.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schema with this id; none where the registry does not know it.
    ///
    /// # Errors
    /// The registry does not answer (transient) or refuses us (fatal).
    pub(super) async fn schema(&self, id: SchemaId) -> Result<Option<Arc<Schema>>, FormatError> {
        if let Some(known) = self.known(id) {
            return Ok(known);
        }
        let _one = self.asking.lock().await;
        if let Some(known) = self.known(id) {
            return Ok(known);
        }
        let found = match self.fetch(id).await? {
            Answer::Found(schema) => Some(Arc::new(schema)),
            Answer::Unknown => None,
        };
        let mut cache = self.lock();
        match &found {
            Some(schema) => {
                if cache.order.len() >= KEPT_MAX
                    && let Some(oldest) = cache.order.pop_front()
                {
                    cache.found.remove(&oldest);
                }
                cache.order.push_back(id);
                cache.found.insert(id, Arc::clone(schema));
            }
            None => {
                if cache.unknown.len() >= KEPT_MAX {
                    cache.unknown.clear();
                }
                cache.unknown.insert(id, Instant::now());
            }
        }
        Ok(found)
    }

    fn known(&self, id: SchemaId) -> Option<Option<Arc<Schema>>> {
        let cache = self.lock();
        if let Some(schema) = cache.found.get(&id) {
            return Some(Some(Arc::clone(schema)));
        }
        cache.unknown.get(&id).filter(|since| since.elapsed() < UNKNOWN_FOR).map(|_| None)
    }

    async fn fetch(&self, id: SchemaId) -> Result<Answer<Schema>, FormatError> {
        let path = match id {
            SchemaId::Number(number) => format!("/schemas/ids/{number}"),
            SchemaId::Guid(guid) => format!("/schemas/guids/{}", super::text::uuid(guid)),
        };
        let Answer::Found(registered) = self.get::<Registered>(&path).await? else { return Ok(Answer::Unknown) };
        let usable = match registered.kind.as_deref().unwrap_or("AVRO") {
            "AVRO" => {
                let mut references = Vec::new();
                self.references(&registered.references, false, &mut references).await?.and_then(|()| {
                    let texts: Vec<String> = references.into_iter().map(|(_, schema)| schema).collect();
                    avro::Schema::parse(&registered.schema, &texts).map(Schema::Avro)
                })
            }
            "PROTOBUF" => {
                let Answer::Found(serialized) = self.get::<Registered>(&format!("{path}?format=serialized")).await?
                else {
                    return Ok(Answer::Unknown);
                };
                let mut references = Vec::new();
                match self.references(&serialized.references, true, &mut references).await? {
                    Ok(()) => protobuf_schema(&serialized.schema, references),
                    Err(what) => Err(what),
                }
            }
            "JSON" => Ok(Schema::Json),
            other => Err(format!("the registry says that it is of the type {other:?}, which is not known")),
        };
        Ok(Answer::Found(usable.unwrap_or_else(Schema::Unusable)))
    }

    /// All that a schema refers to, each behind what it refers to itself. The inner error is the schema's fault.
    async fn references(
        &self,
        wanted: &[Reference],
        is_serialized: bool,
        found: &mut Vec<(String, String)>,
    ) -> Result<Result<(), String>, FormatError> {
        // Walked with a list of its own: how deep references go is the registry's word.
        enum Step {
            Open(Reference),
            Close(String, String),
        }
        let mut seen = std::collections::HashSet::new();
        let mut steps: Vec<Step> = wanted.iter().rev().cloned().map(Step::Open).collect();
        while let Some(step) = steps.pop() {
            let reference = match step {
                Step::Open(reference) => reference,
                Step::Close(name, schema) => {
                    found.push((name, schema));
                    continue;
                }
            };
            if !seen.insert((reference.subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Ok(Err(format!("it refers to more than {REFERENCES_MAX} schemas")));
            }
            let Reference { name, subject, version } = reference;
            let gone =
                || Ok(Err(format!("it refers to version {version} of {subject:?}, which the registry does not have")));
            let path = format!("/subjects/{}/versions/{version}?deleted=true", segment(&subject));
            let Answer::Found(Version { id }) = self.get(&path).await? else { return gone() };
            let format = if is_serialized { "?format=serialized" } else { "" };
            let Answer::Found(registered) = self.get::<Registered>(&format!("/schemas/ids/{id}{format}")).await? else {
                return gone();
            };
            steps.push(Step::Close(name, registered.schema));
            steps.extend(registered.references.into_iter().rev().map(Step::Open));
        }
        Ok(Ok(()))
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, FormatError> {
        let mut request =
            self.peer.request(path).header(header::ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(username) = &self.settings.username {
            let pair = format!("{username}:{}", self.settings.password.as_deref().unwrap_or_default());
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
        }
        let request = request.body(Full::<Bytes>::default()).map_err(|error| self.away(&error.to_string()))?;
        let answer = self.peer.ask(request, ANSWER_MAX, ANSWER_BYTES_MAX).await;
        let (status, body) = answer.map_err(|none| self.away(&none.cause))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map(Answer::Found).map_err(|_| self.strange(path, status, &body));
        }
        let refusal = serde_json::from_slice::<Refusal>(&body).ok();
        let url = &self.settings.url;
        match (status, refusal) {
            // Its own codes: no such subject, version, schema.
            (StatusCode::NOT_FOUND, Some(Refusal { error_code: 40_400..=40_499, .. })) => Ok(Answer::Unknown),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, refusal) => {
                let said = refusal.map(|refusal| shown(&refusal.message)).unwrap_or_default();
                let reason = format!("the schema registry at {url} refuses us: {} {said}", status.as_u16());
                let remedy = "set schema_registry.username and schema_registry.password, then restart the engine";
                Err(error(ErrorKind::Fatal, "schema_registry_refused", reason.trim_end().to_owned(), remedy))
            }
            (StatusCode::NOT_FOUND, _) if path == "/schemas/types" => Ok(Answer::Unknown),
            (StatusCode::NOT_FOUND, Some(_)) if path.starts_with("/schemas/guids/") => {
                let reason = format!(
                    "the schema registry at {url} finds no schema by a GUID, as events with their schema in a header want it"
                );
                let remedy = "use a registry that has GET /schemas/guids/ (Confluent 8.0), or let producers put the id in front of the value";
                Err(error(ErrorKind::Fatal, "schema_registry_too_old", reason, remedy))
            }
            (status, Some(refusal)) if status.is_server_error() => {
                Err(self.away(&format!("{} {}", status.as_u16(), shown(&refusal.message))))
            }
            (status, _) => Err(self.strange(path, status, &body)),
        }
    }

    fn away(&self, cause: &str) -> FormatError {
        let reason = format!("the schema registry at {} does not answer: {cause}", self.settings.url);
        let remedy = if self.peer.is_tls() {
            "start it, or correct schema_registry.url, or name its certificate as schema_registry.ca"
        } else {
            "start it, or correct schema_registry.url"
        };
        error(ErrorKind::Transient, "schema_registry_away", reason, remedy)
    }

    fn strange(&self, path: &str, status: StatusCode, body: &[u8]) -> FormatError {
        let (url, said) = (&self.settings.url, shown(&String::from_utf8_lossy(body)));
        let reason = format!("{url}{path} answered {} {said:?}, as no schema registry does", status.as_u16());
        error(ErrorKind::Transient, "schema_registry_strange", reason, "correct schema_registry.url")
    }
}

/// What the registry gave for `format=serialized`, which some do not know: they give the text of the .proto file.
fn protobuf_schema(serialized: &str, references: Vec<(String, String)>) -> Result<Schema, String> {
    let binary = |text: &str| {
        base64::engine::general_purpose::STANDARD.decode(text.trim()).map_err(|_| {
            "the registry gave the text of a .proto file where its descriptor was asked for (GET /schemas/ids/ID?format=serialized): \
             use a registry that can give it (Confluent's, Redpanda's, Karapace)"
                .to_owned()
        })
    };
    let file = binary(serialized)?;
    let references: Result<Vec<_>, String> =
        references.into_iter().map(|(name, text)| Ok((name, binary(&text)?))).collect();
    protobuf::Schema::parse(&file, &references?).map(Schema::Protobuf)
}

fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect()
}

fn error(kind: ErrorKind, code: &'static str, reason: String, remedy: &str) -> FormatError {
    FormatError { kind, halt: Halt { code, reason, remedy: remedy.to_owned(), at: None } }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
pub(super) mod tests;
