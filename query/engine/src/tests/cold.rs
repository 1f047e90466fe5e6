//! What a query does not have to read of table files.

use tarn_schema::frame_by_id;

use super::harness::{CLICKS, Fixture, numbered};

/// A town, a number and a float.
const PLACE: &str = r#"{"type": "record", "name": "Place", "fields": [
    {"name": "town", "type": "string"}, {"name": "n", "type": "int"}, {"name": "d", "type": "double"}
]}"#;
/// The same with a wider number.
const WIDER: &str = r#"{"type": "record", "name": "Place", "fields": [
    {"name": "town", "type": "string"}, {"name": "n", "type": "long"}, {"name": "d", "type": "double"}
]}"#;

fn place(town: &str, n: u8, d: f64) -> Vec<u8> {
    let length = u8::try_from(town.len()).expect("short");
    [&[length * 2], town.as_bytes(), &[n * 2], &d.to_le_bytes()].concat()
}

impl Fixture {
    /// Requests that read objects, so far.
    fn reads(&self) -> u64 {
        let metrics = self.node.runtime.metrics().encode();
        let reads = ["get", "get_ranges", "head"].map(|op| {
            let start = format!("tarn_object_store_requests_total{{op=\"{op}\",");
            let lines = metrics.lines().filter(|line| line.starts_with(&start));
            lines
                .map(|line| line.rsplit_once(' ').expect("a value").1)
                .map(|value| value.parse::<u64>().expect("a count"))
                .sum::<u64>()
        });
        reads.into_iter().sum()
    }

    /// The one number that a query answers with, and the requests that it makes.
    async fn number_and_reads(&self, sql: &str) -> (u64, u64) {
        let before = self.reads();
        let number = self.numbers(sql).await[0];
        (number, self.reads() - before)
    }
}

#[tokio::test]
async fn a_query_that_is_asked_again_reads_nothing() {
    let fixture = Fixture::new().await;
    for name in ["a", "b", "c"] {
        fixture.produce(CLICKS, 0, &numbered(name, 500)).await;
        fixture.materialize(CLICKS).await;
    }
    let sql = "SELECT count(*) FROM clicks WHERE json(_value) LIKE '%9'";
    // A small file is one request: its footer, its index of pages and its columns.
    assert_eq!(fixture.number_and_reads(sql).await, (150, 3));
    assert_eq!(fixture.number_and_reads(sql).await, (150, 0));
    let other = "SELECT sum(_offset) FROM clicks WHERE _timestamp > '2000-01-01T00:00:00Z'";
    assert_eq!(fixture.number_and_reads(other).await, (1_124_250, 0));
}

#[tokio::test]
async fn files_are_left_out_by_floats_by_wider_numbers_and_by_the_beginning_of_a_text() {
    let fixture = Fixture::new().await;
    let one = fixture.register("clicks", 1, PLACE).await;
    for (town, n, d) in [("Oslo", 1, -0.5), ("Bergen", 2, 7.5), ("Odda", 3, f64::NAN)] {
        let record = frame_by_id(one, &place(town, n, d));
        fixture.produce_bytes(CLICKS, 0, &[record]).await;
        fixture.materialize(CLICKS).await;
    }
    let two = fixture.register("clicks", 2, WIDER).await;
    let record = frame_by_id(two, &place("Rome", 4, 100.0));
    fixture.produce_bytes(CLICKS, 0, &[record]).await;
    fixture.materialize(CLICKS).await;
    // Each file is read once, that of NaN alone as soon as floats are compared: it has no bounds. The
    // answers are PostgreSQL's, to which NaN is the greatest number.
    for (filter, rows, read) in [
        ("n = 2", 1, 1),
        ("n = 4", 1, 1),
        ("n = 4294967298", 0, 0),
        ("town LIKE 'Os%o'", 1, 1),
        ("d BETWEEN -0.25 AND 7", 0, 1),
        ("d < 0", 1, 0),
        ("d > 1000", 1, 0),
        ("d = 'NaN'", 1, 0),
        ("town LIKE 'O_d%'", 1, 0),
        ("n > 0", 4, 0),
    ] {
        let sql = format!("SELECT count(*) FROM clicks WHERE {filter}");
        assert_eq!(
            fixture.number_and_reads(&sql).await,
            (rows, read),
            "{filter}"
        );
    }
}
