//! What a proposer has under way: an entry in flight, and proposals in limbo.
//!
//! Holds: the bytes of an entry that was sent are kept with it until its fate is known, since only the
//! same bytes may be sent again.

use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, pending};
use tarn_commit_log::{AppendError, LogEntry};
use tarn_model::{Lsn, Monotonic, SessionId};
use tarn_runtime::step;
use tokio::time::Instant;

use crate::queue::Carried;
use crate::shared::Shared;

/// An entry whose fate is not known yet.
pub(super) struct InFlight {
    pub(super) session: SessionId,
    pub(super) sequence: u64,
    pub(super) carried: Vec<Carried>,
    pub(super) entry: LogEntry,
    /// When it was first written: what self-fencing counts from.
    pub(super) sent: Monotonic,
    /// Some attempt may have reached the log.
    pub(super) maybe_sent: bool,
    pub(super) flight: Flight,
}

pub(super) enum Flight {
    Sending(BoxFuture<'static, Result<(), AppendError>>),
    /// Its fate is unknown: to be repeated then.
    Repeat(Instant),
    /// In the order; to be seen in `follow`.
    Appended,
    /// The log was trimmed past where it may stand: to be looked for in a view at least this new.
    Trimmed(Lsn),
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InFlight({}, {})", self.session, self.sequence)
    }
}

/// Proposals of a session that is over, until a view tells whether they were applied.
#[derive(Debug)]
pub(super) struct Limbo {
    pub(super) session: SessionId,
    pub(super) sequence: u64,
    pub(super) carried: Vec<Carried>,
}

/// The append's answer; never, if nothing is being sent.
pub(super) async fn append_of(in_flight: &mut Option<InFlight>) -> Result<(), AppendError> {
    match in_flight {
        Some(InFlight {
            flight: Flight::Sending(append),
            ..
        }) => append.await,
        _ => pending().await,
    }
}

pub(super) fn sending(shared: &Arc<Shared>, entry: LogEntry) -> Flight {
    let (log, runtime) = (Arc::clone(&shared.log), shared.runtime.clone());
    Flight::Sending(Box::pin(async move {
        step!(runtime, "propose.sent");
        log.append(entry).await?;
        step!(runtime, "propose.appended");
        Ok(())
    }))
}
