//! DeleteGroups, key 42, v0–v2.
//!
//! - Only a group without members goes, and its offsets with it. Each group has its own verdict.

use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use tarn_coordinator::GroupError;
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_state::Command;
use tarn_state::commands::DeleteGroup;

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::error_code;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let deleting = request.groups_names.iter().map(|group| async {
        let code = delete(agent, context, group)
            .await
            .err()
            .unwrap_or(ErrorCode::None);
        DeletableGroupResult::default()
            .with_group_id(group.clone())
            .with_error_code(code.code())
    });
    DeleteGroupsResponse::default().with_results(join_all(deleting).await)
}

async fn delete(agent: &Agent, context: &Context, group: &str) -> Result<(), ErrorCode> {
    let described = agent
        .coordinators
        .classic
        .describe(group, context.deadline)
        .await
        .map_err(error_code::of_group)?;
    // Members that are joining for the first time are not in the log yet.
    if !described.members.is_empty() {
        return Err(error_code::of_group(GroupError::NotEmpty));
    }
    let command = Command::DeleteGroup(DeleteGroup {
        group: group.to_owned(),
        node: agent.metastore.node(),
    });
    match agent
        .metastore
        .propose(vec![command], context.deadline)
        .await
    {
        Ok(_) => Ok(()),
        Err(error) => Err(error_code::of_propose(
            &error,
            not_now(ApiKey::DeleteGroups),
        )),
    }
}
