//! What authors get wrong: each file of `tests/mistakes/` is one mistake and what the command line says of it, which names the mistake, the
//! place and the next step. No toolchain is needed: a plugin is made of a descriptor and of what `apply` shall return.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure is to stop the test where it happens"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A mistake.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    /// What the author did.
    mistake: String,
    /// The command, run in the folder with the files.
    command: Vec<String>,
    /// Its exit code.
    code: i32,
    /// What standard output and standard error say, together.
    says: Vec<String>,
    /// Text files beside.
    #[serde(default)]
    files: std::collections::BTreeMap<String, String>,
    /// `plugin.wasm`.
    plugin: Option<Plugin>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    /// The file as it is, in hexadecimal.
    hex: Option<String>,
    /// Text of WebAssembly: a component, or a module with the contract's types put in.
    wat: Option<String>,
    /// The descriptor as JSON, as `laterna inspect -o json` shows it.
    descriptor: Option<String>,
    /// What `apply` answers for each event: a list of changes, as JSON.
    #[serde(default)]
    changes: Option<String>,
    /// Or what it does where there is an event, in WebAssembly's text.
    #[serde(default)]
    apply: Option<String>,
    /// How many outcomes more than there are events.
    #[serde(default)]
    outcomes_more: i32,
    /// The contract's version in the file.
    #[serde(default)]
    version: Option<String>,
    /// Items of the world beside the contract's, and packages that they come from.
    #[serde(default)]
    world_extra: String,
    #[serde(default)]
    packages: Vec<String>,
    /// Imports of the core module.
    #[serde(default)]
    imports: String,
    /// Whether it is made a component here.
    #[serde(default)]
    component: bool,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn every_mistake_is_told_with_its_place_and_the_next_step() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(repository().join("tests/mistakes")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 20, "{} mistakes", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let mistake: Mistake = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!mistake.mistake.is_empty() && !mistake.says.is_empty(), "{name} says nothing");
        let (code, said) = run(&mistake);
        let missing: Vec<&String> = mistake.says.iter().filter(|words| !said.contains(words.as_str())).collect();
        if code != mistake.code || !missing.is_empty() || said.contains("panicked at engine") {
            wrong.push(format!("{name} ({}): exit code {code}, not said: {missing:?}\n{said}", mistake.mistake));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n----\n"));
}

fn run(mistake: &Mistake) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in &mistake.files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    if let Some(plugin) = &mistake.plugin {
        std::fs::write(dir.path().join("plugin.wasm"), plugin.bytes()).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_laterna"));
    command.args(&mistake.command).current_dir(dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).join("");
    (output.status.code().unwrap_or(-1), said)
}

impl Plugin {
    fn bytes(&self) -> Vec<u8> {
        if let Some(hex) = &self.hex {
            let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
            return digits
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
        }
        if let Some(wat) = &self.wat {
            let wasm = wat::parse_str(wat).unwrap();
            return if wasm[4] == 1 { self.embedded(wasm) } else { wasm };
        }
        let wasm = self.embedded(wat::parse_str(self.module()).unwrap());
        if self.component {
            return wit_component::ComponentEncoder::default().validate(true).module(&wasm).unwrap().encode().unwrap();
        }
        wasm
    }

    fn module(&self) -> String {
        let mut memory = Memory(Vec::new());
        let descriptor: Value = serde_json::from_str(self.descriptor.as_deref().unwrap_or(DESCRIPTOR)).unwrap();
        let descriptor = memory.descriptor(&descriptor);
        let changes: Value = serde_json::from_str(self.changes.as_deref().unwrap_or("[]")).unwrap();
        let changes = memory.changes(&changes);
        // An outcome of the first case for each event, and for some more.
        let outcome: Vec<u8> = [vec![0, 0, 0, 0], changes].concat();
        let outcomes = memory.list(&vec![outcome; 16], 4);
        let answer = memory.put(&[&outcomes[..4], &[0, 0, 0, 0]].concat(), 4);
        let data: String = memory.0.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!(
            "(module {imports} (memory (export \"memory\") 2) (global $heap (mut i32) (i32.const 65536)) (global $calls (mut i32) (i32.const 0))
             (data (i32.const 1024) \"{data}\")
             (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
               (local.get 3) (global.get $heap) (global.set $heap (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 7)) (i32.const -8)))
               (return (i32.sub (global.get $heap) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
             (func $recurse (param i32) (result i32) (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (global.get $calls)))
             (func (export \"describe\") (result i32) (i32.const {descriptor}))
             (func $apply (export \"apply\") (param $topic i32) (param $length i32) (param $partition i32) (param $events i32) (param $n i32) (result i32)
               (if (local.get $n) (then {apply}))
               (i32.store offset=4 (i32.const {answer}) (i32.add (local.get $n) (select (i32.const {more}) (i32.const 0) (local.get $n))))
               (i32.const {answer})))",
            imports = self.imports,
            apply = self.apply.as_deref().unwrap_or(""),
            more = self.outcomes_more,
        )
    }

    fn embedded(&self, mut wasm: Vec<u8>) -> Vec<u8> {
        let contract = std::fs::read_to_string(repository().join("wit/projection.wit")).unwrap();
        let contract = contract.replace("  import log;\n", &format!("  import log;\n  {}\n", self.world_extra));
        let contract = match &self.version {
            Some(version) => contract.replace("laterna:projection@0.1.0", &format!("laterna:projection@{version}")),
            None => contract,
        };
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
}

/// What holds where a mistake is elsewhere.
const DESCRIPTOR: &str = r#"{
    "name": "mine", "revision": 1, "topics": [{ "name": "events" }],
    "tables": [{ "name": "rows", "columns": [["id", "text"], ["n", "integer"], ["price", "decimal", true]], "primary_key": ["id"] }],
    "shapes": [{ "table": "rows", "upsert": [["n", "set"], ["price", "set"]] }]
}"#;

const TYPES: [&str; 10] =
    ["boolean", "integer", "float", "decimal", "text", "bytes", "timestamp", "date", "uuid", "json"];
const OPERATIONS: [&str; 6] = ["set", "add", "max", "min", "set-if-null", "newer"];
const PARTITIONINGS: [&str; 3] = ["by-partition", "commutative", "serial"];

fn place(words: &[&str], word: &str) -> u8 {
    words.iter().position(|known| *known == word).unwrap_or_else(|| panic!("{word} is none of {words:?}")) as u8
}

/// Linear memory from address 1024 on, as the canonical ABI lays values out.
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

    fn each(&mut self, list: &Value, align: usize, one: impl Fn(&mut Self, &Value) -> Vec<u8>) -> Vec<u8> {
        let items: Vec<Vec<u8>> = list.as_array().into_iter().flatten().map(|item| one(self, item)).collect();
        self.list(&items, align)
    }

    fn names(&mut self, list: &Value) -> Vec<u8> {
        self.each(list, 4, |memory, name| memory.text(name.as_str().unwrap()))
    }

    fn descriptor(&mut self, descriptor: &Value) -> u32 {
        let mut record = self.text(descriptor["name"].as_str().unwrap());
        record.extend(1u32.to_le_bytes());
        record.extend(self.each(&descriptor["topics"], 4, |memory, topic| {
            let mut record = memory.text(topic["name"].as_str().unwrap());
            record.extend([0; 4]);
            record.extend(memory.names(&topic["headers"]));
            record
        }));
        record.extend(self.each(&descriptor["tables"], 4, |memory, table| {
            let mut record = memory.text(table["name"].as_str().unwrap());
            record.extend(memory.each(&table["columns"], 4, |memory, column| {
                let mut record = memory.text(column[0].as_str().unwrap());
                let is_nullable = column[2].as_bool().unwrap_or(false);
                record.extend([place(&TYPES, column[1].as_str().unwrap()), is_nullable.into(), 0, 0]);
                record
            }));
            record.extend(memory.names(&table["primary_key"]));
            record.extend(memory.list(&[], 4));
            let partitioning = table["partitioning"].as_str().unwrap_or("by-partition");
            record.extend([place(&PARTITIONINGS, partitioning), 0, 0, 0]);
            record
        }));
        record.extend(self.each(&descriptor["shapes"], 4, |memory, shape| {
            let mut record = memory.text(shape["table"].as_str().unwrap());
            let assignments = |memory: &mut Self, list: &Value| {
                memory.each(list, 4, |memory, one| {
                    let mut record = memory.text(one[0].as_str().unwrap());
                    record.extend([place(&OPERATIONS, one[1].as_str().unwrap()), 0, 0, 0]);
                    record
                })
            };
            let (case, payload) = match shape.as_object().unwrap().iter().find(|(word, _)| *word != "table").unwrap() {
                (word, list) if word == "upsert" => (0, assignments(memory, list)),
                (word, list) if word == "update" => (1, assignments(memory, list)),
                (word, list) if word == "insert" => (2, memory.names(list)),
                (word, _) if word == "delete" => (3, vec![0; 8]),
                (_, length) => (4, [(length.as_u64().unwrap() as u32).to_le_bytes(), [0; 4]].concat()),
            };
            record.extend([case, 0, 0, 0]);
            record.extend(payload);
            record
        }));
        self.put(&record, 4)
    }

    /// Changes as `[shape, [case, value], ..]`.
    fn changes(&mut self, changes: &Value) -> Vec<u8> {
        self.each(changes, 4, |memory, change| {
            let change = change.as_array().unwrap();
            let mut record = (change[0].as_u64().unwrap() as u32).to_le_bytes().to_vec();
            let values = Value::from(change[1..].to_vec());
            record.extend(memory.each(&values, 8, |memory, value| {
                let case = value[0].as_str().unwrap();
                let number = if case == "null" { 0 } else { place(&TYPES, case) + 1 };
                let payload = match &value[1] {
                    Value::String(text) => memory.text(text),
                    Value::Number(number) if case == "float" => number.as_f64().unwrap().to_le_bytes().to_vec(),
                    Value::Number(number) => number.as_i64().unwrap().to_le_bytes().to_vec(),
                    _ => vec![0; 8],
                };
                [vec![number, 0, 0, 0, 0, 0, 0, 0], payload].concat()
            }));
            record
        })
    }
}
