//! Copies entries to object storage as they are applied, so that the commit log can be lost.
//!
//! ```text
//! archive/{generation}/{first:020}-{last:020}   = { generation, first, [entry bytes] }
//! ```
//!
//! Holds: what an object holds is a function of its name, so two processes that archive at the same
//! time write overlapping copies and no harm; the log is trimmed only up to where the archive covers
//! it without a hole (`snapshotter.rs` waits for that). One object a second or 8 MiB; entries that are
//! nothing but ticks wait for company, up to a minute.
//! Leaves to others: recovery from the archive.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use tarn_commit_log::{FollowError, Followed, LogError};
use tarn_model::{ByteSize, Generation, Lsn, encode};
use tarn_runtime::{Scope, gauge, step};
use tarn_store::{Listed, Store, StoreError, paths};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::keeper::minds_the_log;
use crate::shared::Shared;

/// Pause between two looks for entries to archive.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long entries that are nothing but ticks wait for others.
const TICKS_WAIT: Duration = Duration::from_secs(60);
/// Most bytes of entries in one object.
const OBJECT_BYTES: ByteSize = ByteSize::mib(8);
/// Most entries in one object: a listing for the object that holds n may begin at n minus this.
const OBJECT_ENTRIES: u64 = 10_000;
/// Entries kept in memory for the archive, so that it need not read the log again.
const RECENT_BYTES: ByteSize = ByteSize::mib(16);
/// What an entry in memory costs beside its bytes.
const ENTRY_OVERHEAD: u64 = 128;
/// Objects per listing.
const LIST_MAX: usize = 1000;

/// One archive object.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Chunk {
    #[n(0)]
    pub(crate) generation: Generation,
    #[n(1)]
    pub(crate) first: u64,
    #[n(2)]
    pub(crate) entries: Vec<ByteVec>,
}

/// The newest entries that were applied, bounded in bytes; the oldest go first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<(Followed, bool)>,
    bytes: u64,
}

impl Recent {
    pub(crate) fn push(&self, followed: Followed, ticks_only: bool) {
        let mut ring = self.ring.lock().expect("nobody panics while holding it");
        ring.bytes += followed.bytes.len() as u64 + ENTRY_OVERHEAD;
        ring.entries.push_back((followed, ticks_only));
        while ring.bytes > RECENT_BYTES.0 {
            let Some((oldest, _)) = ring.entries.pop_front() else {
                break;
            };
            ring.bytes -= oldest.bytes.len() as u64 + ENTRY_OVERHEAD;
        }
    }

    pub(crate) fn clear(&self) {
        *self.ring.lock().expect("nobody panics while holding it") = Ring::default();
    }

    /// The entries from `first` on that fit into one object, and whether they are ticks and nothing
    /// else. `None` if `first` is no longer here.
    fn from(&self, first: u64) -> Option<(Vec<Followed>, bool)> {
        let ring = self.ring.lock().expect("nobody panics while holding it");
        let oldest = ring.entries.front().map(|(followed, _)| followed.lsn.n)?;
        let skip = usize::try_from(first.checked_sub(oldest)?).ok()?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut ticks_only = true;
        for (followed, ticks) in ring.entries.iter().skip(skip) {
            bytes += followed.bytes.len() as u64;
            if !entries.is_empty()
                && (bytes > OBJECT_BYTES.0 || entries.len() as u64 >= OBJECT_ENTRIES)
            {
                break;
            }
            entries.push(followed.clone());
            ticks_only &= ticks;
        }
        Some((entries, ticks_only))
    }
}

/// How far chunks cover the log without a hole, from `covered` on. `chunks` are sorted by name.
pub(crate) fn extend(mut covered: u64, chunks: &[Listed]) -> u64 {
    for (_, first, last) in chunks
        .iter()
        .filter_map(|listed| paths::parse_archive_chunk(&listed.path))
    {
        if first <= covered + 1 {
            covered = covered.max(last);
        }
    }
    covered
}

/// The chunks that may hold entries above `n`, in pages.
async fn chunks_above(
    store: &Store,
    generation: Generation,
    n: u64,
) -> Result<Vec<Listed>, StoreError> {
    let folder = paths::archive(generation);
    let mut after = paths::archive_chunk(generation, n.saturating_sub(OBJECT_ENTRIES), 0);
    let mut chunks = Vec::new();
    loop {
        let page = store.list(&folder, Some(&after), LIST_MAX).await?;
        let full = page.len() == LIST_MAX;
        if let Some(last) = page.last() {
            after = last.path.clone();
        }
        chunks.extend(page);
        if !full {
            return Ok(chunks);
        }
    }
}

/// How far the archive covers the log beyond `floor`, below which it covers all.
pub(crate) async fn covered(store: &Store, floor: Lsn) -> Result<u64, StoreError> {
    let chunks = chunks_above(store, floor.generation, floor.n).await?;
    // The log is trimmed because of them, and whoever wrote them may have died before the sync.
    if let Some(chunk) = chunks.first() {
        store.make_seen_durable(&chunk.path).await?;
    }
    Ok(extend(floor.n, &chunks))
}

/// The last n that any chunk above `n` holds.
pub(crate) async fn newest_above(store: &Store, at: Lsn) -> Result<Option<u64>, StoreError> {
    let chunks = chunks_above(store, at.generation, at.n).await?;
    let lasts = chunks
        .iter()
        .filter_map(|listed| paths::parse_archive_chunk(&listed.path));
    Ok(lasts
        .map(|(_, _, last)| last)
        .filter(|last| *last > at.n)
        .max())
}

/// Entries that are to be archived, and were not.
#[derive(Debug, thiserror::Error)]
enum ArchiveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Follow(FollowError),
    #[error("the log was trimmed to {floor}")]
    Trimmed { floor: Lsn },
    #[error("the log does not yield entries that were applied")]
    Late,
}

/// Archives while this process minds the log.
#[derive(Debug)]
pub(crate) struct Archiver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) recent: Arc<Recent>,
}

impl Archiver {
    pub(crate) async fn run(self, scope: Scope) {
        let stopped = Arc::clone(&self.shared).when_stopped();
        tokio::select! {
            biased;
            () = scope.stopped() => {}
            _ = stopped => {}
            () = self.archive() => {}
        }
    }

    async fn archive(&self) {
        // The next n to archive; unknown until the archive was listed.
        let mut next = None;
        let mut written = Instant::now();
        loop {
            sleep(INTERVAL).await;
            let view = self.shared.view();
            let identity = *self.shared.identity.borrow();
            if !identity.is_some_and(|identity| minds_the_log(&view, identity)) {
                next = None;
                continue;
            }
            let first = match next {
                Some(first) => first,
                None => match self.begin().await {
                    Ok(covered) => covered + 1,
                    Err(error) => {
                        self.failed(&error);
                        continue;
                    }
                },
            };
            match self.round(first, view.n, &mut written).await {
                Ok(first) => next = Some(first),
                Err(error) => {
                    self.failed(&error);
                    // Also after a jump: what is missing then was archived by another.
                    next = None;
                }
            }
        }
    }

    fn failed(&self, error: &ArchiveError) {
        self.shared.metrics.archive_failures.inc();
        warn!(%error, "entries could not be archived, trying again");
    }

    /// How far the archive covers the log already.
    async fn begin(&self) -> Result<u64, ArchiveError> {
        let floor = self.shared.log.floor().await?;
        let covered = covered(&self.shared.store, floor.lsn).await?;
        self.covers(covered);
        Ok(covered)
    }

    fn covers(&self, n: u64) {
        self.shared.metrics.archived.set(gauge(n));
        self.shared.archived.send_if_modified(|archived| {
            let rises = n > *archived;
            *archived = n.max(*archived);
            rises
        });
    }

    /// Archives what is there from `first` up to at least `until`; answers the next n.
    async fn round(
        &self,
        mut first: u64,
        until: u64,
        written: &mut Instant,
    ) -> Result<u64, ArchiveError> {
        while first <= until {
            let (entries, ticks_only) = match self.recent.from(first) {
                Some(found) => found,
                None => (self.read_again(first).await?, false),
            };
            let Some(last) = entries.last().map(|followed| followed.lsn) else {
                break;
            };
            if ticks_only && written.elapsed() < TICKS_WAIT {
                break;
            }
            let chunk = Chunk {
                generation: last.generation,
                first,
                entries: entries
                    .into_iter()
                    .map(|followed| ByteVec::from(followed.bytes.to_vec()))
                    .collect(),
            };
            let path = paths::archive_chunk(last.generation, first, last.n);
            let bytes = encode(&chunk);
            debug!(
                first,
                last = last.n,
                bytes = bytes.len(),
                "archiving entries"
            );
            self.shared.store.put_if_absent(&path, bytes.into()).await?;
            step!(self.shared.runtime, "archive.written");
            self.shared.metrics.archive_objects.inc();
            *written = Instant::now();
            self.covers(last.n);
            first = last.n + 1;
        }
        Ok(first)
    }

    /// Entries that are not in memory any more, read from the log.
    async fn read_again(&self, first: u64) -> Result<Vec<Followed>, ArchiveError> {
        let after = Lsn::new(self.shared.log.generation(), first - 1);
        let mut cursor = self.shared.log.follow(after);
        // They were applied here, so they are there unless they were trimmed.
        match timeout(INTERVAL * 10, cursor.next_batch(1000)).await {
            Ok(Ok(mut entries)) => {
                let mut bytes = 0;
                let fit = entries.iter().take_while(|followed| {
                    bytes += followed.bytes.len() as u64;
                    bytes <= OBJECT_BYTES.0
                });
                let fit = fit.count().max(1);
                entries.truncate(fit);
                Ok(entries)
            }
            Ok(Err(FollowError::Trimmed { floor })) => {
                Err(ArchiveError::Trimmed { floor: floor.lsn })
            }
            Ok(Err(error)) => Err(ArchiveError::Follow(error)),
            Err(_) => Err(ArchiveError::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tarn_model::Timestamp;
    use tarn_model::decode;

    use super::*;

    fn chunk(first: u64, last: u64) -> Listed {
        let path = paths::archive_chunk(Generation::FIRST, first, last);
        Listed {
            path,
            size: 1,
            last_modified: Timestamp(0),
        }
    }

    fn entry(n: u64, bytes: usize) -> Followed {
        Followed {
            lsn: Lsn::new(Generation::FIRST, n),
            bytes: Bytes::from(vec![7; bytes]),
        }
    }

    #[test]
    fn overlapping_chunks_cover_and_a_hole_ends_the_cover() {
        assert_eq!(extend(0, &[]), 0);
        assert_eq!(
            extend(0, &[chunk(1, 4), chunk(3, 6), chunk(3, 5), chunk(7, 7)]),
            7
        );
        assert_eq!(extend(10, &[chunk(1, 4), chunk(8, 12), chunk(14, 20)]), 12);
    }

    #[test]
    fn recent_entries_are_bounded_in_bytes_and_know_ticks() {
        let recent = Recent::default();
        for n in 1..=40 {
            recent.push(entry(n, 1 << 20), n != 38);
        }
        assert!(recent.from(1).is_none(), "the oldest went");
        let (entries, ticks_only) = recent.from(39).expect("the newest stay");
        assert_eq!((entries.len(), ticks_only), (2, true));
        let (entries, ticks_only) = recent.from(30).expect("here");
        assert_eq!(
            (entries.len(), ticks_only),
            (8, true),
            "an object holds 8 MiB"
        );
        assert!(!recent.from(37).expect("here").1);
        assert_eq!(recent.from(41).map(|(entries, _)| entries.len()), Some(0));
    }

    #[test]
    fn a_chunk_reads_back() {
        let chunk = Chunk {
            generation: Generation::FIRST,
            first: 3,
            entries: vec![ByteVec::from(vec![1, 2]), ByteVec::from(vec![])],
        };
        assert_eq!(decode::<Chunk>(&encode(&chunk)), Ok(chunk));
    }
}
