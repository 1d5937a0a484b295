//! Requests to one base URL, each over a connection of its own, bounded in time and length.

use std::{future::Future, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, Uri,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderName},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{MAX_ANSWER_BYTES, WorkerApiError, types::Refusal};

/// Timeout of a connection with its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Timeout of a request, until its answer is complete or, of a download, begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum length of a refusal, in bytes.
const MAX_REFUSAL_BYTES: usize = 64 * 1_024;

/// Maximum number of characters of a refusal that are shown.
const MAX_REFUSAL_CHARS: usize = 500;

/// One request.
pub(crate) struct Call<'a> {
    method: Method,
    path: String,
    token: Option<&'a str>,
    headers: Vec<(HeaderName, String)>,
    body: Option<(&'static str, Vec<u8>)>,
    time: Duration,
    max_answer_bytes: usize,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            token: None,
            headers: Vec::new(),
            body: None,
            time: REQUEST_TIMEOUT,
            max_answer_bytes: MAX_ANSWER_BYTES,
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn token(self, token: &'a str) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the time within which the answer must be complete or, of a download, begin.
    pub(super) fn within(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Sets the maximum length of an answer that is read at once, in bytes.
    pub(crate) fn at_most(self, max_answer_bytes: usize) -> Self {
        Self {
            max_answer_bytes,
            ..self
        }
    }

    pub(super) fn body(self, kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            body: Some((kind, body)),
            ..self
        }
    }

    pub(super) fn json(self, body: &impl Serialize) -> Result<Self, WorkerApiError> {
        let body = serde_json::to_vec(body).map_err(|error| WorkerApiError::NotUnderstood {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        Ok(self.body("application/json", body))
    }
}

/// A whole answer.
pub(crate) struct Answer {
    /// Path of the request.
    pub(crate) path: String,
    /// HTTP status.
    pub(crate) status: u16,
    /// Body.
    pub(crate) body: Vec<u8>,
    /// Headers.
    pub(crate) headers: HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Answer that comes part by part.
pub struct Download {
    path: String,
    url: String,
    status: u16,
    headers: HeaderMap,
    body: Incoming,
}

impl Download {
    /// Returns the HTTP status, which is one of success.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns a header of the answer, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Waits for the next part of the answer; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, WorkerApiError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| unreachable(&self.url, format!("{}: {error}", self.path)))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Waits for the next part as [`Self::next`] does, but no longer than the worker may be silent.
    pub async fn next_within(&mut self, silence: Duration) -> Result<Option<Bytes>, WorkerApiError> {
        match timeout(silence, self.next()).await {
            Ok(part) => part,
            Err(_) => {
                let reason = format!("{}: nothing came for {} seconds", self.path, silence.as_secs());
                Err(unreachable(&self.url, reason))
            }
        }
    }
}

/// Returns a worker's refusal; its text is a stranger's, for a terminal.
pub(super) fn refused(path: String, status: u16, body: &[u8]) -> WorkerApiError {
    let reason = serde_json::from_slice(body).map_or_else(
        |_| String::from_utf8_lossy(body).into_owned(),
        |Refusal { error }| error,
    );
    let shown = |character: char| if character.is_control() { ' ' } else { character };
    WorkerApiError::Refused {
        path,
        status,
        reason: reason.chars().take(MAX_REFUSAL_CHARS).map(shown).collect(),
    }
}

pub(super) fn unreachable(url: &str, reason: impl ToString) -> WorkerApiError {
    WorkerApiError::Unreachable {
        url: url.to_owned(),
        reason: reason.to_string(),
    }
}

/// Connection of which only the bytes matter.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connection, with TLS or without.
pub(super) type Wire = Box<dyn Stream>;

/// Base URL, and the TLS that it is reached by.
#[derive(Clone)]
pub(crate) struct Base {
    url: String,
    host: String,
    port: u16,
    /// Path in front of every request's.
    prefix: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Base {
    pub(crate) fn new(url: &str, tls: Arc<ClientConfig>) -> Result<Self, WorkerApiError> {
        let bad = || WorkerApiError::BadUrl { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad()),
        };
        if uri.query().is_some() {
            return Err(bad());
        }
        let tls = if is_tls {
            let name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
            Some((TlsConnector::from(tls), name))
        } else {
            None
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            host,
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Makes a request, and reads its answer.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, WorkerApiError> {
        let (time, at_most) = (call.time, call.max_answer_bytes);
        let path = call.path.clone();
        let answered = async {
            let response = self.send(call).await?;
            self.whole(response, at_most, path).await
        };
        self.in_time(time, answered).await
    }

    /// Makes a request, and reads its answer, whatever its status.
    pub(crate) async fn ask(&self, call: Call<'_>) -> Result<Answer, WorkerApiError> {
        let (time, at_most) = (call.time, call.max_answer_bytes);
        let path = call.path.clone();
        let answered = async {
            let response = self.exchange(call).await?;
            self.whole(response, at_most, path).await
        };
        self.in_time(time, answered).await
    }

    /// Connects, for a protocol other than HTTP requests.
    pub(super) async fn open(&self) -> Result<Wire, WorkerApiError> {
        let opened = async {
            let stream = self.dial().await?;
            let wire: Wire = match &self.tls {
                None => Box::new(stream),
                Some((connector, name)) => Box::new(self.secure(stream, connector, name).await?),
            };
            Ok(wire)
        };
        self.in_connect_time(opened).await
    }

    async fn whole(
        &self,
        response: Response<Incoming>,
        at_most: usize,
        path: String,
    ) -> Result<Answer, WorkerApiError> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = self.read(response.into_body(), at_most, &path).await?;
        Ok(Answer {
            path,
            status,
            body,
            headers,
        })
    }

    /// Makes a request, and returns its answer as soon as that begins.
    pub(super) async fn stream(&self, call: Call<'_>) -> Result<Download, WorkerApiError> {
        let path = call.path.clone();
        let response = self.in_time(call.time, self.send(call)).await?;
        Ok(Download {
            path,
            url: self.url.clone(),
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.into_body(),
        })
    }

    async fn in_time<T>(
        &self,
        time: Duration,
        answered: impl Future<Output = Result<T, WorkerApiError>>,
    ) -> Result<T, WorkerApiError> {
        timeout(time, answered).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} seconds", time.as_secs());
            Err(unreachable(&self.url, reason))
        })
    }

    /// Makes a request; an answer other than success is an error.
    async fn send(&self, call: Call<'_>) -> Result<Response<Incoming>, WorkerApiError> {
        let path = call.path.clone();
        let response = self.exchange(call).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = self.read(response.into_body(), MAX_REFUSAL_BYTES, &path).await?;
        Err(refused(path, status, &body))
    }

    /// Returns host and port as a URL has them.
    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Returns a path below the base URL's.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Makes a request; the answer may have any status.
    async fn exchange(&self, call: Call<'_>) -> Result<Response<Incoming>, WorkerApiError> {
        let malformed = |error: hyper::http::Error| WorkerApiError::NotUnderstood {
            path: call.path.clone(),
            reason: error.to_string(),
        };
        let mut request = Request::builder()
            .method(call.method)
            .uri(self.path(&call.path))
            .header(header::HOST, self.authority());
        if let Some(token) = call.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &call.headers {
            request = request.header(name, value.as_str());
        }
        let body = match call.body {
            Some((kind, body)) => {
                request = request.header(header::CONTENT_TYPE, kind);
                Full::from(body)
            }
            None => Full::default(),
        };
        let request = request.body(body).map_err(malformed)?;
        let mut sender = self.connect().await?;
        sender
            .send_request(request)
            .await
            .map_err(|error| unreachable(&self.url, error))
    }

    async fn read(&self, body: Incoming, at_most: usize, path: &str) -> Result<Vec<u8>, WorkerApiError> {
        match Limited::new(body, at_most).collect().await {
            Ok(whole) => Ok(whole.to_bytes().to_vec()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(WorkerApiError::NotUnderstood {
                    path: path.to_owned(),
                    reason: format!("it is longer than {at_most} bytes"),
                })
            }
            Err(error) => Err(unreachable(&self.url, error)),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, WorkerApiError> {
        let connected = async {
            let stream = self.dial().await?;
            match &self.tls {
                None => self.hold(stream).await,
                Some((connector, name)) => self.hold(self.secure(stream, connector, name).await?).await,
            }
        };
        self.in_connect_time(connected).await
    }

    async fn in_connect_time<T>(
        &self,
        connected: impl Future<Output = Result<T, WorkerApiError>>,
    ) -> Result<T, WorkerApiError> {
        timeout(CONNECT_TIMEOUT, connected).await.unwrap_or_else(|_| {
            let reason = format!("no connection within {} seconds", CONNECT_TIMEOUT.as_secs());
            Err(unreachable(&self.url, reason))
        })
    }

    async fn dial(&self) -> Result<TcpStream, WorkerApiError> {
        TcpStream::connect((&*self.host, self.port))
            .await
            .map_err(|error| unreachable(&self.url, error))
    }

    async fn secure(
        &self,
        stream: TcpStream,
        connector: &TlsConnector,
        name: &ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, WorkerApiError> {
        match connector.connect(name.clone(), stream).await {
            Ok(stream) => Ok(stream),
            Err(error) if is_other_key(&error) => Err(WorkerApiError::OtherKey {
                url: self.url.clone(),
            }),
            Err(error) => Err(unreachable(&self.url, error)),
        }
    }

    /// Drives a connection until its request is answered, or dropped.
    async fn hold(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<SendRequest<Full<Bytes>>, WorkerApiError> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&self.url, error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a worker broke off");
            }
        });
        Ok(sender)
    }
}

fn is_other_key(error: &std::io::Error) -> bool {
    error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>())
        .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::worker_api::tls::any_key;

    #[test]
    fn urls_are_taken_apart() {
        let base = |url| Base::new(url, any_key().unwrap());
        for (url, host, port, prefix, is_tls) in [
            ("http://127.0.0.1:4001", "127.0.0.1", 4001, "", false),
            ("https://worker.example.org/", "worker.example.org", 443, "", true),
            (
                "https://[2001:db8::1]:4002/a/b/",
                "2001:db8::1",
                4002,
                "/a/b",
                true,
            ),
        ] {
            let base = base(url).unwrap();
            assert_eq!((&*base.host, base.port, &*base.prefix), (host, port, prefix));
            assert_eq!(base.tls.is_some(), is_tls);
        }
        for url in [
            "",
            "127.0.0.1:1",
            "ftp://host",
            "http://",
            "http:///a",
            "https://a b",
            "http://h/?q",
        ] {
            assert!(matches!(base(url), Err(WorkerApiError::BadUrl { .. })), "{url}");
        }
    }
}
