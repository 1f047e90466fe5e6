//! The house keeps its walls: which crate may stand on which, what is banned where, that crash steps
//! are named once, that the walk of one record names each of them and nothing that is not there, and
//! that every dependency's license is one we can ship.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use serde_json::Value;
use tarn_model::codes::CODES;
use tarn_state::topic_configs::TOPIC_CONFIGS;

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

/// A part of the architecture page.
fn part(heading: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md"))
        .expect("the architecture page");
    let (_, part) = page
        .split_once(&format!("\n## {heading}\n"))
        .expect("the page has the part");
    let (part, _) = part.split_once("\n## ").expect("the page goes on after it");
    part.to_owned()
}

/// The part that walks through the code.
fn walk() -> String {
    part("The walk of one record")
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
fn files_that_the_architecture_page_names_exist() {
    let (root, named) = (root(), walk() + &part("Where does a new … go"));
    let paths = in_code_type(&named).filter(|name| name.ends_with(".rs") && name.contains('/'));
    for path in paths {
        // It begins at the root, or at a crate in any wing.
        let exists = WINGS
            .iter()
            .chain(&[""])
            .any(|folder| root.join(folder).join(path).is_file());
        assert!(exists, "docs/ARCHITECTURE.md names {path}");
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

/// Is the file one that only tests are made of?
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| {
        [
            "tests",
            "tests.rs",
            "testing.rs",
            "harness.rs",
            "properties.rs",
        ]
        .contains(&&*part.to_string_lossy())
    })
}

/// The literals of code that ships, as they are written: without comments, and without what is compiled
/// for tests only.
fn literals(code: TokenStream, found: &mut Vec<String>) {
    let mut tokens = code.into_iter().peekable();
    let mut for_tests = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                // `#![…]` is an attribute, too.
                tokens.next_if(
                    |next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'),
                );
                let Some(TokenTree::Group(attribute)) =
                    tokens.next_if(|next| matches!(next, TokenTree::Group(_)))
                else {
                    continue;
                };
                let text = attribute.stream().to_string().replace(' ', "");
                match text.as_str() {
                    "cfg(test)" => for_tests = true,
                    doc if doc.starts_with("doc=") => {}
                    _ => literals(attribute.stream(), found),
                }
            }
            TokenTree::Group(group) if for_tests => {
                for_tests = group.delimiter() != Delimiter::Brace
            }
            TokenTree::Group(group) => literals(group.stream(), found),
            TokenTree::Punct(punct) if punct.as_char() == ';' => for_tests = false,
            TokenTree::Literal(literal) if !for_tests => found.push(literal.to_string()),
            TokenTree::Literal(_) | TokenTree::Punct(_) | TokenTree::Ident(_) => {}
        }
    }
}

/// Does a text name it, as a word between others?
fn names(text: &str, name: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.match_indices(name).any(|(at, _)| {
        let (before, rest) = text.split_at(at);
        let (_, after) = rest.split_at(name.len());
        !before.ends_with(in_word) && !after.starts_with(in_word)
    })
}

/// Names that may be spelled in a second file, and why.
const SPELLED_AGAIN: &[(&str, &str, &str)] = &[];

#[test]
fn error_codes_and_topic_configs_are_spelled_in_one_file() {
    let spelled: Vec<&str> = CODES
        .iter()
        .map(|code| code.code)
        .chain(TOPIC_CONFIGS.iter().map(|config| config.name))
        .collect();
    let mut homes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let root = root();
    for path in shipped_sources().into_iter().filter(|path| !is_test(path)) {
        let code = std::fs::read_to_string(&path).expect("a source file");
        let mut found = Vec::new();
        literals(code.parse().expect("it compiles"), &mut found);
        let file = path
            .strip_prefix(&root)
            .expect("below the root")
            .display()
            .to_string();
        for text in found.iter().filter(|text| text.contains('"')) {
            for name in spelled.iter().filter(|name| names(text, name)) {
                homes.entry(name).or_default().insert(file.clone());
            }
            // One that is in no list means nothing.
            for (at, _) in text.match_indices("TARN-") {
                let (_, rest) = text.split_at(at + 5);
                let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
                assert!(
                    number.len() != 4 || CODES.iter().any(|code| code.code.ends_with(&number)),
                    "{file} says TARN-{number}, which the list does not have"
                );
            }
        }
    }
    for (name, file, _) in SPELLED_AGAIN {
        assert!(
            spelled.contains(name),
            "{name}, in {file}, is in no list any more: strike it"
        );
    }
    for name in spelled {
        let homes = homes
            .get(name)
            .unwrap_or_else(|| panic!("{name} is spelled nowhere"));
        let again: Vec<&str> = SPELLED_AGAIN
            .iter()
            .filter(|(other, _, _)| *other == name)
            .map(|(_, file, _)| *file)
            .collect();
        for file in &again {
            assert!(
                homes.contains(*file),
                "{file} does not spell {name} any more: strike it from the list"
            );
        }
        assert_eq!(
            homes.len(),
            1 + again.len(),
            "{name} is spelled in {homes:?}"
        );
    }
}

#[test]
fn literals_are_found_where_they_are_shipped() {
    let code = r###"
        //! "in a comment"
        /// "in a doc comment"
        #[error("in an attribute")]
        struct Failed;
        #[cfg(test)]
        use a::{b, "not here"};
        #[cfg(test)]
        mod tests { const NOT_HERE: &str = "not here"; }
        const HERE: [&str; 2] = [r#"raw"#, "plain"];
    "###;
    let mut found = Vec::new();
    literals(code.parse().expect("it reads as code"), &mut found);
    assert_eq!(
        found,
        ["\"in an attribute\"", "2", "r#\"raw\"#", "\"plain\""]
    );
    assert!(names("set retention.ms to", "retention.ms"));
    assert!(!names("log.retention.ms", "retention.ms") && !names("retention.msx", "retention.ms"));
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
