//! The requests of a real console, byte by byte, page after page, as it sent them to Apache Kafka: each
//! gets an answer with the error codes that Kafka gave.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::messages::*;
use tarn_kafka::{ApiKey, decode_response};

use super::super::harness::{Client, agent, batch_of};
use super::commit;
use tarn_kafka::Compression;

const RECORDED: &str = include_str!("redpanda-console.tsv");

/// Where our codes are others: without an authorizer there are no ACLs to list, and consoles go on.
const OTHERS: [(ApiKey, &str); 1] = [(ApiKey::DescribeAcls, "54")];

macro_rules! shown {
    ($api:ident, $version:ident, $frame:ident: $($name:ident $request:ident,)*) => {
        match $api {
            $(ApiKey::$name => decode_response::<$request>($version, $frame).map(|body| format!("{body:?}")),)*
            other => panic!("{other} is not in the record"),
        }
    };
}

/// The error codes anywhere in an answer.
fn codes(api: ApiKey, version: i16, frame: Bytes) -> BTreeSet<String> {
    let shown = shown!(api, version, frame:
        Metadata MetadataRequest, DescribeAcls DescribeAclsRequest, ApiVersions ApiVersionsRequest,
        DescribeConfigs DescribeConfigsRequest, DescribeLogDirs DescribeLogDirsRequest,
        ListOffsets ListOffsetsRequest, CreateTopics CreateTopicsRequest, ListGroups ListGroupsRequest,
        FindCoordinator FindCoordinatorRequest, OffsetFetch OffsetFetchRequest,
        IncrementalAlterConfigs IncrementalAlterConfigsRequest, InitProducerId InitProducerIdRequest,
        Produce ProduceRequest, DeleteRecords DeleteRecordsRequest,
        DescribeClientQuotas DescribeClientQuotasRequest, DescribeGroups DescribeGroupsRequest,
        OffsetCommit OffsetCommitRequest, OffsetDelete OffsetDeleteRequest,
        DeleteGroups DeleteGroupsRequest,
        ListPartitionReassignments ListPartitionReassignmentsRequest, DeleteTopics DeleteTopicsRequest,
    );
    let shown = shown.expect("an answer in its version");
    let parts = shown.split("error_code: ").skip(1);
    let code = |part: &str| part.split([',', ' ']).next().unwrap_or_default().to_owned();
    parts.map(code).filter(|code| code != "0").collect()
}

fn bytes(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("digits")
    };
    digits.map(byte).collect()
}

async fn ask(client: &mut Client, request: &Bytes) -> Bytes {
    let length = u32::try_from(request.len()).expect("it is short");
    client.send_bytes(&length.to_be_bytes()).await;
    client.send_bytes(request).await;
    let answer = client.receive_frame().await.expect("an answer");
    assert_eq!(
        answer.get(..4),
        request.get(4..8),
        "it answers this request"
    );
    answer
}

#[tokio::test]
async fn redpanda_console_gets_what_it_gets_from_kafka() {
    let agent = agent().await;
    let mut client = agent.with_topic("orders", 3).await;
    let records = batch_of(Compression::None, None, &["v"; 10]);
    assert_eq!(client.produce("orders", 0, records).await.error_code, 0);
    // Where Kafka keeps its groups: the console has seen it there, and asks about it.
    client.create("__consumer_offsets", 50, &[]).await;
    commit(&mut client, "readers", 5).await;
    commit(&mut client, "left", 3).await;
    let mut asked = 0;
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [page, name, version, request, expected] = cells.as_slice() else {
            panic!("a line has five cells: {line}");
        };
        let api = ApiKey::ALL.iter().find(|api| api.name() == *name);
        let api = *api.expect("it is served");
        let version = version.parse().expect("a version");
        assert!(api.accepts(version), "{page}: {name} v{version}");
        let got = codes(api, version, ask(&mut client, &bytes(request)).await);
        let other = OTHERS.iter().find(|(of, _)| *of == api);
        let want = match (other, *expected) {
            (Some((_, code)), _) => BTreeSet::from([(*code).to_owned()]),
            (None, "-") => BTreeSet::new(),
            (None, answer) => codes(api, version, bytes(answer)),
        };
        assert_eq!(got, want, "{page}: {name} v{version}");
        asked += 1;
    }
    assert!(asked > 50, "{asked}");
}
