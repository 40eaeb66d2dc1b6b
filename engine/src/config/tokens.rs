//! `http.tokens`: who may use the API. A token is read from a file or a variable, measured, hashed, and forgotten.

use sha2::{Digest, Sha256};
use toml::de::DeTable;

/// So much randomness cannot be guessed: 32 hexadecimal digits are 128 bits.
const LENGTH_MIN: usize = 32;
const LENGTH_MAX: usize = 512;
const NAME_MAX: usize = 64;
/// Names that the audit uses for callers without a token.
const RESERVED: [&str; 4] = ["local", "anonymous", "engine", "plugins-folder"];

/// Tokens that stand in a variable, named as their role; each also as `NAME_FILE`.
pub(super) const VARIABLES: [(&str, TokenRole); 2] =
    [("LATERNA_OPERATOR_TOKEN", TokenRole::Operator), ("LATERNA_VIEWER_TOKEN", TokenRole::Viewer)];

/// How a token is made; every message that asks for one says it.
pub(super) const HOW_TO: &str = "make a token with `openssl rand -hex 32 > laterna.token` and name it in the file: [http] tokens = [{ name = \"admin\", role = \"operator\", token = { file = \"laterna.token\" } }]";

/// A token that opens the API.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// Whose it is, for the audit.
    pub name: String,
    /// What it allows.
    pub role: TokenRole,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
}

impl std::fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenConfig").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRole {
    /// Looking at everything.
    Viewer,
    /// Looking at everything and changing it.
    Operator,
}

impl TokenRole {
    /// As it is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// One entry as it is written: name, role, and where the token stands (`env` or `file`, and its name).
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) role: TokenRole,
    pub(super) kind: &'a str,
    pub(super) target: &'a str,
}

/// Reads an entry. The message never repeats a value, which may be a token at the wrong place.
pub(super) fn entry<'a>(table: &'a DeTable<'_>) -> Result<Entry<'a>, String> {
    if let Some((key, _)) = table.iter().find(|(key, _)| !["name", "role", "token"].contains(&key.get_ref().as_ref())) {
        return Err(format!("unknown key `{}`; a token has name, role and token", key.get_ref()));
    }
    let text = |key: &str| table.get(key).and_then(|value| value.get_ref().as_str());
    let name = text("name").ok_or("has no name; give it one for the audit: name = \"ci\"")?;
    if name.is_empty()
        || name.len() > NAME_MAX
        || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c))
    {
        return Err(format!("its name must be 1 to {NAME_MAX} letters, digits or _ . @ -"));
    }
    if RESERVED.contains(&name) {
        return Err(format!("the name {name:?} is used by the audit for callers without a token; choose another one"));
    }
    let role = match text("role") {
        Some("viewer") => TokenRole::Viewer,
        Some("operator") => TokenRole::Operator,
        _ => return Err(format!("the token {name:?} needs role = \"viewer\" or \"operator\"")),
    };
    let place = format!(
        "the token {name:?} needs token = {{ file = \"PATH\" }} or {{ env = \"NAME\" }}: it is never written into this file"
    );
    let table = table.get("token").and_then(|value| value.get_ref().as_table()).ok_or_else(|| place.clone())?;
    match table.iter().next().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref().as_str())) {
        Some((kind @ ("file" | "env"), Some(target))) if table.len() == 1 => Ok(Entry { name, role, kind, target }),
        _ => Err(place),
    }
}

/// Measures and hashes a token.
pub(super) fn digest(name: &str, token: &str) -> Result<[u8; 32], String> {
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("the token {name:?} must be visible ASCII characters without spaces; {HOW_TO}"));
    }
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&token.len()) {
        return Err(format!(
            "the token {name:?} has {} characters; {LENGTH_MIN} to {LENGTH_MAX} are needed so that nobody guesses it; {HOW_TO}",
            token.len()
        ));
    }
    Ok(Sha256::digest(token.as_bytes()).into())
}

/// The tokens for people.
pub(super) fn shown(tokens: &[TokenConfig]) -> String {
    let one = |token: &TokenConfig| {
        format!("{{ name = \"{}\", role = \"{}\", token = \"(secret)\" }}", token.name, token.role.name())
    };
    format!("[{}]", tokens.iter().map(one).collect::<Vec<_>>().join(", "))
}
