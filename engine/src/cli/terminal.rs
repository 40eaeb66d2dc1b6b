//! Output for people: lines, tables, and one screen that is redrawn.

use std::io::Write;

/// Cells are shortened to so many characters.
const CELL_WIDTH_MAX: usize = 44;

/// A line, or several, on standard output. A reader that has gone away is no error: `laterna .. | head` is fine.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A line on standard error.
pub(super) fn complain(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

/// Overwrites the screen.
pub(super) fn redraw(text: &str) {
    let mut out = std::io::stdout().lock();
    let lines = text.replace('\n', "\x1b[K\n");
    let _closed = write!(out, "\x1b[H{lines}\x1b[K\x1b[J").and_then(|()| out.flush());
}

/// Empties the screen.
pub(super) fn clear() {
    let mut out = std::io::stdout().lock();
    let _closed = write!(out, "\x1b[2J\x1b[H").and_then(|()| out.flush());
}

/// Overwrites the line that the cursor is in.
pub(super) fn redraw_line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = write!(out, "\r{text}\x1b[K").and_then(|()| out.flush());
}

/// Leaves the line that was redrawn as it is.
pub(super) fn end_line() {
    say("");
}

/// A table with aligned columns; columns of numbers are set to the right.
pub(super) fn table(columns: &[String], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| shorten(cell)).collect()).collect();
    let cell = |row: &'_ [String], index: usize| row.get(index).cloned().unwrap_or_default();
    let width = |index: usize| {
        let cells = rows.iter().map(|row| cell(row, index).chars().count());
        cells.chain([columns[index].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let is_right: Vec<bool> =
        (0..columns.len()).map(|index| rows.iter().all(|row| is_figure(&cell(row, index)))).collect();
    let line = |row: &[String]| {
        let cells = widths.iter().enumerate().map(|(index, &width)| {
            let text = cell(row, index);
            if is_right[index] { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rule = widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>().join("  ");
    [line(columns), rule].into_iter().chain(rows.iter().map(|row| line(row))).collect::<Vec<_>>().join("\n")
}

/// How a line of a table is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing is to be said.
    Plain,
    /// Somebody should look.
    Warn,
    /// Somebody must act.
    Bad,
}

/// A table with colours: its head is bold, and each row has the tone of its place.
pub(super) fn toned(table: &str, tones: &[Tone], has_color: bool) -> String {
    if !has_color {
        return table.to_owned();
    }
    let line = |(index, line): (usize, &str)| {
        let code = match index.checked_sub(2).and_then(|index| tones.get(index)) {
            _ if index == 0 => "1",
            Some(Tone::Bad) => "31",
            Some(Tone::Warn) => "33",
            _ => return line.to_owned(),
        };
        format!("\x1b[{code}m{line}\x1b[0m")
    };
    table.lines().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// JSON for programs and people: what could move a cursor is written as an escape.
pub(super) fn json(value: &serde_json::Value) -> String {
    let text = format!("{value:#}");
    let is_raw = |c: char| c.is_control() && c != '\n';
    if !text.contains(is_raw) {
        return text;
    }
    // Such a character can only stand within a string.
    text.chars().map(|c| if is_raw(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}

/// All of a text in one line, without control characters.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn is_figure(cell: &str) -> bool {
    !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || "-.,".contains(c))
}

/// One line without control characters: a row's value must not move the cursor.
pub(super) fn shorten(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().map(plain).take(CELL_WIDTH_MAX).collect();
    if text.chars().count() > CELL_WIDTH_MAX {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_hide_control_characters() {
        let columns = ["name".to_owned(), "n".to_owned()];
        let rows = [vec!["a\x1b[2J".to_owned(), "1".to_owned()], vec!["b".to_owned(), "100".to_owned()]];
        assert_eq!(table(&columns, &rows), "name     n\n-----  ---\na\u{fffd}[2J    1\nb      100");
        assert_eq!(table(&columns, &[]), "name  n\n----  -");
        assert_eq!(shorten(&"x".repeat(100)).chars().count(), CELL_WIDTH_MAX);
    }

    #[test]
    fn colours_stand_around_lines_only() {
        let text = "head\n----\na\nb";
        assert_eq!(toned(text, &[Tone::Bad], false), text);
        assert_eq!(toned(text, &[Tone::Plain, Tone::Bad], true), "\x1b[1mhead\x1b[0m\n----\na\n\x1b[31mb\x1b[0m");
    }

    #[test]
    fn json_stays_json_and_moves_no_cursor() {
        let value = serde_json::json!({ "a": "x\u{9b}2J\u{7f}\n\u{1b}", "b": [1] });
        let text = json(&value);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
