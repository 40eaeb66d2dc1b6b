//! Asks a running engine over HTTP. Hides the token and how answers are told from errors.
//!
//! Nothing is repeated by itself, because a lost answer does not say whether the order was carried out.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use crate::peer::{Peer, UrlError};

/// For what the engine answers from memory or with one look into the database.
pub(super) const QUICK: Duration = Duration::from_secs(30);
/// For what moves builds, compares tables or waits for readers.
pub(super) const LONG: Duration = Duration::from_secs(30 * 60);
/// An order without an answer.
const DOUBT: &str = " (the order may have been carried out: laterna audit)";
const ANSWER_BYTES_MAX: usize = 256 << 20;
const SHOWN_MAX: usize = 200;

/// Where an engine is, and who asks.
pub(super) struct Client {
    peer: Peer,
    token: Option<String>,
}

/// What a request brings.
pub(super) enum Body {
    None,
    Json(Value),
    Wasm(Vec<u8>),
}

/// Why there is no answer, or why it is no.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nothing listens there, or not in time.
    #[error(
        "no engine answers at {url}: {cause}; start one (laterna run, laterna demo), or say where it is with --url or LATERNA_URL"
    )]
    Unreachable { url: String, cause: String },
    /// The engine says no.
    #[error("{detail} ({code})")]
    Refused { code: String, detail: String },
    /// Something answers that is no engine.
    #[error("{url} answered {answer}, as no engine does; is --url right?")]
    Strange { url: String, answer: String },
}

impl ClientError {
    /// Whether the engine refused under this code.
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == name)
    }

    /// Whether nothing answers.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// An error as the engine writes it.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

/// Whatever was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Client {
    /// `url`: where the engine is served; the dashboard's address will do too.
    ///
    /// # Errors
    /// What is wrong with the URL, for people.
    pub(super) fn new(url: &str, token: Option<String>) -> Result<Self, String> {
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("the token holds what no token can hold: spaces, line ends or other than ASCII".to_owned());
        }
        let wrong = |error: UrlError| format!("--url {url:?}: {error}; write it as http://HOST:PORT");
        let mut peer = Peer::new(url, Vec::new()).map_err(wrong)?.map_err(|error| format!("TLS: {error}"))?;
        if let Some(base) = peer.base.strip_suffix("/ui") {
            peer.base = base.to_owned();
        }
        Ok(Self { peer, token })
    }

    /// The address for people.
    pub(super) fn url(&self) -> String {
        self.peer.url()
    }

    /// The JSON of a successful answer; null where it has none.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Body,
        limit: Duration,
    ) -> Result<Value, ClientError> {
        let answer = self.send(method, path, body, limit).await?;
        if answer.status.is_success() {
            return match &answer.body[..] {
                [] => Ok(Value::Null),
                body => serde_json::from_slice(body).map_err(|_| self.strange(&answer)),
            };
        }
        let Ok(Problem { code, mut detail }) = serde_json::from_slice(&answer.body) else {
            return Err(self.strange(&answer));
        };
        if answer.status == StatusCode::UNAUTHORIZED {
            detail = "the engine wants a token that it knows: give it as LATERNA_TOKEN, LATERNA_TOKEN_FILE or --token"
                .to_owned();
        }
        Err(ClientError::Refused { code, detail })
    }

    /// Any answer, whatever its status.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        let is_order = method != Method::GET;
        let request = self.request(method, path, body)?;
        let answer = self.peer.ask(request, limit, ANSWER_BYTES_MAX).await;
        let (status, body) = answer.map_err(|none| {
            let doubt = if is_order && none.sent { DOUBT } else { "" };
            self.unreachable(none.cause + doubt)
        })?;
        Ok(Answer { status, body })
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = self.peer.request(path).method(method).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let (kind, bytes) = match body {
            Body::None => (None, Bytes::new()),
            Body::Json(value) => (Some("application/json"), value.to_string().into()),
            Body::Wasm(bytes) => (Some("application/wasm"), bytes.into()),
        };
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        request.body(Full::new(bytes)).map_err(|error| self.unreachable(error.to_string()))
    }

    fn unreachable(&self, cause: String) -> ClientError {
        ClientError::Unreachable { url: self.url(), cause }
    }

    fn strange(&self, answer: &Answer) -> ClientError {
        let text: String = String::from_utf8_lossy(&answer.body).chars().take(SHOWN_MAX).collect();
        ClientError::Strange { url: self.url(), answer: format!("{} {text:?}", answer.status) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_engine_is() {
        let url = |text| Client::new(text, None).map(|client| client.url());
        assert_eq!(url("http://[::1]:8484/ui/"), Ok("http://[::1]:8484".into()));
        assert_eq!(url("https://x.org/laterna/"), Ok("https://x.org/laterna".into()));
        for wrong in ["", "127.0.0.1:8484", "ftp://x", "http://u:p@x", "http://x/?a", "http://"] {
            assert!(url(wrong).unwrap_err().contains("http://HOST:PORT"), "{wrong}");
        }
        assert!(Client::new("http://x", Some("a b".into())).is_err());
    }
}
