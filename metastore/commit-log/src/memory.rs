//! A log in memory, shared by clones: a vector that appends like etcd, without a slot.
//!
//! The n of an entry is the count of appends, so appends never compete. The key (session, sequence) is
//! checked among untrimmed entries only, as etcd's "was never created" is: a copy that comes late, after
//! its key was trimmed, is created again and stands in the log twice.
//!
//! For tests it can also go back, as an etcd that was restored from an older copy or wiped does.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tarn_model::{Generation, Lsn, SessionId};
use tokio::sync::Notify;

use crate::log::{
    AppendError, CommitLog, Floor, FollowError, Followed, Follower, LogEntry, LogError, SnapshotRef,
};

/// The log. Clones are other processes' handles on the same one.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
    /// The generation this handle was opened in.
    generation: Generation,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rung at every change that a follower may wait for.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    floor: Floor,
    /// Entries of the floor's generation after the floor: n = floor + 1, floor + 2 …
    entries: VecDeque<Entry>,
    keys: BTreeSet<(SessionId, u64)>,
}

#[derive(Debug, Clone)]
struct Entry {
    key: (SessionId, u64),
    bytes: Bytes,
}

impl State {
    fn end(&self) -> Lsn {
        let lsn = self.floor.lsn;
        Lsn::new(lsn.generation, lsn.n + self.entries.len() as u64)
    }
}

impl Default for MemoryLog {
    fn default() -> MemoryLog {
        MemoryLog::new()
    }
}

impl MemoryLog {
    /// An empty log in its first generation.
    pub fn new() -> MemoryLog {
        let state = State {
            floor: Floor::START,
            entries: VecDeque::new(),
            keys: BTreeSet::new(),
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
        };
        MemoryLog {
            shared: Arc::new(shared),
            generation: Generation::FIRST,
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self
            .shared
            .state
            .lock()
            .expect("nobody panics while holding it"))
    }

    /// Another process's handle, opened now: it works in the generation that the log is in.
    #[must_use]
    pub fn reopen(&self) -> MemoryLog {
        let generation = self.with(|state| state.floor.lsn.generation);
        MemoryLog {
            shared: Arc::clone(&self.shared),
            generation,
        }
    }

    /// The log is an older copy of itself: what came after `n` never happened.
    pub fn restore_to(&self, n: u64) {
        self.with(|state| {
            let kept = usize::try_from(n.saturating_sub(state.floor.lsn.n)).unwrap_or(usize::MAX);
            state.entries.truncate(kept);
            state.keys = state.entries.iter().map(|entry| entry.key).collect();
        });
        self.shared.changed.notify_waiters();
    }

    /// The log is empty, as if it had never been used; its floor is gone too.
    pub fn wipe(&self) {
        self.with(|state| {
            *state = State {
                floor: Floor::START,
                entries: VecDeque::new(),
                keys: BTreeSet::new(),
            };
        });
        self.shared.changed.notify_waiters();
    }

    /// What a recovery does first: nobody who works in an earlier generation gets any further.
    pub fn begin_generation(&self, generation: Generation, snapshot: SnapshotRef) {
        self.with(|state| {
            let floor = Floor {
                lsn: Lsn::new(generation, 0),
                snapshot: Some(snapshot),
            };
            if floor.lsn > state.floor.lsn {
                *state = State {
                    floor,
                    entries: VecDeque::new(),
                    keys: BTreeSet::new(),
                };
            }
        });
        self.shared.changed.notify_waiters();
    }

    fn check_generation(&self, state: &State) -> Result<(), LogError> {
        let current = state.floor.lsn.generation;
        if current > self.generation {
            return Err(LogError::Superseded {
                floor: state.floor.clone(),
            });
        }
        if current < self.generation {
            return Err(LogError::WentBack {
                end: state.end(),
                seen: Lsn::new(self.generation, 0),
            });
        }
        Ok(())
    }

    /// How often this key stands in the untrimmed log.
    #[cfg(test)]
    pub(crate) fn copies(&self, session: SessionId, sequence: u64) -> usize {
        self.with(|state| {
            state
                .entries
                .iter()
                .filter(|entry| entry.key == (session, sequence))
                .count()
        })
    }
}

#[async_trait]
impl CommitLog for MemoryLog {
    fn generation(&self) -> Generation {
        self.generation
    }

    async fn append(&self, entry: LogEntry) -> Result<(), AppendError> {
        self.with(|state| {
            if state.floor.lsn.generation > self.generation {
                return Err(AppendError::Trimmed {
                    floor: state.floor.clone(),
                });
            }
            if state.floor.lsn.generation < self.generation {
                return Err(AppendError::WentBack {
                    end: state.end(),
                    applied_n: entry.applied_n,
                });
            }
            let key = (entry.session, entry.sequence);
            if state.keys.contains(&key) {
                return Ok(());
            }
            let end = state.end();
            if end.n < entry.applied_n {
                return Err(AppendError::WentBack {
                    end,
                    applied_n: entry.applied_n,
                });
            }
            state.keys.insert(key);
            state.entries.push_back(Entry {
                key,
                bytes: entry.bytes,
            });
            Ok(())
        })?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    fn follow(&self, after: Lsn) -> Box<dyn Follower> {
        Box::new(MemoryFollower {
            log: self.clone(),
            position: after,
        })
    }

    async fn end(&self) -> Result<Lsn, LogError> {
        self.with(|state| {
            self.check_generation(state)?;
            Ok(state.end())
        })
    }

    async fn trim(&self, floor: Lsn, snapshot: SnapshotRef) -> Result<(), LogError> {
        self.with(|state| {
            self.check_generation(state)?;
            if floor <= state.floor.lsn {
                return Ok(());
            }
            let end = state.end();
            if floor > end {
                let reason = format!("{floor} lies beyond the end, {end}");
                return Err(LogError::Invalid { reason });
            }
            let removed = usize::try_from(floor.n - state.floor.lsn.n).unwrap_or(usize::MAX);
            state.floor = Floor {
                lsn: floor,
                snapshot: Some(snapshot),
            };
            for entry in state.entries.drain(..removed) {
                state.keys.remove(&entry.key);
            }
            // A key that stands in the log twice is still there if its later copy is.
            let kept: Vec<_> = state.entries.iter().map(|entry| entry.key).collect();
            state.keys.extend(kept);
            Ok(())
        })?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn floor(&self) -> Result<Floor, LogError> {
        Ok(self.with(|state| state.floor.clone()))
    }

    fn wake(&self) {}
}

#[derive(Debug)]
struct MemoryFollower {
    log: MemoryLog,
    position: Lsn,
}

impl MemoryFollower {
    fn at_hand(&self, max: usize) -> Result<Vec<Followed>, FollowError> {
        self.log.with(|state| {
            let (floor, end) = (state.floor.lsn, state.end());
            if self.position < floor {
                return Err(FollowError::Trimmed {
                    floor: state.floor.clone(),
                });
            }
            if self.position > end {
                return Err(FollowError::WentBack {
                    end,
                    position: self.position,
                });
            }
            let seen = usize::try_from(self.position.n - floor.n).unwrap_or(usize::MAX);
            let mut lsn = self.position;
            let mut batch = Vec::new();
            for entry in state.entries.iter().skip(seen).take(max.max(1)) {
                lsn = lsn.next();
                batch.push(Followed {
                    lsn,
                    bytes: entry.bytes.clone(),
                });
            }
            Ok(batch)
        })
    }
}

#[async_trait]
impl Follower for MemoryFollower {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Followed>, FollowError> {
        let shared = Arc::clone(&self.log.shared);
        loop {
            let changed = shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let batch = self.at_hand(max)?;
            if let Some(last) = batch.last() {
                self.position = last.lsn;
                return Ok(batch);
            }
            changed.await;
        }
    }

    fn position(&self) -> Lsn {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, applied_n: u64) -> LogEntry {
        let bytes = Bytes::from(format!("entry {sequence}"));
        LogEntry {
            session: SessionId::from_u128(1),
            sequence,
            applied_n,
            bytes,
        }
    }

    fn snapshot() -> SnapshotRef {
        SnapshotRef {
            path: "snapshots/x".to_owned(),
            hash: tarn_model::Hash::ZERO,
        }
    }

    #[tokio::test]
    async fn a_copy_after_its_key_was_trimmed_stands_in_the_log_twice() {
        let log = MemoryLog::new();
        log.append(entry(1, 0)).await.expect("append");
        log.append(entry(1, 0)).await.expect("the key is there");
        assert_eq!(log.end().await.expect("end").n, 1);
        log.trim(Lsn::new(Generation::FIRST, 1), snapshot())
            .await
            .expect("trim");
        log.append(entry(1, 0)).await.expect("created again");
        assert_eq!(log.end().await.expect("end").n, 2);
        assert_eq!(log.copies(SessionId::from_u128(1), 1), 1);
    }

    #[tokio::test]
    async fn a_log_that_went_back_is_noticed_by_proposer_and_follower() {
        let log = MemoryLog::new();
        for sequence in 1..=3 {
            log.append(entry(sequence, sequence - 1))
                .await
                .expect("append");
        }
        let mut follower = log.follow(Lsn::START);
        assert_eq!(follower.next_batch(10).await.expect("batch").len(), 3);
        log.restore_to(1);
        assert!(matches!(
            follower.next_batch(1).await,
            Err(FollowError::WentBack { .. })
        ));
        assert!(matches!(
            log.append(entry(4, 3)).await,
            Err(AppendError::WentBack { applied_n: 3, .. })
        ));
        log.wipe();
        assert!(matches!(
            log.append(entry(4, 3)).await,
            Err(AppendError::WentBack { .. })
        ));
    }

    #[tokio::test]
    async fn a_new_generation_stops_whoever_worked_in_the_old_one() {
        let log = MemoryLog::new();
        log.append(entry(1, 0)).await.expect("append");
        let mut follower = log.follow(Lsn::START);
        log.begin_generation(Generation(2), snapshot());
        assert!(matches!(
            follower.next_batch(1).await,
            Err(FollowError::Trimmed { .. })
        ));
        assert!(matches!(
            log.append(entry(2, 1)).await,
            Err(AppendError::Trimmed { .. })
        ));
        assert!(matches!(log.end().await, Err(LogError::Superseded { .. })));
        let reopened = log.reopen();
        assert_eq!(
            reopened.end().await.expect("end"),
            Lsn::new(Generation(2), 0)
        );
        reopened.append(entry(1, 0)).await.expect("append");
    }
}
