//! Request and response bodies: bytes to `kafka-protocol`'s types and back.
//!
//! Holds: a request is walked ([`bounds::check`]) before it is decoded, and decoded to where the walk
//! ended.
//! Leaves to others: frames and headers of requests ([`crate::frame`]).
//!
//! SUBTLE: responses are decoded without a walk. Only clients do that, of servers they chose, and
//! after the correlation id has matched.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

use crate::apis::for_each_api;
use crate::bounds::{self, BoundsError};
use crate::frame::{self, HeaderError, RequestHeader};
use crate::{ApiKey, ErrorCode};

/// Why a body could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{api} version {version}: {error}")]
    Bounds {
        api: ApiKey,
        version: i16,
        error: BoundsError,
    },
    #[error("{api} version {version}: {detail}")]
    Malformed {
        api: ApiKey,
        version: i16,
        detail: String,
    },
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the API key {0} is not served")]
    UnknownApi(i16),
}

/// Why a message could not be encoded: a field that this version does not have, or a length beyond
/// the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{api} version {version}: {detail}")]
    Refused {
        api: ApiKey,
        version: i16,
        detail: String,
    },
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the API key {0} is not served")]
    UnknownApi(i16),
}

macro_rules! define_bodies {
    ($($name:ident = $key:literal, $first:literal..=$last:literal, $flexible:literal, $request:ident => $response:ident, $layout:ident;)*) => {
        /// The body of a request that we serve.
        #[derive(Debug, Clone, PartialEq)]
        pub enum RequestBody {
            $($name($request),)*
        }

        /// The body of its response.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ResponseBody {
            $($name($response),)*
        }

        impl RequestBody {
            pub fn api(&self) -> ApiKey {
                match self {
                    $(RequestBody::$name(_) => ApiKey::$name,)*
                }
            }
        }

        impl ResponseBody {
            pub fn api(&self) -> ApiKey {
                match self {
                    $(ResponseBody::$name(_) => ApiKey::$name,)*
                }
            }
        }

        $(
            impl From<$request> for RequestBody {
                fn from(body: $request) -> RequestBody {
                    RequestBody::$name(body)
                }
            }

            impl From<$response> for ResponseBody {
                fn from(body: $response) -> ResponseBody {
                    ResponseBody::$name(body)
                }
            }
        )*

        /// Decodes the body of a request, after [`RequestHeader::parse`] took its header. Bytes behind
        /// the request are ignored.
        pub fn decode_request(api: ApiKey, version: i16, mut body: Bytes) -> Result<RequestBody, DecodeError> {
            let used = bounds::check(api, version, &body)
                .map_err(|error| DecodeError::Bounds { api, version, error })?;
            body.truncate(used);
            Ok(match api {
                $(ApiKey::$name => RequestBody::$name(decode_whole::<$request>(api, version, body)?),)*
            })
        }

        /// Encodes a whole response frame, length and header included.
        pub fn encode_response(correlation_id: i32, version: i16, body: &ResponseBody) -> Result<Bytes, EncodeError> {
            match body {
                $(ResponseBody::$name(response) => encode_answer(correlation_id, ApiKey::$name, version, response),)*
            }
        }
    };
}
for_each_api!(define_bodies);

/// The answer to an ApiVersions request of a version that we do not know: version 0, the error,
/// and the versions of ApiVersions that we do know (KIP-511).
pub fn unsupported_api_versions(correlation_id: i32) -> Result<Bytes, EncodeError> {
    let versions = ApiKey::ApiVersions.versions();
    let known = ApiVersion::default()
        .with_api_key(ApiKey::ApiVersions.key())
        .with_min_version(*versions.start())
        .with_max_version(*versions.end());
    let response = ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(vec![known]);
    encode_answer(correlation_id, ApiKey::ApiVersions, 0, &response)
}

/// Encodes a whole request frame, length and header included, as a client does.
pub fn encode_request<R: Request>(
    correlation_id: i32,
    client_id: Option<&StrBytes>,
    version: i16,
    body: &R,
) -> Result<Bytes, EncodeError> {
    let api = ApiKey::from_key(R::KEY).ok_or(EncodeError::UnknownApi(R::KEY))?;
    let refused = |detail: String| EncodeError::Refused {
        api,
        version,
        detail,
    };
    let size = body
        .compute_size(version)
        .map_err(|error| refused(error.to_string()))?;
    let header = RequestHeader {
        api,
        version,
        correlation_id,
        client_id: client_id.cloned(),
    };
    let header_bytes = 16usize.saturating_add(client_id.map_or(0, |text| text.len()));
    let mut buffer = frame::start(size.saturating_add(header_bytes));
    header.put(&mut buffer)?;
    body.encode(&mut buffer, version)
        .map_err(|error| refused(error.to_string()))?;
    frame::finish(buffer).ok_or_else(|| refused("the request is too long for a frame".to_owned()))
}

/// Decodes a response frame, header included, as a client does. The correlation id is the
/// caller's to compare ([`frame::response_correlation_id`]).
pub fn decode_response<R: Request>(
    version: i16,
    mut frame: Bytes,
) -> Result<R::Response, DecodeError> {
    let api = ApiKey::from_key(R::KEY).ok_or(DecodeError::UnknownApi(R::KEY))?;
    frame::take_response_header(&mut frame, api, version)?;
    decode_whole(api, version, frame)
}

fn encode_answer<M: Encodable>(
    correlation_id: i32,
    api: ApiKey,
    version: i16,
    body: &M,
) -> Result<Bytes, EncodeError> {
    let refused = |detail: String| EncodeError::Refused {
        api,
        version,
        detail,
    };
    let size = body
        .compute_size(version)
        .map_err(|error| refused(error.to_string()))?;
    let mut buffer = frame::start(size.saturating_add(8));
    frame::put_response_header(&mut buffer, api, version, correlation_id);
    body.encode(&mut buffer, version)
        .map_err(|error| refused(error.to_string()))?;
    frame::finish(buffer).ok_or_else(|| refused("the response is too long for a frame".to_owned()))
}

fn decode_whole<M: Decodable>(
    api: ApiKey,
    version: i16,
    mut body: Bytes,
) -> Result<M, DecodeError> {
    let malformed = |detail: String| DecodeError::Malformed {
        api,
        version,
        detail,
    };
    let message = M::decode(&mut body, version).map_err(|error| malformed(error.to_string()))?;
    if !body.is_empty() {
        return Err(malformed(format!("{} bytes follow the body", body.len())));
    }
    Ok(message)
}

#[cfg(test)]
mod tests;
