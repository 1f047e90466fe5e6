//! A writer of joint proposals in every process: a record of a topic, the M of its table, a commit of a
//! second table that no topic has, and a group's offset, which are one thing. In every view of every
//! replica the four stand at the same place (I27), and what its proposer was told of a proposal is true of
//! its segment and of its second table (I28).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use tarn_kafka::{BatchBuilder, Compression};
use tarn_model::{
    ColumnType, Fate, Field, NodeId, Offset, PartitionId, SegmentId, TableUuid, TopicPartition,
};
use tarn_replica::{Found, Node, Part, View};
use tarn_state::commands::{
    CommitGroupOffsets, CommitTables, CreateTable, CreateTopic, GroupOffset, MaterializedStep,
    NewTable, TableCommit,
};
use tarn_state::{Command, Counters, PlainTable, Table, advice};
use tarn_tables::{Append, Catalog, Committer, Prepared};
use tarn_topics::{NewBatch, Writer};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::cluster::Cluster;

/// Its records are written here alone, one by each proposal.
const TOPIC: &str = "joint";
pub(crate) const GROUP: &str = "joint";
const PARTITION: PartitionId = PartitionId(0);
/// The table that no topic has.
const SECOND: TableUuid = TableUuid([2; 16]);

/// What proposers know, over all processes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joint {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Called not done.
    not_done: BTreeSet<SegmentId>,
    /// Pointers of the second table that may come, by how many records there are with each.
    seconds: BTreeMap<String, u64>,
}

impl Joint {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().expect("nobody panics while holding it"))
    }

    /// What a view has to show.
    pub(crate) fn check(&self, view: &View) -> Result<(), (&'static str, String)> {
        let Some(topic) = view.topic_named(TOPIC) else {
            return Ok(());
        };
        let at = TopicPartition::new(topic.id, PARTITION);
        let records = view
            .partitions
            .get(&at)
            .map_or(0, |partition| partition.high_watermark.0);
        let table = view.table_of(topic.id);
        let materialized = table.map_or(0, |table| table.materialized(PARTITION).0);
        let offset = view
            .groups
            .get(GROUP)
            .and_then(|group| group.offsets.get(&at))
            .map_or(0, |committed| committed.offset.cast_unsigned());
        let pointer = view.tables.get(&SECOND).map(|table| &table.pointer);
        self.with(|inner| {
            let second = match pointer {
                Some(Some(pointer)) => inner.seconds.get(pointer).copied(),
                Some(None) => Some(0),
                None => None,
            };
            if (materialized, offset, second) != (records, records, Some(records)) {
                let detail = format!(
                    "at {} there are {records} records, M is {materialized}, the group is at {offset}, and \
                     the second table at {second:?} with {pointer:?}",
                    view.lsn()
                );
                return Err(("I27", detail));
            }
            match inner.not_done.iter().find(|id| view.segments.contains_key(*id)) {
                Some(id) => Err((
                    "I28",
                    format!("{id} is there at {}, and was told not to be", view.lsn()),
                )),
                None => Ok(()),
            }
        })
    }
}

/// The commits of both tables, in one command.
struct Together<'a>([&'a Prepared; 2]);

impl Part for Together<'_> {
    fn commands(&self) -> Vec<Command> {
        let tables = self.0.into_iter().map(commit_of).collect();
        vec![Command::CommitTables(CommitTables { tables })]
    }

    fn find<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Found> {
        self.0[1].find(view)
    }
}

fn commit_of(prepared: &Prepared) -> TableCommit {
    let mut commands = prepared.commands().into_iter();
    match (commands.next(), commands.next()) {
        (Some(Command::CommitTables(CommitTables { mut tables })), None) if tables.len() == 1 => {
            tables.remove(0)
        }
        other => panic!("the commit of a table is {other:?}"),
    }
}

/// The group's offset behind one more record.
struct Reached {
    at: TopicPartition,
    node: NodeId,
    offset: Offset,
    seen: u64,
}

impl Part for Reached {
    fn commands(&self) -> Vec<Command> {
        vec![Command::CommitGroupOffsets(CommitGroupOffsets {
            group: GROUP.to_owned(),
            node: self.node,
            generation: -1,
            member: String::new(),
            instance: None,
            offsets: vec![GroupOffset {
                at: self.at,
                offset: self.offset.0.cast_signed(),
                leader_epoch: -1,
                metadata: String::new(),
            }],
            seen: self.seen,
        })]
    }

    fn find<'a>(&'a self, _: &'a View) -> BoxFuture<'a, Found> {
        // Others may have gone further since.
        Box::pin(ready(Found::Untold))
    }
}

/// Proposes for as long as the process lives, whenever it is the group's coordinator.
pub(crate) async fn run(cluster: Cluster, node: Node, catalog: Catalog, writer: Writer) {
    let committer = Committer::new(&node, &catalog);
    loop {
        sleep(node.runtime.random().jitter(Duration::from_millis(900))).await;
        let view = node.metastore.view();
        let Some(topic) = view.topic_named(TOPIC) else {
            create(&node).await;
            continue;
        };
        if !advice::is_coordinator(&view, GROUP, node.metastore.node()) {
            continue;
        }
        let at = TopicPartition::new(topic.id, PARTITION);
        if let Err(error) = propose(&cluster, &node, &committer, &writer, &view, at).await {
            debug!(error, "no joint proposal");
        }
    }
}

/// The topic and the second table, at once.
async fn create(node: &Node) {
    let random = node.runtime.random();
    let topic = CreateTopic {
        id: random.topic_id(),
        name: TOPIC.to_owned(),
        partitions: 1,
        configs: BTreeMap::new(),
        table: random.table_uuid(),
    };
    // The view tells what came of it.
    let deadline = Instant::now() + Duration::from_secs(5);
    let second = CreateTable {
        uuid: SECOND,
        namespace: "sim".to_owned(),
        name: "second".to_owned(),
        columns: vec![Field::new("n", ColumnType::Long)],
        kind: NewTable::Plain(PlainTable {
            location: None,
            properties: BTreeMap::new(),
        }),
    };
    let commands = vec![Command::CreateTopic(topic), Command::CreateTable(second)];
    drop(node.metastore.propose(commands, deadline).await);
}

async fn propose(
    cluster: &Cluster,
    node: &Node,
    committer: &Committer,
    writer: &Writer,
    view: &View,
    at: TopicPartition,
) -> Result<(), String> {
    let table = view.table_of(at.topic).ok_or("no table")?;
    let from = table.materialized(PARTITION);
    let mut builder = BatchBuilder::new(Compression::None);
    let pushed = builder.push(view.cluster_time.0, None, Some(b"joint"), &[]);
    pushed.map_err(|error| error.to_string())?;
    let batch = NewBatch {
        topic: at.topic,
        partition: at.partition,
        batch: builder.build().map_err(|error| error.to_string())?,
    };
    let staged = writer.stage(vec![batch]).await;
    let staged = staged.map_err(|error| error.to_string())?;
    let steps = vec![MaterializedStep {
        partition: PARTITION,
        from,
        to: from.advance(1),
        counted: Counters {
            undecodable: 1,
            ..Counters::default()
        },
    }];
    let prepared = prepare(committer, view, table, steps).await?;
    let table = view.tables.get(&SECOND).ok_or("no second table")?;
    let second = prepare(committer, view, table, Vec::new()).await?;
    let pointer = commit_of(&second).pointer;
    let joint = &cluster.joint;
    joint.with(|inner| inner.seconds.insert(pointer.clone(), from.0 + 1));
    let reached = Reached {
        at,
        node: node.metastore.node(),
        offset: from.advance(1),
        seen: view.n,
    };
    let within = Duration::from_secs(1 + node.runtime.random().below(10));
    let together = Together([&prepared, &second]);
    let as_one: [&dyn Part; 3] = [&staged, &together, &reached];
    let apart: [&dyn Part; 4] = [&staged, &prepared, &reached, &second];
    let parts: &[&dyn Part] = if node.runtime.random().happens(500) {
        &as_one
    } else {
        &apart
    };
    match node.metastore.commit(parts, Instant::now() + within).await {
        Ok(landed) => {
            cluster.history.joined();
            if let Err((invariant, detail)) = joint.check(&landed.view) {
                cluster.history.violated(invariant, detail);
            }
            let segment = staged.segment();
            if let Some(Err(error)) = staged.settle(0, &landed).first() {
                let detail = format!("{segment} landed, and its record: {error}");
                cluster.history.violated("I28", detail);
            }
            prepared.finish(Arc::clone(&landed.view));
            second.finish(landed.view);
            Ok(())
        }
        Err(error) => {
            if error.fate() == Fate::NotDone {
                joint.with(|inner| {
                    inner.not_done.insert(staged.segment());
                    inner.seconds.remove(&pointer);
                });
            }
            Err(error.to_string())
        }
    }
}

/// A commit without rows to this table.
async fn prepare(
    committer: &Committer,
    view: &View,
    table: &Arc<Table>,
    steps: Vec<MaterializedStep>,
) -> Result<Prepared, String> {
    let loaded = committer.catalog().load(table).await;
    let append = Append {
        table: Arc::clone(table),
        loaded: loaded.map_err(|error| error.to_string())?,
        time: view.cluster_time,
        files: Vec::new(),
        steps,
        hidden: Vec::new(),
    };
    let prepared = committer.prepare(append).await;
    prepared.map_err(|error| error.to_string())
}
