//! `tarn produce`: a record per line of standard input.

use std::collections::VecDeque;
use std::io::BufRead;

use clap::Args;
use tarn_client::{Delivery, Producer, ProducerRecord, ProducerSettings};
use tarn_kafka::Compression;
use tarn_model::Kind;

use super::Target;
use super::failure::Failure;
use super::kafka::{Session, block_on};
use super::output::tell;

#[derive(Debug, Args)]
pub(crate) struct Produce {
    topic: String,
    /// The text between key and value; without it a line is a value.
    #[arg(short = 'K', long)]
    key_separator: Option<String>,
    /// The partition for all records; chosen by key otherwise.
    #[arg(short, long)]
    partition: Option<i32>,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(short = 'z', long, default_value = "none", value_parser = codec)]
    compression: Compression,
    #[command(flatten)]
    target: Target,
}

pub(super) fn codec(text: &str) -> Result<Compression, String> {
    text.parse::<Compression>()
        .map_err(|error| error.to_string())
}

/// Deliveries that may be open; the next line waits for the oldest.
const OPEN_MAX: usize = 100_000;

impl Produce {
    pub(crate) fn run(self) -> Result<(), Failure> {
        block_on(self.send())
    }

    async fn send(self) -> Result<(), Failure> {
        let session = Session::creating(&self.target.bootstrap);
        let settings = ProducerSettings {
            compression: self.compression,
            ..ProducerSettings::default()
        };
        let producer = Producer::new(&session.client, settings);
        let (lines, mut reading) = tokio::sync::mpsc::channel(1024);
        // Standard input blocks, so it has a thread; its end, or a reader that is gone, ends it.
        let reader = session.scope.clone();
        drop(session.scope.spawn("produce.read", async move {
            reader
                .blocking("produce.stdin", move || {
                    for line in std::io::stdin().lock().lines() {
                        if lines.blocking_send(line).is_err() {
                            return;
                        }
                    }
                })
                .await
        }));
        let mut open: VecDeque<Delivery> = VecDeque::new();
        let mut count: u64 = 0;
        while let Some(line) = reading.recv().await {
            let line = line
                .map_err(|error| Failure::new(Kind::Invalid, format!("standard input: {error}")))?;
            let mut record = match &self.key_separator {
                Some(separator) => {
                    let (key, value) = line.split_once(separator.as_str()).ok_or_else(|| {
                        Failure::invalid(format!(
                            "line {}: no {separator:?} between key and value",
                            count + 1
                        ))
                    })?;
                    ProducerRecord::new(&self.topic, value.to_owned()).key(key.to_owned())
                }
                None => ProducerRecord::new(&self.topic, line),
            };
            if let Some(partition) = self.partition {
                record = record.partition(partition);
            }
            open.push_back(producer.send(record).await?);
            count += 1;
            if open.len() >= OPEN_MAX
                && let Some(oldest) = open.pop_front()
            {
                oldest.await?;
            }
        }
        for delivery in open {
            delivery.await?;
        }
        producer.close().await;
        tell(format_args!(
            "{count} {} acknowledged",
            if count == 1 { "record" } else { "records" }
        ));
        Ok(())
    }
}
