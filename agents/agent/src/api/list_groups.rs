//! ListGroups, key 16, v0–v5.
//!
//! - The groups that this agent coordinates, behind a barrier; clients ask every agent and join the
//!   answers. A group that is rebalancing is newer in the coordinator's memory than in the log.
//! - v4: filter by state (KIP-518). v5: filter by type (KIP-848); all ours are classic.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::ApiKey;
use tarn_state::advice;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;

use super::text::text;

const CLASSIC: &str = "classic";

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let Ok(view) = agent.metastore.barrier(context.deadline).await else {
        return ListGroupsResponse::default().with_error_code(not_now(ApiKey::ListGroups).code());
    };
    let passes = |filter: &[StrBytes], value: &str| {
        filter.is_empty()
            || filter
                .iter()
                .any(|wanted| wanted.as_str().eq_ignore_ascii_case(value))
    };
    if !passes(&request.types_filter, CLASSIC) {
        return ListGroupsResponse::default();
    }
    let node = agent.metastore.node();
    let in_memory: BTreeSet<String> = agent.coordinators.classic.in_memory().into_iter().collect();
    let mut names: BTreeSet<String> = view
        .groups
        .keys()
        .filter(|name| advice::is_coordinator(&view, name, node))
        .cloned()
        .collect();
    names.extend(in_memory.iter().cloned());
    let mut groups = Vec::new();
    for name in names {
        let logged = view.groups.get(&name);
        let memory = if in_memory.contains(&name) {
            agent
                .coordinators
                .classic
                .describe(&name, context.deadline)
                .await
                .ok()
        } else {
            None
        };
        let (state, protocol_type) = match (memory, logged) {
            (Some(memory), _) => (memory.state, memory.protocol_type),
            (None, Some(logged)) if logged.members.is_empty() => {
                ("Empty", logged.protocol_type.clone())
            }
            (None, Some(logged)) => ("Stable", logged.protocol_type.clone()),
            // Its task only lives on after the group, or was asked about one that never came to be.
            (None, None) => continue,
        };
        if passes(&request.states_filter, state) {
            groups.push(
                ListedGroup::default()
                    .with_group_id(GroupId(text(name)))
                    .with_protocol_type(text(protocol_type))
                    .with_group_state(StrBytes::from_static_str(state))
                    .with_group_type(StrBytes::from_static_str(CLASSIC)),
            );
        }
    }
    ListGroupsResponse::default().with_groups(groups)
}
