//! The layers, held to their word: who may import whom, and what may not be written anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says so by a panic"
)]

use std::{collections::BTreeMap, fs, path::Path};

/// A layer and what of the crate it may name. `config` and `telemetry` are leaves that all but the domain may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &["domain"]),
    ("telemetry", &["telemetry"]),
    ("config", &["config"]),
    ("chain", &["chain", "domain", "config", "telemetry"]),
    ("feeds", &["feeds", "domain", "config", "telemetry"]),
    ("store", &["store", "domain", "config", "telemetry"]),
    ("actors", &["actors", "chain", "feeds", "store", "domain", "config", "telemetry"]),
    ("api", &["api", "store", "domain", "config", "telemetry"]),
];

/// A word and the only places where it may stand.
const WORDS: &[(&str, &[&str], &str)] = &[
    ("actix::", &["src/actors", "src/app", "src/cli"], "only the tree knows actix"),
    ("actix_rt::", &["src/actors", "src/app"], "only the tree knows actix"),
    ("rusqlite::", &["src/store/sqlite"], "only the SQLite store knows rusqlite"),
    ("mongodb::", &["src/store/mongo"], "only the MongoDB store knows its driver"),
    ("async_graphql", &["src/api"], "only the API knows GraphQL"),
    ("alloy::providers", &["src/chain"], "only the chain layer talks to nodes"),
    (
        "tokio::",
        &["src/chain", "src/feeds", "src/store", "src/actors", "src/api", "src/app", "src/cli", "src/doctor", "src/telemetry"],
        "the domain is pure",
    ),
    (
        "tracing::",
        &["src/chain", "src/feeds", "src/store", "src/actors", "src/api", "src/app", "src/cli", "src/telemetry"],
        "the domain is pure",
    ),
    ("SystemTime", &["src/app"], "time is an input"),
    ("unbounded", &[], "no unbounded queues"),
];

/// Lines a file may have. Twice what style.md calls usual is a file with two ideas in it.
const LINES_MAX: usize = 450;

fn sources(folder: &Path, into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_str().unwrap().replace('\\', "/");
            into.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn all() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 30, "the sources were found");
    files
}

/// Code without comments, so that a text may name what the code may not.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source.lines().enumerate().map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default()))
}

fn is_test(name: &str) -> bool {
    name.contains("/tests") || name.ends_with("test_support.rs") || name.contains("conformance") || name.ends_with("faults.rs")
}

/// Modules of the crate that a source names, as `crate::module` or at the top of a `crate::{…}`.
fn named_modules(source: &str) -> Vec<String> {
    let code: String = code(source).map(|(_, text)| text).collect::<Vec<_>>().join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut modules = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            modules.push(word(rest));
            continue;
        };
        let (mut depth, mut at_start) = (0usize, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                c if c.is_whitespace() => {}
                _ if at_start => {
                    modules.push(word(&group[i..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    modules
}

#[test]
fn imports_are_seen_in_every_form() {
    let source = "use crate::{\n    api::Door,\n    store::{Live, chain::X},\n};\nuse crate::actors;\nfn f() { crate::feeds::g() } // crate::comment\n";
    assert_eq!(named_modules(source), ["api", "store", "actors", "feeds"]);
}

#[test]
fn imports_go_downwards_only() {
    let mut wrong = Vec::new();
    for (name, source) in all() {
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| name.starts_with(&format!("src/{layer}/"))) else { continue };
        for module in named_modules(&source) {
            let inner = LAYERS.iter().any(|(layer, _)| *layer == module);
            let above = ["app", "audit", "cli", "doctor", "init"].contains(&module.as_str());
            if (inner && !allowed.contains(&module.as_str())) || above {
                wrong.push(format!("{name} uses crate::{module}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn words_stand_only_where_they_may() {
    let mut wrong = Vec::new();
    for (name, source) in all().into_iter().filter(|(name, _)| !is_test(name)) {
        let tests_from = source.lines().position(|l| l.trim() == "mod tests {").unwrap_or(usize::MAX);
        for (line, text) in code(&source).filter(|(line, _)| *line <= tests_from) {
            for (word, places, why) in WORDS {
                if text.contains(word) && !places.iter().any(|place| name.starts_with(place)) {
                    wrong.push(format!("{name}:{line} `{word}`: {why}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_holds_one_idea() {
    let long: Vec<String> = all()
        .into_iter()
        .map(|(name, source)| (name, source.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines, more than {LINES_MAX}"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let mute: Vec<String> =
        all().into_iter().filter(|(name, source)| !is_test(name) && !source.starts_with("//!")).map(|(name, _)| name).collect();
    assert!(mute.is_empty(), "no module doc: {mute:?}");
}

#[test]
fn nothing_is_switched_off() {
    let mut files = all();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut files);
    let banned = [
        concat!("#[ig", "nore"),
        concat!("#[should_", "panic"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("thread::", "sleep"),
    ];
    let found: Vec<String> = files
        .iter()
        .flat_map(|(name, source)| {
            banned.iter().filter(|word| source.contains(**word)).map(move |word| format!("{name}: {word}"))
        })
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// What a merge leaves where two sides changed the same lines, in whatever is read by people.
#[test]
fn no_merge_is_left_half_done() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of = |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let texts = [".", "docs", "docs/adr"].into_iter().flat_map(of).filter(|path| path.extension().is_some_and(|end| end == "md"));
    let mut read = 0;
    for path in texts {
        read += 1;
        let text = fs::read_to_string(&path).unwrap();
        let marks = [concat!("<<<<", "<<< "), concat!(">>>>", ">>> "), concat!("====", "===\n")];
        let left = text.split_inclusive('\n').find(|line| marks.iter().any(|mark| line.starts_with(mark)));
        assert!(left.is_none(), "{}: {}", path.display(), left.unwrap_or_default());
    }
    assert!(read > 20, "only {read} texts were found");
}
