//! Every column type with its odd values, in files with bounds: Tarn, DuckDB, PyIceberg and Spark find
//! the same rows by every filter, and those are the right ones.

use std::process::Command;

use anyhow::{Context, Result};
use tarn_system_tests::{Tarn, root, run};

fn matrix() -> Result<Tarn> {
    let tarn = Tarn::start(&["--table-interval", "10s"])?;
    run(&mut tarn.client("tests/clients/matrix.py", &["produce"])?)?;
    Ok(tarn)
}

/// `make spark` asks for every comparison with every value.
fn is_whole() -> bool {
    std::env::var_os("TARN_WHOLE_MATRIX").is_some()
}

fn arguments<'a>(engines: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["check"];
    arguments.extend(engines);
    if is_whole() {
        arguments.push("--whole");
    }
    arguments
}

#[test]
fn filters_find_the_same_rows_in_every_engine() -> Result<()> {
    let tarn = matrix()?;
    let engines = arguments(&["tarn", "duckdb", "pyiceberg"]);
    run(&mut tarn.client("tests/clients/matrix.py", &engines)?)?;
    Ok(())
}

#[test]
fn spark_reads_a_table_of_all_types() -> Result<()> {
    let tarn = matrix()?;
    let installed = run(&mut Command::new(root().join("scripts/spark-env")))?;
    let (python, jar) = installed
        .trim()
        .split_once('\n')
        .context("two lines: a Python and a jar")?;
    // Spark takes its time: a process for each part of the columns.
    let slices: &[&str] = match is_whole() {
        true => &["0/4", "1/4", "2/4", "3/4"],
        false => &["0/1"],
    };
    for slice in slices {
        let mut spark = Command::new(python);
        spark
            .arg(root().join("tests/clients/matrix.py"))
            .args(arguments(&["spark"]))
            .args(["--slice", slice])
            .args(["--spark-jar", jar, "--ready"])
            .arg(tarn.ready_file());
        run(&mut spark)?;
    }
    Ok(())
}
