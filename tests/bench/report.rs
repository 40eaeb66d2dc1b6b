//! What was measured, as a table while it goes on and as one JSON object at the end.

use std::path::Path;

use serde_json::{Map, Value};

const NAME_WIDTH: usize = 46;
const CELL_WIDTH: usize = 18;

/// The figures so far.
pub(crate) struct Report {
    headlines: Map<String, Value>,
    raw: Map<String, Value>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(quick: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        println!(
            "{cores} cores, with Kafka and PostgreSQL on them{}",
            if quick { "; QUICK: the figures mean nothing" } else { "" }
        );
        let raw = [("cores".to_owned(), cores.into()), ("quick".to_owned(), quick.into())].into_iter().collect();
        Self { headlines: Map::new(), raw }
    }

    /// Begins a table.
    pub(crate) fn title(&mut self, title: &str) {
        println!("\n{title}");
    }

    /// A row of it.
    pub(crate) fn row(&mut self, name: &str, cells: &[String]) {
        let cells: String = cells.iter().map(|cell| format!("{cell:>CELL_WIDTH$}")).collect();
        println!("  {name:<NAME_WIDTH$}{cells}");
    }

    /// One of the figures that have an aim.
    pub(crate) fn headline(&mut self, key: &str, value: f64) {
        self.headlines.insert(key.to_owned(), value.into());
    }

    /// Anything else.
    pub(crate) fn raw(&mut self, key: &str, value: Value) {
        self.raw.insert(key.to_owned(), value);
    }

    /// Prints the figures that have an aim, and writes all of them.
    pub(crate) fn finish(mut self, file: Option<&Path>) {
        println!();
        for (key, aim) in [
            ("engine_vs_bare", "0.6 or more"),
            ("guest_vs_native_290b", "1.8 or less"),
            ("guest_vs_native_1700b", "1.8 or less"),
            ("visible_p50_ms", ""),
            ("visible_p99_ms", "less than 20"),
            ("rss_mib_10_projections", "less than 150"),
        ] {
            let value = self.headlines.get(key).and_then(Value::as_f64);
            let shown = value.map_or("not measured".to_owned(), |value| format!("{value:.2}"));
            println!("{key:<28}{shown:>14}   {}", if aim.is_empty() { String::new() } else { format!("(aim: {aim})") });
        }
        self.headlines.insert("raw".to_owned(), self.raw.into());
        if let Some(file) = file {
            let text = serde_json::to_string_pretty(&Value::Object(self.headlines)).expect("JSON");
            std::fs::write(file, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
}

/// A number for people: rounded, with separators.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}
