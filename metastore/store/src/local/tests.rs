use object_store::{ObjectStoreExt, UpdateVersion};
use tarn_model::Kind;

use super::*;
use crate::{Options, Store, contract};

struct Folder {
    folder: tempfile::TempDir,
    runtime: Runtime,
}

impl Folder {
    fn new() -> Folder {
        Folder {
            folder: tempfile::tempdir().expect("a temporary folder"),
            runtime: Runtime::real(),
        }
    }

    fn open(&self, fsync: bool) -> Store {
        let url = format!("file://{}", self.folder.path().display());
        Store::open(
            &url,
            Options {
                fsync,
                ..Options::default()
            },
            &self.runtime,
        )
        .expect("opens")
    }

    fn objects(&self) -> LocalStore {
        LocalStore::open(self.folder.path(), false, &self.runtime).expect("opens")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_with_and_without_fsync() {
    let folder = Folder::new();
    contract::run(&folder.open(true), "durable").await;
    contract::run(&folder.open(false), "quick").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_folder_never_lose_an_update() {
    let folder = Folder::new();
    let path = Path::from("log/floor");
    let stores: Vec<_> = (0..4).map(|_| folder.open(false)).collect();
    let count = |bytes: Option<&Bytes>| bytes.map_or(0, |bytes| bytes.len());
    let race = stores.iter().map(|store| async {
        for _ in 0..20 {
            // One x more than what stood there when it succeeds; another's x in between asks again.
            let objects = store.object_store();
            loop {
                let (current, mode) = match objects.get(&path).await {
                    Ok(result) => {
                        let e_tag = result.meta.e_tag.clone();
                        (
                            result.bytes().await.ok(),
                            PutMode::Update(UpdateVersion {
                                e_tag,
                                version: None,
                            }),
                        )
                    }
                    Err(_) => (None, PutMode::Create),
                };
                let next = PutPayload::from(vec![b'x'; count(current.as_ref()) + 1]);
                if objects
                    .put_opts(
                        &path,
                        next,
                        PutOptions {
                            mode,
                            ..PutOptions::default()
                        },
                    )
                    .await
                    .is_ok()
                {
                    break;
                }
            }
        }
    });
    futures::future::join_all(race).await;
    assert_eq!(stores[0].get(&path).await.expect("get").len(), 80);
}

#[tokio::test]
async fn an_update_shows_another_tag_even_with_the_same_length() {
    let folder = Folder::new();
    let objects = folder.objects();
    let path = Path::from("floor");
    let mut tag = objects
        .put(&path, PutPayload::from_static(b"0"))
        .await
        .expect("put")
        .e_tag;
    let mut seen = BTreeSet::from([tag.clone()]);
    for _ in 0..50 {
        let mode = PutMode::Update(UpdateVersion {
            e_tag: tag,
            version: None,
        });
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        tag = objects
            .put_opts(&path, PutPayload::from_static(b"1"), options)
            .await
            .expect("update")
            .e_tag;
        assert!(seen.insert(tag.clone()), "{tag:?} came before");
    }
}

#[tokio::test]
async fn locks_and_temporary_files_are_no_objects() {
    let folder = Folder::new();
    let store = folder.open(false);
    store
        .raise(&Path::from("log/floor"), |_| Some(Bytes::from_static(b"1")))
        .await
        .expect("raise");
    store
        .raise(&Path::from("log/floor"), |current| {
            (current?.as_ref() == b"1").then(|| Bytes::from_static(b"2"))
        })
        .await
        .expect("raise");
    assert!(
        folder.folder.path().join("log/.update-lock").exists(),
        "the update was locked"
    );
    fs::write(folder.folder.path().join(".tmp/t#7"), b"left over").expect("write");
    let listed = store.list(&Path::from(""), None, 10).await.expect("list");
    assert_eq!(
        listed
            .into_iter()
            .map(|listed| listed.path)
            .collect::<Vec<_>>(),
        [Path::from("log/floor")]
    );
    let root = store
        .object_store()
        .list_with_delimiter(None)
        .await
        .expect("list");
    assert_eq!(root.common_prefixes, [Path::from("log")]);
    let error = store
        .put(&Path::from("log/.update-lock"), Bytes::new())
        .await
        .expect_err("reserved");
    assert_eq!(error.kind(), Kind::Invalid);
}

/// The process holds `.lock` at the top of its data folder for as long as it lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_at_the_root_is_raised_while_the_folder_is_locked() {
    let folder = Folder::new();
    let held = File::create(folder.folder.path().join(".lock")).expect("a file");
    held.lock().expect("nobody else has it");
    let store = folder.open(false);
    let path = Path::from("cluster");
    for to in [b"1", b"2"] {
        let raised = store.raise(&path, |current| {
            (current.map(Bytes::as_ref) != Some(to)).then(|| Bytes::from_static(to))
        });
        let raised = tokio::time::timeout(Duration::from_secs(10), raised).await;
        let stands = raised.expect("it waits for no lock").expect("raise");
        assert_eq!(stands.as_deref(), Some(to.as_slice()));
    }
}

#[tokio::test]
async fn what_was_raised_by_another_is_made_durable_before_it_is_told() {
    let folder = Folder::new();
    let objects = folder.objects();
    let store = Store::local(objects.clone(), Options::default(), &folder.runtime);
    let path = Path::from("log/floor");
    let raise = || store.raise(&path, |now| now.is_none().then(|| Bytes::from_static(b"1")));
    raise().await.expect("raise");
    let synced = || objects.inner.synced.lock().expect("no panic").len();
    let before = synced();
    raise().await.expect("it stands there");
    assert!(synced() > before);
}

#[tokio::test]
async fn the_name_of_the_root_is_made_durable_also_when_it_was_there() {
    let folder = Folder::new();
    let objects = folder.objects();
    let above = objects
        .root()
        .parent()
        .expect("a temporary folder")
        .to_owned();
    let synced = objects.inner.synced.lock().expect("no panic").clone();
    assert_eq!(synced, [above]);
}

#[tokio::test]
async fn a_write_leaves_no_temporary_file_behind() {
    let folder = Folder::new();
    let store = folder.open(false);
    let path = Path::from("a");
    store
        .put(&path, Bytes::from_static(b"1"))
        .await
        .expect("put");
    store
        .put_if_absent(&path, Bytes::from_static(b"2"))
        .await
        .expect_err("taken");
    let mut upload = store
        .object_store()
        .put_multipart(&path)
        .await
        .expect("begin");
    upload
        .put_part(PutPayload::from_static(b"part"))
        .await
        .expect("part");
    drop(upload);
    assert_eq!(
        fs::read_dir(folder.folder.path().join(".tmp"))
            .expect("read")
            .count(),
        0
    );
}

#[tokio::test]
async fn what_a_crash_left_a_day_ago_is_swept() {
    let folder = Folder::new();
    drop(folder.objects());
    let old = folder.folder.path().join(".tmp/t#1");
    let young = folder.folder.path().join(".tmp/t#2");
    for file in [&old, &young] {
        fs::write(file, b"half").expect("write");
    }
    let yesterday = fs::metadata(&old)
        .and_then(|meta| meta.modified())
        .expect("time")
        - 2 * LEFTOVER_AGE;
    OpenOptions::new()
        .write(true)
        .open(&old)
        .and_then(|file| file.set_modified(yesterday))
        .expect("dated");
    drop(folder.objects());
    assert!(!old.exists() && young.exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_a_clear_error() {
    let folder = Folder::new();
    let file = folder.folder.path().join("file");
    fs::write(&file, b"").expect("write");
    let url = format!("file://{}/below", file.display());
    let error =
        Store::open(&url, Options::default(), &folder.runtime).expect_err("a file is in the way");
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
}

#[tokio::test]
async fn errors_of_the_disk_are_told_apart() {
    let kind = |kind: io::ErrorKind| {
        let error = failed("writing", FilePath::new("/data/x"))(io::Error::from(kind));
        match crate::error::Failure::of(&Path::from("x"), &error) {
            crate::error::Failure::Final(error) => Some((error.kind(), error.fate())),
            _ => None,
        }
    };
    assert_eq!(
        kind(io::ErrorKind::StorageFull),
        Some((Kind::Unavailable, Fate::NotDone))
    );
    assert_eq!(
        kind(io::ErrorKind::PermissionDenied),
        Some((Kind::Denied, Fate::NotDone))
    );
    assert_eq!(
        kind(io::ErrorKind::ReadOnlyFilesystem),
        Some((Kind::Denied, Fate::NotDone))
    );
    assert_eq!(kind(io::ErrorKind::TimedOut), None);
}

/// Not zeros, and no two pages alike.
fn content(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at % 251).to_le_bytes()[0] ^ (at / 4096).to_le_bytes()[0])
        .collect::<Vec<u8>>()
        .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_past_the_page_cache_is_read_back_as_it_was() {
    let folder = Folder::new();
    let store = folder.open(true).object_store();
    let large = direct::FROM_BYTES;
    for (at, length) in [
        large - 1,
        large,
        large + 1,
        large + 4096,
        5 << 20,
        (5 << 20) + 4097,
    ]
    .into_iter()
    .enumerate()
    {
        let content = content(length);
        let mut aligned = tarn_model::PageBuffer::with_capacity(length);
        aligned.extend_from_slice(&content);
        let aligned = aligned.freeze();
        // As one piece that lies on a page bound, as one that does not, and in pieces of all kinds.
        let unaligned = aligned.slice(1..);
        let pieces = [
            aligned.slice(..4096),
            aligned.slice(4096..8192),
            aligned.slice(8192..8200),
            aligned.slice(8200..8200),
            aligned.slice(8200..40_960),
            aligned.slice(40_960..),
        ];
        let payloads = [
            (PutPayload::from_bytes(aligned), content.clone()),
            (PutPayload::from_bytes(unaligned), content.slice(1..)),
            (PutPayload::from_iter(pieces), content),
        ];
        for (kind, (payload, content)) in payloads.into_iter().enumerate() {
            let path = Path::from(format!("{at}-{kind}"));
            store.put(&path, payload).await.expect("is put");
            let read = store.get(&path).await.expect("is there");
            assert_eq!(
                read.bytes().await.expect("reads"),
                content,
                "{length}, {kind}"
            );
        }
    }
}
