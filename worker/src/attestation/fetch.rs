//! HTTP client for vendors' services and image registries, bounded in time and size.
//!
//! Its responses are not trusted: the chain verifies certificates and collateral by their signatures, and
//! images are verified by their digests.

use std::{
    error::Error,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use assay_client::redaction::without_credentials;
use assay_primitives::network::is_public;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{self, HeaderName},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::TokioExecutor,
};

/// Timeout from sending the request to the last byte of the response.
const PATIENCE: Duration = Duration::from_secs(20);

/// Maximum length of a response's head, in bytes. Intel's contains a certificate chain.
const MAX_HEAD_BYTES: usize = 32 * 1_024;

/// Name of this client, for the services' logs.
const USER_AGENT: &str = concat!("assay-worker/", env!("CARGO_PKG_VERSION"));

/// Reason why a request failed. The messages have the URL without credentials: redirects of registries are
/// signed in their query, and messages reach logs and consumers.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is invalid.
    #[error("{:?} is not a URL: {reason}", without_credentials(url))]
    BadUrl {
        /// The URL.
        url: String,
        /// Fault of the URL.
        reason: String,
    },
    /// No response within the timeout.
    #[error("{} does not answer: {reason}", without_credentials(url))]
    NoAnswer {
        /// URL of the request.
        url: String,
        /// Error of the attempt.
        reason: String,
    },
    /// The URL leads to an address outside the public network, where untrusted input must not direct this
    /// host.
    #[error(
        "{} leads to {address}, which is not an address of the public network",
        without_credentials(url)
    )]
    NotPublic {
        /// The URL.
        url: String,
        /// Address that the URL leads to.
        address: IpAddr,
    },
    /// The response has an error status.
    #[error("{} answered with status {code}{}", without_credentials(url), explain(*code))]
    Status {
        /// URL of the request.
        url: String,
        /// HTTP status code.
        code: u16,
    },
    /// The response is too long or incomplete.
    #[error("the response of {} cannot be read: {reason}", without_credentials(url))]
    Unreadable {
        /// URL of the request.
        url: String,
        /// Error of reading.
        reason: String,
    },
}

fn explain(code: u16) -> &'static str {
    match code {
        404 => " (not found there)",
        429 => " (too many requests; trying again later)",
        _ => "",
    }
}

/// A successful response.
pub struct Fetched {
    /// Body of the response.
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Fetched {
    /// Returns the text of a header, with `%` escapes decoded.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.headers
            .get(name)
            .map(|value| percent_decoded(value.as_bytes()))
    }
}

/// A response of any status.
pub struct HttpResponse {
    /// HTTP status code.
    pub code: StatusCode,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Body of the response.
    pub body: Vec<u8>,
}

/// Addresses to which connections are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Public addresses only: for URLs from untrusted input.
    Public,
    /// All addresses: for configured URLs, and for development.
    Any,
}

impl AddressPolicy {
    fn allows(self, address: IpAddr) -> bool {
        self == Self::Any || is_public(address)
    }
}

/// A name or an address outside the public network.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0} is not an address of the public network")]
struct NotPublic(IpAddr);

/// Addresses of a name, once they are found.
pub type FoundAddresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Source of the addresses of names.
pub trait NameSource: Send + Sync + 'static {
    /// Returns the addresses of a name; their ports mean nothing.
    fn addresses(&self, name: String) -> FoundAddresses;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl NameSource for SystemNames {
    fn addresses(&self, name: String) -> FoundAddresses {
        // The connector sets the port.
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(found)
        })
    }
}

/// DNS resolver that returns only allowed addresses. Connections are made to its results alone, so a name
/// that resolves differently the next time gains nothing (DNS rebinding).
#[derive(Clone)]
struct PolicedResolver {
    policy: AddressPolicy,
    names: Arc<dyn NameSource>,
}

impl tower_service::Service<Name> for PolicedResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.policy;
        let found = self.names.addresses(name.as_str().to_owned());
        Box::pin(async move {
            let (allowed, others): (Vec<_>, Vec<_>) = found
                .await?
                .into_iter()
                .partition(|address| policy.allows(address.ip()));
            match others.first() {
                Some(other) if allowed.is_empty() => Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    NotPublic(other.ip()),
                )),
                _ => Ok(allowed.into_iter()),
            }
        })
    }
}

/// HTTP client for GET requests. Follows no redirects, keeps no connections.
#[derive(Clone)]
pub struct HttpFetch {
    client: Client<HttpsConnector<HttpConnector<PolicedResolver>>, Empty<Bytes>>,
    policy: AddressPolicy,
    has_roots: bool,
}

impl Default for HttpFetch {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpFetch {
    /// Creates a client with the system's root certificates that may connect to any address.
    pub fn new() -> Self {
        Self::with_policy(AddressPolicy::Any)
    }

    /// Creates a client with the system's root certificates and resolver.
    pub fn with_policy(policy: AddressPolicy) -> Self {
        Self::with_names(policy, Arc::new(SystemNames))
    }

    /// Creates a client with the system's root certificates that gets the addresses of names from `names`.
    pub fn with_names(policy: AddressPolicy, names: Arc<dyn NameSource>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let has_roots = !roots.is_empty();
        // Set explicitly, so that it does not depend on the default that other crates install.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("this provider has what TLS 1.2 and 1.3 need; qed")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new_with_resolver(PolicedResolver { policy, names });
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Self {
            client,
            policy,
            has_roots,
        }
    }

    /// Returns the response of a URL, if its status is 200 and its body has at most `limit` bytes.
    pub async fn get(&self, url: &str, limit: usize) -> Result<Fetched, FetchError> {
        let answer = self.ask(url, &[], limit).await?;
        if answer.code != StatusCode::OK {
            return Err(FetchError::Status {
                url: url.to_owned(),
                code: answer.code.as_u16(),
            });
        }
        Ok(Fetched {
            body: answer.body,
            headers: answer.headers,
        })
    }

    /// Returns the response to a request with additional headers, of any status. If the status is not 200, a
    /// body that exceeds the limit is dropped.
    pub async fn ask(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
        limit: usize,
    ) -> Result<HttpResponse, FetchError> {
        match tokio::time::timeout(PATIENCE, self.ask_unbounded(url, headers, limit)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::NoAnswer {
                url: url.to_owned(),
                reason: format!("none within {} seconds", PATIENCE.as_secs()),
            }),
        }
    }

    /// Returns the response to a request as soon as its head has arrived. The body is still to come: the
    /// caller bounds its length and time.
    pub async fn open(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
    ) -> Result<Response<Incoming>, FetchError> {
        match tokio::time::timeout(PATIENCE, self.open_unbounded(url, headers)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::NoAnswer {
                url: url.to_owned(),
                reason: format!("none within {} seconds", PATIENCE.as_secs()),
            }),
        }
    }

    async fn open_unbounded(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
    ) -> Result<Response<Incoming>, FetchError> {
        let bad = |reason: String| FetchError::BadUrl {
            url: url.to_owned(),
            reason,
        };
        let no_answer = |reason: String| FetchError::NoAnswer {
            url: url.to_owned(),
            reason,
        };
        let uri: Uri = url.parse().map_err(|error| bad(causes(&error)))?;
        if uri.scheme_str() == Some("https") && !self.has_roots {
            return Err(no_answer(
                "this machine has no root certificates; install the package ca-certificates".to_owned(),
            ));
        }
        // The connector does not resolve a literal address, so it is checked here.
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if let Ok(address) = host.parse()
            && !self.policy.allows(address)
        {
            return Err(FetchError::NotPublic {
                url: url.to_owned(),
                address,
            });
        }
        let mut request = Request::get(uri)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Empty::new()).map_err(|error| bad(causes(&error)))?;
        self.client
            .request(request)
            .await
            .map_err(|error| match not_public(&error) {
                Some(NotPublic(address)) => FetchError::NotPublic {
                    url: url.to_owned(),
                    address,
                },
                None => no_answer(causes(&error)),
            })
    }

    async fn ask_unbounded(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
        limit: usize,
    ) -> Result<HttpResponse, FetchError> {
        let response = self.open_unbounded(url, headers).await?;
        let (head, body) = response.into_parts();
        let body = match read_whole(url, body, limit).await {
            Err(_) if head.status != StatusCode::OK => Vec::new(),
            other => other?,
        };
        Ok(HttpResponse {
            code: head.status,
            headers: head.headers,
            body,
        })
    }
}

/// Returns the body of a URL's response, if it has at most `limit` bytes and arrives in time.
pub(crate) async fn read_whole(url: &str, body: Incoming, limit: usize) -> Result<Vec<u8>, FetchError> {
    let unreadable = |reason: String| FetchError::Unreadable {
        url: url.to_owned(),
        reason,
    };
    match tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) => Err(unreadable(causes(&*error))),
        Err(_) => Err(unreadable(format!(
            "it did not arrive within {} seconds",
            PATIENCE.as_secs()
        ))),
    }
}

/// Returns the address that the resolver refused, if that caused the error.
fn not_public(error: &(dyn Error + 'static)) -> Option<NotPublic> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let refused = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<NotPublic>());
        if let Some(refused) = refused {
            return Some(*refused);
        }
        cause = error.source();
    }
    None
}

/// Returns an error's text with all of its sources: the outermost text alone says little.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Decodes `%` escapes; an invalid escape stays as it is.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let mut value = [0];
        match after.split_first_chunk::<2>() {
            Some((digits, behind)) if *byte == b'%' && hex::decode_to_slice(digits, &mut value).is_ok() => {
                decoded.extend(value);
                rest = behind;
            }
            _ => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Response of a test service.
    pub(crate) struct Reply {
        code: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        /// Length in the response's head; the body may be shorter.
        length: Option<usize>,
    }

    impl Reply {
        pub(crate) fn ok(body: impl AsRef<[u8]>) -> Self {
            Self {
                code: 200,
                headers: Vec::new(),
                body: body.as_ref().to_vec(),
                length: None,
            }
        }

        pub(crate) fn status(code: u16) -> Self {
            Self { code, ..Self::ok("") }
        }

        pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
            self.headers.push((name, value.into()));
            self
        }
    }

    /// A service on this machine, with a record of its requests.
    pub(crate) struct Server {
        pub(crate) url: String,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        pub(crate) async fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
            Self::start_seeing_heads(move |path, _| answer(path)).await
        }

        /// Starts a service whose responses depend on more than the path.
        pub(crate) async fn start_seeing_heads(
            answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static,
        ) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let requests: Arc<Mutex<Vec<String>>> = Arc::default();
            let asked = requests.clone();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut request = vec![0; 4_096];
                    let read = stream.read(&mut request).await.unwrap_or(0);
                    let text = String::from_utf8_lossy(&request[..read]).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    asked.lock().unwrap().push(path.clone());
                    let reply = answer(&path, &text);
                    let headers: String = reply
                        .headers
                        .iter()
                        .map(|(name, value)| format!("{name}: {value}\r\n"))
                        .collect();
                    let head = format!(
                        "HTTP/1.1 {} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
                        reply.code,
                        reply.length.unwrap_or(reply.body.len())
                    );
                    let _ = stream.write_all(&[head.as_bytes(), &reply.body].concat()).await;
                }
            });
            Self { url, requests }
        }

        /// Returns the requested paths, in order.
        pub(crate) fn requests(&self) -> Vec<String> {
            self.requests.lock().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn private_addresses_are_refused_by_number_and_by_name() {
        let server = Server::start(|_| Reply::ok("body")).await;
        let guarded = HttpFetch::with_policy(AddressPolicy::Public);
        for url in [server.url.clone(), server.url.replace("127.0.0.1", "localhost")] {
            let error = guarded.get(&url, 100).await.map(|_| ()).unwrap_err();
            assert!(matches!(error, FetchError::NotPublic { .. }), "{error}");
        }
        assert_eq!(server.requests(), Vec::<String>::new());
        assert_eq!(
            HttpFetch::new().get(&server.url, 100).await.unwrap().body,
            b"body"
        );
    }

    /// A resolver that gives other addresses each time.
    struct ChangingNames(Mutex<Vec<&'static str>>);

    impl NameSource for ChangingNames {
        fn addresses(&self, _: String) -> FoundAddresses {
            let next = self.0.lock().unwrap().pop().unwrap();
            Box::pin(async move { Ok(vec![SocketAddr::new(next.parse().unwrap(), 0)]) })
        }
    }

    #[tokio::test]
    async fn name_that_moves_to_a_private_address_is_refused_at_the_next_connection() {
        let names = Arc::new(ChangingNames(Mutex::new(vec![
            "127.0.0.1",
            "127.0.0.1",
            "1.1.1.1",
        ])));
        let mut resolver = PolicedResolver {
            policy: AddressPolicy::Public,
            names: names.clone(),
        };
        let look_up = |resolver: &mut PolicedResolver| {
            tower_service::Service::call(resolver, "registry.example".parse::<Name>().unwrap())
        };
        let found: Vec<_> = look_up(&mut resolver).await.unwrap().collect();
        assert_eq!(
            found,
            ["1.1.1.1:0".parse::<SocketAddr>().unwrap()],
            "the connection is made to this alone"
        );
        let error = look_up(&mut resolver).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);

        let server = Server::start(|_| Reply::ok("body")).await;
        let url = server.url.replace("127.0.0.1", "registry.example");
        let guarded = HttpFetch::with_names(AddressPolicy::Public, names);
        let error = guarded.get(&url, 100).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, FetchError::NotPublic { .. }), "{error}");
        assert_eq!(server.requests(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn answer_comes_with_its_headers() {
        let server = Server::start(|_| Reply::ok("body").header("Some-Chain", "a%20b%0A%zz%")).await;
        let answer = HttpFetch::new()
            .get(&format!("{}/path?x=1", server.url), 4)
            .await
            .unwrap();
        assert_eq!(answer.body, b"body");
        assert_eq!(answer.header("some-chain").unwrap(), b"a b\n%zz%");
        assert_eq!(answer.header("other"), None);
        assert_eq!(server.requests(), ["/path?x=1"]);
    }

    #[tokio::test]
    async fn answers_are_read_up_to_their_bound() {
        let server = Server::start(|path| match path {
            "/long" => Reply::ok("bodies"),
            "/short" => Reply {
                length: Some(5),
                ..Reply::ok("body")
            },
            "/head" => Reply::ok("body").header("x", "y".repeat(4 * MAX_HEAD_BYTES)),
            _ => Reply::status(302).header("location", "/long"),
        })
        .await;
        let fetch = HttpFetch::new();
        for (path, expected) in [
            ("/long", "cannot be read"),
            ("/short", "cannot be read"),
            ("/head", "does not answer"),
            ("/elsewhere", "status 302"),
        ] {
            let error = fetch.get(&format!("{}{path}", server.url), 5).await.map(|_| ());
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }

    #[tokio::test]
    async fn nobody_at_the_other_end_is_an_error() {
        let fetch = HttpFetch::new();
        let error = fetch.get("http://127.0.0.1:9/", 5).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, FetchError::NoAnswer { .. }), "{error}");
        let error = fetch.get("http://a b/", 5).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, FetchError::BadUrl { .. }), "{error}");
    }
}
