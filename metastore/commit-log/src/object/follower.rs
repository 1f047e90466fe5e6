//! Follows the object log: polls the next slots, and yields what a later floor confirms.
//!
//! It pauses 50 ms while entries come and up to a second while none do; a wake (an own append, a barrier,
//! a waiting fetch) makes it look again. An idle one reads the floor once a second, so that it notices
//! when it was left behind. It stands on `Inner::read`, which checks the floor after every batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tarn_model::Lsn;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{FloorError, Inner};
use crate::log::{FollowError, Followed, Follower};

/// A cursor over the log of one process.
#[derive(Debug)]
pub(super) struct ObjectFollower {
    log: Arc<Inner>,
    position: Lsn,
    /// Verified, not yet yielded.
    read: VecDeque<Followed>,
    /// How many slots the next read asks for.
    window: u64,
    pause: Duration,
    wakes: watch::Receiver<u64>,
    /// When an idle poll last looked at the floor.
    floor_seen: Option<Instant>,
    /// When storage last had nothing.
    absent_at: Option<Instant>,
}

impl ObjectFollower {
    pub(super) fn new(log: Arc<Inner>, after: Lsn) -> ObjectFollower {
        ObjectFollower {
            wakes: log.wakes.subscribe(),
            pause: log.settings.poll_min,
            log,
            position: after,
            read: VecDeque::new(),
            window: 1,
            floor_seen: None,
            absent_at: None,
        }
    }

    /// What is at hand, from the last read or from what the process has verified otherwise.
    fn at_hand(&mut self, max: usize) -> Vec<Followed> {
        let count = self.read.len().min(max);
        let mut batch: Vec<_> = self.read.drain(..count).collect();
        if batch.is_empty() {
            batch = self.log.known().from(self.position.n + 1, max);
        }
        if let Some(last) = batch.last() {
            self.position = last.lsn;
        }
        batch
    }

    /// Looks at storage once; true if there was something.
    async fn poll(&mut self) -> Result<bool, FollowError> {
        let first = self.position.n + 1;
        let known_end = self.log.known().end;
        let slots = self.log.read(first, self.window).await?;
        if slots.is_empty() {
            self.window = 1;
            let now = Instant::now();
            let interval = self.log.settings.floor_interval;
            let missing = known_end >= first;
            if missing
                || self
                    .floor_seen
                    .is_none_or(|seen| now.duration_since(seen) >= interval)
            {
                self.log.check_follower_floor(first).await?;
                self.floor_seen = Some(now);
            }
            if missing {
                // Written, verified, not trimmed, and absent when we looked.
                let reason = "the entry is missing".to_owned();
                return Err(FollowError::Corrupt {
                    at: self.log.lsn(first),
                    reason,
                });
            }
            return Ok(false);
        }
        let all = slots.len() as u64 == self.window;
        self.window = if all {
            (self.window * 2).min(self.log.settings.read_ahead.max(1))
        } else {
            1
        };
        let mut known = self.log.known();
        for slot in slots {
            self.read.push_back(Followed {
                lsn: slot.lsn,
                bytes: slot.bytes.clone(),
            });
            known.add(slot);
        }
        Ok(true)
    }
}

#[async_trait]
impl Follower for ObjectFollower {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Followed>, FollowError> {
        if self.position.generation != self.log.generation {
            let at = self.position;
            return match self.log.floor(&self.log.store).await {
                Ok(floor) if floor.lsn > at => Err(FollowError::Trimmed { floor }),
                Ok(_) => Err(FollowError::Corrupt {
                    at,
                    reason: "no such generation".to_owned(),
                }),
                Err(FloorError::WentBack { found, .. }) => Err(FollowError::WentBack {
                    end: found,
                    position: at,
                }),
                Err(FloorError::Corrupt(reason)) => Err(FollowError::Corrupt { at, reason }),
                Err(FloorError::Store(error)) => Err(FollowError::Unavailable {
                    reason: error.to_string(),
                }),
            };
        }
        loop {
            self.wakes.mark_unchanged();
            let batch = self.at_hand(max.max(1));
            if !batch.is_empty() {
                self.pause = self.log.settings.poll_min;
                return Ok(batch);
            }
            // However often somebody wakes us, storage is asked once per shortest pause. What this process
            // verified by itself is looked for at each wake.
            let earliest = self
                .absent_at
                .map(|absent| absent + self.log.settings.poll_min);
            if let Some(earliest) = earliest.filter(|earliest| *earliest > Instant::now()) {
                // Either the time has come or there was a wake.
                let _ = timeout_at(earliest, self.wakes.changed()).await;
                continue;
            }
            if self.poll().await? {
                continue;
            }
            self.absent_at = Some(Instant::now());
            let until = Instant::now() + self.pause;
            self.pause = (self.pause * 2).min(self.log.settings.poll_max);
            if let Ok(Ok(())) = timeout_at(until, self.wakes.changed()).await {
                self.pause = self.log.settings.poll_min;
            }
        }
    }

    fn position(&self) -> Lsn {
        self.position
    }
}
