//! `POST /v1/oauth/tokens`: what clients with a `credential` ask for before anything else.
//!
//! Nobody has to say who they are yet, so every credential is good and every token is the same; no
//! route asks for it. Errors have OAuth's form (RFC 6749, section 5.2), as the specification says.

use std::time::Duration;

use axum::Form;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use serde_json::{Value, json};
use tokio::time::timeout;

/// It names nobody and opens nothing: credentials are not repeated.
const TOKEN: &str = "open-catalog";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const CLIENT_CREDENTIALS: &str = "client_credentials";
/// How clients of Iceberg renew a token.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// More than any credential, and how long it may take to arrive.
const REQUEST_BYTES_MAX: usize = 16 << 10;
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn route<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    post(grant).layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
}

async fn grant(request: Request) -> Response {
    let read = Form::<Vec<(String, String)>>::from_request(request, &());
    let fields = match timeout(REQUEST_WITHIN, read).await {
        Ok(Ok(Form(fields))) => fields,
        Ok(Err(why)) => return refuse("invalid_request", &why.body_text()),
        Err(_) => return refuse("invalid_request", "it did not arrive in time"),
    };
    let field = |name: &str| {
        let named = fields.iter().find(|(field, _)| field == name);
        named.map(|(_, value)| value.as_str())
    };
    match field("grant_type") {
        Some(CLIENT_CREDENTIALS | TOKEN_EXCHANGE) => {
            let mut token = json!({
                "access_token": TOKEN,
                "token_type": "bearer",
                "issued_token_type": ACCESS_TOKEN,
            });
            if let Some(scope) = field("scope") {
                token["scope"] = json!(scope);
            }
            answer(StatusCode::OK, &token)
        }
        Some(other) => refuse(
            "unsupported_grant_type",
            &format!("{other} is not {CLIENT_CREDENTIALS} or {TOKEN_EXCHANGE}"),
        ),
        None => refuse("invalid_request", "there is no grant_type"),
    }
}

fn refuse(error: &str, why: &str) -> Response {
    let body = json!({ "error": error, "error_description": why });
    answer(StatusCode::BAD_REQUEST, &body)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.to_string()).into_response()
}
