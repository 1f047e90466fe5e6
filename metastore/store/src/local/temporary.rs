//! Files on their way to a name: written aside, renamed when they are whole, under a lock where it matters.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use object_store::Result as ObjectResult;

use super::{LOCK, failed};

/// A file without a name yet; removed unless it was renamed.
pub(super) struct Temporary {
    pub(super) file: PathBuf,
    pub(super) done: bool,
}

impl Temporary {
    pub(super) fn rename(mut self, to: &FilePath) -> ObjectResult<()> {
        fs::rename(&self.file, to).map_err(failed("renaming to", to))?;
        self.done = true;
        Ok(())
    }

    pub(super) fn make_newer_than(&self, other: SystemTime) -> ObjectResult<()> {
        let set = || {
            let own = fs::metadata(&self.file)?.modified()?;
            // The tag counts microseconds.
            if own < other + Duration::from_micros(1) {
                OpenOptions::new()
                    .write(true)
                    .open(&self.file)?
                    .set_modified(other + Duration::from_micros(2))?;
            }
            Ok(())
        };
        set().map_err(failed("dating", &self.file))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            // What stays behind is swept when the folder is opened a day later.
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// `LocalFileSystem`'s formula, so that every read and listing shows the tag that a write answered.
pub(super) fn e_tag(meta: &fs::Metadata) -> String {
    let micros = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .unwrap_or_default()
        .as_micros();
    format!("{:x}-{micros:x}-{:x}", meta.ino(), meta.len())
}

/// Holds an exclusive lock of `.update-lock` beside the file until dropped; the kernel drops it with the
/// process too. Waits for others, who hold it for the moment of a rename.
pub(super) fn lock_beside(file: &FilePath) -> ObjectResult<File> {
    let name = file.with_file_name(LOCK);
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(failed("opening", &name))?;
    lock.lock().map_err(failed("locking", &name))?;
    Ok(lock)
}
