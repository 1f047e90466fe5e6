//! `tarn consume`: records of a topic, printed as a format says, decoded where they name a schema.
//!
//! Holds: standard output has records and nothing else; what could not be decoded is told on standard error.
//! Leaves to others: the decoding (`tarn-decode`).

mod schemas;

use std::borrow::Cow;
use std::time::Duration;

use clap::Args;
use tarn_client::{
    Admin, Consumer, ConsumerRecord, ConsumerSettings, GroupSettings, Isolation, OffsetSpec,
    StartAt,
};
use tarn_model::{Kind, Offset, Timestamp};
use tokio::time::Instant;

use super::Target;
use super::failure::Failure;
use super::kafka::{Session, block_on};
use super::output::{tell, write};
use schemas::{Schemas, Shown, Side};

/// So many records that could not be decoded are told one by one.
const TOLD_MAX: u64 = 5;

#[derive(Debug, Args)]
pub(crate) struct Consume {
    topic: String,
    /// Where to begin: start, end, an offset, -10 for the last ten of each partition, or @ and a
    /// timestamp in milliseconds.
    #[arg(short = 'O', long, default_value = "end", value_parser = Begin::parse, allow_hyphen_values = true)]
    offset: Begin,
    /// Stop after this many records.
    #[arg(short = 'n', long)]
    count: Option<u64>,
    /// Stop at what is now the end of the topic.
    #[arg(short, long)]
    exit_at_end: bool,
    /// Only this partition.
    #[arg(short, long)]
    partition: Option<i32>,
    /// Read as a member of this group, and commit.
    #[arg(short, long, conflicts_with_all = ["partition", "exit_at_end"])]
    group: Option<String>,
    /// %t topic, %p partition, %o offset, %d timestamp, %k key, %v value, %h headers, \n, \t.
    #[arg(short, long, default_value = "%v\\n")]
    format: String,
    /// Print keys and values as the bytes that they are; otherwise those that name a schema of the
    /// registry are decoded to JSON.
    #[arg(long)]
    raw: bool,
    /// HTTP address of the schema registry. It is asked only for records that name a schema.
    #[arg(long, env = "TARN_REGISTRY", default_value = "http://127.0.0.1:8081")]
    registry: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy)]
enum Begin {
    Start,
    End,
    At(u64),
    Last(u64),
    Since(i64),
}

impl Begin {
    fn parse(text: &str) -> Result<Begin, String> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| format!("{text:?} is not a number"))
        };
        match text {
            "start" => Ok(Begin::Start),
            "end" => Ok(Begin::End),
            _ => match (text.strip_prefix('-'), text.strip_prefix('@')) {
                (Some(last), _) => number(last).map(Begin::Last),
                (_, Some(since)) => since
                    .parse()
                    .map(Begin::Since)
                    .map_err(|_| format!("{since:?} is no timestamp")),
                _ => number(text).map(Begin::At),
            },
        }
    }
}

impl Consume {
    pub(crate) fn run(self) -> Result<(), Failure> {
        block_on(self.read())
    }

    async fn read(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let admin = Admin::new(&session.client);
        let ends = admin
            .topic_offsets(&self.topic, OffsetSpec::Latest, Isolation::ReadCommitted)
            .await?;
        let settings = ConsumerSettings {
            auto_commit: self.group.is_some().then_some(Duration::from_secs(5)),
            ..ConsumerSettings::default()
        };
        let mut consumer = match &self.group {
            Some(group) => {
                let group = GroupSettings::new(group, [self.topic.clone()]);
                Consumer::join(
                    &session.client,
                    settings,
                    group,
                    Instant::now() + Duration::from_secs(60),
                )
                .await?
            }
            None => {
                let mut consumer = Consumer::new(&session.client, settings);
                let chosen = ends
                    .iter()
                    .filter(|(partition, _)| self.partition.is_none_or(|only| only == **partition));
                let starts: Vec<_> = chosen
                    .map(|(partition, end)| {
                        let start = match self.offset {
                            Begin::Start => StartAt::Earliest,
                            Begin::End => StartAt::Latest,
                            Begin::At(offset) => StartAt::Offset(Offset(offset)),
                            Begin::Last(count) => StartAt::Offset(Offset(
                                end.map_or(0, |end| end.0.saturating_sub(count)),
                            )),
                            Begin::Since(millis) => StartAt::Timestamp(Timestamp(millis)),
                        };
                        (self.topic.clone(), *partition, start)
                    })
                    .collect();
                if starts.is_empty() {
                    let message = format!("topic {} has no such partition", self.topic);
                    return Err(Failure::new(Kind::NotFound, message));
                }
                consumer.assign(starts);
                consumer
            }
        };
        let mut count = 0;
        let mut shown = Printer::new(&self);
        let mut written = Ok(());
        let at_end = |consumer: &Consumer| {
            consumer.assignment().all(|(topic, partition)| {
                let end = ends.get(&partition).copied().flatten().unwrap_or_default();
                consumer
                    .position(topic, partition)
                    .is_some_and(|position| position >= end)
            })
        };
        loop {
            if self.count.is_some_and(|limit| count >= limit) {
                break;
            }
            let mut records = consumer.poll(Duration::from_millis(500)).await?;
            if let Some(limit) = self.count {
                records.truncate(usize::try_from(limit - count).unwrap_or(usize::MAX));
            }
            count += records.len() as u64;
            let text = shown.render(&records).await?;
            written = write(&text);
            if written.is_err() {
                break;
            }
            if self.exit_at_end && at_end(&consumer) {
                break;
            }
        }
        shown.sum_up();
        consumer.close().await?;
        written
    }
}

/// Renders records, and tells on standard error which could not be decoded.
struct Printer<'c> {
    format: &'c str,
    /// Absent if everything is printed as it is.
    schemas: Option<Schemas>,
    undecodable: u64,
}

impl<'c> Printer<'c> {
    fn new(command: &'c Consume) -> Printer<'c> {
        Printer {
            format: &command.format,
            schemas: (!command.raw).then(|| Schemas::new(&command.registry)),
            undecodable: 0,
        }
    }

    async fn render(&mut self, records: &[ConsumerRecord]) -> Result<Vec<u8>, Failure> {
        let keys = match self.format.contains("%k") {
            true => self.show(records, Side::Key).await?,
            false => Vec::new(),
        };
        let values = match self.format.contains("%v") {
            true => self.show(records, Side::Value).await?,
            false => Vec::new(),
        };
        let mut out = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let key = keys.get(at).map(Cow::as_ref).unwrap_or_default();
            let value = values.get(at).map(Cow::as_ref).unwrap_or_default();
            fill(self.format, record, key, value, &mut out);
        }
        Ok(out)
    }

    async fn show<'r>(
        &mut self,
        records: &'r [ConsumerRecord],
        side: Side,
    ) -> Result<Vec<Cow<'r, [u8]>>, Failure> {
        let bytes = |record: &'r ConsumerRecord| {
            let bytes = match side {
                Side::Key => &record.key,
                Side::Value => &record.value,
            };
            Cow::Borrowed(bytes.as_deref().unwrap_or_default())
        };
        let Some(schemas) = &mut self.schemas else {
            return Ok(records.iter().map(bytes).collect());
        };
        let shown = schemas.show(records, side).await?;
        let mut all = Vec::with_capacity(records.len());
        for (record, shown) in records.iter().zip(shown) {
            all.push(match shown {
                Shown::Json(json) => Cow::Owned(json),
                Shown::AsItIs => bytes(record),
                Shown::Undecodable(why) => {
                    self.tell(record, side, &why);
                    bytes(record)
                }
            });
        }
        Ok(all)
    }

    fn tell(&mut self, record: &ConsumerRecord, side: Side, why: &str) {
        self.undecodable += 1;
        if self.undecodable > TOLD_MAX {
            return;
        }
        let side = match side {
            Side::Key => "key",
            Side::Value => "value",
        };
        let ConsumerRecord {
            partition, offset, ..
        } = record;
        tell(format_args!(
            "tarn: partition {partition}, offset {offset}: the {side} is printed as it is: {why}"
        ));
    }

    fn sum_up(&self) {
        let more = self.undecodable.saturating_sub(TOLD_MAX);
        if more > 0 {
            tell(format_args!(
                "tarn: {more} more were printed as they are; SELECT * FROM system.undecodable says more"
            ));
        }
    }
}

fn fill(format: &str, record: &ConsumerRecord, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        match (character, characters.clone().next()) {
            ('%', Some(field)) => {
                characters.next();
                match field {
                    't' => out.extend_from_slice(record.topic.as_bytes()),
                    'p' => out.extend_from_slice(record.partition.to_string().as_bytes()),
                    'o' => out.extend_from_slice(record.offset.to_string().as_bytes()),
                    'd' => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
                    'k' => out.extend_from_slice(key),
                    'v' => out.extend_from_slice(value),
                    'h' => {
                        for (index, header) in record.headers.iter().enumerate() {
                            if index > 0 {
                                out.push(b',');
                            }
                            out.extend_from_slice(&header.name);
                            out.push(b'=');
                            out.extend_from_slice(header.value.as_deref().unwrap_or_default());
                        }
                    }
                    other => {
                        let mut buffer = [0; 4];
                        out.push(b'%');
                        out.extend_from_slice(other.encode_utf8(&mut buffer).as_bytes());
                    }
                }
            }
            ('\\', Some('n')) => {
                characters.next();
                out.push(b'\n');
            }
            ('\\', Some('t')) => {
                characters.next();
                out.push(b'\t');
            }
            (other, _) => {
                let mut buffer = [0; 4];
                out.extend_from_slice(other.encode_utf8(&mut buffer).as_bytes());
            }
        }
    }
}
