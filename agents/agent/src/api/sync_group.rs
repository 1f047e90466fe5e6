//! SyncGroup, key 14, v0–v5.
//!
//! - The leader brings the assignments; everybody is answered once the generation is in the log.
//! - v3: static members. v5: protocol type and name, which must be the group's.

use std::sync::Arc;

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;
use tarn_coordinator::classic::{MemberRef, Sync};

use super::text::text;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let sync = Sync {
        member: MemberRef {
            id: request.member_id.to_string(),
            instance: request
                .group_instance_id
                .as_ref()
                .map(|instance| instance.to_string()),
            generation: request.generation_id,
        },
        protocol_type: request.protocol_type.as_ref().map(|name| name.to_string()),
        protocol: request.protocol_name.as_ref().map(|name| name.to_string()),
        assignments: request
            .assignments
            .iter()
            .map(|assignment| {
                (
                    assignment.member_id.to_string(),
                    assignment.assignment.clone(),
                )
            })
            .collect(),
    };
    match agent
        .coordinators
        .classic
        .sync(&request.group_id, sync, context.deadline)
        .await
    {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(synced.protocol_type)))
            .with_protocol_name(Some(text(synced.protocol)))
            .with_assignment(synced.assignment),
        Err(error) => {
            SyncGroupResponse::default().with_error_code(error_code::of_group(error).code())
        }
    }
}
