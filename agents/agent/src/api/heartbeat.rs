//! Heartbeat, key 12, v0–v4.
//!
//! - OK only while this process is heard by the log: a coordinator that was replaced without knowing
//!   must not keep its members from the new one. v3: static members.

use std::sync::Arc;

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;
use tarn_coordinator::classic::MemberRef;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let member = MemberRef {
        id: request.member_id.to_string(),
        instance: request
            .group_instance_id
            .as_ref()
            .map(|instance| instance.to_string()),
        generation: request.generation_id,
    };
    match agent
        .coordinators
        .classic
        .heartbeat(&request.group_id, member, context.deadline)
        .await
    {
        Ok(()) => HeartbeatResponse::default(),
        Err(error) => {
            HeartbeatResponse::default().with_error_code(error_code::of_group(error).code())
        }
    }
}
