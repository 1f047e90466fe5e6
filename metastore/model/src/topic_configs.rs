//! The one table of topic configs: name, kind, default, which values are taken, what each does, and what
//! it reads as.
//!
//! - A topic keeps what was set for it and nothing else. The rest is the default of the table, or, where a
//!   setting is the default, what the process was opened with: its [`Defaults`], which whoever describes a
//!   topic and whoever works on it take from the same node.
//! - Nobody else spells the name of a config, and nobody else reads one: each wing asks a [`Topic`] with
//!   the readers at the end of this file.
//! - A value in the state was checked by the agent that proposed it, which may have been of another
//!   version: what does not read any more counts as the default.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::{is_internal, is_ours};
use crate::topic::Topic;
use crate::{caps, settings};

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

/// Settings of a process that are the default of a topic config.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    pub table: TableSettings,
}

impl Defaults {
    /// Waiting records become table files so often.
    pub fn tables_every(interval: Duration) -> Defaults {
        Defaults {
            table: TableSettings { interval },
        }
    }
}

settings! {
    /// How topics become tables, if they do not say.
    pub struct TableSettings {
        /// How often records that wait become files of their table; `tarn.table.interval.ms` of a topic
        /// overrides it.
        #[serde(with = "crate::duration_text")]
        pub interval: Duration = Duration::from_secs(60), within Duration::from_millis(100)..;
    }
}

/// A config of a topic.
#[derive(Debug, Clone, Copy)]
pub struct TopicConfig {
    pub name: &'static str,
    /// Kafka's name for the default of all topics, where clients look it up.
    pub broker_name: Option<&'static str>,
    pub kind: ConfigKind,
    /// The default, unless a setting is.
    pub default: &'static str,
    /// The setting that is the default.
    setting: Option<fn(&Defaults) -> String>,
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

/// `CONST: "name" (broker "its name there") Kind = "default" or |defaults| a setting, allowed, doc;`
macro_rules! configs {
    (@or) => { None };
    (@or $given:expr) => { Some($given) };
    ($($id:ident: $name:literal $((broker $broker:literal))? $kind:ident = $default:literal $(or $setting:expr)?, $allowed:expr, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub const $id: TopicConfig = TopicConfig {
                name: $name,
                broker_name: configs!(@or $($broker)?),
                kind: ConfigKind::$kind,
                default: $default,
                setting: configs!(@or $($setting)?),
                allowed: $allowed,
                doc: $doc,
            };
        )*
        /// Every config of a topic, in the order of their names.
        pub const TOPIC_CONFIGS: &[TopicConfig] = &[$($id),*];
    };
}

configs! {
    CLEANUP_POLICY: "cleanup.policy" (broker "log.cleanup.policy") List = "delete", Allowed::Some(&["delete", "compact"]), "What is to become of old records. Kept, but nothing is deleted or compacted yet.";
    COMPRESSION_GZIP_LEVEL: "compression.gzip.level" Int = "-1", Allowed::Number { min: -1, max: 9 }, "Accepted for compatibility: batches are stored as producers compressed them.";
    COMPRESSION_LZ4_LEVEL: "compression.lz4.level" Int = "9", Allowed::Number { min: 1, max: 17 }, "Accepted for compatibility: batches are stored as producers compressed them.";
    COMPRESSION_TYPE: "compression.type" (broker "compression.type") String = "producer", Allowed::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]), "Accepted for compatibility: batches are stored as producers compressed them.";
    COMPRESSION_ZSTD_LEVEL: "compression.zstd.level" Int = "3", Allowed::Number { min: -131_072, max: 22 }, "Accepted for compatibility: batches are stored as producers compressed them.";
    DELETE_RETENTION_MS: "delete.retention.ms" Long = "86400000", ANY_LONG, "How long a tombstone is to stay after key compaction. Kept, but nothing is compacted yet.";
    FILE_DELETE_DELAY_MS: "file.delete.delay.ms" Long = "60000", ANY_LONG, "Accepted for compatibility: there are no files, and no object is deleted yet.";
    FLUSH_MESSAGES: "flush.messages" Long = "9223372036854775807", Allowed::Number { min: 1, max: i64::MAX }, "Accepted for compatibility: what is acknowledged is durable.";
    FLUSH_MS: "flush.ms" Long = "9223372036854775807", ANY_LONG, "Accepted for compatibility: what is acknowledged is durable.";
    FOLLOWER_REPLICATION_THROTTLED_REPLICAS: "follower.replication.throttled.replicas" List = "", Allowed::Text { max: 4096 }, "Accepted for compatibility: there are no followers.";
    INDEX_INTERVAL_BYTES: "index.interval.bytes" Int = "4096", Allowed::Number { min: 0, max: i32::MAX as i64 }, "Accepted for compatibility: there are no index files.";
    LEADER_REPLICATION_THROTTLED_REPLICAS: "leader.replication.throttled.replicas" List = "", Allowed::Text { max: 4096 }, "Accepted for compatibility: there are no followers.";
    LOCAL_RETENTION_BYTES: "local.retention.bytes" Long = "-2", Allowed::Number { min: -2, max: i64::MAX }, "Accepted for compatibility: there is one tier, object storage.";
    LOCAL_RETENTION_MS: "local.retention.ms" Long = "-2", Allowed::Number { min: -2, max: i64::MAX }, "Accepted for compatibility: there is one tier, object storage.";
    MAX_COMPACTION_LAG_MS: "max.compaction.lag.ms" Long = "9223372036854775807", Allowed::Number { min: 1, max: i64::MAX }, "How long a record may stay uncompacted. Kept, but nothing is compacted yet.";
    MAX_MESSAGE_BYTES: "max.message.bytes" (broker "message.max.bytes") Int = "1048588", Allowed::Number { min: 0, max: caps::BATCH_BYTES_MAX.0 as i64 }, "Largest batch, compressed. A segment takes none of more than 64 MiB.";
    MESSAGE_TIMESTAMP_AFTER_MAX_MS: "message.timestamp.after.max.ms" (broker "log.message.timestamp.after.max.ms") Long = "3600000", ANY_LONG, "How far a record's timestamp may lie ahead of the agent's clock.";
    MESSAGE_TIMESTAMP_BEFORE_MAX_MS: "message.timestamp.before.max.ms" (broker "log.message.timestamp.before.max.ms") Long = "9223372036854775807", ANY_LONG, "How far a record's timestamp may lie behind the agent's clock.";
    MESSAGE_TIMESTAMP_TYPE: "message.timestamp.type" (broker "log.message.timestamp.type") String = "CreateTime", Allowed::OneOf(&["CreateTime", "LogAppendTime"]), "Who sets the timestamps: the producer, or the agent that takes the batch.";
    MIN_CLEANABLE_DIRTY_RATIO: "min.cleanable.dirty.ratio" Double = "0.5", Allowed::Fraction { min: 0.0, max: 1.0 }, "When key compaction is worth it. Kept, but nothing is compacted yet.";
    MIN_COMPACTION_LAG_MS: "min.compaction.lag.ms" Long = "0", ANY_LONG, "How long a record is to stay uncompacted at least. Kept, but nothing is compacted yet.";
    MIN_INSYNC_REPLICAS: "min.insync.replicas" (broker "min.insync.replicas") Int = "1", Allowed::Number { min: 1, max: i32::MAX as i64 }, "Accepted for compatibility: object storage replicates.";
    PREALLOCATE: "preallocate" Boolean = "false", Allowed::Boolean, "Accepted for compatibility: there are no files.";
    REMOTE_STORAGE_ENABLE: "remote.storage.enable" Boolean = "false", Allowed::Boolean, "Accepted for compatibility: there is one tier, object storage.";
    RETENTION_BYTES: "retention.bytes" (broker "log.retention.bytes") Long = "-1", LONG_OR_NONE, "Bytes of a partition beyond which its oldest records are to go; -1 is no limit. Kept, but nothing is deleted yet.";
    RETENTION_MS: "retention.ms" (broker "log.retention.ms") Long = "604800000", LONG_OR_NONE, "Age beyond which records are to go; -1 is no limit. Kept, but nothing is deleted yet.";
    SEGMENT_BYTES: "segment.bytes" (broker "log.segment.bytes") Int = "1073741824", Allowed::Number { min: 14, max: i32::MAX as i64 }, "Accepted for compatibility: segments hold many partitions.";
    SEGMENT_INDEX_BYTES: "segment.index.bytes" Int = "10485760", Allowed::Number { min: 4, max: i32::MAX as i64 }, "Accepted for compatibility: there are no index files.";
    SEGMENT_JITTER_MS: "segment.jitter.ms" Long = "0", ANY_LONG, "Accepted for compatibility: segments hold many partitions.";
    SEGMENT_MS: "segment.ms" Long = "604800000", Allowed::Number { min: 1, max: i64::MAX }, "Accepted for compatibility: segments hold many partitions.";
    EVENT_TIME: "tarn.event.time" String = "", Allowed::Text { max: 255 }, "The table's column with the time of an event; empty takes the record's timestamp. A change counts for records committed after it; system.tables says since when, and whether there is such a column.";
    TABLE: "tarn.table" String = "on", Allowed::OneOf(&["on", "off"]), "Is the topic a table? Decided when it is created: a later change is refused.";
    TABLE_INTERVAL: "tarn.table.interval.ms" Long = "60000" or |defaults| defaults.table.interval.as_millis().to_string(), Allowed::Number { min: 100, max: 86_400_000 }, "How often new records are committed to the table's files.";
    UNCLEAN_LEADER_ELECTION_ENABLE: "unclean.leader.election.enable" (broker "unclean.leader.election.enable") Boolean = "false", Allowed::Boolean, "Accepted for compatibility: there are no replicas to lose records with.";
}

/// The config of this name.
pub fn find(name: &str) -> Option<&'static TopicConfig> {
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

    /// The value for topics that do not say, in a process that was opened with these.
    pub fn default_in(&self, defaults: &Defaults) -> Cow<'static, str> {
        match self.setting {
            Some(setting) => Cow::Owned(setting(defaults)),
            None => Cow::Borrowed(self.default),
        }
    }

    /// May AlterConfigs append to it and subtract from it?
    pub fn is_list(&self) -> bool {
        self.kind == ConfigKind::List
    }

    /// What was set among these configs, or else the default of the table.
    fn value_in<'c>(&self, configs: &'c BTreeMap<String, String>) -> &'c str
    where
        Self: 'c,
    {
        configs.get(self.name).map_or(self.default, String::as_str)
    }

    fn number_in(&self, configs: &BTreeMap<String, String>, defaults: &Defaults) -> i64 {
        let parse = |text: &str| text.trim().parse::<i64>().ok();
        configs
            .get(self.name)
            .and_then(|text| parse(text))
            .or_else(|| parse(&self.default_in(defaults)))
            .expect("defaults are valid, a test checks them")
    }
}

// ---- what they read as ----

/// Does a topic of this name, with these configs, have a table? Kafka's own topics and ours have none.
pub fn wants_table(name: &str, configs: &BTreeMap<String, String>) -> bool {
    TABLE.value_in(configs) != "off" && !is_internal(name) && !is_ours(name)
}

/// The payload's column that says when an event happened; `None` is the record's timestamp.
pub fn event_time(configs: &BTreeMap<String, String>) -> Option<&str> {
    let named = EVENT_TIME.value_in(configs);
    (!named.is_empty()).then_some(named)
}

/// Who sets a topic's timestamps, and within which bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampRule {
    Create { before: Duration, after: Duration },
    LogAppend,
}

impl Topic {
    fn text(&self, config: &TopicConfig) -> &str {
        self.configs
            .get(config.name)
            .map_or(config.default, String::as_str)
    }

    fn number(&self, config: &TopicConfig) -> i64 {
        config.number_in(&self.configs, &Defaults::default())
    }

    fn millis(&self, config: &TopicConfig) -> Duration {
        Duration::from_millis(u64::try_from(self.number(config)).unwrap_or(0))
    }

    /// Is it to be a table?
    pub fn wants_table(&self) -> bool {
        wants_table(&self.name, &self.configs)
    }

    /// How often new records are committed to the table's files, at most ten times a second.
    pub fn table_interval(&self, defaults: &Defaults) -> Duration {
        const MIN: u64 = 100;
        let millis = TABLE_INTERVAL.number_in(&self.configs, defaults);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0).max(MIN))
    }

    pub fn timestamp_rule(&self) -> TimestampRule {
        if self.text(&MESSAGE_TIMESTAMP_TYPE) == "LogAppendTime" {
            return TimestampRule::LogAppend;
        }
        TimestampRule::Create {
            before: self.millis(&MESSAGE_TIMESTAMP_BEFORE_MAX_MS),
            after: self.millis(&MESSAGE_TIMESTAMP_AFTER_MAX_MS),
        }
    }

    /// Has it limits of its own for timestamps? Then every batch is opened to hold its records against
    /// them, while the defaults are held against what headers say.
    pub fn limits_timestamps(&self) -> bool {
        [
            MESSAGE_TIMESTAMP_BEFORE_MAX_MS,
            MESSAGE_TIMESTAMP_AFTER_MAX_MS,
        ]
        .iter()
        .any(|config| self.configs.contains_key(config.name))
    }

    fn cleans_up_by(&self, policy: &str) -> bool {
        self.text(&CLEANUP_POLICY)
            .split(',')
            .any(|named| named.trim() == policy)
    }

    /// Do later records replace earlier ones of the same key? Then each must have one.
    pub fn is_compacted(&self) -> bool {
        self.cleans_up_by("compact")
    }

    /// May its old records be deleted?
    pub fn deletes(&self) -> bool {
        self.cleans_up_by("delete")
    }

    /// Largest batch, compressed.
    pub fn max_message_bytes(&self) -> usize {
        usize::try_from(self.number(&MAX_MESSAGE_BYTES)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crate::{ClusterTime, ProducerId, TopicId};

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

    fn topic(configs: &[(&TopicConfig, &str)]) -> Topic {
        Topic {
            id: TopicId::from_u128(1),
            name: "t".to_owned(),
            partitions: 1,
            configs: configs
                .iter()
                .map(|(config, value)| (config.name.to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            created_at: ClusterTime(0),
            first_producer: ProducerId(1),
        }
    }

    #[test]
    fn defaults_are_valid_and_names_are_sorted() {
        for config in TOPIC_CONFIGS {
            assert_eq!(config.problem(config.default), None, "{}", config.name);
            // The table tells the setting's own default.
            assert_eq!(config.default_in(&Defaults::default()), config.default);
        }
        assert!(
            TOPIC_CONFIGS
                .windows(2)
                .all(|pair| pair[0].name < pair[1].name)
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        for (config, value) in [
            (RETENTION_MS, "-2"),
            (RETENTION_MS, "week"),
            (CLEANUP_POLICY, "delete,shred"),
            (COMPRESSION_TYPE, "brotli"),
            (MIN_INSYNC_REPLICAS, "0"),
            (MIN_CLEANABLE_DIRTY_RATIO, "1.5"),
            (PREALLOCATE, "yes"),
            (TABLE, "maybe"),
            (MAX_MESSAGE_BYTES, "99999999999"),
            // Beyond what a segment takes: refused when it is set, not when a batch arrives.
            (MAX_MESSAGE_BYTES, "67108865"),
        ] {
            assert!(config.problem(value).is_some(), "{}={value}", config.name);
        }
        for (config, value) in [
            (RETENTION_MS, "-1"),
            (CLEANUP_POLICY, "compact, delete"),
            (MAX_MESSAGE_BYTES, "67108864"),
            (TABLE, "off"),
        ] {
            assert_eq!(config.problem(value), None, "{}={value}", config.name);
        }
        assert!(find("retention.hours").is_none());
    }

    #[test]
    fn a_topic_has_what_was_set_and_else_the_default() {
        let set = topic(&[
            (&MAX_MESSAGE_BYTES, "100"),
            (&MESSAGE_TIMESTAMP_TYPE, "LogAppendTime"),
            (&CLEANUP_POLICY, "compact, delete"),
        ]);
        assert_eq!(set.max_message_bytes(), 100);
        assert_eq!(set.timestamp_rule(), TimestampRule::LogAppend);
        assert!(set.is_compacted() && set.deletes());
        let plain = topic(&[(&MAX_MESSAGE_BYTES, "unreadable")]);
        assert_eq!(plain.max_message_bytes(), 1_048_588);
        assert!(matches!(
            plain.timestamp_rule(),
            TimestampRule::Create { .. }
        ));
        assert!(!plain.is_compacted() && plain.deletes());
    }

    #[test]
    fn a_setting_is_the_default_of_topics_that_do_not_say() {
        let defaults = Defaults::tables_every(Duration::from_secs(10));
        let interval = |topic: &Topic| topic.table_interval(&defaults).as_millis();
        assert_eq!(TABLE_INTERVAL.default_in(&defaults), "10000");
        assert_eq!(interval(&topic(&[])), 10_000);
        assert_eq!(interval(&topic(&[(&TABLE_INTERVAL, " 500 ")])), 500);
        assert_eq!(interval(&topic(&[(&TABLE_INTERVAL, "soon")])), 10_000);
        assert_eq!(interval(&topic(&[(&TABLE_INTERVAL, "1")])), 100);
    }
}
