//! ApiVersions, key 18, v0–v4.
//!
//! - Lists what the table serves. The response header is always version 0, and an unknown version is
//!   answered with version 0 (KIP-511); both stand in `tarn-kafka` and in `dispatch`.
//! - v3: the client's name and version, whose form is checked as in Kafka. v4: features that begin
//!   at 0. We have no finalized feature yet: `transaction.version` and `group.version` come with
//!   their protocols.

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use tarn_kafka::{ApiKey, ErrorCode};
use tracing::debug;

use crate::agent::Agent;
use crate::context::Context;

pub(crate) async fn handle(
    _: &Arc<Agent>,
    context: &mut Context,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    if context.version >= 3 {
        let (name, version) = (
            &request.client_software_name,
            &request.client_software_version,
        );
        if !is_software(name) || !is_software(version) {
            let cause = format!("{name:?} {version:?} is no name and version of a client");
            context.log_refusal(ErrorCode::InvalidRequest, cause);
            return ApiVersionsResponse::default()
                .with_error_code(ErrorCode::InvalidRequest.code());
        }
        debug!(software = %name, version = %version, "a client says what it is");
    }
    let keys = ApiKey::ALL
        .iter()
        .map(|api| {
            let versions = api.advertised_versions();
            ApiVersion::default()
                .with_api_key(api.key())
                .with_min_version(*versions.start())
                .with_max_version(*versions.end())
        })
        .collect();
    ApiVersionsResponse::default().with_api_keys(keys)
}

/// Kafka's pattern: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(text.chars().next())
        && ends(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}
