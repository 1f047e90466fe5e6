//! Builds the client of an object store from its URL: the only place that does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use tarn_runtime::Runtime;

use crate::local::LocalStore;
use crate::store::{Options, Store};

/// The URL does not name a store that can be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{url:?} is not a store: use file:///folder, memory: or s3://bucket/prefix")]
    UnknownUrl { url: String },
    #[error("the folder {folder:?} cannot be used: {reason}")]
    Folder { folder: PathBuf, reason: String },
    #[error("{url} cannot be opened: {reason}")]
    Client { url: String, reason: String },
}

pub(crate) fn open(url: &str, options: Options, runtime: &Runtime) -> Result<Store, OpenError> {
    let (scheme, rest) = url.split_once(':').ok_or_else(|| OpenError::UnknownUrl {
        url: url.to_owned(),
    })?;
    match scheme {
        "memory" => Ok(Store::new(
            Arc::new(object_store::memory::InMemory::new()),
            options,
            runtime,
        )),
        "file" => {
            let folder = rest.strip_prefix("//").unwrap_or(rest);
            if !folder.starts_with('/') {
                return Err(OpenError::UnknownUrl {
                    url: url.to_owned(),
                });
            }
            let folder = LocalStore::open(std::path::Path::new(folder), options.fsync, runtime)?;
            Ok(Store::local(folder, options, runtime))
        }
        "s3" => open_s3(url, rest, options, runtime),
        _ => Err(OpenError::UnknownUrl {
            url: url.to_owned(),
        }),
    }
}

fn open_s3(url: &str, rest: &str, options: Options, runtime: &Runtime) -> Result<Store, OpenError> {
    let error = |reason: String| OpenError::Client {
        url: url.to_owned(),
        reason,
    };
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| OpenError::UnknownUrl {
            url: url.to_owned(),
        })?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(error("it names no bucket".to_owned()));
    }
    // `Store` retries with its own patience; the client's retries only smooth over single hiccups.
    let retry = RetryConfig {
        max_retries: 2,
        retry_timeout: Duration::from_secs(10),
        ..RetryConfig::default()
    };
    let s3 = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retry)
        .build()
        .map_err(|source| error(source.to_string()))?;
    let prefix = Path::parse(prefix).map_err(|source| error(source.to_string()))?;
    let objects: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
        Arc::new(s3)
    } else {
        Arc::new(PrefixStore::new(s3, prefix.clone()))
    };
    let base_url = format!("s3://{bucket}/{prefix}");
    Ok(Store::remote(
        objects,
        base_url.trim_end_matches('/').to_owned(),
        options,
        runtime,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_name_no_store_are_refused() {
        let runtime = Runtime::real();
        for url in [
            "",
            "folder",
            "file:relative",
            "ftp://x",
            "s3:bucket",
            "s3://",
        ] {
            assert!(open(url, Options::default(), &runtime).is_err(), "{url}");
        }
    }

    #[test]
    fn a_bucket_with_a_prefix_and_one_without_open() {
        let runtime = Runtime::real();
        for url in [
            "s3://bucket",
            "s3://bucket/",
            "s3://bucket/some/prefix",
            "memory:",
        ] {
            open(url, Options::default(), &runtime).expect(url);
        }
    }
}
