//! The REST catalog as PyIceberg and DuckDB use it, both with a credential, on a process that keeps
//! nothing: tables before their first record and after it, and no file when the process is gone. What
//! their serializer wrote, `tarn consume` shows decoded.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tarn_system_tests::{Tarn, output, run};

#[test]
fn every_topic_is_a_table_for_other_engines_from_the_start() -> Result<()> {
    let mut tarn = Tarn::start(&["--ephemeral", "--table-interval", "300ms"])?;
    for what in ["empty", "rows"] {
        run(&mut tarn.client("tests/clients/catalog.py", &[what])?)?;
    }
    consumed(&tarn)?;
    let location = tarn.value(
        "SELECT metadata_location FROM system.tables WHERE metadata_location IS NOT NULL LIMIT 1",
    )?;
    let location = location.as_str().context("a URL")?;
    let file = PathBuf::from(
        location
            .strip_prefix("file://")
            .context(location.to_owned())?,
    );
    let folder = file
        .ancestors()
        .find(|folder| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("tarn-ephemeral-")
        })
        .with_context(|| format!("{location} is in no temporary folder"))?;
    ensure!(file.exists() && folder.exists(), "{location} is not there");
    ensure!(!tarn.data_dir().exists(), "it was told to keep nothing");
    let code = tarn.terminate()?;
    ensure!(code == Some(0), "exit code {code:?}:\n{}", tarn.log());
    ensure!(!folder.exists(), "{} is left over", folder.display());
    Ok(())
}

/// `catalog.py` wrote these: `id`, `what` and `at` of a reading.
fn consumed(tarn: &Tarn) -> Result<()> {
    let read = [
        "consume",
        "catalog-typed",
        "--offset",
        "start",
        "--exit-at-end",
    ];
    let decoded = run(&mut tarn.cli(&read))?;
    let mut rows: Vec<Value> = decoded
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| decoded.clone())?;
    rows.sort_by_key(|row| row["id"].as_i64());
    let expected: Vec<Value> = (0..5)
        .map(|n| {
            let what = (n != 2).then(|| format!("reading {n}"));
            let at = format!("2023-11-14T22:13:20.{n:06}Z");
            json!({ "id": n, "what": what, "at": at })
        })
        .collect();
    ensure!(rows == expected, "{decoded}");

    let raw = output(tarn.cli(&read).args(["--raw", "--format", "%v"]))?;
    let framed = raw
        .stdout
        .windows(5)
        .filter(|bytes| *bytes == [0, 0, 0, 0, 1]);
    ensure!(framed.count() == 5, "{:?}", raw.stdout);

    // No schema, no registry: bytes as they are, some of which look like the number of a schema.
    let bare = [
        "consume",
        "catalog-bare",
        "--offset",
        "start",
        "--exit-at-end",
    ];
    let bare =
        output(
            tarn.cli(&bare)
                .args(["--registry", "http://127.0.0.1:1", "--format", "[%v]"]),
        )?;
    ensure!(bare.status.success(), "{bare:?}");
    ensure!(bare.stdout == b"[one][][\0\xff]", "{bare:?}");
    Ok(())
}
