//! What a client needs to know before it connects.

use std::time::Duration;

use tarn_model::ByteSize;

/// Settings of a [`crate::Client`].
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `host:port` of servers to ask first; the others are learned from their metadata.
    pub bootstrap: Vec<String>,
    /// What the servers call this client. May carry `zone=…`.
    pub client_id: String,
    /// A server that does not accept a connection for so long is not there.
    pub connect_timeout: Duration,
    /// A connection whose request is not answered for so long is closed.
    pub request_timeout: Duration,
    /// How long an operation that can be repeated is repeated, where the caller gives no deadline.
    pub operation_timeout: Duration,
    /// First pause before a repetition; doubles up to `retry_backoff_max`, and is jittered.
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    /// Whoever asks for a topic that is not there asks for it to be made, if the servers do that.
    pub create_topics: bool,
    /// Requests per connection that may wait for an answer; the next one waits to be sent.
    pub requests_in_flight_max: usize,
    /// A longer answer closes the connection.
    pub response_bytes_max: ByteSize,
}

impl ClientSettings {
    pub fn new(bootstrap: impl IntoIterator<Item = impl Into<String>>) -> ClientSettings {
        ClientSettings {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            client_id: "tarn".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(50),
            retry_backoff_max: Duration::from_secs(1),
            create_topics: false,
            requests_in_flight_max: 32,
            response_bytes_max: ByteSize::mib(128),
        }
    }
}
