//! Tables written here and read back through Iceberg's own scan.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ::arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, new_null_array,
};
use ::arrow::array::{LargeBinaryArray, TimestampMicrosecondArray};
use ::arrow::datatypes::{DataType, Int64Type, Schema as ArrowSchema};
use futures::TryStreamExt;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::ManifestFile;
use tarn_model::{
    ByteSize, ClusterTime, ColumnType, Field, FieldId, Offset, PartitionId, TableUuid, TopicId,
};
use tarn_runtime::{Runtime, SimulatedHost};
use tarn_state::commands::MaterializedStep;
use tarn_state::{Counters, Table, TableKind, TopicTable};
use tarn_store::Store;

use crate::commit::append::{FOLD_COUNT, Produced, produce};
use crate::commit::{Standing, standing};
use crate::parquet_file::Limits;
use crate::{Append, Catalog, FileWriter, Loaded, ParquetError, ParquetFile, materialized_of};

fn write(
    loaded: &Loaded,
    base_url: &str,
    uuid: uuid::Uuid,
    batches: Vec<RecordBatch>,
) -> Result<Vec<ParquetFile>, ParquetError> {
    write_within(Limits::default(), loaded, base_url, uuid, batches)
}

/// All files of `batches`, which no more rows follow.
fn write_within(
    limits: Limits,
    loaded: &Loaded,
    base_url: &str,
    uuid: uuid::Uuid,
    batches: Vec<RecordBatch>,
) -> Result<Vec<ParquetFile>, ParquetError> {
    let mut writer = FileWriter::within(limits, loaded, base_url, uuid)?;
    let mut files = writer.add(batches)?;
    files.extend(writer.finish()?);
    Ok(files)
}

const DAY_MS: i64 = 86_400_000;
/// 2100-01-01, as in the simulator.
const EPOCH_MS: i64 = 4_102_444_800_000;

fn column(id: i32, name: &str, kind: ColumnType) -> Field {
    Field {
        id: FieldId(id),
        ..Field::new(name, kind)
    }
}

const TOPIC: TopicId = TopicId([7; 16]);

fn a_table(columns: Vec<Field>, typed: bool) -> Table {
    let mut of = TopicTable::new(TOPIC);
    of.typed = typed;
    of.with_value = !typed;
    let uuid = TableUuid::from_u128(0xfeed << 100 | 4);
    let mut table = Table::new(uuid, "events", "orders", TableKind::Topic(of));
    table.last_field_id = columns
        .iter()
        .map(|column| column.id.0)
        .max()
        .unwrap_or(100);
    table.columns = columns;
    table
}

fn of_topic(table: &mut Table) -> &mut TopicTable {
    match &mut table.kind {
        TableKind::Topic(of) => of,
        other => panic!("{other:?}"),
    }
}

/// A table in a store, with a state that only this test changes.
struct Fixture {
    runtime: Runtime,
    catalog: Catalog,
    table: Table,
    time: ClusterTime,
    /// The last commit.
    produced: Option<Produced>,
}

impl Fixture {
    fn new(table: Table) -> Fixture {
        let runtime = Runtime::real();
        let store = Store::memory(&runtime);
        Fixture::over(runtime, store, table)
    }

    fn over(runtime: Runtime, store: Store, table: Table) -> Fixture {
        Fixture {
            runtime,
            catalog: Catalog::over(&store, ByteSize::mib(8)),
            table,
            time: ClusterTime(EPOCH_MS),
            produced: None,
        }
    }

    async fn load(&self) -> Loaded {
        self.catalog
            .load(&self.table)
            .await
            .expect("the table loads")
    }

    /// Rows of partition 0 from M on; `event_ms` is each one's time of record.
    fn rows(&self, loaded: &Loaded, event_ms: &[i64], payload: &[(&str, ArrayRef)]) -> RecordBatch {
        let schema =
            schema_to_arrow_schema(loaded.metadata().current_schema()).expect("an Arrow schema");
        let from = self.table.materialized(PartitionId(0)).0;
        let count = event_ms.len();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for field in schema.fields() {
            let given = payload.iter().find(|(name, _)| name == field.name());
            columns.push(match (given, field.name().as_str()) {
                (Some((_, column)), _) => Arc::clone(column),
                (None, "_topic_partition") => Arc::new(Int32Array::from(vec![0; count])),
                (None, "_offset") => Arc::new(Int64Array::from_iter_values(
                    (0..count).map(|row| (from as usize + row) as i64),
                )),
                (None, "_lsn") => Arc::new(Int64Array::from(vec![1; count])),
                (None, "_timestamp" | "_event_time" | "_committed") => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(
                        event_ms.iter().map(|ms| ms * 1000),
                    )
                    .with_timezone("+00:00"),
                ),
                (None, "_value") => Arc::new(LargeBinaryArray::from_iter_values(
                    event_ms.iter().map(|ms| ms.to_string()),
                )),
                (None, _) => new_null_array(field.data_type(), count),
            });
        }
        let fields = schema.fields().iter().zip(&columns);
        let fields = fields.map(|(field, column)| {
            let field = field.as_ref().clone();
            field.with_data_type(column.data_type().clone())
        });
        let schema = ArrowSchema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns).expect("rows of the table")
    }

    async fn commit(&mut self, event_ms: &[i64], payload: &[(&str, ArrayRef)]) {
        let loaded = self.load().await;
        self.commit_to(loaded, event_ms, payload).await;
    }

    async fn commit_to(&mut self, loaded: Loaded, event_ms: &[i64], payload: &[(&str, ArrayRef)]) {
        let rows = self.rows(&loaded, event_ms, payload);
        let batches = if event_ms.is_empty() {
            vec![]
        } else {
            vec![rows]
        };
        let store = self.catalog.store().clone();
        let written = write(
            &loaded,
            store.base_url(),
            self.runtime.random().uuid(),
            batches,
        )
        .expect("rows become files");
        let mut files = Vec::new();
        for file in written {
            assert_eq!(file.file.file_size_in_bytes(), file.bytes.len() as u64);
            store
                .put_if_absent(&file.path, file.bytes)
                .await
                .expect("memory takes it");
            files.push(file.file);
        }
        let from = self.table.materialized(PartitionId(0));
        let rows = event_ms.len() as u64;
        let step = MaterializedStep {
            partition: PartitionId(0),
            from,
            to: from.advance(rows),
            counted: Counters {
                rows,
                ..Counters::default()
            },
        };
        let append = Append {
            table: Arc::new(self.table.clone()),
            loaded,
            time: self.time,
            files,
            steps: vec![step],
            hidden: Vec::new(),
        };
        let produced = produce(&self.catalog, self.runtime.random(), &append)
            .await
            .expect("a commit");
        self.keep(produced);
        let of = of_topic(&mut self.table);
        of.materialized.insert(PartitionId(0), step.to);
        of.counters.entry(PartitionId(0)).or_default().rows += rows;
    }

    /// What the log and the committer do with a commit.
    fn keep(&mut self, produced: Produced) {
        self.catalog
            .remember(
                &self.table,
                &produced.pointer,
                produced.metadata.clone(),
                produced.refs.clone(),
                produced.bytes,
            )
            .expect("metadata is kept");
        self.table.pointer = Some(produced.pointer.clone());
        self.table.table_snapshot = Some(produced.table_snapshot);
        self.produced = Some(produced);
    }

    async fn read(&self) -> Vec<RecordBatch> {
        let loaded = self.load().await;
        let scan = loaded.table().scan().build().expect("a scan");
        scan.to_arrow()
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("batches")
    }

    async fn offsets(&self) -> Vec<i64> {
        let mut offsets = Vec::new();
        for batch in self.read().await {
            let column = batch.column_by_name("_offset").expect("the offset column");
            offsets.extend(column.as_primitive::<Int64Type>().values().iter().copied());
        }
        offsets.sort_unstable();
        offsets
    }

    async fn manifests(&self) -> usize {
        self.manifest_files().await.len()
    }

    async fn manifest_files(&self) -> Vec<ManifestFile> {
        let loaded = self.load().await;
        let head = loaded
            .metadata()
            .current_snapshot()
            .expect("a snapshot")
            .clone();
        loaded
            .table()
            .manifest_list_reader(&head)
            .load()
            .await
            .expect("a list")
            .consume_entries()
            .into_iter()
            .collect()
    }
}

fn untyped() -> Table {
    a_table(vec![], false)
}

#[tokio::test]
async fn rows_of_two_commits_are_read_back_each_once() {
    let mut fixture = Fixture::new(untyped());
    assert_eq!(
        fixture.offsets().await,
        Vec::<i64>::new(),
        "a table without a file is empty"
    );
    fixture.commit(&[EPOCH_MS, EPOCH_MS + 1], &[]).await;
    fixture.commit(&[EPOCH_MS + 2], &[]).await;
    assert_eq!(fixture.offsets().await, [0, 1, 2]);

    let loaded = fixture.load().await;
    let head = loaded.metadata().current_snapshot().expect("a snapshot");
    let materialized =
        materialized_of(loaded.metadata(), head.snapshot_id(), TOPIC).expect("M is in the summary");
    assert_eq!(materialized, BTreeMap::from([(PartitionId(0), Offset(3))]));
    assert_eq!(
        materialized_of(loaded.metadata(), head.snapshot_id(), TopicId::from_u128(8)),
        None,
        "M of another topic is none of ours"
    );
    assert_eq!(head.summary().additional_properties["total-records"], "3");
    assert_eq!(loaded.metadata().uuid(), fixture.table.uuid.uuid());
    assert!(
        loaded
            .location()
            .starts_with("memory:///tables/events/orders__"),
        "{}",
        loaded.location()
    );
}

#[tokio::test]
async fn a_commit_without_rows_moves_m() {
    let mut fixture = Fixture::new(untyped());
    fixture.commit(&[], &[]).await;
    fixture.commit(&[EPOCH_MS], &[]).await;
    assert_eq!(fixture.offsets().await, [0]);
}

#[tokio::test]
async fn rows_lie_in_the_partition_of_their_day() {
    let mut fixture = Fixture::new(untyped());
    // Before 1970, at its first moment, far beyond any calendar, and today twice.
    let absurd = i64::MAX / 1000;
    fixture
        .commit(&[EPOCH_MS, -1, 0, absurd, EPOCH_MS + DAY_MS - 1], &[])
        .await;
    assert_eq!(fixture.offsets().await, [0, 1, 2, 3, 4]);
    let loaded = fixture.load().await;
    let tasks: Vec<_> = loaded
        .table()
        .scan()
        .build()
        .expect("a scan")
        .plan_files()
        .await
        .expect("a plan")
        .try_collect()
        .await
        .expect("tasks");
    let mut folders: Vec<String> = tasks
        .iter()
        .map(|task| {
            task.data_file_path
                .split('/')
                .find(|part| part.starts_with("event_date="))
                .expect("a folder")
        })
        .map(str::to_owned)
        .collect();
    folders.sort();
    assert_eq!(
        folders,
        [
            "event_date=106751991",
            "event_date=1969-12-31",
            "event_date=1970-01-01",
            "event_date=2100-01-01",
        ]
    );
}

#[tokio::test]
async fn a_column_is_there_as_soon_as_the_state_has_it() {
    let mut fixture = Fixture::new(untyped());
    fixture.commit(&[EPOCH_MS], &[]).await;
    fixture
        .table
        .columns
        .push(column(100, "amount", ColumnType::Long));
    fixture
        .table
        .columns
        .push(column(101, "event_date", ColumnType::Date));
    fixture.table.schema_id += 1;
    of_topic(&mut fixture.table).typed = true;
    let loaded = fixture.load().await;
    assert!(
        loaded
            .metadata()
            .current_schema()
            .field_by_name("amount")
            .is_some()
    );
    assert_eq!(
        loaded.metadata().default_partition_spec().fields()[0].name,
        "event_date_1"
    );

    let amount: ArrayRef = Arc::new(Int64Array::from(vec![42]));
    fixture.commit(&[EPOCH_MS + 1], &[("amount", amount)]).await;
    let mut amounts = Vec::new();
    for batch in fixture.read().await {
        let column = batch.column_by_name("amount").expect("the new column");
        amounts.extend(column.as_primitive::<Int64Type>().iter());
    }
    amounts.sort();
    assert_eq!(amounts, [None, Some(42)]);
    let on_file = fixture
        .catalog
        .read(
            &fixture.table,
            fixture.table.pointer.as_deref().expect("a pointer"),
        )
        .await;
    let on_file = on_file.expect("the file is read");
    assert!(
        on_file
            .metadata()
            .current_schema()
            .field_by_name("amount")
            .is_some()
    );
    assert_eq!(
        on_file
            .metadata()
            .current_schema()
            .field_by_name("amount")
            .expect("there")
            .id,
        100
    );
}

#[tokio::test]
async fn small_manifests_are_folded_and_no_row_is_lost() {
    let mut fixture = Fixture::new(untyped());
    let mut most = 0;
    let commits = 3 * FOLD_COUNT as i64;
    for n in 0..commits {
        fixture.commit(&[EPOCH_MS + n], &[]).await;
        most = most.max(fixture.manifests().await);
    }
    // Those of the first tier, and one for each of it that was folded.
    assert!(most <= FOLD_COUNT + 3, "{most} manifests");
    assert_eq!(fixture.offsets().await, (0..commits).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_clock_that_went_back_does_not_stop_commits() {
    let mut fixture = Fixture::new(untyped());
    fixture.commit(&[EPOCH_MS], &[]).await;
    fixture.time = ClusterTime(EPOCH_MS - 10 * DAY_MS);
    fixture.commit(&[EPOCH_MS], &[]).await;
    let loaded = fixture.load().await;
    assert_eq!(loaded.metadata().last_updated_ms(), EPOCH_MS + 1);
}

/// A column of each type, nested ones too, null and not.
#[tokio::test]
async fn every_column_type_is_written_and_read() {
    let kinds = [
        ColumnType::Boolean,
        ColumnType::Int,
        ColumnType::Long,
        ColumnType::Float,
        ColumnType::Double,
        ColumnType::Decimal {
            precision: 9,
            scale: 2,
        },
        ColumnType::Decimal {
            precision: 18,
            scale: 0,
        },
        ColumnType::Decimal {
            precision: 38,
            scale: 10,
        },
        ColumnType::Date,
        ColumnType::Time,
        ColumnType::Timestamp,
        ColumnType::TimestampTz,
        ColumnType::String,
        ColumnType::Uuid,
        ColumnType::Fixed(5),
        ColumnType::Fixed(200),
        ColumnType::Binary,
    ];
    let mut columns = Vec::new();
    let mut id = 100;
    let mut next = |name: &str, kind: &ColumnType| {
        id += 1;
        column(id, name, kind.clone())
    };
    for (n, kind) in kinds.iter().enumerate() {
        columns.push(next(&format!("c{n}"), kind));
        columns.push(next(&format!("s{n}"), &ColumnType::Struct(vec![])));
        columns.push(next(&format!("l{n}"), &ColumnType::Boolean));
        columns.push(next(&format!("m{n}"), &ColumnType::Boolean));
        let inner = vec![next("inner", kind)];
        let element = next("element", kind);
        let (key, value) = (
            next("key", &ColumnType::String).required(),
            next("value", kind),
        );
        let at = columns.len();
        columns[at - 3].kind = ColumnType::Struct(inner);
        columns[at - 2].kind = ColumnType::List(Box::new(element));
        columns[at - 1].kind = ColumnType::Map(Box::new(key), Box::new(value));
    }
    let mut fixture = Fixture::new(a_table(columns, true));
    let loaded = fixture.load().await;
    let schema =
        schema_to_arrow_schema(loaded.metadata().current_schema()).expect("an Arrow schema");
    let arrays: Vec<(String, ArrayRef)> = schema
        .fields()
        .iter()
        .filter(|field| !field.name().starts_with('_'))
        .map(|field| (field.name().clone(), samples::of(field.data_type())))
        .collect();
    let payload: Vec<(&str, ArrayRef)> = arrays
        .iter()
        .map(|(name, array)| (name.as_str(), Arc::clone(array)))
        .collect();
    fixture.commit(&[EPOCH_MS, EPOCH_MS], &payload).await;
    let batches = fixture.read().await;
    let [batch] = batches.as_slice() else {
        panic!("one file gives one batch")
    };
    for (name, array) in payload {
        let read = batch.column_by_name(name).expect("the column");
        assert_eq!(read.len(), 2);
        assert_eq!(read.is_null(1), array.is_null(1), "{name}");
        assert_eq!(
            read.to_data().slice(0, 1),
            array.to_data().slice(0, 1),
            "{name}"
        );
    }
    // The same statistics survive being folded into another manifest.
    for _ in 0..FOLD_COUNT {
        fixture.commit(&[], &[]).await;
    }
    assert_eq!(fixture.offsets().await, [0, 1]);
}

mod samples {
    //! Two rows of any Arrow type that a table has: the second is null.

    use ::arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
        Float64Array, ListArray, MapArray, StringArray, StructArray, Time64MicrosecondArray,
    };
    use ::arrow::buffer::{NullBuffer, OffsetBuffer};

    use super::*;

    pub(super) fn of(kind: &DataType) -> ArrayRef {
        let nulls = || Some(NullBuffer::from(vec![true, false]));
        match kind {
            DataType::Boolean => Arc::new(BooleanArray::from(vec![Some(true), None])),
            DataType::Int32 => Arc::new(Int32Array::from(vec![Some(-7), None])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![Some(1 << 40), None])),
            DataType::Float32 => Arc::new(Float32Array::from(vec![Some(f32::NAN), None])),
            DataType::Float64 => Arc::new(Float64Array::from(vec![Some(-0.5), None])),
            DataType::Decimal128(precision, scale) => Arc::new(
                Decimal128Array::from(vec![Some(-123_456), None])
                    .with_precision_and_scale(*precision, *scale)
                    .expect("a decimal"),
            ),
            DataType::Date32 => Arc::new(Date32Array::from(vec![Some(-1), None])),
            DataType::Time64(_) => Arc::new(Time64MicrosecondArray::from(vec![
                Some(86_399_999_999),
                None,
            ])),
            DataType::Timestamp(_, zone) => Arc::new(
                TimestampMicrosecondArray::from(vec![Some(i64::MIN), None])
                    .with_timezone_opt(zone.clone()),
            ),
            DataType::Utf8 => Arc::new(StringArray::from(vec![Some("é".repeat(100)), None])),
            DataType::LargeBinary => Arc::new(LargeBinaryArray::from_opt_vec(vec![
                Some(&[255; 100]),
                None,
            ])),
            DataType::FixedSizeBinary(length) => {
                let some = vec![9_u8; usize::try_from(*length).expect("positive")];
                let rows = [Some(some), None].into_iter();
                Arc::new(
                    FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows, *length)
                        .expect("equal lengths"),
                )
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|field| of(field.data_type())).collect();
                Arc::new(StructArray::new(fields.clone(), columns, nulls()))
            }
            DataType::List(element) => {
                let offsets = OffsetBuffer::new(vec![0, 2, 2].into());
                Arc::new(ListArray::new(
                    Arc::clone(element),
                    offsets,
                    of(element.data_type()),
                    nulls(),
                ))
            }
            DataType::Map(entries, sorted) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    panic!("entries are structs")
                };
                let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
                let columns = vec![keys, of(fields[1].data_type())];
                let offsets = OffsetBuffer::new(vec![0, 2, 2].into());
                let rows = StructArray::new(fields.clone(), columns, None);
                Arc::new(MapArray::new(
                    Arc::clone(entries),
                    offsets,
                    rows,
                    nulls(),
                    *sorted,
                ))
            }
            other => panic!("no table has {other}"),
        }
    }
}

#[test]
fn an_open_commit_is_judged_by_the_pointer() {
    let mut table = untyped();
    assert_eq!(standing(Some(&table), None, "ours"), Standing::Open);
    table.pointer = Some("ours".to_owned());
    assert_eq!(standing(Some(&table), None, "ours"), Standing::Ours);
    table.pointer = Some("theirs".to_owned());
    assert_eq!(standing(Some(&table), None, "ours"), Standing::Elsewhere);
    assert_eq!(
        standing(Some(&table), Some("theirs"), "ours"),
        Standing::Open
    );
    assert_eq!(
        standing(None, None, "ours"),
        Standing::Elsewhere,
        "the table is gone"
    );
}

#[tokio::test]
async fn columns_that_do_not_fit_are_refused() {
    let fixture = Fixture::new(untyped());
    let loaded = fixture.load().await;
    let rows = fixture.rows(&loaded, &[EPOCH_MS], &[]);
    let uuid = fixture.runtime.random().uuid();
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    fields[0] = Arc::new(fields[0].as_ref().clone().with_name("stranger"));
    let stranger =
        RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), rows.columns().to_vec())
            .expect("rows");
    write(&loaded, "memory://", uuid, vec![stranger]).expect_err("a required column is missing");
}

/// Names of objects written by a few commits, on a simulated machine.
fn names_written(seed: u64) -> Vec<String> {
    let names = Arc::new(Mutex::new(Vec::new()));
    let mut simulation = turmoil::Builder::new().rng_seed(seed).build();
    let written = Arc::clone(&names);
    simulation.client("compactor", async move {
        let runtime = Runtime::simulated(&SimulatedHost::new(seed));
        let store = Store::memory(&runtime);
        let mut fixture = Fixture::over(runtime, store.clone(), untyped());
        for n in 0..3 {
            fixture
                .commit(&[EPOCH_MS + n * DAY_MS, EPOCH_MS], &[])
                .await;
        }
        assert_eq!(fixture.offsets().await, [0, 1, 2, 3, 4, 5]);
        let listed = store.list(&tarn_store::paths::tables(), None, 1000).await?;
        written
            .lock()
            .expect("test")
            .extend(listed.into_iter().map(|object| object.path.to_string()));
        Ok(())
    });
    simulation.run().expect("the simulation ends");
    let names = names.lock().expect("test");
    names.clone()
}

#[test]
fn equal_seeds_write_equal_names_in_simulation() {
    let names = names_written(11);
    // Data files, a manifest, a manifest list and a metadata file per commit.
    assert_eq!(names.len(), 1 + 2 + 2 + 3 * 3);
    assert_eq!(names, names_written(11));
    assert_ne!(names, names_written(12));
}

mod bounds;
mod growth;
mod planning;
mod specs;
mod times;
mod writer;
