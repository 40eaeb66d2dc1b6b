//! Who asks: tokens and roles; and by which name we are called: `Host` and `Origin`.
//!
//! Invariants: a token is kept as its SHA-256 only, compared in constant time with every known one, and read from the `Authorization`
//! header only: never from an address, a cookie or a body, so that a browser sends none by itself and no log holds one. A browser's
//! request from another site is refused by its `Origin` or `Sec-Fetch-Site`, and by a `Host` that only a foreign DNS server can have made up.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::problem::Problem;
use super::rules::Role;

/// A token that opens the API.
#[derive(Clone)]
pub struct Token {
    /// Whose it is, for the audit.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Who may come in.
#[derive(Clone, Debug)]
pub(super) struct Access {
    tokens: Vec<Token>,
    allowed_hosts: Vec<String>,
    is_loopback: bool,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) name: String,
    /// None: nobody that is known.
    pub(super) role: Option<Role>,
    /// Where from.
    pub(super) address: String,
}

/// Where a connection comes from; set by the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Access {
    /// `is_loopback`: only this machine can reach us.
    pub(super) fn new(tokens: Vec<Token>, allowed_hosts: Vec<String>, is_loopback: bool) -> Self {
        Self { tokens, allowed_hosts, is_loopback }
    }

    /// Whose request this is.
    pub(super) fn caller(&self, headers: &HeaderMap, peer: Option<Peer>) -> Caller {
        let address = peer.map(|Peer(address)| address.ip().to_string()).unwrap_or_default();
        let caller = |name: &str, role| Caller { name: name.to_owned(), role, address };
        if self.tokens.is_empty() {
            // Beyond this machine nobody can be known, so nobody may change anything.
            return if self.is_loopback {
                caller("local", Some(Role::Operator))
            } else {
                caller("anonymous", Some(Role::Viewer))
            };
        }
        match bearer(headers).and_then(|given| self.find(given)) {
            Some(token) => caller(&token.name, Some(token.role)),
            None => caller("", None),
        }
    }

    /// Compares with all of them, whichever fits, so that the time tells nothing.
    fn find(&self, given: &[u8]) -> Option<&Token> {
        let digest: [u8; 32] = Sha256::digest(given).into();
        let mut found = u32::MAX;
        for (index, token) in (0u32..).zip(&self.tokens) {
            let is_equal: Choice = token.digest.ct_eq(&digest);
            found.conditional_assign(&index, is_equal);
        }
        usize::try_from(found).ok().and_then(|index| self.tokens.get(index))
    }

    /// Why this caller may not do what needs `role`, if so.
    pub(super) fn refusal(&self, caller: &Caller, role: Option<Role>, method: &Method) -> Option<Problem> {
        let needed = role?;
        match caller.role {
            Some(has) if has >= needed => None,
            Some(_) if self.tokens.is_empty() => Some(Problem::new(
                StatusCode::FORBIDDEN,
                "read_only",
                "the engine can be reached from other machines and has no tokens, so nothing can be changed through it: configure http.tokens, or listen on 127.0.0.1",
            )),
            Some(has) => Some(Problem::new(
                StatusCode::FORBIDDEN,
                "role_insufficient",
                format!(
                    "{method} here needs the role {}; the token {:?} has the role {}",
                    needed.name(),
                    caller.name,
                    has.name()
                ),
            )),
            None => Some(
                Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "token_needed",
                    "send a token that the engine knows (http.tokens in laterna.toml) as the header Authorization: Bearer TOKEN",
                )
                .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"laterna\"")),
            ),
        }
    }

    /// Why a request by this name or from this page is not answered, if so.
    pub(super) fn stranger(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Problem> {
        let hosts = texts(headers, header::HOST);
        let [host] = hosts.as_slice() else {
            return Some(misdirected("exactly one Host header is needed".to_owned()));
        };
        let authority = uri.authority().map(axum::http::uri::Authority::as_str);
        if !self.is_host(host) || !authority.is_none_or(|authority| self.is_host(authority)) {
            let known = if self.is_loopback {
                "localhost, 127.0.0.1 or [::1], because the engine listens on this machine only"
            } else {
                "an IP address or a name without dots, because the engine has no tokens"
            };
            return Some(misdirected(format!(
                "the Host header must name {known}; other names are listed in http.allowed_hosts"
            )));
        }
        if !texts(headers, header::ORIGIN).iter().all(|origin| self.is_origin(origin, host)) {
            return Some(Problem::new(
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                "this request comes from a page of another site; names under which this engine is served are listed in http.allowed_hosts",
            ));
        }
        // A link from elsewhere may be followed; a page from elsewhere may not ask.
        let site = texts(headers, HeaderName::from_static("sec-fetch-site"));
        let mode = texts(headers, HeaderName::from_static("sec-fetch-mode"));
        let is_link = *method == Method::GET && mode == ["navigate"];
        if site.iter().any(|site| matches!(*site, "cross-site" | "same-site")) && !is_link {
            return Some(Problem::new(
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                "this request comes from a page of another site",
            ));
        }
        None
    }

    fn is_host(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        let is_listed = self.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        if self.is_loopback {
            return is_listed || is_loopback_name(name);
        }
        // With tokens a made-up name gains nothing: no browser sends one by itself.
        if !self.tokens.is_empty() && self.allowed_hosts.is_empty() {
            return true;
        }
        // Names with dots can be anybody's; these can't.
        is_listed || name.parse::<IpAddr>().is_ok() || !name.contains('.')
    }

    fn is_origin(&self, origin: &str, host: &str) -> bool {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let Some(rest) = rest else { return false };
        rest.eq_ignore_ascii_case(host)
            || name_of(rest).is_some_and(|name| self.allowed_hosts.iter().any(|a| a.eq_ignore_ascii_case(name)))
    }
}

fn misdirected(detail: String) -> Problem {
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "host_not_allowed", detail)
}

fn texts(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The name in `NAME:PORT` or `[ADDRESS]:PORT`; none where it is neither.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) => (name, port.strip_prefix(':').unwrap_or(port)),
        None => host.split_once(':').unwrap_or((host, "")),
    };
    (!name.is_empty() && port.chars().all(|c| c.is_ascii_digit())).then_some(name)
}

/// `localhost`, `127.x.y.z` or `::1`.
fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
