//! Wrong input on the Kafka port.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::{ApiKey, BATCH_HEADER_BYTES, Compression, ErrorCode, encode_request};
use tarn_system_tests::{Tarn, eventually};

use super::still_serves;
use super::wire::{
    Kafka, batch, compressed_batch, http_answer, http_open, metric, produce_request, seal, sql,
    sql_value, text, topic_name,
};

/// How much more memory wrong requests may have taken at any time.
const GROWTH_KIB_MAX: u64 = 256 << 10;

/// An empty request of every API in its first and its last version, as a frame.
fn requests() -> Result<Vec<(ApiKey, i16, Vec<u8>)>> {
    let mut frames = Vec::new();
    let client_id = StrBytes::from_static_str("wrong");
    macro_rules! add {
        ($($api:ident $request:ident),* $(,)?) => {
            $(
                for version in [*ApiKey::$api.versions().start(), *ApiKey::$api.versions().end()] {
                    let frame = encode_request(7, Some(&client_id), version, &$request::default())?;
                    frames.push((ApiKey::$api, version, frame.to_vec()));
                }
            )*
        };
    }
    add!(
        Produce ProduceRequest, Fetch FetchRequest, ListOffsets ListOffsetsRequest,
        Metadata MetadataRequest, OffsetCommit OffsetCommitRequest, OffsetFetch OffsetFetchRequest,
        FindCoordinator FindCoordinatorRequest, JoinGroup JoinGroupRequest, Heartbeat HeartbeatRequest,
        LeaveGroup LeaveGroupRequest, SyncGroup SyncGroupRequest, DescribeGroups DescribeGroupsRequest,
        ListGroups ListGroupsRequest, ApiVersions ApiVersionsRequest, CreateTopics CreateTopicsRequest,
        DeleteTopics DeleteTopicsRequest, InitProducerId InitProducerIdRequest,
        OffsetForLeaderEpoch OffsetForLeaderEpochRequest, DescribeConfigs DescribeConfigsRequest,
        CreatePartitions CreatePartitionsRequest, DeleteGroups DeleteGroupsRequest,
        IncrementalAlterConfigs IncrementalAlterConfigsRequest, DescribeCluster DescribeClusterRequest,
        DescribeAcls DescribeAclsRequest,
        CreateAcls CreateAclsRequest,
        DeleteAcls DeleteAclsRequest,
        AlterConfigs AlterConfigsRequest,
        DescribeLogDirs DescribeLogDirsRequest,
        ListPartitionReassignments ListPartitionReassignmentsRequest,
        OffsetDelete OffsetDeleteRequest,
        DeleteRecords DeleteRecordsRequest,
        ElectLeaders ElectLeadersRequest,
        DescribeClientQuotas DescribeClientQuotasRequest,
        AlterClientQuotas AlterClientQuotasRequest,
        DescribeUserScramCredentials DescribeUserScramCredentialsRequest,
        DescribeQuorum DescribeQuorumRequest,
        DescribeProducers DescribeProducersRequest,
        ListTransactions ListTransactionsRequest,
        ListConfigResources ListConfigResourcesRequest,
        DescribeTopicPartitions DescribeTopicPartitionsRequest,
    );
    ensure!(
        frames.len() == 2 * ApiKey::ALL.len(),
        "an API is missing here"
    );
    Ok(frames)
}

/// The frame around this body.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    [&length.to_be_bytes(), body].concat()
}

/// The most memory that the process ever had.
fn memory_peak_kib(tarn: &Tarn) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", tarn.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.context("a peak")?.trim().trim_end_matches(" kB");
    Ok(number.parse()?)
}

#[test]
fn what_is_no_kafka_is_hung_up_on() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let before = memory_peak_kib(&tarn)?;
    let too_large = (100_i32 << 20) + 1;
    let tls_hello = [
        0x16, 0x03, 0x01, 0x00, 0xa5, 0x01, 0x00, 0x00, 0xa1, 0x03, 0x03, 0x5a, 0x5a, 0x5a, 0x5a,
    ];
    let unknown_api = framed(&[0x03, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    let old_produce = framed(&[
        0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0,
    ]);
    let client_id_too_long = framed(&[0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff]);
    for (what, bytes) in [
        ("a TLS hello", tls_hello.as_slice()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("a negative length", &(-1_i32).to_be_bytes()),
        ("the longest length", &i32::MAX.to_be_bytes()),
        ("a length over the cap", &too_large.to_be_bytes()),
        ("an empty frame", &framed(&[])),
        ("half a header", &framed(&[0, 18, 0])),
        ("an unknown API", &unknown_api),
        ("a version of long ago", &old_produce),
        ("a client id that is not there", &client_id_too_long),
    ] {
        let mut kafka = Kafka::connect(&tarn.kafka())?;
        kafka.send(bytes);
        kafka.expect_closed().context(what)?;
    }
    // What a newer client asks first has an answer, so that it can step back (KIP-511).
    let mut kafka = Kafka::connect(&tarn.kafka())?;
    kafka.send(&framed(&[0, 18, 0, 127, 0, 0, 0, 9, 0xff, 0xff, 0]));
    let answer = kafka.answer()?.context("an answer to ApiVersions")?;
    ensure!(answer.starts_with(&[0, 0, 0, 9, 0, 35]), "{answer:?}");

    // The same garbage in every run.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_be_bytes()
    };
    let requests = requests()?;
    for round in 0..200_usize {
        let garbage: Vec<u8> = (0..round).flat_map(|_| random()).collect();
        let (_, _, request) = &requests[round % requests.len()];
        let with_header = [&request[4..14], garbage.as_slice()].concat();
        for bytes in [garbage.clone(), framed(&garbage), framed(&with_header)] {
            let mut kafka = Kafka::connect(&tarn.kafka())?;
            kafka.send(&bytes);
            kafka.finish().with_context(|| format!("garbage {round}"))?;
        }
    }
    let closed = metric(&tarn.ready, "tarn_kafka_connections_closed", "too large")?;
    ensure!(closed >= 6.0, "{closed} connections were counted");
    let growth = memory_peak_kib(&tarn)? - before;
    ensure!(growth < GROWTH_KIB_MAX, "garbage took {growth} KiB");
    still_serves(&tarn)
}

/// One line says what an operator needs to find the client and its fault; in a file without colors.
#[test]
fn the_log_tells_why_a_connection_was_closed_or_a_request_invalid() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let client_id = StrBytes::from_static_str("ops-tool");
    let metadata = encode_request(1, Some(&client_id), 12, &MetadataRequest::default())?;
    let body = &metadata[4..];
    for bytes in [
        framed(&body[..body.len() - 1]),
        framed(&[
            3, 231, 0, 7, 0, 0, 0, 5, 0, 8, b'o', b'p', b's', b'-', b'9', b'9', b'9', b'9',
        ]),
    ] {
        let mut kafka = Kafka::connect(&tarn.kafka())?;
        kafka.send(&bytes);
        kafka.expect_closed()?;
    }
    let mut kafka = Kafka::connect(&tarn.kafka())?;
    let unnamed = ApiVersionsRequest::default();
    kafka.send(&encode_request(1, Some(&client_id), 3, &unnamed)?);
    kafka.answer()?.context("an answer")?;
    let lines = |words: &[&str]| {
        eventually(&words.join(" "), || {
            let log = tarn.log();
            let found = log.lines().any(|line| {
                line.contains(" INFO ") && words.iter().all(|word| line.contains(word))
            });
            Ok(found.then_some(()))
        })
    };
    lines(&[
        "closed a connection",
        "ops-tool",
        "Metadata v12",
        "malformed request",
        "ends too early",
    ])?;
    lines(&["closed a connection", "ops-9999", "API key 999, version 7"])?;
    lines(&["INVALID_REQUEST", "ops-tool", "ApiVersions", "version=3"])?;
    ensure!(!tarn.log().contains('\u{1b}'), "colors in a file");
    still_serves(&tarn)
}

#[test]
fn a_request_cut_at_any_byte_is_hung_up_on_and_a_tail_is_ignored() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    for (api, version, request) in requests()? {
        let body = &request[4..];
        for cut in 0..body.len() {
            // The frame says that this is all, and it is not.
            let mut kafka = Kafka::connect(&tarn.kafka())?;
            kafka.send(&framed(&body[..cut]));
            kafka
                .expect_closed()
                .with_context(|| format!("{api} {version} cut at {cut}"))?;
        }
        // The frame says that more is to come, and it does not come.
        let mut kafka = Kafka::connect(&tarn.kafka())?;
        kafka.send(&request[..request.len() - 1]);
        kafka
            .finish()
            .with_context(|| format!("{api} {version} ends early"))?;
        // More than the request is ignored, as Apache Kafka does, and the connection goes on.
        let mut kafka = Kafka::connect(&tarn.kafka())?;
        kafka.send(&framed(&[body, &[0, 1, 0xff]].concat()));
        kafka.send(request.as_slice());
        // Without acknowledgement a Produce has no answer.
        if api != ApiKey::Produce {
            for _ in 0..2 {
                let answer = kafka.answer()?;
                answer.with_context(|| format!("{api} {version} and a tail"))?;
            }
        }
    }
    still_serves(&tarn)
}

/// Every place of every request where a count or a length may stand says two thousand million.
#[test]
fn absurd_counts_cost_no_memory() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let before = memory_peak_kib(&tarn)?;
    for (api, version, request) in requests()? {
        let body = &request[4..];
        let plain = [0x7f, 0xff, 0xff, 0xff];
        let compact = [0xff, 0xff, 0xff, 0xff, 0x07];
        let count = match api.is_flexible(version) {
            true => compact.as_slice(),
            false => &plain,
        };
        // Key, version and correlation id stay, and so do the five letters of the client id.
        for place in 15..body.len() {
            let mut wrong = body[..place].to_vec();
            wrong.extend_from_slice(count);
            wrong.extend_from_slice(body.get(place + 1..).unwrap_or_default());
            wrong.resize(wrong.len() + 64, 0);
            let mut kafka = Kafka::connect(&tarn.kafka())?;
            kafka.send(&framed(&wrong));
            kafka
                .finish()
                .with_context(|| format!("{api} {version}, absurd at {place}"))?;
        }
    }
    let growth = memory_peak_kib(&tarn)? - before;
    ensure!(growth < GROWTH_KIB_MAX, "absurd counts took {growth} KiB");
    still_serves(&tarn)
}

#[test]
fn a_refused_batch_has_kafkas_own_code() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let mut kafka = Kafka::connect(&tarn.kafka())?;
    kafka.create_topic("orders", &[])?;
    kafka.create_topic("small", &[("max.message.bytes", "1000")])?;
    let good = batch(&[b"one", b"two"])?;
    ensure!(kafka.produce("orders", &good)? == 0);

    let changed = |place: usize, bytes: &[u8], sealed: bool| {
        let mut wrong = good.clone();
        wrong[place..place + bytes.len()].copy_from_slice(bytes);
        if sealed {
            seal(&mut wrong);
        }
        wrong
    };
    let large = batch(&[&vec![b'x'; 2 << 20]])?;
    let cases = [
        ("no batch", Vec::new(), ErrorCode::InvalidRecord),
        (
            "a wrong checksum",
            changed(17, &[1, 2, 3, 4], false),
            ErrorCode::CorruptMessage,
        ),
        (
            "a changed record",
            changed(good.len() - 2, b"?", false),
            ErrorCode::CorruptMessage,
        ),
        (
            "a cut batch",
            good[..good.len() - 3].to_vec(),
            ErrorCode::InvalidRecord,
        ),
        (
            "a cut header",
            good[..30].to_vec(),
            ErrorCode::InvalidRecord,
        ),
        (
            "two batches",
            [good.clone(), good.clone()].concat(),
            ErrorCode::InvalidRecord,
        ),
        (
            "an absurd length",
            changed(8, &i32::MAX.to_be_bytes(), true),
            ErrorCode::InvalidRecord,
        ),
        (
            "a negative length",
            changed(8, &(-9_i32).to_be_bytes(), true),
            ErrorCode::CorruptMessage,
        ),
        (
            "an old message",
            changed(16, &[1], true),
            ErrorCode::InvalidRecord,
        ),
        (
            "a message of the future",
            changed(16, &[3], true),
            ErrorCode::CorruptMessage,
        ),
        (
            "codec 7",
            changed(21, &[0, 7], true),
            ErrorCode::UnsupportedCompressionType,
        ),
        (
            "a control batch",
            changed(21, &[0, 32], true),
            ErrorCode::InvalidRecord,
        ),
        (
            "an absurd record count",
            changed(57, &i32::MAX.to_be_bytes(), true),
            ErrorCode::InvalidRecord,
        ),
        (
            "a negative record count",
            changed(57, &(-1_i32).to_be_bytes(), true),
            ErrorCode::InvalidRecord,
        ),
        ("an oversize record", large, ErrorCode::MessageTooLarge),
    ];
    for (what, wrong, expected) in cases {
        let answer = kafka.try_produce("orders", 0, &wrong).context(what)?;
        ensure!(
            answer.error_code == expected.code() && answer.base_offset == -1,
            "{what}: {answer:?}, not {expected:?}"
        );
    }
    let thousand = batch(&[&[b'x'; 1000]])?;
    let answer = kafka.try_produce("small", 0, &thousand)?;
    ensure!(
        answer.error_code == ErrorCode::MessageTooLarge.code(),
        "over the topic's max.message.bytes: {answer:?}"
    );
    for (what, topic, partition) in [
        ("an unknown topic", "nowhere", 0),
        ("an unknown partition", "orders", 1),
        ("a negative partition", "orders", -1),
    ] {
        let answer = kafka.try_produce(topic, partition, &good)?;
        ensure!(
            answer.error_code == ErrorCode::UnknownTopicOrPartition.code(),
            "{what}: {answer:?}"
        );
    }
    let acks = produce_request("orders", 0, &good).with_acks(7);
    let answer = kafka.ask(9, &acks)?;
    ensure!(
        answer.responses[0].partition_responses[0].error_code
            == ErrorCode::InvalidRequiredAcks.code(),
        "{answer:?}"
    );
    let named = |name: &str, partitions| kafka_create(&tarn, name, partitions);
    for (name, partitions, expected) in [
        ("a/b", 1, ErrorCode::InvalidTopic),
        ("..", 1, ErrorCode::InvalidTopic),
        ("orders", 1, ErrorCode::TopicAlreadyExists),
        ("none", 0, ErrorCode::InvalidPartitions),
        ("absurd", i32::MAX, ErrorCode::InvalidPartitions),
    ] {
        let (code, message) = named(name, partitions)?;
        ensure!(code == expected.code(), "{name}: {code} {message}");
    }
    let (code, message) = kafka.try_create_topic("wrong", 1, &[("retention.ms", "soon")])?;
    ensure!(
        code == ErrorCode::InvalidConfig.code() && message.contains("retention.ms"),
        "{code} {message}"
    );

    // The connection that said all this still works, and nothing of it was written.
    ensure!(kafka.produce("orders", &good)? == 2);
    let count = sql_value(&tarn.ready, "SELECT count(*) FROM events.orders")?;
    ensure!(count == 4, "{count}");
    still_serves(&tarn)
}

fn kafka_create(tarn: &Tarn, name: &str, partitions: i32) -> Result<(i16, String)> {
    Kafka::connect(&tarn.kafka())?.try_create_topic(name, partitions, &[])
}

/// Brokers look at the header of a batch only, and so do we: what the records are comes out later, and
/// must hurt nobody but themselves.
#[test]
fn a_batch_that_lies_about_its_records_hurts_no_other() -> Result<()> {
    let tarn = Tarn::start(&["--table-interval", "500ms"])?;
    let mut kafka = Kafka::connect(&tarn.kafka())?;
    kafka.create_topic("liars", &[])?;
    let before = memory_peak_kib(&tarn)?;
    let good = batch(&[b"honest"])?;
    let mut honest = 1;
    kafka.produce("liars", &good)?;
    let mut lies = Vec::new();
    for codec in 1..=4_u8 {
        let mut garbage = good.clone();
        garbage[22] = codec;
        seal(&mut garbage);
        lies.push(garbage);
    }
    // More records than there are, by a little.
    let mut missing = good.clone();
    missing[23..27].copy_from_slice(&9_i32.to_be_bytes());
    missing[57..61].copy_from_slice(&10_i32.to_be_bytes());
    seal(&mut missing);
    lies.push(missing);
    // More by two thousand million, and offsets to match.
    let mut absurd = good.clone();
    absurd[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
    absurd[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    seal(&mut absurd);
    lies.push(absurd);
    // A record that says that it is longer than the batch.
    let mut long = good.clone();
    long[BATCH_HEADER_BYTES] = 0x7e;
    seal(&mut long);
    lies.push(long);
    // A hundred million bytes in a few thousand.
    lies.push(compressed_batch(&[&vec![0; 100 << 20]], Compression::Zstd)?);
    for (number, lie) in lies.iter().enumerate() {
        let answer = kafka.try_produce("liars", 0, lie)?;
        let refused = [ErrorCode::InvalidRecord, ErrorCode::CorruptMessage];
        ensure!(
            answer.error_code == 0 || refused.iter().any(|code| code.code() == answer.error_code),
            "lie {number}: {answer:?}"
        );
        kafka.produce("liars", &good)?;
        honest += 1;
    }
    let rows = "SELECT count(*) FROM events.liars WHERE _value::text = 'honest'";
    let count = sql_value(&tarn.ready, rows)?;
    ensure!(count == honest, "{count} of {honest} before the table");
    eventually("the table with every honest record", || {
        let cold = "SELECT count(*) FROM events.\"liars$cold\" WHERE _value::text = 'honest'";
        Ok((sql_value(&tarn.ready, cold)? == honest).then_some(()))
    })?;
    let growth = memory_peak_kib(&tarn)? - before;
    ensure!(growth < 3 * GROWTH_KIB_MAX, "lies took {growth} KiB");
    still_serves(&tarn)
}

fn metadata(kafka: &mut Kafka, name: &str, create: bool) -> Result<i16> {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(create);
    let answer = kafka.ask(9, &request)?;
    Ok(answer.topics.first().context("an answer")?.error_code)
}

#[test]
fn an_unknown_topic_is_created_only_where_both_sides_say_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("settings.toml");
    std::fs::write(&settings, "[produce]\nauto_create_topics = false\n")?;
    let settings = settings.display().to_string();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();

    let closed = Tarn::start(&["--config", &settings])?;
    let mut kafka = Kafka::connect(&closed.kafka())?;
    for _ in 0..2 {
        ensure!(metadata(&mut kafka, "unknown", true)? == unknown);
        let answer = kafka.try_produce("unknown", 0, &batch(&[b"x"])?)?;
        ensure!(answer.error_code == unknown, "{answer:?}");
    }
    let topics = sql_value(&closed.ready, "SELECT count(*) FROM system.topics")?;
    ensure!(topics == 0, "{topics}");
    ensure!(sql(&closed.ready, "SELECT 1 FROM events.unknown")?.status == 404);
    still_serves(&closed)?;
    drop(closed);

    let open = Tarn::start(&[])?;
    let mut kafka = Kafka::connect(&open.kafka())?;
    ensure!(metadata(&mut kafka, "unknown", false)? == unknown);
    ensure!(metadata(&mut kafka, "a b", true)? == ErrorCode::InvalidTopic.code());
    ensure!(metadata(&mut kafka, "unknown", true)? == 0);
    ensure!(kafka.produce("unknown", &batch(&[b"x"])?)? == 0);
    let mut heartbeat = HeartbeatRequest::default();
    heartbeat.group_id = GroupId(text("nobody"));
    heartbeat.member_id = text("nobody-1");
    let answer = kafka.ask(4, &heartbeat)?;
    ensure!(
        answer.error_code == ErrorCode::UnknownMemberId.code(),
        "{answer:?}"
    );
    still_serves(&open)
}

/// A client that stops in the middle is cut off after a minute, holds nobody up until then, and does not
/// keep a process from ending.
#[test]
fn half_a_request_is_cut_off() -> Result<()> {
    let mut tarn = Tarn::start(&[])?;
    let mut half = Kafka::connect(&tarn.kafka())?;
    half.send(&[0, 0, 0, 50, 0, 18, 0, 0]);
    let mut many = Vec::new();
    for _ in 0..200 {
        let mut kafka = Kafka::connect(&tarn.kafka())?;
        kafka.send(&[0, 0]);
        many.push(kafka);
    }
    let mut slow_http = http_open(&tarn.http())?;
    slow_http.write_all(b"POST /v1/sql HTTP/1.0\r\nContent-Length: 100\r\n\r\n{\"query\"")?;
    still_serves(&tarn)?;
    let answer = http_answer(&mut slow_http)?;
    ensure!(answer.status == 408, "{answer:?}");
    half.wait_longer(Duration::from_secs(90))?;
    half.expect_closed()?;
    let stalled = metric(&tarn.ready, "tarn_kafka_connections_closed", "stalled")?;
    ensure!(stalled == 1.0, "{stalled}");
    still_serves(&tarn)?;
    let code = tarn.terminate()?;
    ensure!(code == Some(0), "{code:?}");
    super::no_panic(&tarn.log())
}
