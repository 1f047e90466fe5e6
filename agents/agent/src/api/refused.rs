//! What a client is told of one resource of its request that it does not get.

use tarn_kafka::ErrorCode;

/// A code and why.
pub(super) type Refused = (ErrorCode, String);
