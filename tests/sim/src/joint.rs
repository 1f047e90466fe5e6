//! A writer of joint proposals in every process: a record of a topic, the table's M, and a group's
//! offset, which are one thing. In every view of every replica the three stand at the same place (I27),
//! and what its proposer was told of a proposal is true of its segment (I28).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use tarn_kafka::{BatchBuilder, Compression};
use tarn_model::{Fate, NodeId, Offset, PartitionId, SegmentId, TopicPartition};
use tarn_replica::{Found, Node, Part, View};
use tarn_state::commands::{CommitGroupOffsets, CreateTopic, GroupOffset, MaterializedStep};
use tarn_state::{Command, Counters, advice};
use tarn_tables::{Append, Catalog, Committer};
use tarn_topics::{NewBatch, Writer};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::cluster::Cluster;

/// Its records are written here alone, one by each proposal.
const TOPIC: &str = "joint";
pub(crate) const GROUP: &str = "joint";
const PARTITION: PartitionId = PartitionId(0);

/// What proposers were told, over all processes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joint {
    not_done: Arc<Mutex<BTreeSet<SegmentId>>>,
}

impl Joint {
    fn tell_not_done(&self, segment: SegmentId) {
        let mut not_done = self
            .not_done
            .lock()
            .expect("nobody panics while holding it");
        not_done.insert(segment);
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
        if (materialized, offset) != (records, records) {
            let detail = format!(
                "at {} there are {records} records, M is {materialized} and the group is at {offset}",
                view.lsn()
            );
            return Err(("I27", detail));
        }
        let not_done = self
            .not_done
            .lock()
            .expect("nobody panics while holding it");
        match not_done.iter().find(|id| view.segments.contains_key(*id)) {
            Some(id) => Err((
                "I28",
                format!("{id} is there at {}, and was told not to be", view.lsn()),
            )),
            None => Ok(()),
        }
    }
}

/// The group's offset behind one more record.
struct Reached {
    at: TopicPartition,
    node: NodeId,
    offset: Offset,
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

async fn create(node: &Node) {
    let random = node.runtime.random();
    let create = CreateTopic {
        id: random.topic_id(),
        name: TOPIC.to_owned(),
        partitions: 1,
        configs: BTreeMap::new(),
        table: random.table_uuid(),
    };
    // The view tells what came of it.
    let deadline = Instant::now() + Duration::from_secs(5);
    let command = vec![Command::CreateTopic(create)];
    drop(node.metastore.propose(command, deadline).await);
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
    let loaded = committer.catalog().load(table).await;
    let append = Append {
        table: Arc::clone(table),
        loaded: loaded.map_err(|error| error.to_string())?,
        time: view.cluster_time,
        files: Vec::new(),
        steps: vec![MaterializedStep {
            partition: PARTITION,
            from,
            to: from.advance(1),
            counted: Counters {
                undecodable: 1,
                ..Counters::default()
            },
        }],
        hidden: Vec::new(),
    };
    let prepared = committer.prepare(append).await;
    let prepared = prepared.map_err(|error| error.to_string())?;
    let reached = Reached {
        at,
        node: node.metastore.node(),
        offset: from.advance(1),
    };
    let within = Duration::from_secs(1 + node.runtime.random().below(10));
    let parts: [&dyn Part; 3] = [&staged, &prepared, &reached];
    match node.metastore.commit(&parts, Instant::now() + within).await {
        Ok(landed) => {
            cluster.history.joined();
            if let Err((invariant, detail)) = cluster.joint.check(&landed.view) {
                cluster.history.violated(invariant, detail);
            }
            let segment = staged.segment();
            if let Some(Err(error)) = staged.settle(0, &landed).first() {
                let detail = format!("{segment} landed, and its record: {error}");
                cluster.history.violated("I28", detail);
            }
            prepared.finish(landed.view);
            Ok(())
        }
        Err(error) => {
            if error.fate() == Fate::NotDone {
                cluster.joint.tell_not_done(staged.segment());
            }
            Err(error.to_string())
        }
    }
}
