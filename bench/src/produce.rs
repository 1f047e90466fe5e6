//! Producing: MiB/s, and the server's CPU seconds per GiB of values.
//!
//! In turns, each with a server of its own on an empty folder:
//!
//! ```text
//! read and drop       prebuilt Produce frames → a process that reads the socket and drops
//! frames              the same frames, by the same sender → Tarn
//! tarn bench produce  our own client → Tarn
//! confluent-kafka     librdkafka under Python → Tarn
//! ```
//!
//! The first is the floor. Every record is counted afterwards: what is missing ends the run.

#![expect(clippy::print_stdout, reason = "a measurement prints what it found")]

mod frames;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tarn_client::{Admin, Isolation, NewTopic, OffsetSpec};
use tarn_model::{ByteSize, Offset};
use tokio::process::Command;
use tokio::time::Instant;

use crate::discard::Discard;
use crate::server::{BUDGET, Server};
use crate::stats::Samples;
use crate::usage::{Usage, gib, mib};
use crate::{Common, Session, print_head};
use frames::Frames;

const TOPIC: &str = "bench";
/// Reading and dropping is so cheap that it reads this many times the volume: the kernel counts CPU
/// in hundredths of a second.
const DROP_TIMES: u64 = 8;

/// With tables, how often waiting records become table files, unless many wait.
const TABLE_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Produce {
    /// Values that each turn writes.
    #[arg(long, default_value = "512MiB")]
    volume: ByteSize,
    /// Size of a record's value.
    #[arg(long, default_value = "1KiB")]
    size: ByteSize,
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// How often every lane has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Make the topic a table too, and count that work as "until quiet". Otherwise it is a topic and
    /// nothing else, as in Kafka.
    #[arg(long)]
    tables: bool,
    /// Only these lanes, next to read and drop.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Lane::Frames, Lane::Own, Lane::Confluent])]
    lanes: Vec<Lane>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lane {
    #[value(skip)]
    Drop,
    Frames,
    Own,
    Confluent,
}

impl Lane {
    fn name(self) -> &'static str {
        match self {
            Lane::Drop => "read and drop",
            Lane::Frames => "frames",
            Lane::Own => "tarn bench produce",
            Lane::Confluent => "confluent-kafka",
        }
    }
}

/// What one turn gave.
#[derive(Debug, Clone, Copy)]
struct Turn {
    lane: Lane,
    round: usize,
    mib_per_s: f64,
    /// CPU seconds per GiB until the last acknowledgement, and until the server was quiet again.
    cpu: f64,
    cpu_quiet: f64,
    rss_bytes_max: u64,
}

impl Produce {
    pub(crate) async fn run(&self, common: &Common) -> Result<()> {
        let tables = match self.tables {
            true => format!("table files every {TABLE_INTERVAL:?}"),
            false => "not a table".to_owned(),
        };
        print_head(
            &format!(
                "produce: {} of values of {} each turn, {} partitions, acks=all, uncompressed, memory.budget \
                 {BUDGET}, {tables}; {} rounds, the lanes in turns; median (least … most)",
                self.volume, self.size, self.partitions, self.rounds
            ),
            common,
        );
        let frames = Frames::new(TOPIC, self.partitions, self.size, self.volume)?;
        let lanes: Vec<Lane> = [Lane::Drop]
            .into_iter()
            .chain(self.lanes.iter().copied())
            .collect();
        let mut turns = Vec::new();
        for round in 0..self.rounds {
            for at in 0..lanes.len() {
                let lane = lanes[(at + round) % lanes.len()];
                let turn = Box::pin(self.turn(common, lane, round, &frames)).await;
                turns.push(turn.with_context(|| lane.name())?);
            }
        }
        print(&lanes, &turns);
        Ok(())
    }

    async fn turn(
        &self,
        common: &Common,
        lane: Lane,
        round: usize,
        frames: &Frames,
    ) -> Result<Turn> {
        let times = if lane == Lane::Drop { DROP_TIMES } else { 1 };
        let bytes = frames.records() * self.size.0 * times;
        let turn = |seconds: f64, before: Usage, after: Usage, quiet: Usage| {
            let cpu = |until: Usage| (until.cpu - before.cpu).as_secs_f64() / gib(bytes);
            Turn {
                lane,
                round,
                mib_per_s: mib(bytes) / seconds,
                cpu: cpu(after),
                cpu_quiet: cpu(quiet),
                rss_bytes_max: quiet.rss_bytes_max,
            }
        };
        if lane == Lane::Drop {
            let discard = Discard::start().await?;
            let before = discard.usage()?;
            let started = Instant::now();
            frames.send_unanswered(&discard.address, DROP_TIMES).await?;
            let seconds = started.elapsed().as_secs_f64();
            let after = discard.usage()?;
            return Ok(turn(seconds, before, after, after));
        }

        let interval = format!("{}s", TABLE_INTERVAL.as_secs());
        let mut server = Server::start(common, &["--table-interval", &interval]).await?;
        let session = Session::new(&server.kafka);
        let admin = Admin::new(&session.client);
        let table = if self.tables { "on" } else { "off" };
        let topic = NewTopic::new(TOPIC, self.partitions).config("tarn.table", table);
        admin.create_topic(&topic, false).await?;
        let before = server.usage()?;
        let started = Instant::now();
        let written = match lane {
            Lane::Drop | Lane::Frames => frames.send(&server.kafka).await,
            Lane::Own => self.own(common, &server.kafka, frames.records()).await,
            Lane::Confluent => self.confluent(&server.kafka, frames.records()).await,
        };
        written.map_err(|error| server.explain(error))?;
        let seconds = started.elapsed().as_secs_f64();
        let after = server.usage()?;
        let ends = admin
            .topic_offsets(TOPIC, OffsetSpec::Latest, Isolation::ReadUncommitted)
            .await?;
        let written: u64 = ends.values().flatten().map(|Offset(end)| *end).sum();
        ensure!(
            written == frames.records(),
            "{written} records are there instead of {}",
            frames.records()
        );
        let last_round = if self.tables {
            TABLE_INTERVAL
        } else {
            Duration::ZERO
        };
        let quiet = server.quiet(last_round + Duration::from_secs(2)).await?;
        session.scope.drain().await;
        server.stop().await?;
        Ok(turn(seconds, before, after, quiet))
    }

    async fn own(&self, common: &Common, bootstrap: &str, records: u64) -> Result<()> {
        let mut command = Command::new(&common.tarn);
        command
            .args(["bench", "produce", TOPIC, "--bootstrap", bootstrap])
            .args(["--records", &records.to_string()])
            .args(["--size", &self.size.to_string()])
            .args(["--partitions", &self.partitions.to_string()]);
        output(&mut command).await.map(drop)
    }

    async fn confluent(&self, bootstrap: &str, records: u64) -> Result<()> {
        let mut command = Command::new(python().await?);
        command
            .arg(root().join("bench/confluent_produce.py"))
            .args([bootstrap, TOPIC])
            .args([records.to_string(), self.size.0.to_string()]);
        output(&mut command).await.map(drop)
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("bench lies below the root").to_owned()
}

/// A Python that has the clients.
async fn python() -> Result<PathBuf> {
    let path = output(&mut Command::new(root().join("scripts/python-env"))).await?;
    Ok(PathBuf::from(path.trim()))
}

/// Runs a command to its end and gives what it printed.
async fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{:?} ended with {}: {said}",
            command.as_std(),
            output.status
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn print(lanes: &[Lane], turns: &[Turn]) {
    let floor = |round: usize| {
        let turn = turns
            .iter()
            .find(|turn| turn.lane == Lane::Drop && turn.round == round);
        turn.map_or(f64::NAN, |turn| turn.cpu)
    };
    println!(
        "  {:<20}{:<24}{:<28}{:<28}{:<24}RSS at most",
        "lane", "MiB/s", "CPU s/GiB acknowledged", "CPU s/GiB until quiet", "× read and drop"
    );
    for lane in lanes {
        let of = |value: &dyn Fn(&Turn) -> f64| -> Samples {
            turns
                .iter()
                .filter(|turn| turn.lane == *lane)
                .map(value)
                .collect()
        };
        let rss = of(&|turn| mib(turn.rss_bytes_max));
        println!(
            "  {:<20}{:<24}{:<28}{:<28}{:<24}{:.0} MiB",
            lane.name(),
            format!("{:.0}", of(&|turn| turn.mib_per_s)),
            format!("{:.2}", of(&|turn| turn.cpu)),
            format!("{:.2}", of(&|turn| turn.cpu_quiet)),
            format!("{:.1}", of(&|turn| turn.cpu / floor(turn.round))),
            rss.max()
        );
    }
    println!(
        "  seconds are of the whole client, its start included; n = {} a lane; for comparison: Apache Kafka 4.3.1 \
         took about 10.5 CPU s/GiB",
        turns.iter().filter(|turn| turn.lane == Lane::Drop).count()
    );
}
