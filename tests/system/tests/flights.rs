//! The flights that left New York in 2013: one question, the same answer from hot rows, from the
//! table, from both, and from DuckDB and PyIceberg through the catalog, as from the source data. While
//! they arrive a reader counts, and never sees a gap or a double.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use tarn_system_tests::{Tarn, run};

const FLIGHTS: i64 = 336_776;

#[test]
fn one_question_has_one_answer_everywhere() -> Result<()> {
    let tarn = Tarn::start(&["--table-interval", "3s"])?;
    let produced = AtomicBool::new(false);
    let counts = thread::scope(|scope| -> Result<Vec<i64>> {
        let reader = scope.spawn(|| count_until(&tarn, &produced));
        let producing = tarn
            .client("deploy/examples/flights/flights.py", &["produce"])
            .and_then(|mut command| run(&mut command));
        produced.store(true, Ordering::SeqCst);
        producing?;
        reader.join().expect("the reader does not panic")
    })?;
    ensure!(
        counts.last() == Some(&FLIGHTS),
        "everything acknowledged is visible at once: {:?}",
        counts.last()
    );
    ensure!(counts.is_sorted(), "the count never falls: {counts:?}");
    run(&mut tarn.client("deploy/examples/flights/flights.py", &["check"])?)?;
    Ok(())
}

#[test]
fn hot_rows_alone_give_the_same_answer() -> Result<()> {
    // Too long for the table to get any.
    let tarn = Tarn::start(&["--table-interval", "1h"])?;
    for what in ["produce", "check-hot"] {
        run(&mut tarn.client("deploy/examples/flights/flights.py", &[what])?)?;
    }
    Ok(())
}

/// Counts rows and different places in one query, over and over, until all was produced and once more.
fn count_until(tarn: &Tarn, produced: &AtomicBool) -> Result<Vec<i64>> {
    let mut counts = Vec::new();
    loop {
        let last = produced.load(Ordering::SeqCst);
        let topics = tarn.value("SELECT count(*) FROM system.topics WHERE name = 'flights'")?;
        if topics != 0 {
            let answer = tarn.sql(
                "SELECT count(*), count(distinct (_topic_partition, _offset)) FROM events.flights",
            )?;
            let row = &answer["rows"][0];
            let (rows, places) = (
                row[0].as_i64().context("a count")?,
                row[1].as_i64().context("a count")?,
            );
            ensure!(
                rows == places,
                "{rows} rows at {places} places, cut {}",
                answer["cut"]
            );
            counts.push(rows);
        }
        if last {
            return Ok(counts);
        }
    }
}
