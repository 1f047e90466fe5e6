//! Plain sockets that speak as much Kafka and HTTP as a test needs, and also say what no client would.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{CreateTopicsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use serde_json::{Value, json};
use tarn_kafka::{BatchBuilder, Compression, decode_response, encode_request, frame};

/// Nothing here takes longer to be answered or closed.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);
const FRAME_MAX: usize = 128 << 20;

/// One connection to the Kafka port.
#[derive(Debug)]
pub(crate) struct Kafka {
    stream: TcpStream,
    correlation_id: i32,
}

impl Kafka {
    pub(crate) fn connect(address: &str) -> Result<Kafka> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_nodelay(true)?;
        Ok(Kafka {
            stream,
            correlation_id: 0,
        })
    }

    /// The other side may hang up before it has read everything: what counts is what it answers.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn wait_longer(&self, limit: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(limit))?)
    }

    /// The next frame without its length, or `None` when the other side has hung up.
    pub(crate) fn answer(&mut self) -> Result<Option<Bytes>> {
        let mut prefix = [0; frame::LENGTH_BYTES];
        if !self.read(&mut prefix)? {
            return Ok(None);
        }
        let mut body = BytesMut::zeroed(frame::body_length(prefix, FRAME_MAX)?);
        ensure!(self.read(&mut body)?, "hung up within an answer");
        Ok(Some(body.freeze()))
    }

    /// False at the end of the connection.
    fn read(&mut self, bytes: &mut [u8]) -> Result<bool> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    Ok(false)
                }
                ErrorKind::WouldBlock | ErrorKind::TimedOut => bail!("neither answered nor closed"),
                _ => Err(error.into()),
            },
        }
    }

    /// The other side hangs up without an answer, though we keep our half open.
    pub(crate) fn expect_closed(&mut self) -> Result<()> {
        match self.answer()? {
            None => Ok(()),
            Some(answer) => bail!("answered {} bytes", answer.len()),
        }
    }

    /// We say no more; the other side may answer, and then hangs up, too.
    pub(crate) fn finish(mut self) -> Result<()> {
        // Closed already if the other side was quicker.
        let _ = self.stream.shutdown(Shutdown::Write);
        while self.answer()?.is_some() {}
        Ok(())
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.correlation_id += 1;
        let client_id = StrBytes::from_static_str("wrong-input");
        let frame = encode_request(self.correlation_id, Some(&client_id), version, request)?;
        self.send(&frame);
        let answer = self.answer()?.context("hung up instead of an answer")?;
        ensure!(frame::response_correlation_id(&answer)? == self.correlation_id);
        Ok(decode_response::<R>(version, answer)?)
    }

    /// Creates a topic with one partition, if it is not there.
    pub(crate) fn create_topic(&mut self, name: &str, configs: &[(&str, &str)]) -> Result<()> {
        let (code, message) = self.try_create_topic(name, 1, configs)?;
        ensure!(matches!(code, 0 | 36), "creating {name}: {code} {message}");
        Ok(())
    }

    pub(crate) fn try_create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(i16, String)> {
        let configs = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default()
                    .with_name(text(key))
                    .with_value(Some(text(value)))
            })
            .collect();
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(20_000);
        let answer = self.ask(5, &request)?;
        let topic = answer.topics.first().context("an answer for the topic")?;
        let message = topic.error_message.clone().unwrap_or_default();
        Ok((topic.error_code, message.to_string()))
    }

    /// Produces a batch into partition 0; gives its first offset.
    pub(crate) fn produce(&mut self, topic: &str, batch: &[u8]) -> Result<i64> {
        let answer = self.try_produce(topic, 0, batch)?;
        ensure!(
            answer.error_code == 0,
            "producing into {topic}: {} {:?}",
            answer.error_code,
            answer.error_message
        );
        Ok(answer.base_offset)
    }

    pub(crate) fn try_produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: &[u8],
    ) -> Result<PartitionProduceResponse> {
        let request = produce_request(topic, partition, batch);
        let answer = self.ask(9, &request)?;
        let topic = answer
            .responses
            .first()
            .context("an answer for the topic")?;
        let partition = topic.partition_responses.first();
        Ok(partition.context("an answer for the partition")?.clone())
    }
}

pub(crate) fn produce_request(topic: &str, partition: i32, batch: &[u8]) -> ProduceRequest {
    let partition = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(Bytes::copy_from_slice(batch)));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(4_000)
        .with_topic_data(vec![topic])
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("before the year 292 million")
}

/// A batch as a client makes it.
pub(crate) fn batch(values: &[&[u8]]) -> Result<Vec<u8>> {
    compressed_batch(values, Compression::None)
}

pub(crate) fn compressed_batch(values: &[&[u8]], compression: Compression) -> Result<Vec<u8>> {
    let mut builder = BatchBuilder::new(compression);
    for value in values {
        builder.push(now_ms(), None, Some(value), &[])?;
    }
    Ok(builder.build()?.bytes().to_vec())
}

/// Writes the checksum anew over a batch that was changed.
pub(crate) fn seal(batch: &mut [u8]) {
    let crc = crc32c(&batch[21..]).to_be_bytes();
    batch[17..21].copy_from_slice(&crc);
}

/// Bit by bit: slow, and its own witness.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {self:?}"))
    }
}

/// One request on a connection of its own.
pub(crate) fn http(url: &str, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
    let head = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = http_open(url)?;
    // It may be refused before all of it is read.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    http_answer(&mut stream)
}

pub(crate) fn http_open(url: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

pub(crate) fn http_answer(stream: &mut TcpStream) -> Result<Answer> {
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .context("no answer over HTTP")?;
    let answer = String::from_utf8_lossy(&bytes);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("not HTTP: {answer:?}"))?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}

pub(crate) fn url(ready: &Value, service: &str) -> String {
    let url = ready[service].as_str();
    url.expect("the ready file names every service").to_owned()
}

pub(crate) fn sql(ready: &Value, query: &str) -> Result<Answer> {
    let body = json!({ "query": query }).to_string();
    http(&url(ready, "http"), "POST", "/v1/sql", body.as_bytes())
}

/// The single value that a query answers.
pub(crate) fn sql_value(ready: &Value, query: &str) -> Result<Value> {
    let answer = sql(ready, query)?;
    ensure!(answer.status == 200, "{query}: {answer:?}");
    Ok(answer.json()?["rows"][0][0].clone())
}

/// The sum of a metric over all labels that hold `label`.
pub(crate) fn metric(ready: &Value, name: &str, label: &str) -> Result<f64> {
    let answer = http(&url(ready, "http"), "GET", "/metrics", b"")?;
    let mut sum = 0.0;
    for line in answer.body.lines() {
        if line.starts_with(name)
            && line.contains(label)
            && let Some((_, value)) = line.rsplit_once(' ')
        {
            sum += value.parse::<f64>()?;
        }
    }
    Ok(sum)
}
