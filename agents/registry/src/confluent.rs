//! Confluent's REST API, as far as serializers and deserializers call it, with its codes and texts.
//!
//! Bodies are JSON under `application/vnd.schemaregistry.v1+json`; errors are
//! `{"error_code": n, "message": "…"}`. Unknown fields of a request are ignored, as there.

use axum::Router;
use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tarn_model::{SchemaFormat, SchemaId, caps};
use tarn_runtime::http::BodyError;
use tarn_schema::PayloadSchema;
use tarn_state::Command;
use tarn_state::commands::SetCompatibility;
use tokio::time::Instant;

use crate::body::in_form;
use crate::registry::Registry;
use crate::subjects::{
    SchemaError, Version, Which, find_guid, find_subject, find_version, guid, level_name,
    parse_level, parse_schema, versions_of,
};

mod delete;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

pub(super) fn router(registry: Registry) -> Router {
    Router::new()
        .route("/", get(|| async { answer(json!({})) }))
        .route("/subjects", get(list_subjects))
        .route(
            "/subjects/{subject}",
            post(look_up).delete(delete::delete_subject),
        )
        .route(
            "/subjects/{subject}/versions",
            get(list_versions).post(register),
        )
        .route(
            "/subjects/{subject}/versions/{version}",
            get(get_version).delete(delete::delete_version),
        )
        .route(
            "/subjects/{subject}/versions/{version}/schema",
            get(get_version_schema),
        )
        .route(
            "/schemas/types",
            get(|| async { answer(json!([SchemaFormat::Avro.name()])) }),
        )
        .route("/schemas/ids/{id}", get(get_schema))
        .route("/schemas/ids/{id}/schema", get(get_schema_text))
        .route("/schemas/guids/{guid}", get(get_schema_by_guid))
        .route("/schemas/ids/{id}/subjects", get(get_schema_subjects))
        .route("/schemas/ids/{id}/versions", get(get_schema_versions))
        .route("/config", get(get_config).put(put_config))
        .route(
            "/config/{subject}",
            get(get_subject_config)
                .put(put_subject_config)
                .delete(delete_subject_config),
        )
        .route("/mode", get(get_mode))
        .route("/mode/{subject}", get(get_subject_mode))
        .fallback(|| async { Failure::new(404, 404, "HTTP 404 Not Found") })
        .method_not_allowed_fallback(|| async {
            Failure::new(405, 405, "HTTP 405 Method Not Allowed")
        })
        .layer(map_response(|response: Response| {
            in_form(response, rejected)
        }))
        .with_state(registry)
}

fn rejected(status: u16, why: String) -> Response {
    Failure::new(status, u32::from(status), why).into_response()
}

/// An error as Confluent writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    status: u16,
    code: u32,
    message: String,
}

impl Failure {
    fn new(status: u16, code: u32, message: impl Into<String>) -> Failure {
        Failure {
            status,
            code,
            message: message.into(),
        }
    }

    fn subject(subject: &str) -> Failure {
        Failure::new(404, 40401, format!("Subject '{subject}' not found."))
    }

    fn version(version: &str) -> Failure {
        Failure::new(404, 40402, format!("Version {version} not found."))
    }

    fn schema() -> Failure {
        Failure::new(404, 40403, "Schema not found")
    }

    fn late(why: impl ToString) -> Failure {
        Failure::new(
            500,
            50002,
            format!("Operation timed out: {}", why.to_string()),
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"error_code": self.code, "message": self.message});
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, answer(body)).into_response()
    }
}

impl From<SchemaError> for Failure {
    fn from(error: SchemaError) -> Failure {
        let message = error.to_string();
        match error {
            SchemaError::Format(_)
            | SchemaError::References
            | SchemaError::Parse(_)
            | SchemaError::NoReference { .. }
            | SchemaError::Columns(_) => Failure::new(422, 42201, message),
            SchemaError::Referenced { .. } => Failure::new(422, 42206, message),
            SchemaError::Incompatible(_) => Failure::new(409, 40901, message),
            SchemaError::NoSubject(_) => Failure::new(404, 40401, message),
            SchemaError::NoVersion(_) => Failure::new(404, 40402, message),
            // Whoever deletes says what exactly.
            SchemaError::Deleted | SchemaError::NotDeleted => Failure::new(404, 404, message),
            SchemaError::Refused(_) => Failure::new(422, 42205, message),
            SchemaError::Late(_) => Failure::late(message),
        }
    }
}

impl From<tarn_replica::BarrierError> for Failure {
    fn from(error: tarn_replica::BarrierError) -> Failure {
        Failure::late(error)
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Failure {
        match error {
            BodyError::TooLarge { .. } => Failure::new(413, 413, error.to_string()),
            BodyError::Broken | BodyError::TooSlow => Failure::new(400, 400, error.to_string()),
            BodyError::NoMemory => Failure::late(error),
        }
    }
}

type Answer = Result<Response, Failure>;

fn answer(body: Value) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], body.to_string()).into_response()
}

async fn object(
    registry: &Registry,
    request: Request,
    deadline: Instant,
) -> Result<Map<String, Value>, Failure> {
    let (body, _permit) = registry.body(request, deadline).await?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::new(400, 400, "the body is not a JSON object")),
        Err(error) => Err(Failure::new(400, 400, format!("malformed JSON: {error}"))),
    }
}

/// The schema that a body brings, parsed.
fn schema_of(body: &Map<String, Value>) -> Result<PayloadSchema, Failure> {
    let text = match body.get("schema") {
        Some(Value::String(text)) => text,
        Some(_) => return Err(Failure::new(422, 42201, "\"schema\" is not a string")),
        None => return Err(Failure::new(422, 42201, "Empty schema")),
    };
    if text.len() > caps::SCHEMA_BYTES_MAX {
        let why = format!(
            "the schema has {} bytes, more than {}",
            text.len(),
            caps::SCHEMA_BYTES_MAX
        );
        return Err(Failure::new(422, 42209, why));
    }
    let format = match body.get("schemaType") {
        None | Some(Value::Null) => None,
        Some(Value::String(format)) => Some(format.as_str()),
        Some(_) => return Err(Failure::new(422, 42201, "\"schemaType\" is not a string")),
    };
    let references = match body.get("references") {
        None | Some(Value::Null) => 0,
        Some(Value::Array(references)) => references.len(),
        Some(_) => return Err(Failure::new(422, 42201, "\"references\" is not an array")),
    };
    Ok(parse_schema(text, format, references)?)
}

fn check_subject(subject: &str) -> Result<(), Failure> {
    if subject.is_empty()
        || subject.len() > caps::NAME_BYTES_MAX
        || subject.chars().any(char::is_control)
    {
        return Err(Failure::new(
            422,
            42208,
            format!("The specified subject '{subject}' is not a valid."),
        ));
    }
    Ok(())
}

fn which(text: &str) -> Result<Which, Failure> {
    if matches!(text, "latest" | "-1") {
        return Ok(Which::Latest);
    }
    match text.parse::<u32>() {
        Ok(number) if number > 0 && i32::try_from(number).is_ok() => Ok(Which::Number(number)),
        _ => Err(Failure::new(
            422,
            42202,
            format!(
                "The specified version '{text}' is not a valid version id. Allowed values are between [1, 2^31-1] \
                 and the string \"latest\""
            ),
        )),
    }
}

fn schema_id(text: &str) -> Result<SchemaId, Failure> {
    text.parse()
        .map(SchemaId)
        .map_err(|_| Failure::new(404, 404, "HTTP 404 Not Found"))
}

fn body_of(subject: &str, found: &Version) -> Value {
    json!({
        "subject": subject,
        "version": found.version,
        "id": found.schema.id.0,
        "guid": guid(&found.schema),
        "schemaType": found.schema.format.name(),
        "schema": found.schema.text,
    })
}

/// Also what was deleted, and not for good yet?
#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(default)]
    deleted: bool,
}

async fn list_subjects(
    Shared(registry): Shared<Registry>,
    Query(listing): Query<Listing>,
) -> Answer {
    let deadline = registry.deadline();
    // The list says of every other subject that there is none.
    let view = registry.metastore().barrier(deadline).await?;
    let names: Vec<&String> = view
        .subjects
        .iter()
        .filter(|(_, subject)| {
            !subject.versions.is_empty() || (listing.deleted && !subject.deleted.is_empty())
        })
        .map(|(name, _)| name)
        .collect();
    Ok(answer(json!(names)))
}

async fn list_versions(
    Shared(registry): Shared<Registry>,
    Path(subject): Path<String>,
    Query(listing): Query<Listing>,
) -> Answer {
    let deadline = registry.deadline();
    let view = registry.metastore().barrier(deadline).await?;
    let found = view.subject(&subject);
    let mut versions: Vec<u32> = found.map_or_else(Vec::new, |found| {
        let deleted = found.deleted.keys().filter(|_| listing.deleted);
        found.versions.keys().chain(deleted).copied().collect()
    });
    if versions.is_empty() {
        return Err(Failure::subject(&subject));
    }
    versions.sort_unstable();
    Ok(answer(json!(versions)))
}

async fn register(
    Shared(registry): Shared<Registry>,
    Path(subject): Path<String>,
    request: Request,
) -> Answer {
    let deadline = registry.deadline();
    check_subject(&subject)?;
    let body = object(&registry, request, deadline).await?;
    let schema = schema_of(&body)?;
    let found = registry.register(&subject, &schema, None, deadline).await?;
    Ok(answer(json!({
        "id": found.schema.id.0,
        "version": found.version,
        "guid": guid(&found.schema),
        "schemaType": found.schema.format.name(),
        "schema": found.schema.text,
    })))
}

async fn look_up(
    Shared(registry): Shared<Registry>,
    Path(subject): Path<String>,
    request: Request,
) -> Answer {
    let deadline = registry.deadline();
    let body = object(&registry, request, deadline).await?;
    let schema = schema_of(&body)?;
    match registry
        .find(deadline, |state| {
            find_guid(state, &subject, schema.guid(&[]))
        })
        .await?
    {
        Some(found) => Ok(answer(body_of(&subject, &found))),
        // The search ended behind a barrier, so the view knows whether the subject is there.
        None if find_subject(&registry.metastore().view(), &subject).is_some() => {
            Err(Failure::schema())
        }
        None => Err(Failure::subject(&subject)),
    }
}

async fn find_version_of(
    registry: &Registry,
    subject: &str,
    version: &str,
    deleted: bool,
) -> Result<Version, Failure> {
    let deadline = registry.deadline();
    let which = which(version)?;
    let found = match which {
        // The latest of a lagging view is an old one.
        Which::Latest => find_version(
            &*registry.metastore().barrier(deadline).await?,
            subject,
            which,
            deleted,
        ),
        Which::Number(_) => {
            registry
                .find(deadline, |state| {
                    find_version(state, subject, which, deleted)
                })
                .await?
        }
    };
    match found {
        Some(found) => Ok(found),
        None if find_subject(&registry.metastore().view(), subject).is_some() => {
            Err(Failure::version(version))
        }
        None => Err(Failure::subject(subject)),
    }
}

async fn get_version(
    Shared(registry): Shared<Registry>,
    Path((subject, version)): Path<(String, String)>,
    Query(listing): Query<Listing>,
) -> Answer {
    let found = find_version_of(&registry, &subject, &version, listing.deleted).await?;
    Ok(answer(body_of(&subject, &found)))
}

async fn get_version_schema(
    Shared(registry): Shared<Registry>,
    Path((subject, version)): Path<(String, String)>,
    Query(listing): Query<Listing>,
) -> Answer {
    let found = find_version_of(&registry, &subject, &version, listing.deleted).await?;
    Ok(text(&found.schema.text))
}

/// A schema's text, which is JSON itself.
fn text(schema: &str) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], schema.to_owned()).into_response()
}

async fn find_schema(
    registry: &Registry,
    id: &str,
) -> Result<std::sync::Arc<tarn_state::Schema>, Failure> {
    let deadline = registry.deadline();
    let id = schema_id(id)?;
    registry
        .find(deadline, |state| state.schema(id).cloned())
        .await?
        .ok_or_else(Failure::schema)
}

async fn get_schema(Shared(registry): Shared<Registry>, Path(id): Path<String>) -> Answer {
    let schema = find_schema(&registry, &id).await?;
    Ok(answer(
        json!({"schema": schema.text, "schemaType": schema.format.name(), "guid": guid(&schema)}),
    ))
}

/// What a deserializer asks that found the GUID in a record's header.
async fn get_schema_by_guid(
    Shared(registry): Shared<Registry>,
    Path(guid): Path<String>,
) -> Answer {
    let deadline = registry.deadline();
    // A GUID that is none belongs to no schema.
    let bytes = uuid::Uuid::parse_str(&guid).map_err(|_| Failure::schema())?;
    let find = |state: &tarn_state::State| {
        let id = state.schema_guids.get(bytes.as_bytes())?;
        state.schema(*id).cloned()
    };
    let schema = registry
        .find(deadline, find)
        .await?
        .ok_or_else(Failure::schema)?;
    Ok(answer(json!({
        "id": schema.id.0,
        "guid": guid,
        "schema": schema.text,
        "schemaType": schema.format.name(),
    })))
}

async fn get_schema_text(Shared(registry): Shared<Registry>, Path(id): Path<String>) -> Answer {
    Ok(text(&find_schema(&registry, &id).await?.text))
}

async fn get_schema_subjects(Shared(registry): Shared<Registry>, Path(id): Path<String>) -> Answer {
    let deadline = registry.deadline();
    let id = schema_id(&id)?;
    let view = registry.metastore().barrier(deadline).await?;
    view.schema(id).ok_or_else(Failure::schema)?;
    let mut subjects: Vec<String> = versions_of(&view, id)
        .into_iter()
        .map(|(subject, _)| subject)
        .collect();
    subjects.dedup();
    Ok(answer(json!(subjects)))
}

async fn get_schema_versions(Shared(registry): Shared<Registry>, Path(id): Path<String>) -> Answer {
    let deadline = registry.deadline();
    let id = schema_id(&id)?;
    let view = registry.metastore().barrier(deadline).await?;
    view.schema(id).ok_or_else(Failure::schema)?;
    let versions: Vec<Value> = versions_of(&view, id)
        .into_iter()
        .map(|(subject, version)| json!({"subject": subject, "version": version}))
        .collect();
    Ok(answer(json!(versions)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigQuery {
    #[serde(default)]
    default_to_global: bool,
}

async fn get_config(Shared(registry): Shared<Registry>) -> Answer {
    let deadline = registry.deadline();
    let view = registry.metastore().barrier(deadline).await?;
    Ok(answer(
        json!({"compatibilityLevel": level_name(view.compatibility)}),
    ))
}

async fn get_subject_config(
    Shared(registry): Shared<Registry>,
    Path(subject): Path<String>,
    Query(query): Query<ConfigQuery>,
) -> Answer {
    let deadline = registry.deadline();
    let view = registry.metastore().barrier(deadline).await?;
    let own = view
        .subject(&subject)
        .and_then(|subject| subject.compatibility);
    match own {
        Some(level) => Ok(answer(json!({"compatibilityLevel": level_name(level)}))),
        None if query.default_to_global => Ok(answer(
            json!({"compatibilityLevel": level_name(view.compatibility)}),
        )),
        None => {
            let why =
                format!("Subject '{subject}' does not have subject-level compatibility configured");
            Err(Failure::new(404, 40408, why))
        }
    }
}

async fn put_config(Shared(registry): Shared<Registry>, request: Request) -> Answer {
    set_level(&registry, None, request).await
}

async fn put_subject_config(
    Shared(registry): Shared<Registry>,
    Path(subject): Path<String>,
    request: Request,
) -> Answer {
    check_subject(&subject)?;
    set_level(&registry, Some(subject), request).await
}

async fn set_level(registry: &Registry, subject: Option<String>, request: Request) -> Answer {
    let deadline = registry.deadline();
    let body = object(registry, request, deadline).await?;
    let level = body.get("compatibility").and_then(Value::as_str).and_then(parse_level).ok_or_else(|| {
        let why = "Invalid compatibility level. Valid values are none, backward, forward, full, \
                   backward_transitive, forward_transitive, and full_transitive";
        Failure::new(422, 42203, why)
    })?;
    let command = Command::SetCompatibility(SetCompatibility {
        subject,
        compatibility: Some(level),
    });
    registry
        .metastore()
        .propose(vec![command], deadline)
        .await
        .map_err(SchemaError::from)?;
    Ok(answer(json!({"compatibility": level_name(level)})))
}

/// Back to the global level; answers with the level that was set.
async fn delete_subject_config(
    Shared(registry): Shared<Registry>,
    Path(subject): Path<String>,
) -> Answer {
    let deadline = registry.deadline();
    let own = registry
        .find(deadline, |state| state.subject(&subject)?.compatibility)
        .await?;
    let own = own.ok_or_else(|| Failure::subject(&subject))?;
    let command = Command::SetCompatibility(SetCompatibility {
        subject: Some(subject),
        compatibility: None,
    });
    registry
        .metastore()
        .propose(vec![command], deadline)
        .await
        .map_err(SchemaError::from)?;
    Ok(answer(json!({"compatibilityLevel": level_name(own)})))
}

async fn get_mode() -> Response {
    answer(json!({"mode": "READWRITE"}))
}

async fn get_subject_mode(Path(subject): Path<String>, Query(query): Query<ConfigQuery>) -> Answer {
    if query.default_to_global {
        return Ok(answer(json!({"mode": "READWRITE"})));
    }
    Err(Failure::new(
        404,
        40409,
        format!("Subject '{subject}' does not have subject-level mode configured"),
    ))
}
