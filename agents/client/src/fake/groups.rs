//! Groups: members that join, and the assignments that they get.

use std::sync::Mutex;
use std::time::Duration;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::ErrorCode;
use tokio::time::{Instant, sleep};

use super::State;

/// Waits until all members have joined the new generation, or drops those who have not in time.
pub(super) async fn join(state: &Mutex<State>, request: JoinGroupRequest) -> JoinGroupResponse {
    let group_id = request.group_id.to_string();
    let metadata = request
        .protocols
        .first()
        .map(|protocol| protocol.metadata.clone())
        .unwrap_or_default();
    let (member_id, generation) = {
        let mut state = state.lock().expect("test");
        if request.member_id.is_empty() {
            state.next_member += 1;
            let member_id = format!("member-{}", state.next_member);
            return JoinGroupResponse::default()
                .with_error_code(ErrorCode::MemberIdRequired.code())
                .with_member_id(StrBytes::from_string(member_id));
        }
        let group = state.groups.entry(group_id.clone()).or_default();
        let member_id = request.member_id.to_string();
        let joined_already = group
            .members
            .get(&member_id)
            .is_some_and(|(_, joined)| *joined == group.generation);
        if joined_already
            || group
                .members
                .values()
                .all(|(_, joined)| *joined == group.generation)
        {
            group.generation += 1;
        }
        let generation = group.generation;
        group
            .members
            .insert(member_id.clone(), (metadata, generation));
        (member_id, generation)
    };
    let until = Instant::now() + Duration::from_secs(3);
    loop {
        {
            let mut state = state.lock().expect("test");
            let group = state.groups.get_mut(&group_id).expect("just joined");
            if group.generation != generation {
                return JoinGroupResponse::default()
                    .with_error_code(ErrorCode::RebalanceInProgress.code());
            }
            if Instant::now() >= until {
                group.members.retain(|_, (_, joined)| *joined == generation);
            }
            if group
                .members
                .values()
                .all(|(_, joined)| *joined == generation)
            {
                group.leader = group.members.keys().next().cloned().unwrap_or_default();
                let response = JoinGroupResponse::default()
                    .with_generation_id(generation)
                    .with_protocol_name(Some(StrBytes::from_static_str("range")))
                    .with_leader(StrBytes::from_string(group.leader.clone()))
                    .with_member_id(StrBytes::from_string(member_id.clone()));
                if group.leader != member_id {
                    return response;
                }
                let members = group.members.iter().map(|(member, (metadata, _))| {
                    JoinGroupResponseMember::default()
                        .with_member_id(StrBytes::from_string(member.clone()))
                        .with_metadata(metadata.clone())
                });
                return response.with_members(members.collect());
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}

pub(super) async fn sync(state: &Mutex<State>, request: SyncGroupRequest) -> SyncGroupResponse {
    loop {
        {
            let mut state = state.lock().expect("test");
            let Some(group) = state.groups.get_mut(request.group_id.as_str()) else {
                return SyncGroupResponse::default()
                    .with_error_code(ErrorCode::UnknownMemberId.code());
            };
            if group.generation != request.generation_id {
                return SyncGroupResponse::default()
                    .with_error_code(ErrorCode::RebalanceInProgress.code());
            }
            if group.leader == request.member_id.as_str() {
                let given = request.assignments.iter();
                group.assignments = given
                    .map(|given| (given.member_id.to_string(), given.assignment.clone()))
                    .collect();
                group.assigned_generation = group.generation;
            }
            if group.assigned_generation == request.generation_id {
                let assignment = group
                    .assignments
                    .get(request.member_id.as_str())
                    .cloned()
                    .unwrap_or_default();
                return SyncGroupResponse::default().with_assignment(assignment);
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}
