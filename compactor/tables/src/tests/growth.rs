//! What a table's metadata costs as it grows: by commits, by partitions, by schemas.

use iceberg::expr::Reference;
use iceberg::spec::Datum;
use tarn_state::commands::MaterializedStep as Step;

use super::*;
use crate::commit::append::{SNAPSHOT_AGE, SNAPSHOTS_KEPT, SNAPSHOTS_MOST};
use crate::commit::has_below;
use crate::summary::{MATERIALIZED_OFFSETS, WHOLE_EVERY};

const MINUTE_MS: i64 = 60_000;

impl Fixture {
    /// A commit of no row that moves M of these partitions.
    async fn advance(&mut self, moved: &[(i32, u64)]) -> Loaded {
        let loaded = self.load().await;
        let steps: Vec<Step> = moved
            .iter()
            .map(|(partition, to)| Step {
                partition: PartitionId(*partition),
                from: self.table.materialized(PartitionId(*partition)),
                to: Offset(*to),
                counted: Counters::default(),
            })
            .collect();
        let append = Append {
            table: Arc::new(self.table.clone()),
            loaded,
            time: self.time,
            files: vec![],
            steps: steps.clone(),
            hidden: Vec::new(),
        };
        let produced = produce(&self.catalog, self.runtime.random(), &append)
            .await
            .expect("a commit");
        self.keep(produced);
        for step in steps {
            let of = of_topic(&mut self.table);
            of.materialized.insert(step.partition, step.to);
        }
        self.load().await
    }

    fn materialized(
        &self,
        loaded: &Loaded,
        snapshot: i64,
    ) -> Option<BTreeMap<PartitionId, Offset>> {
        materialized_of(loaded.metadata(), snapshot, TOPIC)
    }
}

#[tokio::test]
async fn every_kept_snapshot_tells_m_of_every_partition() {
    let mut fixture = Fixture::new(untyped());
    let mut expected = BTreeMap::new();
    let mut jump = 0;
    for n in 0..3 * WHOLE_EVERY as u64 {
        // Few partitions move each time, another one now and then; minutes pass or hours.
        let at = (n % 5) as i32;
        jump += 1 + (1 << (n % 40));
        fixture.time = ClusterTime(fixture.time.0 + MINUTE_MS * [0, 1, 30][(n % 3) as usize]);
        let loaded = fixture.advance(&[(at, n + 1), (100 + at, jump)]).await;
        let head = fixture.table.table_snapshot.expect("a snapshot");
        let of = of_topic(&mut fixture.table);
        expected.insert(head, of.materialized.clone());
        let kept: Vec<i64> = loaded
            .metadata()
            .snapshots()
            .map(|one| one.snapshot_id())
            .collect();
        assert!(
            kept.len() <= SNAPSHOTS_KEPT + 2 * WHOLE_EVERY,
            "{} are kept",
            kept.len()
        );
        for snapshot in kept {
            let said = fixture.materialized(&loaded, snapshot);
            assert_eq!(said.as_ref(), expected.get(&snapshot), "after {n} commits");
        }
    }
    let loaded = fixture.load().await;
    let head = fixture.table.table_snapshot.expect("a snapshot");
    let other = TopicId::from_u128(8);
    assert_eq!(materialized_of(loaded.metadata(), head, other), None);
}

#[tokio::test]
async fn table_snapshots_expire_by_age_beyond_the_last_twenty() {
    let mut fixture = Fixture::new(untyped());
    let count = |loaded: &Loaded| loaded.metadata().snapshots().len();
    let age = i64::try_from(SNAPSHOT_AGE.as_millis()).expect("fits");
    for n in 0..3 * SNAPSHOTS_KEPT {
        assert_eq!(count(&fixture.load().await), n, "all of them are young");
        fixture.commit(&[EPOCH_MS], &[]).await;
    }
    fixture.time = ClusterTime(EPOCH_MS + 2 * age);
    fixture.commit(&[EPOCH_MS], &[]).await;
    let loaded = fixture.load().await;
    let kept = count(&loaded);
    assert!(
        (SNAPSHOTS_KEPT..SNAPSHOTS_KEPT + WHOLE_EVERY).contains(&kept),
        "{kept}"
    );
    let produced = fixture.produced.as_ref().expect("a commit");
    let expired = 3 * SNAPSHOTS_KEPT + 1 - kept;
    assert_eq!(produced.garbage.manifest_lists, expired as u64);
    assert_eq!(fixture.offsets().await.len(), 3 * SNAPSHOTS_KEPT + 1);
}

/// However often a table is committed to, its snapshots are bounded, and so is what a commit writes.
#[tokio::test]
async fn a_busy_table_keeps_so_many_snapshots_and_no_more() {
    let mut fixture = Fixture::new(untyped());
    let mut bytes = Vec::new();
    for _ in 0..3 * SNAPSHOTS_MOST {
        fixture.time = ClusterTime(fixture.time.0 + 10);
        fixture.commit(&[EPOCH_MS], &[]).await;
        bytes.push(fixture.produced.as_ref().expect("a commit").bytes);
        let kept = fixture.load().await.metadata().snapshots().len();
        assert!(kept < SNAPSHOTS_MOST + WHOLE_EVERY, "{kept}");
    }
    let most = |from: usize, to: usize| {
        bytes[from * SNAPSHOTS_MOST..to * SNAPSHOTS_MOST]
            .iter()
            .max()
    };
    // The numbers in it have grown by a digit or two.
    let (then, now) = (most(1, 2).expect("some"), most(2, 3).expect("some"));
    assert!(now * 100 < then * 105, "{then} bytes, then {now}");
    assert_eq!(fixture.offsets().await.len(), 3 * SNAPSHOTS_MOST);
}

/// A commit of unknown outcome is looked for in the history of the table, which may have gone on without
/// it, or with it and for so long that it is forgotten.
#[tokio::test]
async fn a_commit_that_is_forgotten_is_not_one_that_never_was() {
    let mut fixture = Fixture::new(untyped());
    let mut lost = Vec::new();
    let mut made = Vec::new();
    for n in 0..2 * SNAPSHOTS_MOST {
        // Another commit on the same table, which loses.
        let append = Append {
            table: Arc::new(fixture.table.clone()),
            loaded: fixture.load().await,
            time: fixture.time,
            files: vec![],
            steps: vec![],
            hidden: Vec::new(),
        };
        let produced = produce(&fixture.catalog, fixture.runtime.random(), &append).await;
        lost.push(produced.expect("a commit"));
        fixture.advance(&[(0, n as u64 + 1)]).await;
        made.push(fixture.produced.take().expect("a commit"));
    }
    let loaded = fixture.load().await;
    let kept = loaded.metadata().snapshots().len();
    let forgotten = made.len() - kept;
    assert!(forgotten > 0);
    for (n, (lost, made)) in lost.iter().zip(&made).enumerate() {
        let (lost, made) = (
            has_below(loaded.metadata(), lost),
            has_below(loaded.metadata(), made),
        );
        match n < forgotten {
            true => assert_eq!((lost, made), (None, None), "commit {n}"),
            false => assert_eq!((lost, made), (Some(false), Some(true)), "commit {n}"),
        }
    }
}

/// What folding costs: each file is written again once for each tier, and the list stays short.
#[tokio::test]
async fn a_file_is_written_again_as_often_as_there_are_tiers() {
    let mut fixture = Fixture::new(untyped());
    let commits = FOLD_COUNT * FOLD_COUNT + 2 * FOLD_COUNT;
    let (mut most, mut written) = (0, 0);
    let mut before = Vec::new();
    for n in 0..commits as i64 {
        fixture.commit(&[EPOCH_MS + n], &[]).await;
        let now = fixture.manifest_files().await;
        most = most.max(now.len());
        let files = |file: &ManifestFile| {
            file.added_files_count.unwrap_or(0) + file.existing_files_count.unwrap_or(0)
        };
        let new = now.iter().filter(|file| !before.contains(*file));
        written += new.map(files).sum::<u32>();
        before = now;
    }
    // Its own, and up to two tiers of the three.
    assert!(
        written as usize <= 3 * commits,
        "{written} entries for {commits} files"
    );
    assert!(most <= 3 * FOLD_COUNT, "{most} manifests");
    assert_eq!(fixture.offsets().await.len(), commits);
}

/// Whoever plans holds a manifest whole, and entries that are all alike are next to nothing in its bytes.
#[tokio::test]
async fn a_folded_manifest_has_no_more_files_than_fit_into_memory() {
    let mut fixture = Fixture::new(untyped());
    fixture.commit(&[EPOCH_MS], &[]).await;
    let loaded = fixture.load().await;
    let head = fixture.table.table_snapshot.expect("a snapshot");
    let plan = loaded.plan(head, None).await.expect("a plan");
    let file = plan.files.first().expect("a file").data_file().clone();
    for _ in 0..FOLD_COUNT + 8 {
        let append = Append {
            table: Arc::new(fixture.table.clone()),
            loaded: fixture.load().await,
            time: fixture.time,
            files: vec![file.clone(); 600],
            steps: Vec::new(),
            hidden: Vec::new(),
        };
        let produced = produce(&fixture.catalog, fixture.runtime.random(), &append).await;
        fixture.keep(produced.expect("a commit"));
    }
    let manifests = fixture.manifest_files().await;
    let count = |count: Option<u32>| count.unwrap_or(0);
    let files = |one: &ManifestFile| count(one.added_files_count) + count(one.existing_files_count);
    let files: Vec<u32> = manifests.iter().map(files).collect();
    assert!(files.iter().all(|files| *files <= 4_096), "{files:?}");
    assert_eq!(files.iter().sum::<u32>(), 24 * 600 + 1);
    assert!(files.len() <= FOLD_COUNT + 4, "{files:?}");
    let most = files.iter().filter(|files| **files > 2_048).count();
    assert!(most >= 2, "what fits together is one: {files:?}");
}

/// A day of commits, every ten seconds or every second, of which the last minutes are made: what came
/// before has expired.
#[tokio::test]
async fn metadata_stays_small_over_a_thousand_partitions() {
    for interval_ms in [10_000, 1_000] {
        let mut fixture = Fixture::new(untyped());
        let mut most = 0;
        for n in 0..134_u64 {
            fixture.time = ClusterTime(fixture.time.0 + interval_ms);
            // Every partition moves, to where it may be after a day of 10,000 records/s each.
            let moved: Vec<(i32, u64)> = (0..1000)
                .map(|at| (at, 864_000_000 + n * 100_000 + at as u64))
                .collect();
            fixture.advance(&moved).await;
            most = most.max(fixture.produced.as_ref().expect("a commit").bytes);
        }
        assert!(most <= 1_000_000, "{most} bytes of metadata");
    }
}

/// One that named a thousand partitions each time would fill the metadata.
#[tokio::test]
async fn a_summary_names_the_partitions_that_moved_and_now_and_then_all() {
    let mut fixture = Fixture::new(untyped());
    let all: Vec<(i32, u64)> = (0..1000).map(|at| (at, 1_000_000)).collect();
    fixture.advance(&all).await;
    let mut whole = 0;
    for n in 0..2 * WHOLE_EVERY {
        let moved = [((n % 3) as i32, 2_000_000 + n as u64)];
        let loaded = fixture.advance(&moved).await;
        let head = loaded.metadata().current_snapshot().expect("a snapshot");
        let said = &head.summary().additional_properties[MATERIALIZED_OFFSETS];
        match said.len() {
            0..200 => {}
            3_000.. => whole += 1,
            other => panic!("{other} bytes: {said}"),
        }
    }
    assert_eq!(whole, 2);
}

#[tokio::test]
async fn snapshots_are_listed_in_the_order_of_their_commits() {
    let mut fixture = Fixture::new(untyped());
    for n in 0..12 {
        fixture.advance(&[(0, n + 1)]).await;
    }
    let loaded = fixture.load().await;
    let pointer = loaded.pointer().expect("a pointer").to_owned();
    let file = fixture
        .catalog
        .file_io()
        .new_input(&pointer)
        .expect("a path");
    let file: serde_json::Value =
        serde_json::from_slice(&file.read().await.expect("it is read")).expect("JSON");
    for json in [file, loaded.metadata_json(true)] {
        let numbers: Vec<i64> = json["snapshots"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|snapshot| snapshot["sequence-number"].as_i64())
            .collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    }
    let named = loaded.metadata_json(false);
    let snapshots = named["snapshots"].as_array().expect("a list");
    assert_eq!(snapshots.len(), 1, "the head of main");
    assert_eq!(snapshots[0]["snapshot-id"], named["current-snapshot-id"]);
    assert_eq!(named["snapshot-log"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_commit_and_a_plan_read_nothing_that_this_process_wrote() {
    let mut fixture = Fixture::new(untyped());
    fixture.commit(&[EPOCH_MS], &[]).await;
    let before = fixture.catalog.manifests().misses();
    for n in 0..2 * FOLD_COUNT as i64 {
        fixture.commit(&[EPOCH_MS + n], &[]).await;
        let loaded = fixture.load().await;
        let head = fixture.table.table_snapshot.expect("a snapshot");
        let plan = loaded.plan(head, None).await.expect("a plan");
        assert_eq!(plan.files.len() as i64, n + 2);
    }
    assert_eq!(fixture.catalog.manifests().misses(), before);

    // Another process reads each once.
    let store = fixture.catalog.store().clone();
    let ours = fixture.load().await;
    let head = fixture.table.table_snapshot.expect("a snapshot");
    fixture.catalog = Catalog::over(&store, ByteSize::mib(8));
    let mut read = Vec::new();
    for _ in 0..3 {
        let theirs = fixture.load().await;
        let names = |plan: &crate::Plan| -> Vec<String> {
            let paths = plan
                .files
                .iter()
                .map(|file| file.data_file().file_path().to_owned());
            paths.collect()
        };
        let plan = theirs.plan(head, None).await.expect("a plan");
        // What was kept at the commit is what is in the files.
        assert_eq!(
            names(&plan),
            names(&ours.plan(head, None).await.expect("a plan"))
        );
        let kept: Vec<_> = plan
            .files
            .iter()
            .map(crate::PlannedFile::data_file)
            .collect();
        let written = ours.plan(head, None).await.expect("a plan");
        let written: Vec<_> = written
            .files
            .iter()
            .map(crate::PlannedFile::data_file)
            .cloned()
            .collect();
        assert!(kept.into_iter().eq(written.iter()));
        read.push(fixture.catalog.manifests().misses());
    }
    assert!(read[0] > 1);
    assert_eq!(read, [read[0]; 3]);
}

#[tokio::test]
async fn the_cache_keeps_to_its_bytes() {
    let mut fixture = Fixture::new(untyped());
    let store = fixture.catalog.store().clone();
    let limit = ByteSize::kib(64);
    fixture.catalog = Catalog::over(&store, limit);
    let long: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values(
        (0..1).map(|_| [b'x'; 200]),
    ));
    for n in 0..100 {
        fixture
            .commit(&[EPOCH_MS + n], &[("_value", Arc::clone(&long))])
            .await;
        assert!(fixture.catalog.manifests().bytes() <= limit.0);
    }
    assert_eq!(fixture.offsets().await.len(), 100);
    let loaded = fixture.load().await;
    let head = fixture.table.table_snapshot.expect("a snapshot");
    assert_eq!(
        loaded.plan(head, None).await.expect("a plan").files.len(),
        100
    );
}

/// The entries of all manifests do not fit into memory; what is known of them together does.
#[tokio::test]
async fn a_needle_is_found_without_reading_what_does_not_fit() {
    const COMMITS: i64 = 150;
    let mut fixture = Fixture::new(untyped());
    let store = fixture.catalog.store().clone();
    fixture.catalog = Catalog::over(&store, ByteSize::kib(320));
    for n in 0..COMMITS {
        fixture.commit(&[EPOCH_MS + n], &[]).await;
    }
    let loaded = fixture.load().await;
    let head = fixture.table.table_snapshot.expect("a snapshot");
    let manifests = fixture.manifests().await as u64;
    let misses = || fixture.catalog.manifests().misses();
    let all = loaded.plan(head, None).await.expect("a plan");
    assert_eq!(all.files.len() as i64, COMMITS);
    let before = misses();
    loaded.plan(head, None).await.expect("a plan");
    assert!(misses() > before, "all of them fit");
    for needle in [3, 77, COMMITS - 1, 3, 500] {
        let before = misses();
        let filter = Reference::new("_offset").equal_to(Datum::long(needle));
        let plan = loaded.plan(head, Some(&filter)).await.expect("a plan");
        assert_eq!(plan.files.len(), usize::from(needle < COMMITS), "{needle}");
        let read = misses() - before;
        assert!(
            read <= 2,
            "{read} of {manifests} manifests are read for {needle}"
        );
    }
}

#[tokio::test]
async fn one_schema_id_never_stands_for_two_schemas() {
    let mut fixture = Fixture::new(untyped());
    fixture.commit(&[EPOCH_MS], &[]).await;
    let mut seen: BTreeMap<i32, iceberg::spec::StructType> = BTreeMap::new();
    let register = |fixture: &mut Fixture, n: i32| {
        let table = &mut fixture.table;
        table
            .columns
            .push(column(100 + n, &format!("c{n}"), ColumnType::Int));
        if n > 1 {
            // A promotion adds no column.
            table.columns[0].kind = ColumnType::Long;
        }
        table.schema_id += 1;
    };
    for n in 1..=6 {
        register(&mut fixture, n);
        // Readers see it now; every other time a commit writes it down.
        for _ in 0..2 {
            let loaded = fixture.load().await;
            for schema in loaded.metadata().schemas_iter() {
                let known = seen
                    .entry(schema.schema_id())
                    .or_insert_with(|| schema.as_struct().clone());
                assert_eq!(known, schema.as_struct(), "schema {}", schema.schema_id());
            }
        }
        if n % 2 == 0 {
            fixture.commit(&[EPOCH_MS], &[]).await;
        }
    }
    assert_eq!(seen.len(), 7);
}
