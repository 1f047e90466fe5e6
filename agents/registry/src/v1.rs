//! `/v1/schemas/{topic}`: the brief's registry, a thin layer over the subject `{topic}-value`.
//!
//! - `POST {definition, compatibility}` → `{schema_id, version, compatible, columns}`; the definition is Avro, as
//!   JSON or as a text of JSON. The level, if there is one, is set in the same proposal.
//! - `GET ?version=3` → `{schema_id, topic, version, definition, compatibility, columns}`; the latest
//!   without a version. `schema_id` is the schema's GUID, which Confluent's API shows too.
//! - `columns` are what the schema asks of a table: `{name, type, field}`. `field` is the payload's field,
//!   whose column has another name where SQL or Iceberg keeps that one for itself.
//! - Errors are `application/problem+json` (RFC 9457) with a code of the one list.

use axum::Router;
use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tarn_model::codes::{self, Code};
use tarn_runtime::http::{BodyError, Problem};
use tarn_schema::field_name;
use tarn_state::{Schema, topic_names};

use crate::body::in_form;
use crate::registry::Registry;
use crate::subjects::{
    SchemaError, Which, find_subject, find_version, guid, level_name, parse_level, parse_schema,
};

pub(super) fn router(registry: Registry) -> Router {
    Router::new()
        .route("/v1/schemas/{topic}", post(register).get(get_schema))
        .layer(map_response(|response: Response| {
            in_form(response, |_, why| malformed(why).into_response())
        }))
        .with_state(registry)
}

/// A refusal on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
struct V1Error(Problem);

impl V1Error {
    fn new(code: &'static Code, detail: impl Into<String>) -> V1Error {
        V1Error(Problem::new(code, detail))
    }
}

impl IntoResponse for V1Error {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<SchemaError> for V1Error {
    fn from(error: SchemaError) -> V1Error {
        let code = match &error {
            SchemaError::Format(_)
            | SchemaError::References
            | SchemaError::NoReference { .. }
            | SchemaError::Parse(_) => &codes::SCHEMA_INVALID,
            SchemaError::Columns(_) => &codes::SCHEMA_COLUMNS,
            SchemaError::Incompatible(_) => &codes::SCHEMA_INCOMPATIBLE,
            SchemaError::NoVersion(_)
            | SchemaError::Deleted
            | SchemaError::NotDeleted
            | SchemaError::NoSubject(_) => &codes::NO_SUCH_SCHEMA,
            SchemaError::Refused(_) | SchemaError::Referenced { .. } => &codes::SCHEMA_REFUSED,
            SchemaError::Late(_) => &codes::REGISTRY_NOT_NOW,
        };
        V1Error::new(code, error.to_string())
    }
}

impl From<tarn_replica::BarrierError> for V1Error {
    fn from(error: tarn_replica::BarrierError) -> V1Error {
        SchemaError::from(error).into()
    }
}

impl From<BodyError> for V1Error {
    fn from(error: BodyError) -> V1Error {
        let code = match error {
            BodyError::TooLarge { .. } => &codes::REGISTRY_BODY_TOO_LARGE,
            BodyError::Broken | BodyError::TooSlow => &codes::REGISTRY_MALFORMED,
            BodyError::NoMemory => &codes::REGISTRY_NOT_NOW,
        };
        V1Error::new(code, error.to_string())
    }
}

fn malformed(detail: impl Into<String>) -> V1Error {
    V1Error::new(&codes::REGISTRY_MALFORMED, detail)
}

fn check_topic(topic: &str) -> Result<String, V1Error> {
    match topic_names::check(topic) {
        Ok(()) => Ok(format!("{topic}-value")),
        Err(problem) => Err(V1Error::new(&codes::TOPIC_NAME, problem.to_string())),
    }
}

async fn register(
    Shared(registry): Shared<Registry>,
    Path(topic): Path<String>,
    request: Request,
) -> Result<Response, V1Error> {
    let deadline = registry.deadline();
    let subject = check_topic(&topic)?;
    let (body, _permit) = registry.body(request, deadline).await?;
    let body: Map<String, Value> = match serde_json::from_slice(&body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(malformed("the body is not a JSON object")),
        Err(error) => return Err(malformed(format!("malformed JSON: {error}"))),
    };
    let definition = match body.get("definition") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => return Err(malformed("\"definition\" is missing")),
        Some(json) => json.to_string(),
    };
    let compatibility = match body.get("compatibility") {
        None | Some(Value::Null) => None,
        Some(level) => Some(level.as_str().and_then(parse_level).ok_or_else(|| {
            malformed("\"compatibility\" is one of NONE, BACKWARD, FORWARD, FULL and their _TRANSITIVE forms")
        })?),
    };
    let schema = parse_schema(&definition, None, 0)?;
    let found = registry
        .register(&subject, &schema, compatibility, deadline)
        .await?;
    let body = json!({"schema_id": guid(&found.schema), "version": found.version, "compatible": true, "columns": columns(&found.schema)});
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response())
}

fn columns(schema: &Schema) -> Vec<Value> {
    schema
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind.to_string(),
                "field": field_name(&column.name),
            })
        })
        .collect()
}

#[derive(Debug, Deserialize)]
struct VersionQuery {
    version: Option<String>,
}

async fn get_schema(
    Shared(registry): Shared<Registry>,
    Path(topic): Path<String>,
    Query(query): Query<VersionQuery>,
    headers: HeaderMap,
) -> Result<Response, V1Error> {
    let deadline = registry.deadline();
    let subject = check_topic(&topic)?;
    let which = match query.version.as_deref() {
        None | Some("latest") => Which::Latest,
        Some(text) => Which::Number(
            text.parse()
                .map_err(|_| malformed(format!("{text:?} is not a version of a schema")))?,
        ),
    };
    // The latest version and the level are to be fresh; one number is what it always was, but its
    // level is not.
    let view = registry.metastore().barrier(deadline).await?;
    let found = find_version(&view, &subject, which, false).ok_or_else(|| {
        let detail = match (which, find_subject(&view, &subject).is_some()) {
            (Which::Number(version), true) => {
                format!("the schema of topic {topic} has no version {version}")
            }
            _ => format!("topic {topic} has no schema"),
        };
        V1Error::new(&codes::NO_SUCH_SCHEMA, detail)
    })?;
    let level = view
        .subject(&subject)
        .and_then(|subject| subject.compatibility)
        .unwrap_or(view.compatibility);
    let etag = format!(
        "\"{}-{}-{}\"",
        guid(&found.schema),
        found.version,
        level_name(level)
    );
    let cache = match which {
        Which::Latest => "no-cache",
        Which::Number(_) => "max-age=60",
    };
    let caching = [
        (header::ETAG, etag.clone()),
        (header::CACHE_CONTROL, cache.to_owned()),
    ];
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == etag.as_bytes())
    {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let definition: Value = serde_json::from_str(&found.schema.text)
        .unwrap_or_else(|_| Value::String(found.schema.text.clone()));
    let body = json!({
        "schema_id": guid(&found.schema),
        "topic": topic,
        "version": found.version,
        "definition": definition,
        "compatibility": level_name(level),
        "columns": columns(&found.schema),
    });
    Ok((
        caching,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response())
}
