//! Deleting subjects and versions, in Confluent's two steps: once, and then for good.

use axum::extract::{Path, Query, State as Shared};
use serde::Deserialize;
use serde_json::json;

use crate::registry::Registry;
use crate::subjects::{SchemaError, Which};

use super::{Answer, Failure, answer, find_version_of, which};

#[derive(Debug, Deserialize)]
pub(super) struct Deletion {
    #[serde(default)]
    permanent: bool,
}

/// Answers with the versions that are deleted now.
pub(super) async fn delete_subject(
    Shared(registry): Shared<Registry>,
    Path(subject): Path<String>,
    Query(deletion): Query<Deletion>,
) -> Answer {
    let deadline = registry.deadline();
    let deleted = registry
        .delete(&subject, None, deletion.permanent, deadline)
        .await;
    let failure = |error| match error {
        SchemaError::Deleted => {
            let why = format!(
                "Subject '{subject}' was soft deleted.Set permanent=true to delete permanently"
            );
            Failure::new(404, 40404, why)
        }
        SchemaError::NotDeleted => {
            let why = format!(
                "Subject '{subject}' was not deleted first before being permanently deleted"
            );
            Failure::new(404, 40405, why)
        }
        other => other.into(),
    };
    Ok(answer(json!(deleted.map_err(failure)?)))
}

/// Answers with the version.
pub(super) async fn delete_version(
    Shared(registry): Shared<Registry>,
    Path((subject, version)): Path<(String, String)>,
    Query(deletion): Query<Deletion>,
) -> Answer {
    let deadline = registry.deadline();
    let number = match which(&version)? {
        Which::Number(number) => number,
        Which::Latest => {
            find_version_of(&registry, &subject, &version, deletion.permanent)
                .await?
                .version
        }
    };
    let deleted = registry
        .delete(&subject, Some(number), deletion.permanent, deadline)
        .await;
    let failure = |error| match error {
        SchemaError::NoVersion(_) => Failure::version(&version),
        SchemaError::Deleted => {
            let why = format!(
                "Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently"
            );
            Failure::new(404, 40406, why)
        }
        SchemaError::NotDeleted => {
            let why = format!(
                "Subject '{subject}' Version {version} was not deleted first before being permanently deleted"
            );
            Failure::new(404, 40407, why)
        }
        other => other.into(),
    };
    deleted.map_err(failure)?;
    Ok(answer(json!(number)))
}
