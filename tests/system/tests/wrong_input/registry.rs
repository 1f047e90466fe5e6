//! Wrong schemas, and records that their schema does not fit.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tarn_system_tests::{Tarn, eventually};

use super::still_serves;
use super::wire::{Answer, Kafka, batch, http, metric, sql, sql_value, url};

fn register(tarn: &Tarn, subject: &str, schema: &Value) -> Result<Answer> {
    register_text(tarn, subject, &schema.to_string())
}

fn register_text(tarn: &Tarn, subject: &str, schema: &str) -> Result<Answer> {
    let body = json!({ "schema": schema }).to_string();
    let path = format!("/subjects/{subject}/versions");
    http(
        &url(&tarn.ready, "registry"),
        "POST",
        &path,
        body.as_bytes(),
    )
}

fn record(fields: &Value) -> Value {
    json!({ "type": "record", "name": "Order", "fields": fields })
}

fn order() -> Value {
    record(&json!([
        { "name": "n", "type": "long" },
        { "name": "who", "type": "string" },
        { "name": "tags", "type": { "type": "array", "items": "string" } },
    ]))
}

fn refused(answer: &Answer, status: u16, code: u32, words: &[&str]) -> Result<()> {
    ensure!(answer.status == status, "{answer:?}, not {status}");
    let body = answer.json()?;
    let message = body["message"].as_str().unwrap_or_default();
    ensure!(body["error_code"] == code, "{body}, not {code}");
    for word in words {
        ensure!(message.contains(word), "{message:?} does not say {word:?}");
    }
    Ok(())
}

#[test]
fn a_schema_that_cannot_be_is_refused_in_confluents_words() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    Kafka::connect(&tarn.kafka())?.create_topic("orders", &[])?;
    ensure!(register(&tarn, "orders-value", &order())?.status == 200);
    let recursive = record(&json!([{ "name": "next", "type": ["null", "Order"] }]));
    let text_then_long = record(&json!([{ "name": "n", "type": "string" }]));
    let same_name = record(&json!([
        { "name": "id", "type": "long" },
        { "name": "ID", "type": "long" },
    ]));
    let many: Vec<Value> = (0..2_001)
        .map(|n| json!({ "name": format!("f{n}"), "type": "long" }))
        .collect();
    for (what, subject, schema, status, code, words) in [
        (
            "an unknown type",
            "orders-value",
            json!("nosuch"),
            422,
            42201,
            ["nosuch"].as_slice(),
        ),
        (
            "a record without a name",
            "orders-value",
            json!({"type": "record", "fields": []}),
            422,
            42201,
            &["name"],
        ),
        ("a number", "orders-value", json!(1), 422, 42201, &[]),
        (
            "a recursive type",
            "orders-value",
            recursive,
            422,
            42201,
            &["next", "Order", "contains itself"],
        ),
        (
            "a column of another type",
            "orders-value",
            text_then_long,
            409,
            40901,
            &["n"],
        ),
        (
            "names that SQL cannot tell apart",
            "orders-value",
            same_name,
            422,
            42201,
            &["ID"],
        ),
        (
            "too many columns",
            "wide-value",
            record(&Value::from(many)),
            422,
            42201,
            &["2000"],
        ),
    ] {
        let answer = register(&tarn, subject, &schema)?;
        refused(&answer, status, code, words).context(what)?;
    }
    refused(
        &register_text(&tarn, "orders-value", "{")?,
        422,
        42201,
        &["JSON"],
    )?;
    let deep = format!(
        "{}\"long\"{}",
        "{\"type\": \"array\", \"items\": ".repeat(5_000),
        "}".repeat(5_000)
    );
    refused(
        &register_text(&tarn, "orders-value", &deep)?,
        422,
        42201,
        &["recursion limit"],
    )?;
    let long = order().to_string() + &" ".repeat(256 << 10);
    refused(
        &register_text(&tarn, "orders-value", &long)?,
        422,
        42209,
        &["262144"],
    )?;
    let registry = url(&tarn.ready, "registry");
    let path = "/subjects/orders-value/versions";
    for (what, body, status, code) in [
        ("no JSON", b"{".to_vec(), 400, 400),
        ("no object", b"[]".to_vec(), 400, 400),
        ("no schema", b"{}".to_vec(), 422, 42201),
        (
            "Protobuf",
            br#"{"schema": "", "schemaType": "PROTOBUF"}"#.to_vec(),
            422,
            42201,
        ),
        ("a huge body", vec![b' '; (1 << 20) + 1], 413, 413),
    ] {
        refused(&http(&registry, "POST", path, &body)?, status, code, &[]).context(what)?;
    }
    for (path, code) in [
        ("/schemas/ids/999", 40403),
        ("/subjects/nowhere/versions", 40401),
        ("/subjects/orders-value/versions/9", 40402),
    ] {
        refused(&http(&registry, "GET", path, b"")?, 404, code, &[]).context(path)?;
    }
    let answer = http(
        &registry,
        "GET",
        "/subjects/orders-value/versions/zero",
        b"",
    )?;
    refused(&answer, 422, 42202, &["zero"])?;
    // Nothing of it became a version, and the same over the other door.
    let versions = http(&registry, "GET", path, b"")?;
    ensure!(versions.body == "[1]", "{versions:?}");
    let recursive = record(&json!([{ "name": "next", "type": ["null", "Order"] }]));
    let body = json!({ "definition": recursive }).to_string();
    let answer = http(&tarn.http(), "POST", "/v1/schemas/orders", body.as_bytes())?;
    ensure!(
        answer.status == 422 && answer.json()?["code"] == "TARN-1112",
        "{answer:?}"
    );
    still_serves(&tarn)
}

/// A payload in Confluent's framing.
fn framed(id: u32, avro: &[u8]) -> Vec<u8> {
    [&[0], id.to_be_bytes().as_slice(), avro].concat()
}

#[test]
fn records_that_do_not_decode_are_counted_and_the_table_goes_on() -> Result<()> {
    let tarn = Tarn::start(&["--table-interval", "500ms"])?;
    let mut kafka = Kafka::connect(&tarn.kafka())?;
    kafka.create_topic("orders", &[])?;
    let registered = register(&tarn, "orders-value", &order())?;
    ensure!(registered.status == 200, "{registered:?}");
    let id = registered.json()?["id"].as_u64().context("an id")?;
    let id = u32::try_from(id)?;
    // n = 7, who = "you", no tags.
    let good = framed(id, b"\x0e\x06you\x00");
    let bad = [
        ("no framing", b"plain text".to_vec()),
        ("an empty payload", Vec::new()),
        ("an id cut short", vec![0, 0, 0]),
        ("an unknown id", framed(id + 1000, b"\x0e\x06you\x00")),
        ("a cut record", framed(id, b"\x0e\x06y")),
        ("more than the record", framed(id, b"\x0e\x06you\x00\x00")),
        ("no UTF-8", framed(id, b"\x0e\x06\xff\xff\xff\x00")),
        ("a negative length", framed(id, b"\x0e\x05you\x00")),
        (
            "an absurd length",
            framed(id, b"\x0e\xfe\xff\xff\xff\xff\xff\xff\xff\x7fyou"),
        ),
        (
            "an absurd count of items",
            framed(id, b"\x0e\x06you\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x00"),
        ),
        ("a number without an end", framed(id, &[0xff; 20])),
    ];
    let mut rows = 0_u32;
    let mut undecodable = 0_u32;
    for (_, payload) in &bad {
        // Each beside good ones in its batch.
        kafka.produce("orders", &batch(&[&good, payload, &good])?)?;
        rows += 2;
        undecodable += 1;
    }
    let sum = "SELECT count(*), count(n), sum(n), max(_offset) FROM events.orders";
    let expected = json!([rows, rows, 7 * rows, rows + undecodable - 1]);
    let hot = sql(&tarn.ready, sum)?;
    ensure!(
        hot.status == 200 && hot.json()?["rows"][0] == expected,
        "{hot:?}"
    );
    eventually("the table", || {
        let cold = "SELECT count(*) FROM events.\"orders$cold\"";
        Ok((sql_value(&tarn.ready, cold)? == rows).then_some(()))
    })?;
    let cold = sql(&tarn.ready, sum)?;
    ensure!(cold.json()?["rows"][0] == expected, "{cold:?}");
    let counted = eventually("the count of what did not decode", || {
        let counted = metric(
            &tarn.ready,
            "tarn_undecodable_records_total",
            "topic=\"orders\"",
        )?;
        Ok((counted >= f64::from(undecodable)).then_some(counted))
    })?;
    ensure!(counted == f64::from(undecodable), "{counted} were counted");
    // The topic has them all: what the table cannot hold, a consumer still reads.
    let high = "SELECT high_watermark FROM system.partitions WHERE topic = 'orders'";
    let high = sql_value(&tarn.ready, high)?;
    ensure!(high == rows + undecodable, "{high}");
    still_serves(&tarn)
}
