//! The values that every crate speaks in. Values only: no I/O, no clock, no chance.
//!
//! A number that means something has a type here ([`Offset`], [`Lsn`], [`Timestamp`], [`ByteSize`]),
//! so that two of them cannot be mixed up, and each type owns its one text form and its one
//! encoded form.

pub mod caps;
mod codec;
pub mod codes;
mod column;
mod defect;
mod error;
pub mod frames;
mod hash;
mod id;
mod lsn;
pub mod names;
mod offset;
mod pages;
mod schema;
mod section;
mod size;
mod time;
mod topic;
pub mod topic_configs;

pub use codec::{DecodeError, decode, encode};
pub use column::growth::{
    COLUMN_DEPTH_MAX, Columns, FIRST_PAYLOAD_FIELD_ID, TableColumnsError, check_columns, check_ids,
    collect_ids, is_deeper_than,
};
pub use column::{ColumnType, Field, FieldId};
#[cfg(debug_assertions)]
pub use defect::plant_defect;
pub use defect::{DEFECTS, defect};
pub use error::{Fate, Kind};
pub use frames::nesting::{COLUMN_LEVELS_MAX, decode_bounded};
pub use hash::Hash;
pub use id::{
    ClusterId, NodeId, ParseIdError, PartitionId, ProducerEpoch, ProducerId, SchemaId, SegmentId,
    SessionId, TableUuid, TopicId, TopicPartition,
};
pub use lsn::{Generation, Lsn, ParseLsnError};
pub use offset::{Offset, OffsetRange};
pub use pages::{PAGE, PageBuffer, begins_a_page};
pub use schema::{SchemaFormat, SchemaReference};
pub use section::{Section, Shown, within};
pub use size::{ByteSize, ParseSizeError};
pub use time::{
    ClusterTime, LivenessTime, Monotonic, ParseDurationError, Timestamp, duration_text,
    format_duration, parse_duration,
};
pub use topic::Topic;
