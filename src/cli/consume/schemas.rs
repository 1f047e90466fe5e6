//! Keys and values that name a registered schema, as JSON.
//!
//! Holds: the JSON is what SQL shows of the same record, because the tables' own decoder makes it; bytes
//! that name no schema of the registry, or are not what it says, are left as they are, and somebody is
//! told why. A schema is asked for once.
//! Leaves to others: which records are read, and how they are printed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use bytes::Bytes;
use serde_json::Value;
use tarn_client::ConsumerRecord;
use tarn_decode::{DecodeRecord, Decoder, TableShape, WriterSchema};
use tarn_model::{
    ClusterTime, Field, FieldId, Kind, Lsn, Offset, PartitionId, SchemaFormat, SchemaId,
};
use tarn_schema::{
    Framing, NamedType, Type, VALUE_SCHEMA_ID_HEADER, field_name, header_by_guid, schema_reference,
};

use crate::cli::failure::{Failure, cause};

/// The header that names the schema of a record's key.
const KEY_SCHEMA_ID_HEADER: &str = "__key_schema_id";
/// How long the registry may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// After so many different schemas that the registry does not know, and none that it does, the bytes of
/// this topic are something else.
const UNKNOWN_MAX: usize = 16;
/// The entry at which a schema counts as registered; the record that names it comes with the next.
const REGISTERED: Lsn = Lsn::START;

/// Keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Key,
    Value,
}

/// How bytes are to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Json(Vec<u8>),
    AsItIs,
    /// As it is, though it names a schema: why.
    Undecodable(String),
}

/// How a record names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Id(SchemaId),
    Guid([u8; 16]),
}

/// The schemas of a registry, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Schemas {
    http: reqwest::Client,
    registry: String,
    known: HashMap<Name, Arc<Decoding>>,
    unknown: HashMap<Name, String>,
}

/// What it takes to decode with one schema.
#[derive(Debug)]
struct Decoding {
    guid: [u8; 16],
    decoder: Decoder,
    /// Of the payload; the table's own come behind them.
    columns: usize,
    is_record: bool,
}

impl Schemas {
    pub(super) fn new(registry: &str) -> Schemas {
        Schemas {
            http: reqwest::Client::new(),
            registry: registry.trim_end_matches('/').to_owned(),
            known: HashMap::new(),
            unknown: HashMap::new(),
        }
    }

    /// The keys or the values of records, in their order: those of one schema are decoded together.
    /// Fails when the registry is needed and does not answer.
    pub(super) async fn show(
        &mut self,
        records: &[ConsumerRecord],
        side: Side,
    ) -> Result<Vec<Shown>, Failure> {
        let mut shown = Vec::with_capacity(records.len());
        let mut named: HashMap<Name, Named> = HashMap::new();
        for (place, record) in records.iter().enumerate() {
            shown.push(Shown::AsItIs);
            let Some((name, payload)) = schema_of(record, side) else {
                continue;
            };
            match self.decoding(name).await? {
                Ok(decoding) => {
                    let named = named.entry(name).or_insert_with(|| Named::by(decoding));
                    named.places.push(place);
                    named.payloads.push(payload);
                }
                Err(Some(why)) => shown[place] = Shown::Undecodable(why),
                Err(None) => {}
            }
        }
        for (name, named) in named {
            let decoded = named.decoding.decode(named.payloads);
            for (place, decoded) in named.places.into_iter().zip(decoded) {
                shown[place] = match decoded {
                    Ok(json) => Shown::Json(json),
                    Err(why) => {
                        Shown::Undecodable(format!("it is not what its {name} says ({why})"))
                    }
                };
            }
        }
        Ok(shown)
    }

    /// The schema, or why there is none; nothing is said any more where no schema was ever known.
    async fn decoding(
        &mut self,
        name: Name,
    ) -> Result<Result<Arc<Decoding>, Option<String>>, Failure> {
        if let Some(decoding) = self.known.get(&name) {
            return Ok(Ok(Arc::clone(decoding)));
        }
        if let Some(why) = self.unknown.get(&name) {
            return Ok(Err(Some(why.clone())));
        }
        if self.known.is_empty() && self.unknown.len() >= UNKNOWN_MAX {
            return Ok(Err(None));
        }
        let loaded = match self.ask(name).await? {
            Some(body) => Decoding::of(&body).map_err(|why| format!("its {name} {why}")),
            None => Err(format!("{} has no {name}", self.registry)),
        };
        match loaded {
            Ok(decoding) => {
                let decoding = Arc::new(decoding);
                self.known.insert(name, Arc::clone(&decoding));
                Ok(Ok(decoding))
            }
            Err(why) => {
                // Random numbers must not fill the memory.
                if self.unknown.len() >= 1000 * UNKNOWN_MAX {
                    self.unknown.clear();
                }
                self.unknown.insert(name, why.clone());
                Ok(Err(Some(why)))
            }
        }
    }

    /// What the registry says of a schema; `None` if it has no such one.
    async fn ask(&self, name: Name) -> Result<Option<Value>, Failure> {
        let url = match name {
            Name::Id(id) => format!("{}/schemas/ids/{id}", self.registry),
            Name::Guid(guid) => format!("{}/schemas/guids/{}", self.registry, hyphenated(guid)),
        };
        let unavailable = |why: String| {
            let message = format!(
                "the records name schemas, and the registry does not tell them: {url}: {why}"
            );
            let next = "Say where the registry is with --registry http://HOST:PORT, or print bytes with --raw.";
            Failure::new(Kind::Unavailable, message).next(next.to_owned())
        };
        let answer = self.http.get(&url).timeout(ANSWER_WITHIN).send().await;
        let answer = answer.map_err(|error| unavailable(cause(&error)))?;
        match answer.status().as_u16() {
            404 => return Ok(None),
            200 => {}
            status => return Err(unavailable(format!("status {status}"))),
        }
        let text = answer.text().await;
        let text = text.map_err(|error| unavailable(cause(&error)))?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|_| unavailable("its answer is not JSON".to_owned()))
    }
}

/// Payloads of one schema, and the places of their records.
struct Named {
    decoding: Arc<Decoding>,
    places: Vec<usize>,
    payloads: Vec<Bytes>,
}

impl Named {
    fn by(decoding: Arc<Decoding>) -> Named {
        Named {
            decoding,
            places: Vec::new(),
            payloads: Vec::new(),
        }
    }
}

/// The schema that a key or a value names, and what is left to decode.
fn schema_of(record: &ConsumerRecord, side: Side) -> Option<(Name, Bytes)> {
    let (bytes, header) = match side {
        Side::Key => (record.key.as_ref()?, KEY_SCHEMA_ID_HEADER),
        Side::Value => (record.value.as_ref()?, VALUE_SCHEMA_ID_HEADER),
    };
    // Both sides are named alike, but for the header's own name.
    let headers = record.headers.iter();
    let headers = headers.filter(|other| other.name == header.as_bytes());
    let headers = headers.map(|found| (VALUE_SCHEMA_ID_HEADER.as_bytes(), found.value.as_deref()));
    match schema_reference(bytes, headers) {
        Framing::ById(id, payload) => Some((Name::Id(id), bytes.slice_ref(payload))),
        Framing::ByGuid(guid, payload) => Some((Name::Guid(guid), bytes.slice_ref(payload))),
        Framing::None => None,
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Name::Id(id) => write!(f, "schema {id}"),
            Name::Guid(guid) => write!(f, "schema {}", hyphenated(*guid)),
        }
    }
}

fn hyphenated(guid: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(guid).to_string()
}

impl Decoding {
    /// From the registry's answer, or why it is of no use.
    fn of(body: &Value) -> Result<Decoding, String> {
        let format = body["schemaType"].as_str().unwrap_or("AVRO");
        if format != "AVRO" {
            return Err(format!("is of type {format}, which is not decoded yet"));
        }
        if body["references"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        {
            return Err("refers to other schemas, which is not decoded yet".to_owned());
        }
        let text = body["schema"].as_str().unwrap_or_default();
        let parsed = tarn_schema::parse(text, &[]).map_err(|why| format!("is invalid: {why}"))?;
        let mut columns = tarn_schema::columns(&parsed)
            .map_err(|why| format!("describes what no table can hold: {why}"))?;
        let mut next = tarn_schema::FIRST_PAYLOAD_FIELD_ID;
        number(&mut columns, &mut next);
        let count = columns.len();
        let shape = TableShape {
            columns,
            with_value: false,
            typed_since: Some(REGISTERED),
            event_times: Vec::new(),
            schemas: vec![WriterSchema::of_text(
                SchemaId(1),
                parsed.guid(),
                SchemaFormat::Avro,
                text,
                REGISTERED,
            )],
        };
        Ok(Decoding {
            guid: parsed.guid(),
            decoder: Decoder::new(&shape),
            columns: count,
            is_record: match parsed.root() {
                Type::Named(id) => matches!(parsed.named(*id), NamedType::Record(_)),
                _ => false,
            },
        })
    }

    /// Each payload as JSON, or why it is none.
    fn decode(&self, payloads: Vec<Bytes>) -> Vec<Result<Vec<u8>, String>> {
        let header = Bytes::from(header_by_guid(self.guid));
        let name = Bytes::from_static(VALUE_SCHEMA_ID_HEADER.as_bytes());
        let record = |payload| DecodeRecord {
            partition: PartitionId(0),
            offset: Offset::ZERO,
            timestamp_ms: 0,
            key: None,
            value: Some(payload),
            headers: vec![(name.clone(), Some(header.clone()))],
            lsn: REGISTERED.next(),
            committed: ClusterTime::default(),
        };
        let records: Vec<DecodeRecord> = payloads.into_iter().map(record).collect();
        let mut all = Vec::with_capacity(records.len());
        while let Some(rest) = records.get(all.len()..).filter(|rest| !rest.is_empty()) {
            let decoded = match self.decoder.decode(rest) {
                Ok(decoded) => decoded,
                Err(error) => {
                    all.extend(rest.iter().map(|_| Err(error.to_string())));
                    break;
                }
            };
            let json = self.json(&decoded.batch);
            let mut wrong = decoded.undecodable.iter().peekable();
            let mut row = 0;
            for place in 0..decoded.taken {
                if let Some(wrong) = wrong.next_if(|wrong| wrong.index == place) {
                    all.push(Err(wrong.reason.to_string()));
                    continue;
                }
                let rows = json.as_ref().map_err(Clone::clone);
                all.push(rows.map(|rows| rows.get(row).cloned().unwrap_or_default()));
                row += 1;
            }
        }
        all
    }

    /// Of each row its JSON.
    fn json(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>, String> {
        let columns = rows.schema_ref().fields().iter();
        let columns = columns.zip(rows.columns()).take(self.columns);
        // A table may have to call a field otherwise: here it keeps its name.
        let (fields, arrays): (Vec<_>, Vec<ArrayRef>) = columns
            .map(|(field, array)| {
                let name = field_name(field.name());
                (
                    Arc::new(field.as_ref().clone().with_name(name)),
                    Arc::clone(array),
                )
            })
            .unzip();
        let column: ArrayRef = match (self.is_record, arrays.first()) {
            (false, Some(value)) => Arc::clone(value),
            (true, Some(_)) => Arc::new(StructArray::new(fields.into(), arrays, None)),
            // Nothing but nulls.
            (true, None) => return Ok(vec![b"{}".to_vec(); rows.num_rows()]),
            (false, None) => return Ok(vec![b"null".to_vec(); rows.num_rows()]),
        };
        tarn_server::json_values(&column).map_err(|error| error.to_string())
    }
}

/// Gives each column an id of its own, as a table would.
fn number(fields: &mut [Field], next: &mut i32) {
    use tarn_model::ColumnType::{List, Map, Struct};
    for field in fields {
        field.id = FieldId(*next);
        *next += 1;
        match &mut field.kind {
            Struct(fields) => number(fields, next),
            List(element) => number(std::slice::from_mut(element), next),
            Map(key, value) => {
                number(std::slice::from_mut(key), next);
                number(std::slice::from_mut(value), next);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tarn_schema::frame_by_id;

    use super::*;

    fn decoding(schema: &str) -> Decoding {
        Decoding::of(&serde_json::json!({ "schema": schema })).expect("a schema")
    }

    fn json(schema: &str, payload: &'static [u8]) -> String {
        let decoded = decoding(schema).decode(vec![Bytes::from_static(payload)]);
        match decoded.into_iter().next().expect("one") {
            Ok(json) => String::from_utf8(json).expect("JSON is UTF-8"),
            Err(why) => format!("not decoded: {why}"),
        }
    }

    #[test]
    fn a_value_is_the_json_that_sql_shows() {
        let click = r#"{"type": "record", "name": "Click", "fields": [
            {"name": "id", "type": "long"},
            {"name": "page", "type": ["null", "string"]},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "tags", "type": {"type": "array", "items": "string"}}]}"#;
        assert_eq!(
            json(click, b"\x0e\x02\x02/\x00\x02\x02a\x00"),
            r#"{"id":7,"page":"/","at":"1970-01-01T00:00:00.000000Z","tags":["a"]}"#
        );
        assert_eq!(json(r#""string""#, b"\x02x"), r#""x""#);
        assert_eq!(json(r#""null""#, b""), "null");
        let ours =
            r#"{"type": "record", "name": "Ours", "fields": [{"name": "_offset", "type": "int"}]}"#;
        assert_eq!(json(ours, b"\x02"), r#"{"_offset":1}"#);
        let empty = r#"{"type": "record", "name": "Empty", "fields": []}"#;
        assert_eq!(json(empty, b""), "{}");
        assert_eq!(json(r#""string""#, b"\x04x"), "not decoded: truncated");
        assert_eq!(
            json(r#""string""#, b"\x02xx"),
            "not decoded: trailing_bytes"
        );
    }

    #[test]
    fn what_a_schema_cannot_be_used_for_is_said() {
        let why = |body: Value| Decoding::of(&body).map(drop).expect_err("of no use");
        let protobuf = serde_json::json!({ "schemaType": "PROTOBUF", "schema": "" });
        assert!(why(protobuf).contains("PROTOBUF"));
        let references = serde_json::json!({ "schema": "\"string\"", "references": [{}] });
        assert!(why(references).contains("refers"));
        assert!(why(serde_json::json!({ "schema": "no" })).contains("invalid"));
        let tree =
            r#"{"type": "record", "name": "T", "fields": [{"name": "t", "type": ["null", "T"]}]}"#;
        assert!(why(serde_json::json!({ "schema": tree })).contains("no table"));
    }

    fn record(key: Option<Bytes>, value: Option<Bytes>) -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 0,
            offset: Offset::ZERO,
            timestamp: tarn_model::Timestamp(0),
            key,
            value,
            headers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_names_no_schema_asks_nobody() {
        // Nothing listens there.
        let mut schemas = Schemas::new("http://127.0.0.1:1/");
        for value in [
            None,
            Some(Bytes::from_static(b"{}")),
            Some(Bytes::from_static(b"\0\0")),
        ] {
            let shown = schemas.show(&[record(None, value)], Side::Value).await;
            assert_eq!(shown.expect("nobody is asked"), [Shown::AsItIs]);
        }
        let framed = Bytes::from(frame_by_id(SchemaId(7), b"x"));
        let asked = schemas.show(&[record(Some(framed), None)], Side::Key).await;
        let said = asked.expect_err("nobody answers").to_string();
        assert!(
            said.contains("schemas/ids/7") && said.contains("--raw"),
            "{said}"
        );
    }

    /// Two schemas in turns, with records between them that are not what they say: each gets its own
    /// answer, from one decode of each schema.
    #[tokio::test]
    async fn records_of_several_schemas_keep_their_places() {
        let mut schemas = Schemas::new("http://127.0.0.1:1/");
        for (id, schema) in [(1, r#""string""#), (2, r#""long""#)] {
            let name = Name::Id(SchemaId(id));
            schemas.known.insert(name, Arc::new(decoding(schema)));
        }
        let values: Vec<Vec<u8>> = (0..20_000_u32)
            .map(|n| match n % 4 {
                0 => frame_by_id(SchemaId(1), b"\x02x"),
                1 => frame_by_id(SchemaId(2), &[u8::try_from(n % 32 * 2).expect("a byte")]),
                2 => frame_by_id(SchemaId(1), b"\x04x"),
                _ => b"raw".to_vec(),
            })
            .collect();
        let records = values
            .into_iter()
            .map(|value| record(None, Some(value.into())));
        let records: Vec<ConsumerRecord> = records.collect();
        let shown = schemas.show(&records, Side::Value).await.expect("shown");
        assert_eq!(shown.len(), records.len());
        for (n, shown) in shown.iter().enumerate() {
            let expected = match n % 4 {
                0 => Shown::Json(br#""x""#.to_vec()),
                1 => Shown::Json((n % 32).to_string().into_bytes()),
                2 => Shown::Undecodable("it is not what its schema 1 says (truncated)".into()),
                _ => Shown::AsItIs,
            };
            assert_eq!(*shown, expected, "record {n}");
        }
    }
}
