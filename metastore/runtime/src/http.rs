//! The HTTP listeners of a process: roles mount their routes on routers, this serves them.
//!
//! ```text
//! accept ─▶ a place? ─▶ head ──▶ handler ─▶ answer ────────▶ next head …
//!           else 503    in time             taken in time
//! ```
//!
//! Holds: a client has a place, two buffers and what its handler made for it, and loses all of them when
//! it does not send a whole head or does not take what it asked for within the [`LIMITS`]. When the
//! scope stops, what is in flight is answered, and after the grace the listener is gone whatever its
//! clients do. Until then it also answers who comes anew: they may ask whether the process is ready.
//! Leaves to others: how long the body of a request may take to arrive, and its answer to be made.

mod problem;

use std::error::Error;
use std::future::pending;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Listener, Metrics, Scope, Stream};

pub use problem::Problem;

/// What a listener grants its clients.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at the same time. One more is told so and closed.
    connections: usize,
    /// A head is whole so long after the answer before it, or after the connection was made. It is
    /// also how long a connection may idle.
    head: Duration,
    /// A client that takes nothing for this long is cut off; see also [`BYTES_PER_SECOND_MIN`].
    stall: Duration,
    /// How long requests in flight may take when the scope stops.
    grace: Duration,
}

const LIMITS: Limits = Limits {
    // The pools of hundreds of clients. All their buffers together are 128 MiB.
    connections: 1_000,
    // Longer than the 60 s that load balancers keep an idle connection: they are the ones to close it, so
    // that no request meets a closing one.
    head: Duration::from_secs(75),
    // No network that still works is silent for so long, and half of the longest query by default.
    stall: Duration::from_secs(30),
    // As long as Kafka's connections are given; both fit into the 30 s after which orchestrators kill.
    grace: Duration::from_secs(10),
};
/// The slowest that a client may take an answer, a stall's time aside: as for Kafka's.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// Each of the two buffers of a connection, and thereby the largest head. The handler is not asked for
/// more of its answer while so much waits.
const BUFFER_BYTES: usize = 64 << 10;
/// Connections at the same time that came after the scope was stopped: a few probes.
const LATE_CONNECTIONS: usize = 16;
/// A fresh socket takes these few bytes at once; who resets it meanwhile is not waited for.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);
const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
    connection: close\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

/// Serves routers on listeners. One for a process, whose metrics it registers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    limits: Limits,
    metrics: HttpMetrics,
}

impl Server {
    pub fn new(metrics: &Metrics) -> Server {
        Server {
            limits: LIMITS,
            metrics: metrics.register(HttpMetrics::register),
        }
    }

    /// Serves until the scope stops, then answers what is in flight.
    pub fn serve(&self, scope: &Scope, listener: Listener, router: Router) {
        let serving = Serving {
            server: self.clone(),
            scope: scope.clone(),
            listener,
            router,
            over: CancellationToken::new(),
        };
        drop(scope.spawn("http listener", serving.run()));
    }
}

/// One listener, and what its connections need.
struct Serving {
    server: Server,
    scope: Scope,
    listener: Listener,
    router: Router,
    /// The grace is over.
    over: CancellationToken,
}

impl Serving {
    async fn run(self) {
        let Limits {
            connections, grace, ..
        } = self.server.limits;
        let places = Arc::new(Semaphore::new(connections));
        tokio::select! {
            () = self.scope.stopped() => {}
            () = self.accept(&places, true) => {}
        }
        let all = u32::try_from(connections).expect("a small constant");
        let late = Arc::new(Semaphore::new(LATE_CONNECTIONS));
        tokio::select! {
            _ = places.acquire_many(all) => {}
            () = sleep(grace) => info!("closing HTTP connections that were not done in time"),
            // Nobody waits for these.
            () = self.accept(&late, false) => {}
        }
        self.over.cancel();
    }

    /// Accepts for ever. A connection that is not kept alive is closed after its first answer.
    async fn accept(&self, places: &Arc<Semaphore>, keep_alive: bool) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a peer that hung up in between: go on, slowly.
                    warn!(%error, "could not accept an HTTP connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match Arc::clone(places).try_acquire_owned() {
                Ok(place) => self.begin(stream, peer, place, keep_alive),
                Err(_) => self.refuse(stream, peer).await,
            }
        }
    }

    async fn refuse(&self, mut stream: Stream, peer: SocketAddr) {
        warn!(%peer, "too many HTTP connections, closing the newest");
        self.server.metrics.closed("too many connections");
        // They are told if they still listen.
        let _ = timeout(REFUSE_WITHIN, stream.write_all(REFUSED)).await;
    }

    fn begin(
        &self,
        stream: Stream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        keep_alive: bool,
    ) {
        let Limits { head, stall, .. } = self.server.limits;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(BUFFER_BYTES)
            .keep_alive(keep_alive)
            .serve_connection(
                TokioIo::new(StallGuard::new(stream, stall)),
                TowerToHyperService::new(self.router.clone()),
            );
        let metrics = self.server.metrics.clone();
        let over = self.over.clone();
        let stopped = self.scope.stopped();
        let stopped = async move {
            match keep_alive {
                true => stopped.await,
                false => pending().await,
            }
        };
        let task = async move {
            metrics.connections.inc();
            let mut connection = pin!(connection);
            let answering = async {
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    () = stopped => connection.as_mut().graceful_shutdown(),
                }
                connection.await
            };
            let ended = tokio::select! {
                ended = answering => ended.map_err(|error| why(&error)),
                () = over.cancelled() => Err(Some("stopping")),
            };
            match ended {
                Ok(()) => {}
                Err(Some(reason)) => {
                    debug!(%peer, reason, "closed an HTTP connection");
                    metrics.closed(reason);
                }
                Err(None) => debug!(%peer, "an HTTP connection broke off"),
            }
            metrics.connections.dec();
            drop(place);
        };
        drop(self.scope.spawn("http connection", task));
    }
}

/// Why we closed a connection; `None` if it was the client, or an answer that failed in the middle.
fn why(error: &hyper::Error) -> Option<&'static str> {
    if error.is_timeout() {
        return Some("no request in time");
    }
    let source = error.source()?.downcast_ref::<io::Error>()?;
    (source.kind() == io::ErrorKind::TimedOut).then_some("the client does not read")
}

/// A stream whose peer takes what it is offered, or else writing fails: within the stall's time and, as long
/// as something still waits, at [`BYTES_PER_SECOND_MIN`] on average.
#[derive(Debug)]
struct StallGuard<S> {
    stream: S,
    stall: Duration,
    /// Until when the peer has to take more. Set while something waits.
    due: Option<Pin<Box<Sleep>>>,
}

impl<S> StallGuard<S> {
    fn new(stream: S, stall: Duration) -> StallGuard<S> {
        StallGuard {
            stream,
            stall,
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

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

crate::metrics! {
    struct HttpMetrics {
        /// Open connections of HTTP clients
        connections: Gauge = "http_connections";
        /// HTTP connections that were closed from our side, by reason
        connections_closed: Family<ReasonLabel, Counter> = "http_connections_closed";
    }
}

impl HttpMetrics {
    fn closed(&self, reason: &'static str) {
        self.connections_closed
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }
}

#[cfg(test)]
mod tests;
