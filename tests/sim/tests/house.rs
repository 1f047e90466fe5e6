//! The house stays airy: no file, function, folder, crate or error outgrows what one can take in, and the
//! files of a crate do not name each other in circles.
//!
//! What breaks a rule today stands in [`EXCEPTIONS`] with its reason. Holds: the list can only shrink, since an
//! exception that is no longer needed fails like a rule that is broken.
//! Leaves to others: which crate may stand on which (`tidy.rs`), and everything that clippy finds.
//!
//! Tests are left out, and so are the suites that are shipped beside what they test: they tell stories, and
//! a story is as long as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 100;
const FOLDER_FILES_MAX: usize = 20;
const CRATE_LINES_MAX: usize = 8_000;
const ERROR_VARIANTS_MAX: usize = 16;
/// A file of so many lines …
const LONG_FILE_LINES: usize = 200;
/// … says in so many what it is for.
const HEAD_LINES_MIN: usize = 3;
/// Files that spell most of Kafka's APIs, one by one.
const API_LISTS_MAX: usize = 3;

/// Rule, place, and why it is so today.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "circle",
        "metastore/state: advice",
        "the state is the sum of its areas, and each area changes all of it",
    ),
    (
        "circle",
        "query/engine: semantics/aggregates",
        "rules that call each other per expression",
    ),
    (
        "crate",
        "metastore/state",
        "all areas together; the checks of invariants, which only tests and simulations run, could leave it",
    ),
    (
        "crate",
        "query/engine",
        "functions and semantics could leave as crates of their own",
    ),
    (
        "folder",
        "agents/agent/src/api",
        "a file for each Kafka API",
    ),
    ("folder", "query/engine/src", "falls with the crate"),
    (
        "function",
        "query/engine/src/semantics/operands.rs: matched",
        "a table of pairs of types",
    ),
    (
        "function",
        "query/server/src/sql/json.rs: value_writer",
        "a table of Arrow's types",
    ),
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("tests/sim lies two folders below the root")
        .to_owned()
}

/// A source file: its crate's folder, its place in the crate as modules are named, and its code.
struct Source {
    path: String,
    krate: String,
    /// Empty for `lib.rs` and `main.rs`.
    module: Vec<String>,
    code: String,
}

impl Source {
    /// The code without its tests.
    fn shipped(&self) -> &str {
        let tests = self.code.find("#[cfg(test)]\nmod tests {");
        self.code
            .get(..tests.unwrap_or(self.code.len()))
            .unwrap_or(&self.code)
    }
}

/// Files that are tests, or suites and harnesses for them.
const TESTS: [&str; 5] = ["tests", "contract", "properties", "harness", "fake"];

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The source folders of all crates that are shipped, and the benchmarks'.
fn crates() -> Vec<(String, PathBuf)> {
    let root = root();
    let mut found = vec![
        ("src".to_owned(), root.join("src")),
        ("bench".to_owned(), root.join("bench/src")),
    ];
    for wing in ["metastore", "agents", "compactor", "query"] {
        for entry in std::fs::read_dir(root.join(wing)).expect("a wing") {
            let folder = entry.expect("a readable entry").path();
            let source = folder.join("src");
            if source.is_dir() {
                let name = folder.strip_prefix(&root).expect("below the root");
                found.push((name.display().to_string(), source));
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut all = Vec::new();
    for (krate, folder) in crates() {
        let mut files = Vec::new();
        walk(&folder, &mut files);
        files.sort();
        for file in files {
            let inside = file.strip_prefix(&folder).expect("below its folder");
            let mut module: Vec<String> = inside
                .with_extension("")
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            if module.iter().any(|part| TESTS.contains(&part.as_str())) {
                continue;
            }
            if module == ["lib"] || module == ["main"] {
                module.clear();
            }
            all.push(Source {
                path: file
                    .strip_prefix(&root)
                    .expect("below the root")
                    .display()
                    .to_string(),
                krate: krate.clone(),
                module,
                code: std::fs::read_to_string(&file).expect("a source file"),
            });
        }
    }
    all
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Name and lines of every function. The code is as `rustfmt` leaves it: a body ends with the first brace
/// that stands where the function begins.
fn functions(code: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else {
            continue;
        };
        let words = ["pub", "const", "async", "unsafe", "extern"];
        let is_head = before
            .split_whitespace()
            .all(|word| words.iter().any(|known| word.starts_with(known)));
        if !is_head {
            continue;
        }
        let name = after.split(['(', '<']).next().unwrap_or_default();
        let length = lines[at..].iter().position(|end| {
            indent(end) == indent(line)
                && (end.trim_start() == "}" || end.ends_with(';') || end.ends_with("{}"))
        });
        found.push((name, length.map_or(1, |length| length + 1)));
    }
    found
}

/// Name and variants of every public enum that is an error.
fn error_enums(code: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("\npub enum ") {
        let (before, after) = (
            code.get(..at).unwrap_or_default(),
            code.get(at + 10..).unwrap_or_default(),
        );
        let derives = before.rsplit("\n\n").next().unwrap_or_default();
        let Some((name, body)) = after.split_once(" {\n") else {
            continue;
        };
        if !derives.contains("Error") && !name.contains("Refusal") {
            continue;
        }
        let body = body.split("\n}").next().unwrap_or_default();
        let variants = body
            .lines()
            .filter(|line| indent(line) == 4 && line.trim_start().starts_with(char::is_uppercase));
        found.push((name, variants.count()));
    }
    found
}

/// What stands in the broken rules, as in [`EXCEPTIONS`].
type Broken = BTreeSet<(&'static str, String)>;

fn sizes(sources: &[Source], broken: &mut Broken) {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    let mut crates: BTreeMap<&str, usize> = BTreeMap::new();
    for source in sources {
        let lines = source.code.lines().count();
        if lines > FILE_LINES_MAX {
            broken.insert(("file", source.path.clone()));
        }
        let head = source
            .code
            .lines()
            .take_while(|line| line.starts_with("//!"));
        if lines >= LONG_FILE_LINES && head.count() < HEAD_LINES_MIN {
            broken.insert(("head", source.path.clone()));
        }
        for (name, length) in functions(source.shipped()) {
            if length > FUNCTION_LINES_MAX {
                broken.insert(("function", format!("{}: {name}", source.path)));
            }
        }
        for (name, variants) in error_enums(source.shipped()) {
            if variants > ERROR_VARIANTS_MAX {
                broken.insert(("error", format!("{}: {name}", source.path)));
            }
        }
        let folder = source
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        *folders.entry(folder.to_owned()).or_default() += 1;
        *crates.entry(&source.krate).or_default() += source.shipped().lines().count();
    }
    let full = folders
        .into_iter()
        .filter(|(_, files)| *files > FOLDER_FILES_MAX);
    broken.extend(full.map(|(folder, _)| ("folder", folder)));
    let large = crates
        .into_iter()
        .filter(|(_, lines)| *lines > CRATE_LINES_MAX);
    broken.extend(large.map(|(name, _)| ("crate", name.to_owned())));
}

/// Code without comments and texts.
fn bare(code: &str) -> String {
    let mut bare = String::new();
    for line in code.lines() {
        let line = line.split_once("//").map_or(line, |(code, _)| code);
        let outside = line.split('"').step_by(2);
        outside.for_each(|part| bare.push_str(part));
        bare.push('\n');
    }
    bare
}

/// Every path of a `use`, with the name that it gives.
fn expand(tree: &str, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    let path = |text: &str| -> Vec<String> {
        let parts = text
            .split("::")
            .map(str::trim)
            .filter(|part| !part.is_empty());
        before
            .iter()
            .cloned()
            .chain(parts.map(str::to_owned))
            .collect()
    };
    if let Some((head, rest)) = tree.split_once('{') {
        let before = path(head);
        let rest = rest.trim_end().strip_suffix('}').unwrap_or(rest);
        let (mut depth, mut start) = (0, 0);
        for (at, letter) in rest.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(rest.get(start..at).unwrap_or_default(), &before, found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        expand(rest.get(start..).unwrap_or_default(), &before, found);
        return;
    }
    let (tree, alias) = tree
        .split_once(" as ")
        .map_or((tree, None), |(tree, alias)| (tree, Some(alias)));
    let mut path = path(tree);
    path.pop_if(|last| last == "self");
    if let Some(last) = path.last().cloned() {
        let name = alias.map_or(last, |alias| alias.trim().to_owned());
        found.push((path, name));
    }
}

/// The files of one crate, by their modules.
struct Modules {
    /// What each one imports and exports, by name.
    names: BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>,
}

impl Modules {
    /// The path from the crate's root; `None` if it leads out of the crate.
    fn absolute(&self, at: &[String], path: &[String]) -> Option<Vec<String>> {
        let first = path.first()?.as_str();
        let mut base = at.to_vec();
        let mut rest = path;
        match first {
            "crate" => (base, rest) = (Vec::new(), path.get(1..)?),
            "self" => rest = path.get(1..)?,
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop()?;
                    rest = rest.get(1..)?;
                }
            }
            _ => {
                let child: Vec<String> = base.iter().cloned().chain([first.to_owned()]).collect();
                self.names.get(&child)?;
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The file that has what the path names: where it is only passed on, the one behind.
    fn home(&self, path: &[String], hops: usize) -> Option<Vec<String>> {
        let depth = (0..=path.len())
            .rev()
            .find(|depth| self.names.contains_key(&path[..*depth]))?;
        let (module, rest) = path.split_at(depth);
        let passed = rest.first().and_then(|name| self.names[module].get(name));
        match passed {
            Some(passed) if hops > 0 => {
                let mut next = self.absolute(module, passed)?;
                next.extend_from_slice(rest.get(1..)?);
                self.home(&next, hops - 1)
            }
            _ => Some(module.to_vec()),
        }
    }
}

/// Which file of the crate names what of which other. A file may name what stands in the files that it lies
/// below: a folder is one noun with its file. Passing a name on is no use of it.
fn arrows(sources: &[&Source]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let mut modules = Modules {
        names: BTreeMap::new(),
    };
    let mut named: Vec<(Vec<String>, Vec<Vec<String>>)> = Vec::new();
    for source in sources {
        let code = bare(source.shipped());
        let (mut names, mut paths, mut body) = (BTreeMap::new(), Vec::new(), String::new());
        for statement in code.split(';') {
            let at = statement.rfind("use ").filter(|at| {
                let line = statement.get(..*at).unwrap_or_default().rsplit('\n').next();
                let line = line.unwrap_or_default().trim();
                line.is_empty() || (line.starts_with("pub") && !line.contains(' '))
            });
            let Some(at) = at else {
                body.push_str(statement);
                body.push(';');
                continue;
            };
            let (before, tree) = statement.split_at(at);
            body.push_str(before);
            let mut found = Vec::new();
            expand(tree.get(4..).unwrap_or_default(), &[], &mut found);
            if !before.trim_end().ends_with("pub") && !before.trim_end().ends_with(')') {
                paths.extend(found.iter().map(|(path, _)| path.clone()));
            }
            names.extend(found.into_iter().map(|(path, name)| (name, path)));
        }
        let is_of_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        let inline = body
            .split(|letter| !is_of_path(letter))
            .filter(|word| word.contains("::"));
        paths.extend(inline.map(|word| word.split("::").map(str::to_owned).collect::<Vec<_>>()));
        modules.names.insert(source.module.clone(), names);
        named.push((source.module.clone(), paths));
    }
    let mut arrows: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (module, paths) in named {
        let homes = paths.iter().filter_map(|path| {
            let path = modules.absolute(&module, path)?;
            modules.home(&path, 8)
        });
        let homes = homes.filter(|home| !module.starts_with(home)).collect();
        arrows.insert(module, homes);
    }
    arrows
}

/// Everything that can be reached over the arrows.
fn reached<'a>(
    from: &'a Vec<String>,
    arrows: &'a BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
) -> BTreeSet<&'a Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Vec<String>> = arrows[from].iter().collect();
    while let Some(module) = open.pop() {
        if seen.insert(module) {
            open.extend(&arrows[module]);
        }
    }
    seen
}

fn circles(sources: &[Source], broken: &mut Broken) {
    let mut crates: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        crates.entry(&source.krate).or_default().push(source);
    }
    for (name, sources) in crates {
        let arrows = arrows(&sources);
        let reach: BTreeMap<_, _> = arrows
            .keys()
            .map(|from| (from, reached(from, &arrows)))
            .collect();
        for (module, reached_from) in &reach {
            let mut circle = reached_from
                .iter()
                .filter(|other| reach[**other].contains(module));
            // Named after its first file.
            if circle.next().is_some_and(|first| first == module) && reached_from.contains(module) {
                broken.insert(("circle", format!("{name}: {}", module.join("/"))));
            }
        }
    }
}

fn api_lists(sources: &[Source], broken: &mut Broken) {
    let apis: Vec<&str> = tarn_kafka::ApiKey::ALL
        .iter()
        .map(|api| api.name())
        .collect();
    let lists = sources.iter().filter(|source| {
        let code = bare(source.shipped());
        let words: BTreeSet<&str> = code
            .split(|letter: char| !letter.is_alphanumeric())
            .collect();
        2 * apis.iter().filter(|api| words.contains(*api)).count() > apis.len()
    });
    let lists: Vec<&str> = lists.map(|source| source.path.as_str()).collect();
    if lists.len() > API_LISTS_MAX {
        broken.insert(("api", lists.join(", ")));
    }
}

#[test]
fn the_house_stays_airy_but_for_a_list_that_only_shrinks() {
    let sources = sources();
    let mut broken = Broken::new();
    sizes(&sources, &mut broken);
    circles(&sources, &mut broken);
    api_lists(&sources, &mut broken);
    let known: Broken = EXCEPTIONS
        .iter()
        .map(|(rule, place, _)| (*rule, (*place).to_owned()))
        .collect();
    let new: Vec<_> = broken.difference(&known).collect();
    let stale: Vec<_> = known.difference(&broken).collect();
    assert!(new.is_empty(), "these break a rule: {new:#?}");
    assert!(
        stale.is_empty(),
        "these exceptions are no longer needed: {stale:#?}"
    );
    assert!(EXCEPTIONS.len() < 10, "too many exceptions are no rule");
}

#[test]
fn the_rules_see_what_they_are_for() {
    let code = format!(
        "impl A {{\n    pub async fn long(&self) {{\n{}    }}\n}}\n",
        "        x();\n".repeat(99)
    );
    assert_eq!(functions(&code), [("long", 101)]);
    let code = "\n#[derive(Debug, thiserror::Error)]\npub enum E {\n    A,\n    B { c: u8 },\n}\n";
    assert_eq!(error_enums(code), [("E", 2)]);
    let source = |module: &str, code: &str| Source {
        path: String::new(),
        krate: String::new(),
        module: module
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        code: code.to_owned(),
    };
    let all = [
        source("", "mod a;\nmod b;\npub use b::B;\n"),
        source("a", "mod c;\nuse crate::{B, C as D};\n"),
        source("a/c", "use super::A;\n"),
        source("b", "fn b() { crate::a::A::new(); }\n"),
    ];
    let mut broken = Broken::new();
    circles(&all, &mut broken);
    assert_eq!(broken, Broken::from([("circle", ": a".to_owned())]));
    let mut broken = Broken::new();
    circles(&all[..3], &mut broken);
    assert!(broken.is_empty(), "what lies below may look up: {broken:?}");
}
