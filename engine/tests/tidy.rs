//! Holds the house in order: who may import whom, how long a file may be, and that the map's paths exist.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const VOCABULARY: [&str; 4] = ["error", "event", "checkpoint", "change"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The last table of ARCHITECTURE.md's code map: module -> modules that it may import.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map = text.split("## Code map").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut allowed = BTreeMap::new();
    for line in map.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let mut imports = BTreeSet::new();
        for word in cells[2].split(',').map(str::trim) {
            match word {
                "–" => {}
                "vocabulary" => imports.extend(VOCABULARY.map(str::to_owned)),
                module => drop(imports.insert(module.to_owned())),
            }
        }
        allowed.insert(cells[0].trim_matches('`').to_owned(), imports);
    }
    assert!(allowed.len() >= 11, "the code map has lost rows: {allowed:?}");
    allowed
}

/// The modules named by `crate::` paths in a file, comments left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let names = code
        .split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>());
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn modules_import_only_what_the_code_map_allows() {
    let allowed = allowed();
    let src = root().join("engine/src");
    let mut checked = 0;
    for path in rust_files(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if ["lib", "main", "cli"].contains(&module) {
            continue;
        }
        let may = allowed.get(module).unwrap_or_else(|| panic!("{module} is not in the code map"));
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            assert!(
                import == module || may.contains(&import),
                "{} imports {import}: the code map allows {may:?}",
                inside.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} imports were seen: is the check blind?");
}

#[test]
fn files_open_with_what_they_hide_and_stay_readable() {
    for path in rust_files(&root().join("engine/src")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
        let lines = text.lines().count();
        assert!(lines <= 800, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_path_in_the_architecture_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    for path in quoted.filter(|quoted| quoted.contains('/') && !quoted.contains([' ', '<', '|', '('])) {
        let exists = [root().join(path), root().join("engine/src").join(path)].iter().any(|path| path.exists());
        assert!(exists, "ARCHITECTURE.md names {path}, which does not exist");
    }
}
