//! `tarn config show`: every setting, and where its value comes from.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ConfigFile;
use super::failure::Failure;
use super::output::{Format, Rows};
use crate::settings::{self, Flags, Profile};

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print every setting.
    Show(Show),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    file: ConfigFile,
    /// What the defaults are for: `tarn dev`, or a process of a cluster.
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    profile: Profile,
    /// Say where each value comes from.
    #[arg(long)]
    origin: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Config {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Config::Show(show) = self;
        let loaded = settings::load(show.profile, show.file.config.as_deref(), &Flags::default())
            .map_err(Failure::invalid)?;
        let rows = loaded.with_origins().into_iter();
        let rows = rows
            .map(|(key, value, origin)| [key, value, origin].map(Value::String).to_vec())
            .collect();
        let narrow = if show.origin { 3 } else { 2 };
        Rows {
            columns: vec!["setting", "value", "origin"],
            narrow,
            rows,
        }
        .print(show.output)
    }
}
