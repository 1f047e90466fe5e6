//! `/v1/schemas/{topic}`: the brief's registry, a thin layer over the subject `{topic}-value`.
//!
//! - `POST {definition, compatibility}` → `{schema_id, version, compatible, columns}`; the definition is Avro, as
//!   JSON or as a text of JSON. The level, if there is one, is set in the same proposal.
//! - `GET ?version=3` → `{schema_id, topic, version, definition, compatibility, columns}`; the latest
//!   without a version. `schema_id` is the schema's GUID, which Confluent's API shows too.
//! - `columns` are what the schema asks of a table: `{name, type, field}`. `field` is the payload's field,
//!   whose column has another name where SQL or Iceberg keeps that one for itself.
//! - Errors are `application/problem+json` (RFC 9457) with a stable code.

use axum::Router;
use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tarn_schema::field_name;
use tarn_state::{Schema, topic_names};

use crate::body::{BodyError, in_form};
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

/// A problem as RFC 9457 writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    status: u16,
    code: &'static str,
    title: &'static str,
    detail: String,
}

impl Problem {
    fn new(
        status: u16,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem {
            status,
            code,
            title,
            detail: detail.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        });
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body.to_string(),
        )
            .into_response()
    }
}

impl From<SchemaError> for Problem {
    fn from(error: SchemaError) -> Problem {
        let detail = error.to_string();
        match error {
            SchemaError::Format(_) | SchemaError::References | SchemaError::Parse(_) => {
                Problem::new(422, "TARN-1111", "invalid schema", detail)
            }
            SchemaError::Columns(_) => {
                Problem::new(422, "TARN-1112", "no table can hold the schema", detail)
            }
            SchemaError::Incompatible(_) => {
                Problem::new(409, "TARN-1113", "incompatible schema", detail)
            }
            SchemaError::NoVersion(_)
            | SchemaError::Deleted
            | SchemaError::NotDeleted
            | SchemaError::NoSubject(_) => Problem::new(404, "TARN-1115", "no such schema", detail),
            SchemaError::Refused(_) => Problem::new(422, "TARN-1114", "schema refused", detail),
            SchemaError::Late(_) => Problem::new(503, "TARN-1001", "not now", detail),
        }
    }
}

impl From<tarn_replica::BarrierError> for Problem {
    fn from(error: tarn_replica::BarrierError) -> Problem {
        SchemaError::from(error).into()
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Problem {
        match error {
            BodyError::TooLarge { .. } => {
                Problem::new(413, "TARN-1002", "body too large", error.to_string())
            }
            BodyError::Broken => {
                Problem::new(400, "TARN-1003", "malformed request", error.to_string())
            }
            BodyError::NoMemory => Problem::new(503, "TARN-1001", "not now", error.to_string()),
        }
    }
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(400, "TARN-1003", "malformed request", detail)
}

fn check_topic(topic: &str) -> Result<String, Problem> {
    match topic_names::check(topic) {
        Ok(()) => Ok(format!("{topic}-value")),
        Err(problem) => Err(Problem::new(
            400,
            "TARN-1101",
            "invalid topic name",
            problem.to_string(),
        )),
    }
}

async fn register(
    Shared(registry): Shared<Registry>,
    Path(topic): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
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
) -> Result<Response, Problem> {
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
        Problem::new(404, "TARN-1115", "no such schema", detail)
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
