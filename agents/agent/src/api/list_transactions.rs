//! ListTransactions, key 66, v0–v2.
//!
//! - Transactions are not served yet, so there are none. A filter by a state that Kafka does not have is
//!   named in the answer. v1: filter by duration. v2: by a pattern of the transactional id.

use std::sync::Arc;

use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

use crate::agent::Agent;
use crate::context::Context;

const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "PrepareEpochFence",
    "Dead",
];

pub(crate) async fn handle(
    _: &Arc<Agent>,
    _: &mut Context,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let unknown = request.state_filters.into_iter();
    let unknown = unknown.filter(|state| !STATES.contains(&state.as_str()));
    ListTransactionsResponse::default().with_unknown_state_filters(unknown.collect())
}
