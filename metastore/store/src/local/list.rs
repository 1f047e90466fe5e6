//! The first objects of a local folder in the order of their names.
//!
//! Holds: only what is answered is looked at beyond its name, so a page costs the names of its folder
//! and not what the file system knows of each. `LocalFileSystem` lists in any order and asks about
//! every file.

use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::path::Path as FilePath;

use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectMeta, Result as ObjectResult};

use super::{LOCK, LocalStore, TEMPORARY, e_tag, failed};

/// One name in a folder, as it stands in the order of whole paths: a folder's name ends in a slash.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    path: String,
    is_folder: bool,
}

/// A page on its way.
#[derive(Debug)]
struct Page {
    after: String,
    max: usize,
    found: Vec<ObjectMeta>,
    /// A file was gone when it was looked at: the page may be short although more is there.
    is_short: bool,
}

impl LocalStore {
    /// At most `max` objects under `prefix`, after `after`; fewer only if there are no more.
    pub(crate) async fn list_first(
        &self,
        prefix: &Path,
        after: Option<&Path>,
        max: usize,
    ) -> ObjectResult<Vec<ObjectMeta>> {
        let (prefix, after) = (prefix.clone(), after.cloned());
        self.blocking(move |inner| {
            let folder = match prefix.as_ref() {
                "" => inner.root.clone(),
                _ => inner.reads.path_to_filesystem(&prefix)?,
            };
            let mut start = String::from(prefix);
            if !start.is_empty() {
                start.push('/');
            }
            let mut page = Page {
                after: after.map(String::from).unwrap_or_default(),
                max,
                found: Vec::new(),
                is_short: true,
            };
            while page.is_short && page.found.len() < max {
                page.is_short = false;
                page.walk(&folder, &start)?;
            }
            Ok(page.found)
        })
        .await
    }
}

impl Page {
    /// Adds what lies in this folder, whose paths begin with `prefix`.
    fn walk(&mut self, folder: &FilePath, prefix: &str) -> ObjectResult<()> {
        for name in self.names(folder, prefix)? {
            if self.found.len() >= self.max {
                return Ok(());
            }
            let last = name.path.trim_end_matches('/').rsplit('/').next();
            let file = folder.join(last.unwrap_or_default());
            if name.is_folder {
                self.walk(&file, &name.path)?;
                continue;
            }
            match object(&name.path, &file)? {
                Some(object) => self.found.push(object),
                None => self.is_short = true,
            }
            self.after = name.path;
        }
        Ok(())
    }

    /// The folders in a folder that may hold something behind `after`, and of the files behind it no
    /// more than are wanted, however many there are.
    fn names(&self, folder: &FilePath, prefix: &str) -> ObjectResult<Vec<Name>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // It was never written to, or went meanwhile, or is an object's name.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed("listing", folder)(error)),
        };
        // Names are compared without what they have in common: it is done for each of them.
        let after = match self.after.strip_prefix(prefix) {
            Some(name) => name,
            None if prefix > self.after.as_str() => "",
            None => return Ok(Vec::new()),
        };
        let wanted = self.max - self.found.len();
        let mut names = Vec::new();
        let mut files: BinaryHeap<String> = BinaryHeap::new();
        for entry in entries {
            let entry = entry.map_err(failed("listing", folder))?;
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str() else {
                continue;
            };
            let kind = entry.file_type().map_err(failed("listing", folder))?;
            let is_folder = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
            if is_folder {
                let inner = format!("{name}/");
                // All paths in it begin with its own.
                let is_behind = inner.as_str() > after || after.starts_with(&inner);
                if is_behind && is_object(prefix, name) {
                    let path = format!("{prefix}{inner}");
                    names.push(Name { path, is_folder });
                }
                continue;
            }
            let is_full = files.len() >= wanted;
            let is_too_late = is_full && files.peek().is_none_or(|last| name >= last.as_str());
            if name > after && !is_too_late && is_object(prefix, name) {
                files.push(name.to_owned());
                if is_full {
                    files.pop();
                }
            }
        }
        names.extend(files.into_iter().map(|name| Name {
            path: format!("{prefix}{name}"),
            is_folder: false,
        }));
        names.sort_unstable();
        Ok(names)
    }
}

/// Could this name be part of an object's path?
fn is_object(prefix: &str, name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name == LOCK || (prefix.is_empty() && name == TEMPORARY) {
        return false;
    }
    name.bytes().all(is_plain) || Path::parse(name).is_ok()
}

/// The object in a file; `None` if it is gone by now.
fn object(path: &str, file: &FilePath) -> ObjectResult<Option<ObjectMeta>> {
    #[cfg(test)]
    tests::LOOKED_AT.set(tests::LOOKED_AT.get() + 1);
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("reading", file)(error)),
    };
    let modified = meta.modified().map_err(failed("reading", file))?;
    Ok(Some(ObjectMeta {
        location: Path::parse(path).map_err(|source| ObjectError::InvalidPath { source })?,
        last_modified: modified.into(),
        size: meta.len(),
        e_tag: Some(e_tag(&meta)),
        version: None,
    }))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;
    use tarn_runtime::Runtime;

    use super::*;
    use crate::{Options, Store};

    thread_local! {
        /// Files that were looked at beyond their names.
        pub(super) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    #[tokio::test]
    async fn pages_follow_the_order_of_whole_paths() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = Runtime::real();
        let local = LocalStore::open(folder.path(), false, &runtime).expect("opens");
        let store = Store::local(local, Options::default(), &runtime);
        // A slash sorts behind a dot and a minus.
        let mut names = vec!["a", "a-b/x", "a.b", "b/c/1", "b/c/2", "b/d", "b-", "c/x"];
        for name in &names {
            let path = Path::parse(name).expect("a path");
            store.put(&path, Bytes::new()).await.expect("put");
        }
        names.sort_unstable();
        for size in 1..=names.len() + 1 {
            let mut found: Vec<Path> = Vec::new();
            loop {
                let page = store.list(&Path::default(), found.last(), size).await;
                let page = page.expect("lists");
                let is_full = page.len() == size;
                found.extend(page.into_iter().map(|listed| listed.path));
                if !is_full {
                    break;
                }
            }
            let found: Vec<&str> = found.iter().map(Path::as_ref).collect();
            assert_eq!(found, names, "pages of {size}");
        }
        let under = store.list(&Path::from("b"), None, 10).await.expect("lists");
        let under: Vec<&str> = under.iter().map(|listed| listed.path.as_ref()).collect();
        assert_eq!(under, ["b/c/1", "b/c/2", "b/d"]);
    }

    #[test]
    fn a_page_keeps_no_more_names_than_it_has_places() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..100 {
            fs::write(folder.path().join(format!("{number:03}")), b"").expect("written");
        }
        let mut page = Page {
            after: "x/009".to_owned(),
            max: 5,
            found: Vec::new(),
            is_short: false,
        };
        let names = page.names(folder.path(), "x/").expect("lists");
        let paths: Vec<&str> = names.iter().map(|name| name.path.as_str()).collect();
        assert_eq!(paths, ["x/010", "x/011", "x/012", "x/013", "x/014"]);
        LOOKED_AT.set(0);
        page.walk(folder.path(), "x/").expect("lists");
        assert_eq!((page.found.len(), LOOKED_AT.get()), (5, 5));
    }
}
