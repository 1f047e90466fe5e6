//! The log over object storage alone: entry n is the object `log/{generation}/{n:020}`, put if absent.
//! The embedded default, for up to three processes without etcd.
//!
//! ```text
//! append:  put slot n if absent ── created, or ours ─────────▶ GET floor ── F < n ──▶ done
//!               │  unknown: again, the same n                      └─ F ≥ n ──▶ Trimmed, fate unknown
//!               └─ another's ──▶ GET floor ── F < n ──▶ n + 1
//! follow:  GET slots n, n + 1 … ── there ──▶ GET floor ── F < n ──▶ yield
//!               └─ absent ──▶ wait; once a second GET floor ── F ≥ n ──▶ Trimmed
//! end:     HEAD slots until one is absent ──▶ GET floor ── F < that n ──▶ n − 1
//! ```
//!
//! **A put of slot n counts, and a slot that was read or found absent is trusted, only if a GET of
//! `log/floor` sent later says F < n.** A put-if-absent succeeds again on a slot that a trim has
//! deleted: a process that decided to put slot 1, slept, and woke after the others wrote, snapshotted and
//! trimmed slot 1 would acknowledge an entry that nobody ever sees. Clocks do not help.
//!
//! An unknown put is repeated at the same slot until a read shows whose it is; nobody moves past an
//! absent slot, so there are no holes. Whoever wrote it, a verified slot never changes: what this process
//! verified lately is handed to its followers from memory.

mod append;
mod follower;
mod slot;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use tarn_model::{ByteSize, Generation, Kind, Lsn, SessionId, defect};
use tarn_runtime::Runtime;
use tarn_store::{Store, StoreError, paths};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::log::{
    AppendError, CommitLog, Floor, FollowError, Followed, Follower, LogEntry, LogError, SnapshotRef,
};
use follower::ObjectFollower;
use slot::Slot;

/// Verified slots kept for this process's followers: entries and bytes. A follower that is further
/// behind reads them from storage.
const RECENT_ENTRIES: usize = 1024;
const RECENT_BYTES: usize = 32 * 1024 * 1024;
/// Objects a sweep asks for, and deletes, at a time: what one request to S3 takes.
const SWEEP_PAGE: usize = 1_000;

/// How the log behaves. The defaults are the product's.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long one append repeats an unknown put before it says `Unknown`.
    pub append_deadline: Duration,
    /// How long a follower's or `end`'s requests are repeated before they say `Unavailable`.
    pub read_deadline: Duration,
    /// A follower's pause between polls while entries come.
    pub poll_min: Duration,
    /// What the pause grows to while none come.
    pub poll_max: Duration,
    /// How often an idle follower looks at the floor.
    pub floor_interval: Duration,
    /// How many slots a follower that is behind reads at once.
    pub read_ahead: u64,
    /// The largest entry.
    pub entry_max: ByteSize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            append_deadline: Duration::from_secs(10),
            read_deadline: Duration::from_secs(10),
            poll_min: Duration::from_millis(50),
            poll_max: Duration::from_secs(1),
            floor_interval: Duration::from_secs(1),
            read_ahead: 32,
            entry_max: ByteSize::mib(8),
        }
    }
}

/// The log of one process over object storage. Clones share what the process knows.
#[derive(Debug, Clone)]
pub struct ObjectLog {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    /// With the time that other objects have: a sweep is many requests in one.
    sweeps: Store,
    runtime: Runtime,
    generation: Generation,
    settings: Settings,
    known: Mutex<Known>,
    /// Held while an append competes for a slot: our own appends should not compete with each other.
    turn: tokio::sync::Mutex<()>,
    /// Counts the reasons for followers to look.
    wakes: watch::Sender<u64>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.known().end;
        f.debug_struct("ObjectLog")
            .field("generation", &self.generation)
            .field("end", &end)
            .finish_non_exhaustive()
    }
}

/// What this process has verified; it never becomes untrue.
#[derive(Debug)]
struct Known {
    /// Every slot up to here was written and is not ours to write.
    end: u64,
    /// The highest floor that was read.
    floor: Lsn,
    /// Some of the newest slots.
    recent: BTreeMap<u64, Slot>,
    recent_bytes: usize,
    keys: BTreeMap<(SessionId, u64), u64>,
}

impl Known {
    fn add(&mut self, slot: Slot) {
        self.end = self.end.max(slot.lsn.n);
        self.recent_bytes += slot.bytes.len();
        self.keys.insert(slot.key(), slot.lsn.n);
        if let Some(same) = self.recent.insert(slot.lsn.n, slot) {
            self.recent_bytes -= same.bytes.len();
        }
        while self.recent.len() > RECENT_ENTRIES || self.recent_bytes > RECENT_BYTES {
            let Some((n, oldest)) = self.recent.pop_first() else {
                break;
            };
            self.recent_bytes -= oldest.bytes.len();
            if self.keys.get(&oldest.key()) == Some(&n) {
                self.keys.remove(&oldest.key());
            }
        }
    }

    /// The slots from `first` on that are at hand without a gap.
    fn from(&self, first: u64, max: usize) -> Vec<Followed> {
        let mut batch = Vec::new();
        for (index, (n, slot)) in self.recent.range(first..).take(max).enumerate() {
            if *n != first + index as u64 {
                break;
            }
            batch.push(Followed {
                lsn: slot.lsn,
                bytes: slot.bytes.clone(),
            });
        }
        batch
    }
}

/// Why the floor could not be read.
#[derive(Debug)]
enum FloorError {
    Store(StoreError),
    Corrupt(String),
    WentBack { found: Lsn, seen: Lsn },
}

impl From<FloorError> for LogError {
    fn from(error: FloorError) -> LogError {
        match error {
            FloorError::Store(error) => store_error(&error),
            FloorError::Corrupt(reason) => LogError::Corrupt { reason },
            FloorError::WentBack { found, seen } => LogError::WentBack { end: found, seen },
        }
    }
}

fn store_error(error: &StoreError) -> LogError {
    let reason = error.to_string();
    match error.kind() {
        Kind::Denied => LogError::Denied { reason },
        Kind::Corrupt | Kind::Invalid => LogError::Corrupt { reason },
        Kind::NotFound
        | Kind::Conflict
        | Kind::Fenced
        | Kind::Overloaded
        | Kind::Unavailable
        | Kind::Internal => LogError::Unavailable { reason },
    }
}

fn decode_floor(bytes: &Bytes) -> Result<Floor, String> {
    tarn_model::decode(bytes).map_err(|error| format!("{}: {error}", paths::log_floor()))
}

/// Raises the floor object; answers the floor in force. Others may have raised it further.
async fn raise_floor(store: &Store, floor: &Floor) -> Result<Floor, LogError> {
    let encoded = Bytes::from(tarn_model::encode(floor));
    let in_force = store
        .raise(&paths::log_floor(), |current| {
            match current.map(decode_floor) {
                None => Some(encoded.clone()),
                Some(Ok(current)) if current.lsn < floor.lsn => Some(encoded.clone()),
                // One that cannot be read is never replaced; it is reported below.
                Some(_) => None,
            }
        })
        .await
        .map_err(|error| store_error(&error))?;
    let in_force = in_force.expect("either it was there or it was written");
    decode_floor(&in_force).map_err(|reason| LogError::Corrupt { reason })
}

impl ObjectLog {
    /// Opens the log in the generation that its floor names; the first if there is none.
    pub async fn open(
        store: &Store,
        settings: Settings,
        runtime: &Runtime,
    ) -> Result<ObjectLog, LogError> {
        let floor = match store.get(&paths::log_floor()).await {
            Ok(bytes) => decode_floor(&bytes).map_err(|reason| LogError::Corrupt { reason })?,
            Err(StoreError::NotFound { .. }) => Floor::START,
            Err(error) => return Err(store_error(&error)),
        };
        let known = Known {
            end: floor.lsn.n,
            floor: floor.lsn,
            recent: BTreeMap::new(),
            recent_bytes: 0,
            keys: BTreeMap::new(),
        };
        let inner = Inner {
            // A slot is small: an attempt that takes longer is lost.
            store: store
                .with_attempt(Duration::from_secs(3))
                .with_deadline(settings.read_deadline),
            sweeps: store.clone(),
            runtime: runtime.clone(),
            generation: floor.lsn.generation,
            settings,
            known: Mutex::new(known),
            turn: tokio::sync::Mutex::new(()),
            wakes: watch::Sender::new(0),
        };
        Ok(ObjectLog {
            inner: Arc::new(inner),
        })
    }

    /// Begins a generation: what a recovery does first. From then on no put of an earlier generation
    /// counts. `snapshot` is the state that the new generation starts from.
    pub async fn begin_generation(
        store: &Store,
        generation: Generation,
        snapshot: SnapshotRef,
    ) -> Result<Floor, LogError> {
        let floor = Floor {
            lsn: Lsn::new(generation, 0),
            snapshot: Some(snapshot),
        };
        raise_floor(store, &floor).await
    }
}

impl Inner {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panics while holding it")
    }

    fn lsn(&self, n: u64) -> Lsn {
        Lsn::new(self.generation, n)
    }

    fn wake(&self) {
        self.wakes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Reads the floor, now.
    async fn floor(&self, store: &Store) -> Result<Floor, FloorError> {
        let seen = self.known().floor;
        let floor = match store.get(&paths::log_floor()).await {
            Ok(bytes) => decode_floor(&bytes).map_err(FloorError::Corrupt)?,
            Err(StoreError::NotFound { .. }) => Floor::START,
            Err(error) => return Err(FloorError::Store(error)),
        };
        // Compared with what was seen before this read was sent: replies may overtake each other.
        if floor.lsn < seen {
            return Err(FloorError::WentBack {
                found: floor.lsn,
                seen,
            });
        }
        let mut known = self.known();
        known.floor = known.floor.max(floor.lsn);
        if floor.lsn.generation == self.generation {
            known.end = known.end.max(floor.lsn.n);
        }
        drop(known);
        Ok(floor)
    }

    /// Is the slot at or under this floor? Then what was put, read or missed there says nothing.
    fn covers(&self, floor: Lsn, n: u64) -> bool {
        if defect("floor-off-by-one") {
            return floor > self.lsn(n);
        }
        floor >= self.lsn(n)
    }

    /// A floor read now that covers the slot, if it does.
    async fn covering_floor(&self, store: &Store, n: u64) -> Result<Option<Floor>, FloorError> {
        let floor = self.floor(store).await?;
        Ok(self.covers(floor.lsn, n).then_some(floor))
    }

    async fn end(&self) -> Result<Lsn, LogError> {
        let mut start = self.known().end;
        loop {
            let end = self.last_present(start).await?;
            if !defect("skip-floor-after-absent") {
                let floor = self.floor(&self.store).await?;
                if floor.lsn.generation > self.generation {
                    return Err(LogError::Superseded { floor });
                }
                if self.covers(floor.lsn, end + 1) {
                    // It was absent because it was trimmed: look on from the floor.
                    start = floor.lsn.n.max(end + 1);
                    continue;
                }
            }
            let news = {
                let mut known = self.known();
                let news = end > known.end;
                known.end = known.end.max(end);
                news
            };
            if news {
                self.wake();
            }
            return Ok(self.lsn(end));
        }
    }

    /// A slot that is there (or `start` itself) and whose successor was found absent. Slots are dense
    /// above the floor, so strides and a bisection find it; the caller reads the floor afterwards,
    /// which tells whether the absent slot means the end.
    async fn last_present(&self, start: u64) -> Result<u64, LogError> {
        let (mut present, mut stride) = (start, 1);
        let mut absent = loop {
            if !self.is_present(present + stride).await? {
                break present + stride;
            }
            present += stride;
            stride *= 2;
        };
        while absent - present > 1 {
            let middle = present + (absent - present) / 2;
            if self.is_present(middle).await? {
                present = middle
            } else {
                absent = middle
            }
        }
        Ok(present)
    }

    async fn is_present(&self, n: u64) -> Result<bool, LogError> {
        match self.store.head(&paths::log_entry(self.lsn(n))).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(store_error(&error)),
        }
    }

    async fn trim(&self, lsn: Lsn, snapshot: SnapshotRef) -> Result<(), LogError> {
        let current = self.floor(&self.store).await?;
        if current.lsn.generation > self.generation {
            return Err(LogError::Superseded { floor: current });
        }
        if lsn <= current.lsn {
            return Ok(());
        }
        if lsn.generation != self.generation {
            return Err(LogError::Invalid {
                reason: format!("{lsn} is of another generation"),
            });
        }
        let known_end = self.known().end;
        if lsn.n > known_end {
            let end = self.end().await?;
            if lsn > end {
                return Err(LogError::Invalid {
                    reason: format!("{lsn} lies beyond the end, {end}"),
                });
            }
        }
        let in_force = raise_floor(
            &self.store,
            &Floor {
                lsn,
                snapshot: Some(snapshot),
            },
        )
        .await?;
        {
            let mut known = self.known();
            known.floor = known.floor.max(in_force.lsn);
        }
        // The floor is recorded: what cannot be swept now is swept by a later trim.
        if let Err(error) = self.sweep(in_force.lsn).await {
            warn!(floor = %in_force.lsn, %error, "could not remove all entries under the floor");
        }
        Ok(())
    }

    /// Removes every slot at or under the floor, strays of late puts too.
    async fn sweep(&self, floor: Lsn) -> Result<(), StoreError> {
        let mut after = None;
        let mut removed = 0;
        loop {
            let page = self
                .sweeps
                .list(&paths::log(), after.as_ref(), SWEEP_PAGE)
                .await?;
            let dead: Vec<_> = page
                .iter()
                .filter(|listed| {
                    paths::parse_log_entry(&listed.path).is_some_and(|lsn| lsn <= floor)
                })
                .map(|listed| listed.path.clone())
                .collect();
            self.sweeps.delete_all(&dead).await?;
            removed += dead.len();
            match page.last() {
                Some(last) if page.len() == SWEEP_PAGE => after = Some(last.path.clone()),
                _ => break,
            }
        }
        info!(%floor, removed, "trimmed the log");
        Ok(())
    }

    /// Reads slots from `first` on, and verifies them. Empty: the first is absent.
    async fn read(&self, first: u64, window: u64) -> Result<Vec<Slot>, FollowError> {
        let unavailable = |error: StoreError| FollowError::Unavailable {
            reason: error.to_string(),
        };
        let names: Vec<_> = (first..first + window)
            .map(|n| paths::log_entry(self.lsn(n)))
            .collect();
        let reads = join_all(names.iter().map(|name| self.store.get(name))).await;
        let mut slots = Vec::new();
        for (lsn, read) in (first..).map(|n| self.lsn(n)).zip(reads) {
            let object = match read {
                Ok(object) => object,
                Err(StoreError::NotFound { .. }) => break,
                Err(error) if slots.is_empty() => return Err(unavailable(error)),
                Err(_) => break,
            };
            let slot = match Slot::decode(&object, lsn) {
                Ok(slot) => slot,
                // Damaged on the way or for good: one more read tells.
                Err(_) => {
                    let again = match self.store.get(&paths::log_entry(lsn)).await {
                        Ok(object) => object,
                        Err(StoreError::NotFound { .. }) => break,
                        Err(error) => return Err(unavailable(error)),
                    };
                    match Slot::decode(&again, lsn) {
                        Ok(slot) => slot,
                        Err(_) if !slots.is_empty() => break,
                        // It may be a stray under the floor.
                        Err(error) => {
                            self.check_follower_floor(lsn.n).await?;
                            return Err(FollowError::Corrupt {
                                at: lsn,
                                reason: error.to_string(),
                            });
                        }
                    }
                }
            };
            slots.push(slot);
        }
        if !slots.is_empty() && !defect("skip-floor-after-read") {
            self.store
                .make_seen_durable(&paths::log_entry(self.lsn(first)))
                .await
                .map_err(unavailable)?;
            self.check_follower_floor(first).await?;
        }
        Ok(slots)
    }

    /// Reads the floor: an error if it covers the slot.
    async fn check_follower_floor(&self, n: u64) -> Result<(), FollowError> {
        match self.covering_floor(&self.store, n).await {
            Ok(None) => Ok(()),
            Ok(Some(floor)) => Err(FollowError::Trimmed { floor }),
            Err(FloorError::Store(error)) => Err(FollowError::Unavailable {
                reason: error.to_string(),
            }),
            Err(FloorError::Corrupt(reason)) => Err(FollowError::Corrupt {
                at: self.lsn(n),
                reason,
            }),
            Err(FloorError::WentBack { found, .. }) => Err(FollowError::WentBack {
                end: found,
                position: self.lsn(n - 1),
            }),
        }
    }
}

#[async_trait]
impl CommitLog for ObjectLog {
    fn generation(&self) -> Generation {
        self.inner.generation
    }

    async fn append(&self, entry: LogEntry) -> Result<(), AppendError> {
        if entry.sequence == 0 {
            return Err(AppendError::Invalid {
                reason: "sequences begin at 1".to_owned(),
            });
        }
        let max = self.inner.settings.entry_max;
        if entry.bytes.len() as u64 > max.0 {
            let reason = format!(
                "{} exceed the largest entry, {max}",
                ByteSize(entry.bytes.len() as u64)
            );
            return Err(AppendError::Invalid { reason });
        }
        self.inner.append(entry).await
    }

    fn follow(&self, after: Lsn) -> Box<dyn Follower> {
        Box::new(ObjectFollower::new(Arc::clone(&self.inner), after))
    }

    async fn end(&self) -> Result<Lsn, LogError> {
        self.inner.end().await
    }

    async fn trim(&self, floor: Lsn, snapshot: SnapshotRef) -> Result<(), LogError> {
        self.inner.trim(floor, snapshot).await
    }

    async fn floor(&self) -> Result<Floor, LogError> {
        Ok(self.inner.floor(&self.inner.store).await?)
    }

    fn wake(&self) {
        self.inner.wake();
    }
}

#[cfg(test)]
mod tests;
