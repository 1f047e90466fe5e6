//! Which log a URL means.

use std::sync::Arc;

use tarn_model::Kind;
use tarn_runtime::Runtime;
use tarn_store::Store;

use crate::{CommitLog, LogError, MemoryLog, ObjectLog, Settings};

/// A log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{url:?} is not a commit log: use store: or memory:")]
    UnknownUrl { url: String },
    #[error("{0}")]
    Log(#[from] LogError),
}

impl OpenError {
    pub fn kind(&self) -> Kind {
        match self {
            OpenError::UnknownUrl { .. } => Kind::Invalid,
            OpenError::Log(error) => error.kind(),
        }
    }
}

/// Opens `store:`, the log that lies in the object store beside everything else ([`ObjectLog`]), or
/// `memory:`, a new one that ends with the process ([`MemoryLog`]).
pub async fn open(
    url: &str,
    store: &Store,
    runtime: &Runtime,
) -> Result<Arc<dyn CommitLog>, OpenError> {
    match url {
        "store:" => {
            let log = ObjectLog::open(store, Settings::default(), runtime).await?;
            Ok(Arc::new(log))
        }
        "memory:" => Ok(Arc::new(MemoryLog::new())),
        _ => Err(OpenError::UnknownUrl {
            url: url.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tarn_model::SessionId;

    use super::*;
    use crate::LogEntry;

    /// What is appended through one handle is seen through another exactly if both are in the store.
    #[tokio::test]
    async fn a_url_says_where_the_log_lies() {
        let runtime = Runtime::real();
        let store = Store::memory(&runtime);
        for (url, is_kept) in [("store:", true), ("memory:", false)] {
            let log = open(url, &store, &runtime).await.expect("it is empty");
            let nothing = log.end().await.expect("it answers");
            let entry = LogEntry {
                session: SessionId::from_u128(7),
                sequence: 1,
                applied_n: nothing.n,
                bytes: Bytes::from_static(b"entry"),
            };
            log.append(entry).await.expect("it is appended");
            let again = open(url, &store, &runtime).await.expect("it is there");
            let end = again.end().await.expect("it answers");
            assert_eq!(end != nothing, is_kept, "{url}");
        }
        let error = match open("etcd://one", &store, &runtime).await {
            Ok(_) => panic!("there is none yet"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("etcd://one"), "{error}");
    }
}
