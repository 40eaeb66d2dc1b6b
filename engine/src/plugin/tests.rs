//! The sandbox against guests written for it, in text and in Rust.

use super::*;

/// `adapter.wasm` is `adapter.wat` with the types of `adapter.wit`. `LATERNA_WRITE_ADAPTER=1` writes it anew.
#[test]
fn the_adapter_is_built_from_its_source() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugin");
    let mut wasm = wat::parse_file(dir.join("adapter.wat")).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("adapter.wit", &std::fs::read_to_string(dir.join("adapter.wit")).unwrap()).unwrap();
    let world = resolve.select_world(&[package], Some("adapter")).unwrap();
    wit_component::embed_component_metadata(&mut wasm, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    let file = dir.join("adapter.wasm");
    if std::env::var_os("LATERNA_WRITE_ADAPTER").is_some() {
        std::fs::write(&file, &wasm).unwrap();
    }
    assert!(std::fs::read(&file).unwrap() == wasm, "run this test with LATERNA_WRITE_ADAPTER=1 and commit adapter.wasm");
}
