//! The data folder of `tarn dev`: made if absent, and held by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A data folder that this process holds until it ends.
#[derive(Debug)]
pub(crate) struct DataFolder {
    pub(crate) path: PathBuf,
    /// The operating system lets go of the lock when the process dies, however it dies.
    _lock: File,
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
}

impl DataFolder {
    /// Makes the folder if absent and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<DataFolder, FolderError> {
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
            .open(path.join(".lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Who holds it may be writing its number at this moment: an empty one will do.
                let _ = lock.read_to_string(&mut owner);
                let owner = if owner.trim().is_empty() {
                    "unknown"
                } else {
                    owner.trim()
                };
                return Err(FolderError::Held {
                    path: path.display().to_string(),
                    owner: owner.to_owned(),
                });
            }
            Err(TryLockError::Error(why)) => return Err(unusable(why)),
        }
        lock.set_len(0).map_err(unusable)?;
        lock.rewind().map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(DataFolder { path, _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let path = std::env::temp_dir().join(format!("tarn-folder-{}", std::process::id()));
        let held = DataFolder::open(&path).expect("free");
        let error = DataFolder::open(&path).expect_err("held").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        drop(DataFolder::open(&path).expect("free again"));
        fs::remove_dir_all(&path).expect("ours");
    }
}
