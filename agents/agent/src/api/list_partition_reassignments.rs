//! ListPartitionReassignments, key 46, v0.
//!
//! - No partition ever moves: agents keep nothing of it.

use std::sync::Arc;

use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::agent::Agent;
use crate::context::Context;

pub(crate) async fn handle(
    _: &Arc<Agent>,
    _: &mut Context,
    _: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
