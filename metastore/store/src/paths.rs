//! The one file that spells the names of objects.
//!
//! ```text
//! cluster                                         the cluster id, made if absent
//! clock/{nonce:016x}                              asks for the store's time; gone at once
//! log/floor                                       the floor of the commit log, over all generations
//! log/{generation}/{n:020}                        an entry of the commit log
//! archive/{generation}/{first:020}-{last:020}     archived entries
//! snapshots/{generation}/{n:020}-{nonce:016x}     a state snapshot that covers n
//! segments/{xx}/seg-{id}                          a segment; xx is the id's last byte
//! tables/{namespace}/{table}__{uuid}/…            an Iceberg table: metadata/… and data/…
//! ```
//!
//! Numbers are padded so that names sort as their numbers do. What is read back from a listing has a
//! parser here that accepts exactly what the spelling makes and answers `None` for anything else:
//! others may put objects beside ours.

use object_store::path::{Path, PathPart};
use tarn_model::{Generation, Lsn, SegmentId, TableUuid};
use uuid::Uuid;

/// The object that holds the cluster id.
pub fn cluster() -> Path {
    Path::from("cluster")
}

/// An object that a process writes to learn the store's time, and deletes.
pub fn clock_probe(nonce: u64) -> Path {
    Path::from(format!("clock/{nonce:016x}"))
}

/// The floor of the commit log.
pub fn log_floor() -> Path {
    Path::from("log/floor")
}

/// The folder of all generations' entries.
pub fn log() -> Path {
    Path::from("log")
}

/// An entry of the commit log.
pub fn log_entry(lsn: Lsn) -> Path {
    Path::from(format!("log/{}/{:020}", lsn.generation, lsn.n))
}

/// Reads the name of an entry back.
pub fn parse_log_entry(path: &Path) -> Option<Lsn> {
    let (generation, n) = parts_after(path, "log")?;
    let lsn = Lsn::new(Generation(generation.parse().ok()?), n.parse().ok()?);
    (log_entry(lsn) == *path).then_some(lsn)
}

/// The folder of a generation's archive.
pub fn archive(generation: Generation) -> Path {
    Path::from(format!("archive/{generation}"))
}

/// Archived entries `first..=last` of a generation.
pub fn archive_chunk(generation: Generation, first: u64, last: u64) -> Path {
    Path::from(format!("archive/{generation}/{first:020}-{last:020}"))
}

/// Reads the name of an archive object back: generation, first and last n.
pub fn parse_archive_chunk(path: &Path) -> Option<(Generation, u64, u64)> {
    let (generation, name) = parts_after(path, "archive")?;
    let (first, last) = name.split_once('-')?;
    let (generation, first, last) = (
        Generation(generation.parse().ok()?),
        first.parse().ok()?,
        last.parse().ok()?,
    );
    (first <= last && archive_chunk(generation, first, last) == *path)
        .then_some((generation, first, last))
}

/// The folder of a generation's state snapshots.
pub fn snapshots(generation: Generation) -> Path {
    Path::from(format!("snapshots/{generation}"))
}

/// A state snapshot that covers `lsn`, under a fresh name.
pub fn snapshot(lsn: Lsn, nonce: u64) -> Path {
    Path::from(format!(
        "snapshots/{}/{:020}-{nonce:016x}",
        lsn.generation, lsn.n
    ))
}

/// Reads the name of a state snapshot back: what it covers, and its nonce.
pub fn parse_snapshot(path: &Path) -> Option<(Lsn, u64)> {
    let (generation, name) = parts_after(path, "snapshots")?;
    let (n, nonce) = name.split_once('-')?;
    let lsn = Lsn::new(Generation(generation.parse().ok()?), n.parse().ok()?);
    let nonce = u64::from_str_radix(nonce, 16).ok()?;
    (snapshot(lsn, nonce) == *path).then_some((lsn, nonce))
}

/// The folder of all segments.
pub fn segments() -> Path {
    Path::from("segments")
}

/// A segment. The last byte of its id, which is random, spreads the names over 256 prefixes: S3 takes
/// 3,500 writes a second per prefix, and ids begin with the time.
pub fn segment(id: SegmentId) -> Path {
    Path::from(format!("segments/{:02x}/{id}", id.0[15]))
}

/// Reads the name of a segment back.
pub fn parse_segment(path: &Path) -> Option<SegmentId> {
    let (_, name) = parts_after(path, "segments")?;
    let id = name.parse().ok()?;
    (segment(id) == *path).then_some(id)
}

/// The folder of all tables.
pub fn tables() -> Path {
    Path::from("tables")
}

/// Longest name of a folder, once encoded. File systems take 255 bytes, and a name may grow on its
/// way there.
const FOLDER_BYTES_MAX: usize = 200;

/// The folder of a table. Eight digits of its uuid keep a table that is dropped and made again apart
/// from its predecessor. Characters that object stores dislike are percent-encoded. A name that is
/// too long for a folder is cut: then all digits of the uuid follow, which alone make the name.
pub fn table(namespace: &str, table: &str, uuid: TableUuid) -> Path {
    let digits: String = uuid.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let short: String = digits.chars().take(8).collect();
    Path::from_iter([
        PathPart::from("tables"),
        folder(namespace, &format!("-{digits}"), ""),
        folder(table, &format!("__{digits}"), &format!("__{short}")),
    ])
}

/// `name` with `suffix` behind it, or its beginning with `suffix_if_cut`.
fn folder(name: &str, suffix_if_cut: &str, suffix: &str) -> PathPart<'static> {
    let whole = format!("{name}{suffix}");
    let encoded = |text: &str| PathPart::from(text).as_ref().len();
    if encoded(&whole) <= FOLDER_BYTES_MAX {
        return PathPart::from(whole);
    }
    let mut cut = String::new();
    for character in name.chars() {
        cut.push(character);
        if encoded(&cut) + suffix_if_cut.len() > FOLDER_BYTES_MAX {
            cut.pop();
            break;
        }
    }
    PathPart::from(format!("{cut}{suffix_if_cut}"))
}

/// A metadata file of a table. The number only helps people; the uuid makes the name.
pub fn table_metadata(table: &Path, version: u64, uuid: Uuid) -> Path {
    beneath(
        table,
        ["metadata", &format!("{version:05}-{uuid}.metadata.json")],
    )
}

/// The manifest list of a table snapshot.
pub fn table_manifest_list(table: &Path, snapshot: i64, uuid: Uuid) -> Path {
    beneath(table, ["metadata", &format!("snap-{snapshot}-{uuid}.avro")])
}

/// The `n`-th manifest of one commit to a table.
pub fn table_manifest(table: &Path, uuid: Uuid, n: usize) -> Path {
    beneath(table, ["metadata", &format!("{uuid}-m{n}.avro")])
}

/// The `n`-th data file of one commit to a table. `partition` is the table partition's folder, as in
/// `event_date=2026-11-22`.
pub fn table_data_file(table: &Path, partition: &str, uuid: Uuid, n: usize) -> Path {
    beneath(
        table,
        ["data", partition, &format!("{uuid}-{n:05}.parquet")],
    )
}

/// A name in a folder; the folder's own parts are encoded already.
fn beneath<'p, const N: usize>(folder: &'p Path, parts: [&'p str; N]) -> Path {
    folder.parts().chain(parts.map(PathPart::from)).collect()
}

/// The two parts after a folder's name, if there are exactly two.
fn parts_after<'p>(path: &'p Path, folder: &str) -> Option<(&'p str, &'p str)> {
    path.as_ref()
        .strip_prefix(folder)?
        .strip_prefix('/')?
        .split_once('/')
}

#[cfg(test)]
mod tests {
    use tarn_model::ClusterTime;

    use super::*;

    #[test]
    fn every_name_that_is_listed_is_read_back() {
        let lsn = Lsn::new(Generation(3), 42);
        assert_eq!(log_entry(lsn).as_ref(), "log/3/00000000000000000042");
        assert_eq!(parse_log_entry(&log_entry(lsn)), Some(lsn));
        let chunk = archive_chunk(Generation(3), 7, 12);
        assert_eq!(parse_archive_chunk(&chunk), Some((Generation(3), 7, 12)));
        assert_eq!(parse_snapshot(&snapshot(lsn, 0xfeed)), Some((lsn, 0xfeed)));
        let id = SegmentId::new(ClusterTime(1_700_000_000_123), u128::MAX / 7);
        assert_eq!(parse_segment(&segment(id)), Some(id));
    }

    #[test]
    fn what_others_put_beside_ours_is_not_ours() {
        for name in [
            "log/floor",
            "log/.lock",
            "log/1/7",
            "log/1/x",
            "log/1/00000000000000000042/x",
            "blog/1/2",
        ] {
            assert_eq!(parse_log_entry(&Path::from(name)), None, "{name}");
        }
        assert_eq!(
            parse_log_entry(&Path::from("log/01/00000000000000000042")),
            None
        );
        assert_eq!(
            parse_archive_chunk(&Path::from(
                "archive/1/00000000000000000009-00000000000000000007"
            )),
            None
        );
        assert_eq!(
            parse_snapshot(&Path::from("snapshots/1/00000000000000000042-FEED")),
            None
        );
        assert_eq!(parse_segment(&Path::from("segments/00/seg-1")), None);
    }

    #[test]
    fn names_sort_as_their_numbers() {
        let name = |n| log_entry(Lsn::new(Generation::FIRST, n));
        assert!(name(9) < name(10) && name(999) < name(1_000_000));
    }

    #[test]
    fn a_table_folder_survives_any_table_name() {
        let uuid = TableUuid::from_u128(0x0123_4567_89ab_cdef << 64);
        assert_eq!(
            table("shop", "orders", uuid).as_ref(),
            "tables/shop/orders__01234567"
        );
        let odd = table("a/b", "..", uuid);
        let long = table("shop", &"x".repeat(249), uuid);
        let name = long.filename().expect("a folder");
        assert_eq!(name.len(), FOLDER_BYTES_MAX);
        assert!(
            name.ends_with("x__0123456789abcdef0000000000000000"),
            "{name}"
        );
        let wide = table(&"é".repeat(300), &"/".repeat(249), uuid);
        assert!(
            wide.parts()
                .all(|part| part.as_ref().len() <= FOLDER_BYTES_MAX),
            "{wide}"
        );

        assert_eq!(odd.parts().count(), 3, "{odd}");
        let (file, id) = (table_metadata(&odd, 7, Uuid::nil()), Uuid::nil());
        assert_eq!(
            file.as_ref(),
            format!("{odd}/metadata/00007-{id}.metadata.json")
        );
        let file = table_data_file(&odd, "event_date=2026-11-22", id, 3);
        assert_eq!(
            file.as_ref(),
            format!("{odd}/data/event_date=2026-11-22/{id}-00003.parquet")
        );
    }
}
