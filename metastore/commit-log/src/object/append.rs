//! Appending: the next slot that is free, and then whether it still counts.
//!
//! Holds: an entry that may have reached a slot is never said to be unsent; and what was put under the floor
//! does not count.

use tarn_model::{Fate, defect};
use tarn_store::paths;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::log::{AppendError, LogEntry, LogError};

use super::slot::Slot;
use super::{FloorError, Inner};

fn unknown(reason: String) -> AppendError {
    AppendError::Unknown { reason }
}

impl Inner {
    pub(super) async fn append(&self, entry: LogEntry) -> Result<(), AppendError> {
        let until = Instant::now() + self.settings.append_deadline;
        let Ok(_turn) = timeout_at(until, self.turn.lock()).await else {
            return Err(AppendError::NotSent {
                reason: "another append is on its way".to_owned(),
            });
        };
        self.reach(entry.applied_n, until).await?;
        let nonce = self.runtime.random().u128();
        let mut sent = false;
        loop {
            // Where this process knows the log to end: nobody moves past an absent slot.
            let n = {
                let known = self.known();
                // One that was trimmed is yielded to nobody any more: another copy tells what became of
                // it, and the fold takes one of them.
                let stands = known.keys.get(&(entry.session, entry.sequence));
                if stands.is_some_and(|n| !self.covers(known.floor, *n)) {
                    return Ok(());
                }
                known.end + 1
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reason = "others took every slot until the deadline".to_owned();
                return Err(if sent {
                    unknown(reason)
                } else {
                    AppendError::NotSent { reason }
                });
            }
            let slot = Slot {
                nonce,
                session: entry.session,
                sequence: entry.sequence,
                lsn: self.lsn(n),
                bytes: entry.bytes.clone(),
            };
            sent = true;
            let store = self.store.with_deadline(left);
            let found = match store
                .create_or_read(&paths::log_entry(slot.lsn), slot.encode())
                .await
            {
                Ok(Ok(_)) => slot,
                Ok(Err(another)) => Slot::decode(&another, slot.lsn).map_err(|error| {
                    unknown(format!("slot {} is damaged: {error}", self.lsn(n)))
                })?,
                // Refused for certain, and every slot left behind was verified as another's.
                Err(error) if error.fate() == Fate::NotDone => {
                    return Err(AppendError::NotSent {
                        reason: error.to_string(),
                    });
                }
                Err(error) => return Err(unknown(error.to_string())),
            };
            let ours = found.nonce == nonce;
            let skip = if ours {
                defect("skip-floor-after-put")
            } else {
                defect("skip-floor-after-read")
            };
            if !skip {
                self.check_floor(n, until, entry.applied_n).await?;
            }
            debug!(n, ours, session = %found.session, sequence = found.sequence, "slot verified");
            self.known().add(found);
            self.wake();
        }
    }

    /// Reads the log's end until this process knows it to reach as far as it has applied.
    async fn reach(&self, applied_n: u64, until: Instant) -> Result<(), AppendError> {
        if applied_n <= self.known().end {
            return Ok(());
        }
        // Only a log that went back is shorter than what its proposer applied; a put beyond its end
        // would leave a hole.
        match timeout_at(until, self.end()).await {
            Ok(Ok(end)) if end.n >= applied_n => Ok(()),
            Ok(Ok(end)) => Err(AppendError::WentBack { end, applied_n }),
            Ok(Err(LogError::Superseded { floor })) => Err(AppendError::Trimmed { floor }),
            Ok(Err(LogError::WentBack { end, .. })) => {
                Err(AppendError::WentBack { end, applied_n })
            }
            Ok(Err(LogError::Corrupt { reason })) => Err(AppendError::Corrupt { reason }),
            Ok(Err(
                error @ (LogError::Unavailable { .. }
                | LogError::Denied { .. }
                | LogError::Invalid { .. }),
            )) => Err(AppendError::NotSent {
                reason: error.to_string(),
            }),
            Err(_) => Err(AppendError::NotSent {
                reason: "the end of the log is unknown".to_owned(),
            }),
        }
    }

    /// A put under the floor does not count.
    async fn check_floor(&self, n: u64, until: Instant, applied_n: u64) -> Result<(), AppendError> {
        let left = until
            .saturating_duration_since(Instant::now())
            .max(self.settings.poll_min);
        match self
            .covering_floor(&self.store.with_deadline(left), n)
            .await
        {
            Ok(None) => Ok(()),
            Ok(Some(floor)) => Err(AppendError::Trimmed { floor }),
            Err(FloorError::Store(error)) => Err(unknown(error.to_string())),
            Err(FloorError::Corrupt(reason)) => Err(unknown(reason)),
            Err(FloorError::WentBack { found, .. }) => Err(AppendError::WentBack {
                end: found,
                applied_n,
            }),
        }
    }
}
