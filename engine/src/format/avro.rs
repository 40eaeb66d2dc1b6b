//! Avro: from a datum and the schema that it was written with to JSON text. Hides schemas, references, blocks and logical types.
//!
//! Own code, because an event is at work here: the depth of recursion and the size of the text are bounded whatever the bytes say, a schema is
//! resolved once and not for each datum, and the text is written in one pass. Invariants: the text depends on the schema and the
//! bytes alone; fields stand in the order of the schema; no bytes and no schema can make it panic.

use std::collections::HashMap;
use std::fmt::Write as _;

use bigdecimal::num_bigint::BigInt;
use serde_json::Value as Json;

use super::text::{self, Text};

/// Values inside values: more than any schema means, fewer than a stack holds.
const DEPTH_MAX: usize = 100;
/// Bytes of a decimal's digits: 39,000 digits, more than databases keep behind the point.
const DECIMAL_BYTES_MAX: usize = 16 << 10;
/// Digits behind a decimal's point: as many as PostgreSQL keeps.
const SCALE_MAX: i64 = 16_383;
/// Nodes of a schema with all its references.
const NODES_MAX: usize = 100_000;

/// A schema with every name resolved.
#[derive(Debug)]
pub(super) struct Schema {
    nodes: Vec<Node>,
    root: usize,
}

#[derive(Clone, Debug)]
enum Node {
    /// A name whose definition is still being read.
    Open,
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    /// The symbols, as JSON.
    Enum(Vec<String>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    /// Each field's `"name":` as JSON, and its node.
    Record(Vec<(String, usize)>),
    /// In so many bytes where it is a fixed, with so many digits behind the point.
    Decimal(Option<usize>, i64),
    BigDecimal,
    /// A fixed of 16 bytes; a text is one already.
    Uuid,
    Date,
    TimeMillis,
    TimeMicros,
    /// Parts of a second, and whether it is UTC.
    Timestamp(text::Unit, bool),
    Duration,
}

impl Schema {
    /// Reads a schema. `references` are the schemas that it uses by name, each after those that it uses itself.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn parse(schema: &str, references: &[String]) -> Result<Self, String> {
        let mut parser = Parser { nodes: Vec::new(), names: HashMap::new() };
        for reference in references {
            let json = read(reference).map_err(|error| format!("a schema that it refers to: {error}"))?;
            parser.node(&json, "").map_err(|error| format!("a schema that it refers to: {error}"))?;
        }
        let root = parser.node(&read(schema)?, "")?;
        if parser.nodes.iter().any(|node| matches!(node, Node::Open)) {
            return Err("a name has no definition".to_owned());
        }
        Ok(Self { nodes: parser.nodes, root })
    }

    /// The JSON text of a datum.
    ///
    /// # Errors
    /// What is wrong with the bytes, for people, with the path of the field.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<String, String> {
        let mut decoder =
            Decoder { nodes: &self.nodes, rest: bytes, out: Text::new(bytes.len() * 2), path: Vec::new() };
        decoder.value(self.root, 0).map_err(|what| match decoder.path.as_slice() {
            [] => what,
            path => format!("field {}: {what}", path.join(".")),
        })?;
        if !decoder.rest.is_empty() {
            let left = decoder.rest.len();
            return Err(format!("{left} bytes are left behind the value: it was not written with this schema"));
        }
        Ok(decoder.out.finish())
    }
}

fn read(schema: &str) -> Result<Json, String> {
    serde_json::from_str(schema).map_err(|error| format!("its schema is no JSON: {error}"))
}

struct Parser {
    nodes: Vec<Node>,
    /// Full names.
    names: HashMap<String, usize>,
}

impl Parser {
    fn push(&mut self, node: Node) -> Result<usize, String> {
        if self.nodes.len() >= NODES_MAX {
            return Err(format!("its schema has more than {NODES_MAX} types"));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn node(&mut self, json: &Json, namespace: &str) -> Result<usize, String> {
        match json {
            Json::String(name) => self.named(name, namespace),
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.node(branch, namespace)).collect::<Result<_, _>>()?;
                self.push(Node::Union(branches))
            }
            Json::Object(object) => self.object(object, namespace),
            other => Err(format!("its schema has {other} where a type is wanted")),
        }
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<usize, String> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::String,
            _ => {
                // A short name is one of the namespace around it; at last it is one without a namespace.
                let full = full_name(name, namespace);
                let found = self.names.get(&full).or_else(|| self.names.get(name));
                return found
                    .copied()
                    .ok_or_else(|| format!("its schema uses the type {name:?}, which nothing defines"));
            }
        };
        self.push(node)
    }

    fn object(&mut self, object: &serde_json::Map<String, Json>, namespace: &str) -> Result<usize, String> {
        let kind = object.get("type").ok_or("its schema has a type without \"type\"")?;
        let Json::String(kind) = kind else {
            // A type around a type: {"type": {..}}.
            return self.node(kind, namespace);
        };
        let logical = object.get("logicalType").and_then(Json::as_str);
        match kind.as_str() {
            "record" | "error" => {
                let (index, namespace) = self.define(object, namespace)?;
                let fields =
                    object.get("fields").and_then(Json::as_array).ok_or("its schema has a record without fields")?;
                let mut found = Vec::with_capacity(fields.len());
                for field in fields {
                    let name =
                        field.get("name").and_then(Json::as_str).ok_or("its schema has a field without a name")?;
                    let kind =
                        field.get("type").ok_or_else(|| format!("its schema has a field {name:?} without a type"))?;
                    found.push((format!("{}:", Json::from(name)), self.node(kind, &namespace)?));
                }
                self.fill(index, Node::Record(found));
                Ok(index)
            }
            "enum" => {
                let (index, _) = self.define(object, namespace)?;
                let symbols =
                    object.get("symbols").and_then(Json::as_array).ok_or("its schema has an enum without symbols")?;
                let symbols = symbols.iter().filter(|symbol| symbol.is_string()).map(Json::to_string).collect();
                self.fill(index, Node::Enum(symbols));
                Ok(index)
            }
            "fixed" => {
                let (index, _) = self.define(object, namespace)?;
                let size = object.get("size").and_then(Json::as_u64).and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("its schema has a fixed without a size")?;
                let node = match logical {
                    Some("decimal") => decimal(object, Some(size)),
                    Some("uuid") if size == 16 => Some(Node::Uuid),
                    Some("duration") if size == 12 => Some(Node::Duration),
                    _ => None,
                };
                self.fill(index, node.unwrap_or(Node::Fixed(size)));
                Ok(index)
            }
            "array" => {
                let items =
                    self.node(object.get("items").ok_or("its schema has an array without items")?, namespace)?;
                self.push(Node::Array(items))
            }
            "map" => {
                let values =
                    self.node(object.get("values").ok_or("its schema has a map without values")?, namespace)?;
                self.push(Node::Map(values))
            }
            // A logical type that is unknown, or does not fit its type, is as good as none, as the specification says.
            name => match (name, logical) {
                ("bytes", Some("decimal")) => self.push(decimal(object, None).unwrap_or(Node::Bytes)),
                ("bytes", Some("big-decimal")) => self.push(Node::BigDecimal),
                ("int", Some("date")) => self.push(Node::Date),
                ("int", Some("time-millis")) => self.push(Node::TimeMillis),
                ("long", Some("time-micros")) => self.push(Node::TimeMicros),
                ("long", Some(logical)) => {
                    let node = match logical {
                        "timestamp-millis" => Node::Timestamp(text::Unit::Millis, true),
                        "timestamp-micros" => Node::Timestamp(text::Unit::Micros, true),
                        "timestamp-nanos" => Node::Timestamp(text::Unit::Nanos, true),
                        "local-timestamp-millis" => Node::Timestamp(text::Unit::Millis, false),
                        "local-timestamp-micros" => Node::Timestamp(text::Unit::Micros, false),
                        "local-timestamp-nanos" => Node::Timestamp(text::Unit::Nanos, false),
                        _ => Node::Long,
                    };
                    self.push(node)
                }
                (name, _) => self.named(name, namespace),
            },
        }
    }

    /// Takes a name in before its definition is read: it may be used inside it. Gives the namespace that holds there.
    fn define(&mut self, object: &serde_json::Map<String, Json>, around: &str) -> Result<(usize, String), String> {
        let name =
            object.get("name").and_then(Json::as_str).ok_or("its schema has a record, enum or fixed without a name")?;
        let namespace = object.get("namespace").and_then(Json::as_str).unwrap_or(around);
        let full = full_name(name, namespace);
        let inside = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let index = self.push(Node::Open)?;
        if self.names.insert(full.clone(), index).is_some() {
            return Err(format!("its schema defines {full:?} twice"));
        }
        Ok((index, inside))
    }

    fn fill(&mut self, index: usize, node: Node) {
        if let Some(open) = self.nodes.get_mut(index) {
            *open = node;
        }
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn decimal(object: &serde_json::Map<String, Json>, size: Option<usize>) -> Option<Node> {
    let precision = object.get("precision").and_then(Json::as_i64).filter(|precision| *precision > 0)?;
    let scale = object.get("scale").map_or(Some(0), Json::as_i64)?;
    (0..=precision.min(SCALE_MAX)).contains(&scale).then_some(Node::Decimal(size, scale))
}

struct Decoder<'a> {
    nodes: &'a [Node],
    rest: &'a [u8],
    out: Text,
    /// Names of the fields around; left as it is where something is wrong.
    path: Vec<String>,
}

impl<'a> Decoder<'a> {
    fn value(&mut self, node: usize, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("values inside values, more than {DEPTH_MAX} deep"));
        }
        let nodes = self.nodes;
        match nodes.get(node).ok_or("its schema is broken")? {
            Node::Array(items) => {
                self.out.push("[")?;
                self.blocks(|decoder, is_first| {
                    decoder.out.push(if is_first { "" } else { "," })?;
                    decoder.value(*items, depth + 1)
                })?;
                self.out.push("]")?;
            }
            Node::Map(values) => {
                self.out.push("{")?;
                self.blocks(|decoder, is_first| {
                    decoder.out.push(if is_first { "" } else { "," })?;
                    let key = decoder.string()?;
                    decoder.out.string(key)?;
                    decoder.out.push(":")?;
                    decoder.value(*values, depth + 1)
                })?;
                self.out.push("}")?;
            }
            Node::Union(branches) => {
                let index = self.long()?;
                let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
                let branch = branch.ok_or_else(|| format!("branch {index} of a union that has {}", branches.len()))?;
                self.value(*branch, depth + 1)?;
            }
            Node::Record(fields) => {
                for (index, (name, field)) in fields.iter().enumerate() {
                    self.out.push(if index == 0 { "{" } else { "," })?;
                    self.out.push(name)?;
                    self.value(*field, depth + 1).inspect_err(|_| {
                        self.path.insert(0, name.trim_matches(['"', ':']).to_owned());
                    })?;
                }
                self.out.push(if fields.is_empty() { "{}" } else { "}" })?;
            }
            scalar => self.scalar(scalar)?,
        }
        Ok(())
    }

    /// Values without others inside.
    fn scalar(&mut self, node: &Node) -> Result<(), String> {
        match node {
            Node::Null => self.out.push("null")?,
            Node::Boolean => {
                let word = match self.take(1)? {
                    [0] => "false",
                    [1] => "true",
                    other => return Err(format!("a boolean is {other:?}")),
                };
                self.out.push(word)?;
            }
            Node::Int => {
                let number = self.int()?;
                self.out.number(number.into())?;
            }
            Node::Long => {
                let number = self.long()?;
                self.out.number(number)?;
            }
            Node::Float => {
                let bytes = self.array()?;
                self.out.float32(f32::from_le_bytes(bytes))?;
            }
            Node::Double => {
                let bytes = self.array()?;
                self.out.float64(f64::from_le_bytes(bytes))?;
            }
            Node::Bytes => {
                let bytes = self.bytes()?;
                self.out.base64(bytes)?;
            }
            Node::String => {
                let text = self.string()?;
                self.out.string(text)?;
            }
            Node::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.out.base64(bytes)?;
            }
            Node::Enum(symbols) => {
                let index = self.int()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                self.out
                    .push(symbol.ok_or_else(|| format!("symbol {index} of an enum that has {}", symbols.len()))?)?;
            }
            logical => self.logical(logical)?,
        }
        Ok(())
    }

    /// Values that stand as the text that people write for them.
    fn logical(&mut self, node: &Node) -> Result<(), String> {
        match node {
            Node::Decimal(size, scale) => {
                let bytes = match size {
                    Some(size) => self.take(*size)?,
                    None => self.bytes()?,
                };
                let digits = decimal_text(bytes, *scale)?;
                self.out.string(&digits)?;
            }
            Node::BigDecimal => {
                let inner = self.bytes()?;
                let mut inner = Decoder { nodes: self.nodes, rest: inner, out: Text::new(0), path: Vec::new() };
                let (digits, scale) = (inner.bytes()?, inner.long()?);
                let digits = decimal_text(digits, scale)?;
                self.out.string(&digits)?;
            }
            Node::Uuid => {
                let bytes: [u8; 16] = self.array()?;
                self.out.string(&text::uuid(bytes))?;
            }
            Node::Date => {
                let days = self.int()?;
                self.out.string(&text::date(days.into()))?;
            }
            Node::TimeMillis => {
                let millis = self.int()?;
                self.out.string(&text::time(millis.into(), text::Unit::Millis)?)?;
            }
            Node::TimeMicros => {
                let micros = self.long()?;
                self.out.string(&text::time(micros, text::Unit::Micros)?)?;
            }
            Node::Timestamp(unit, is_utc) => {
                let parts = self.long()?;
                self.out.string(&text::timestamp(parts, *unit, *is_utc))?;
            }
            Node::Duration => {
                let bytes: [u8; 12] = self.array()?;
                let part = |at: usize| bytes[at..at + 4].iter().rev().fold(0_u32, |n, byte| n << 8 | u32::from(*byte));
                let mut object = String::new();
                // Writing to a String cannot fail.
                write!(object, "{{\"months\":{},\"days\":{},\"millis\":{}}}", part(0), part(4), part(8)).ok();
                self.out.push(&object)?;
            }
            _ => return Err("its schema is broken".to_owned()),
        }
        Ok(())
    }

    /// Items in blocks, each with its count; a negative one is followed by the block's size.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self, bool) -> Result<(), String>) -> Result<(), String> {
        let mut is_first = true;
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                count = count.checked_neg().ok_or("a block with an impossible count")?;
                self.long()?;
            }
            // However large the count: each item takes room in the text, which is bounded.
            for _ in 0..count {
                item(self, is_first)?;
                is_first = false;
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(format!("it ends early: {count} bytes are wanted and {} are left", self.rest.len()));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "it ends early".to_owned())
    }

    fn long(&mut self) -> Result<i64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("a whole number has more than 64 bits".to_owned())
    }

    fn int(&mut self) -> Result<i32, String> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| format!("{value} is no int: it has more than 32 bits"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("a length is {length}"))?;
        self.take(length)
    }

    fn string(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a string is not UTF-8".to_owned())
    }
}

/// Two's complement, the highest byte first, as plain digits.
fn decimal_text(bytes: &[u8], scale: i64) -> Result<String, String> {
    if bytes.len() > DECIMAL_BYTES_MAX {
        return Err(format!("a decimal of {} bytes; {DECIMAL_BYTES_MAX} at most", bytes.len()));
    }
    if !(-SCALE_MAX..=SCALE_MAX).contains(&scale) {
        return Err(format!("a decimal with the scale {scale}; {SCALE_MAX} at most"));
    }
    let digits = BigInt::from_signed_bytes_be(bytes).to_string();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let Ok(behind) = usize::try_from(scale) else {
        let zeros = usize::try_from(-scale).unwrap_or(0);
        return Ok(if digits == "0" { "0".to_owned() } else { format!("{sign}{digits}{}", "0".repeat(zeros)) });
    };
    if behind == 0 {
        return Ok(format!("{sign}{digits}"));
    }
    let digits = format!("{digits:0>width$}", width = behind + 1);
    let (whole, part) = digits.split_at(digits.len() - behind);
    Ok(format!("{sign}{whole}.{part}"))
}

#[cfg(test)]
#[path = "avro_tests.rs"]
mod tests;
