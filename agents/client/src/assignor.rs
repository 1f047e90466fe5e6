//! Who reads what in a group: the bytes that members exchange, and Kafka's range assignment.
//!
//! ```text
//! subscription  version i16 │ topics [string] │ user data bytes │ …
//! assignment    version i16 │ [topic string │ partitions [i32]] │ user data bytes │ …
//! ```
//!
//! Holds: counts from other members are compared with the bytes that are there.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::GroupError;

/// Topics with the partitions of each, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment(pub BTreeMap<String, Vec<i32>>);

impl Assignment {
    /// Every partition, topic by topic.
    pub fn partitions(&self) -> impl Iterator<Item = (&str, i32)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(|partition| (topic.as_str(), *partition))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(0);
        out.put_i32(count(self.0.len()));
        for (topic, partitions) in &self.0 {
            put_string(&mut out, topic);
            out.put_i32(count(partitions.len()));
            for partition in partitions {
                out.put_i32(*partition);
            }
        }
        out.put_i32(-1);
        out.freeze()
    }

    /// Reads an assignment; a member that got nothing has no bytes.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Assignment, GroupError> {
        let mut assignment = Assignment::default();
        if bytes.is_empty() {
            return Ok(assignment);
        }
        version(&mut bytes)?;
        for _ in 0..length(&mut bytes, 6)? {
            let topic = string(&mut bytes)?;
            let mut partitions = Vec::new();
            for _ in 0..length(&mut bytes, 4)? {
                partitions.push(bytes.try_get_i32().map_err(|_| TRUNCATED)?);
            }
            assignment.0.insert(topic, partitions);
        }
        Ok(assignment)
    }
}

const TRUNCATED: GroupError = GroupError::Malformed("they end too early");

pub(crate) fn encode_subscription(topics: &[String]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(count(topics.len()));
    for topic in topics {
        put_string(&mut out, topic);
    }
    out.put_i32(-1);
    out.freeze()
}

pub(crate) fn decode_subscription(mut bytes: Bytes) -> Result<Vec<String>, GroupError> {
    version(&mut bytes)?;
    let mut topics = Vec::new();
    for _ in 0..length(&mut bytes, 2)? {
        topics.push(string(&mut bytes)?);
    }
    Ok(topics)
}

/// Kafka's range assignment: per topic, members in order of their ids get neighbouring partitions,
/// and the first ones get one more where it does not come out even.
pub(crate) fn assign_ranges(
    members: &BTreeMap<String, Vec<String>>,
    partition_counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Assignment> {
    let mut assignments: BTreeMap<String, Assignment> = members
        .keys()
        .map(|member| (member.clone(), Assignment::default()))
        .collect();
    for (topic, partitions) in partition_counts {
        let readers: Vec<&String> = members
            .iter()
            .filter(|(_, topics)| topics.contains(topic))
            .map(|(member, _)| member)
            .collect();
        let Ok(reader_count) = i32::try_from(readers.len()) else {
            continue;
        };
        if reader_count == 0 {
            continue;
        }
        let (share, extra) = (partitions / reader_count, partitions % reader_count);
        let mut next = 0;
        for (at, member) in (0..).zip(readers) {
            let end = next + share + i32::from(at < extra);
            if next < end
                && let Some(assignment) = assignments.get_mut(member)
            {
                assignment.0.insert(topic.clone(), (next..end).collect());
            }
            next = end;
        }
    }
    assignments
}

fn count(items: usize) -> i32 {
    i32::try_from(items).expect("as many as the servers allow, which is less than 2^31")
}

fn put_string(out: &mut BytesMut, text: &str) {
    let length = i16::try_from(text.len()).expect("topic names are at most 249 bytes");
    out.put_i16(length);
    out.put_slice(text.as_bytes());
}

fn version(bytes: &mut Bytes) -> Result<(), GroupError> {
    match bytes.try_get_i16() {
        Ok(version) if version >= 0 => Ok(()),
        Ok(_) => Err(GroupError::Malformed("their version is negative")),
        Err(_) => Err(TRUNCATED),
    }
}

fn length(bytes: &mut Bytes, least: usize) -> Result<usize, GroupError> {
    let announced = bytes.try_get_i32().map_err(|_| TRUNCATED)?;
    let length =
        usize::try_from(announced).map_err(|_| GroupError::Malformed("a count is negative"))?;
    if length.saturating_mul(least) > bytes.remaining() {
        return Err(GroupError::Malformed("a count is larger than the bytes"));
    }
    Ok(length)
}

fn string(bytes: &mut Bytes) -> Result<String, GroupError> {
    let length = bytes.try_get_i16().map_err(|_| TRUNCATED)?;
    let length = usize::try_from(length).map_err(|_| GroupError::Malformed("a text is null"))?;
    if length > bytes.remaining() {
        return Err(TRUNCATED);
    }
    let text = bytes.split_to(length);
    std::str::from_utf8(&text)
        .map(str::to_owned)
        .map_err(|_| GroupError::Malformed("a text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn bytes_read_back_and_every_cut_is_an_error() {
        let topics = names(&["orders", "clicks"]);
        let bytes = encode_subscription(&topics);
        assert_eq!(decode_subscription(bytes.clone()), Ok(topics));
        let assignment = Assignment(
            [
                ("clicks".to_owned(), vec![]),
                ("orders".to_owned(), vec![0, 3]),
            ]
            .into(),
        );
        let encoded = assignment.encode();
        assert_eq!(Assignment::decode(encoded.clone()), Ok(assignment));
        // The user data at the end is not looked at.
        for cut in 1..encoded.len() - 4 {
            assert!(
                Assignment::decode(encoded.slice(..cut)).is_err(),
                "cut at {cut}"
            );
        }
        for cut in 0..bytes.len() - 4 {
            assert!(
                decode_subscription(bytes.slice(..cut)).is_err(),
                "cut at {cut}"
            );
        }
        assert!(
            decode_subscription(Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0])).is_err()
        );
    }

    #[test]
    fn ranges_are_kafkas() {
        let members = [
            ("a".to_owned(), names(&["t", "u"])),
            ("b".to_owned(), names(&["t"])),
            ("c".to_owned(), names(&["t"])),
        ]
        .into();
        let counts = [
            ("t".to_owned(), 8),
            ("u".to_owned(), 2),
            ("unread".to_owned(), 1),
        ]
        .into();
        let assigned = assign_ranges(&members, &counts);
        let of =
            |member: &str, topic: &str| assigned[member].0.get(topic).cloned().unwrap_or_default();
        assert_eq!(of("a", "t"), [0, 1, 2]);
        assert_eq!(of("b", "t"), [3, 4, 5]);
        assert_eq!(of("c", "t"), [6, 7]);
        assert_eq!(of("a", "u"), [0, 1]);
        assert!(of("b", "u").is_empty());
    }

    #[test]
    fn more_members_than_partitions_leave_some_without() {
        let members = (0..5).map(|n| (format!("m{n}"), names(&["t"]))).collect();
        let assigned = assign_ranges(&members, &[("t".to_owned(), 2)].into());
        let lengths: Vec<usize> = assigned
            .values()
            .map(|assignment| assignment.partitions().count())
            .collect();
        assert_eq!(lengths, [1, 1, 0, 0, 0]);
    }
}
