//! Identifiers. Random ids are 128 bits drawn from `runtime::Random`; each prints with a prefix that
//! says what it is.
//!
//! Holds: ids of different kinds are different types, and none is made here.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use uuid::Uuid;

use crate::ClusterTime;

/// The text is not an id of this kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {what}")]
pub struct ParseIdError {
    pub what: &'static str,
    pub text: String,
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn from_u128(bits: u128) -> Self {
                Self(bits.to_be_bytes())
            }

            /// The same 128 bits as a UUID: Kafka's topic ids and Iceberg's table ids are UUIDs.
            pub fn uuid(self) -> Uuid {
                Uuid::from_bytes(self.0)
            }

            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid.into_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{:032x}"), u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .filter(|digits| digits.len() == 32)
                    .and_then(|digits| u128::from_str_radix(digits, 16).ok())
                    .map(Self::from_u128)
                    .ok_or_else(|| ParseIdError { what: stringify!($name), text: text.to_owned() })
            }
        }
    };
}

random_id!(
    /// One cluster: made once, carried by every entry and every segment.
    ClusterId, "cl"
);
random_id!(
    /// One node session. Never reused.
    SessionId, "ns"
);
random_id!(
    /// One life of a topic: deleting and creating it again changes the id.
    TopicId, "tp"
);
random_id!(
    /// One Iceberg table.
    TableUuid, "tb"
);

/// Name of a segment: the cluster time of the uploader's view when the upload began, then 80
/// random bits. The time is what commit deadline and garbage collection compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct SegmentId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl SegmentId {
    /// Time takes 48 bits of milliseconds, as in a ULID; times before 1970 count as 1970.
    pub fn new(time: ClusterTime, random: u128) -> SegmentId {
        let millis = u128::try_from(time.0.max(0)).unwrap_or(0) & 0xffff_ffff_ffff;
        SegmentId(((millis << 80) | (random >> 48)).to_be_bytes())
    }

    pub fn time(self) -> ClusterTime {
        let millis = u128::from_be_bytes(self.0) >> 80;
        ClusterTime(i64::try_from(millis).expect("48 bits fit into an i64"))
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seg-{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SegmentId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<SegmentId, ParseIdError> {
        text.strip_prefix("seg-")
            .filter(|digits| digits.len() == 32)
            .and_then(|digits| u128::from_str_radix(digits, 16).ok())
            .map(|bits| SegmentId(bits.to_be_bytes()))
            .ok_or_else(|| ParseIdError {
                what: "SegmentId",
                text: text.to_owned(),
            })
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $number:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id!(
    /// A process as Kafka sees it (broker id). Outlives the node session that it was given to.
    NodeId, i32
);
number_id!(
    /// Index of a partition within its topic, from 0.
    PartitionId, i32
);
number_id!(
    /// An idempotent producer.
    ProducerId, i64
);
number_id!(
    /// A producer's epoch; a higher one fences the lower.
    ProducerEpoch, i16
);
number_id!(
    /// A registered schema, global over all subjects, as in Confluent's framing.
    SchemaId, u32
);

/// A partition of one life of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TopicPartition {
    #[n(0)]
    pub topic: TopicId,
    #[n(1)]
    pub partition: PartitionId,
}

impl TopicPartition {
    pub fn new(topic: TopicId, partition: PartitionId) -> TopicPartition {
        TopicPartition { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_id_keeps_its_time_and_its_text() {
        let id = SegmentId::new(ClusterTime(1_700_000_000_123), u128::MAX / 3);
        assert_eq!(id.time(), ClusterTime(1_700_000_000_123));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(SegmentId::new(ClusterTime(1_700_000_000_124), 0) > id);
    }

    #[test]
    fn a_wrong_prefix_is_refused() {
        let topic = TopicId::from_u128(7).to_string();
        assert_eq!(topic.parse(), Ok(TopicId::from_u128(7)));
        assert!(topic.parse::<ClusterId>().is_err());
        assert!("tp-7".parse::<TopicId>().is_err());
    }
}
