//! What a newer version leaves in the way of this one, and what must become of everybody who comes by
//! (I12): they stop and say why, apply nothing beyond, and refuse to start again; what was acknowledged
//! before is there for whoever can read it.
//!
//! The newer version is a process of this one that opens a session as any other does, and whose next
//! bytes are then changed the way a newer version's would differ.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tarn_commit_log::{AppendError, CommitLog, FollowError, LogEntry, SnapshotRef};
use tarn_model::{Hash, Lsn, SessionId, encode};
use tarn_replica::{Node, View};
use tarn_runtime::{Runtime, SimulatedHost};
use tarn_state::commands::{AllocateProducerId, Closes, OpenSession};
use tarn_state::{Command, Entry, FeatureLevel, Proposal, State};
use tarn_store::{Options, Path, Store, paths};
use tarn_topics::Reader;
use tracing::info;

use crate::cluster::{Cluster, TOPICS};
use crate::history::Topics;
use crate::workload::now;
use crate::{Violation, cut_check};

/// How long everybody may take to stop for good.
const PATIENCE: Duration = Duration::from_secs(60);
/// Starts that each machine must refuse.
const REFUSALS: usize = 2;
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
    fn cause(self) -> String {
        let newest = FeatureLevel::NEWEST.0;
        match self {
            Newer::Command => format!("cannot be read by this version: malformed bytes: unknown enum variant {COMMAND}"),
            Newer::Level => format!("needs level {}, this version applies up to {newest}", newest + 1),
            Newer::Field => "cannot be read by this version: bytes are not canonical: they hold a field this version does not know".to_owned(),
            Newer::Snapshot => "the snapshot has format".to_owned(),
        }
    }
}

/// The place that nobody passes, once there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeadEnd {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    what: Option<Newer>,
    /// It, once it stands in the log.
    stands: Option<Obstacle>,
    /// Why processes stopped, by machine.
    stopped: Vec<(usize, String)>,
    /// Starts that were refused for this cause.
    refused: BTreeMap<usize, Vec<String>>,
    /// What stopped processes could still read of the topics, at the newest n.
    read: Option<(u64, Result<Topics, String>)>,
}

#[derive(Debug, Clone)]
struct Obstacle {
    /// The entry, or the floor.
    at: Lsn,
    /// What those who stop call it.
    name: String,
    since: Duration,
}

impl DeadEnd {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().expect("nobody panics while holding it"))
    }

    /// From now on processes are expected to stop.
    pub(crate) fn expect(&self, what: Newer) {
        self.with(|inner| inner.what = Some(what));
    }

    pub(crate) fn is_expected(&self) -> bool {
        self.with(|inner| inner.what.is_some())
    }

    fn stands(&self, at: Lsn, name: String, since: Duration) {
        info!(%at, name, "a newer version left something in the way");
        self.with(|inner| inner.stands = Some(Obstacle { at, name, since }));
    }

    /// A replica published a view at this n. An error if it must not have got there.
    pub(crate) fn passed(&self, n: u64) -> Result<(), String> {
        self.with(|inner| match (inner.what, &inner.stands) {
            // Who has applied the entries below a floor needs no snapshot.
            (None | Some(Newer::Snapshot), _) | (_, None) => Ok(()),
            (Some(what), Some(obstacle)) if n >= obstacle.at.n => Err(format!(
                "applied up to {n}, but {} holds a newer version's {what:?}",
                obstacle.at
            )),
            _ => Ok(()),
        })
    }

    /// A process stopped. False if none is expected to.
    pub(crate) fn stopped(&self, node: usize, reason: &str) -> bool {
        self.with(|inner| {
            inner.stopped.push((node, reason.to_owned()));
            inner.what.is_some()
        })
    }

    /// A process did not start.
    pub(crate) fn refused(&self, node: usize, reason: &str) {
        self.with(|inner| {
            if inner
                .what
                .is_some_and(|what| reason.contains(&what.cause()))
            {
                inner
                    .refused
                    .entry(node)
                    .or_default()
                    .push(reason.to_owned());
            }
        });
    }

    /// Reads what the topics hold, as far as anybody has applied the log, through a process that
    /// has stopped.
    pub(crate) async fn read_through(&self, cluster: &Cluster, node: &Node) {
        let mut view = node.metastore.view();
        if let Some(newest) = cluster.history.newest().filter(|newest| newest.n > view.n) {
            view = newest;
        }
        let read = read_topics(&Reader::new(node), &view).await;
        self.with(|inner| {
            if inner.read.as_ref().is_none_or(|(n, _)| *n <= view.n) {
                inner.read = Some((view.n, read));
            }
        });
    }

    /// Has every machine refused to start, more than once?
    pub(crate) fn is_final(&self, nodes: usize) -> bool {
        self.with(|inner| {
            let refused = |node| {
                inner
                    .refused
                    .get(&node)
                    .is_some_and(|refused| refused.len() >= REFUSALS)
            };
            (0..nodes).all(refused)
        })
    }

    /// Who goes on, or hangs, although all should have stopped by now.
    pub(crate) fn overdue(&self, elapsed: Duration) -> Option<String> {
        self.with(|inner| {
            let obstacle = inner.stands.as_ref()?;
            (elapsed > obstacle.since + PATIENCE).then(|| {
                format!(
                    "{PATIENCE:?} after {obstacle:?} not everybody has stopped for good; stopped: {:?}, refused: {:?}",
                    inner.stopped, inner.refused
                )
            })
        })
    }

    /// What processes said when they stopped or refused to start.
    pub(crate) fn stops(&self) -> Vec<String> {
        self.with(|inner| {
            let stopped = inner.stopped.iter().map(|(_, reason)| reason);
            stopped
                .chain(inner.refused.values().flatten())
                .cloned()
                .collect()
        })
    }
}

async fn read_topics(reader: &Reader, view: &View) -> Result<Topics, String> {
    let mut topics = Topics::new();
    for name in TOPICS {
        let Some(topic) = view.topic_named(name) else {
            continue;
        };
        for partition in 0..topic.partitions {
            topics.insert((name, partition), Vec::new());
        }
        for ((partition, offset), value) in cut_check::records(reader, view, topic.id).await? {
            let offset = u64::try_from(offset).expect("offsets are not negative");
            topics
                .entry((name, partition))
                .or_default()
                .push((offset, value));
        }
    }
    Ok(topics)
}

/// When everybody has stopped: did they say why, is nothing lost, is what they left whole?
pub(crate) async fn judge(cluster: &Cluster) -> Result<(), Violation> {
    let violation = |detail: String| Violation {
        invariant: "I12",
        detail,
    };
    let (what, stands, read) = cluster
        .dead_end
        .with(|inner| (inner.what, inner.stands.clone(), inner.read.take()));
    let (Some(what), Some(Obstacle { at, name, .. })) = (what, stands) else {
        return Err(violation("nothing stands in the way".to_owned()));
    };
    for said in cluster.dead_end.stops() {
        if !said.contains(&what.cause()) || !said.contains(&name) {
            return Err(violation(format!(
                "{name} is a newer version's {what:?}, but a process said {said:?}"
            )));
        }
    }
    let (n, topics) =
        read.ok_or_else(|| violation("nobody stopped, all were killed".to_owned()))?;
    let topics = topics.map_err(|error| {
        violation(format!(
            "a process that stopped could not read the topics at {n}: {error}"
        ))
    })?;
    cluster.history.check(&topics)?;
    let newest = cluster
        .history
        .newest()
        .ok_or_else(|| violation("there is no view".to_owned()))?;
    if what != Newer::Snapshot && newest.n + 1 != at.n {
        return Err(violation(format!(
            "what stands before {at} was applied up to {} only",
            newest.lsn()
        )));
    }
    let found = fold(cluster, what, &newest).await.map_err(violation)?;
    if found != *newest {
        return Err(violation(format!(
            "what the log holds up to {} is another state than was applied",
            newest.lsn()
        )));
    }
    Ok(())
}

/// The state as whoever could read everything would find it, as far as anybody here got.
async fn fold(cluster: &Cluster, what: Newer, newest: &View) -> Result<State, String> {
    let (log, store, _) = open(cluster, 0xf01d).await?;
    let floor = log.floor().await.map_err(text)?;
    let mut state = match floor.snapshot {
        None => State::new(newest.cluster),
        Some(snapshot) => {
            let mut bytes = store
                .get(&Path::from(snapshot.path))
                .await
                .map_err(text)?
                .to_vec();
            if what == Newer::Snapshot {
                bytes = with_format(&bytes, -1);
            }
            State::from_snapshot(&bytes, newest.cluster).map_err(text)?
        }
    };
    let mut follower = log.follow(state.lsn());
    while state.n < newest.n {
        for followed in follower.next_batch(1).await.map_err(text)? {
            state.apply(followed.lsn, &followed.bytes).map_err(text)?;
        }
    }
    Ok(state)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A process's way to log and store, without a machine's gate.
async fn open(
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
            agent: None,
            level_max: FeatureLevel(FeatureLevel::NEWEST.0 + 1),
            clock_doubtful: false,
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
fn with_format(snapshot: &[u8], by: i16) -> Vec<u8> {
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

    use super::*;

    fn lsn(n: u64) -> Lsn {
        Lsn::new(Generation::FIRST, n)
    }

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
            let applied = state.clone().apply(lsn(1), bytes);
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
            .map_err(text)
            .err();
        assert!(said.is_some_and(|said| said.contains(&Newer::Snapshot.cause())));
        assert_eq!(with_format(&newer, -1), state.to_snapshot());
    }

    #[test]
    fn who_passes_hangs_or_says_something_else_is_found() {
        let dead_end = DeadEnd::default();
        assert!(!dead_end.stopped(0, "nothing is in the way"));
        dead_end.expect(Newer::Command);
        assert_eq!(
            dead_end.passed(9),
            Ok(()),
            "it is not known where it stands"
        );
        dead_end.stands(lsn(9), "entry 1-9 ".to_owned(), Duration::ZERO);
        assert_eq!(dead_end.passed(8), Ok(()));
        assert!(dead_end.passed(9).is_err());

        let cause = format!("entry 1-9 {}", Newer::Command.cause());
        for _ in 0..REFUSALS {
            assert!(!dead_end.is_final(2));
            dead_end.refused(0, &cause);
            dead_end.refused(1, "the store does not answer");
        }
        assert!(dead_end.is_final(1) && !dead_end.is_final(2));
        assert!(dead_end.overdue(PATIENCE).is_none());
        assert!(dead_end.overdue(PATIENCE * 2).is_some());
    }
}
