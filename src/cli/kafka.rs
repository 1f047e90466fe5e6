//! What the commands that speak Kafka share: a runtime, a client, and errors as exit codes.

use std::future::Future;
use std::time::Duration;

use tarn_client::{AdminError, Client, ClientSettings, ConsumeError, GroupError, ProduceError};
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
        let runtime = Runtime::real();
        let scope = runtime.root_scope("cli");
        let mut settings = ClientSettings::new(bootstrap.split(','));
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

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Failure {
        Failure::new(error.kind(), error)
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Failure {
        Failure::new(error.kind(), error)
    }
}

impl From<ConsumeError> for Failure {
    fn from(error: ConsumeError) -> Failure {
        Failure::new(error.kind(), error)
    }
}

impl From<ProduceError> for Failure {
    fn from(error: ProduceError) -> Failure {
        Failure::new(error.kind(), error)
    }
}
