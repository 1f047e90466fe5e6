//! Encodes a Fetch answer around its records, which are not copied: the frame is a list of pieces.
//!
//! ```text
//! length │ header │ … │ partition │ length of records ┃ records ┃ tags │ partition │ …
//! ```
//!
//! SUBTLE: `kafka-protocol` encodes each partition with empty records, which are its last field but
//! for the tagged ones; their length is cut off again and the real records follow. A test compares
//! the result with the library's own encoding in every version.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::protocol::Encodable;
use tarn_kafka::frame::put_response_header;
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_runtime::Permit;
use tracing::error;

use super::{Answer, Context, Frame, TopicKey};

/// A topic's part of the answer.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) key: TopicKey,
    pub(super) partitions: Vec<PartitionData>,
}

/// The answer is longer than a frame can be, or the library refused a field.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unencodable(String);

pub(super) fn encode(
    context: &Context,
    code: ErrorCode,
    session_id: i32,
    topics: Vec<Topic>,
    permit: Option<Permit>,
) -> Answer {
    match pieces(
        context.correlation_id,
        context.version,
        code,
        session_id,
        topics,
    ) {
        Ok(pieces) => Answer::Frame(Frame { pieces, permit }),
        Err(error) => {
            error!(%error, "a Fetch answer could not be encoded");
            Answer::Close("unencodable answer", error.to_string())
        }
    }
}

fn pieces(
    correlation_id: i32,
    version: i16,
    code: ErrorCode,
    session_id: i32,
    topics: Vec<Topic>,
) -> Result<Vec<Bytes>, Unencodable> {
    let flexible = ApiKey::Fetch.is_flexible(version);
    let mut pieces = vec![Bytes::new()];
    let mut buffer = BytesMut::new();
    put_response_header(&mut buffer, ApiKey::Fetch, version, correlation_id);
    // Throttle time: a long poll is none.
    buffer.put_i32(0);
    if version >= 7 {
        buffer.put_i16(code.code());
        buffer.put_i32(session_id);
    }
    put_count(&mut buffer, flexible, topics.len())?;
    for topic in topics {
        match &topic.key {
            TopicKey::Id(id) => buffer.put_slice(&id.0),
            TopicKey::Name(name) if flexible => {
                put_count(&mut buffer, true, name.len())?;
                buffer.put_slice(name.as_bytes());
            }
            TopicKey::Name(name) => {
                buffer.put_i16(
                    i16::try_from(name.len())
                        .map_err(|_| Unencodable("a name is too long".to_owned()))?,
                );
                buffer.put_slice(name.as_bytes());
            }
        }
        put_count(&mut buffer, flexible, topic.partitions.len())?;
        for mut partition in topic.partitions {
            let records = partition.records.replace(Bytes::new()).unwrap_or_default();
            partition
                .encode(&mut buffer, version)
                .map_err(|error| Unencodable(error.to_string()))?;
            let empty: &[u8] = if flexible { &[1, 0] } else { &[0; 4] };
            let Some(rest) = buffer.strip_suffix(empty) else {
                return Err(Unencodable(
                    "a partition does not end with its records".to_owned(),
                ));
            };
            let cut = rest.len();
            buffer.truncate(cut);
            put_count(&mut buffer, flexible, records.len())?;
            if !records.is_empty() {
                pieces.push(buffer.split().freeze());
                pieces.push(records);
            }
            if flexible {
                buffer.put_u8(0);
            }
        }
        if flexible {
            buffer.put_u8(0);
        }
    }
    if flexible {
        buffer.put_u8(0);
    }
    pieces.push(buffer.freeze());
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let length =
        i32::try_from(length).map_err(|_| Unencodable(format!("{length} bytes are no frame")))?;
    if let Some(first) = pieces.first_mut() {
        *first = Bytes::copy_from_slice(&length.to_be_bytes());
    }
    Ok(pieces)
}

/// The length of an array, of bytes or of a text: a compact one counts from one.
fn put_count(buffer: &mut BytesMut, compact: bool, count: usize) -> Result<(), Unencodable> {
    let count = i32::try_from(count).map_err(|_| Unencodable(format!("{count} are too many")))?;
    if !compact {
        buffer.put_i32(count);
        return Ok(());
    }
    let mut rest = count.unsigned_abs() + 1;
    while rest >= 0x80 {
        buffer.put_u8(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    buffer.put_u8(u8::try_from(rest).unwrap_or(0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::FetchResponse;
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::fetch_response::FetchableTopicResponse;
    use kafka_protocol::protocol::StrBytes;
    use tarn_kafka::{ResponseBody, encode_response};
    use tarn_model::TopicId;

    use super::*;

    #[test]
    fn pieces_are_what_the_library_encodes() {
        for version in ApiKey::Fetch.versions() {
            for sizes in [vec![], vec![0], vec![1, 0, 200], vec![20_000, 3]] {
                let id = TopicId::from_u128(77);
                let partitions: Vec<PartitionData> = sizes
                    .iter()
                    .enumerate()
                    .map(|(index, size)| {
                        PartitionData::default()
                            .with_partition_index(i32::try_from(index).expect("few"))
                            .with_high_watermark(9)
                            .with_aborted_transactions((index == 1).then(Vec::new))
                            .with_records(Some(Bytes::from(vec![7; *size])))
                    })
                    .collect();
                let topics: Vec<FetchableTopicResponse> = ["t", "a-longer-name"]
                    .into_iter()
                    .map(|name| {
                        let topic =
                            FetchableTopicResponse::default().with_partitions(partitions.clone());
                        if version >= 13 {
                            topic.with_topic_id(id.uuid())
                        } else {
                            topic.with_topic(TopicName(StrBytes::from_static_str(name)))
                        }
                    })
                    .collect();
                let ours = topics
                    .iter()
                    .map(|topic| Topic {
                        key: if version >= 13 {
                            TopicKey::Id(id)
                        } else {
                            TopicKey::Name(topic.topic.0.clone())
                        },
                        partitions: topic.partitions.clone(),
                    })
                    .collect();
                let session_id = if version >= 7 { 5 } else { 0 };
                let theirs = FetchResponse::default()
                    .with_session_id(session_id)
                    .with_responses(topics);
                let expected = encode_response(42, version, &ResponseBody::Fetch(theirs))
                    .expect("the library encodes it");
                let pieces =
                    pieces(42, version, ErrorCode::None, session_id, ours).expect("encodable");
                assert_eq!(
                    pieces.concat(),
                    expected,
                    "version {version}, sizes {sizes:?}"
                );
            }
        }
    }
}
