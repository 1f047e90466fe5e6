//! Frames and headers: where one message ends and whose it is.
//!
//! ```text
//! frame     length i32 │ header │ body
//! request   key i16 │ version i16 │ correlation id i32 │ client id (nullable string) │ tagged fields from header version 2 on
//! response  correlation id i32 │ tagged fields from header version 1 on
//! ```
//!
//! Holds: a length is checked against the caller's cap before anyone reads or allocates.
//! Leaves to others: which cap applies, and reading from sockets.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::ApiKey;
use crate::read::{ReadError, Reader};

/// Bytes of the length in front of every frame.
pub const LENGTH_BYTES: usize = 4;

/// Tagged fields that we skip in a header; a client that sends more is not one.
const HEADER_TAGS_MAX: u32 = 64;

/// Why a frame's length is refused. The connection cannot go on after either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame announces the negative length {0}")]
    NegativeLength(i32),
    #[error("a frame announces {length} bytes, but at most {cap} are allowed")]
    TooLarge { length: usize, cap: usize },
}

/// The length of the frame that follows this prefix, if it is within the cap.
pub fn body_length(prefix: [u8; LENGTH_BYTES], cap: usize) -> Result<usize, FrameError> {
    let announced = i32::from_be_bytes(prefix);
    let length = usize::try_from(announced).map_err(|_| FrameError::NegativeLength(announced))?;
    if length > cap {
        return Err(FrameError::TooLarge { length, cap });
    }
    Ok(length)
}

/// Splits the next whole frame off the front, without its length; `None` until it is complete.
pub fn split(buffer: &mut BytesMut, cap: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = body_length(*prefix, cap)?;
    if buffer.len() - LENGTH_BYTES < length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Starts a frame in an empty buffer: room for the length, which [`finish`] fills in.
pub(crate) fn start(capacity: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(LENGTH_BYTES.saturating_add(capacity));
    buffer.put_i32(0);
    buffer
}

/// Fills in the length; `None` if the body is longer than a frame can announce.
pub(crate) fn finish(mut buffer: BytesMut) -> Option<Bytes> {
    let length = i32::try_from(buffer.len().checked_sub(LENGTH_BYTES)?).ok()?;
    *buffer.first_chunk_mut::<LENGTH_BYTES>()? = length.to_be_bytes();
    Some(buffer.freeze())
}

/// What a request says about itself before its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<StrBytes>,
}

/// Why a request header is refused. Only an unsupported version of ApiVersions has an answer
/// ([`crate::request::unsupported_api_versions`]); after the others the connection closes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the request header ends too early")]
    Truncated,
    #[error("the request header is malformed: {0}")]
    Malformed(&'static str),
    #[error("the API key {key}, version {version}, is not served")]
    UnknownApi {
        key: i16,
        version: i16,
        correlation_id: i32,
    },
    #[error("{api} version {version} is not served")]
    UnsupportedVersion {
        api: ApiKey,
        version: i16,
        correlation_id: i32,
    },
}

impl From<ReadError> for HeaderError {
    fn from(error: ReadError) -> HeaderError {
        match error {
            ReadError::Truncated => HeaderError::Truncated,
            ReadError::Varint => HeaderError::Malformed("a variable-length number is too long"),
        }
    }
}

impl RequestHeader {
    /// Reads the header off the front of a frame and leaves the body.
    pub fn parse(frame: &mut Bytes) -> Result<RequestHeader, HeaderError> {
        let mut reader = Reader::new(frame);
        let key = reader.i16()?;
        let version = reader.i16()?;
        let correlation_id = reader.i32()?;
        let Some(api) = ApiKey::from_key(key) else {
            return Err(HeaderError::UnknownApi {
                key,
                version,
                correlation_id,
            });
        };
        if !api.accepts(version) {
            return Err(HeaderError::UnsupportedVersion {
                api,
                version,
                correlation_id,
            });
        }
        let client_id = match reader.i16()? {
            -1 => None,
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| HeaderError::Malformed("the client id has a negative length"))?;
                let text = frame.slice_ref(reader.take(length)?);
                let text = StrBytes::try_from(text)
                    .map_err(|_| HeaderError::Malformed("the client id is not UTF-8"))?;
                Some(text)
            }
        };
        if api.request_header_version(version) >= 2 {
            let tags = reader.unsigned_varint()?;
            if tags > HEADER_TAGS_MAX {
                return Err(HeaderError::Malformed("too many tagged fields"));
            }
            for _ in 0..tags {
                reader.unsigned_varint()?;
                let length = usize::try_from(reader.unsigned_varint()?)
                    .map_err(|_| HeaderError::Truncated)?;
                reader.take(length)?;
            }
        }
        let read = frame.len() - reader.left();
        frame.advance(read);
        Ok(RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
        })
    }

    /// What the sender of a frame calls itself, also where the rest of the header is not understood: all
    /// versions of all requests have it in the same place.
    pub fn claimed_client_id(frame: &[u8]) -> Option<&str> {
        let mut reader = Reader::new(frame);
        reader.take(8).ok()?;
        let length = usize::try_from(reader.i16().ok()?).ok()?;
        std::str::from_utf8(reader.take(length).ok()?).ok()
    }

    /// Appends the header, as a client does.
    pub(crate) fn put(&self, buffer: &mut BytesMut) -> Result<(), HeaderError> {
        buffer.put_i16(self.api.key());
        buffer.put_i16(self.version);
        buffer.put_i32(self.correlation_id);
        match &self.client_id {
            None => buffer.put_i16(-1),
            Some(client_id) => {
                let length = i16::try_from(client_id.len())
                    .map_err(|_| HeaderError::Malformed("the client id is too long"))?;
                buffer.put_i16(length);
                buffer.put_slice(client_id.as_bytes());
            }
        }
        if self.api.request_header_version(self.version) >= 2 {
            buffer.put_u8(0);
        }
        Ok(())
    }
}

/// Appends the header of a response.
pub fn put_response_header(buffer: &mut BytesMut, api: ApiKey, version: i16, correlation_id: i32) {
    buffer.put_i32(correlation_id);
    if api.response_header_version(version) >= 1 {
        buffer.put_u8(0);
    }
}

/// A whole response frame, length included, as the answer to another request: what follows the id is
/// shared.
pub fn addressed(frame: &Bytes, correlation_id: i32) -> Vec<Bytes> {
    const ID_BYTES: usize = 4;
    let mut rest = frame.clone();
    if rest.len() < LENGTH_BYTES + ID_BYTES {
        return vec![rest];
    }
    let mut head = BytesMut::from(rest.split_to(LENGTH_BYTES).as_ref());
    head.put_i32(correlation_id);
    rest.advance(ID_BYTES);
    vec![head.freeze(), rest]
}

/// The correlation id of a response frame, without reading further: a client needs it to find out
/// which request the rest answers.
pub fn response_correlation_id(frame: &Bytes) -> Result<i32, HeaderError> {
    Ok(Reader::new(frame).i32()?)
}

/// Reads the header of a response off the front of a frame, and leaves the body.
pub fn take_response_header(
    frame: &mut Bytes,
    api: ApiKey,
    version: i16,
) -> Result<i32, HeaderError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.i32()?;
    if api.response_header_version(version) >= 1 {
        let tags = reader.unsigned_varint()?;
        if tags > HEADER_TAGS_MAX {
            return Err(HeaderError::Malformed("too many tagged fields"));
        }
        for _ in 0..tags {
            reader.unsigned_varint()?;
            let length =
                usize::try_from(reader.unsigned_varint()?).map_err(|_| HeaderError::Truncated)?;
            reader.take(length)?;
        }
    }
    let read = frame.len() - reader.left();
    frame.advance(read);
    Ok(correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(api: ApiKey, version: i16, client_id: Option<&'static str>) -> RequestHeader {
        RequestHeader {
            api,
            version,
            correlation_id: 77,
            client_id: client_id.map(StrBytes::from_static_str),
        }
    }

    #[test]
    fn an_answer_is_addressed_again() {
        let mut buffer = start(16);
        put_response_header(&mut buffer, ApiKey::Metadata, 9, 1);
        buffer.put_slice(b"body");
        let frame = finish(buffer).expect("it is short");
        for id in [0, 7, -1, i32::MAX] {
            let mut expected = start(16);
            put_response_header(&mut expected, ApiKey::Metadata, 9, id);
            expected.put_slice(b"body");
            let pieces = addressed(&frame, id).concat();
            assert_eq!(finish(expected).as_deref(), Some(pieces.as_slice()));
        }
    }

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let mut buffer = BytesMut::new();
        buffer.put_slice(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            split(&mut buffer, 100),
            Ok(Some(Bytes::from_static(&[7, 8])))
        );
        assert_eq!(split(&mut buffer, 100), Ok(Some(Bytes::new())));
        assert_eq!(split(&mut buffer, 100), Ok(None));
        buffer.put_slice(&[0, 3, 1, 2]);
        assert_eq!(split(&mut buffer, 100), Ok(None));
        buffer.put_slice(&[3]);
        assert_eq!(
            split(&mut buffer, 100),
            Ok(Some(Bytes::from_static(&[1, 2, 3])))
        );
    }

    #[test]
    fn lengths_beyond_the_cap_are_refused_before_the_body_arrives() {
        let mut buffer = BytesMut::from(&[0, 0, 1, 0][..]);
        assert_eq!(
            split(&mut buffer, 255),
            Err(FrameError::TooLarge {
                length: 256,
                cap: 255
            })
        );
        assert_eq!(
            body_length([0xff; 4], 255),
            Err(FrameError::NegativeLength(-1))
        );
        assert_eq!(
            body_length([0x7f, 0xff, 0xff, 0xff], usize::MAX),
            Ok(0x7fff_ffff)
        );
    }

    #[test]
    fn headers_read_back_in_every_version() {
        for api in ApiKey::ALL {
            for version in api.versions() {
                for client_id in [None, Some(""), Some("zone=a,rdkafka")] {
                    let sent = header(*api, version, client_id);
                    let mut buffer = BytesMut::new();
                    sent.put(&mut buffer).expect("the header fits");
                    buffer.put_slice(b"body");
                    let whole = buffer.freeze();
                    let mut frame = whole.clone();
                    assert_eq!(RequestHeader::parse(&mut frame), Ok(sent.clone()));
                    assert_eq!(frame, Bytes::from_static(b"body"));
                    for cut in 0..whole.len() - 4 {
                        assert_eq!(
                            RequestHeader::parse(&mut whole.slice(..cut)),
                            Err(HeaderError::Truncated)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn unknown_requests_still_tell_their_correlation_id() {
        let mut frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 5]);
        assert_eq!(
            RequestHeader::parse(&mut frame),
            Err(HeaderError::UnsupportedVersion {
                api: ApiKey::ApiVersions,
                version: 99,
                correlation_id: 5
            })
        );
        let mut frame = Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(
            RequestHeader::parse(&mut frame),
            Err(HeaderError::UnknownApi {
                key: 256,
                version: 0,
                correlation_id: 5
            })
        );
    }

    #[test]
    fn who_sends_what_is_not_understood_is_still_known() {
        let frame = [3, 231, 0, 7, 0, 0, 0, 5, 0, 4, b'k', b'c', b'a', b't', 0xff];
        assert_eq!(RequestHeader::claimed_client_id(&frame), Some("kcat"));
        assert_eq!(RequestHeader::claimed_client_id(&frame[..12]), None);
        assert_eq!(RequestHeader::claimed_client_id(&[0, 3, 0, 9, 0, 0]), None);
    }

    #[test]
    fn absurd_headers_are_refused() {
        // A client id of length -2, then one that is not UTF-8, then two billion tagged fields.
        let mut frame = Bytes::from_static(&[0, 18, 0, 0, 0, 0, 0, 5, 0xff, 0xfe]);
        assert!(matches!(
            RequestHeader::parse(&mut frame),
            Err(HeaderError::Malformed(_))
        ));
        let mut frame = Bytes::from_static(&[0, 18, 0, 0, 0, 0, 0, 5, 0, 1, 0xff]);
        assert!(matches!(
            RequestHeader::parse(&mut frame),
            Err(HeaderError::Malformed(_))
        ));
        let mut frame =
            Bytes::from_static(&[0, 18, 0, 3, 0, 0, 0, 5, 0, 0, 0xff, 0xff, 0xff, 0xff, 7]);
        assert!(matches!(
            RequestHeader::parse(&mut frame),
            Err(HeaderError::Malformed(_))
        ));
    }

    #[test]
    fn response_headers_read_back() {
        for api in ApiKey::ALL {
            for version in api.versions() {
                let mut buffer = BytesMut::new();
                put_response_header(&mut buffer, *api, version, -3);
                buffer.put_slice(b"body");
                let mut frame = buffer.freeze();
                assert_eq!(response_correlation_id(&frame), Ok(-3));
                assert_eq!(take_response_header(&mut frame, *api, version), Ok(-3));
                assert_eq!(frame, Bytes::from_static(b"body"));
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_header_parser(bytes in proptest::collection::vec(any::<u8>(), 0..64), key in 0i16..70, version in -1i16..20) {
            let mut all = Vec::new();
            all.extend_from_slice(&key.to_be_bytes());
            all.extend_from_slice(&version.to_be_bytes());
            all.extend_from_slice(&bytes);
            let _ = RequestHeader::parse(&mut Bytes::from(all));
        }
    }
}
