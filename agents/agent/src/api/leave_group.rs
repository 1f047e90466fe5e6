//! LeaveGroup, key 13, v0–v5.
//!
//! - v3: several members at once, static ones by their instance (KIP-345), each with its own verdict.
//!   v5: a reason, which is logged.

use std::sync::Arc;

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use tracing::debug;

use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;
use tarn_coordinator::classic::MemberRef;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let members: Vec<MemberRef> = if context.version < 3 {
        vec![MemberRef {
            id: request.member_id.to_string(),
            instance: None,
            generation: -1,
        }]
    } else {
        let reference = |member: &kafka_protocol::messages::leave_group_request::MemberIdentity| {
            if let Some(reason) = &member.reason {
                debug!(group = %request.group_id.as_str(), member = %member.member_id, %reason, "a member leaves");
            }
            MemberRef {
                id: member.member_id.to_string(),
                instance: member
                    .group_instance_id
                    .as_ref()
                    .map(|instance| instance.to_string()),
                generation: -1,
            }
        };
        request.members.iter().map(reference).collect()
    };
    let response = LeaveGroupResponse::default();
    match agent
        .coordinators
        .classic
        .leave(&request.group_id, members, context.deadline)
        .await
    {
        Err(error) => response.with_error_code(error_code::of_group(error).code()),
        Ok(verdicts) if context.version < 3 => match verdicts.into_iter().next() {
            Some(Err(error)) => response.with_error_code(error_code::of_group(error).code()),
            Some(Ok(())) | None => response,
        },
        Ok(verdicts) => {
            let members = request
                .members
                .into_iter()
                .zip(verdicts)
                .map(|(member, verdict)| {
                    let answer = MemberResponse::default()
                        .with_member_id(member.member_id)
                        .with_group_instance_id(member.group_instance_id);
                    match verdict {
                        Ok(()) => answer,
                        Err(error) => answer.with_error_code(error_code::of_group(error).code()),
                    }
                })
                .collect();
            response.with_members(members)
        }
    }
}
