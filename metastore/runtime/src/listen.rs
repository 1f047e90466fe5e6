//! The door of a wire: who comes in, how many at a time, and how slow they may be.
//!
//! ```text
//! accept ─▶ a place? ─▶ the wire serves it ─▶ why did we close it? counted ─▶ the place is free
//!           else told so
//! ```
//!
//! Holds: a connection that is served has a place, and a task in the wire's scope; a client that takes
//! nothing for the stall's time, or less than [`BYTES_PER_SECOND_MIN`] for longer, is cut off ([`Guarded`]),
//! and one that sends so slowly, too ([`Pace`]).
//! Leaves to others: what is said on a connection, when a wire stops to accept, and for how long it waits
//! for who is still there ([`Door::empty`]).

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::warn;

use crate::{Listener, Scope, Stream};

/// The slowest that something whole may come in or go out, a stall's time aside.
pub const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// A fresh socket takes a few bytes at once; who resets it meanwhile is not waited for.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);
/// Between two attempts to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a connection was closed from our side.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: &'static str,
}

/// What a wire counts of its connections, registered under its own names.
#[derive(Debug, Clone)]
pub struct Counts {
    pub open: Gauge,
    pub closed: Family<ReasonLabel, Counter>,
}

/// Lets clients in, as many as there are places. Clones share the places.
#[derive(Debug, Clone)]
pub struct Door {
    wire: &'static str,
    connections_max: usize,
    places: Arc<Semaphore>,
    /// What who finds no place is told, in the wire's words.
    refusal: &'static [u8],
    counts: Counts,
}

impl Door {
    pub fn new(
        wire: &'static str,
        connections_max: usize,
        refusal: &'static [u8],
        counts: Counts,
    ) -> Door {
        Door {
            wire,
            connections_max,
            places: Arc::new(Semaphore::new(connections_max)),
            refusal,
            counts,
        }
    }

    /// One beside it with so many places of its own.
    #[must_use]
    pub fn with_places(&self, connections_max: usize) -> Door {
        Door::new(
            self.wire,
            connections_max,
            self.refusal,
            self.counts.clone(),
        )
    }

    /// Accepts until it is dropped. Each connection is served in a task of the scope; what serves it says
    /// why it was closed, if we did it.
    pub async fn accept<F>(
        &self,
        listener: &Listener,
        scope: &Scope,
        serve: impl Fn(Stream, SocketAddr) -> F,
    ) -> Infallible
    where
        F: Future<Output = Option<&'static str>> + Send + 'static,
    {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a peer that hung up in between: go on, slowly.
                    warn!(wire = self.wire, %error, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.refuse(stream, peer).await;
                continue;
            };
            let serving = serve(stream, peer);
            let door = self.clone();
            let task = async move {
                door.counts.open.inc();
                if let Some(reason) = serving.await {
                    door.closed(reason);
                }
                door.counts.open.dec();
                drop(place);
            };
            drop(scope.spawn(self.wire, task));
        }
    }

    async fn refuse(&self, mut stream: Stream, peer: SocketAddr) {
        let max = self.connections_max;
        warn!(wire = self.wire, %peer, max, "too many connections, closing the newest");
        self.closed("too many connections");
        if !self.refusal.is_empty() {
            // They are told if they still listen.
            let _ = timeout(REFUSE_WITHIN, stream.write_all(self.refusal)).await;
        }
    }

    /// Resolves when nobody has a place.
    pub async fn empty(&self) {
        let all = u32::try_from(self.connections_max).unwrap_or(u32::MAX);
        // It is never closed.
        let _ = self.places.acquire_many(all).await;
    }

    fn closed(&self, reason: &'static str) {
        self.counts
            .closed
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }
}

/// How slow the other side may be.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For so long it may send or take nothing.
    pub stall: Duration,
}

/// Something did not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Late {
    #[error("the other side is gone")]
    Gone,
    #[error("nothing came for too long")]
    Stalled,
    #[error("it came too slowly")]
    TooSlow,
}

impl Pace {
    /// Reads until there are so many bytes.
    pub async fn fill(
        self,
        from: &mut (impl AsyncRead + Unpin),
        body: &mut BytesMut,
        length: usize,
    ) -> Result<(), Late> {
        let reading = async {
            let mut from = from.take(length.saturating_sub(body.len()) as u64);
            while body.len() < length {
                match timeout(self.stall, from.read_buf(body)).await {
                    Ok(Ok(0)) | Ok(Err(_)) => return Err(Late::Gone),
                    Ok(Ok(_)) => {}
                    Err(_) => return Err(Late::Stalled),
                }
            }
            Ok(())
        };
        let time = self.stall + Duration::from_secs(length as u64 / BYTES_PER_SECOND_MIN);
        timeout(time, reading).await.unwrap_or(Err(Late::TooSlow))
    }
}

/// A stream whose peer takes what it is offered, or else writing fails with `TimedOut`: within the stall's
/// time and, as long as something still waits, at [`BYTES_PER_SECOND_MIN`] on average.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    stall: Duration,
    /// Until when the peer has to take more. Set while something waits.
    due: Option<Pin<Box<Sleep>>>,
}

/// Why writing to a guarded stream failed, in the words of `connections_closed`; `None` if the peer is gone.
pub fn why_not_written(error: &io::Error) -> Option<&'static str> {
    (error.kind() == io::ErrorKind::TimedOut).then_some("the client does not read")
}

impl<S> Guarded<S> {
    pub fn new(stream: S, pace: Pace) -> Guarded<S> {
        Guarded {
            stream,
            stall: pace.stall,
            due: None,
        }
    }

    fn check(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) if *bytes < offered => {
                if let Some(due) = &mut self.due {
                    let nanos = *bytes as u64 * 1_000_000_000 / BYTES_PER_SECOND_MIN;
                    let earned = due.deadline() + Duration::from_nanos(nanos);
                    due.as_mut().reset(earned.min(Instant::now() + self.stall));
                }
            }
            Poll::Ready(_) => self.due = None,
            Poll::Pending => {
                let stall = self.stall;
                let due = self.due.get_or_insert_with(|| Box::pin(sleep(stall)));
                if due.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check(cx, buf.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        self.check(cx, offered, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // A socket keeps nothing back: neither of these waits for the peer.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
