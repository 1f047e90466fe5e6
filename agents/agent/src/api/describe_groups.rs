//! DescribeGroups, key 15, v0–v6.
//!
//! - Answered by the group's coordinator, whose memory is newer than the log during a rebalance.
//! - A group that does not exist is `Dead` without an error, and GROUP_ID_NOT_FOUND from v6 on
//!   (KIP-1043). v3: authorized operations. v4: static members.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;
use tarn_coordinator::GroupError;
use tarn_kafka::ErrorCode;

use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;

use super::operations;
use super::text::text;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    // Behind a barrier, shared by all groups of the request: members and generations are to be fresh.
    let fresh = agent.metastore.barrier(context.deadline).await.is_ok();
    // Once each: a short request must not be answered with the same group for ever.
    let mut seen = BTreeSet::new();
    let describing = request
        .groups
        .iter()
        .filter(|group| seen.insert(group.as_str()))
        .map(|group| describe(agent, context, &request, group, fresh));
    DescribeGroupsResponse::default().with_groups(join_all(describing).await)
}

async fn describe(
    agent: &Agent,
    context: &Context,
    request: &DescribeGroupsRequest,
    id: &GroupId,
    fresh: bool,
) -> DescribedGroup {
    let response = DescribedGroup::default().with_group_id(id.clone());
    let described = if fresh {
        agent
            .coordinators
            .classic
            .describe(id, context.deadline)
            .await
    } else {
        Err(GroupError::NotNow)
    };
    let described = match described {
        Ok(described) => described,
        Err(GroupError::NotFound) if context.version >= 6 => {
            return response
                .with_error_code(ErrorCode::GroupIdNotFound.code())
                .with_error_message(Some(text(format!("there is no group {:?}", id.as_str()))))
                .with_group_state(StrBytes::from_static_str("Dead"));
        }
        Err(GroupError::NotFound) => {
            return response.with_group_state(StrBytes::from_static_str("Dead"));
        }
        Err(error) => return response.with_error_code(error_code::of_group(error).code()),
    };
    let members = described
        .members
        .into_iter()
        .map(|member| {
            DescribedGroupMember::default()
                .with_member_id(text(member.id))
                .with_group_instance_id(member.instance.map(text))
                .with_client_id(text(member.client_id))
                .with_client_host(text(member.client_host))
                .with_member_metadata(member.metadata)
                .with_member_assignment(member.assignment)
        })
        .collect();
    let response = response
        .with_group_state(StrBytes::from_static_str(described.state))
        .with_protocol_type(text(described.protocol_type))
        .with_protocol_data(text(described.protocol))
        .with_members(members);
    if request.include_authorized_operations && context.version >= 3 {
        response.with_authorized_operations(operations::GROUP)
    } else {
        response
    }
}
