//! What is taken, and each refusal by its name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::guest::{Probe, batch, host, numbers, preview_1, preview_2};
use crate::plugin::{Host, HostSettings, Limits, PluginError, WASM_BYTES_MAX};

/// `adapter.wasm` is `adapter.wat` with the types of `adapter.wit`. `LATERNA_WRITE_ADAPTER=1` writes it anew.
#[test]
fn the_adapter_is_built_from_its_source() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugin");
    let mut wasm = wat::parse_file(dir.join("adapter.wat")).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("adapter.wit", &fs::read_to_string(dir.join("adapter.wit")).unwrap()).unwrap();
    let world = resolve.select_world(&[package], Some("adapter")).unwrap();
    wit_component::embed_component_metadata(&mut wasm, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    let file = dir.join("adapter.wasm");
    if std::env::var_os("LATERNA_WRITE_ADAPTER").is_some() {
        fs::write(&file, &wasm).unwrap();
    }
    assert!(fs::read(&file).unwrap() == wasm, "run this test with LATERNA_WRITE_ADAPTER=1 and commit adapter.wasm");
}

async fn refused(bytes: impl Into<Vec<u8>>) -> PluginError {
    host().load(bytes.into().into(), Limits::default()).await.unwrap_err()
}

#[tokio::test]
async fn components_and_core_modules_load() {
    let host = host();
    for (bytes, core) in [(preview_1().core(), true), (preview_2().core(), true), (preview_2().component(), false)] {
        let plugin = host.load(bytes.into(), Limits::default()).await.unwrap();
        assert_eq!(plugin.schema().descriptor.name, "probe");
        assert_eq!(plugin.schema().descriptor.topics[0].headers, ["h"]);
        assert_eq!(plugin.is_core_module(), core);
        assert_eq!(plugin.contract_version(), "0.1.0");
        assert_eq!(plugin.digest().len(), 64);
        assert!(plugin.imports().contains(&"laterna:projection/types@0.1.0".to_owned()));
    }
}

#[tokio::test]
async fn what_is_no_plugin_is_named() {
    for (bytes, code, words) in [
        (b"".to_vec(), "not_wasm", "empty"),
        (b"\x7fELF\x02\x01".to_vec(), "precompiled", "ELF"),
        (b"\x1f\x8b\x08\x00".to_vec(), "not_wasm", "gzip"),
        (b"(module)".to_vec(), "not_wasm", "text"),
        (b"\xff\xfe\x00".to_vec(), "not_wasm", "not WebAssembly"),
        (b"\0asm\x09\0\0\0".to_vec(), "not_wasm", "unknown version"),
        (vec![0; WASM_BYTES_MAX + 1], "too_large", "67108864"),
        (b"\0asm\x0d\0\x01\0garbage!".to_vec(), "invalid_wasm", "broken"),
        (b"\0asm\x01\0\0\0garbage!".to_vec(), "invalid_wasm", "broken"),
        (
            wat::parse_str("(module)").unwrap(),
            "not_a_projection",
            "does not export describe, apply, cabi_realloc, memory",
        ),
        (wat::parse_str("(component)").unwrap(), "not_a_projection", "exports nothing"),
    ] {
        let error = refused(bytes).await;
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn another_contract_version_is_told_with_both() {
    let error = refused(Probe { version: "0.9.0", ..preview_2() }.component()).await;
    assert_eq!(error.code, "contract_version");
    assert!(error.message.contains("0.9.0") && error.message.contains("0.1.0"), "{error}");
}

#[tokio::test]
async fn a_core_module_without_types_gets_the_contracts() {
    let plugin = host().load(preview_1().bare().into(), Limits::default()).await.unwrap();
    assert!(plugin.is_core_module());
    assert_eq!(plugin.contract_version(), "0.1.0");
    assert_eq!(plugin.schema().descriptor.name, "probe");
    assert_eq!(numbers(&plugin.apply(&batch(&["o"])).await.unwrap()), [10]);

    let error = refused(Probe { version: "0.9.0", ..preview_1() }.bare()).await;
    assert_eq!(error.code, "contract_version", "{error}");
    assert!(error.message.contains("0.9.0") && error.message.contains("0.1.0"), "{error}");
}

/// As Go's runtime does, which must not cost its events their batches.
#[tokio::test]
async fn random_numbers_at_the_start_are_not_the_events() {
    let start = format!(r#"{} (func (export "_initialize") (drop (call $random)))"#, preview_1().functions);
    let probe = Probe { functions: Box::leak(start.into_boxed_str()), ..preview_1() };
    let plugin = host().load(probe.bare().into(), Limits::default()).await.unwrap();
    plugin.try_out().await.unwrap();
    let instances = plugin.figures().instances;
    assert_eq!(numbers(&plugin.apply(&batch(&["o", "o", "o"])).await.unwrap()), [10, 11, 12]);
    assert_eq!(plugin.figures().instances, instances + 1, "one instance for all events of the batch");
}

/// What a linker leaves out, or an author gets wrong, is named with what to do.
#[tokio::test]
async fn a_core_module_with_a_missing_or_wrong_export_is_refused_by_name() {
    const WHOLE: &str = r#"(module (memory (export "memory") 1)
      (func (export "describe") (result i32) (i32.const 0))
      (func (export "apply") (param i32 i32 i32 i32 i32) (result i32) (i32.const 0))
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))"#;
    for (from, to, words) in [
        (r#"(export "describe")"#, "", ["does not export describe (", "SDK's source file"]),
        (r#"(export "apply")"#, r#"(export "aply")"#, ["does not export apply (", "exports memory, describe, aply"]),
        (r#"(export "cabi_realloc")"#, "", ["does not export cabi_realloc (", "old pointer"]),
        (r#"(export "memory")"#, "", ["does not export memory (", "linker"]),
    ] {
        let error = refused(wat::parse_str(WHOLE.replace(from, to)).unwrap()).await;
        assert_eq!(error.code, "not_a_projection", "{error}");
        assert!(words.iter().all(|words| error.message.contains(words)), "{error}");
    }
    let error = refused(wat::parse_str(WHOLE.replace("(param i32 i32 i32 i32 i32)", "(param i32)")).unwrap()).await;
    assert_eq!(error.code, "invalid_wasm", "{error}");
    assert!(error.message.contains("apply") && error.message.contains("wit/projection.wit"), "{error}");
}

#[tokio::test]
async fn all_missing_imports_are_named() {
    let probe = Probe {
        world_extra: "import wasi:http/types@0.2.10; import acme:db/query@1.0.0; import wasi:clocks/wall-clock@0.2.0; \
                      import wasi:random/random@0.2.0;",
        packages: vec![
            preview_2().packages[0],
            preview_2().packages[1],
            "package wasi:http@0.2.10; interface types { send: func(); }",
            "package acme:db@1.0.0; interface query { run: func(); }",
        ],
        imports: r#"(import "laterna:projection/log@0.1.0" "write" (func $log (param i32 i32 i32)))
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
  (import "wasi:http/types@0.2.10" "send" (func $send))
  (import "acme:db/query@1.0.0" "run" (func $run))"#,
        ..preview_2()
    };
    let error = refused(probe.component()).await;
    assert_eq!(error.code, "missing_import");
    for name in ["wasi:http/types@0.2.10", "acme:db/query@1.0.0", "network"] {
        assert!(error.message.contains(name), "{error}");
    }
    assert!(!error.message.contains("wall-clock"), "{error}");
    let mut core = preview_1().core();
    let name = core.windows(22).position(|w| w == b"wasi_snapshot_preview1").unwrap();
    core[name..name + 22].copy_from_slice(b"env_of_another_library");
    let error = refused(core).await;
    assert_eq!(error.code, "missing_import", "{error}");
    assert!(error.message.contains("env_of_another_library#clock_time_get"), "{error}");
}

#[tokio::test]
async fn an_invalid_descriptor_is_told_with_all_problems() {
    let error = refused(Probe { tables: false, ..preview_1() }.core()).await;
    assert_eq!(error.code, "invalid_descriptor");
    assert!(!error.problems.is_empty() && error.problems.iter().all(|p| error.message.contains(&p.to_string())));
}

#[tokio::test]
async fn the_cache_is_hit_and_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cache");
    let host =
        || Host::new(HostSettings { cache_dir: Some(dir.clone()), threads: 1, ..HostSettings::default() }).unwrap();
    let load = async |host: Host| {
        let plugin = host.load(preview_1().core().into(), Limits::default()).await.unwrap();
        assert_eq!(numbers(&plugin.apply(&batch(&["o"])).await.unwrap()), [10]);
        plugin.figures().compiled_from_cache
    };
    assert!(!load(host()).await);
    assert!(load(host()).await);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let compiled = fs::read_dir(&dir).unwrap().flatten().map(|e| e.path()).find(|p| p.extension().is_some()).unwrap();
    assert_eq!((mode(&dir), mode(&dir.join("key")), mode(&compiled)), (0o700, 0o600, 0o600));

    let good = fs::read(&compiled).unwrap();
    for at in [0, 31, 32, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&compiled, &bad).unwrap();
        assert!(!load(host()).await, "byte {at}");
        assert!(load(host()).await, "byte {at}");
    }
    fs::write(&compiled, &good[..20]).unwrap();
    assert!(!load(host()).await);

    // Under another key, nothing holds; nor does a key that others could read.
    fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!load(host()).await);
    assert!(load(host()).await);
    // What is under way leaves nothing behind.
    let names: Vec<_> = fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn kept_functions_are_the_same_code() {
    // The first of the hosts compiles, the second one puts together what was compiled.
    for _ in 0..2 {
        let host = Host::new(HostSettings { threads: 1, keeps_functions: true, ..HostSettings::default() }).unwrap();
        let plugin = host.load(preview_1().core().into(), Limits::default()).await.unwrap();
        assert_eq!(numbers(&plugin.apply(&batch(&["o"])).await.unwrap()), [10]);
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_private_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Host::new(HostSettings { cache_dir: Some(file), threads: 1, ..HostSettings::default() }).unwrap_err();
    assert_eq!(error.code, "cache_folder");
}
