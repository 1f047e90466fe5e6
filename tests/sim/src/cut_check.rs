//! I21, I22: at every cut, the rows of table and hot tier are the topic's records, each once; and
//! what the table counts is what it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{
    Array, BinaryArray, Int32Array, Int64Array, LargeBinaryArray, LargeStringArray, RecordBatch,
    StringArray,
};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tarn_hot::{Cut, HotTier, TableCut};
use tarn_kafka::records::Limits;
use tarn_model::{Lsn, Offset, OffsetRange, PartitionId, TopicId, TopicPartition};
use tarn_replica::{Node, View};
use tarn_tables::{Catalog, materialized_of};
use tarn_topics::{Reader, RecordItem};
use tokio::time::Instant;
use tracing::debug;

use crate::History;
use crate::cluster::{Cluster, ORDERS, TOPICS};
use crate::orders;
use crate::workload::now;

/// Rows by place; the values of the same place.
pub(crate) type Rows = BTreeMap<(i32, i64), Vec<String>>;

/// How long after everything healed a cut may still fail to be read.
const PATIENCE: Duration = Duration::from_secs(90);

/// Checks a cut every half second.
pub(crate) async fn run(cluster: Cluster, number: usize, node: Node, hot: HotTier) {
    let checker = Checker {
        reader: Reader::new(&node),
        catalog: Catalog::new(&node),
        node,
        hot,
        cluster,
    };
    let mut last: Option<Lsn> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
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
        for topic in TOPICS {
            match checker.check(topic, &cut).await {
                Ok(is_whole) => complete &= is_whole,
                Err(error) => {
                    complete = false;
                    // The store had a bad moment: not the cut's fault, and no answer either.
                    debug!(error, "a cut could not be read");
                    if now() > checker.cluster.plan.quiet_at() + PATIENCE {
                        history.violated(
                            "I8",
                            format!("{topic} cannot be read at {}: {error}", cut.lsn()),
                        );
                    }
                }
            }
        }
        if complete {
            history.complete(number, cut.lsn().n);
        }
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
    /// True if all of the topic is in its table.
    async fn check(&self, topic: &'static str, cut: &Cut) -> Result<bool, String> {
        let Some(table) = cut
            .view
            .topic_named(topic)
            .and_then(|topic| cut.table(topic.id))
        else {
            return Ok(false);
        };
        let schema = self.cluster.schema();
        let column = if topic == ORDERS {
            "v"
        } else {
            tarn_schema::VALUE
        };
        if topic == ORDERS && schema.is_none_or(|schema| !table.table.schemas.contains_key(&schema))
        {
            return Ok(false);
        }
        let decodes = |value: &str| match schema {
            Some(schema) if topic == ORDERS => orders::decoded(schema, value),
            _ => Some(value.to_owned()),
        };
        let records = records(&self.reader, &cut.view, table.topic()).await?;
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

        let mut cold = Rows::new();
        for batch in &self.cold(topic, &table).await? {
            collect(batch, column, &mut cold)?;
        }
        let history = &self.cluster.history;
        if let Err(detail) = counted(&table, &cold, |at| {
            records
                .get(&at)
                .is_some_and(|value| decodes(value).is_none())
        }) {
            history.violated("I21", format!("{topic} at {}: {detail}", cut.lsn()));
        }
        let below: usize = cold.values().map(Vec::len).sum();
        let mut rows = cold;
        let mut hot = self.hot.rows(&table);
        while let Some(batch) = hot.next().await {
            collect(
                &batch.map_err(|error| error.to_string())?,
                column,
                &mut rows,
            )?;
        }
        if let Some(difference) = first_difference(&rows, &expected) {
            let detail = format!(
                "{topic} at {} with {below} cold rows of {:?}: {difference}",
                cut.lsn(),
                table.partitions
            );
            history.violated("I22", detail);
        }
        history.checked_cut(rows.len() as u64);
        Ok(table
            .partitions
            .values()
            .all(|partition| partition.m == partition.h))
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
        let named = loaded
            .metadata()
            .snapshot_by_id(snapshot)
            .and_then(|named| materialized_of(named, cut.topic()));
        if named.as_ref() != Some(&cut.table.materialized) {
            let detail = format!(
                "{topic}: the state says {:?}, the table snapshot {named:?}",
                cut.table.materialized
            );
            self.cluster.history.violated("I21", detail);
        }
        // Files are read without `iceberg`: it takes `_partition` for its metadata column of this name.
        let scan = loaded
            .table()
            .scan()
            .snapshot_id(snapshot)
            .select_empty()
            .build()
            .map_err(text)?;
        let tasks: Vec<_> = scan
            .plan_files()
            .await
            .map_err(text)?
            .try_collect()
            .await
            .map_err(text)?;
        let mut batches = Vec::new();
        for task in tasks {
            let name = task
                .data_file_path
                .strip_prefix(self.node.store.base_url())
                .unwrap_or(&task.data_file_path);
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

/// I21: below M, offsets = rows + undecodable + deleted, and each count is true.
fn counted(cut: &TableCut, cold: &Rows, is_bad: impl Fn((i32, i64)) -> bool) -> Result<(), String> {
    for partition in cut.partitions.keys() {
        let m = cut.table.materialized(*partition);
        let counters = cut
            .table
            .counters
            .get(partition)
            .copied()
            .unwrap_or_default();
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

fn first_difference(rows: &Rows, expected: &Rows) -> Option<String> {
    if rows == expected {
        return None;
    }
    expected
        .iter()
        .find(|(place, values)| rows.get(*place) != Some(*values))
        .map(|(place, values)| {
            format!(
                "{place:?} should be {values:?} and is {:?}",
                rows.get(place)
            )
        })
        .or_else(|| {
            rows.iter()
                .find(|(place, _)| !expected.contains_key(*place))
                .map(|row| format!("{row:?} is too much"))
        })
}

fn collect(batch: &RecordBatch, column: &str, rows: &mut Rows) -> Result<(), String> {
    let find = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or_else(|| format!("no column {name}"))
    };
    let partitions = find(tarn_schema::PARTITION)?
        .as_any()
        .downcast_ref::<Int32Array>()
        .ok_or("_partition")?;
    let offsets = find(tarn_schema::OFFSET)?
        .as_any()
        .downcast_ref::<Int64Array>()
        .ok_or("_offset")?;
    let values = find(column)?;
    for row in 0..batch.num_rows() {
        let bytes = bytes_at(values.as_ref(), row)
            .ok_or_else(|| format!("{column} is {}", values.data_type()))?;
        let value = String::from_utf8_lossy(bytes).into_owned();
        rows.entry((partitions.value(row), offsets.value(row)))
            .or_default()
            .push(value);
    }
    Ok(())
}

fn bytes_at(values: &dyn Array, row: usize) -> Option<&[u8]> {
    let any = values.as_any();
    if let Some(values) = any.downcast_ref::<BinaryArray>() {
        return Some(values.value(row));
    }
    if let Some(values) = any.downcast_ref::<LargeBinaryArray>() {
        return Some(values.value(row));
    }
    if let Some(values) = any.downcast_ref::<StringArray>() {
        return Some(values.value(row).as_bytes());
    }
    any.downcast_ref::<LargeStringArray>()
        .map(|values| values.value(row).as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_a_doubled_and_a_foreign_row_are_found() {
        let rows = |places: &[(i64, &[&str])]| -> Rows {
            places
                .iter()
                .map(|(at, values)| {
                    (
                        (0, *at),
                        values.iter().map(|value| (*value).to_owned()).collect(),
                    )
                })
                .collect()
        };
        let expected = rows(&[(0, &["a"]), (1, &["b"])]);
        assert_eq!(first_difference(&expected, &expected), None);
        for forged in [
            rows(&[(0, &["a"])]),
            rows(&[(0, &["a"]), (1, &["b", "b"])]),
            rows(&[(0, &["a"]), (1, &["c"])]),
        ] {
            assert!(first_difference(&forged, &expected).is_some(), "{forged:?}");
        }
        let foreign = rows(&[(0, &["a"]), (1, &["b"]), (2, &["c"])]);
        assert!(
            first_difference(&foreign, &expected).is_some_and(|text| text.contains("too much"))
        );
    }
}
