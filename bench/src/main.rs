//! Measures the real `tarn dev` and prints what it found: time and memory are measured here and
//! asserted nowhere, because a deadline in a test fails on a busy machine and proves nothing on an
//! idle one.
//!
//! Each measurement says what it measures against what, how often, the median and the spread, and
//! what the server's process took: CPU seconds and resident memory, from `/proc`. What is compared
//! runs in turns within one run.

#![expect(clippy::print_stdout, reason = "a measurement prints what it found")]

mod discard;
mod door;
mod freshness;
mod growth;
mod materialize;
mod payload;
mod produce;
mod server;
mod soak;
mod sql;
mod stats;
mod usage;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tarn_client::{Client, ClientSettings};
use tarn_runtime::{Runtime, Scope};

#[derive(Debug, Parser)]
#[command(name = "tarn-bench", about = "Measures a tarn binary")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every measurement takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// The binary to measure.
    #[arg(long, global = true, default_value = "target/release/tarn")]
    tarn: PathBuf,
    /// Where the folders of the servers are made and removed again [default: the system's].
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From acknowledged to visible in SQL, at a steady rate.
    Freshness(freshness::Freshness),
    /// Throughput and CPU per GiB, next to reading the same frames from a socket.
    Produce(produce::Produce),
    /// What opening produced batches costs, next to checking them.
    Door(door::Door),
    /// A backlog to table files, next to decoding and writing Parquet alone.
    Materialize(materialize::Materialize),
    /// Resident memory under lasting load, against the budget.
    Soak(soak::Soak),
    /// What one operation costs as topics, partitions, members, files … grow around it.
    Growth(growth::Growth),
    /// A server that reads and drops; `produce` starts it.
    #[command(hide = true)]
    Discard,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { common, command } = Cli::parse();
    match command {
        Command::Freshness(freshness) => Box::pin(freshness.run(&common)).await,
        Command::Produce(produce) => Box::pin(produce.run(&common)).await,
        Command::Door(door) => door.run(),
        Command::Materialize(materialize) => Box::pin(materialize.run(&common)).await,
        Command::Soak(soak) => Box::pin(soak.run(&common)).await,
        Command::Growth(growth) => Box::pin(growth.run(&common)).await,
        Command::Discard => discard::serve().await,
    }
}

/// A Kafka client with the runtime and the scope that it lives in.
#[derive(Debug)]
struct Session {
    runtime: Runtime,
    scope: Scope,
    client: Client,
}

impl Session {
    fn new(bootstrap: &str) -> Session {
        let runtime = Runtime::real();
        let scope = runtime.root_scope("bench");
        let client = Client::new(&runtime, &scope, ClientSettings::new([bootstrap]));
        Session {
            runtime,
            scope,
            client,
        }
    }
}

/// What was measured, on what, and how busy that was with other work.
fn print_head(what: &str, common: &Common) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{what}");
    println!(
        "  {} on {cores} cores, load average {} at the start",
        common.tarn.display(),
        usage::load_average()
    );
}
