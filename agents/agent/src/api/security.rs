//! What tools ask about access, while nobody has to say who they are: DescribeAcls, key 29, v1–v3;
//! CreateAcls, key 30, v1–v3; DeleteAcls, key 31, v1–v3; DescribeUserScramCredentials, key 50, v0;
//! DescribeClientQuotas, key 48, v0–v1; AlterClientQuotas, key 49, v0–v1.
//!
//! - ACLs get SECURITY_DISABLED, as from an Apache Kafka without an authorizer: tools then leave the
//!   subject alone. There are no credentials and no quotas; quotas cannot be set.

use std::sync::Arc;

use kafka_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, CreateAclsRequest, CreateAclsResponse,
    DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest, DescribeAclsResponse,
    DescribeClientQuotasRequest, DescribeClientQuotasResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
};
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::ErrorCode;

use crate::agent::Agent;
use crate::context::Context;

/// Kafka's own words.
const NO_AUTHORIZER: StrBytes = StrBytes::from_static_str("No Authorizer is configured.");

pub(super) mod describe_acls {
    use super::*;

    pub(crate) async fn handle(
        _: &Arc<Agent>,
        _: &mut Context,
        _: DescribeAclsRequest,
    ) -> DescribeAclsResponse {
        DescribeAclsResponse::default()
            .with_error_code(ErrorCode::SecurityDisabled.code())
            .with_error_message(Some(NO_AUTHORIZER))
    }
}

pub(super) mod create_acls {
    use super::*;

    pub(crate) async fn handle(
        _: &Arc<Agent>,
        _: &mut Context,
        request: CreateAclsRequest,
    ) -> CreateAclsResponse {
        let refused = AclCreationResult::default()
            .with_error_code(ErrorCode::SecurityDisabled.code())
            .with_error_message(Some(NO_AUTHORIZER));
        CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
    }
}

pub(super) mod delete_acls {
    use super::*;

    pub(crate) async fn handle(
        _: &Arc<Agent>,
        _: &mut Context,
        request: DeleteAclsRequest,
    ) -> DeleteAclsResponse {
        let refused = DeleteAclsFilterResult::default()
            .with_error_code(ErrorCode::SecurityDisabled.code())
            .with_error_message(Some(NO_AUTHORIZER));
        DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
    }
}

pub(super) mod describe_user_scram_credentials {
    use super::*;

    pub(crate) async fn handle(
        _: &Arc<Agent>,
        _: &mut Context,
        request: DescribeUserScramCredentialsRequest,
    ) -> DescribeUserScramCredentialsResponse {
        let users = request.users.unwrap_or_default().into_iter();
        let results = users.map(|user| {
            let why = "Attempt to describe a user credential that does not exist";
            DescribeUserScramCredentialsResult::default()
                .with_user(user.name)
                .with_error_code(ErrorCode::ResourceNotFound.code())
                .with_error_message(Some(StrBytes::from_static_str(why)))
        });
        DescribeUserScramCredentialsResponse::default().with_results(results.collect())
    }
}

pub(super) mod describe_client_quotas {
    use super::*;

    pub(crate) async fn handle(
        _: &Arc<Agent>,
        _: &mut Context,
        _: DescribeClientQuotasRequest,
    ) -> DescribeClientQuotasResponse {
        DescribeClientQuotasResponse::default().with_entries(Some(Vec::new()))
    }
}

pub(super) mod alter_client_quotas {
    use super::*;

    pub(crate) async fn handle(
        _: &Arc<Agent>,
        _: &mut Context,
        request: AlterClientQuotasRequest,
    ) -> AlterClientQuotasResponse {
        let entries = request.entries.into_iter().map(|entry| {
            let entity = entry.entity.into_iter().map(|part| {
                EntityData::default()
                    .with_entity_type(part.entity_type)
                    .with_entity_name(part.entity_name)
            });
            EntryData::default()
                .with_error_code(ErrorCode::UnsupportedVersion.code())
                .with_error_message(Some(StrBytes::from_static_str(
                    "quotas are not served: no client is ever throttled",
                )))
                .with_entity(entity.collect())
        });
        AlterClientQuotasResponse::default().with_entries(entries.collect())
    }
}
