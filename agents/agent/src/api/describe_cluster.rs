//! DescribeCluster, key 60, v0–v2.
//!
//! - v1: the kind of endpoint; there are brokers only. v2: fenced brokers, of which there are none:
//!   an agent that is not open is not known.

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
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
    let view = match agent.metastore.barrier(context.deadline).await {
        Ok(view) => view,
        Err(error) => {
            return DescribeClusterResponse::default()
                .with_error_code(not_now(ApiKey::DescribeCluster).code())
                .with_error_message(Some(text(error.to_string())));
        }
    };
    let brokers = placement::brokers(&view, agent.unheard())
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
        .with_controller_id(BrokerId(agent.metastore.node().0))
        .with_brokers(brokers);
    if request.include_cluster_authorized_operations {
        response.with_cluster_authorized_operations(operations::CLUSTER)
    } else {
        response
    }
}
