//! Asks a running engine over HTTP. Hides the connection, TLS, the token and how answers are told from errors.
//!
//! Invariants: one request, one connection; nothing is repeated by itself, because a lost answer does not say whether the order was carried
//! out; redirects are not followed, so the token goes nowhere but to the address that was named; time and size of an answer are bounded.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const CONNECT_MAX: Duration = Duration::from_secs(5);
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
    is_tls: bool,
    host: String,
    port: u16,
    /// As the `Host` header has it.
    authority: String,
    /// What stands in front of every path: empty, or `/laterna` behind a proxy.
    base: String,
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
        let wrong = |what: &str| format!("--url {url:?} {what}; write it as http://HOST:PORT");
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        let (is_tls, port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(wrong("begins with neither http:// nor https://")),
        };
        let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() || authority.contains('@') || uri.query().is_some() {
            return Err(wrong("holds more than a host, a port and a path"));
        }
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("the token holds what no token can hold: spaces, line ends or other than ASCII".to_owned());
        }
        let path = uri.path().trim_end_matches('/');
        let base = path.strip_suffix("/ui").unwrap_or(path).to_owned();
        Ok(Self { is_tls, host, port: uri.port_u16().unwrap_or(port), authority, base, token })
    }

    /// The address for people.
    pub(super) fn url(&self) -> String {
        format!("http{}://{}{}", if self.is_tls { "s" } else { "" }, self.authority, self.base)
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
        let doubt = if method == Method::GET { "" } else { DOUBT };
        let exchange = async {
            let connecting = TcpStream::connect((self.host.as_str(), self.port));
            let stream = tokio::time::timeout(CONNECT_MAX.min(limit), connecting)
                .await
                .map_err(|_| self.unreachable("it does not take the connection".to_owned()))?
                .map_err(|error| self.unreachable(error.to_string()))?;
            let request = self.request(method, path, body)?;
            if !self.is_tls {
                return self.exchange(stream, request).await;
            }
            let tls = tokio_native_tls::native_tls::TlsConnector::new()
                .map_err(|error| self.unreachable(format!("TLS: {error}")))?;
            let stream = tokio_native_tls::TlsConnector::from(tls)
                .connect(&self.host, stream)
                .await
                .map_err(|error| self.unreachable(format!("TLS: {error}")))?;
            self.exchange(stream, request).await
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(self.unreachable(format!("no answer within {} s{doubt}", limit.as_secs_f32()))))
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, concat!("laterna/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json");
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

    async fn exchange<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Answer, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let doubt = if request.method() == Method::GET { "" } else { DOUBT };
        let failed = |error: hyper::Error| self.unreachable(format!("{error}{doubt}"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // It ends with the answer; what it has to say comes with the request's error.
        let driving = tokio::spawn(connection);
        let answer = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body =
                body.map_err(|error| self.unreachable(format!("the answer broke off: {error}{doubt}")))?.to_bytes();
            Ok(Answer { status, body })
        }
        .await;
        driving.abort();
        answer
    }

    fn unreachable(&self, cause: String) -> ClientError {
        ClientError::Unreachable { url: self.url(), cause }
    }

    fn strange(&self, answer: &Answer) -> ClientError {
        let text: String = String::from_utf8_lossy(&answer.body).chars().take(SHOWN_MAX).collect();
        ClientError::Strange { url: self.url(), answer: format!("{} {text:?}", answer.status) }
    }
}

/// A text as one segment of a path, or as a value in a query.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded: String = text
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    // A path's segment of dots would be another path.
    if encoded.chars().all(|c| c == '.') { encoded.replace('.', "%2E") } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_engine_is() {
        let url = |text| Client::new(text, None).map(|client| (client.url(), client.host.clone(), client.port));
        assert_eq!(url("http://127.0.0.1:8484"), Ok(("http://127.0.0.1:8484".into(), "127.0.0.1".into(), 8484)));
        assert_eq!(url("http://[::1]:8484/ui/"), Ok(("http://[::1]:8484".into(), "::1".into(), 8484)));
        assert_eq!(url("https://x.org/laterna/"), Ok(("https://x.org/laterna".into(), "x.org".into(), 443)));
        for wrong in ["", "127.0.0.1:8484", "ftp://x", "http://u:p@x", "http://x/?a", "http://"] {
            assert!(url(wrong).unwrap_err().contains("http://HOST:PORT"), "{wrong}");
        }
        assert!(Client::new("http://x", Some("a b".into())).is_err());
    }

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(segment("order_summary"), "order_summary");
        assert_eq!(segment("../x?y#z %"), "..%2Fx%3Fy%23z%20%25");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
