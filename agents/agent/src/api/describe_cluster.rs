//! DescribeCluster, key 60, v0–v2.
//!
//! - v1: the kind of endpoint; there are brokers only. v2: fenced brokers, of which there are none:
//!   an agent that is not open is not known, and one that does not answer yet or leaves is not named.

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use tarn_kafka::{ApiKey, ErrorCode};

use super::not_now;
use crate::agent::Agent;
use crate::context::Context;
use crate::placement;

use super::operations;
use super::text::text;

const BROKERS: i8 = 1;

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if context.version >= 1 && request.endpoint_type != BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(ErrorCode::MismatchedEndpointType.code())
            .with_error_message(Some(text("this listener serves brokers only")));
    }
    let not_now = |why: String| {
        DescribeClusterResponse::default()
            .with_error_code(not_now(ApiKey::DescribeCluster).code())
            .with_error_message(Some(text(why)))
    };
    let view = match agent.metastore.barrier(context.deadline).await {
        Ok(view) => view,
        Err(error) => return not_now(error.to_string()),
    };
    let Some(view) = agent.with_agents(view, context.deadline).await else {
        return not_now("there is no agent to be sent to".to_owned());
    };
    let brokers = placement::brokers(&view, agent.unheard());
    let controller = placement::controller(&brokers, agent.metastore.node());
    let brokers = brokers
        .into_iter()
        .map(|broker| {
            DescribeClusterBroker::default()
                .with_broker_id(broker.id)
                .with_host(broker.host)
                .with_port(broker.port)
                .with_rack(broker.rack)
        })
        .collect();
    let response = DescribeClusterResponse::default()
        .with_cluster_id(text(view.cluster.to_string()))
        .with_controller_id(controller)
        .with_brokers(brokers);
    if request.include_cluster_authorized_operations {
        response.with_cluster_authorized_operations(operations::CLUSTER)
    } else {
        response
    }
}
