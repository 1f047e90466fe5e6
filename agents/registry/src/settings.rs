//! Settings of the registry. The doc comments are the manual.

use std::time::Duration;

use tarn_model::ByteSize;

/// How the registry serves its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Largest body of a request.
    pub body_max: ByteSize,
    /// Time that a request has to be answered.
    pub request_deadline: Duration,
}

impl Default for RegistrySettings {
    fn default() -> RegistrySettings {
        RegistrySettings {
            body_max: ByteSize::mib(1),
            request_deadline: Duration::from_secs(30),
        }
    }
}
