//! Rules of the repository that no compiler knows: what the documents promise is there, and the
//! parts of the code know only whom they may know. Reads the checkout; needs nothing but `std`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const COVERAGE: &str = "docs/spec-coverage.md";
const THREATS: &str = "docs/threats.md";

/// Every requirement that has a row in the table of coverage.
const REQUIREMENTS: &str = "A1-A29 R1-R13 T1-T17 T19-T41 X1-X38 \
    G1 G4-G7 G14 G16 G18-G20";
/// Every attack that has a row in the table of threats. What is left out has no number, or is an
/// attack on something that is not built.
const ATTACKS: &str = "1-11 13-25 27-35 37 38 40-59 61 63-70 72-84 86 88-92 94-97 99-110 112-120";

/// Who may know whom in `crates/sekisho/src`, and why the arrows are no more than these.
const ARROWS: &[(&str, &[&str], &str)] = &[
    ("clock", &[], "time is at the bottom"),
    ("mint", &["simulation"], "randomness is at the bottom; a test may say what is drawn"),
    ("simulation", &[], "it stands for the machine, in tests alone"),
    (
        "fleet",
        &["clock", "grant", "mint", "principal", "resource_server", "seal", "store"],
        "it carries requests between instances that find each other in the store, with whom the guard \
         let in and what it is to ask for; it knows no protocol",
    ),
    ("seal", &["mint"], "a nonce for each sealing, and no more"),
    ("signing", &["seal"], "keys that sign, made from those that seal; it knows no claim"),
    ("gathered", &[], "bytes on their way to a socket, whosever they are"),
    ("fetch", &["clock"], "the one way out to strangers: it knows the time, and nobody's business"),
    ("jwks", &[], "public keys, wherever they come from"),
    (
        "trusted",
        &["clock", "jwks", "measure", "principal"],
        "what a server signs and publishes that the operator named, whatever it is for",
    ),
    ("principal", &["clock", "grant"], "a caller is a person, a client and a grant, until then"),
    ("grant", &["clock", "principal"], "the stages of a login are pure: no store"),
    (
        "measure",
        &["mint"],
        "counters and clocks under names of ours: whoever does something says so to it",
    ),
    (
        "store",
        &["clock", "grant", "measure", "mint", "principal", "seal"],
        "it keeps values, knows no role",
    ),
    (
        "audit",
        &["front", "grant", "measure", "principal"],
        "it writes down who did what, and knows no role",
    ),
    ("pages", &[], "words and markup: told what to say"),
    (
        "identity_provider",
        &[
            "audit",
            "clock",
            "front",
            "jwks",
            "measure",
            "mint",
            "pages",
            "principal",
            "seal",
            "store",
            "trusted",
        ],
        "it logs people in, and knows nothing of clients and tokens",
    ),
    (
        "authorization_server",
        &[
            "audit",
            "clock",
            "fetch",
            "front",
            "grant",
            "identity_provider",
            "jwks",
            "measure",
            "mint",
            "pages",
            "policy",
            "principal",
            "seal",
            "store",
        ],
        "it gives tokens out, asks who may log in at all, and never learns who guards what",
    ),
    (
        "resource_server",
        &["audit", "clock", "front", "grant", "jwks", "principal", "store", "trusted"],
        "it lets tokens in, counts wrong ones by address, and works without our authorization server",
    ),
    (
        "mcp",
        &["clock", "fleet", "measure", "mint", "principal", "resource_server", "seal"],
        "it carries messages, and seals what clients keep for it; the checkpoint is asked only \
         whether a caller may still listen",
    ),
    (
        "policy",
        &["audit", "mcp", "principal"],
        "it decides about callers and what they want, in front of a service: no token, no transport",
    ),
    (
        "gateway",
        &["clock", "gathered", "mcp", "measure", "mint", "principal", "signing", "simulation"],
        "an MCP service made of somebody else's: it knows callers, says who they are by a key of ours \
         or a token that others give it, and knows neither clients' tokens nor transports",
    ),
    (
        "front",
        &["measure", "mint"],
        "it judges what can be judged without knowing anybody; readiness asks whom it is told to",
    ),
    ("fuzzing", &["gateway", "jwks", "trusted"], "it opens what only targets for fuzzing may see"),
];

/// Below a folder, a word that only some files may contain, with the reason.
const WORDS: &[(&str, &str, &[&str], &str)] = &[
    ("crates", "SystemTime::now", &["crates/sekisho/src/clock.rs"], "only `clock` reads time"),
    (
        "crates",
        "getrandom::",
        &["crates/sekisho/src/mint.rs", "crates/sekisho-cli/src/fortune.rs"],
        "only `mint` draws what must not be guessed, and `fortune` draws fortunes",
    ),
    (
        "crates",
        "env::var",
        &["crates/sekisho-cli/src/main.rs", "crates/sekisho-cli/src/config"],
        "only the settings are read from the environment",
    ),
    ("crates/sekisho-protocol/src", "SystemTime", &[], "the protocol has no clock"),
    ("crates/sekisho-protocol/src", "Instant", &[], "the protocol has no clock"),
    ("crates/sekisho-protocol/src", "tokio", &[], "the protocol does not wait"),
    ("crates/sekisho-protocol/src", "async ", &[], "the protocol does not wait"),
    ("crates/sekisho-protocol/src", "reqwest", &[], "the protocol does not talk"),
    ("crates/sekisho-protocol/src", "std::fs", &[], "the protocol reads no file"),
    ("crates", "danger_accept_invalid", &[], "certificates are checked, always"),
];

#[test]
fn every_requirement_has_exactly_one_row() {
    one_row_each(COVERAGE, REQUIREMENTS);
}

#[test]
fn every_attack_has_exactly_one_row() {
    one_row_each(THREATS, ATTACKS);
}

#[test]
fn every_row_names_a_test_or_says_why_there_is_none() {
    for document in [COVERAGE, THREATS] {
        let silent: Vec<_> = rows(document)
            .into_iter()
            .filter(|row| {
                tests_named(&row.text).is_empty() && !row.text.contains("Not yet, because")
            })
            .map(|row| row.id)
            .collect();
        assert!(
            silent.is_empty(),
            "{document}: rows {silent:?} name no test: write `file.rs::test_name`, or \"Not yet, because …\""
        );
    }
}

#[test]
fn every_setting_is_in_the_readme() {
    let readme = read("README.md");
    let keys = read("crates/sekisho-cli/src/config/keys.rs");
    let (_, table) = keys.split_once("const KEYS").unwrap();
    let (table, _) = table.split_once("];").unwrap();
    let settings: Vec<_> =
        table.split(" key(").skip(1).map(|call| call.split('"').nth(1).unwrap()).collect();
    assert!(settings.len() > 20, "the table of settings was found: {settings:?}");
    for setting in settings {
        assert!(readme.contains(&format!("`{setting}`")), "README.md has no row for {setting:?}");
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let files = sources();
    let mut missing = Vec::new();
    for document in documents() {
        for named in tests_named(&read(&document)) {
            if let Err(problem) = find_test(&files, &named) {
                missing.push(format!("{document}: `{named}`: {problem}"));
            }
        }
    }
    assert!(missing.is_empty(), "tests that are not there:\n{}", missing.join("\n"));
}

#[test]
fn every_file_that_a_table_names_exists() {
    let files: Vec<_> = sources().into_iter().map(|(path, _)| format!("/{path}")).collect();
    let mut missing = Vec::new();
    for document in [COVERAGE, THREATS] {
        for named in files_named(&read(document)) {
            let end = format!("/{named}");
            let is_there = match named.strip_suffix('/') {
                Some(_) => files.iter().any(|path| path.contains(&end)),
                None => files.iter().any(|path| path.ends_with(&end)),
            };
            if !is_there {
                missing.push(format!("{document}: `{named}`"));
            }
        }
    }
    assert!(missing.is_empty(), "files that are not there:\n{}", missing.join("\n"));
}

#[test]
fn every_file_that_a_document_links_to_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        let folder = Path::new(&document).parent().unwrap().to_path_buf();
        for target in links(&read(&document)) {
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = if path.is_empty() {
                root().join(&document)
            } else {
                root().join(&folder).join(path)
            };
            let is_there = file.exists()
                && (heading.is_empty()
                    || headings(&std::fs::read_to_string(file).unwrap()).any(|it| it == heading));
            if !is_there {
                missing.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(missing.is_empty(), "links that lead nowhere:\n{}", missing.join("\n"));
}

#[test]
fn every_module_opens_by_saying_what_it_does() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| is_rust(path) && !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "these files open without `//!`: {silent:?}");
}

#[test]
fn a_module_knows_only_whom_it_may_know() {
    let mut wrong = Vec::new();
    for (module, path, text) in modules() {
        let Some((_, allowed, reason)) = ARROWS.iter().find(|(name, ..)| *name == module) else {
            panic!("{path}: the module {module:?} is new: say in ARROWS whom it may know, and why");
        };
        for known in modules_named(production(&text)) {
            if known != module && !allowed.contains(&known.as_str()) {
                wrong.push(format!("{path} imports {known}; of {module} it is said: {reason}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that must not be:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_of_arrows_has_no_arrow_that_nobody_needs() {
    let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, _, text) in modules() {
        used.entry(module).or_default().extend(modules_named(production(&text)));
    }
    for (module, allowed, _) in ARROWS {
        let used = used.get(*module).unwrap_or_else(|| panic!("there is no module {module:?}"));
        for arrow in *allowed {
            assert!(
                used.iter().any(|known| known == arrow),
                "{module} does not import {arrow} any more: take the arrow out of ARROWS"
            );
        }
    }
}

#[test]
fn what_is_reserved_for_one_place_is_nowhere_else() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !is_rust(&path) || path.contains("/tests/") || path.contains("/examples/") {
            continue;
        }
        for (below, word, allowed, reason) in WORDS {
            let is_allowed = allowed.iter().any(|place| path.starts_with(place));
            if path.starts_with(below) && !is_allowed && code(production(&text)).contains(word) {
                wrong.push(format!("{path} has `{word}`: {reason}"));
            }
        }
    }
    assert!(wrong.is_empty(), "words out of place:\n{}", wrong.join("\n"));
}

#[test]
fn the_protocol_depends_on_nothing_that_waits_talks_or_draws() {
    let manifest = read("crates/sekisho-protocol/Cargo.toml");
    let (_, after) = manifest.split_once("\n[dependencies]").unwrap();
    let dependencies = after.split("\n[").next().unwrap();
    for crate_name in
        ["tokio", "reqwest", "axum", "sqlx", "rusqlite", "getrandom", "futures", "sekisho."]
    {
        assert!(
            !dependencies.lines().any(|line| line.starts_with(crate_name)),
            "sekisho-protocol depends on {crate_name}: it holds words and rules, no I/O"
        );
    }
}

#[test]
fn the_library_brings_rmcp_to_those_alone_who_ask_for_it() {
    let manifest = read("crates/sekisho/Cargo.toml");
    let (_, features) = manifest.split_once("\n[features]").unwrap();
    let (features, dependencies) = features.split_once("\n[dependencies]").unwrap();
    assert!(!features.contains("default"), "no feature is on by itself");
    let dependencies = dependencies.split("\n[").next().unwrap();
    let rmcp = dependencies.lines().find(|line| line.starts_with("rmcp ")).unwrap();
    assert!(rmcp.contains("optional = true"), "rmcp is for the feature of that name: {rmcp}");
}

#[test]
fn a_secret_is_compared_only_by_its_hash_in_constant_time() {
    let secret = read("crates/sekisho-protocol/src/secret.rs");
    let (before, _) = secret.split_once("pub struct Secret(").unwrap();
    let derived = before.rsplit("#[derive(").next().unwrap();
    assert!(!derived.contains("PartialEq"), "Secret must have no `==`: it has `matches`");
    assert!(!secret.contains("impl PartialEq for Secret"), "Secret must have no `==`");
    assert!(secret.contains("ct_eq"), "`matches` must take the same time for every wrong text");
}

#[test]
fn no_test_is_switched_off() {
    let ignored: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| code(text).lines().any(|line| line.trim().starts_with("#[ignore")))
        .map(|(path, _)| path)
        .collect();
    assert!(ignored.is_empty(), "ignored tests in {ignored:?}: assert today's answer and say why");
}

#[test]
fn these_rules_can_fail() {
    assert_eq!(ids("A1-A3 R9"), ["A1", "A2", "A3", "R9"]);
    assert_eq!(
        tests_named("see `it/token.rs::a_b`, `cases/kill.mjs::kill-9`, `Vec::new`, `x.rs`"),
        ["it/token.rs::a_b", "cases/kill.mjs::kill-9"]
    );
    assert_eq!(files_named("`a/b.rs` `c/` `/d/` `x.rs::y` `z`"), ["a/b.rs", "c/"]);
    assert_eq!(
        modules_named("use crate::store::Store; use crate::{clock, mint::x}; use super::y;"),
        ["store", "clock", "mint"]
    );
    assert_eq!(links("[a](b.md) [c](https://d.example) ![e](f.png#g)"), ["b.md", "f.png#g"]);
    let files = vec![
        ("crates/a/tests/it/x.rs".to_owned(), "#[test]\nfn a() {}\nfn b() {}".to_owned()),
        ("e2e/cases/k.mjs".to_owned(), "{ name: 'kill-9' }".to_owned()),
    ];
    let rows = [
        ("it/x.rs::a", true, "a test"),
        ("it/x.rs::b", false, "a function that is no test"),
        ("it/x.rs::c", false, "nothing of that name"),
        ("it/y.rs::a", false, "no such file"),
        ("t/x.rs::a", false, "half a folder's name"),
        ("cases/k.mjs::kill-9", true, "a case of the outside ring"),
        ("cases/k.mjs::kill", false, "half a case's name"),
    ];
    for (named, expected, reason) in rows {
        assert_eq!(find_test(&files, named).is_ok(), expected, "{reason}");
    }
}

// --- documents ----------------------------------------------------------------------------------

/// A row of a table whose first cell is an id such as `A1` or `12`.
struct Row {
    id: String,
    text: String,
}

fn rows(document: &str) -> Vec<Row> {
    let is_id = |cell: &str| {
        let digits = cell.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && cell.len() <= 4
    };
    read(document)
        .lines()
        .filter_map(|line| {
            let id = line.strip_prefix('|')?.split('|').next()?.trim();
            is_id(id).then(|| Row { id: id.to_owned(), text: line.to_owned() })
        })
        .collect()
}

fn one_row_each(document: &str, expected: &str) {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows(document) {
        *counted.entry(row.id).or_default() += 1;
    }
    let missing: Vec<_> =
        ids(expected).into_iter().filter(|id| !counted.contains_key(id)).collect();
    assert!(missing.is_empty(), "{document}: no row for {missing:?}");
    let doubled: Vec<_> = counted.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "{document}: more than one row for {doubled:?}");
}

/// `A1-A3 R9` is A1, A2, A3, R9.
fn ids(text: &str) -> Vec<String> {
    text.split_whitespace()
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let letters: String = first.chars().take_while(char::is_ascii_alphabetic).collect();
            let number = |id: &str| id.trim_start_matches(letters.as_str()).parse::<u32>().unwrap();
            let all: Vec<_> = (number(first)..=number(last)).collect();
            all.into_iter().map(move |number| format!("{letters}{number}"))
        })
        .collect()
}

/// What stands in backticks as `file.rs::test` or `file.mjs::case`.
fn tests_named(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| {
            quoted.split_once("::").is_some_and(|(file, name)| {
                [".rs", ".mjs"].iter().any(|end| file.ends_with(end)) && !name.is_empty()
            })
        })
        .map(str::to_owned)
        .collect()
}

/// What stands in backticks as `file.rs` or `folder/`.
fn files_named(text: &str) -> Vec<String> {
    let is_path = |quoted: &&str| {
        (is_rust(quoted) || quoted.ends_with('/'))
            && !quoted.starts_with(['/', '.'])
            && !quoted.contains([' ', ':', '*'])
    };
    text.split('`').skip(1).step_by(2).filter(is_path).map(str::to_owned).collect()
}

/// Targets of links inside the repository.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// What the headings of a document are called in links.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let said = line.trim_start_matches('#').trim().to_lowercase();
        said.chars()
            .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    })
}

fn documents() -> Vec<String> {
    files_below(&root(), &|path| path.extension().is_some_and(|end| end == "md"))
}

// --- sources ------------------------------------------------------------------------------------

/// Finds `file::name`, where `file` is the end of exactly one path.
fn find_test(files: &[(String, String)], named: &str) -> Result<(), String> {
    let (file, name) = named.split_once("::").unwrap();
    let mut found = files.iter().filter(|(path, _)| {
        path.strip_suffix(file).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    });
    let (path, text) = match (found.next(), found.next()) {
        (Some(file), None) => file,
        (None, _) => return Err("no such file".into()),
        (Some(_), Some(_)) => return Err("more than one such file: write more of its path".into()),
    };
    if !is_rust(path) {
        let is_case = text.contains(&format!("name: '{name}'"));
        return if is_case { Ok(()) } else { Err(format!("no such case in {path}")) };
    }
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_named = |line: &str| {
        ["fn ", "async fn ", "pub async fn "].iter().any(|start| {
            line.strip_prefix(start)
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('('))
        })
    };
    let Some(at) = lines.iter().position(|line| is_named(line)) else {
        return Err(format!("no such function in {path}"));
    };
    let is_rule = lines[at].contains("(store: AnyStore)");
    let is_test = lines[..at]
        .iter()
        .rev()
        .take_while(|line| line.starts_with('#') || line.starts_with("//"))
        .any(|line| line.contains("test]") || line.contains("test("));
    if is_test || is_rule { Ok(()) } else { Err(format!("it is no test in {path}")) }
}

/// Every file of the library: its module, its path, its text.
fn modules() -> Vec<(String, String, String)> {
    sources()
        .into_iter()
        .filter_map(|(path, text)| {
            let inside = path.strip_prefix("crates/sekisho/src/")?;
            let module = inside.split('/').next()?.trim_end_matches(".rs").to_owned();
            (module != "lib").then_some((module, path, text))
        })
        .collect()
}

/// The modules of the crate that a text names, in order: `crate::a`, `crate::{a, b::c}`.
fn modules_named(text: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect()
    };
    text.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            None => vec![word(rest)],
            Some(inside) => {
                let inside = inside.split("};").next().unwrap_or(inside);
                inside.split(',').map(|part| word(part.trim())).collect()
            }
        })
        .filter(|module| !module.is_empty())
        .collect()
}

/// Without the tests at the end of a file.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

/// Without comments that have a line of their own.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "rs")
}

fn sources() -> Vec<(String, String)> {
    let is_source = |path: &Path| path.extension().is_some_and(|end| end == "rs" || end == "mjs");
    files_below(&root(), &is_source)
        .into_iter()
        .map(|path| {
            let text = read(&path);
            (path, text)
        })
        .collect()
}

fn files_below(folder: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                files.extend(files_below(&path, is_wanted));
            }
        } else if is_wanted(&path) {
            let inside = path.strip_prefix(root()).unwrap();
            files.push(inside.to_string_lossy().replace('\\', "/"));
        }
    }
    files.sort();
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
