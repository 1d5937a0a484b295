//! Accepts connections of one part of the API within its limits, and gives each request to the routes.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    BoxError, Router,
    body::{Body, Bytes},
    http::Request,
    response::{IntoResponse, Response},
};
use http_body_util::Limited;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::{
    errors::ApiError,
    limits::{ConnectionSeat, Limiter, Overload, PartLimits},
};

/// Pause after an error of accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Maximum size of a request's line and headers, in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1_024;

/// Maximum number of a request's headers.
const MAX_HEADERS: usize = 64;

/// Serves routes on a listener until `stop` is cancelled; connections then end with their present response.
///
/// Connections beyond the limits are closed without an answer, requests beyond them are refused.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: PartLimits,
    routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let limiter = Limiter::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(seat) = limiter.admit(peer.ip(), Instant::now()) {
                    connections.spawn(
                        Connection {
                            peer,
                            limiter: limiter.clone(),
                            routes: routes.clone(),
                            stop: stop.clone(),
                            seat,
                        }
                        .serve(stream, tls.clone()),
                    );
                }
            }
            // The client gave up; the listener goes on.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => (),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// One connection, with its permit.
struct Connection {
    peer: SocketAddr,
    limiter: Arc<Limiter>,
    routes: Router,
    stop: CancellationToken,
    seat: ConnectionSeat,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Small answers must not wait for more to send.
        let _ = stream.set_nodelay(true);
        let limits = self.limiter.limits;
        let stream = StallGuard::new(stream, limits.stall_time);
        let Some(tls) = tls else {
            return self.serve_http(stream).await;
        };
        match timeout(limits.handshake_time, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve_http(stream).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
        }
    }

    async fn serve_http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let limits = self.limiter.limits;
        let (limiter, routes, address) = (self.limiter.clone(), self.routes.clone(), self.peer.ip());
        let seat = self.seat.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (limiter, routes) = (limiter.clone(), routes.clone());
            request.extensions_mut().insert(seat.clone());
            async move { Ok::<_, std::convert::Infallible>(answer(&limiter, routes, address, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %self.peer, %error, "a connection broke off");
        }
    }
}

/// Address that a request came from, as an extension of the request.
#[derive(Clone, Copy)]
pub(super) struct PeerAddress(pub(super) IpAddr);

/// Routes a request, unless that exceeds a limit.
async fn answer(limiter: &Limiter, mut routes: Router, peer: IpAddr, request: Request<Incoming>) -> Response {
    let _seat = match limiter.request(peer, Instant::now()) {
        Ok(seat) => seat,
        Err(Overload::Address) => {
            return ApiError::too_many("your address sends too many requests; send fewer").into_response();
        }
        Err(Overload::Part) => {
            return ApiError::unavailable("too many requests at once; try again").into_response();
        }
    };
    let limits = limiter.limits;
    let mut request = request.map(|body| {
        Body::new(Limited::new(
            TimedBody::new(body, limits.body_idle_time, limits.body_time),
            limits.body_bytes,
        ))
    });
    request.extensions_mut().insert(PeerAddress(peer));
    match routes.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Body of a request whose parts must come in time.
struct TimedBody {
    body: Incoming,
    idle_time: Duration,
    idle: Pin<Box<Sleep>>,
    whole: Pin<Box<Sleep>>,
}

impl TimedBody {
    fn new(body: Incoming, idle_time: Duration, whole_time: Duration) -> Self {
        Self {
            body,
            idle_time,
            idle: Box::pin(sleep(idle_time)),
            whole: Box::pin(sleep(whole_time)),
        }
    }
}

impl hyper::body::Body for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            let next = tokio::time::Instant::now() + this.idle_time;
            this.idle.as_mut().reset(next);
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        let is_late =
            this.idle.as_mut().poll(context).is_ready() | this.whole.as_mut().poll(context).is_ready();
        if is_late {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the request's body did not come in time");
            return Poll::Ready(Some(Err(error.into())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Stream that fails once the other side has taken nothing for a time.
struct StallGuard<S> {
    stream: S,
    stall_time: Duration,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> StallGuard<S> {
    fn new(stream: S, stall_time: Duration) -> Self {
        Self {
            stream,
            stall_time,
            deadline: None,
        }
    }

    /// Passes on the outcome of a write; one that waits for too long fails.
    fn watched<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let stall_time = self.stall_time;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(stall_time)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watched(ended, context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stream_fails_when_the_other_side_takes_nothing() {
        let (here, mut there) = tokio::io::duplex(4);
        let mut here = StallGuard::new(here, Duration::from_secs(30));
        here.write_all(b"1234").await.unwrap();
        let reader = async {
            sleep(Duration::from_secs(29)).await;
            let mut bytes = [0; 4];
            there.read_exact(&mut bytes).await.unwrap();
        };
        let (written, ()) = tokio::join!(here.write_all(b"5678"), reader);
        written.unwrap();
        let error = here.write_all(b"9").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
