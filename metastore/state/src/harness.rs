//! A cluster for tests: builds the entries of one or more processes and applies them.

use std::collections::BTreeMap;

use tarn_model::{
    ClusterId, ClusterTime, Generation, Hash, Monotonic, NodeId, Offset, PartitionId,
    ProducerEpoch, ProducerId, SegmentId, SessionId, TableUuid, Timestamp, TopicId, TopicPartition,
    encode,
};

use crate::commands::{
    Advertise, Closes, CommitMode, CommitSegment, CommitTables, CreateTopic, MaterializedChange,
    MaterializedStep, NewBatch, NewExtent, OpenSession, ProducerStamp, TableCommit,
};
use crate::{
    Advertised, Applied, ApplyError, Command, Entry, FeatureLevel, Outcome, Position, Proposal,
    ProposalOutcome, Refusal, State, TopicTable,
};

/// Where the tests' wall clocks start.
pub(crate) const NOON: i64 = 1_700_000_000_000;

#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) state: State,
    /// The bytes of every entry so far.
    pub(crate) log: Vec<Vec<u8>>,
    pub(crate) wall: i64,
    pub(crate) monotonic: u64,
    segments: u128,
}

pub(crate) fn session(id: u128) -> SessionId {
    SessionId::from_u128(id)
}

pub(crate) fn topic(id: u128) -> TopicId {
    TopicId::from_u128(id)
}

pub(crate) fn at(id: u128, partition: i32) -> TopicPartition {
    TopicPartition::new(topic(id), PartitionId(partition))
}

/// Of the topic of this number.
pub(crate) fn table(id: u128) -> TableUuid {
    TableUuid::from_u128(id << 96)
}

/// A commit of one table that moves M.
pub(crate) fn commit(
    id: u128,
    expected: Option<&str>,
    pointer: &str,
    steps: Vec<MaterializedStep>,
) -> Command {
    Command::CommitTables(CommitTables::one(TableCommit {
        table: table(id),
        expected: expected.map(str::to_owned),
        pointer: pointer.into(),
        table_snapshot: Some(1),
        materialized: MaterializedChange::Move {
            steps,
            hidden: Vec::new(),
        },
        schema: None,
    }))
}

pub(crate) fn open_command(name: &str, closes: Closes) -> Command {
    Command::OpenSession(OpenSession {
        closes,
        name: name.into(),
        level_max: FeatureLevel::NEWEST,
        clock: crate::ClockTrust::Trusted,
    })
}

pub(crate) fn advertise(port: u16) -> Command {
    Command::Advertise(Advertise {
        at: Advertised {
            host: "localhost".into(),
            port,
            zone: None,
        },
    })
}

pub(crate) fn create_topic(id: u128, name: &str, partitions: i32) -> CreateTopic {
    CreateTopic {
        id: topic(id),
        name: name.into(),
        partitions,
        configs: BTreeMap::new(),
        table: table(id),
    }
}

/// A batch of so many records and ten bytes each.
pub(crate) fn batch(records: u32) -> NewBatch {
    NewBatch {
        bytes: records * 10,
        offsets: records,
        max_timestamp: Timestamp(NOON),
        producer: None,
    }
}

pub(crate) fn idempotent(records: u32, producer: i64, epoch: i16, first_sequence: i32) -> NewBatch {
    let id = ProducerId(producer);
    NewBatch {
        producer: Some(ProducerStamp {
            id,
            epoch: ProducerEpoch(epoch),
            first_sequence,
        }),
        ..batch(records)
    }
}

impl Cluster {
    /// Before the first entry.
    pub(crate) fn empty() -> Cluster {
        let state = State::new(ClusterId::from_u128(1));
        Cluster {
            state,
            log: Vec::new(),
            wall: NOON,
            monotonic: 1_000,
            segments: 0,
        }
    }

    /// With one session, number 1, on node 1.
    pub(crate) fn one() -> Cluster {
        let mut cluster = Cluster::empty();
        cluster.open(1);
        cluster
    }

    pub(crate) fn with_topic(name: &str, partitions: i32) -> Cluster {
        let mut cluster = Cluster::one();
        cluster.create_topic(7, name, partitions);
        cluster
    }

    /// The next entry of a session.
    pub(crate) fn entry(&self, id: u128, proposals: Vec<Vec<Command>>) -> Entry {
        let open = self.state.sessions.get(&session(id));
        Entry {
            cluster: self.state.cluster,
            generation: Generation::FIRST,
            session: session(id),
            sequence: open.map_or(1, |open| open.sequence + 1),
            previous: open.map_or(Hash::ZERO, |open| open.entry_hash),
            applied: self.state.n,
            applied_hash: self.state.log_hash,
            wall: Timestamp(self.wall),
            monotonic: Monotonic(self.monotonic),
            votes: true,
            level: self.state.level,
            observed: None,
            proposals: proposals.into_iter().map(Proposal::of).collect(),
        }
    }

    pub(crate) fn append(&mut self, entry: &Entry) -> Result<Applied, ApplyError> {
        let bytes = encode(entry);
        let applied = self.state.apply(self.state.lsn().next(), &bytes)?;
        self.log.push(bytes);
        Ok(applied)
    }

    /// An agent, named after its session.
    pub(crate) fn open(&mut self, id: u128) -> NodeId {
        self.open_named(id, &format!("node-{id}"), Closes::Own(Vec::new()))
    }

    /// The process of the session that is closed goes on under another.
    pub(crate) fn open_closing(&mut self, id: u128, closes: Closes) -> NodeId {
        let (Closes::Own(ids) | Closes::All(ids)) = &closes;
        let open = |id| self.state.sessions.get(id);
        let before = ids.iter().find_map(open).map(|it| it.name.clone());
        let name = before.unwrap_or_else(|| format!("node-{id}"));
        self.open_named(id, &name, closes)
    }

    pub(crate) fn open_named(&mut self, id: u128, name: &str, closes: Closes) -> NodeId {
        let node = self.open_only(id, name, closes);
        self.propose(id, vec![advertise(9092)]);
        node
    }

    /// Without an agent.
    pub(crate) fn open_only(&mut self, id: u128, name: &str, closes: Closes) -> NodeId {
        match self.try_open(id, name, closes) {
            Ok(node) => node,
            Err(refusal) => panic!("{refusal}"),
        }
    }

    pub(crate) fn try_open(
        &mut self,
        id: u128,
        name: &str,
        closes: Closes,
    ) -> Result<NodeId, Refusal> {
        let mut command = open_command(name, closes);
        if let Command::OpenSession(open) = &mut command {
            open.level_max = self.state.level;
        }
        let entry = self.entry(id, vec![vec![command]]);
        let applied = self.append(&entry).unwrap();
        match applied.outcomes.unwrap().remove(0) {
            ProposalOutcome::Applied(outcomes) => match outcomes.as_slice() {
                [Outcome::SessionOpened(node)] => Ok(*node),
                other => panic!("{other:?}"),
            },
            ProposalOutcome::Refused { refusal, .. } => Err(refusal),
        }
    }

    pub(crate) fn propose(&mut self, id: u128, commands: Vec<Command>) -> ProposalOutcome {
        let entry = self.entry(id, vec![commands]);
        let applied = self.append(&entry).unwrap();
        applied.outcomes.unwrap().remove(0)
    }

    /// One command of session 1.
    pub(crate) fn run(&mut self, command: Command) -> Result<Outcome, Refusal> {
        match self.propose(1, vec![command]) {
            ProposalOutcome::Applied(mut outcomes) => Ok(outcomes.remove(0)),
            ProposalOutcome::Refused { refusal, .. } => Err(refusal),
        }
    }

    pub(crate) fn create_topic(&mut self, id: u128, name: &str, partitions: i32) {
        self.run(Command::CreateTopic(create_topic(id, name, partitions)))
            .unwrap();
    }

    /// Both clocks go on.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.wall += i64::try_from(millis).unwrap();
        self.monotonic += millis;
    }

    /// So long passes while these sessions append every three seconds.
    pub(crate) fn live(&mut self, sessions: &[u128], millis: u64) {
        let mut left = millis;
        while left > 0 {
            let step = left.min(3_000);
            self.pass(step);
            left -= step;
            for id in sessions {
                let entry = self.entry(*id, Vec::new());
                self.append(&entry).unwrap().outcomes.unwrap();
            }
        }
    }

    /// A fresh id of an uploader whose view is as new as the clock.
    pub(crate) fn segment_id(&mut self) -> SegmentId {
        self.segments += 1;
        SegmentId::new(
            self.state.cluster_time.max(ClusterTime(self.wall)),
            self.segments << 48,
        )
    }

    /// A segment with these batches, laid out one extent after the other.
    pub(crate) fn segment(
        &mut self,
        mode: CommitMode,
        extents: Vec<(TopicPartition, Vec<NewBatch>)>,
    ) -> CommitSegment {
        let mut start = 8;
        let extents = extents
            .into_iter()
            .map(|(at, batches)| {
                let length = batches.iter().map(|batch| u64::from(batch.bytes)).sum();
                let position = Position { start, length };
                start += length;
                NewExtent {
                    topic: at.topic,
                    partition: at.partition,
                    position,
                    batches,
                }
            })
            .collect();
        CommitSegment {
            segment: self.segment_id(),
            mode,
            bytes: start + 100,
            extents,
        }
    }

    /// Commits plain batches to one partition.
    pub(crate) fn produce(&mut self, at: TopicPartition, batches: Vec<NewBatch>) -> Outcome {
        let command = self.segment(CommitMode::Each, vec![(at, batches)]);
        self.run(Command::CommitSegment(command)).unwrap()
    }

    /// What only the table of this topic has.
    pub(crate) fn of_topic(&self, id: u128) -> &TopicTable {
        let table = self.state.table_of(topic(id)).expect("a table");
        table.of_topic().expect("a topic's")
    }

    pub(crate) fn high_watermark(&self, at: TopicPartition) -> Offset {
        self.state.partitions.get(&at).unwrap().high_watermark
    }

    pub(crate) fn now(&self) -> ClusterTime {
        self.state.cluster_time
    }
}
