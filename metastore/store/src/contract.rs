//! What every store promises, as a suite: memory, a local folder, a faulty store on a good day, and
//! MinIO in the system tests all run it. It panics with what was broken.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error as ObjectError, GetOptions, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload,
};

use crate::{Created, Store, StoreError};

/// Runs the suite in a folder of its own.
pub async fn run(store: &Store, folder: &str) {
    let name = |rest: &str| Path::from(format!("{folder}/{rest}"));
    whole_objects(store, &name("whole")).await;
    put_if_absent(store, &name("absent")).await;
    racing_creators(store, &name("racing")).await;
    raising(store, &name("raise")).await;
    racing_raisers(store, &name("raising")).await;
    ranges(store, &name("ranges")).await;
    listing(store, folder).await;
    deletion(store, folder).await;
    for_iceberg(store, folder).await;
}

async fn whole_objects(store: &Store, path: &Path) {
    assert!(
        matches!(store.get(path).await, Err(StoreError::NotFound { .. })),
        "nothing is there yet"
    );
    assert!(
        matches!(store.head(path).await, Err(StoreError::NotFound { .. })),
        "nothing is there yet"
    );
    for content in [
        Bytes::from_static(b"first"),
        Bytes::new(),
        Bytes::from(vec![7; 300_000]),
    ] {
        store.put(path, content.clone()).await.expect("put");
        assert_eq!(
            store.get(path).await.expect("get"),
            content,
            "an object reads as it was written"
        );
        let head = store.head(path).await.expect("head");
        assert_eq!((head.size, &head.path), (content.len() as u64, path));
        assert!(store.last_modified(path).await.expect("age").0 > 0);
    }
}

async fn put_if_absent(store: &Store, path: &Path) {
    let ours = Bytes::from_static(b"ours");
    assert_eq!(
        store
            .put_if_absent(path, ours.clone())
            .await
            .expect("create"),
        Created::Created
    );
    let again = store
        .put_if_absent(path, ours.clone())
        .await
        .expect("again");
    assert_eq!(again, Created::AlreadyOurs, "our own bytes are no conflict");
    for other in ["theirs", "", "ours and more", "our"] {
        let result = store.put_if_absent(path, Bytes::from(other)).await;
        assert!(
            matches!(result, Err(StoreError::AlreadyExists { .. })),
            "{other:?} is another content"
        );
    }
    let content = store
        .create_or_read(path, Bytes::from_static(b"theirs"))
        .await
        .expect("reads");
    assert_eq!(
        content,
        Err(ours.clone()),
        "the loser learns what stands there"
    );
    assert_eq!(store.get(path).await.expect("get"), ours, "the first stays");
    store.delete(path).await.expect("delete");
    let after = store
        .put_if_absent(path, Bytes::from_static(b"theirs"))
        .await
        .expect("create");
    assert_eq!(after, Created::Created, "a deleted name is free again");
}

async fn racing_creators(store: &Store, path: &Path) {
    let race = (0..8).map(|index| async move {
        store
            .put_if_absent(path, Bytes::from(format!("creator {index}")))
            .await
            .map(|_| index)
    });
    let results = futures::future::join_all(race).await;
    let winners: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().ok())
        .collect();
    assert_eq!(winners.len(), 1, "one of many creators wins");
    let content = store.get(path).await.expect("get");
    assert_eq!(
        content,
        Bytes::from(format!("creator {}", winners[0])),
        "and its bytes stand there"
    );
}

fn number(bytes: Option<&Bytes>) -> u64 {
    bytes.map_or(0, |bytes| {
        std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .expect("a number")
    })
}

async fn raising(store: &Store, path: &Path) {
    let raise_to = |to: u64| {
        store.raise(path, move |current| {
            (number(current) < to).then(|| Bytes::from(to.to_string()))
        })
    };
    for (to, stands) in [(3, 3), (2, 3), (3, 3), (10, 10)] {
        let after = raise_to(to).await.expect("raise");
        assert_eq!(
            number(after.as_ref()),
            stands,
            "raising answers what stands there"
        );
        assert_eq!(
            number(Some(&store.get(path).await.expect("get"))),
            stands,
            "a value only rises"
        );
    }
}

async fn racing_raisers(store: &Store, path: &Path) {
    // Counting shows a lost update: each raiser adds one until its own mark is there.
    let race = (0..6).map(|_| async move {
        let (goal, before) = (
            std::sync::atomic::AtomicU64::new(0),
            std::sync::atomic::Ordering::SeqCst,
        );
        store
            .raise(path, |current| {
                let current = number(current);
                let goal = match goal.load(before) {
                    0 => {
                        goal.store(current + 1, before);
                        current + 1
                    }
                    goal => goal,
                };
                (current < goal).then(|| Bytes::from(goal.to_string()))
            })
            .await
            .expect("raise");
        goal.load(before)
    });
    let goals = futures::future::join_all(race).await;
    let highest = goals.into_iter().max().expect("six");
    assert_eq!(
        number(Some(&store.get(path).await.expect("get"))),
        highest,
        "the highest goal stands"
    );
}

async fn ranges(store: &Store, path: &Path) {
    let content: Bytes = (0..=255u8).cycle().take(10_000).collect();
    store.put(path, content.clone()).await.expect("put");
    for range in [0..1, 0..10_000, 5..5, 9_999..10_000, 1_234..5_678] {
        let bytes = store.get_range(path, range.clone()).await.expect("range");
        let from_to = usize::try_from(range.start).expect("small")
            ..usize::try_from(range.end).expect("small");
        assert_eq!(bytes, content.slice(from_to), "{range:?}");
    }
    for range in [9_999..10_001, 10_000..10_001, 20_000..30_000] {
        let result = store.get_range(path, range.clone()).await;
        assert!(
            matches!(result, Err(StoreError::Corrupt { .. })),
            "{range:?} is more than there is: {result:?}"
        );
    }
}

async fn listing(store: &Store, folder: &str) {
    let prefix = Path::from(format!("{folder}/list"));
    assert_eq!(
        store.list(&prefix, None, 10).await.expect("list"),
        [],
        "an unused folder is empty"
    );
    let names: Vec<_> = (0..7)
        .map(|n| Path::from(format!("{folder}/list/{}/{n:03}", n % 2)))
        .collect();
    for name in names.iter().rev() {
        store
            .put(name, Bytes::from_static(b"xy"))
            .await
            .expect("put");
    }
    store
        .put(&Path::from(format!("{folder}/listing")), Bytes::new())
        .await
        .expect("put");
    let mut sorted = names.clone();
    sorted.sort();
    let mut found = Vec::new();
    loop {
        let page = store.list(&prefix, found.last(), 3).await.expect("list");
        assert!(page.len() <= 3 && page.iter().all(|listed| listed.size == 2));
        let last = page.len() < 3;
        found.extend(page.into_iter().map(|listed| listed.path));
        if last {
            break;
        }
    }
    assert_eq!(
        found, sorted,
        "pages are in order, complete, and of this folder only"
    );
}

async fn deletion(store: &Store, folder: &str) {
    let names: Vec<_> = (0..5)
        .map(|n| Path::from(format!("{folder}/delete/{n}")))
        .collect();
    for name in &names {
        store
            .put(name, Bytes::from_static(b"x"))
            .await
            .expect("put");
    }
    store.delete(&names[0]).await.expect("delete");
    store
        .delete(&names[0])
        .await
        .expect("what is gone counts as deleted");
    store.delete_all(&names).await.expect("delete the rest");
    for name in &names {
        assert!(
            matches!(store.get(name).await, Err(StoreError::NotFound { .. })),
            "{name} is gone"
        );
    }
    store.delete_all(&[]).await.expect("nothing to do");
}

/// What Iceberg and DataFusion use of the same instance.
async fn for_iceberg(store: &Store, folder: &str) {
    let objects = store.object_store();
    let name = |rest: &str| Path::from(format!("{folder}/objects/{rest}"));

    let mut upload = objects.put_multipart(&name("parts")).await.expect("begin");
    let part = |byte: u8| PutPayload::from(vec![byte; 5 * 1024 * 1024]);
    let parts = [
        upload.put_part(part(1)),
        upload.put_part(part(2)),
        upload.put_part(PutPayload::from_static(b"end")),
    ];
    for part in parts {
        part.await.expect("part");
    }
    upload.complete().await.expect("complete");
    let whole = store.get(&name("parts")).await.expect("get");
    assert_eq!(whole.len(), 10 * 1024 * 1024 + 3, "parts stand in order");
    assert!(whole.ends_with(b"\x02end") && whole.starts_with(b"\x01"));

    let mut dropped = objects
        .put_multipart(&name("dropped"))
        .await
        .expect("begin");
    dropped.put_part(part(3)).await.expect("part");
    dropped.abort().await.expect("abort");
    let result = objects.get(&name("dropped")).await;
    assert!(
        matches!(result, Err(ObjectError::NotFound { .. })),
        "an aborted upload leaves nothing"
    );

    objects
        .copy(&name("parts"), &name("copy"))
        .await
        .expect("copy");
    assert_eq!(
        objects.head(&name("copy")).await.expect("head").size,
        whole.len() as u64
    );
    let onto = CopyOptions::new().with_mode(CopyMode::Create);
    objects
        .copy_opts(&name("parts"), &name("copy"), onto)
        .await
        .expect_err("a copy that must create does not replace");
    objects
        .rename(&name("copy"), &name("renamed"))
        .await
        .expect("rename");
    assert!(
        objects.head(&name("copy")).await.is_err(),
        "a renamed object left its name"
    );

    let ranges = objects
        .get_ranges(&name("renamed"), &[0..2, 10_485_760..10_485_763])
        .await
        .expect("ranges");
    assert_eq!(
        ranges,
        [Bytes::from_static(b"\x01\x01"), Bytes::from_static(b"end")]
    );

    let written = objects
        .put(&name("deep/er"), PutPayload::from_static(b"x"))
        .await
        .expect("put");
    let read = objects
        .get_opts(&name("deep/er"), GetOptions::new())
        .await
        .expect("get");
    assert_eq!(
        written.e_tag, read.meta.e_tag,
        "a write answers the tag that a read shows"
    );
    let mode = PutMode::Update(object_store::UpdateVersion {
        e_tag: written.e_tag,
        version: written.version,
    });
    let update = |mode: PutMode| {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        let path = name("deep/er");
        let objects = store.object_store();
        async move {
            objects
                .put_opts(&path, PutPayload::from_static(b"y"), options)
                .await
        }
    };
    update(mode.clone())
        .await
        .expect("an update of the version that stands there");
    let late = update(mode).await;
    assert!(
        matches!(late, Err(ObjectError::Precondition { .. })),
        "an update of an older version: {late:?}"
    );

    let folder = Path::from(format!("{folder}/objects"));
    let listed = objects
        .list_with_delimiter(Some(&folder))
        .await
        .expect("list");
    assert_eq!(listed.common_prefixes, [name("deep")]);
    let mut files: Vec<_> = listed
        .objects
        .into_iter()
        .map(|meta| meta.location)
        .collect();
    files.sort();
    assert_eq!(files, [name("parts"), name("renamed")]);
    let all: Vec<_> = objects
        .list(Some(&folder))
        .try_collect()
        .await
        .expect("list");
    assert_eq!(all.len(), 3, "nothing but objects is listed");
}
