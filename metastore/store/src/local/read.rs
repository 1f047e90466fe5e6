//! Reads of a file, or of a range of it.
//!
//! Holds: a short read takes one trip to a blocking thread, where opening and reading on their own would
//! take two; a long one is read by whoever consumes it, as far as they do.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, Error as ObjectError, GetOptions, GetResult, GetResultPayload, ObjectMeta,
    Result as ObjectResult,
};

use super::failed;
use super::temporary::e_tag;

/// Reads of at most this many bytes are short.
const SHORT_MAX: u64 = 1 << 20;

/// Opens the file of this object and reads what was asked for, if that is short.
pub(super) fn read(path: PathBuf, location: Path, options: &GetOptions) -> ObjectResult<GetResult> {
    let file = File::open(&path).map_err(failed("opening", &path))?;
    let found = file.metadata().map_err(failed("reading", &path))?;
    if found.is_dir() {
        return Err(ObjectError::NotFound {
            path: location.to_string(),
            source: "a folder is no object".into(),
        });
    }
    let modified = found.modified().map_err(failed("reading", &path))?;
    let meta = ObjectMeta {
        location,
        last_modified: modified.into(),
        size: found.len(),
        e_tag: Some(e_tag(&found)),
        version: None,
    };
    options.check_preconditions(&meta)?;
    let range = match &options.range {
        Some(range) => range
            .as_range(meta.size)
            .map_err(|error| ObjectError::Generic {
                store: "LocalStore",
                source: error.into(),
            })?,
        None => 0..meta.size,
    };
    let length = range.end - range.start;
    let payload = if length <= SHORT_MAX && !options.head {
        let mut bytes = vec![0; usize::try_from(length).expect("it is short")];
        file.read_exact_at(&mut bytes, range.start)
            .map_err(failed("reading", &path))?;
        let whole = async { Ok(Bytes::from(bytes)) };
        GetResultPayload::Stream(stream::once(whole.boxed()).boxed())
    } else {
        GetResultPayload::File(file, path)
    };
    Ok(GetResult {
        payload,
        meta,
        range,
        attributes: Attributes::default(),
    })
}
