//! Builds the probe: a core module or a component, for one contract version or another, with imports as wanted.

use std::path::Path;
use std::sync::Arc;

use crate::event::{Event, EventBatch, TopicPartition};
use crate::plugin::{Applied, Host, HostSettings, Limits, Plugin};

/// How a probe is built.
pub(super) struct Probe {
    /// Tables in its descriptor: 0 makes it invalid.
    pub tables: bool,
    pub version: &'static str,
    /// Items of the world beside the contract's.
    pub world_extra: &'static str,
    /// Packages that they come from.
    pub packages: Vec<&'static str>,
    pub imports: &'static str,
    pub functions: &'static str,
}

const CLOCK_PREVIEW_1: &str = r#"(func $clock (result i64)
    (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 600))) (i64.load (i32.const 600)))
  (func $random (result i64)
    (drop (call $random_get (i32.const 600) (i32.const 8))) (i64.load (i32.const 600)))
  (func $stderr
    (i32.store (i32.const 608) (i32.const 560)) (i32.store (i32.const 612) (i32.const 14))
    (drop (call $fd_write (i32.const 2) (i32.const 608) (i32.const 1) (i32.const 620))))"#;

/// Reads clock and random numbers through WASI preview 1, so that the engine's adapter comes in.
pub(super) fn preview_1() -> Probe {
    Probe {
        tables: true,
        version: "0.1.0",
        world_extra: "",
        packages: Vec::new(),
        imports: r#"(import "laterna:projection/log@0.1.0" "write" (func $log (param i32 i32 i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#,
        functions: CLOCK_PREVIEW_1,
    }
}

/// Reads them through WASI 0.2, from the host.
pub(super) fn preview_2() -> Probe {
    Probe {
        world_extra: "import wasi:clocks/wall-clock@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; \
                  import wasi:random/random@0.2.0;",
        packages: vec![
            "package wasi:clocks@0.2.0;
         interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }
         interface monotonic-clock { now: func() -> u64; }",
            "package wasi:random@0.2.0; interface random { get-random-u64: func() -> u64; }",
        ],
        imports: r#"(import "laterna:projection/log@0.1.0" "write" (func $log (param i32 i32 i32)))
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#,
        functions: r#"(func $clock (result i64) (call $now (i32.const 600))
      (i64.add (i64.mul (i64.load (i32.const 600)) (i64.const 1000000000)) (i64.load32_u offset=8 (i32.const 600))))
  (func $stderr)"#,
        ..preview_1()
    }
}

impl Probe {
    /// The core module as a linker leaves it, without the contract's types.
    pub(super) fn bare(&self) -> Vec<u8> {
        let (data, descriptor) = descriptor(self.tables);
        let data: String = data.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let text = include_str!("probe.wat")
            .replace("{IMPORTS}", &self.imports.replace("@0.1.0", &format!("@{}", self.version)))
            .replace("{DATA}", &data)
            .replace("{DESCRIPTOR}", &descriptor.to_string())
            .replace("{FUNCTIONS}", self.functions);
        wat::parse_str(text).unwrap()
    }

    /// The core module, with the contract's types in it.
    pub(super) fn core(&self) -> Vec<u8> {
        let mut wasm = self.bare();
        let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/projection.wit");
        let contract = std::fs::read_to_string(contract)
            .unwrap()
            .replace("laterna:projection@0.1.0", &format!("laterna:projection@{}", self.version))
            .replace("  import log;\n", &format!("  import log;\n  {}\n", self.world_extra));
        let mut resolve = wit_parser::Resolve::default();
        for package in &self.packages {
            resolve.push_str("package.wit", package).unwrap();
        }
        let package = resolve.push_str("projection.wit", &contract).unwrap();
        let world = resolve.select_world(&[package], Some("projection")).unwrap();
        wit_component::embed_component_metadata(&mut wasm, &resolve, world, wit_component::StringEncoding::UTF8)
            .unwrap();
        wasm
    }

    /// The component, where no adapter is needed.
    pub(super) fn component(&self) -> Vec<u8> {
        wit_component::ComponentEncoder::default().validate(true).module(&self.core()).unwrap().encode().unwrap()
    }
}

/// A descriptor as the canonical ABI lays it out, from address 1024; and the address of its record.
fn descriptor(tables: bool) -> (Vec<u8>, u32) {
    let mut memory = Memory(Vec::new());
    let header = memory.text("h");
    let headers = memory.list(&[header], 4);
    let mut topic = memory.text("events");
    topic.extend([0, 0, 0, 0]);
    topic.extend(headers);
    let topics = memory.list(&[topic], 4);
    let mut column = |name, column_type, nullable| {
        let mut column = memory.text(name);
        column.extend([column_type, nullable, 0, 0]);
        column
    };
    let columns = [column("id", 4, 0), column("n", 1, 1)];
    let columns = memory.list(&columns, 4);
    let key = memory.text("id");
    let mut table = memory.text("rows");
    table.extend(columns);
    table.extend(memory.list(&[key], 4));
    table.extend(memory.list(&[], 4));
    table.extend([0, 0, 0, 0]);
    let tables = if tables { memory.list(&[table], 4) } else { memory.list(&[], 4) };
    let mut assignment = memory.text("n");
    assignment.extend([0, 0, 0, 0]);
    let mut shape = memory.text("rows");
    shape.extend([0, 0, 0, 0]);
    shape.extend(memory.list(&[assignment], 4));
    let shapes = memory.list(&[shape], 4);
    let mut record = memory.text("probe");
    record.extend(1u32.to_le_bytes());
    record.extend([topics, tables, shapes].concat());
    let at = memory.put(&record, 4);
    (memory.0, at)
}

struct Memory(Vec<u8>);

impl Memory {
    fn put(&mut self, bytes: &[u8], align: usize) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(align), 0);
        self.0.extend_from_slice(bytes);
        (1024 + self.0.len() - bytes.len()) as u32
    }

    fn text(&mut self, text: &str) -> Vec<u8> {
        let at = self.put(text.as_bytes(), 1);
        [at.to_le_bytes(), (text.len() as u32).to_le_bytes()].concat()
    }

    fn list(&mut self, items: &[Vec<u8>], align: usize) -> Vec<u8> {
        let at = self.put(&items.concat(), align);
        [at.to_le_bytes(), (items.len() as u32).to_le_bytes()].concat()
    }
}

/// Events whose values are these, at offsets 10, 11, ..., a second apart, with keys k0, k1, ...
pub(super) fn batch(values: &[&str]) -> Arc<EventBatch> {
    batch_from(10, values)
}

pub(super) fn batch_from(start: i64, values: &[&str]) -> Arc<EventBatch> {
    let event = |(i, value): (usize, &&str)| Event {
        offset: start + i as i64,
        timestamp_ms: 1_700_000_000_000 + 1000 * (start + i as i64),
        key: Some(format!("k{i}").into_bytes()),
        value: (!value.is_empty()).then(|| value.as_bytes().to_vec()),
        headers: Vec::new(),
    };
    Arc::new(EventBatch {
        partition: TopicPartition::new("events", 3),
        events: values.iter().enumerate().map(event).collect(),
        next_offset: start + values.len() as i64,
    })
}

pub(super) fn host() -> Host {
    Host::new(HostSettings { cache_dir: None, threads: 2, ..HostSettings::default() }).unwrap()
}

pub(super) async fn plugin(wasm: Vec<u8>, limits: Limits) -> Plugin {
    host().load(wasm.into(), limits).await.unwrap()
}

/// The numbers that the probe wrote, one for each event before the fault.
pub(super) fn numbers(applied: &Applied) -> Vec<i64> {
    let number = |changes: &Vec<crate::change::Change>| match changes[0].values[1] {
        crate::change::PluginValue::Integer(n) => n,
        ref other => panic!("{other:?}"),
    };
    applied.changes.iter().map(number).collect()
}
