//! What the bytes of keys and values mean: from the formats that topics are written in to the text that a plugin is handed. Hides Confluent's
//! framing, the schema registry, Avro, Protobuf, and the envelopes of CloudEvents and Debezium.
//!
//! Invariants: a topic that needs nothing costs nothing, its batch is handed on as it is; a null value is a tombstone and never at fault;
//! the text depends on the event and its schema alone, so a rebuild sees the same bytes; an event that cannot be decoded is named and
//! ends the batch, and all in front of it is delivered; what was decoded once is decoded again as the same, so saved events can be replayed.

mod avro;
mod envelope;
mod protobuf;
mod registry;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::FutureExt as _;

use crate::error::{ErrorKind, Halt};
use crate::event::{Event, EventBatch, Header};
use registry::{Schema, SchemaId};

pub use registry::{Registry, RegistrySettings, check_registry_url};

/// Events that are decoded without letting others have the thread.
const EVENTS_AT_ONCE: usize = 64;

/// What a topic's keys or values are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Decoded where Confluent's framing names a schema that the registry knows; untouched otherwise.
    #[default]
    Auto,
    /// Untouched.
    Bytes,
    /// One JSON document, untouched.
    Json,
    /// A CloudEvent, in binary or structured mode.
    CloudEvents,
    /// A change of Debezium's.
    Debezium,
    /// Avro behind Confluent's framing.
    Avro,
    /// Protobuf behind Confluent's framing.
    Protobuf,
}

impl Format {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 7] =
        [Self::Auto, Self::Json, Self::Bytes, Self::CloudEvents, Self::Debezium, Self::Avro, Self::Protobuf];

    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bytes => "bytes",
            Self::Json => "json",
            Self::CloudEvents => "cloudevents",
            Self::Debezium => "debezium",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
        }
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether it can't be read without a schema registry.
    pub fn needs_registry(self) -> bool {
        matches!(self, Self::Avro | Self::Protobuf)
    }
}

/// The formats of a projection's topics.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TopicFormats {
    /// Of all topics that are not named.
    pub all: Format,
    /// Of single topics.
    pub topics: BTreeMap<String, Format>,
}

impl TopicFormats {
    /// The format of this topic.
    pub fn of(&self, topic: &str) -> Format {
        self.topics.get(topic).copied().unwrap_or(self.all)
    }

    /// All formats that are named.
    pub fn iter(&self) -> impl Iterator<Item = Format> + '_ {
        std::iter::once(self.all).chain(self.topics.values().copied())
    }
}

/// The registry is away or refuses us, so nothing can be said of the events.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{halt}")]
pub struct FormatError {
    /// What must happen next; never poison.
    pub kind: ErrorKind,
    /// What it is and what to do.
    pub halt: Halt,
}

/// Why an event cannot be decoded, whatever the time and the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Which part of it, and what is wrong, with its schema.
    pub reason: String,
    /// The next step for a person.
    pub remedy: String,
}

/// Events as a plugin is handed them.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The events up to the first that is at fault.
    pub batch: Arc<EventBatch>,
    /// What is wrong with the event behind them.
    pub fault: Option<Undecodable>,
}

/// The formats of one projection, and the registry behind them. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    values: Arc<TopicFormats>,
    keys: Arc<TopicFormats>,
    registry: Option<Arc<Registry>>,
    /// The events come from files, where what is Avro or Protobuf elsewhere may stand as JSON already.
    is_file: bool,
}

/// A key's or value's bytes, and the schema that they were written with.
struct Frame<'a> {
    id: SchemaId,
    /// Protobuf's message indexes, where they stand in the header too.
    indexes: Option<&'a [u8]>,
    body: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Key,
    Value,
}

impl Side {
    fn of(self, event: &Event) -> Option<&[u8]> {
        match self {
            Self::Key => event.key.as_deref(),
            Self::Value => event.value.as_deref(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Key => "__key_schema_id",
            Self::Value => "__value_schema_id",
        }
    }
}

/// What the registry has said of the schemas of a batch.
type Schemas = HashMap<SchemaId, Option<Arc<Schema>>>;

impl Decoder {
    /// A decoder for these formats of values and keys. `is_file`: the events come from files of JSON lines.
    pub fn new(values: TopicFormats, keys: TopicFormats, registry: Option<Arc<Registry>>, is_file: bool) -> Self {
        Self { values: Arc::new(values), keys: Arc::new(keys), registry, is_file }
    }

    fn format(&self, side: Side, topic: &str) -> Format {
        let value = self.values.of(topic);
        match side {
            Side::Value => value,
            // Debezium writes key and value alike.
            Side::Key => match self.keys.of(topic) {
                Format::Auto if value == Format::Debezium => Format::Debezium,
                key => key,
            },
        }
    }

    /// Whether events of this topic are handed on as they are, whatever they hold.
    fn is_untouched(&self, topic: &str) -> bool {
        [Side::Key, Side::Value].into_iter().all(|side| match self.format(side, topic) {
            Format::Bytes => true,
            Format::Auto => self.registry.is_none(),
            _ => false,
        })
    }

    /// The events as the plugin is handed them.
    ///
    /// # Errors
    /// The registry is away (transient) or refuses us (fatal). Faults of events are no errors: they are in [`Decoded::fault`].
    pub async fn decode(&self, batch: &Arc<EventBatch>) -> Result<Decoded, FormatError> {
        if batch.events.is_empty() || self.is_untouched(&batch.partition.topic) {
            return Ok(Decoded { batch: Arc::clone(batch), fault: None });
        }
        let schemas = self.schemas(batch).await?;
        let (decoder, batch) = (self.clone(), Arc::clone(batch));
        // A panic in here ends at the task.
        let task = tokio::spawn(async move { decoder.all(&batch, &schemas).await }.boxed());
        task.await.map_err(|error| {
            let remedy = "restart the engine, and report this: it is a fault of Laterna".to_owned();
            let reason = format!("decoding broke off: {error}");
            FormatError { kind: ErrorKind::Fatal, halt: Halt { code: "internal_error", reason, remedy, at: None } }
        })
    }

    /// The schemas that the batch names. Those of events behind one that is at fault are asked for too: rare, and kept.
    async fn schemas(&self, batch: &EventBatch) -> Result<Schemas, FormatError> {
        let mut schemas = Schemas::new();
        let Some(registry) = &self.registry else { return Ok(schemas) };
        for side in [Side::Key, Side::Value] {
            let format = self.format(side, &batch.partition.topic);
            if matches!(format, Format::Bytes | Format::Json) {
                continue;
            }
            for event in &batch.events {
                if let Ok(Some(Frame { id, .. })) = frame(event, side)
                    && !schemas.contains_key(&id)
                {
                    schemas.insert(id, registry.schema(id).await?);
                }
            }
        }
        Ok(schemas)
    }

    async fn all(&self, batch: &Arc<EventBatch>, schemas: &Schemas) -> Decoded {
        let topic = &*batch.partition.topic;
        let is_auto = [Side::Key, Side::Value]
            .into_iter()
            .all(|side| matches!(self.format(side, topic), Format::Auto | Format::Bytes));
        if is_auto && schemas.values().all(Option::is_none) {
            return Decoded { batch: Arc::clone(batch), fault: None };
        }
        let mut events = Vec::with_capacity(batch.events.len());
        let mut fault = None;
        for event in &batch.events {
            if events.len() % EVENTS_AT_ONCE == EVENTS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            match self.event(topic, event, schemas) {
                Ok(event) => events.push(event),
                Err(wrong) => {
                    fault = Some(wrong);
                    break;
                }
            }
        }
        let next_offset = match (&fault, batch.events.get(events.len())) {
            (Some(_), Some(event)) => event.offset,
            _ => batch.next_offset,
        };
        Decoded { batch: Arc::new(EventBatch { partition: batch.partition.clone(), events, next_offset }), fault }
    }

    fn event(&self, topic: &str, event: &Event, schemas: &Schemas) -> Result<Event, Undecodable> {
        let mut headers: Option<Vec<Header>> = None;
        let mut side = |side: Side| {
            let format = self.format(side, topic);
            self.payload(side, format, event, schemas, &mut headers).map_err(|wrong| wrong.of(side, format, topic))
        };
        let (key, value) = (side(Side::Key)?, side(Side::Value)?);
        let Event { offset, timestamp_ms, .. } = *event;
        Ok(Event { offset, timestamp_ms, key, value, headers: headers.unwrap_or_else(|| event.headers.clone()) })
    }

    /// One key or value. `headers` is set where the event's are others from now on.
    fn payload(
        &self,
        side: Side,
        format: Format,
        event: &Event,
        schemas: &Schemas,
        headers: &mut Option<Vec<Header>>,
    ) -> Result<Option<Vec<u8>>, Wrong> {
        let Some(bytes) = side.of(event) else { return Ok(None) };
        let mut bytes = match self.unframed(side, format, event, schemas)? {
            Some(text) => {
                // It speaks of bytes that are gone.
                headers.get_or_insert_with(|| event.headers.clone()).retain(|header| header.name != side.header());
                text
            }
            None => bytes.to_vec(),
        };
        match format {
            Format::Auto | Format::Bytes | Format::Avro | Format::Protobuf => {}
            Format::Json => envelope::json(&bytes).map_err(Wrong::plain)?,
            Format::CloudEvents => {
                let found = envelope::cloudevent(headers.as_ref().unwrap_or(&event.headers), &bytes);
                if let Some(text) = found.map_err(Wrong::plain)? {
                    bytes = text.into_bytes();
                    envelope::set_content_type(headers.get_or_insert_with(|| event.headers.clone()));
                }
            }
            Format::Debezium => {
                match envelope::connect(&bytes).map_err(Wrong::plain)? {
                    envelope::Unwrapped::Same => {}
                    envelope::Unwrapped::Inner(inner) => bytes = inner.as_bytes().to_vec(),
                    envelope::Unwrapped::Null => return Ok(None),
                }
                if side == Side::Value {
                    envelope::debezium(&bytes).map_err(Wrong::plain)?;
                }
            }
        }
        Ok(Some(bytes))
    }

    /// What stands behind Confluent's framing, as JSON text; none where the format has none or needs none.
    fn unframed(&self, side: Side, format: Format, event: &Event, schemas: &Schemas) -> Result<Option<Vec<u8>>, Wrong> {
        if matches!(format, Format::Bytes | Format::Json) || self.registry.is_none() {
            return Ok(None);
        }
        let needs = format.needs_registry();
        let found = match frame(event, side) {
            Ok(found) => found,
            Err(what) if needs => return Err(Wrong::plain(what)),
            Err(_) => None,
        };
        let Some(frame) = found else {
            if needs && !self.is_file {
                let what = "it does not begin with Confluent's framing (a zero byte, then the schema's id in 4), and no header names its schema";
                return Err(Wrong::plain(what.to_owned()));
            }
            return Ok(None);
        };
        let id = frame.id;
        let schema = match schemas.get(&id) {
            Some(Some(schema)) => schema,
            _ if needs => return Err(Wrong::of_schema(id, "the registry does not know it".to_owned())),
            _ => return Ok(None),
        };
        let wanted = match format {
            Format::Avro => Some("Avro"),
            Format::Protobuf => Some("Protobuf"),
            _ => None,
        };
        if let Some(wanted) = wanted
            && !matches!(**schema, Schema::Unusable(_))
            && schema.kind() != wanted
        {
            return Err(Wrong::of_schema(id, format!("it is {}, not {wanted}", schema.kind())));
        }
        let decoded = match &**schema {
            Schema::Avro(schema) => schema.decode(frame.body),
            Schema::Protobuf(schema) => schema.decode(frame.indexes, frame.body),
            Schema::Json => envelope::json(frame.body).map(|()| String::from_utf8_lossy(frame.body).into_owned()),
            Schema::Unusable(why) => Err(why.clone()),
        };
        let text = decoded.map_err(|what| Wrong::of_schema(id, what))?;
        // A key that is one text is handed over as that text, not in quotes: it is what rows are named by.
        let bare = (side == Side::Key && text.starts_with('"')).then(|| serde_json::from_str::<String>(&text).ok());
        Ok(Some(bare.flatten().unwrap_or(text).into_bytes()))
    }
}

/// What is wrong with a key or a value, and with which schema it was read.
struct Wrong {
    schema: Option<SchemaId>,
    what: String,
}

impl Wrong {
    fn plain(what: String) -> Self {
        Self { schema: None, what }
    }

    fn of_schema(id: SchemaId, what: String) -> Self {
        Self { schema: Some(id), what }
    }

    fn of(self, side: Side, format: Format, topic: &str) -> Undecodable {
        let (name, word) = (side.name(), format.name());
        let key = if side == Side::Key { "key_format" } else { "format" };
        let schema = self.schema.map(|id| format!(", {id}")).unwrap_or_default();
        let reason = format!("its {name} cannot be read as {word}{schema}: {}", self.what);
        let registered = if self.schema.is_some() { "register the schema that it was written with, or " } else { "" };
        let remedy = format!(
            "{registered}correct what writes such events; where the topic is written otherwise, say so under [projections.NAME]: \
             {key} = {{ {topic:?} = \"bytes\" }}; then restart the projection"
        );
        Undecodable { reason, remedy }
    }
}

/// Confluent's framing: the schema in a header, or a zero byte and its id in front of the bytes.
///
/// # Errors
/// A header that is none, for people.
fn frame(event: &Event, side: Side) -> Result<Option<Frame<'_>>, String> {
    let Some(bytes) = side.of(event) else { return Ok(None) };
    let header = event.headers.iter().rev().find(|header| header.name == side.header());
    if let Some(value) = header.and_then(|header| header.value.as_deref()) {
        let wrong = || format!("the header {} holds neither a GUID nor an id", side.header());
        let (id, indexes) = match value.split_first() {
            Some((1, rest)) => {
                let (guid, indexes) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
                (SchemaId::Guid(*guid), indexes)
            }
            Some((0, rest)) => {
                let (id, indexes) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
                (SchemaId::Number(i32::from_be_bytes(*id)), indexes)
            }
            _ => return Err(wrong()),
        };
        return Ok(Some(Frame { id, indexes: Some(indexes), body: bytes }));
    }
    let Some((0, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((id, body)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    // Registries count from 1.
    let id = i32::from_be_bytes(*id);
    Ok((id > 0).then_some(Frame { id: SchemaId::Number(id), indexes: None, body }))
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
