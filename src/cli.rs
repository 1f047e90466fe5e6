//! The command line: nouns and verbs as `rpk` and `kubectl` users know them. stdout is data, stderr
//! is talk; exit codes: 0 done (or the reader of stdout left), 1 a check failed, 2 usage, 3 not found, 4 denied, 5 unavailable.

mod bench;
mod config;
mod consume;
mod dev;
mod explain;
mod failure;
mod group;
mod kafka;
mod output;
mod produce;
mod sql;
mod topic;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub(crate) use failure::Failure;
use output::Format;

/// Kafka in, Iceberg and SQL out, on object storage.
#[derive(Debug, Parser)]
#[command(name = "tarn", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process on a local folder.
    Dev(dev::Dev),
    /// Create, list, describe, change and delete topics.
    #[command(subcommand)]
    Topic(topic::Topic),
    /// List, describe and delete consumer groups.
    #[command(subcommand)]
    Group(group::Group),
    /// Write records to a topic, a line each from standard input.
    Produce(produce::Produce),
    /// Read records of a topic.
    Consume(consume::Consume),
    /// Ask a question in SQL.
    Sql(sql::Sql),
    /// Measure a running Tarn.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Show settings.
    #[command(subcommand)]
    Config(config::Config),
    /// Explain an error code, as in `tarn explain TARN-1203`, or list all.
    Explain(explain::Explain),
}

/// Where a running Tarn listens, and how to print.
#[derive(Debug, Clone, Args)]
struct Target {
    /// Kafka address of any agent.
    #[arg(
        long,
        env = "TARN_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        global = true
    )]
    bootstrap: String,
    /// How to print what is found.
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true)]
    output: Format,
}

/// A settings file, for the commands that read settings.
#[derive(Debug, Clone, Args)]
struct ConfigFile {
    /// Settings in TOML.
    #[arg(long, value_name = "FILE", env = "TARN_CONFIG_FILE")]
    config: Option<PathBuf>,
}

/// Runs the command that the user typed.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Dev(command) => command.run(),
        Command::Topic(command) => command.run(),
        Command::Group(command) => command.run(),
        Command::Produce(command) => command.run(),
        Command::Consume(command) => command.run(),
        Command::Sql(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Explain(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_unread() => ExitCode::SUCCESS,
        Err(failure) => {
            output::tell(format_args!("tarn: {failure}"));
            failure.exit_code()
        }
    }
}
