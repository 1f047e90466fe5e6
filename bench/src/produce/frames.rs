//! Produce requests that are built once and sent again and again, so that the sender costs next to
//! nothing: one connection per partition, a few requests in flight on each.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::{BatchBuilder, Compression, decode_response, encode_request, frame};
use tarn_model::ByteSize;
use tarn_runtime::Runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::payload::Payloads;

/// As librdkafka's `batch.size`.
const BATCH_BYTES: usize = 1_000_000;
const IN_FLIGHT: usize = 5;
/// The last one that names its topics.
const VERSION: i16 = 12;
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Frames {
    runtime: Runtime,
    /// One per partition, each of as many records.
    frames: Vec<Bytes>,
    records_each: u64,
    /// How often each is sent.
    times: u64,
}

impl Frames {
    pub(super) fn new(
        topic: &str,
        partitions: i32,
        size: ByteSize,
        volume: ByteSize,
    ) -> Result<Frames> {
        let runtime = Runtime::real();
        let payloads = Payloads::new(runtime.random(), size);
        let mut frames = Vec::new();
        let mut records_each = 0;
        for partition in 0..partitions {
            let mut builder = BatchBuilder::new(Compression::None);
            records_each = 0;
            while builder.is_empty() || builder.size_bytes() + size.as_usize() + 64 < BATCH_BYTES {
                let timestamp = runtime.clock().wall().0;
                builder.push(timestamp, None, Some(&payloads.of(records_each)), &[])?;
                records_each += 1;
            }
            let data = PartitionProduceData::default()
                .with_index(partition)
                .with_records(Some(builder.build()?.into_bytes()));
            let topic = TopicProduceData::default()
                .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partition_data(vec![data]);
            let request = ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(30_000)
                .with_topic_data(vec![topic]);
            let client = StrBytes::from_static_str("tarn-bench");
            frames.push(encode_request(0, Some(&client), VERSION, &request)?);
        }
        let bytes_each = (records_each * size.0 * frames.len() as u64).max(1);
        Ok(Frames {
            runtime,
            frames,
            records_each,
            times: volume.0.div_ceil(bytes_each),
        })
    }

    /// Records that one run of all frames writes.
    pub(super) fn records(&self) -> u64 {
        self.records_each * self.times * self.frames.len() as u64
    }

    /// Sends everything to a Kafka server, and checks every answer.
    pub(super) async fn send(&self, address: &str) -> Result<()> {
        let all = self.frames.iter().map(async |frame| {
            let stream = self.runtime.net().connect(address).await?;
            let (mut reader, mut writer) = tokio::io::split(stream);
            let room = Semaphore::new(IN_FLIGHT);
            let write = async {
                for _ in 0..self.times {
                    room.acquire().await?.forget();
                    writer.write_all(frame).await?;
                }
                anyhow::Ok(())
            };
            let read = async {
                for _ in 0..self.times {
                    let mut prefix = [0; frame::LENGTH_BYTES];
                    reader.read_exact(&mut prefix).await?;
                    let mut body = vec![0; frame::body_length(prefix, ANSWER_BYTES_MAX)?];
                    reader.read_exact(&mut body).await?;
                    check(Bytes::from(body))?;
                    room.add_permits(1);
                }
                Ok(())
            };
            tokio::try_join!(write, read)
        });
        try_join_all(all).await.map(drop)
    }

    /// Sends everything so many times to somebody who only reads.
    pub(super) async fn send_unanswered(&self, address: &str, times: u64) -> Result<()> {
        let all = self.frames.iter().map(async |frame| {
            let mut stream = self.runtime.net().connect(address).await?;
            for _ in 0..self.times * times {
                stream.write_all(frame).await?;
            }
            stream.shutdown().await?;
            // It answers once it has read everything.
            stream.read_u8().await.context("the reader hung up")?;
            anyhow::Ok(())
        });
        try_join_all(all).await.map(drop)
    }
}

fn check(answer: Bytes) -> Result<()> {
    let response = decode_response::<ProduceRequest>(VERSION, answer)?;
    for topic in &response.responses {
        for partition in &topic.partition_responses {
            ensure!(
                partition.error_code == 0,
                "partition {} refused a batch: error {}",
                partition.index,
                partition.error_code
            );
        }
    }
    Ok(())
}
