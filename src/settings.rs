//! All settings of a process, from their origins: defaults, a profile, a TOML file, `TARN_SECTION__KEY`
//! environment variables, and flags, each overriding the one before.
//!
//! - Each crate owns a struct of settings ([`tarn_model::settings!`]): names, defaults, allowed values and
//!   the doc comment that is the manual. This file nests them as sections ([`Settings`]) and says what the
//!   profiles put in place of the defaults; the roles take the sections as they are.
//! - An unknown name is an error, never ignored.
//! - `tarn config show --origin` prints values and where they come from; `docs/SETTINGS.md` is made of the
//!   manuals.

mod process;

use std::collections::BTreeSet;
use std::path::Path;

use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile as Kept, Provider};
use serde::Serialize;
use tarn_agent::{ReplicationFactorSettings, TopicSettings};
use tarn_engine::EngineSettings;
use tarn_model::{ByteSize, Section, caps};
use tarn_replica::{IdentitySettings, NodeSettings};
use tarn_state::topic_configs::{Defaults, TableSettings};
use tarn_topics::WriterSettings;

use crate::addresses;
pub(crate) use process::{
    KafkaSettings, LogFormat, LoggingSettings, MemorySettings, PortSettings, ProcessSettings,
};

macro_rules! sections {
    ($($path:literal $field:ident: $kind:ty = $default:expr;)*) => {
        /// Settings of one process, by section. Two structs may share a section.
        #[derive(Debug, Clone)]
        pub(crate) struct Settings {
            $(pub(crate) $field: $kind,)*
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $($field: $default,)* }
            }
        }

        impl Settings {
            fn from(figment: &Figment) -> Result<Settings, Box<figment::Error>> {
                Ok(Settings { $($field: section(figment, $path)?,)* })
            }

            /// As a tree of values.
            fn values(&self) -> Figment {
                Figment::new()$(.merge(At { path: $path, name: DEFAULT.to_owned(), value: plain(&self.$field) }))*
            }

            /// The value that is not allowed, and why.
            fn check_each(&self) -> Result<(), (String, String)> {
                $(self.$field.check().map_err(|(field, why)| (dotted($path, field), why))?;)*
                Ok(())
            }

            /// What a struct says of its field: its doc comment.
            fn manual(key: &str) -> Option<String> {
                let manuals = [$(($path, <$kind>::MANUAL)),*];
                let mut all = manuals.iter().flat_map(|(path, manual)| {
                    manual.iter().map(|(field, lines)| (dotted(path, field), *lines))
                });
                let lines = all.find_map(|(name, lines)| (name == key).then_some(lines))?;
                Some(lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "))
            }
        }
    };
}

sections! {
    "" process: ProcessSettings = ProcessSettings::default();
    "kafka" kafka: KafkaSettings = KafkaSettings::default();
    "registry" registry: PortSettings = PortSettings { port: 8081 };
    "http" http: PortSettings = PortSettings { port: 8080 };
    "postgres" postgres: PortSettings = PortSettings { port: 5432 };
    "memory" memory: MemorySettings = MemorySettings::default();
    "produce" writer: WriterSettings = WriterSettings::default();
    "produce" topics: TopicSettings = TopicSettings::default();
    "replication.factor" replication_factor: ReplicationFactorSettings = ReplicationFactorSettings::default();
    "table" table: TableSettings = TableSettings::default();
    "sql" sql: EngineSettings = EngineSettings { memory_limit: ByteSize(0), ..EngineSettings::default() };
    "node" identity: IdentitySettings = IdentitySettings::default();
    "log" log: NodeSettings = NodeSettings::default();
    "logging" logging: LoggingSettings = LoggingSettings::default();
}

/// What a kind of process has in place of the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// One process on a local folder, where a request to the store costs nothing and somebody waits.
    Dev,
    /// Many processes over object storage: the defaults.
    Cluster,
}

impl Profile {
    fn overrides(self) -> &'static str {
        match self {
            Profile::Dev => {
                r#"
                [produce]
                linger = "5ms"
                eager = true
                uploads_max = 4
                [table]
                interval = "10s"
                "#
            }
            Profile::Cluster => "",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Profile::Dev => "dev",
            Profile::Cluster => "cluster",
        }
    }
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

/// The name of the origin of what nobody set.
const DEFAULT: &str = "default";

/// A value at its place in the tree, as a provider, so that its origin can be told.
struct At {
    path: &'static str,
    name: String,
    value: Value,
}

impl Provider for At {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Kept, Dict>, figment::Error> {
        let parts = self.path.split('.').filter(|part| !part.is_empty());
        let value = parts.rev().fold(self.value.clone(), |value, part| {
            Value::from(Dict::from([(part.to_owned(), value)]))
        });
        let dict = value.into_dict().unwrap_or_default();
        Ok(Map::from([(Kept::Default, dict)]))
    }
}

fn plain(value: &impl Serialize) -> Value {
    Value::serialize(value).expect("settings and flags are plain values")
}

fn dotted(path: &str, field: &str) -> String {
    match path {
        "" => field.to_owned(),
        path => format!("{path}.{field}"),
    }
}

fn section<'a, T: serde::Deserialize<'a>>(
    figment: &Figment,
    path: &str,
) -> Result<T, Box<figment::Error>> {
    if path.is_empty() {
        return figment.extract().map_err(Box::new);
    }
    figment.extract_inner(path).map_err(|mut error| {
        // It says where in the section, and then which section.
        error.path.rotate_right(path.split('.').count());
        Box::new(error)
    })
}

/// Settings outside of any section.
const TOP_LEVEL: [&str; 3] = ["data_dir", "ephemeral", "host"];

/// Loads settings from their origins.
pub(crate) fn load(
    profile: Profile,
    file: Option<&Path>,
    flags: &Flags,
) -> Result<Loaded, SettingsError> {
    let overrides: Value = toml::from_str(profile.overrides()).expect("a test loads each profile");
    let mut figment = Settings::default().values().merge(At {
        path: "",
        name: format!("profile {}", profile.name()),
        value: overrides,
    });
    if let Some(path) = file {
        check_file(path)?;
        figment = figment.merge(Toml::file_exact(path));
    }
    figment = figment.merge(environment());
    for (flag, path, value) in flags.values.clone() {
        figment = figment.merge(At {
            path,
            name: format!("flag {flag}"),
            value,
        });
    }
    check_names(&figment)?;
    let settings =
        Settings::from(&figment).map_err(|error| SettingsError::Value(describe(&error)))?;
    let loaded = Loaded { settings, figment };
    match loaded.settings.check() {
        Ok(()) => Ok(loaded),
        Err((key, why)) => Err(loaded.refused(&key, why)),
    }
}

/// A name that no struct of settings has is refused, with those that there are in its place.
fn check_names(figment: &Figment) -> Result<(), SettingsError> {
    let names = |figment: &Figment| -> Result<BTreeSet<String>, Box<figment::Error>> {
        let mut rows = Vec::new();
        flatten(String::new(), &figment.extract()?, &mut rows);
        Ok(rows.into_iter().map(|(name, _)| name).collect())
    };
    let known = names(&Settings::default().values()).expect("defaults are a tree");
    let given = names(figment).map_err(|error| SettingsError::Value(describe(&error)))?;
    let is_known = |name: &str| known.contains(name);
    // A value in place of a section is told by whoever reads it.
    let is_section = |name: &str| {
        known
            .iter()
            .any(|known| known.starts_with(&format!("{name}.")))
    };
    let Some(unknown) = given
        .iter()
        .find(|name| !is_known(name) && !is_section(name))
    else {
        return Ok(());
    };
    // The first part of it that is not there, and what is there instead.
    let mut place = String::new();
    for part in unknown.split('.') {
        let next = dotted(&place, part);
        if is_section(&next) {
            place = next;
            continue;
        }
        let prefix = dotted(&place, "");
        let instead: BTreeSet<&str> = known
            .iter()
            .filter_map(|name| name.strip_prefix(&prefix)?.split('.').next())
            .collect();
        let instead = Vec::from_iter(instead).join(", ");
        let why = match is_known(&next) {
            true => "it holds no other settings".to_owned(),
            false => format!("there is no such setting, there is {instead}"),
        };
        let origin = figment
            .find_metadata(unknown)
            .map_or(String::new(), |metadata| {
                format!(" (from {})", origin(&next, metadata))
            });
        return Err(SettingsError::Value(format!("{next}: {why}{origin}")));
    }
    Ok(())
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
        figment::error::Kind::UnknownVariant(found, known) => {
            format!("{found:?} is none of {}", known.join(", "))
        }
        other => other.to_string(),
    };
    format!("{path}: {why}{origin}")
}

/// Where the value of a setting comes from.
fn origin(key: &str, metadata: &Metadata) -> String {
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
    fn check(&self) -> Result<(), (String, String)> {
        if let Some(why) = addresses::problem(&self.kafka.advertised_host) {
            return Err(("kafka.advertised_host".to_owned(), why));
        }
        let max = caps::NODE_NAME_BYTES_MAX;
        if self.identity.name.len() > max {
            let why = format!("it is longer than {max} bytes");
            return Err(("node.name".to_owned(), why));
        }
        self.check_each()
    }

    /// What topics have that do not say.
    pub(crate) fn defaults(&self) -> Defaults {
        Defaults {
            table: self.table.clone(),
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
        self.settings
            .rows()
            .into_iter()
            .map(|(key, value)| {
                let origin = self.origin(&key);
                (key, value, origin)
            })
            .collect()
    }
}

impl Settings {
    /// Every setting by its dotted name, with its value.
    fn rows(&self) -> Vec<(String, String)> {
        let values: Value = self.values().extract().expect("settings are a tree");
        let mut rows = Vec::new();
        flatten(String::new(), &values, &mut rows);
        rows
    }
}

/// What a setting is for, and its default.
pub(crate) fn explain(name: &str) -> Option<(String, String)> {
    let rows = Settings::default().rows();
    let (_, default) = rows.into_iter().find(|(key, _)| key == name)?;
    Some((Settings::manual(name)?, default))
}

fn flatten(prefix: String, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        // Somebody opened a section and set nothing in it.
        Value::Dict(_, dict) if dict.is_empty() => rows.push((prefix, String::new())),
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
            let whole = whole.or_else(|| number.to_i128().map(|number| number.to_string()));
            rows.push((prefix, whole.unwrap_or_else(|| format!("{number:?}"))));
        }
        other => rows.push((prefix, format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests;
