//! I21, I22: at every cut, the rows of table and hot tier are the topic's records, each once; and
//! what the table counts is what it holds. I23: a cut that is held shows the same rows later, whatever
//! was committed, materialized, evicted, snapshotted and trimmed meanwhile; and when its objects are gone
//! it says so.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tarn_hot::{Cut, HotTier, TableCut};
use tarn_kafka::records::Limits;
use tarn_model::{ByteSize, Lsn, Offset, OffsetRange, PartitionId, TopicId, TopicPartition};
use tarn_replica::{Node, View};
use tarn_state::TopicTable;
use tarn_tables::{Catalog, materialized_of};
use tarn_topics::{Reader, RecordItem};
use tokio::time::Instant;
use tracing::debug;

use crate::History;
use crate::cluster::{Cluster, ORDERS, TOPICS};
use crate::orders;
use crate::rows::{Halves, Rows, collect, first_difference};
use crate::workload::now;

/// How long after everything healed a cut may still fail to be read.
const PATIENCE: Duration = Duration::from_secs(90);

/// Cuts that one process holds at a time, as many as queries that take long.
const HELD_MAX: usize = 4;
/// How long a cut is held at most.
const HELD_MILLIS: u64 = 20_000;

/// Checks a cut every half second, and now and then holds one.
pub(crate) async fn run(cluster: Cluster, number: usize, node: Node, hot: HotTier) {
    let checker = Checker {
        reader: Reader::new(&node),
        catalog: Catalog::new(&node, ByteSize::kib(64)),
        node,
        hot,
        cluster,
    };
    let mut last: Option<Lsn> = None;
    let mut held: Vec<Held> = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if checker.cluster.are_objects_gone() {
            for held in &held {
                checker.says_what_is_gone(held).await;
            }
            checker.cluster.history.missed(number);
            return;
        }
        held = checker.read_again(held).await;
        // A log that does not answer gives no cut; the next time it may.
        let Ok(view) = checker
            .node
            .metastore
            .barrier(Instant::now() + Duration::from_secs(5))
            .await
        else {
            continue;
        };
        let cut = Cut::at(view);
        let history = &checker.cluster.history;
        if last.is_some_and(|last| cut.lsn() < last) {
            history.violated(
                "I4",
                format!("the view went back from {last:?} to {}", cut.lsn()),
            );
        }
        last = Some(cut.lsn());
        let mut complete = true;
        let mut shown = BTreeMap::new();
        for topic in TOPICS {
            match checker.check(topic, &cut).await {
                Ok(Some((rows, is_whole))) => {
                    complete &= is_whole;
                    shown.insert(topic, rows);
                }
                Ok(None) => complete = false,
                Err(error) => {
                    complete = false;
                    checker.unreadable(topic, &cut, &error);
                }
            }
        }
        if complete {
            history.complete(number, cut.lsn().n);
        }
        let random = checker.node.runtime.random();
        if held.len() < HELD_MAX && !shown.is_empty() && random.happens(400) {
            let millis = random.below(HELD_MILLIS);
            let until = Instant::now() + Duration::from_millis(millis);
            held.push(Held { until, cut, shown });
        }
    }
}

/// A cut of a query that takes long, and what it has shown.
struct Held {
    until: Instant,
    cut: Cut,
    shown: BTreeMap<&'static str, Halves>,
}

impl Held {
    /// The topics that it has shown, and where to read them again.
    fn tables(&self) -> impl Iterator<Item = (&'static str, TableCut, &Halves)> {
        self.shown.iter().map(|(topic, shown)| {
            let id = self.cut.view.topic_named(topic).expect("it was there").id;
            (*topic, self.cut.table_of(id).expect("it was there"), shown)
        })
    }
}

struct Checker {
    node: Node,
    hot: HotTier,
    catalog: Catalog,
    reader: Reader,
    cluster: Cluster,
}

impl Checker {
    /// The rows of the topic at the cut, and whether all of them are in its table. None if there is no
    /// table yet.
    async fn check(
        &self,
        topic: &'static str,
        cut: &Cut,
    ) -> Result<Option<(Halves, bool)>, String> {
        let Some(table) = cut
            .view
            .topic_named(topic)
            .and_then(|topic| cut.table_of(topic.id))
        else {
            return Ok(None);
        };
        let table = self.sent(topic, table);
        let schema = self.cluster.schema();
        let is_known = |schema| of_topic(&table).schemas.contains_key(&schema);
        if topic == ORDERS && !schema.is_some_and(is_known) {
            return Ok(None);
        }
        let decodes = |value: &str| match schema {
            Some(schema) if topic == ORDERS => orders::decoded(schema, value),
            _ => Some(value.to_owned()),
        };
        let records = records(&self.reader, &cut.view, of_topic(&table).topic).await?;
        for ((partition, offset), value) in &records {
            let offset = u64::try_from(*offset).expect("offsets are not negative");
            self.cluster
                .history
                .saw((topic, *partition, offset), value, "a cut");
        }
        let expected: Rows = records
            .iter()
            .filter_map(|(at, value)| Some((*at, vec![decodes(value)?])))
            .collect();

        let shown = Halves {
            cold: self.cold_rows(topic, &table).await?,
            hot: self.hot_rows(topic, &table).await?,
        };
        let history = &self.cluster.history;
        if let Err(detail) = counted(&table, &shown.cold, |at| {
            records
                .get(&at)
                .is_some_and(|value| decodes(value).is_none())
        }) {
            history.violated("I21", format!("{topic} at {}: {detail}", cut.lsn()));
        }
        let rows = shown.both();
        if let Some(difference) = first_difference(&rows, &expected) {
            let below: usize = shown.cold.values().map(Vec::len).sum();
            let detail = format!(
                "{topic} at {} with {below} cold rows of {:?}: {difference}",
                cut.lsn(),
                table.partitions
            );
            history.violated("I22", detail);
        }
        history.checked_cut(rows.len() as u64);
        let is_whole = table
            .partitions
            .values()
            .all(|partition| partition.m == partition.h);
        Ok(Some((shown, is_whole)))
    }

    /// The cut as another process gets it: with nothing behind it but its bytes. It is the same, or breaks I22.
    fn sent(&self, topic: &str, cut: TableCut) -> TableCut {
        let why = match TableCut::decode(&cut.encode()) {
            Ok(sent) if sent == cut => return sent,
            Ok(sent) => format!("its bytes are another cut, of {:?}", sent.partitions),
            Err(error) => format!("it cannot be read from its bytes: {error}"),
        };
        let detail = format!("{topic} at {} of {:?}: {why}", cut.lsn, cut.partitions);
        self.cluster.history.violated("I22", detail);
        cut
    }

    /// Reads the cuts again whose time has come; answers those that are still held. A cut that cannot be
    /// read shows nothing, and is tried again.
    async fn read_again(&self, held: Vec<Held>) -> Vec<Held> {
        let mut still = Vec::new();
        for held in held {
            if Instant::now() < held.until || !self.shows_the_same(&held).await {
                still.push(held);
            }
        }
        still
    }

    /// Could all of the cut be read? Any other rows than before break I23.
    async fn shows_the_same(&self, held: &Held) -> bool {
        let newest = self.node.metastore.view();
        let mut is_outlived = false;
        for (topic, table, shown) in held.tables() {
            let table = self.sent(topic, table);
            for (rows, shown) in self.halves_again(topic, &table, shown).await {
                match rows {
                    Ok(rows) => self.compare(topic, &held.cut, &rows, shown),
                    Err(error) => {
                        self.unreadable(topic, &held.cut, &error);
                        return false;
                    }
                }
            }
            is_outlived |= newest
                .table(of_topic(&table).topic)
                .is_some_and(|newest| newest.table_snapshot != table.table.table_snapshot);
        }
        self.cluster.history.held_cut(is_outlived);
        true
    }

    /// Both halves as they now read, beside what they showed.
    async fn halves_again<'h>(
        &self,
        topic: &str,
        table: &TableCut,
        shown: &'h Halves,
    ) -> [(Result<Rows, String>, &'h Rows); 2] {
        let cold = self.cold_rows(topic, table).await;
        let hot = self.hot_rows(topic, table).await;
        [(cold, &shown.cold), (hot, &shown.hot)]
    }

    fn compare(&self, topic: &str, cut: &Cut, rows: &Rows, shown: &Rows) {
        if let Some(difference) = first_difference(rows, shown) {
            let newest = self.node.metastore.view();
            let detail = format!(
                "{topic} at {} showed other rows once {} was applied: {difference}",
                cut.lsn(),
                newest.lsn()
            );
            self.cluster.history.violated("I23", detail);
        }
    }

    /// Segments and table files are gone: what is read of the cut is what it showed, or an error.
    async fn says_what_is_gone(&self, held: &Held) {
        for (topic, table, shown) in held.tables() {
            let table = self.sent(topic, table);
            for (rows, shown) in self.halves_again(topic, &table, shown).await {
                match rows {
                    Ok(rows) => self.compare(topic, &held.cut, &rows, shown),
                    Err(_) => self.cluster.history.said_gone(),
                }
            }
        }
    }

    /// The store had a bad moment: not the cut's fault, and no answer either. But not for ever: nothing
    /// that a cut refers to is collected.
    fn unreadable(&self, topic: &str, cut: &Cut, error: &str) {
        debug!(error, "a cut could not be read");
        if !self.cluster.are_objects_gone() && now() > self.cluster.plan.quiet_at() + PATIENCE {
            let detail = format!("{topic} cannot be read at {}: {error}", cut.lsn());
            self.cluster.history.violated("I8", detail);
        }
    }

    async fn cold_rows(&self, topic: &str, table: &TableCut) -> Result<Rows, String> {
        let mut rows = Rows::new();
        for batch in &self.cold(topic, table).await? {
            collect(topic, batch, &mut rows)?;
        }
        Ok(rows)
    }

    async fn hot_rows(&self, topic: &str, table: &TableCut) -> Result<Rows, String> {
        let mut rows = Rows::new();
        let mut hot = self.hot.rows(table);
        while let Some(batch) = hot.next().await {
            let batch = batch.map_err(|error| error.to_string())?;
            collect(topic, &batch, &mut rows)?;
        }
        Ok(rows)
    }

    /// What Iceberg holds in the cut's table snapshot, which names the same M as the state.
    async fn cold(&self, topic: &str, cut: &TableCut) -> Result<Vec<RecordBatch>, String> {
        let (Some(snapshot), Some(_)) = (cut.table.table_snapshot, &cut.table.pointer) else {
            return Ok(Vec::new());
        };
        let text = |error: iceberg::Error| error.to_string();
        let loaded = self
            .catalog
            .load(&cut.table)
            .await
            .map_err(|error| error.to_string())?;
        let named = materialized_of(loaded.metadata(), snapshot, of_topic(cut).topic);
        let materialized = &of_topic(cut).materialized;
        if named.as_ref() != Some(materialized) {
            let detail =
                format!("{topic}: the state says {materialized:?}, the table snapshot {named:?}");
            self.cluster.history.violated("I21", detail);
        }
        let plan = loaded.plan(snapshot, None).await.map_err(text)?;
        let mut batches = Vec::new();
        for file in &plan.files {
            let path = file.data_file().file_path();
            let name = path
                .strip_prefix(self.node.store.base_url())
                .unwrap_or(path);
            let path = tarn_store::Path::from(name.trim_start_matches('/'));
            let file = self
                .node
                .store
                .get(&path)
                .await
                .map_err(|error| error.to_string())?;
            let parquet = |error: parquet::errors::ParquetError| error.to_string();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .and_then(|builder| builder.build())
                .map_err(parquet)?;
            for batch in reader {
                batches.push(batch.map_err(|error| error.to_string())?);
            }
        }
        Ok(batches)
    }
}

/// What a topic holds in a view, from its segments.
pub(crate) async fn records(
    reader: &Reader,
    view: &View,
    topic: TopicId,
) -> Result<BTreeMap<(i32, i64), String>, String> {
    let mut records = BTreeMap::new();
    let limits = Limits::default();
    let count = view.topic(topic).map_or(0, |topic| topic.partitions);
    for partition in (0..count).map(PartitionId) {
        let Some(state) = view.partition(topic, partition) else {
            continue;
        };
        let place = TopicPartition::new(topic, partition);
        let end = state.last_stable();
        let mut next = state.log_start;
        while next < end {
            let range = OffsetRange::new(next, end);
            let read = reader
                .read_range(view, place, range, 1 << 20)
                .await
                .map_err(|error| error.to_string())?;
            for item in read
                .batches
                .iter()
                .flat_map(|batch| batch.records(range, &limits))
            {
                let RecordItem::Record(record) = item else {
                    continue;
                };
                let value = record
                    .value
                    .map(|value| String::from_utf8_lossy(&value).into_owned())
                    .unwrap_or_default();
                records.insert((partition.0, record.offset.to_wire()), value);
            }
            next = read.next_offset;
        }
    }
    Ok(records)
}

fn of_topic(cut: &TableCut) -> &TopicTable {
    cut.table.of_topic().expect("all that are looked at are")
}

/// I21: below M, offsets = rows + undecodable + deleted, and each count is true.
fn counted(cut: &TableCut, cold: &Rows, is_bad: impl Fn((i32, i64)) -> bool) -> Result<(), String> {
    for partition in cut.partitions.keys() {
        let m = cut.table.materialized(*partition);
        let counters = of_topic(cut).counters.get(partition).copied();
        let counters = counters.unwrap_or_default();
        let rows: usize = cold
            .range((partition.0, 0)..(partition.0, i64::MAX))
            .map(|(_, values)| values.len())
            .sum();
        let bad = (0..m.to_wire())
            .filter(|offset| is_bad((partition.0, *offset)))
            .count();
        let found = (rows as u64, bad as u64, 0);
        if (counters.rows, counters.undecodable, counters.deleted) != found
            || counters.sum().map(Offset) != Some(m)
        {
            return Err(format!(
                "{partition:?} below {m} holds (rows, undecodable, deleted) {found:?} and counts {counters:?}"
            ));
        }
    }
    Ok(())
}

/// I8: everything that the state refers to is there, with the length it is said to have.
pub(crate) fn references(cluster: &Cluster, history: &History) -> Result<(), String> {
    use object_store::ObjectStoreExt;
    let Some(view) = history.newest() else {
        return Err("no view was ever published".to_owned());
    };
    let objects = cluster.objects.objects();
    let head = |path: &tarn_store::Path| {
        futures::executor::block_on(objects.head(path))
            .map(|meta| meta.size)
            .map_err(|error| error.to_string())
    };
    for (id, segment) in view
        .segments
        .iter()
        .filter(|(_, segment)| segment.extents > 0)
    {
        let size = head(&tarn_store::paths::segment(*id))?;
        if size != segment.bytes {
            return Err(format!(
                "segment {id} has {size} bytes, the state says {}",
                segment.bytes
            ));
        }
    }
    for (at, partition) in &view.partitions {
        for extent in partition.extents.values() {
            let segment = view
                .segments
                .get(&extent.segment)
                .ok_or_else(|| format!("{at} refers to no segment: {extent:?}"))?;
            if extent.position.end() > segment.bytes {
                return Err(format!(
                    "{at}: {extent:?} lies beyond its segment of {} bytes",
                    segment.bytes
                ));
            }
        }
    }
    let floor = futures::executor::block_on(cluster.floor())?;
    if let Some(snapshot) = floor.snapshot {
        head(&tarn_store::Path::from(snapshot.path))?;
    } else if floor.lsn.n > 0 {
        return Err(format!("the floor {} names no snapshot", floor.lsn));
    }
    Ok(())
}
