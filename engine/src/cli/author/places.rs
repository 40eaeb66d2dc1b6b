//! Finds the line of the source that a message speaks of, and shows it.
//!
//! Compilers, panics and traps name a place as `src/lib.rs:12` (Python: `File "app.py", line 12`). The first such place that is a file of the
//! project is the author's own; those of the language's library are not in there, and neither are the SDK's.

use std::path::{Path, PathBuf};

/// The message, and below it the line of the project's source that it speaks of, where it speaks of one.
pub(in crate::cli) fn with_source_line(message: &str, project: &Path) -> String {
    let Some((file, number)) = places(message).into_iter().find_map(|(file, number)| {
        let inside = inside(&file, project)?;
        Some((inside, number))
    }) else {
        return message.to_owned();
    };
    let text = std::fs::read_to_string(project.join(&file)).unwrap_or_default();
    match text.lines().nth(number.saturating_sub(1)) {
        Some(line) => {
            let line = super::super::terminal::one_line(line.trim());
            format!("{message}\n  {}:{number} | {line}", file.display())
        }
        None => message.to_owned(),
    }
}

/// The file as a path in the project; none where it is not one of its own.
fn inside(file: &str, project: &Path) -> Option<PathBuf> {
    let whole = project.canonicalize().ok()?;
    let path = Path::new(file);
    let candidates = [whole.join(path.strip_prefix("/").unwrap_or(path)), path.to_owned()];
    candidates.into_iter().filter(|path| path.is_file()).find_map(|path| {
        let relative = path.canonicalize().ok()?.strip_prefix(&whole).ok()?.to_owned();
        let is_own = !["sdk", "node_modules", "target"].iter().any(|folder| relative.starts_with(folder));
        is_own.then_some(relative)
    })
}

/// All places in the order in which they stand in the message.
fn places(message: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let is_of_a_path = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
    for (at, _) in message.match_indices(':') {
        let digits: String = message[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        let name: String = message[..at].chars().rev().take_while(|c| is_of_a_path(*c)).collect();
        let name: String = name.chars().rev().collect();
        // Events are named with their own lines; what is looked for is what was written to handle them.
        let is_source = name.contains('.') && !name.ends_with(".jsonl");
        if let (Ok(number), true) = (digits.parse(), is_source) {
            found.push((at, name, number));
        }
    }
    for (at, _) in message.match_indices("\", line ") {
        let digits: String = message[at + 8..].chars().take_while(char::is_ascii_digit).collect();
        let name = message[..at].rsplit('"').next().unwrap_or_default();
        if let Ok(number) = digits.parse() {
            found.push((at, name.to_owned(), number));
        }
    }
    // A traceback of Python names the innermost place last; all others name it first.
    found.sort_by_key(|(at, _, _)| *at);
    if message.contains("Traceback (most recent call last)") {
        found.reverse();
    }
    found.into_iter().map(|(_, name, number)| (name, number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_own_line_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("src")).unwrap();
        std::fs::create_dir_all(dir.path().join("sdk/src")).unwrap();
        std::fs::write(dir.path().join("src/lib.rs"), "one\n  two();\n").unwrap();
        std::fs::write(dir.path().join("sdk/src/lib.rs"), "x\ny\n").unwrap();
        std::fs::write(dir.path().join("app.py"), "a\nb\nc\n").unwrap();
        let shown = |message: &str| with_source_line(message, dir.path()).strip_prefix(message).unwrap().to_owned();
        assert_eq!(shown("it said: panicked at src/lib.rs:2:5: no"), "\n  src/lib.rs:2 | two();");
        assert_eq!(shown("in f (sdk/src/lib.rs:1) <- g (src/lib.rs:1)"), "\n  src/lib.rs:1 | one");
        let whole = dir.path().canonicalize().unwrap().join("src/lib.rs");
        assert_eq!(shown(&format!("in f ({}:2)", whole.display())), "\n  src/lib.rs:2 | two();");
        let python =
            "Traceback (most recent call last): File \"/app.py\", line 1, in apply | File \"/app.py\", line 3, in f";
        assert_eq!(shown(python), "\n  app.py:3 | c");
        std::fs::write(dir.path().join("e.jsonl"), "{}\n").unwrap();
        assert_eq!(shown("e.jsonl:1: panicked at src/lib.rs:1:5"), "\n  src/lib.rs:1 | one");
        assert_eq!(shown("at 12:30 nothing: 5, src/none.rs:2, src/lib.rs:9"), "");
    }
}
