use bytes::{Buf, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;

use super::*;

const CAP: usize = 1 << 20;

fn one_frame(bytes: Bytes) -> Bytes {
    let mut buffer = BytesMut::from(&bytes[..]);
    let frame = frame::split(&mut buffer, CAP)
        .expect("within the cap")
        .expect("whole");
    assert!(!buffer.has_remaining());
    frame
}

fn name(text: &'static str) -> Option<TopicName> {
    Some(TopicName(StrBytes::from_static_str(text)))
}

#[test]
fn a_request_and_its_response_cross_the_wire_in_every_version() {
    for version in ApiKey::Metadata.versions() {
        let topic = MetadataRequestTopic::default().with_name(name("orders"));
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let client_id = StrBytes::from_static_str("tarn");
        let sent = encode_request(5, Some(&client_id), version, &request).expect("encodes");

        let mut frame = one_frame(sent);
        let header = RequestHeader::parse(&mut frame).expect("a good header");
        assert_eq!(
            (header.api, header.version, header.correlation_id),
            (ApiKey::Metadata, version, 5)
        );
        let body = decode_request(header.api, header.version, frame).expect("a good body");
        assert_eq!(body.api(), ApiKey::Metadata);
        assert_eq!(body, RequestBody::Metadata(request));

        let topic = MetadataResponseTopic::default().with_name(name("orders"));
        let response = MetadataResponse::default().with_topics(vec![topic]);
        let answer = ResponseBody::from(response.clone());
        let frame = one_frame(encode_response(5, version, &answer).expect("encodes"));
        assert_eq!(frame::response_correlation_id(&frame), Ok(5));
        assert_eq!(
            decode_response::<MetadataRequest>(version, frame),
            Ok(response)
        );
    }
}

#[test]
fn every_default_request_and_response_encodes() {
    macro_rules! defaults {
        ($($name:ident = $key:literal, $first:literal..=$last:literal, $flexible:literal, $request:ident => $response:ident, $layout:ident;)*) => {
            $(
                for version in $first..=$last {
                    let frame = encode_request(1, None, version, &$request::default());
                    let mut frame = one_frame(frame.expect("encodes"));
                    let header = RequestHeader::parse(&mut frame).expect("a good header");
                    let body = decode_request(header.api, version, frame).expect("a good body");
                    assert_eq!(body.api(), ApiKey::$name);
                    let answer = ResponseBody::from($response::default());
                    let frame = one_frame(encode_response(1, version, &answer).expect("encodes"));
                    assert!(decode_response::<$request>(version, frame).is_ok());
                }
            )*
        };
    }
    for_each_api!(defaults);
}

#[test]
fn an_unknown_version_of_api_versions_gets_version_0() {
    let frame = one_frame(unsupported_api_versions(9).expect("encodes"));
    let response = decode_response::<ApiVersionsRequest>(0, frame).expect("version 0");
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(response.api_keys.len(), 1);
    assert_eq!(
        (
            response.api_keys[0].min_version,
            response.api_keys[0].max_version
        ),
        (0, 4)
    );
}

#[test]
fn fields_that_a_version_lacks_are_refused_when_encoding() {
    let request = MetadataRequest::default().with_include_topic_authorized_operations(true);
    assert!(matches!(
        encode_request(1, None, 1, &request),
        Err(EncodeError::Refused { .. })
    ));
}

#[test]
fn hostile_bodies_do_not_reach_the_decoder() {
    let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    assert!(matches!(
        decode_request(ApiKey::Metadata, 1, body),
        Err(DecodeError::Bounds {
            error: BoundsError::Count { .. },
            ..
        })
    ));
}

/// librdkafka from 2.3 to 2.16 writes the null array of topics in four bytes, so that the rest of the
/// request slips: the bytes are what `AdminClient.list_topics()` sends, after its header.
#[test]
fn all_topics_as_librdkafka_asks_for_them() {
    for (version, body) in [
        // Null topics in four bytes, then the flags and the count of tagged fields.
        (9, &[0, 0, 0, 0, 1, 0, 0, 0][..]),
        (12, &[0, 0, 0, 0, 1, 0, 0]),
        (13, &[0, 0, 0, 0, 1, 0, 0]),
        (13, &[0, 0, 0, 0, 1]),
    ] {
        let body = Bytes::copy_from_slice(body);
        let decoded = decode_request(ApiKey::Metadata, version, body);
        let Ok(RequestBody::Metadata(request)) = decoded else {
            panic!("version {version}: {decoded:?}");
        };
        assert_eq!(request.topics, None, "version {version}");
    }
}
