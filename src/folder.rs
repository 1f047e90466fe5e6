//! The folder of `tarn dev`: made if absent, and held by one process at a time. An ephemeral one is
//! removed with the process; what a killed one left is removed by the next.
//!
//! Leaves to others: what lies in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tarn_store::Options;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// How long a folder that is held may still be let go of. A killed process is there for a moment: the
/// operating system takes its memory first.
const HELD_WITHIN: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(50);
const LOCK: &str = ".lock";
const EPHEMERAL: &str = "tarn-ephemeral-";
/// A lock file so young may belong to a process that is about to lock it.
const YOUNG: Duration = Duration::from_secs(60);

/// A data folder that this process holds until it ends.
#[derive(Debug)]
pub(crate) struct DataFolder {
    pub(crate) path: PathBuf,
    /// Somebody else held it a moment ago, and may still be letting go of its ports.
    pub(crate) was_held: bool,
    /// The operating system lets go of the lock when the process dies, however it dies.
    _lock: File,
    ephemeral: Option<TempDir>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("data folder {path} cannot be used: {why}. Choose another with --data-dir")]
    Unusable { path: String, why: std::io::Error },
    #[error(
        "data folder {path} is in use by another tarn (process {owner}). Stop it, or choose another folder with --data-dir"
    )]
    Held { path: String, owner: String },
    #[error(
        "no temporary folder can be made: {why}. Set TMPDIR to a folder that can be written to"
    )]
    NoTemporary { why: std::io::Error },
}

impl DataFolder {
    /// Makes the folder if absent and takes its lock.
    pub(crate) async fn open(path: &Path) -> Result<DataFolder, FolderError> {
        let unusable = |why| FolderError::Unusable {
            path: path.display().to_string(),
            why,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(unusable)?;
        let deadline = Instant::now() + HELD_WITHIN;
        let mut was_held = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    if !was_held {
                        info!(folder = %path.display(), "another process holds the data folder, waiting a moment");
                    }
                    was_held = true;
                    sleep(ASK_AGAIN).await;
                }
                Err(TryLockError::WouldBlock) => return Err(held(&path, &mut lock)),
                Err(TryLockError::Error(why)) => return Err(unusable(why)),
            }
        }
        lock.set_len(0).map_err(unusable)?;
        lock.rewind().map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(DataFolder {
            path,
            was_held,
            _lock: lock,
            ephemeral: None,
        })
    }

    /// A fresh folder among the machine's temporary ones, removed when this is dropped.
    pub(crate) async fn ephemeral() -> Result<DataFolder, FolderError> {
        let made = tempfile::Builder::new().prefix(EPHEMERAL).tempdir();
        let ephemeral = made.map_err(|why| FolderError::NoTemporary { why })?;
        if let Some(among) = ephemeral.path().parent() {
            sweep(among);
        }
        let folder = DataFolder::open(ephemeral.path()).await?;
        Ok(DataFolder {
            ephemeral: Some(ephemeral),
            ..folder
        })
    }

    pub(crate) fn is_ephemeral(&self) -> bool {
        self.ephemeral.is_some()
    }

    /// How its store behaves: what goes with the process need not outlive the machine.
    pub(crate) fn store_options(&self) -> Options {
        Options {
            fsync: !self.is_ephemeral(),
            ..Options::default()
        }
    }
}

fn held(path: &Path, lock: &mut File) -> FolderError {
    let mut owner = String::new();
    // Who holds it may be writing its number at this moment: an empty one will do.
    let _ = lock.read_to_string(&mut owner);
    let owner = match owner.trim() {
        "" => "unknown",
        owner => owner,
    };
    FolderError::Held {
        path: path.display().to_string(),
        owner: owner.to_owned(),
    }
}

/// Removes ephemeral folders whose processes were killed: nobody holds their locks.
fn sweep(among: &Path) {
    let Ok(entries) = fs::read_dir(among) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(EPHEMERAL);
        if is_ours && is_left_over(&entry.path()) {
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => {
                    info!(folder = %entry.path().display(), "removed what a killed process left")
                }
                Err(error) => {
                    warn!(folder = %entry.path().display(), %error, "a left-over folder stays")
                }
            }
        }
    }
}

/// A folder without lock is one that somebody is making; what is not ours cannot be opened.
fn is_left_over(folder: &Path) -> bool {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir());
    let lock = OpenOptions::new().write(true).open(folder.join(LOCK));
    let Ok(lock) = lock else {
        return false;
    };
    let age = lock.metadata().and_then(|found| found.modified());
    let age = age.map(|written| written.elapsed().unwrap_or_default());
    is_folder && age.is_ok_and(|age| age > YOUNG) && lock.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_holder_waits_a_moment_and_is_told_who_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let held = DataFolder::open(&path).await.expect("free");
        assert!(!held.was_held);
        let error = DataFolder::open(&path).await.expect_err("held").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");

        // One that is about to let go.
        let letting_go = async {
            sleep(HELD_WITHIN / 2).await;
            drop(held);
        };
        let (next, ()) = tokio::join!(DataFolder::open(&path), letting_go);
        assert!(next.expect("free in time").was_held);
    }

    #[tokio::test]
    async fn an_ephemeral_folder_goes_with_its_holder() {
        let folder = DataFolder::ephemeral().await.expect("a folder");
        let path = folder.path.clone();
        fs::write(path.join("file"), "kept for now").expect("it is ours");
        assert!(folder.is_ephemeral() && path.exists());
        drop(folder);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_what_stays_is_made_durable() {
        let ephemeral = DataFolder::ephemeral().await.expect("a folder");
        assert!(!ephemeral.store_options().fsync);
        let among = tempfile::tempdir().expect("a folder");
        let stays = DataFolder::open(&among.path().join("stays")).await;
        assert!(stays.expect("a folder").store_options().fsync);
    }

    #[tokio::test]
    async fn what_a_killed_holder_left_is_swept_and_nothing_else() {
        let among = tempfile::tempdir().expect("a folder");
        let make = |name: &str, with_lock: bool, age: Duration| {
            let folder = among.path().join(name);
            fs::create_dir(&folder).expect("it is new");
            if with_lock {
                let lock = File::create(folder.join(LOCK)).expect("it is new");
                let written = lock
                    .metadata()
                    .and_then(|found| found.modified())
                    .expect("a time");
                lock.set_modified(written - age).expect("ours");
            }
            folder
        };
        let killed = make("tarn-ephemeral-killed", true, 2 * YOUNG);
        let held = make("tarn-ephemeral-held", true, 2 * YOUNG);
        let lock = File::open(held.join(LOCK)).expect("there");
        lock.try_lock().expect("free");
        let kept = [
            held,
            make("tarn-ephemeral-young", true, Duration::ZERO),
            make("tarn-ephemeral-being-made", false, Duration::ZERO),
            make("somebody-elses", true, 2 * YOUNG),
        ];
        sweep(among.path());
        assert!(!killed.exists());
        for folder in kept {
            assert!(folder.exists(), "{}", folder.display());
        }
    }
}
