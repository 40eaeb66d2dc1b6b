//! Protobuf: from a message and the descriptor of its file to JSON text. Hides descriptors, imports, message indexes and the JSON mapping.
//!
//! The mapping is proto3's JSON, with the names of fields as the .proto file has them, fields without presence always there, and
//! the members of maps sorted. Invariants: the text depends on the descriptors and the bytes alone; fields stand in the order of the
//! schema; messages inside messages are bounded by the library (100).

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, SerializeOptions, Value};

use super::text::Text;

/// Message indexes: a nesting of messages deeper than any .proto file has.
const INDEXES_MAX: usize = 64;

/// A file's messages, with all that it imports.
#[derive(Debug)]
pub(super) struct Schema {
    pool: DescriptorPool,
    file: String,
}

impl Schema {
    /// `file` is a serialized `FileDescriptorProto`; `references` are those that it imports, by the names under which it does, each after
    /// those that it imports itself.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn parse(file: &[u8], references: &[(String, Vec<u8>)]) -> Result<Self, String> {
        let mut pool = DescriptorPool::global();
        add(&mut pool, decimal_file())?;
        for (name, bytes) in references {
            if pool.get_file_by_name(name).is_none() {
                let mut file =
                    descriptor(bytes).map_err(|error| format!("the file {name:?} that it imports: {error}"))?;
                file.name = Some(name.clone());
                add(&mut pool, file)?;
            }
        }
        let mut file = descriptor(file)?;
        // Registries call it "default", or not at all.
        let mut name = file.name.take().filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
        while pool.get_file_by_name(&name).is_some() {
            name.push('_');
        }
        file.name = Some(name.clone());
        add(&mut pool, file)?;
        Ok(Self { pool, file: name })
    }

    /// The JSON text of a message. `indexes` is the place of its type in the file, as Confluent's framing has it, where it does not stand in
    /// front of the message.
    ///
    /// # Errors
    /// What is wrong with the bytes, for people.
    pub(super) fn decode(&self, indexes: Option<&[u8]>, bytes: &[u8]) -> Result<String, String> {
        let mut rest = indexes.unwrap_or(bytes);
        // A header that names the schema alone means its first message, as a lone 0 does.
        let path = if indexes.is_some_and(<[u8]>::is_empty) { vec![0] } else { read_indexes(&mut rest)? };
        let body = if indexes.is_some() { bytes } else { rest };
        let descriptor = self.message(&path)?;
        let name = descriptor.full_name().to_owned();
        let message = DynamicMessage::decode(descriptor, body).map_err(|error| format!("message {name}: {error}"))?;
        let mut out = Text::new(bytes.len() * 3);
        write_message(&message, &mut out).map_err(|error| format!("message {name}: {error}"))?;
        Ok(out.finish())
    }

    fn message(&self, path: &[usize]) -> Result<MessageDescriptor, String> {
        let missing = || format!("message index {path:?}: the schema has no such message");
        let (first, inner) = path.split_first().ok_or_else(missing)?;
        let file = self.pool.get_file_by_name(&self.file).ok_or_else(missing)?;
        let mut message = file.messages().nth(*first).ok_or_else(missing)?;
        for index in inner {
            let child = message.child_messages().nth(*index);
            message = child.ok_or_else(missing)?;
        }
        Ok(message)
    }
}

fn descriptor(bytes: &[u8]) -> Result<FileDescriptorProto, String> {
    FileDescriptorProto::decode(bytes)
        .map_err(|error| format!("the registry's descriptor of it can't be read: {error}"))
}

/// Takes a file in, without the imports that nobody has: what is only there for options is not missed, what is used is named.
fn add(pool: &mut DescriptorPool, mut file: FileDescriptorProto) -> Result<(), String> {
    let name = file.name().to_owned();
    let missing: Vec<String> =
        file.dependency.iter().filter(|import| pool.get_file_by_name(import).is_none()).cloned().collect();
    if !missing.is_empty() {
        file.dependency.retain(|import| !missing.contains(import));
        file.public_dependency.clear();
        file.weak_dependency.clear();
    }
    pool.add_file_descriptor_proto(file).map_err(|error| {
        let without =
            if missing.is_empty() { String::new() } else { format!(" (its references lack {})", missing.join(", ")) };
        format!("the file {name:?}: {error}{without}")
    })
}

/// `confluent/type/decimal.proto`, which Confluent's registry knows without a reference.
fn decimal_file() -> FileDescriptorProto {
    let field = |name: &str, number, kind: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    };
    let decimal = DescriptorProto {
        name: Some("Decimal".to_owned()),
        field: vec![
            field("value", 1, Type::Bytes),
            field("precision", 2, Type::Uint32),
            field("scale", 3, Type::Int32),
        ],
        ..DescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some("confluent/type/decimal.proto".to_owned()),
        package: Some("confluent.type".to_owned()),
        message_type: vec![decimal],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

/// A count and so many indexes, zigzag varints all; a lone 0 is the first message.
fn read_indexes(rest: &mut &[u8]) -> Result<Vec<usize>, String> {
    let count = varint(rest)?;
    if count == 0 {
        return Ok(vec![0]);
    }
    if count > INDEXES_MAX {
        return Err(format!("{count} message indexes; {INDEXES_MAX} at most"));
    }
    (0..count).map(|_| varint(rest)).collect()
}

fn varint(rest: &mut &[u8]) -> Result<usize, String> {
    const WRONG: &str = "the message indexes behind the schema's id are no whole numbers";
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let (byte, left) = rest.split_first().ok_or("it ends within the message indexes behind the schema's id")?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let value = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            return usize::try_from(value).map_err(|_| WRONG.to_owned());
        }
    }
    Err(WRONG.to_owned())
}

fn write_message(message: &DynamicMessage, out: &mut Text) -> Result<(), String> {
    let descriptor = prost_reflect::ReflectMessage::descriptor(message);
    if let Some(kind) = descriptor.full_name().strip_prefix("google.protobuf.") {
        match kind {
            // One value, written as any other: the detour of the others would lose digits of a float.
            "FloatValue" | "DoubleValue" | "Int32Value" | "Int64Value" | "UInt32Value" | "UInt64Value"
            | "BoolValue" | "StringValue" | "BytesValue" => {
                let field = descriptor.fields().next().ok_or("a wrapper without a value")?;
                return write_value(&message.get_field(&field), &field.kind(), out);
            }
            "Any" | "Timestamp" | "Duration" | "Struct" | "FieldMask" | "ListValue" | "Value" | "Empty" => {
                // By way of a value, whose members are sorted.
                let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
                let json = message.serialize_with_options(serde_json::value::Serializer, &options);
                return out.push(&json.map_err(|error| format!("{}: {error}", descriptor.full_name()))?.to_string());
            }
            _ => {}
        }
    }
    out.push("{")?;
    let mut is_first = true;
    for field in descriptor.fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        out.push(if is_first { "" } else { "," })?;
        is_first = false;
        out.string(field.name())?;
        out.push(":")?;
        write_value(&message.get_field(&field), &field.kind(), out)?;
    }
    for (extension, value) in message.extensions() {
        out.push(if is_first { "" } else { "," })?;
        is_first = false;
        out.string(extension.json_name())?;
        out.push(":")?;
        write_value(value, &extension.kind(), out)?;
    }
    out.push("}")
}

fn write_value(value: &Value, kind: &Kind, out: &mut Text) -> Result<(), String> {
    match value {
        Value::Bool(value) => out.push(if *value { "true" } else { "false" }),
        Value::I32(value) => out.number((*value).into()),
        Value::U32(value) => out.number((*value).into()),
        // As text: many readers of JSON hold numbers as floats.
        Value::I64(value) => out.string(&value.to_string()),
        Value::U64(value) => out.string(&value.to_string()),
        Value::F32(value) => out.float32(*value),
        Value::F64(value) => out.float64(*value),
        Value::String(value) => out.string(value),
        Value::Bytes(value) => out.base64(value),
        Value::EnumNumber(number) => {
            let Kind::Enum(descriptor) = kind else { return out.number((*number).into()) };
            if descriptor.full_name() == "google.protobuf.NullValue" {
                return out.push("null");
            }
            match descriptor.get_value(*number) {
                Some(value) => out.string(value.name()),
                None => out.number((*number).into()),
            }
        }
        Value::Message(message) => write_message(message, out),
        Value::List(items) => {
            out.push("[")?;
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { "" } else { "," })?;
                write_value(item, kind, out)?;
            }
            out.push("]")
        }
        Value::Map(members) => {
            let Kind::Message(entry) = kind else { return Err("a map without entries".to_owned()) };
            let kind = entry.map_entry_value_field().kind();
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            out.push("{")?;
            for (index, (key, value)) in members.into_iter().enumerate() {
                out.push(if index == 0 { "" } else { "," })?;
                match key {
                    MapKey::Bool(key) => out.string(if *key { "true" } else { "false" })?,
                    MapKey::I32(key) => out.string(&key.to_string())?,
                    MapKey::I64(key) => out.string(&key.to_string())?,
                    MapKey::U32(key) => out.string(&key.to_string())?,
                    MapKey::U64(key) => out.string(&key.to_string())?,
                    MapKey::String(key) => out.string(key)?,
                }
                out.push(":")?;
                write_value(value, &kind, out)?;
            }
            out.push("}")
        }
    }
}

#[cfg(test)]
#[path = "protobuf_tests.rs"]
mod tests;
