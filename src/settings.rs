//! All settings of a process, from their four origins: defaults, a TOML file, `TARN_SECTION__KEY`
//! environment variables, and flags, each overriding the one before.
//!
//! The doc comment of a field is its manual: `tarn config show --origin` prints values and where
//! they come from. An unknown name is an error, never ignored.

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Serialize};
use tarn_model::{ByteSize, format_duration, parse_duration};
use tarn_state::topic_configs::Defaults;

use crate::addresses;

/// Settings of one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Folder for everything that `tarn dev` keeps.
    pub(crate) data_dir: PathBuf,
    /// Keep everything in a temporary folder that is removed at the end.
    pub(crate) ephemeral: bool,
    /// Address that all listeners bind: `0.0.0.0` or `::` for every one that the machine has.
    pub(crate) host: String,
    pub(crate) kafka: Kafka,
    pub(crate) registry: Port,
    pub(crate) http: Port,
    pub(crate) postgres: Port,
    pub(crate) memory: Memory,
    pub(crate) produce: Produce,
    pub(crate) replication: Replication,
    pub(crate) table: Table,
    pub(crate) sql: Sql,
    pub(crate) log: Log,
    pub(crate) logging: Logging,
}

/// A listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    /// 0 takes a free one.
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kafka {
    /// 0 takes a free one.
    pub(crate) port: u16,
    /// Host that Kafka clients are told to connect to, without a port. `host` if nothing is said, or the
    /// machine's name if that means every address.
    pub(crate) advertised_host: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// Bytes that the process may hold: requests in flight, caches, the hot tier and queries.
    /// Half of the machine's memory if nothing is said.
    pub(crate) budget: ByteSize,
}

/// The parts of `memory.budget`, in sixteenths of it. What is left is for the state and for the
/// code itself.
impl Memory {
    /// Requests in flight, and what the materializer works on.
    pub(crate) fn in_flight(&self) -> ByteSize {
        self.sixteenths(6)
    }

    /// Heartbeats and other small requests, which no backlog of batches keeps out: a quarter of the
    /// sixteenth that is left.
    pub(crate) fn small_requests(&self) -> ByteSize {
        ByteSize(self.budget.0 / 64)
    }

    /// Fetched records on their way to clients.
    pub(crate) fn responses(&self) -> ByteSize {
        self.sixteenths(2)
    }

    /// Chunks of segments and, at most half of it, of table files.
    pub(crate) fn chunk_cache(&self) -> ByteSize {
        self.sixteenths(2)
    }

    /// Rows that are in no table file yet.
    pub(crate) fn hot_tier(&self) -> ByteSize {
        self.sixteenths(2)
    }

    /// Manifests and metadata of tables, decoded.
    pub(crate) fn table_metadata(&self) -> ByteSize {
        ByteSize(self.budget.0 / 32)
    }

    /// All queries together, unless `sql.memory_limit` says otherwise.
    fn queries(&self) -> ByteSize {
        self.sixteenths(3)
    }

    fn sixteenths(&self, parts: u64) -> ByteSize {
        ByteSize(self.budget.0 / 16 * parts)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Produce {
    /// How long the open segment waits for more batches. Longer makes fewer, larger objects.
    pub(crate) linger: Span,
    /// A segment is written as soon as it holds this much.
    pub(crate) segment_bytes: ByteSize,
    /// Does a Metadata request create the topics that it names? A Produce request never does.
    pub(crate) auto_create_topics: bool,
    /// Partitions of a topic that is created without saying how many.
    pub(crate) partitions: i32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replication {
    pub(crate) factor: ReplicationFactor,
}

/// Object storage replicates, so a topic's replication factor is a number that clients bring along.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicationFactor {
    /// Refuse a topic whose replication factor is larger than the number of agents, with Kafka's error,
    /// as a cluster of as many brokers would.
    pub(crate) strict: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// How often records that wait become files of their table (`tarn.table.interval.ms` of a topic
    /// overrides it).
    pub(crate) interval: Span,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sql {
    /// Longest that a query runs.
    pub(crate) time_limit: Span,
    /// Most memory that all queries take together: one that gets no more fails. Three sixteenths of
    /// `memory.budget` if 0.
    pub(crate) memory_limit: ByteSize,
    /// Most rows that an answer holds.
    pub(crate) row_limit: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// A snapshot of the state is written and the commit log trimmed after this many bytes of
    /// entries, …
    pub(crate) snapshot_bytes: ByteSize,
    /// … or after this many entries.
    pub(crate) snapshot_entries: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logging {
    /// `human` or `json`.
    pub(crate) format: LogFormat,
    /// As in `RUST_LOG`: `info`, `tarn_agent=debug`.
    pub(crate) level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Human,
    Json,
}

/// A duration, written as `"250ms"` or `"10s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text)
            .map(Span)
            .map_err(serde::de::Error::custom)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            data_dir: PathBuf::from("./tarn-data"),
            ephemeral: false,
            host: "127.0.0.1".to_owned(),
            kafka: Kafka {
                port: 9092,
                advertised_host: String::new(),
            },
            registry: Port { port: 8081 },
            http: Port { port: 8080 },
            postgres: Port { port: 5432 },
            memory: Memory {
                budget: half_of_memory(),
            },
            produce: Produce {
                linger: Span(Duration::from_millis(5)),
                segment_bytes: ByteSize::mib(8),
                auto_create_topics: true,
                partitions: 1,
            },
            replication: Replication {
                factor: ReplicationFactor { strict: false },
            },
            table: Table {
                interval: Span(Duration::from_secs(10)),
            },
            sql: Sql {
                time_limit: Span(Duration::from_secs(60)),
                memory_limit: ByteSize(0),
                row_limit: 1_000_000,
            },
            log: Log {
                snapshot_bytes: ByteSize::mib(64),
                snapshot_entries: 10_000,
            },
            logging: Logging {
                format: LogFormat::Human,
                level: "info".to_owned(),
            },
        }
    }
}

/// Half of the machine's memory, or of the control group's if that is smaller.
fn half_of_memory() -> ByteSize {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        });
    let group: Option<u64> = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let total = machine.unwrap_or(4 << 30).min(group.unwrap_or(u64::MAX));
    // In whole MiB, so that it prints as people write it.
    ByteSize::mib((total / 2) >> 20)
}

/// Settings together with where each came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    figment: Figment,
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("settings file {path}: {why}")]
    File { path: String, why: String },
    #[error("setting {0}")]
    Value(String),
}

/// What flags set: dotted names with their values.
#[derive(Debug, Default, Clone)]
pub(crate) struct Flags {
    values: Vec<(&'static str, &'static str, Value)>,
}

impl Flags {
    /// `flag` is what the user typed (`--kafka-port`), `key` the setting it overrides.
    pub(crate) fn set<T: Serialize>(
        &mut self,
        flag: &'static str,
        key: &'static str,
        value: Option<T>,
    ) {
        if let Some(value) = value {
            let value = Value::serialize(value).expect("flags are plain values");
            self.values.push((flag, key, value));
        }
    }
}

/// One flag as a provider, so that its origin can be told.
struct Flag {
    flag: &'static str,
    key: &'static str,
    value: Value,
}

impl Provider for Flag {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("flag {}", self.flag))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut value = self.value.clone();
        let mut parts: Vec<&str> = self.key.split('.').collect();
        let last = parts.remove(0);
        for part in parts.into_iter().rev() {
            value = Value::from(Dict::from([(part.to_owned(), value)]));
        }
        Ok(Map::from([(
            Profile::Default,
            Dict::from([(last.to_owned(), value)]),
        )]))
    }
}

/// Settings outside of any section.
const TOP_LEVEL: [&str; 3] = ["data_dir", "ephemeral", "host"];

/// Loads settings from their four origins.
pub(crate) fn load(file: Option<&Path>, flags: &Flags) -> Result<Loaded, SettingsError> {
    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    if let Some(path) = file {
        check_file(path)?;
        figment = figment.merge(Toml::file_exact(path));
    }
    figment = figment.merge(environment());
    for (flag, key, value) in flags.values.clone() {
        figment = figment.merge(Flag { flag, key, value });
    }
    let settings: Settings = figment
        .extract()
        .map_err(|error| SettingsError::Value(describe(&error)))?;
    let loaded = Loaded { settings, figment };
    if let Err((key, why)) = loaded.settings.check() {
        return Err(loaded.refused(key, why));
    }
    Ok(loaded)
}

/// Figment takes an absent file for an empty one, and who names a file means it. A file that is no
/// TOML has no setting to name, so it is told here, too.
fn check_file(path: &Path) -> Result<(), SettingsError> {
    let refused = |why: String| SettingsError::File {
        path: path.display().to_string(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    toml::from_str::<toml::Table>(&text).map_err(|error| refused(error.to_string()))?;
    Ok(())
}

fn environment() -> Env {
    // TARN_BOOTSTRAP, TARN_URL and the like belong to the command line; settings have a section.
    let is_setting = |name: &figment::value::UncasedStr| {
        name.as_str().contains("__") || TOP_LEVEL.iter().any(|top| name == *top)
    };
    Env::prefixed("TARN_").filter(is_setting).split("__")
}

/// `kafka.port: invalid type … (from environment TARN_KAFKA__PORT)`.
fn describe(error: &figment::Error) -> String {
    let path = error.path.join(".");
    let origin = error.metadata.as_ref().map_or(String::new(), |metadata| {
        format!(" (from {})", origin(&path, metadata))
    });
    let why = match &error.kind {
        figment::error::Kind::UnknownField(_, known) => {
            format!("there is no such setting, there is {}", known.join(", "))
        }
        figment::error::Kind::UnknownVariant(found, known) => {
            format!("{found:?} is none of {}", known.join(", "))
        }
        other => other.to_string(),
    };
    format!("{path}: {why}{origin}")
}

/// Where the value of a setting comes from.
fn origin(key: &str, metadata: &Metadata) -> String {
    if metadata.name.starts_with("tarn::") {
        return "default".to_owned();
    }
    if metadata.name.contains("environment") {
        // The key may be a section that does not exist: the variable names something in it.
        let section = format!("{key}.");
        let variable = environment()
            .iter()
            .map(|(name, _)| name.as_str().to_owned())
            .find(|name| name == key || name.starts_with(&section))
            .unwrap_or_else(|| key.to_owned());
        let variable = variable.to_uppercase().replace('.', "__");
        return format!("environment TARN_{variable}");
    }
    match &metadata.source {
        Some(source) => format!("{} {source}", metadata.name),
        None => metadata.name.to_string(),
    }
}

impl Settings {
    /// The setting that cannot be, and why.
    fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(why) = addresses::problem(&self.kafka.advertised_host) {
            return Err(("kafka.advertised_host", why));
        }
        if self.memory.budget < ByteSize::mib(64) {
            let why = format!(
                "{} is less than the 64MiB that Tarn needs",
                self.memory.budget
            );
            return Err(("memory.budget", why));
        }
        if self.produce.segment_bytes < ByteSize::kib(64)
            || self.produce.segment_bytes > ByteSize::mib(64)
        {
            let why = "must lie between 64KiB and 64MiB".to_owned();
            return Err(("produce.segment_bytes", why));
        }
        let partitions_max = tarn_model::caps::PARTITIONS_PER_TOPIC_MAX;
        if !(1..=partitions_max).contains(&self.produce.partitions) {
            let why = format!("must lie between 1 and {partitions_max}");
            return Err(("produce.partitions", why));
        }
        if self.table.interval.0 < Duration::from_millis(100) {
            return Err(("table.interval", "must be at least 100ms".to_owned()));
        }
        if self.log.snapshot_entries == 0 {
            return Err(("log.snapshot_entries", "must be at least 1".to_owned()));
        }
        Ok(())
    }

    /// What topics have that do not say.
    pub(crate) fn defaults(&self) -> Defaults {
        Defaults::tables_every(self.table.interval.0)
    }

    /// Bytes that all queries may take together.
    pub(crate) fn query_memory(&self) -> ByteSize {
        match self.sql.memory_limit {
            ByteSize(0) => self.memory.queries(),
            limit => limit,
        }
    }
}

impl Loaded {
    /// Refuses the value of a setting, with its origin.
    pub(crate) fn refused(&self, key: &str, why: impl std::fmt::Display) -> SettingsError {
        let origin = self.origin(key);
        SettingsError::Value(format!("{key}: {why} (from {origin})"))
    }

    fn origin(&self, key: &str) -> String {
        match self.figment.find_metadata(key) {
            Some(metadata) => origin(key, metadata),
            None => "default".to_owned(),
        }
    }

    /// Every setting by its dotted name, with its value and its origin.
    pub(crate) fn with_origins(&self) -> Vec<(String, String, String)> {
        let value = Value::serialize(&self.settings).expect("settings serialize");
        let mut rows = Vec::new();
        flatten(String::new(), &value, &mut rows);
        rows.into_iter()
            .map(|(key, value)| {
                let origin = self.origin(&key);
                (key, value, origin)
            })
            .collect()
    }
}

fn flatten(prefix: String, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Dict(_, dict) => {
            for (key, value) in dict {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(key, value, rows);
            }
        }
        Value::String(_, text) => rows.push((prefix, text.clone())),
        Value::Bool(_, flag) => rows.push((prefix, flag.to_string())),
        Value::Num(_, number) => {
            let whole = number.to_u128().map(|number| number.to_string());
            rows.push((prefix, whole.unwrap_or_else(|| format!("{number:?}"))));
        }
        other => rows.push((prefix, format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_and_their_origin_is_told() {
        let mut flags = Flags::default();
        flags.set("--kafka-port", "kafka.port", Some(0_u16));
        let loaded = load(None, &flags).expect("valid");
        assert_eq!(loaded.settings.kafka.port, 0);
        let rows = loaded.with_origins();
        assert!(
            rows.contains(&("kafka.port".into(), "0".into(), "flag --kafka-port".into())),
            "{rows:?}"
        );
        assert!(
            rows.contains(&("http.port".into(), "8080".into(), "default".into())),
            "{rows:?}"
        );
    }

    #[test]
    fn a_wrong_value_names_the_setting() {
        let mut flags = Flags::default();
        flags.set("--memory-budget", "memory.budget", Some("lots"));
        let error = load(None, &flags).expect_err("refused").to_string();
        assert!(
            error.contains("memory.budget") && error.contains("lots"),
            "{error}"
        );
    }

    #[test]
    fn clients_are_not_told_every_address() {
        let mut flags = Flags::default();
        flags.set(
            "--advertised-host",
            "kafka.advertised_host",
            Some("0.0.0.0"),
        );
        let error = load(None, &flags).expect_err("refused").to_string();
        assert!(
            error.contains("kafka.advertised_host") && error.contains("--advertised-host"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let folder = std::env::temp_dir().join(format!("tarn-settings-{}", std::process::id()));
        std::fs::write(&folder, "[kafka]\nprot = 1\n").expect("a writable folder");
        let error = load(Some(&folder), &Flags::default())
            .expect_err("refused")
            .to_string();
        std::fs::remove_file(&folder).expect("just written");
        assert!(error.contains("prot"), "{error}");
    }
}
