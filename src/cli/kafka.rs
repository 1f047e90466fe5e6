//! What the commands that speak Kafka share: a runtime, a client, and errors as exit codes.

use std::future::Future;
use std::time::Duration;

use tarn_client::{
    AdminError, Client, ClientSettings, ConsumeError, GroupError, ProduceError, Refused,
    RequestError,
};
use tarn_kafka::ErrorCode;
use tarn_runtime::{Runtime, Scope};

use super::failure::Failure;

/// Runs a command's future to its end.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(tarn_model::Kind::Internal, format!("no runtime: {error}"))
        })?;
    runtime.block_on(future)
}

/// A connection to a running Tarn, with the scope that its tasks live in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) scope: Scope,
    pub(super) runtime: Runtime,
}

impl Session {
    pub(super) fn new(bootstrap: &str) -> Session {
        Session::with(ClientSettings::new(bootstrap.split(',')))
    }

    /// For whoever writes: a topic that is not there is made, if the server does that.
    pub(super) fn creating(bootstrap: &str) -> Session {
        Session::with(ClientSettings {
            create_topics: true,
            ..ClientSettings::new(bootstrap.split(','))
        })
    }

    fn with(mut settings: ClientSettings) -> Session {
        let runtime = Runtime::real();
        let scope = runtime.root_scope("cli");
        // Somebody waits at a terminal: say soon that nobody answers.
        settings.operation_timeout = Duration::from_secs(15);
        let client = Client::new(&runtime, &scope, settings);
        Session {
            client,
            scope,
            runtime,
        }
    }
}

/// What to do about a request that was not answered.
fn after_request(error: &RequestError) -> Option<String> {
    let next = match error {
        RequestError::Connect { .. } | RequestError::NoServers => {
            "Is `tarn dev` running there? Say where it is with --bootstrap HOST:PORT."
        }
        RequestError::Lost { .. } => {
            "Does Kafka's protocol answer there? Its log says why it hung up."
        }
        RequestError::Timeout { .. } => {
            "It may be starting or busy: /readyz on its HTTP port says. Then try again."
        }
        RequestError::Unsupported { .. } => "Is it a Kafka server of version 2.1 or later?",
        RequestError::Encode(_) | RequestError::Decode { .. } => return None,
    };
    Some(next.to_owned())
}

/// What to do about an answer that is no.
fn after_refusal(refused: &Refused) -> Option<String> {
    let next = match refused.error_code() {
        ErrorCode::UnknownTopicOrPartition => "`tarn topic list` says which topics there are.",
        ErrorCode::GroupIdNotFound => "`tarn group list` says which groups there are.",
        ErrorCode::NonEmptyGroup => "Stop its members first: `tarn group describe` names them.",
        ErrorCode::TopicAlreadyExists => {
            "`tarn topic describe` shows it, `tarn topic alter` changes it."
        }
        _ => return None,
    };
    Some(next.to_owned())
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Failure {
        let next = match &error {
            AdminError::Request(request) => after_request(request),
            AdminError::Refused(refused) => after_refusal(refused),
            AdminError::NoAnswer(_) => None,
        };
        Failure::new(error.kind(), error).next(next)
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Failure {
        let next = match &error {
            GroupError::Request(request) => after_request(request),
            GroupError::Refused(refused) => after_refusal(refused),
            GroupError::Malformed(_) => None,
        };
        Failure::new(error.kind(), error).next(next)
    }
}

impl From<ConsumeError> for Failure {
    fn from(error: ConsumeError) -> Failure {
        let next = match &error {
            ConsumeError::Request(request) => after_request(request),
            ConsumeError::Refused(refused) => after_refusal(refused),
            ConsumeError::Group(_)
            | ConsumeError::Corrupt { .. }
            | ConsumeError::NotAssigned { .. } => None,
        };
        Failure::new(error.kind(), error).next(next)
    }
}

impl From<ProduceError> for Failure {
    fn from(error: ProduceError) -> Failure {
        let next = match &error {
            ProduceError::Request(request) => after_request(request),
            ProduceError::Refused(refused) => after_refusal(refused),
            ProduceError::Timeout { .. } => Some(
                "Is `tarn dev` running there? Say where it is with --bootstrap HOST:PORT."
                    .to_owned(),
            ),
            ProduceError::Unknown { .. } => Some(
                "It may be there: `tarn consume` shows the end of the topic with --offset -10."
                    .to_owned(),
            ),
            ProduceError::TooLarge { .. } | ProduceError::Batch(_) | ProduceError::Closed => None,
        };
        Failure::new(error.kind(), error).next(next)
    }
}
