//! Origins, refusals, and the page that is made of the manuals.

use std::fmt::Write as _;

use expect_test::expect_file;

use super::*;

#[test]
fn flags_win_and_their_origin_is_told() {
    let mut flags = Flags::default();
    flags.set("--kafka-port", "kafka.port", Some(0_u16));
    let loaded = load(Profile::Dev, None, &flags).expect("valid");
    assert_eq!(loaded.settings.kafka.port, 0);
    let rows = loaded.with_origins();
    assert!(
        rows.contains(&("kafka.port".into(), "0".into(), "flag --kafka-port".into())),
        "{rows:?}"
    );
    assert!(
        rows.contains(&("http.port".into(), "8080".into(), "default".into())),
        "{rows:?}"
    );
}

#[test]
fn a_wrong_value_names_the_setting() {
    let mut flags = Flags::default();
    flags.set("--memory-budget", "memory.budget", Some("lots"));
    let error = load(Profile::Dev, None, &flags)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("memory.budget") && error.contains("lots"),
        "{error}"
    );
}

#[test]
fn clients_are_not_told_every_address() {
    let mut flags = Flags::default();
    flags.set(
        "--advertised-host",
        "kafka.advertised_host",
        Some("0.0.0.0"),
    );
    let error = load(Profile::Dev, None, &flags)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("kafka.advertised_host") && error.contains("--advertised-host"),
        "{error}"
    );
}

#[test]
fn an_unknown_name_is_an_error() {
    let folder = std::env::temp_dir().join(format!("tarn-settings-{}", std::process::id()));
    std::fs::write(&folder, "[kafka]\nprot = 1\n").expect("a writable folder");
    let error = load(Profile::Dev, Some(&folder), &Flags::default())
        .expect_err("refused")
        .to_string();
    std::fs::remove_file(&folder).expect("just written");
    assert!(error.contains("prot"), "{error}");
}

#[test]
fn a_section_says_what_it_has_and_a_value_is_none() {
    let file = std::env::temp_dir().join(format!("tarn-sections-{}", std::process::id()));
    for (toml, said) in [
        (
            "[replication.factor]\nstrikt = true\n",
            "replication.factor.strikt: there is no such setting, there is strict",
        ),
        (
            "[replication]\nstrict = true\n",
            "replication.strict: there is no such setting, there is factor",
        ),
        ("[sql.row_limit]\nmost = 1\n", "sql.row_limit"),
        ("sql = 5\n", "sql: invalid type"),
        ("data_dir = 5\n", "data_dir: invalid type"),
        (
            "[produce]\nlinger = \"1m\"\n",
            "produce.linger: 1m is more than 10s",
        ),
        (
            "[produce]\nuploads_max = 0\n",
            "produce.uploads_max: 0 does not lie between 1 and 256",
        ),
        (
            "[produce]\ndoor_wait = \"1s\"\n",
            "produce.door_wait: there is no such setting",
        ),
    ] {
        std::fs::write(&file, toml).expect("a writable folder");
        let error = load(Profile::Dev, Some(&file), &Flags::default()).expect_err(toml);
        assert!(error.to_string().contains(said), "{toml}: {error}");
    }
    std::fs::remove_file(&file).expect("just written");
}

#[test]
fn a_profile_stands_between_defaults_and_what_is_set() {
    let of = |profile, key: &str| {
        let loaded = load(profile, None, &Flags::default()).expect("valid");
        let rows = loaded.with_origins();
        let row = rows.into_iter().find(|(name, _, _)| name == key);
        let (_, value, origin) = row.expect("there");
        (value, origin)
    };
    assert_eq!(
        of(Profile::Dev, "table.interval"),
        ("10s".into(), "profile dev".into())
    );
    assert_eq!(
        of(Profile::Cluster, "table.interval"),
        ("1m".into(), "default".into())
    );
    assert_eq!(
        of(Profile::Dev, "produce.segment_bytes"),
        ("8MiB".into(), "default".into())
    );

    let dev = load(Profile::Dev, None, &Flags::default()).expect("valid");
    assert_eq!(dev.settings.writer, WriterSettings::local());
    let mut flags = Flags::default();
    flags.set("--table-interval", "table.interval", Some("7s"));
    let set = load(Profile::Dev, None, &flags).expect("valid");
    assert_eq!(set.settings.defaults().table.interval.as_secs(), 7);
}

/// `UPDATE_EXPECT=1 cargo test -p tarn` writes it anew.
#[test]
fn the_page_of_settings_is_made_of_the_manuals() {
    let mut page = "# Settings\n\n\
        Made of the doc comments of the structs of settings; `tarn explain sql.row_limit` prints the same of one.\n\n\
        Defaults, then what the profile of the command has in their place, then `--config FILE` (TOML), then \
        `TARN_SECTION__KEY` environment variables, then flags. `tarn config show --origin` prints every setting with \
        its value and where it comes from. Sizes and durations are written `8MiB`, `250ms`. An unknown name is an error.\n\n\
        | setting | default | `tarn dev` | what it does |\n| --- | --- | --- | --- |\n"
        .to_owned();
    let dev = load(Profile::Dev, None, &Flags::default()).expect("valid");
    let of_dev = dev.settings.rows();
    for ((key, default), (_, in_dev)) in Settings::default().rows().into_iter().zip(of_dev) {
        let manual = Settings::manual(&key).expect("every setting has its manual");
        let default = match &*key {
            "memory.budget" => "half of the machine's memory".to_owned(),
            _ if default.is_empty() => String::new(),
            _ => format!("`{default}`"),
        };
        let in_dev = match format!("`{in_dev}`") {
            same if same == default || default.is_empty() || key == "memory.budget" => {
                String::new()
            }
            other => other,
        };
        writeln!(page, "| `{key}` | {default} | {in_dev} | {manual} |")
            .expect("writing to a String cannot fail");
    }
    expect_file!["../../docs/SETTINGS.md"].assert_eq(&page);
}
