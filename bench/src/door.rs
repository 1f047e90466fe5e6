//! What opening a batch at the door costs: the checks of every produced batch alone, and with the walk
//! over its records that a header which cannot be right asks for.

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use tarn_kafka::records::Limits;
use tarn_kafka::{BatchBuilder, Compression, ProduceRules, Records, ValidBatch};
use tarn_model::ByteSize;
use tarn_runtime::Random;
use tokio::time::{Duration, Instant};

use crate::payload::Payloads;

/// Measures one core, without a server.
#[derive(Debug, Args)]
pub(crate) struct Door {
    /// Turns of each measurement; the median is printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// How long each turn takes at least.
const TURN: Duration = Duration::from_millis(200);

const RULES: ProduceRules = ProduceRules {
    batch_bytes_max: 64 << 20,
    timestamp_latest: i64::MAX,
    zstd_allowed: true,
};

impl Door {
    pub(crate) fn run(&self) -> Result<()> {
        println!("MiB/s of one core, by what clients send; checked: header and checksum");
        println!(
            "{:>8} {:>8} {:>10} {:>10} {:>10}",
            "codec", "record", "batch", "checked", "opened"
        );
        for record in [ByteSize::bytes(100), ByteSize::kib(1)] {
            for batch_bytes in [ByteSize::kib(16), ByteSize::mib(1)] {
                for codec in Compression::ALL {
                    let batch = batch(codec, record, batch_bytes)?;
                    let checked = self.measure(&batch, |batch| {
                        ValidBatch::from_produce(batch, &RULES).map(|_| ())
                    })?;
                    let opened = self.measure(&batch, |batch| {
                        let batch = ValidBatch::from_produce(batch, &RULES)?;
                        let mut largest = i64::MIN;
                        let records = Records::open(&batch, &Limits::default())?;
                        records.glance(|record| largest = largest.max(record.timestamp))?;
                        anyhow::ensure!(largest == 1_000, "the batch is of one millisecond");
                        Ok(())
                    })?;
                    println!(
                        "{:>8} {:>8} {:>10} {checked:>10.0} {opened:>10.0}",
                        codec.name(),
                        record.to_string(),
                        batch_bytes.to_string(),
                    );
                }
            }
        }
        Ok(())
    }

    /// MiB/s of compressed bytes, the median of the turns.
    fn measure<E: Into<anyhow::Error>>(
        &self,
        batch: &Bytes,
        mut work: impl FnMut(Bytes) -> Result<(), E>,
    ) -> Result<f64> {
        let mut speeds = Vec::new();
        for _ in 0..self.rounds.max(1) {
            let started = Instant::now();
            let mut bytes = 0;
            while started.elapsed() < TURN {
                work(batch.clone()).map_err(Into::into)?;
                bytes += batch.len();
            }
            speeds.push(bytes as f64 / started.elapsed().as_secs_f64() / f64::from(1 << 20));
        }
        speeds.sort_by(f64::total_cmp);
        Ok(speeds[speeds.len() / 2])
    }
}

/// Records of one millisecond, as a fast producer fills a batch.
fn batch(codec: Compression, record: ByteSize, batch_bytes: ByteSize) -> Result<Bytes> {
    let payloads = Payloads::new(&Random::seeded(1), record);
    let mut builder = BatchBuilder::new(codec);
    let mut n = 0;
    while builder.size_bytes() < batch_bytes.as_usize() {
        builder.push(1_000, Some(b"key"), Some(&payloads.of(n)), &[])?;
        n += 1;
    }
    Ok(builder.build()?.into_bytes())
}
