//! A server that somebody named by its URL, asked over HTTP. Hides the address, the connection and TLS.
//!
//! Invariants: one request, one connection; nothing is repeated by itself; redirects are not followed, so a password goes nowhere but to the
//! address that was named; time and size of an answer are bounded.

use std::time::Duration;

use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri, header, http::request::Builder};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_native_tls::native_tls::{self, Certificate, TlsConnector};

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where a server is.
pub(crate) struct Peer {
    host: String,
    port: u16,
    /// As the `Host` header has it.
    authority: String,
    /// What stands in front of every path: empty, or `/laterna` behind a proxy.
    pub(crate) base: String,
    tls: Option<TlsConnector>,
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("it is no URL")]
    NoUrl,
    #[error("it begins with neither http:// nor https://")]
    Scheme,
    #[error("it holds a password")]
    Password,
    #[error("it holds more or less than a host, a port and a path")]
    Parts,
}

/// Why there is no answer.
pub(crate) struct NoAnswer {
    /// For people.
    pub(crate) cause: String,
    /// Whether the server may have got the request.
    pub(crate) sent: bool,
}

/// Looks at a URL without making anything of it: whether it is for TLS, the host, the port, the `Host` header, the path.
fn parts(url: &str) -> Result<(bool, String, u16, String, String), UrlError> {
    let uri: Uri = url.parse().map_err(|_| UrlError::NoUrl)?;
    let (is_tls, port) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        _ => return Err(UrlError::Scheme),
    };
    let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlError::Password);
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if host.is_empty() || uri.query().is_some() {
        return Err(UrlError::Parts);
    }
    let base = uri.path().trim_end_matches('/').to_owned();
    Ok((is_tls, host, uri.port_u16().unwrap_or(port), authority, base))
}

/// Whether a [`Peer`] can be made of a URL.
pub(crate) fn check_url(url: &str) -> Result<(), UrlError> {
    parts(url).map(drop)
}

impl Peer {
    /// The outer error is the URL's, the inner one TLS's: no certificates of the system, say.
    pub(crate) fn new(url: &str, trusted: Vec<Certificate>) -> Result<Result<Self, native_tls::Error>, UrlError> {
        let (is_tls, host, port, authority, base) = parts(url)?;
        let mut connector = TlsConnector::builder();
        for certificate in trusted {
            connector.add_root_certificate(certificate);
        }
        let tls = is_tls.then(|| connector.build()).transpose();
        Ok(tls.map(|tls| Self { host, port, authority, base, tls }))
    }

    /// The address for people.
    pub(crate) fn url(&self) -> String {
        format!("http{}://{}{}", if self.is_tls() { "s" } else { "" }, self.authority, self.base)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A request for a path, to be completed.
    pub(crate) fn request(&self, path: &str) -> Builder {
        Request::builder()
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, concat!("laterna/", env!("CARGO_PKG_VERSION")))
    }

    /// What is answered within `limit`, whatever its status.
    pub(crate) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), NoAnswer> {
        let before = |cause: String| NoAnswer { cause, sent: false };
        let exchange = async {
            let connecting = TcpStream::connect((self.host.as_str(), self.port));
            let stream = tokio::time::timeout(CONNECT_MAX.min(limit), connecting)
                .await
                .map_err(|_| before("it does not take the connection".to_owned()))?
                .map_err(|error| before(error.to_string()))?;
            let Some(tls) = &self.tls else { return exchange(stream, request, bytes_max).await };
            let tls = tokio_native_tls::TlsConnector::from(tls.clone()).connect(&self.host, stream).await;
            exchange(tls.map_err(|error| before(format!("TLS: {error}")))?, request, bytes_max).await
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
            Err(NoAnswer { cause: format!("no answer within {} s", limit.as_secs_f32()), sent: true })
        })
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| NoAnswer { cause: error.to_string(), sent: true };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // It ends with the answer; what it has to say comes with the request's error.
    let driving = tokio::spawn(connection.map(drop).boxed());
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        let broken = |error| NoAnswer { cause: format!("the answer broke off: {error}"), sent: true };
        Ok((status, body.map_err(broken)?.to_bytes()))
    }
    .await;
    driving.abort();
    answer
}

/// A text as one segment of a path, or as a value in a query.
pub(crate) fn segment(text: &str) -> String {
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
    fn a_url_says_where_a_server_is() {
        let at = |url| parts(url).map(|(is_tls, host, port, _, base)| (is_tls, host, port, base));
        assert_eq!(at("http://127.0.0.1:8484"), Ok((false, "127.0.0.1".into(), 8484, String::new())));
        assert_eq!(at("http://[::1]:8484/ui/"), Ok((false, "::1".into(), 8484, "/ui".into())));
        assert_eq!(at("https://x.org/laterna/"), Ok((true, "x.org".into(), 443, "/laterna".into())));
        let wrong = ["", "127.0.0.1:8484", "ftp://x", "http://u:p@x", "http://x/?a", "http://"];
        assert!(wrong.iter().all(|url| check_url(url).is_err()));
        let shown = Peer::new("https://[::1]:1/a/", Vec::new()).unwrap().unwrap().url();
        assert_eq!(shown, "https://[::1]:1/a");
    }

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(segment("order_summary"), "order_summary");
        assert_eq!(segment("../x?y#z %"), "..%2Fx%3Fy%23z%20%25");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
