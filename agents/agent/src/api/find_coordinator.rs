//! FindCoordinator, key 10, v0–v6.
//!
//! - A group's coordinator is a pure function of the state, alike on all agents.
//! - Transactional ids get TRANSACTIONAL_ID_AUTHORIZATION_FAILED: transactions are not served yet, and
//!   clients take this code for final, where a coordinator that is not available would be looked for
//!   for ever. v1: the kind of key. v4: many keys at once (KIP-699). v6: share groups, which are
//!   refused.

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use tarn_kafka::{ApiKey, ErrorCode};

use tokio::time::Instant;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::placement::{self, Broker};

use super::refused::Refused;
use super::text::text;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if context.version < 4 {
        return match find(agent, request.key_type, &request.key, context.deadline).await {
            Ok(broker) => FindCoordinatorResponse::default()
                .with_node_id(broker.id)
                .with_host(broker.host)
                .with_port(broker.port),
            Err((code, message)) => {
                context.log_refusal(code, &message);
                FindCoordinatorResponse::default()
                    .with_error_code(code.code())
                    .with_error_message(Some(text(message)))
                    .with_node_id(BrokerId(-1))
                    .with_port(-1)
            }
        };
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in &request.coordinator_keys {
        let coordinator = Coordinator::default().with_key(key.clone());
        let found = find(agent, request.key_type, key, context.deadline).await;
        coordinators.push(match found {
            Ok(broker) => coordinator
                .with_node_id(broker.id)
                .with_host(broker.host)
                .with_port(broker.port),
            Err((code, message)) => {
                context.log_refusal(code, &message);
                coordinator
                    .with_error_code(code.code())
                    .with_error_message(Some(text(message)))
                    .with_node_id(BrokerId(-1))
                    .with_port(-1)
            }
        });
    }
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}

async fn find(
    agent: &Agent,
    key_type: i8,
    key: &str,
    deadline: Instant,
) -> Result<Broker, Refused> {
    match key_type {
        GROUP => {}
        TRANSACTION => {
            let why = "transactions are not served yet".to_owned();
            return Err((ErrorCode::TransactionalIdAuthorizationFailed, why));
        }
        other => {
            return Err((
                ErrorCode::InvalidRequest,
                format!("there is no coordinator for keys of type {other}"),
            ));
        }
    }
    let nobody = || {
        (
            not_now(ApiKey::FindCoordinator),
            "no agent is open to coordinate the group".to_owned(),
        )
    };
    if agent.metastore.is_fenced() {
        // What this agent knows of the others may be long over.
        return Err(nobody());
    }
    let view = agent.with_agents(agent.metastore.view(), deadline).await;
    let view = view.ok_or_else(nobody)?;
    placement::coordinator(&view, key).ok_or_else(nobody)
}
