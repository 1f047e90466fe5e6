//! JoinGroup, key 11, v0–v9.
//!
//! - Answers when the group's join is over; the leader hears of all members and assigns.
//! - v1: rebalance timeout (before, the session timeout is both). v4: a new member asks for its id
//!   first (KIP-394). v5: static members (KIP-345). v7: protocol type. v9: the leader may be told to
//!   leave the assignment as it is (KIP-814).

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;
use tarn_coordinator::classic::{Join, JoinRefused, Joined};

use super::text::text;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let version = context.version;
    let session_timeout = millis(request.session_timeout_ms);
    // The body's bytes are not held while it waits for the others: what is kept of it is copied.
    let join = Join {
        member: request.member_id.to_string(),
        instance: request
            .group_instance_id
            .as_ref()
            .map(|instance| instance.to_string()),
        client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: context.peer.host(),
        session_timeout,
        rebalance_timeout: if version >= 1 {
            millis(request.rebalance_timeout_ms)
        } else {
            session_timeout
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| {
                (
                    protocol.name.to_string(),
                    bytes::Bytes::copy_from_slice(&protocol.metadata),
                )
            })
            .collect(),
        id_required: version >= 4,
        knows_skip: version >= 9,
        fresh: agent.runtime.random().uuid(),
    };
    let group = request.group_id.to_string();
    drop(request);
    context.permit = None;
    match agent
        .coordinators
        .classic
        .join(&group, join, context.deadline)
        .await
    {
        Ok(joined) => succeeded(version, joined),
        Err(refused) => failed(version, refused),
    }
}

fn millis(wire: i32) -> Duration {
    Duration::from_millis(u64::try_from(wire).unwrap_or(0))
}

fn succeeded(version: i16, joined: Joined) -> JoinGroupResponse {
    let members = joined
        .members
        .into_iter()
        .map(|member| {
            JoinGroupResponseMember::default()
                .with_member_id(text(member.id))
                .with_group_instance_id(member.instance.map(text))
                .with_metadata(member.metadata)
        })
        .collect();
    let response = JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member))
        .with_members(members);
    if version >= 9 {
        response.with_skip_assignment(joined.skip_assignment)
    } else {
        response
    }
}

fn failed(version: i16, refused: JoinRefused) -> JoinGroupResponse {
    let response = JoinGroupResponse::default()
        .with_error_code(error_code::of_group(refused.error).code())
        .with_generation_id(-1)
        .with_member_id(text(refused.member));
    // Null from version 7 on; before, the name cannot be null.
    if version >= 7 {
        response.with_protocol_name(None)
    } else {
        response.with_protocol_name(Some(text("")))
    }
}
