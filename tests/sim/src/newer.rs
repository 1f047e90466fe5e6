//! What a newer version leaves in the way of this one (I12): everybody who comes by must stop and say
//! why, apply nothing beyond, and refuse to start again; see `dead_end.rs`.
//!
//! The newer version is a process of this one that opens a session as any other does, and whose next
//! bytes are then changed the way a newer version's would differ.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tarn_commit_log::{AppendError, CommitLog, FollowError, LogEntry, SnapshotRef};
use tarn_model::{Hash, Lsn, SessionId, encode};
use tarn_replica::View;
use tarn_runtime::{Runtime, SimulatedHost};
use tarn_state::commands::{AllocateProducerId, Closes, OpenSession};
use tarn_state::{Command, Entry, FeatureLevel, Proposal};
use tarn_store::{Options, Store, paths};

use crate::cluster::Cluster;
use crate::workload::now;

/// A command that no version has, far above those that there are.
const COMMAND: u16 = 9_999;
/// Before the next try of what a log or a store did not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// What a newer version leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newer {
    /// An entry with a command whose number nobody knows.
    Command,
    /// One that can be read, but whose level says that this version applies it otherwise.
    Level,
    /// One with a field that nobody knows.
    Field,
    /// A floor whose state snapshot has a newer format. It is met by who starts or was away.
    Snapshot,
}

impl Newer {
    /// What whoever stops has to say.
    pub(crate) fn cause(self) -> String {
        let newest = FeatureLevel::NEWEST.0;
        match self {
            Newer::Command => format!("cannot be read by this version: malformed bytes: unknown enum variant {COMMAND}"),
            Newer::Level => format!("needs level {}, this version applies up to {newest}", newest + 1),
            Newer::Field => "cannot be read by this version: bytes are not canonical: they hold a field this version does not know".to_owned(),
            Newer::Snapshot => "the snapshot has format".to_owned(),
        }
    }
}

/// A process's way to log and store, without a machine's gate.
pub(crate) async fn open(
    cluster: &Cluster,
    salt: u64,
) -> Result<(Arc<dyn CommitLog>, Store, Runtime), String> {
    let runtime = Runtime::simulated(&SimulatedHost::new(cluster.plan.seed ^ salt));
    let store = Store::new(
        Arc::new(cluster.objects.clone()),
        Options::default(),
        &runtime,
    );
    let log = cluster.open_log(&store, &runtime).await?;
    Ok((log, store, runtime))
}

/// The newer version's process.
pub(crate) async fn leave(cluster: Cluster, what: Newer) -> turmoil::Result {
    let (log, store, runtime) = open(&cluster, 0x2e3e4).await?;
    let writer = Writer {
        session: runtime.random().session_id(),
        cluster,
        log,
        runtime,
    };
    match what {
        Newer::Snapshot => writer.leave_snapshot(&store).await,
        Newer::Command | Newer::Level | Newer::Field => writer.leave_entry(what).await,
    }
}

struct Writer {
    cluster: Cluster,
    log: Arc<dyn CommitLog>,
    runtime: Runtime,
    session: SessionId,
}

impl Writer {
    /// The newest view that fits, as soon as anybody has published one.
    async fn view(&self, fits: impl Fn(&View) -> bool) -> View {
        loop {
            if let Some(view) = self.cluster.history.newest().filter(&fits) {
                return view;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The session's next entry at this view.
    fn entry(&self, view: &View, commands: Vec<Command>) -> Entry {
        let open = view.sessions.get(&self.session);
        Entry {
            cluster: view.cluster,
            generation: view.generation,
            session: self.session,
            sequence: open.map_or(0, |open| open.sequence) + 1,
            previous: open.map_or(Hash::ZERO, |open| open.entry_hash),
            applied: view.n,
            applied_hash: view.log_hash,
            wall: self.runtime.clock().wall(),
            monotonic: self.runtime.clock().monotonic(),
            votes: true,
            level: view.level,
            observed: None,
            proposals: vec![Proposal::of(commands)],
        }
    }

    /// Appends until the log says that it has it.
    async fn append(&self, entry: &Entry, bytes: &[u8]) -> turmoil::Result {
        let entry = LogEntry {
            session: entry.session,
            sequence: entry.sequence,
            applied_n: entry.applied,
            bytes: Bytes::copy_from_slice(bytes),
        };
        loop {
            match self.log.append(entry.clone()).await {
                // Trimmed: it stands below the floor, or somebody sees it yet.
                Ok(()) | Err(AppendError::Trimmed { .. }) => return Ok(()),
                Err(AppendError::Unknown { .. } | AppendError::NotSent { .. }) => {
                    tokio::time::sleep(PAUSE).await
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn leave_entry(&self, what: Newer) -> turmoil::Result {
        let open = OpenSession {
            closes: Closes::Own(Vec::new()),
            name: "newer".to_owned(),
            level_max: FeatureLevel(FeatureLevel::NEWEST.0 + 1),
            clock: tarn_state::ClockTrust::Trusted,
        };
        let view = self.view(|_| true).await;
        let opening = self.entry(&view, vec![Command::OpenSession(open)]);
        self.append(&opening, &encode(&opening)).await?;
        let view = self
            .view(|view| view.sessions.contains_key(&self.session))
            .await;

        let entry = self.entry(
            &view,
            vec![Command::AllocateProducerId(AllocateProducerId {})],
        );
        let bytes = newer_entry(&entry, what);
        self.append(&entry, &bytes).await?;
        let at = self.place_of(view.lsn(), &bytes).await?;
        self.cluster
            .dead_end
            .stands(at, format!("entry {at} "), now());
        // Its successor can be read by everybody: who skips the one before takes this one.
        let successor = Entry {
            sequence: entry.sequence + 1,
            previous: Hash(Sha256::digest(&bytes).into()),
            ..entry
        };
        self.append(&successor, &encode(&successor)).await
    }

    /// Where the log has these bytes.
    async fn place_of(&self, after: Lsn, bytes: &[u8]) -> Result<Lsn, FollowError> {
        let mut follower = self.log.follow(after);
        loop {
            match follower.next().await {
                Ok(followed) if followed.bytes == bytes => return Ok(followed.lsn),
                Ok(_) => {}
                Err(FollowError::Trimmed { floor }) => follower = self.log.follow(floor.lsn),
                Err(FollowError::Unavailable { .. }) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn leave_snapshot(&self, store: &Store) -> turmoil::Result {
        let view = self.view(|_| true).await;
        let bytes = with_format(&view.to_snapshot(), 1);
        let path = paths::snapshot(view.lsn(), self.runtime.random().u64());
        let snapshot = SnapshotRef {
            path: path.to_string(),
            hash: Hash(Sha256::digest(&bytes).into()),
        };
        store.put(&path, bytes.into()).await?;
        while self.log.trim(view.lsn(), snapshot.clone()).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        self.cluster
            .dead_end
            .stands(view.lsn(), path.to_string(), now());
        Ok(())
    }
}

/// The bytes of an entry as a newer version would have written it.
fn newer_entry(entry: &Entry, what: Newer) -> Vec<u8> {
    let mut bytes = encode(entry);
    match what {
        Newer::Command => {
            // The last thing in the bytes: an array of the command's number and its content.
            let command = encode(
                entry
                    .proposals
                    .last()
                    .and_then(|proposal| proposal.commands.last())
                    .expect("it has one"),
            );
            assert!(bytes.ends_with(&command) && command[1] == 21, "{command:?}");
            let number = bytes.len() - command.len() + 1;
            bytes.splice(number..=number, encode(&COMMAND));
            bytes
        }
        Newer::Field => {
            // An array of fields, fewer than 23: one more of them, at the end.
            assert!((0x80..0x97).contains(&bytes[0]), "{:x}", bytes[0]);
            bytes[0] += 1;
            bytes.extend(encode(&"what a newer version has to say"));
            bytes
        }
        Newer::Level => encode(&Entry {
            level: FeatureLevel(FeatureLevel::NEWEST.0 + 1),
            ..entry.clone()
        }),
        Newer::Snapshot => unreachable!("it is no entry"),
    }
}

/// A state snapshot whose format is another by so much: magic 8, format 2, …, SHA-256 of it all.
pub(crate) fn with_format(snapshot: &[u8], by: i16) -> Vec<u8> {
    let mut bytes = snapshot[..snapshot.len() - 32].to_vec();
    let format = u16::from_be_bytes([bytes[8], bytes[9]])
        .checked_add_signed(by)
        .expect("formats are few");
    bytes[8..10].copy_from_slice(&format.to_be_bytes());
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterId, Generation, Monotonic, Timestamp};
    use tarn_state::State;

    use super::*;

    #[test]
    fn what_is_left_is_refused_for_its_cause() {
        let state = State::new(ClusterId::from_u128(1));
        let entry = Entry {
            cluster: state.cluster,
            generation: Generation::FIRST,
            session: SessionId::from_u128(1),
            sequence: 1,
            previous: Hash::ZERO,
            applied: 0,
            applied_hash: Hash::ZERO,
            wall: Timestamp(0),
            monotonic: Monotonic(0),
            votes: true,
            level: state.level,
            observed: None,
            proposals: vec![Proposal::of(vec![Command::AllocateProducerId(
                AllocateProducerId {},
            )])],
        };
        let refusal = |bytes: &[u8]| {
            let applied = state.clone().apply(state.lsn().next(), bytes);
            applied.map_err(|error| error.to_string()).err()
        };
        assert_eq!(refusal(&encode(&entry)), None);
        for what in [Newer::Command, Newer::Level, Newer::Field] {
            let said = refusal(&newer_entry(&entry, what)).unwrap_or_default();
            assert!(
                said.contains(&what.cause()) && said.starts_with("entry 1-1 "),
                "{what:?}: {said:?}"
            );
        }
        let newer = with_format(&state.to_snapshot(), 1);
        let said = State::from_snapshot(&newer, state.cluster)
            .map_err(|error| error.to_string())
            .err();
        assert!(said.is_some_and(|said| said.contains(&Newer::Snapshot.cause())));
        assert_eq!(with_format(&newer, -1), state.to_snapshot());
    }
}
