//! The author's loop with Rust's own tools, as `docs/plugins/loop.md` tells it: every command in its boxes is run, and must say what stands there.

use std::path::Path;
use std::process::Command;

use laterna_tests::engine::binary;
use laterna_tests::guardian::Folder;
use laterna_tests::transcript::{Session, steps};

#[test]
fn the_page_is_what_happens() {
    let libraries =
        Command::new("rustc").args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]).output();
    let place = libraries.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    assert!(Path::new(&place).is_dir(), "no Rust for plugins here: rustup target add wasm32-unknown-unknown");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins/loop.md");
    let steps = steps(&std::fs::read_to_string(page).unwrap()).unwrap();
    assert!(steps.len() > 10, "only {} commands were seen", steps.len());
    let folder = Folder::new("author");
    std::fs::write(folder.path().join("orders.jsonl"), steps[0].says.join("\n") + "\n").unwrap();
    let bin = binary();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(bin.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path)));
    let mut session = Session::new(folder.path(), vec![("PATH".to_owned(), path.unwrap())]);
    if let Err(wrong) = session.run(&steps) {
        panic!("{wrong}");
    }
}
