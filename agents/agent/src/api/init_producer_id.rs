//! InitProducerId, key 22, v0–v5.
//!
//! - An idempotent producer gets a fresh id with epoch 0, whatever id it had before, as in Kafka.
//! - An empty transactional id is no id (INVALID_REQUEST, as in Kafka); any other one is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED (53): transactions are
//!   not served yet, and this is the code that clients take for final in this place, where
//!   UNSUPPORTED_VERSION or an unknown error would be retried or reported as our fault.
//! - If the log does not answer in time, COORDINATOR_LOAD_IN_PROGRESS: clients ask again, and an id
//!   that was allocated for nothing harms nobody.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_state::commands::AllocateProducerId;
use tarn_state::{Command, Outcome};
use tracing::error;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let failed = |code: ErrorCode| {
        InitProducerIdResponse::default()
            .with_error_code(code.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    match &request.transactional_id {
        None => {}
        Some(id) if id.is_empty() => {
            context.log_refusal(ErrorCode::InvalidRequest, "the transactional id is empty");
            return failed(ErrorCode::InvalidRequest);
        }
        Some(_) => return failed(ErrorCode::TransactionalIdAuthorizationFailed),
    }
    let command = Command::AllocateProducerId(AllocateProducerId {});
    match agent
        .metastore
        .propose(vec![command], context.deadline)
        .await
    {
        Ok(committed) => match committed.outcomes.first() {
            Some(Outcome::ProducerId(id)) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(id.0))
                .with_producer_epoch(0),
            other => {
                error!(?other, "allocating a producer id gave something else");
                failed(ErrorCode::UnknownServerError)
            }
        },
        Err(error) => failed(error_code::of_propose(
            &error,
            not_now(ApiKey::InitProducerId),
        )),
    }
}
