//! The one table of topic configs: name, type, default, which values are taken, and what it does.
//!
//! CreateTopics, IncrementalAlterConfigs and DescribeConfigs follow from the table. A topic stores
//! only what was set for it; the rest is the default here.

use std::borrow::Cow;
use std::time::Duration;

use tarn_state::Topic;

use crate::AgentSettings;

/// Its default is a setting.
const TABLE_INTERVAL: &str = "tarn.table.interval.ms";
use tarn_topics::BATCH_BYTES_MAX;

/// How a config's value reads, with Kafka's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
}

impl ConfigKind {
    /// As in DescribeConfigs.
    pub fn wire(self) -> i8 {
        match self {
            ConfigKind::Boolean => 1,
            ConfigKind::String => 2,
            ConfigKind::Int => 3,
            ConfigKind::Short => 4,
            ConfigKind::Long => 5,
            ConfigKind::Double => 6,
            ConfigKind::List => 7,
        }
    }
}

/// Which values a config takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
    Boolean,
    OneOf(&'static [&'static str]),
    /// Any number of these, with commas between them.
    Some(&'static [&'static str]),
    Number {
        min: i64,
        max: i64,
    },
    Fraction {
        min: f64,
        max: f64,
    },
    Text {
        max: usize,
    },
}

/// A config of a topic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopicConfig {
    pub name: &'static str,
    pub kind: ConfigKind,
    pub default: &'static str,
    pub allowed: Allowed,
    pub doc: &'static str,
}

const ANY_LONG: Allowed = Allowed::Number {
    min: 0,
    max: i64::MAX,
};
const LONG_OR_NONE: Allowed = Allowed::Number {
    min: -1,
    max: i64::MAX,
};

macro_rules! configs {
    ($($name:literal $kind:ident = $default:literal, $allowed:expr, $doc:literal;)*) => {
        /// Every config of a topic, in the order of their names.
        pub const TOPIC_CONFIGS: &[TopicConfig] = &[$(
            TopicConfig { name: $name, kind: ConfigKind::$kind, default: $default, allowed: $allowed, doc: $doc },
        )*];
    };
}

configs! {
    "cleanup.policy" List = "delete", Allowed::Some(&["delete", "compact"]), "What is to become of old records. Kept, but nothing is deleted or compacted yet.";
    "compression.gzip.level" Int = "-1", Allowed::Number { min: -1, max: 9 }, "Accepted for compatibility: batches are stored as producers compressed them.";
    "compression.lz4.level" Int = "9", Allowed::Number { min: 1, max: 17 }, "Accepted for compatibility: batches are stored as producers compressed them.";
    "compression.type" String = "producer", Allowed::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]), "Accepted for compatibility: batches are stored as producers compressed them.";
    "compression.zstd.level" Int = "3", Allowed::Number { min: -131_072, max: 22 }, "Accepted for compatibility: batches are stored as producers compressed them.";
    "delete.retention.ms" Long = "86400000", ANY_LONG, "How long a tombstone is to stay after key compaction. Kept, but nothing is compacted yet.";
    "file.delete.delay.ms" Long = "60000", ANY_LONG, "Accepted for compatibility: there are no files, and no object is deleted yet.";
    "flush.messages" Long = "9223372036854775807", Allowed::Number { min: 1, max: i64::MAX }, "Accepted for compatibility: what is acknowledged is durable.";
    "flush.ms" Long = "9223372036854775807", ANY_LONG, "Accepted for compatibility: what is acknowledged is durable.";
    "follower.replication.throttled.replicas" List = "", Allowed::Text { max: 4096 }, "Accepted for compatibility: there are no followers.";
    "index.interval.bytes" Int = "4096", Allowed::Number { min: 0, max: i32::MAX as i64 }, "Accepted for compatibility: there are no index files.";
    "leader.replication.throttled.replicas" List = "", Allowed::Text { max: 4096 }, "Accepted for compatibility: there are no followers.";
    "local.retention.bytes" Long = "-2", Allowed::Number { min: -2, max: i64::MAX }, "Accepted for compatibility: there is one tier, object storage.";
    "local.retention.ms" Long = "-2", Allowed::Number { min: -2, max: i64::MAX }, "Accepted for compatibility: there is one tier, object storage.";
    "max.compaction.lag.ms" Long = "9223372036854775807", Allowed::Number { min: 1, max: i64::MAX }, "How long a record may stay uncompacted. Kept, but nothing is compacted yet.";
    "max.message.bytes" Int = "1048588", Allowed::Number { min: 0, max: BATCH_BYTES_MAX.0 as i64 }, "Largest batch, compressed. A segment takes none of more than 64 MiB.";
    "message.timestamp.after.max.ms" Long = "3600000", ANY_LONG, "How far a record's timestamp may lie ahead of the agent's clock.";
    "message.timestamp.before.max.ms" Long = "9223372036854775807", ANY_LONG, "How far a record's timestamp may lie behind the agent's clock.";
    "message.timestamp.type" String = "CreateTime", Allowed::OneOf(&["CreateTime", "LogAppendTime"]), "Who sets the timestamps: the producer, or the agent that takes the batch.";
    "min.cleanable.dirty.ratio" Double = "0.5", Allowed::Fraction { min: 0.0, max: 1.0 }, "When key compaction is worth it. Kept, but nothing is compacted yet.";
    "min.compaction.lag.ms" Long = "0", ANY_LONG, "How long a record is to stay uncompacted at least. Kept, but nothing is compacted yet.";
    "min.insync.replicas" Int = "1", Allowed::Number { min: 1, max: i32::MAX as i64 }, "Accepted for compatibility: object storage replicates.";
    "preallocate" Boolean = "false", Allowed::Boolean, "Accepted for compatibility: there are no files.";
    "remote.storage.enable" Boolean = "false", Allowed::Boolean, "Accepted for compatibility: there is one tier, object storage.";
    "retention.bytes" Long = "-1", LONG_OR_NONE, "Bytes of a partition beyond which its oldest records are to go; -1 is no limit. Kept, but nothing is deleted yet.";
    "retention.ms" Long = "604800000", LONG_OR_NONE, "Age beyond which records are to go; -1 is no limit. Kept, but nothing is deleted yet.";
    "segment.bytes" Int = "1073741824", Allowed::Number { min: 14, max: i32::MAX as i64 }, "Accepted for compatibility: segments hold many partitions.";
    "segment.index.bytes" Int = "10485760", Allowed::Number { min: 4, max: i32::MAX as i64 }, "Accepted for compatibility: there are no index files.";
    "segment.jitter.ms" Long = "0", ANY_LONG, "Accepted for compatibility: segments hold many partitions.";
    "segment.ms" Long = "604800000", Allowed::Number { min: 1, max: i64::MAX }, "Accepted for compatibility: segments hold many partitions.";
    "tarn.event.time" String = "", Allowed::Text { max: 255 }, "The table's column with the time of an event; empty takes the record's timestamp. A change counts for records committed after it; system.tables says since when, and whether there is such a column.";
    "tarn.table" String = "on", Allowed::OneOf(&["on", "off"]), "Is the topic a table? Decided when it is created: a later change is refused.";
    "tarn.table.interval.ms" Long = "60000", Allowed::Number { min: 100, max: 86_400_000 }, "How often new records are committed to the table's files.";
    "unclean.leader.election.enable" Boolean = "false", Allowed::Boolean, "Accepted for compatibility: there are no replicas to lose records with.";
}

/// The config of this name.
pub(crate) fn find(name: &str) -> Option<&'static TopicConfig> {
    let at = TOPIC_CONFIGS.binary_search_by(|config| {
        #[cfg(test)]
        tests::COMPARED.set(tests::COMPARED.get() + 1);
        config.name.cmp(name)
    });
    TOPIC_CONFIGS.get(at.ok()?)
}

impl TopicConfig {
    /// Why a value is not taken; `None` if it is.
    pub fn problem(&self, value: &str) -> Option<String> {
        match self.allowed {
            Allowed::Boolean => (!matches!(value, "true" | "false"))
                .then(|| format!("{value:?} is neither true nor false")),
            Allowed::OneOf(values) => (!values.contains(&value))
                .then(|| format!("{value:?} is none of {}", values.join(", "))),
            Allowed::Some(values) => value
                .split(',')
                .map(str::trim)
                .find(|item| !values.contains(item))
                .map(|item| format!("{item:?} is none of {}", values.join(", "))),
            Allowed::Number { min, max } => match value.trim().parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => None,
                Ok(number) => Some(format!("{number} is not between {min} and {max}")),
                Err(_) => Some(format!("{value:?} is not a whole number")),
            },
            Allowed::Fraction { min, max } => match value.trim().parse::<f64>() {
                Ok(number) if (min..=max).contains(&number) => None,
                Ok(number) => Some(format!("{number} is not between {min} and {max}")),
                Err(_) => Some(format!("{value:?} is not a number")),
            },
            Allowed::Text { max } => (value.len() > max || value.contains('\0'))
                .then(|| format!("a text of at most {max} bytes")),
        }
    }

    /// The value for topics that do not say, in this process.
    pub(crate) fn default_in(&self, settings: &AgentSettings) -> Cow<'static, str> {
        match self.name {
            TABLE_INTERVAL => Cow::Owned(settings.table_interval.as_millis().to_string()),
            _ => Cow::Borrowed(self.default),
        }
    }

    /// The value that holds for a topic.
    pub fn value_of<'t>(&self, topic: &'t Topic) -> &'t str
    where
        Self: 't,
    {
        topic
            .configs
            .get(self.name)
            .map_or(self.default, String::as_str)
    }

    /// May AlterConfigs append to it and subtract from it?
    pub(crate) fn is_list(&self) -> bool {
        self.kind == ConfigKind::List
    }
}

fn value<'t>(topic: &'t Topic, name: &str) -> &'t str {
    find(name)
        .expect("the callers name configs of the table")
        .value_of(topic)
}

/// SUBTLE: a value in the state passed the check of the agent that proposed it, which may have been
/// of another version: what does not read any more counts as the default.
fn number(topic: &Topic, name: &str) -> i64 {
    let config = find(name).expect("the callers name configs of the table");
    let parse = |text: &str| text.trim().parse::<i64>().ok();
    parse(config.value_of(topic))
        .or_else(|| parse(config.default))
        .expect("defaults are valid, a test checks them")
}

fn duration(topic: &Topic, name: &str) -> Duration {
    Duration::from_millis(u64::try_from(number(topic, name)).unwrap_or(0))
}

/// Who sets a topic's timestamps, and within which bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampRule {
    Create { before: Duration, after: Duration },
    LogAppend,
}

pub(crate) fn timestamp_rule(topic: &Topic) -> TimestampRule {
    if value(topic, "message.timestamp.type") == "LogAppendTime" {
        return TimestampRule::LogAppend;
    }
    TimestampRule::Create {
        before: duration(topic, "message.timestamp.before.max.ms"),
        after: duration(topic, "message.timestamp.after.max.ms"),
    }
}

/// Has the topic limits of its own for timestamps? Then every batch is opened to hold its records
/// against them, while the defaults are held against what headers say.
pub(crate) fn limits_timestamps(topic: &Topic) -> bool {
    [
        "message.timestamp.before.max.ms",
        "message.timestamp.after.max.ms",
    ]
    .iter()
    .any(|name| topic.configs.contains_key(*name))
}

/// Do later records replace earlier ones of the same key? Then each must have one.
pub(crate) fn is_compacted(topic: &Topic) -> bool {
    value(topic, "cleanup.policy")
        .split(',')
        .any(|policy| policy.trim() == "compact")
}

/// May its old records be deleted?
pub(crate) fn deletes(topic: &Topic) -> bool {
    value(topic, "cleanup.policy")
        .split(',')
        .any(|policy| policy.trim() == "delete")
}

pub(crate) fn max_message_bytes(topic: &Topic) -> usize {
    usize::try_from(number(topic, "max.message.bytes")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use tarn_model::{ClusterTime, TopicId};

    use super::*;

    thread_local! {
        /// Names that were compared to find a config.
        pub(super) static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_config_is_found_by_a_few_comparisons() {
        for config in TOPIC_CONFIGS {
            COMPARED.set(0);
            assert_eq!(find(config.name).map(|found| found.name), Some(config.name));
            let compared = COMPARED.get();
            assert!((1..=7).contains(&compared), "{}: {compared}", config.name);
        }
    }

    fn topic(configs: &[(&str, &str)]) -> Topic {
        Topic {
            id: TopicId::from_u128(1),
            name: "t".to_owned(),
            partitions: 1,
            configs: configs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            created_at: ClusterTime(0),
            first_producer: None,
        }
    }

    #[test]
    fn defaults_are_valid_and_names_are_sorted() {
        for config in TOPIC_CONFIGS {
            assert_eq!(config.problem(config.default), None, "{}", config.name);
        }
        assert!(
            TOPIC_CONFIGS
                .windows(2)
                .all(|pair| pair[0].name < pair[1].name)
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        for (name, value) in [
            ("retention.ms", "-2"),
            ("retention.ms", "week"),
            ("cleanup.policy", "delete,shred"),
            ("compression.type", "brotli"),
            ("min.insync.replicas", "0"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("preallocate", "yes"),
            ("tarn.table", "maybe"),
            ("max.message.bytes", "99999999999"),
            // Beyond what a segment takes: refused when it is set, not when a batch arrives.
            ("max.message.bytes", "67108865"),
        ] {
            assert!(
                find(name).expect("known").problem(value).is_some(),
                "{name}={value}"
            );
        }
        for (name, value) in [
            ("retention.ms", "-1"),
            ("cleanup.policy", "compact, delete"),
            ("max.message.bytes", "67108864"),
            ("tarn.table", "off"),
        ] {
            assert_eq!(
                find(name).expect("known").problem(value),
                None,
                "{name}={value}"
            );
        }
        assert!(find("retention.hours").is_none());
    }

    #[test]
    fn a_topic_has_what_was_set_and_else_the_default() {
        let topic = topic(&[
            ("max.message.bytes", "100"),
            ("message.timestamp.type", "LogAppendTime"),
        ]);
        assert_eq!(max_message_bytes(&topic), 100);
        assert_eq!(timestamp_rule(&topic), TimestampRule::LogAppend);
        let plain = self::topic(&[("max.message.bytes", "unreadable")]);
        assert_eq!(max_message_bytes(&plain), 1_048_588);
        assert!(matches!(
            timestamp_rule(&plain),
            TimestampRule::Create { .. }
        ));
    }
}
