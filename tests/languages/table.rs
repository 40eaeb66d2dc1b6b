//! The table of all languages: for the terminal and for the docs.

use std::fmt::Write as _;
use std::path::Path;

use super::Language;
use super::speed::Cost;
use super::transcript::STEPS;

const BEGIN: &str = "<!-- begin: written by `tests/languages/run --docs` -->";
const END: &str = "<!-- end -->";

/// How many columns there are, and how many of them hold words.
const COLUMNS: usize = 14;
const WORDS: usize = 6;

/// Columns and what a language has in them.
fn cells(language: &Language) -> [(&'static str, String); COLUMNS] {
    let said = |step: &str| match language.state[step].as_str() {
        Some("ok") => "ok".to_owned(),
        Some(wrong) if wrong.starts_with("missing") => "missing".to_owned(),
        _ => "FAILED".to_owned(),
    };
    let cost = |cost: Option<Cost>, what: fn(Cost) -> String| cost.map_or("-".to_owned(), what);
    let (small, large) = (language.speed.map(|speed| speed.small), language.speed.map(|speed| speed.large));
    let ns: fn(Cost) -> String = |cost| thousands(cost.ns);
    let ratio: fn(Cost) -> String = |cost| format!("{:.1}", cost.ratio);
    [
        ("language", language.name().to_owned()),
        ("scaffold", said("scaffold")),
        ("build", said("build")),
        ("unit test", said("unit_test")),
        ("golden rows", said("golden")),
        ("digest", language.digest.as_ref().map_or("-".to_owned(), |digest| digest[..8].to_owned())),
        ("size", language.wasm_bytes.map_or("-".to_owned(), size)),
        ("start ms", language.speed.map_or("-".to_owned(), |speed| thousands(speed.start_ms))),
        ("call µs", language.speed.map_or("-".to_owned(), |speed| thousands(speed.call_us))),
        ("ns/event 290 B", cost(small, ns)),
        ("x native", cost(small, ratio)),
        ("x raw", small.and_then(|cost| cost.vs_raw).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))),
        ("ns/event 1,700 B", cost(large, ns)),
        ("x native", cost(large, ratio)),
    ]
}

fn native_row(native_ns: [f64; 2]) -> [String; COLUMNS] {
    let mut row = std::array::from_fn(|_| String::new());
    row[0] = "native Rust".to_owned();
    row[9] = thousands(native_ns[0]);
    row[10] = "1".to_owned();
    row[12] = thousands(native_ns[1]);
    row[13] = "1".to_owned();
    row
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KB", bytes.div_ceil(1000)) } else { format!("{:.1} MB", bytes as f64 / 1e6) }
}

/// Prints the table.
pub(super) fn print(languages: &[Language], native_ns: [f64; 2]) {
    let Some(first) = languages.first() else { return };
    let mut lines = vec![cells(first).map(|(name, _)| name.to_owned()), native_row(native_ns)];
    lines.extend(languages.iter().map(|language| cells(language).map(|(_, cell)| cell)));
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0));
    println!();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(at, (cell, width))| match at {
                0..WORDS => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    println!();
    for language in languages {
        println!("{}", session(language).map(|(name, cell)| format!("{name} {cell}")).join("  "));
    }
    println!();
}

/// What a language's session took, in seconds.
fn session(language: &Language) -> [(&'static str, String); 7] {
    let mut cells: [(&'static str, String); 7] = std::array::from_fn(|_| ("", String::new()));
    cells[0] = ("language", language.name().to_owned());
    for (cell, (name, _)) in cells[1..].iter_mut().zip(STEPS) {
        let seconds = language.state["seconds"][name].as_f64();
        *cell = (name, seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1}")));
    }
    cells
}

/// Writes the table into the marked block of a page.
pub(super) fn write_docs(file: &Path, languages: &[Language], native_ns: [f64; 2]) {
    let Some(first) = languages.first() else { return };
    let page = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (before, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{}: no line {BEGIN}", file.display()));
    let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{}: no line {END}", file.display()));
    let mut table = String::new();
    let mut line = |cells: &[String]| writeln!(table, "| {} |", cells.join(" | "));
    let written = (|| {
        line(&cells(first).map(|(name, _)| name.to_owned()))?;
        line(&std::array::from_fn::<String, COLUMNS, _>(|at| if at < WORDS { "---" } else { "---:" }.to_owned()))?;
        line(&native_row(native_ns))?;
        languages.iter().try_for_each(|language| line(&cells(language).map(|(_, cell)| cell)))
    })();
    written.expect("a String");
    let mut sessions = String::new();
    let mut line = |cells: &[String]| writeln!(sessions, "| {} |", cells.join(" | "));
    let written = (|| {
        line(&session(first).map(|(name, _)| name.to_owned()))?;
        line(&std::array::from_fn::<String, 7, _>(|at| if at < 1 { "---" } else { "---:" }.to_owned()))?;
        languages.iter().try_for_each(|language| line(&session(language).map(|(_, cell)| cell)))
    })();
    written.expect("a String");
    let mut kinds = String::new();
    for language in languages {
        let Some(compared) = &language.compared else { continue };
        let open: Vec<&str> =
            compared.open_differences.iter().filter(|(_, count)| **count > 0).map(|(kind, _)| *kind).collect();
        let open =
            if open.is_empty() { "as Rust".to_owned() } else { format!("otherwise than Rust: {}", open.join(", ")) };
        writeln!(kinds, "* {}: {open}", language.name()).expect("a String");
    }
    let page = format!(
        "{before}{BEGIN}\n{table}\nThe session of each SDK's README, in seconds:\n\n{sessions}\nWhere JSON leaves the meaning to its reader (see below), they answer\n{kinds}{END}{after}"
    );
    std::fs::write(file, page).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
