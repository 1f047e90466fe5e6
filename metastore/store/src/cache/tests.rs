use std::sync::Arc;

use object_store::memory::InMemory;
use tarn_runtime::Runtime;

use super::*;
use crate::{FaultyStore, Options, StoreFaults};

const MIB: usize = CHUNK as usize;

struct Fixture {
    cache: ChunkCache,
    runtime: Runtime,
    faulty: FaultyStore,
}

fn fixture(capacity: ByteSize) -> Fixture {
    let runtime = Runtime::real();
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), 1, &runtime);
    let store = Store::new(Arc::new(faulty.clone()), Options::default(), &runtime);
    let cache = ChunkCache::new(store, capacity, runtime.metrics());
    Fixture {
        cache,
        runtime,
        faulty,
    }
}

impl Fixture {
    fn requests(&self) -> u64 {
        let text = self.runtime.metrics().encode();
        text.lines()
            .filter(|line| line.starts_with(r#"tarn_object_store_requests_total{op="get","#))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum()
    }

    async fn write(&self, name: &str, length: usize) -> (Path, Bytes) {
        let content: Bytes = (0..length)
            .map(|index| u8::try_from(index % 251).expect("small"))
            .collect();
        let path = Path::from(name);
        self.cache
            .store()
            .put(&path, content.clone())
            .await
            .expect("put");
        (path, content)
    }
}

#[tokio::test]
async fn every_range_reads_as_the_object() {
    let fixture = fixture(ByteSize::mib(64));
    let (path, content) = fixture.write("a", 3 * MIB + 17).await;
    let marks = [
        0,
        1,
        MIB - 1,
        MIB,
        MIB + 1,
        2 * MIB,
        3 * MIB,
        3 * MIB + 16,
        3 * MIB + 17,
    ];
    for start in marks {
        for end in marks.into_iter().filter(|end| *end >= start) {
            let bytes = fixture
                .cache
                .read_range(&path, start as u64..end as u64)
                .await
                .expect("read");
            assert_eq!(bytes, content.slice(start..end), "{start}..{end}");
        }
    }
    let beyond = fixture.cache.read_range(&path, 0..3 * CHUNK + 18).await;
    assert!(
        matches!(beyond, Err(StoreError::Corrupt { .. })),
        "{beyond:?}"
    );
    let behind = fixture
        .cache
        .read_range(&path, 5 * CHUNK..5 * CHUNK + 1)
        .await;
    assert!(
        matches!(behind, Err(StoreError::Corrupt { .. })),
        "{behind:?}"
    );
}

#[tokio::test]
async fn a_run_of_chunks_is_one_request_and_a_second_read_none() {
    let fixture = fixture(ByteSize::mib(64));
    let (path, _) = fixture.write("a", 4 * MIB).await;
    for _ in 0..3 {
        fixture
            .cache
            .read_range(&path, 10..4 * CHUNK)
            .await
            .expect("read");
    }
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_who_want_one_chunk_ask_once() {
    let fixture = fixture(ByteSize::mib(64));
    let (path, _) = fixture.write("a", MIB).await;
    let latency = Duration::from_millis(100);
    fixture.faulty.set_faults(StoreFaults {
        latency_min: latency,
        latency_max: latency,
        ..StoreFaults::default()
    });
    let readers = (0..20u64).map(|reader| fixture.cache.read_range(&path, reader..reader + 10));
    for result in futures::future::join_all(readers).await {
        result.expect("read");
    }
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_gives_up_does_not_hold_the_others_up() {
    let fixture = fixture(ByteSize::mib(64));
    let (path, content) = fixture.write("a", MIB).await;
    let latency = Duration::from_millis(100);
    fixture.faulty.set_faults(StoreFaults {
        latency_min: latency,
        latency_max: latency,
        ..StoreFaults::default()
    });
    let impatient = timeout(latency / 2, fixture.cache.read_range(&path, 0..10));
    let (gave_up, read) =
        futures::future::join(impatient, fixture.cache.read_range(&path, 0..CHUNK)).await;
    assert!(gave_up.is_err());
    assert_eq!(read.expect("read"), content);
}

#[tokio::test]
async fn what_was_written_is_read_without_a_request() {
    let fixture = fixture(ByteSize::mib(64));
    let content = Bytes::from(vec![3; 2 * MIB]);
    let path = Path::from("never uploaded");
    fixture.cache.insert(&path, content.clone());
    assert_eq!(
        fixture
            .cache
            .read_range(&path, 5..CHUNK + 5)
            .await
            .expect("read"),
        content.slice(5..MIB + 5)
    );
    assert_eq!(fixture.requests(), 0);
    fixture.cache.forget(&path);
    assert_eq!(fixture.cache.size(), ByteSize(0));
}

#[tokio::test]
async fn the_bytes_stay_within_the_bound_and_the_oldest_go_first() {
    let fixture = fixture(ByteSize::mib(3));
    let mut paths = Vec::new();
    for index in 0..5 {
        let (path, _) = fixture.write(&format!("object {index}"), MIB).await;
        fixture.cache.read_range(&path, 0..1).await.expect("read");
        if let Some(first) = paths.first() {
            // Used again and again, the first stays.
            fixture.cache.read_range(first, 0..1).await.expect("read");
        }
        assert!(fixture.cache.size() <= ByteSize::mib(3));
        paths.push(path);
    }
    let before = fixture.requests();
    fixture
        .cache
        .read_range(&paths[0], 0..1)
        .await
        .expect("read");
    assert_eq!(fixture.requests(), before);
    fixture
        .cache
        .read_range(&paths[1], 0..1)
        .await
        .expect("read");
    assert_eq!(fixture.requests(), before + 1);
    fixture.cache.insert(
        &Path::from("larger than the cache"),
        Bytes::from(vec![0; 4 * MIB]),
    );
    assert!(fixture.cache.size() <= ByteSize::mib(3));
}

#[tokio::test]
async fn table_files_leave_half_of_the_room_to_segments() {
    let fixture = fixture(ByteSize::mib(8));
    let files = fixture.cache.for_files();
    let (segment, _) = fixture.write("segment", 4 * MIB).await;
    let whole = 0..4 * CHUNK;
    fixture
        .cache
        .read_range(&segment, whole.clone())
        .await
        .expect("read");
    let mut paths = Vec::new();
    for index in 0..20 {
        let (path, content) = fixture.write(&format!("file {index}"), MIB).await;
        let read = files.read_range(&path, 0..CHUNK).await.expect("read");
        assert_eq!(read, content);
        assert!(fixture.cache.size() <= ByteSize::mib(8));
        paths.push(path);
    }
    let before = fixture.requests();
    fixture
        .cache
        .read_range(&segment, whole)
        .await
        .expect("read");
    for path in &paths[16..] {
        files.read_range(path, 3..10).await.expect("read");
    }
    assert_eq!(fixture.requests(), before, "the segment and four files");
    files.read_range(&paths[15], 0..1).await.expect("read");
    assert_eq!(fixture.requests(), before + 1);

    // Segments may take all of it.
    let (large, _) = fixture.write("large", 8 * MIB).await;
    fixture
        .cache
        .read_range(&large, 0..8 * CHUNK)
        .await
        .expect("read");
    files.forget(&large);
    assert_eq!(fixture.cache.size(), ByteSize(0));
}

#[tokio::test]
async fn a_read_that_failed_is_asked_again() {
    let fixture = fixture(ByteSize::mib(3));
    let missing = Path::from("missing");
    assert!(matches!(
        fixture.cache.read_range(&missing, 0..1).await,
        Err(StoreError::NotFound { .. })
    ));
    fixture.write("missing", 10).await;
    assert_eq!(
        fixture
            .cache
            .read_range(&missing, 0..1)
            .await
            .expect("read")
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_at_the_same_time_is_bounded_in_bytes() {
    let fixture = fixture(ByteSize::mib(1));
    let at_once = usize::try_from(MISSES_MIN / CHUNK).expect("small");
    let mut paths = Vec::new();
    for number in 0..3 * at_once {
        paths.push(fixture.write(&format!("o{number}"), MIB).await.0);
    }
    let latency = Duration::from_millis(100);
    fixture.faulty.set_faults(StoreFaults {
        latency_min: latency,
        latency_max: latency,
        ..StoreFaults::default()
    });
    let began = tokio::time::Instant::now();
    let reads = paths
        .iter()
        .map(|path| fixture.cache.read_range(path, 0..10));
    for result in futures::future::join_all(reads).await {
        result.expect("read");
    }
    let waited = began.elapsed();
    assert!(3 * latency <= waited && waited < 4 * latency, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_nobody_ends_does_not_stop_the_others_for_ever() {
    let fixture = fixture(ByteSize::mib(1));
    let (path, _) = fixture.write("a", MIB).await;
    let _taken = fixture.cache.inner.misses.acquire(MISSES_MIN).await;
    fixture.cache.read_range(&path, 0..10).await.expect("read");
}

#[tokio::test]
async fn a_hit_moves_nothing_while_the_chunk_is_young() {
    let fixture = fixture(ByteSize::mib(64));
    for n in 0..32 {
        let (path, _) = fixture.write(&format!("{n}"), 10).await;
        let read = fixture.cache.read_range(&path, 0..10).await;
        read.expect("it is there");
    }
    let tick = || fixture.cache.inner.with(|state| state.tick);
    let before = tick();
    for _ in 0..100 {
        let read = fixture.cache.read_range(&Path::from("31"), 0..10).await;
        read.expect("it is there");
    }
    assert_eq!(tick(), before);
    let read = fixture.cache.read_range(&Path::from("0"), 0..10).await;
    read.expect("it is there");
    assert_eq!(tick(), before + 1, "an old one is made young");
}
