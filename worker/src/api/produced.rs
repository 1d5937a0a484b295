//! Bodies of responses that are produced while they are sent, without a buffer that grows.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::stream;
use tokio::sync::mpsc;

use super::{seats::Seat, tokens::TokenLife};

/// Number of pieces that wait for the client.
const WAITING_PIECES: usize = 2;

/// Receiver of a body's pieces.
#[derive(Debug)]
pub(super) struct Sink {
    pieces: mpsc::Sender<Bytes>,
    patience: Duration,
    is_whole: Arc<AtomicBool>,
}

/// Reason why a body ends early: the client is gone, or takes nothing for too long.
#[derive(Debug)]
pub(super) struct ClientGone;

impl Sink {
    /// Hands a piece over; waits for a slow client, within limits.
    pub(super) async fn send(&self, piece: impl Into<Bytes>) -> Result<(), ClientGone> {
        self.pieces
            .send_timeout(piece.into(), self.patience)
            .await
            .map_err(|_| ClientGone)
    }

    /// Waits until the client is gone.
    pub(super) async fn gone(&self) {
        self.pieces.closed().await;
    }

    /// Marks the body as whole. Without it the response is cut off, so that the client notices.
    pub(super) fn finish(self) {
        self.is_whole.store(true, Ordering::Release);
    }
}

/// Creates a body whose pieces a task produces. The seat is free again when the task ends: at the end of
/// the body, when the client is gone or has taken nothing for `patience`, or with the token, upon which
/// the response is cut off.
pub(super) fn body<F>(
    seat: Seat,
    life: TokenLife,
    patience: Duration,
    produce: impl FnOnce(Sink) -> F,
) -> Body
where
    F: Future<Output = ()> + Send + 'static,
{
    let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
    let is_whole = Arc::<AtomicBool>::default();
    let producing = produce(Sink {
        pieces,
        patience,
        is_whole: is_whole.clone(),
    });
    tokio::spawn(async move {
        tokio::select! {
            () = producing => (),
            () = life.over() => (),
        }
        drop(seat);
    });
    Body::from_stream(stream::unfold(Some(waiting), move |waiting| {
        let is_whole = is_whole.clone();
        async move {
            let mut waiting = waiting?;
            match waiting.recv().await {
                Some(piece) => Some((Ok(piece), Some(waiting))),
                None if is_whole.load(Ordering::Acquire) => None,
                None => Some((Err(io::Error::other("the response is cut off")), None)),
            }
        }
    }))
}
