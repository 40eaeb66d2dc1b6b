//! JSON documents in canonical form. Hides a small strict parser: `serde_json` would round numbers, and its raw
//! values would read a deep document once per level.
//!
//! Canonical: object keys unique (the last one wins, as in `jsonb`) and sorted by their bytes, numbers in plain notation without
//! needless zeros and exact, no white space, only those characters escaped that must be. So two documents are
//! equal, to `jsonb` and to us, where their canonical texts are.

use std::collections::BTreeMap;

use super::value::{Decimal, ValueError};

/// How deep arrays and objects may nest: parsers on the way (and in other languages) take this much.
pub const JSON_DEPTH_MAX: usize = 128;

enum Node {
    Null,
    Boolean(bool),
    /// In canonical form.
    Number(String),
    Text(String),
    Array(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

/// The canonical form of a document.
pub(super) fn canonical(text: &str) -> Result<String, ValueError> {
    let mut parser = Parser { text, at: 0 };
    parser.white_space();
    let node = parser.node(0)?;
    parser.white_space();
    if parser.at != text.len() {
        return Err(parser.error("more text after the document"));
    }
    let mut out = String::with_capacity(text.len());
    write(&node, &mut out);
    Ok(out)
}

fn write(node: &Node, out: &mut String) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Boolean(true) => out.push_str("true"),
        Node::Boolean(false) => out.push_str("false"),
        Node::Number(number) => out.push_str(number),
        Node::Text(text) => write_text(text, out),
        Node::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Node::Object(members) => {
            out.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                write!(out, "\\u{:04x}", u32::from(c)).ok();
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Parser<'a> {
    text: &'a str,
    /// Position in bytes, always at a character's start.
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, what: &str) -> ValueError {
        ValueError(format!("not a JSON document: {what} at byte {}", self.at))
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ValueError> {
        if self.peek() != Some(byte) {
            return Err(self.error(&format!("expected `{}`", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, node: Node) -> Result<Node, ValueError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("unknown word"));
        }
        self.at += word.len();
        Ok(node)
    }

    fn node(&mut self, depth: usize) -> Result<Node, ValueError> {
        match self.peek() {
            None => Err(self.error("the text ends early")),
            Some(b'n') => self.word("null", Node::Null),
            Some(b't') => self.word("true", Node::Boolean(true)),
            Some(b'f') => self.word("false", Node::Boolean(false)),
            Some(b'"') => self.string().map(Node::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[' | b'{') if depth >= JSON_DEPTH_MAX => {
                Err(ValueError(format!("the JSON document nests deeper than {JSON_DEPTH_MAX} levels")))
            }
            Some(b'[') => self.array(depth + 1),
            Some(b'{') => self.object(depth + 1),
            Some(_) => Err(self.error("no value begins")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node, ValueError> {
        self.at += 1;
        let mut items = Vec::new();
        self.white_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Node::Array(items));
        }
        loop {
            self.white_space();
            items.push(self.node(depth)?);
            self.white_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => {
                    self.expect(b']')?;
                    return Ok(Node::Array(items));
                }
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node, ValueError> {
        self.at += 1;
        let mut members = BTreeMap::new();
        self.white_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Node::Object(members));
        }
        loop {
            self.white_space();
            let key = self.string()?;
            self.white_space();
            self.expect(b':')?;
            self.white_space();
            let value = self.node(depth)?;
            members.insert(key, value);
            self.white_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => {
                    self.expect(b'}')?;
                    return Ok(Node::Object(members));
                }
            }
        }
    }

    fn digits(&mut self) -> Result<(), ValueError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error("expected a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Node, ValueError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.at;
        self.digits()?;
        if self.text.as_bytes()[first] == b'0' && self.at - first > 1 {
            return Err(self.error("a number begins with 0"));
        }
        let mut plain = self.at - first <= 18;
        if self.peek() == Some(b'.') {
            plain = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            plain = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let number = &self.text[start..self.at];
        if plain && number != "-0" {
            return Ok(Node::Number(number.to_owned()));
        }
        Ok(Node::Number(Decimal::parse(number)?.normalised()))
    }

    fn string(&mut self) -> Result<String, ValueError> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    out.push(c);
                }
                Some(_) => return Err(self.error("a control character stands in a text without escape")),
                None => return Err(self.error("the text ends early")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ValueError> {
        let byte = self.peek().ok_or_else(|| self.error("the text ends early"))?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => {
                self.at -= 1;
                return Err(self.error("unknown escape"));
            }
        })
    }

    fn unicode(&mut self) -> Result<char, ValueError> {
        let lone =
            || ValueError("the JSON document holds half of a surrogate pair, which no database can store".into());
        let high = self.hexadecimal()?;
        let code = match high {
            0 => return Err(ValueError("the JSON document holds \\u0000, which no database can store".into())),
            0xd800..=0xdbff => {
                if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                    return Err(lone());
                }
                self.at += 2;
                let low = self.hexadecimal()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(lone());
                }
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(lone)
    }

    fn hexadecimal(&mut self) -> Result<u32, ValueError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.error("expected four hexadecimal digits"))?;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_one_form() {
        for (text, expected) in [
            (" null ", "null"),
            ("[ ]", "[]"),
            ("{ }", "{}"),
            (r#"{"b":1, "a":2}"#, r#"{"a":2,"b":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"a":1,"\u0061":[true,false,null]}"#, r#"{"a":[true,false,null]}"#),
            ("1.10", "1.1"),
            ("1e3", "1000"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("-12.50e-1", "-1.25"),
            ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
            (r#""\u00e9\/\ud83d\ude00\n\u001f""#, "\"é/😀\\n\\u001f\""),
            (r#""a\"\\""#, r#""a\"\\""#),
        ] {
            assert_eq!(canonical(text).unwrap(), expected, "{text}");
            assert_eq!(canonical(expected).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "[".repeat(JSON_DEPTH_MAX + 1) + &"]".repeat(JSON_DEPTH_MAX + 1);
        for text in [
            "",
            " ",
            "nul",
            "nullx",
            "tru",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "NaN",
            "[1,]",
            "[1 2]",
            "[",
            "{",
            "{a:1}",
            "{\"a\"}",
            "{\"a\":1,}",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\\u0000\"",
            "\"\n\"",
            "1 2",
            "1e2000",
            "1e-2000",
            "é",
            "\"\\é\"",
            "\"\\u00é\"",
            &deep,
        ] {
            assert!(canonical(text).is_err(), "{text:?}");
        }
        let fits = "[".repeat(JSON_DEPTH_MAX) + &"]".repeat(JSON_DEPTH_MAX);
        assert_eq!(canonical(&fits).unwrap(), fits);
    }
}
