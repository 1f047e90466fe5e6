//! The house keeps its walls: which crate may stand on which, what is banned where, that crash steps
//! are named once, that the walk of one record names each of them and nothing that is not there, and
//! that every dependency's license is one we can ship.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("tests/sim lies two folders below the root")
        .to_owned()
}

fn metadata() -> Value {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Package id → (name, folder below the root if it is ours).
fn packages(metadata: &Value) -> BTreeMap<String, (String, Option<String>)> {
    let root = root().canonicalize().expect("the root exists");
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let manifest = Path::new(text(&package["manifest_path"]));
            let ours = package["source"].is_null();
            let folder = manifest
                .parent()
                .and_then(|folder| folder.strip_prefix(&root).ok());
            let folder = folder
                .filter(|_| ours)
                .map(|folder| folder.display().to_string());
            (
                text(&package["id"]).to_owned(),
                (text(&package["name"]).to_owned(), folder),
            )
        })
        .collect()
}

/// Package id → ids it is built with, without those that only tests use.
fn dependencies(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let normal = |dependency: &&Value| {
                list(&dependency["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            };
            let deps = list(&node["deps"])
                .iter()
                .filter(normal)
                .map(|dependency| text(&dependency["pkg"]).to_owned());
            (text(&node["id"]).to_owned(), deps.collect())
        })
        .collect()
}

const WINGS: [&str; 4] = ["metastore", "agents", "compactor", "query"];

fn wing(folder: &str) -> Option<usize> {
    WINGS
        .iter()
        .position(|wing| folder.starts_with(&format!("{wing}/")))
}

#[test]
fn no_arrow_runs_up_the_storeys() {
    let metadata = metadata();
    let (packages, dependencies) = (packages(&metadata), dependencies(&metadata));
    for (id, (name, folder)) in &packages {
        let Some(storey) = folder.as_deref().and_then(wing) else {
            continue;
        };
        for dependency in &dependencies[id] {
            let (other, other_folder) = &packages[dependency];
            let Some(other_folder) = other_folder else {
                continue;
            };
            let other_storey = wing(other_folder);
            assert!(
                other_storey.is_some_and(|other_storey| other_storey <= storey),
                "{name} ({}) must not stand on {other} ({other_folder})",
                folder.as_deref().unwrap_or_default()
            );
        }
    }
}

/// Everything that a package of ours is built with, however far away.
fn closure(of: &str, dependencies: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![of.to_owned()];
    while let Some(id) = open.pop() {
        if seen.insert(id.clone()) {
            open.extend(dependencies.get(&id).into_iter().flatten().cloned());
        }
    }
    seen
}

#[test]
fn heavy_libraries_stay_where_they_belong() {
    let metadata = metadata();
    let (packages, dependencies) = (packages(&metadata), dependencies(&metadata));
    for (id, (name, folder)) in &packages {
        let Some(folder) = folder else { continue };
        let mut banned = Vec::new();
        if folder.starts_with("metastore/") || folder.starts_with("agents/") {
            banned.extend(["arrow", "arrow-array", "parquet", "iceberg", "datafusion"]);
        }
        if wing(folder).is_some() && !["query/engine", "query/server"].contains(&folder.as_str()) {
            banned.push("datafusion");
        }
        if [
            "metastore/model",
            "metastore/state",
            "agents/kafka",
            "agents/schema",
        ]
        .contains(&folder.as_str())
        {
            banned.extend(["tokio", "object_store", "turmoil", "axum"]);
        }
        for reached in closure(id, &dependencies) {
            let reached = &packages[&reached].0;
            assert!(
                !banned.contains(&reached.as_str()),
                "{name} must not be built with {reached}"
            );
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn shipped_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in WINGS.iter().chain(&["src"]) {
        sources(&root().join(folder), &mut found);
    }
    found
}

#[test]
fn a_segment_is_bytes_and_knows_no_io() {
    let mut found = Vec::new();
    sources(&root().join("agents/topics/src/segment"), &mut found);
    for path in found {
        let code = std::fs::read_to_string(&path).expect("a source file");
        for banned in [
            "tokio::",
            "tarn_store",
            "tarn_runtime",
            "std::fs",
            "std::net",
        ] {
            assert!(!code.contains(banned), "{} names {banned}", path.display());
        }
    }
}

/// The part of the architecture page that walks through the code.
fn walk() -> String {
    let page = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md"))
        .expect("the architecture page");
    let (_, walk) = page
        .split_once("\n## The walk of one record\n")
        .expect("the page has the walk");
    let (walk, _) = walk
        .split_once("\n## ")
        .expect("the page goes on after the walk");
    walk.to_owned()
}

/// What stands in code type.
fn in_code_type(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Does it read like `produce.uploaded`?
fn reads_like_a_step(name: &str) -> bool {
    let is_word = |part: &str| {
        part.chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '-')
    };
    !name.ends_with(".rs")
        && name
            .split_once('.')
            .is_some_and(|(area, step)| is_word(area) && is_word(step))
}

#[test]
fn files_that_the_walk_names_exist() {
    let (root, walk) = (root(), walk());
    for path in in_code_type(&walk).filter(|name| name.ends_with(".rs")) {
        // It begins at the root, or at a crate in any wing.
        let exists = WINGS
            .iter()
            .chain(&[""])
            .any(|folder| root.join(folder).join(path).is_file());
        assert!(exists, "docs/ARCHITECTURE.md walks through {path}");
    }
}

#[test]
fn crash_steps_are_named_once_and_in_the_walk() {
    let mut steps: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in shipped_sources() {
        let code = std::fs::read_to_string(&path).expect("a source file");
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            let Some((_, rest)) = line.split_once("step!(") else {
                continue;
            };
            let Some(name) = rest.split('"').nth(1) else {
                continue;
            };
            let before = steps.insert(name.to_owned(), path.clone());
            assert!(
                before.is_none(),
                "step {name} is named in {} and in {before:?}",
                path.display()
            );
        }
    }
    let named: BTreeSet<&str> = steps.keys().map(String::as_str).collect();
    let planned: BTreeSet<&str> = tarn_sim::Plan::STEPS.iter().copied().collect();
    assert_eq!(
        named, planned,
        "the simulator crashes at every step there is"
    );
    let walk = walk();
    let walked: BTreeSet<&str> = in_code_type(&walk)
        .filter(|name| reads_like_a_step(name))
        .collect();
    assert_eq!(
        named, walked,
        "docs/ARCHITECTURE.md walks through every step there is"
    );
}

/// `TARN-1203`, wherever it stands in a text.
fn error_codes(text: &str) -> BTreeSet<String> {
    let numbers = text.split("TARN-").skip(1);
    numbers
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect())
        .filter(|digits: &String| digits.len() == 4)
        .collect()
}

#[test]
fn an_error_code_means_one_thing_and_stands_in_the_one_list() {
    let mut homes: BTreeMap<String, PathBuf> = BTreeMap::new();
    let is_test = |path: &Path| {
        path.iter()
            .any(|part| part == "tests" || part == "tests.rs")
    };
    for path in shipped_sources().into_iter().filter(|path| !is_test(path)) {
        let code = std::fs::read_to_string(&path).expect("a source file");
        for number in error_codes(&code) {
            let before = homes.insert(number.clone(), path.clone());
            assert!(
                before.is_none(),
                "TARN-{number} is given out by {} and by {before:?}",
                path.display()
            );
        }
    }
    let page = std::fs::read_to_string(root().join("docs/OPERATING.md")).expect("the page");
    let (_, list) = page.split_once("\n## Error codes\n").expect("the list");
    let list = list.split_once("\n## ").map_or(list, |(list, _)| list);
    assert_eq!(
        homes.into_keys().collect::<BTreeSet<_>>(),
        error_codes(list),
        "docs/OPERATING.md lists every code there is"
    );
}

/// What `license` may say, joined by OR, AND and /.
const LICENSES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BlueOak-1.0.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "MPL-2.0+",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

#[test]
fn licenses_are_ones_that_we_can_ship() {
    let metadata = metadata();
    for package in list(&metadata["packages"]) {
        let license = text(&package["license"]);
        // One alternative of an OR is enough; all parts of an AND are needed.
        let fine = license
            .replace('/', " OR ")
            .split(" OR ")
            .any(|alternative| {
                alternative
                    .split(" AND ")
                    .all(|part| LICENSES.contains(&part.trim().trim_matches(['(', ')']).trim()))
            });
        let has_file = !package["license_file"].is_null();
        assert!(
            fine || (license.is_empty() && has_file),
            "{} is under {license:?}",
            text(&package["name"])
        );
    }
}
