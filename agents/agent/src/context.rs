//! What a handler knows about the request beside its body.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::caps;
use tarn_runtime::Permit;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::info;

use crate::placement;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Nobody has to say who they are yet.
    Anonymous,
}

/// What a request needs to be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Open to everybody who can connect.
    Open,
    ReadTopic,
    WriteTopic,
    DescribeTopic,
    CreateTopic,
    AlterTopic,
    DeleteTopic,
    ReadGroup,
    DescribeGroup,
    DeleteGroup,
    DescribeCluster,
    AlterCluster,
    IdempotentWrite,
}

impl Principal {
    /// Without authentication everybody may do everything.
    pub(crate) fn may(self, access: Access) -> bool {
        let _ = access;
        match self {
            Principal::Anonymous => true,
        }
    }
}

/// What is known about a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// `client.rack`, once a Fetch on this connection has named it.
    rack: Mutex<Option<String>>,
    /// What the client called itself last, cut to what a log line bears.
    client_id: Mutex<String>,
}

/// How much of a client id a log line shows.
const CLIENT_ID_SHOWN: usize = 128;

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Arc<Peer> {
        Arc::new(Peer {
            address,
            rack: Mutex::default(),
            client_id: Mutex::default(),
        })
    }

    /// Of the last request, for the log.
    pub(crate) fn client_id(&self) -> String {
        self.client_id
            .lock()
            .expect("nobody panics while holding it")
            .clone()
    }

    pub(crate) fn set_client_id(&self, client_id: Option<&str>) {
        let shown = client_id.unwrap_or_default();
        let shown = shown.split_at(shown.floor_char_boundary(CLIENT_ID_SHOWN)).0;
        let mut known = self
            .client_id
            .lock()
            .expect("nobody panics while holding it");
        if *known != shown {
            shown.clone_into(&mut known);
        }
    }

    pub(crate) fn set_rack(&self, rack: &str) {
        if rack.len() > caps::NAME_BYTES_MAX {
            // No zone is called so, and a connection keeps nothing that large.
            return;
        }
        let mut known = self.rack.lock().expect("nobody panics while holding it");
        if known.as_deref() != Some(rack) {
            *known = Some(rack.to_owned());
        }
    }

    /// As Kafka writes a client's host: `/127.0.0.1`.
    pub(crate) fn host(&self) -> String {
        format!("/{}", self.address.ip())
    }
}

/// Everything about a request that is not in its body.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) principal: Principal,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<StrBytes>,
    pub(crate) peer: Arc<Peer>,
    /// When the request was complete.
    pub(crate) received: Instant,
    /// When it must be answered.
    pub(crate) deadline: Instant,
    /// Of the request's bytes: held until it is answered, or handed to who keeps them for longer.
    pub(crate) permit: Option<Permit>,
    /// The place of a Produce request among those of its connection.
    pub(crate) submission: Option<Turn>,
    /// Does the log say already why something of it was refused?
    pub(crate) told: AtomicBool,
}

impl Context {
    /// Where the client stands: its rack, else what its client id says.
    pub(crate) fn zone(&self) -> Option<String> {
        let rack = self
            .peer
            .rack
            .lock()
            .expect("nobody panics while holding it")
            .clone();
        rack.or_else(|| placement::zone_of_client_id(self.client_id.as_deref().unwrap_or_default()))
    }

    /// Says in the log why a request is answered with INVALID_REQUEST, for which many answers have no
    /// place; other codes speak for themselves. Once for all that one request asks.
    pub(crate) fn log_refusal(&self, code: ErrorCode, cause: impl fmt::Display) {
        if code == ErrorCode::InvalidRequest && !self.told.swap(true, Ordering::Relaxed) {
            let (api, version) = (self.api, self.version);
            let client_id = self.peer.client_id();
            info!(peer = %self.peer.address, client_id, %api, version, %cause, "answering INVALID_REQUEST");
        }
    }

    /// The deadline that a request brings in milliseconds, between a second and two minutes: less
    /// would fail what is about to succeed, more would hold its bytes for too long.
    pub(crate) fn deadline_in(&self, timeout_ms: i32) -> Instant {
        let millis = u64::try_from(timeout_ms).unwrap_or(0);
        self.received
            + Duration::from_millis(millis).clamp(Duration::from_secs(1), Duration::from_secs(120))
    }
}

/// A place in a queue: what holds it goes on when the one before has passed its own on, or is gone.
#[derive(Debug)]
pub(crate) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped, it lets the next one go on.
    _own: oneshot::Sender<()>,
}

impl Turn {
    /// Waits for the one before.
    pub(crate) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            // Both a message and the sender's end mean that it is our turn.
            let _ = before.await;
        }
    }
}

/// Hands out turns, in order.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last: Option<oneshot::Receiver<()>>,
}

impl Turns {
    pub(crate) fn next(&mut self) -> Turn {
        let (own, next) = oneshot::channel();
        Turn {
            before: self.last.replace(next),
            _own: own,
        }
    }
}
