//! Values for a statement's parameters, as they come over HTTP.

use axum::http::StatusCode;
use expect_test::expect;

use super::Fixture;

#[tokio::test]
async fn values_for_parameters_come_as_json() {
    let fixture = Fixture::new().await;
    let mut said = String::new();
    for body in [
        r#"{"query": "SELECT $1, $2, $3, $4::int", "parameters": [null, true, "it's", 7]}"#,
        // No double holds these digits.
        r#"{"query": "SELECT $1, $2, $3", "parameters": [12345678901234567890.12, -9223372036854775808, 0.1]}"#,
        r#"{"query": "SELECT $1::timestamptz", "parameters": ["2026-11-22 10:00"], "time_zone": "Europe/Oslo"}"#,
        r#"{"query": "SELECT $1", "parameters": ["\u0000\ud83d\ude00\"\\'"]}"#,
        r#"{"query": "SELECT 1", "parameters": []}"#,
        r#"{"query": "SELECT 1", "parameters": null}"#,
        r#"{"query": "SELECT $1"}"#,
        r#"{"query": "SELECT $1", "parameters": [1, 2]}"#,
        r#"{"query": "SELECT $1", "parameters": {"$1": 1}}"#,
        r#"{"query": "SELECT $1, $2", "parameters": [1, [2]]}"#,
        r#"{"query": "SELECT $1", "parameters": [{"$serde_json::private::Number": "1"}]}"#,
        r#"{"query": "SELECT $1", "parameters": ["\ud800"]}"#,
        r#"{"query": "SELECT $1", "parameters": [NaN]}"#,
        r#"{"query": "SELECT $1", "parameters": [01]}"#,
        r#"{"query": "SELECT $1", "parameters": [-]}"#,
        r#"{"query": "SELECT\n $0", "parameters": []}"#,
    ] {
        let (status, _, answer) = fixture.sql(body).await;
        let answer = answer.split(",\"cut\":").next().unwrap_or_default();
        said += &format!("{body}\n    {} {answer}\n", status.as_u16());
    }
    expect![[r#"
        {"query": "SELECT $1, $2, $3, $4::int", "parameters": [null, true, "it's", 7]}
            200 {"columns":[{"name":"?column?","type":"varchar"},{"name":"?column?","type":"boolean"},{"name":"?column?","type":"varchar"},{"name":"int4","type":"int"}],"rows":[[null,true,"it's",7]]
        {"query": "SELECT $1, $2, $3", "parameters": [12345678901234567890.12, -9223372036854775808, 0.1]}
            200 {"columns":[{"name":"?column?","type":"decimal(22,2)"},{"name":"?column?","type":"bigint"},{"name":"?column?","type":"decimal(1,1)"}],"rows":[[12345678901234567890.12,-9223372036854775808,0.1]]
        {"query": "SELECT $1::timestamptz", "parameters": ["2026-11-22 10:00"], "time_zone": "Europe/Oslo"}
            200 {"columns":[{"name":"timestamptz","type":"timestamptz"}],"rows":[["2026-11-22T09:00:00.000000Z"]]
        {"query": "SELECT $1", "parameters": ["\u0000\ud83d\ude00\"\\'"]}
            200 {"columns":[{"name":"?column?","type":"varchar"}],"rows":[["\u0000😀\"\\'"]]
        {"query": "SELECT 1", "parameters": []}
            200 {"columns":[{"name":"?column?","type":"bigint"}],"rows":[[1]]
        {"query": "SELECT 1", "parameters": null}
            200 {"columns":[{"name":"?column?","type":"bigint"}],"rows":[[1]]
        {"query": "SELECT $1"}
            400 {"code":"TARN-1213","detail":"the statement has 1 parameter, and 0 values are given","hint":"send a value for each, as in {\"query\": \"SELECT $1::int + 1\", \"parameters\": [41]}","status":400,"title":"Wrong number of parameters","type":"urn:tarn:error:TARN-1213"}
        {"query": "SELECT $1", "parameters": [1, 2]}
            400 {"code":"TARN-1213","detail":"the statement has 1 parameter, and 2 values are given","hint":"send a value for each, as in {\"query\": \"SELECT $1::int + 1\", \"parameters\": [41]}","status":400,"title":"Wrong number of parameters","type":"urn:tarn:error:TARN-1213"}
        {"query": "SELECT $1", "parameters": {"$1": 1}}
            400 {"code":"TARN-1200","detail":"the body is not the JSON expected: invalid type: map, expected a sequence at line 1 column 37","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"query": "SELECT $1, $2", "parameters": [1, [2]]}
            400 {"code":"TARN-1200","detail":"parameter $2 is a list; null, true, false, a number or a text may stand there","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"query": "SELECT $1", "parameters": [{"$serde_json::private::Number": "1"}]}
            400 {"code":"TARN-1200","detail":"parameter $1 is an object; null, true, false, a number or a text may stand there","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"query": "SELECT $1", "parameters": ["\ud800"]}
            400 {"code":"TARN-1200","detail":"parameter $1 is no text: unexpected end of hex escape at line 1 column 8","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"query": "SELECT $1", "parameters": [NaN]}
            400 {"code":"TARN-1200","detail":"the body is not the JSON expected: expected value at line 1 column 39","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"query": "SELECT $1", "parameters": [01]}
            400 {"code":"TARN-1200","detail":"the body is not the JSON expected: invalid number at line 1 column 40","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"query": "SELECT $1", "parameters": [-]}
            400 {"code":"TARN-1200","detail":"the body is not the JSON expected: invalid number at line 1 column 40","hint":"send {\"query\": \"SELECT …\"} as JSON","status":400,"title":"Not a query request","type":"urn:tarn:error:TARN-1200"}
        {"query": "SELECT\n $0", "parameters": []}
            400 {"code":"TARN-1202","detail":"there is no parameter $0","position":{"column":2,"line":2},"status":400,"title":"Wrong SQL","type":"urn:tarn:error:TARN-1202"}
    "#]].assert_eq(&said);
    let invalid = b"{\"query\": \"SELECT $1\", \"parameters\": [\"\xff\"]}".to_vec();
    let (status, _, answer) = fixture.sql(invalid).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(answer.contains("TARN-1200"), "{answer}");
    fixture.node.drain().await;
}
