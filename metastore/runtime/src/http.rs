//! The HTTP listener of a process: roles mount their routes on one router, this serves it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener as AxumListener;
use tracing::warn;

use crate::{Listener, Scope, Stream};

impl AxumListener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            match Listener::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    // Out of file descriptors, or a peer that hung up in between: go on, slowly.
                    warn!(%error, "could not accept an HTTP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_address()
    }
}

/// Serves until the scope stops, then answers what is in flight.
pub fn serve(scope: &Scope, listener: Listener, router: Router) {
    let stopped = scope.stopped();
    drop(scope.spawn("http", async move {
        if let Err(error) = axum::serve(listener, router)
            .with_graceful_shutdown(stopped)
            .await
        {
            warn!(%error, "the HTTP listener stopped");
        }
    }));
}
