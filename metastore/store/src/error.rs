//! Why object storage did not do what it was asked, and whether a write happened.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use object_store::Error as ObjectError;
use object_store::path::Path;
use tarn_model::{Fate, Kind};

/// A request to object storage failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("{path} does not exist")]
    NotFound { path: Path },
    /// Another content stands under this name; never said of one's own bytes.
    #[error("{path} exists with another content")]
    AlreadyExists { path: Path },
    /// A conditional update kept losing against others until the deadline.
    #[error("{path} was changed by others at the same time")]
    PreconditionFailed { path: Path },
    /// Retried until the deadline. `fate` is that of a write; a read is always `NotDone`.
    #[error("object storage does not answer for {path}: {reason}")]
    Unavailable {
        path: Path,
        fate: Fate,
        reason: String,
    },
    /// The disk or the quota is full. Nothing was written.
    #[error("no space is left for {path}: {reason}")]
    Full { path: Path, reason: String },
    /// Credentials or file permissions do not allow it.
    #[error("access to {path} is denied: {reason}")]
    Denied { path: Path, reason: String },
    /// What was read is not what was asked for.
    #[error("{path} is damaged: {reason}")]
    Corrupt { path: Path, reason: String },
    /// The request can never succeed with this store.
    #[error("the request for {path} is invalid: {reason}")]
    Invalid { path: Path, reason: String },
}

impl StoreError {
    pub fn kind(&self) -> Kind {
        match self {
            StoreError::NotFound { .. } => Kind::NotFound,
            StoreError::AlreadyExists { .. } | StoreError::PreconditionFailed { .. } => {
                Kind::Conflict
            }
            StoreError::Unavailable { .. } | StoreError::Full { .. } => Kind::Unavailable,
            StoreError::Denied { .. } => Kind::Denied,
            StoreError::Corrupt { .. } => Kind::Corrupt,
            StoreError::Invalid { .. } => Kind::Invalid,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            StoreError::Unavailable { fate, .. } => *fate,
            StoreError::NotFound { .. }
            | StoreError::AlreadyExists { .. }
            | StoreError::PreconditionFailed { .. }
            | StoreError::Full { .. }
            | StoreError::Denied { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Invalid { .. } => Fate::NotDone,
        }
    }
}

/// What one attempt's error tells.
#[derive(Debug)]
pub(crate) enum Failure {
    NotFound,
    /// 409, 412, "already exists": also what a retry hears about its own earlier success.
    Conflict,
    /// Final, and the attempt had no effect.
    Final(StoreError),
    /// Try again; the attempt may have had its effect.
    Ambiguous(String),
}

impl Failure {
    pub(crate) fn of(path: &Path, error: &ObjectError) -> Failure {
        let path = path.clone();
        match error {
            ObjectError::NotFound { .. } => Failure::NotFound,
            ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. } => {
                Failure::Conflict
            }
            ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => {
                Failure::Final(StoreError::Denied {
                    path,
                    reason: error.to_string(),
                })
            }
            ObjectError::NotSupported { .. }
            | ObjectError::NotImplemented { .. }
            | ObjectError::InvalidPath { .. }
            | ObjectError::UnknownConfigurationKey { .. } => Failure::Final(StoreError::Invalid {
                path,
                reason: error.to_string(),
            }),
            _ => match io_error(error).map(io::Error::kind) {
                Some(
                    io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge,
                ) => Failure::Final(StoreError::Full {
                    path,
                    reason: error.to_string(),
                }),
                Some(
                    io::ErrorKind::InvalidFilename
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory,
                ) => Failure::Final(StoreError::Invalid {
                    path,
                    reason: error.to_string(),
                }),
                Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                    Failure::Final(StoreError::Denied {
                        path,
                        reason: error.to_string(),
                    })
                }
                _ => Failure::Ambiguous(error.to_string()),
            },
        }
    }
}

/// The I/O error at the bottom of an error's chain.
fn io_error(error: &ObjectError) -> Option<&io::Error> {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(at) = source {
        if let Some(io) = at.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = at.source();
    }
    None
}

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
