//! The author's loop with Rust's own tools, as `docs/plugins/loop.md` tells it: every command in its boxes is run, and must say what stands there.

use std::path::Path;
use std::process::{Command, Stdio};

use laterna_tests::engine::binary;
use laterna_tests::guardian::Folder;

/// A command, and the lines that it says.
struct Step {
    command: String,
    says: Vec<String>,
}

/// All boxes of the page, in order. A line that begins with `$ ` is a command, unless the one before it says that it runs it.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let is_own = ["$ laterna", "$ cat", "$ cd", "$ ls", "$ sed"].iter().any(|own| line.starts_with(own));
            match (line.strip_prefix("$ ").filter(|_| is_own), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), says: Vec::new() }),
                (None, Some(step)) => step.says.push(line.to_owned()),
                (None, None) => panic!("{line:?} stands before any command"),
            }
        }
    }
    steps
}

/// Whether the lines are these; `..` alone stands for any lines, at the end of a line for its rest.
fn fits(expected: &[String], said: &[&str]) -> bool {
    match expected.split_first() {
        None => said.is_empty(),
        Some((line, rest)) if line == ".." => (0..=said.len()).any(|skipped| fits(rest, &said[skipped..])),
        Some((line, rest)) => said.split_first().is_some_and(|(first, others)| {
            let is_line = line.strip_suffix("..").map_or(first == line, |start| first.starts_with(start));
            is_line && fits(rest, others)
        }),
    }
}

#[test]
fn the_page_is_what_happens() {
    let libraries =
        Command::new("rustc").args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]).output();
    let place = libraries.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    assert!(Path::new(&place).is_dir(), "no Rust for plugins here: rustup target add wasm32-unknown-unknown");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins/loop.md");
    let steps = steps(&std::fs::read_to_string(page).unwrap());
    assert!(steps.len() > 10, "only {} commands were seen", steps.len());
    let folder = Folder::new("author");
    let mut dir = folder.path().to_owned();
    std::fs::write(dir.join("orders.jsonl"), steps[0].says.join("\n") + "\n").unwrap();
    let bin = binary();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(bin.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path)));
    let path = path.unwrap();
    for Step { command, says } in &steps {
        if let Some(into) = command.strip_prefix("cd ") {
            dir.push(into);
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {command}")]).current_dir(&dir).stdin(Stdio::null());
        // Nothing of what cargo tells those that it runs.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_")) {
            if name != "CARGO_HOME" {
                shell.env_remove(name);
            }
        }
        let output = shell.env("PATH", &path).env_remove("RUSTFLAGS").env("LC_ALL", "C").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert!(fits(says, &lines), "$ {command}\nmust say\n{}\nand says\n{said}", says.join("\n"));
    }
}

#[test]
fn what_differs_is_seen() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("a\n..\nd ..\n"), &["a", "b", "c", "d 1"]));
    assert!(fits(&lines(".."), &[]));
    assert!(!fits(&lines("a\n..\nd\n"), &["a", "b"]));
    assert!(!fits(&lines("a"), &["a", "b"]));
    let steps = steps("```console\n$ ls x\ny\n$ sh build.sh\n```\n");
    assert_eq!((steps.len(), steps[0].says.len()), (1, 2));
}
