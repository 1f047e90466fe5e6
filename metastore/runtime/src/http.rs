//! The HTTP listeners of a process: roles mount their routes on routers, this serves them.
//!
//! ```text
//! a place (`listen`) ─▶ head ──▶ handler ─▶ answer ────────▶ next head …
//! else 503              in time             taken in time
//! ```
//!
//! Holds: a client has a place, two buffers and what its handler made for it, and loses all of them when
//! it does not send a whole head or does not take what it asked for within the [`LIMITS`]. When the
//! scope stops, what is in flight is answered, and after the grace the listener is gone whatever its
//! clients do. Until then it also answers who comes anew: they may ask whether the process is ready.
//! Leaves to others: how long the body of a request may take to arrive ([`read_body`]), and its answer to be
//! made. A handler whose client hangs up is dropped, wherever it stands.

mod body;
mod problem;

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::listen::{Counts, Door, Guarded, Pace, ReasonLabel, why_not_written};
use crate::{Listener, Metrics, Scope, Stream};

pub use body::{BodyError, read_body};
pub use problem::Problem;

/// What a listener grants its clients.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at the same time. One more is told so and closed.
    connections: usize,
    /// A head is whole so long after the answer before it, or after the connection was made. It is
    /// also how long a connection may idle.
    head: Duration,
    /// A client that takes nothing for this long is cut off; see also [`Guarded`].
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
/// Each of the two buffers of a connection, and thereby the largest head. The handler is not asked for
/// more of its answer while so much waits.
const BUFFER_BYTES: usize = 64 << 10;
/// Connections at the same time that came after the scope was stopped: a few probes.
const LATE_CONNECTIONS: usize = 16;
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
        let HttpMetrics {
            connections: open,
            connections_closed: closed,
        } = self.server.metrics.clone();
        let door = Door::new(
            "http connection",
            connections,
            REFUSED,
            Counts { open, closed },
        );
        tokio::select! {
            () = self.scope.stopped() => {}
            never = self.accept(&door, true) => match never {},
        }
        let late = door.with_places(LATE_CONNECTIONS);
        tokio::select! {
            () = door.empty() => {}
            () = sleep(grace) => info!("closing HTTP connections that were not done in time"),
            // Nobody waits for these.
            never = self.accept(&late, false) => match never {},
        }
        self.over.cancel();
    }

    /// A connection that is not kept alive is closed after its first answer.
    async fn accept(&self, door: &Door, keep_alive: bool) -> Infallible {
        let serve = |stream, peer| self.connection(stream, peer, keep_alive);
        door.accept(&self.listener, &self.scope, serve).await
    }

    /// Serves a connection to its end, and says why it was us who closed it.
    fn connection(
        &self,
        stream: Stream,
        peer: SocketAddr,
        keep_alive: bool,
    ) -> impl Future<Output = Option<&'static str>> + Send + 'static {
        let Limits { head, stall, .. } = self.server.limits;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(BUFFER_BYTES)
            .keep_alive(keep_alive)
            .serve_connection(
                TokioIo::new(Guarded::new(stream, Pace { stall })),
                TowerToHyperService::new(self.router.clone()),
            );
        let over = self.over.clone();
        let stopped = self.scope.stopped();
        let stopped = async move {
            match keep_alive {
                true => stopped.await,
                false => pending().await,
            }
        };
        async move {
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
                Ok(()) => None,
                Err(Some(reason)) => {
                    debug!(%peer, reason, "closed an HTTP connection");
                    Some(reason)
                }
                Err(None) => {
                    debug!(%peer, "an HTTP connection broke off");
                    None
                }
            }
        }
    }
}

/// Why we closed a connection; `None` if it was the client, or an answer that failed in the middle.
fn why(error: &hyper::Error) -> Option<&'static str> {
    if error.is_timeout() {
        return Some("no request in time");
    }
    let source = error.source()?.downcast_ref::<io::Error>()?;
    why_not_written(source)
}

crate::metrics! {
    struct HttpMetrics {
        /// Open connections of HTTP clients
        connections: Gauge = "http_connections";
        /// HTTP connections that were closed from our side, by reason
        connections_closed: Family<ReasonLabel, Counter> = "http_connections_closed";
    }
}

#[cfg(test)]
mod tests;
