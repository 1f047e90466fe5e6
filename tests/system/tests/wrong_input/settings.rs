//! Wrong settings and folders: `tarn dev` says what is wrong, by name and origin, and ends with 2.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use tarn_system_tests::{output, tarn_binary};
use tempfile::TempDir;

/// Starts `tarn dev`, which must refuse with exit code 2 and say all of `words`.
fn refused(
    folder: &TempDir,
    arguments: &[&str],
    environment: &[(&str, &str)],
    words: &[&str],
) -> Result<()> {
    let mut command = Command::new(tarn_binary());
    command
        .arg("dev")
        .args([
            "--kafka-port",
            "0",
            "--registry-port",
            "0",
            "--http-port",
            "0",
        ])
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder.path());
    check(&mut command, words)
}

fn check(command: &mut Command, words: &[&str]) -> Result<()> {
    let output = output(command)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(2),
        "{command:?} ended with {}:\n{said}",
        output.status
    );
    super::no_panic(&said)?;
    for word in words {
        ensure!(
            said.contains(word),
            "{command:?} does not say {word:?}:\n{said}"
        );
    }
    Ok(())
}

#[test]
fn a_wrong_settings_file_is_refused_by_name() -> Result<()> {
    let folder = TempDir::new()?;
    for (toml, words) in [
        (
            "[postgres]\nport = \"many\"\n",
            ["postgres.port", "many", "wrong.toml"].as_slice(),
        ),
        (
            "[postgres]\nport = 70000\n",
            &["postgres.port", "70000", "wrong.toml"],
        ),
        ("[kafka]\nprot = 1\n", &["kafka.prot", "port", "wrong.toml"]),
        (
            "[memroy]\nbudget = \"1GiB\"\n",
            &["memroy", "memory", "wrong.toml"],
        ),
        (
            "[sql]\ntime_limit = \"5 bananas\"\n",
            &["sql.time_limit", "5 bananas", "wrong.toml"],
        ),
        (
            "[sql]\nrow_limit = -1\n",
            &["sql.row_limit", "-1", "wrong.toml"],
        ),
        (
            "[memory]\nbudget = \"1MiB\"\n",
            &["memory.budget", "1MiB", "64MiB", "wrong.toml"],
        ),
        (
            "[logging]\nformat = \"xml\"\n",
            &["logging.format", "xml", "human", "json", "wrong.toml"],
        ),
        (
            "this is not TOML\n",
            &["settings file", "wrong.toml", "line 1"],
        ),
    ] {
        fs::write(folder.path().join("wrong.toml"), toml)?;
        refused(&folder, &["--config", "wrong.toml"], &[], words)?;
    }
    let missing = ["settings file", "missing.toml", "No such file"];
    refused(&folder, &["--config", "missing.toml"], &[], &missing)?;
    let is_folder = ["settings file", "Is a directory"];
    refused(&folder, &["--config", "."], &[], &is_folder)?;
    ensure!(
        !folder.path().join("tarn-data").exists(),
        "the data folder was made before the settings were read"
    );
    Ok(())
}

#[test]
fn a_wrong_variable_or_flag_is_refused_by_name() -> Result<()> {
    let folder = TempDir::new()?;
    for (name, value, words) in [
        (
            "TARN_SQL__ROW_LIMIT",
            "-3",
            ["sql.row_limit", "-3", "TARN_SQL__ROW_LIMIT"].as_slice(),
        ),
        ("TARN_KAFKA__PROT", "1", &["kafka.prot", "TARN_KAFKA__PROT"]),
        ("TARN_NOSUCH__THING", "1", &["nosuch", "TARN_NOSUCH__THING"]),
        (
            "TARN_TABLE__INTERVAL",
            "1ms",
            &["table.interval", "100ms", "TARN_TABLE__INTERVAL"],
        ),
    ] {
        refused(&folder, &[], &[(name, value)], words)?;
    }
    for (flag, value, words) in [
        (
            "--memory-budget",
            "lots",
            ["memory.budget", "lots", "--memory-budget"].as_slice(),
        ),
        (
            "--memory-budget",
            "1KiB",
            &["memory.budget", "64MiB", "--memory-budget"],
        ),
        (
            "--table-interval",
            "1parsec",
            &["table.interval", "1parsec", "--table-interval"],
        ),
        (
            "--log-format",
            "xml",
            &["logging.format", "xml", "human", "json", "--log-format"],
        ),
        (
            "--log-level",
            "a=b=c",
            &["logging.level", "a=b=c", "--log-level"],
        ),
        ("--pg-port", "99999", &["--pg-port", "99999"]),
        ("--kafka-prot", "1", &["--kafka-prot", "--kafka-port"]),
    ] {
        refused(&folder, &[flag, value], &[], words)?;
    }
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_by_name() -> Result<()> {
    let folder = TempDir::new()?;
    fs::write(folder.path().join("file"), "not a folder")?;
    for (path, why) in [
        ("file", "File exists"),
        ("file/below", "Not a directory"),
        // Nobody makes folders there, root neither.
        ("/proc/tarn", ""),
    ] {
        refused(
            &folder,
            &["--data-dir", path],
            &[],
            &[path, why, "--data-dir"],
        )?;
    }
    let nowhere = ["--data-dir", "data", "--ready-file", "nowhere/ready.json"];
    refused(
        &folder,
        &nowhere,
        &[],
        &["--ready-file", "nowhere/ready.json"],
    )
}

/// Read-only and full file systems, in a mount namespace of their own.
#[test]
fn a_file_system_that_takes_nothing_is_refused_by_name() -> Result<()> {
    let folder = TempDir::new()?;
    for (mount, why) in [
        ("mount -t tmpfs -o ro,size=1m none disk", "Read-only"),
        (
            "mount -t tmpfs -o size=64k none disk && ! dd if=/dev/zero of=disk/ballast 2>ballast.log",
            "No space left",
        ),
    ] {
        let mut command = super::disk::namespace()?;
        command
            .arg("sh")
            .arg("-c")
            .arg(format!(
                "mkdir -p disk && {mount} && exec \"$0\" dev --data-dir disk/data \
                 --kafka-port 0 --registry-port 0 --http-port 0"
            ))
            .arg(tarn_binary())
            .current_dir(folder.path());
        check(&mut command, &["disk/data", why, "--data-dir"])?;
    }
    Ok(())
}
