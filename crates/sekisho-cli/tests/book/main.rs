//! The book does what it says: every command in README.md, in `docs/` and in the examples runs, every
//! settings file in them is understood, and what is exempt says why in a comment above it:
//!
//! | above a block | what becomes of it |
//! |---|---|
//! | nothing | `sh`: it runs, after those above it on its page, and must succeed. `toml` with a table in it: `sekisho config check` must understand it |
//! | `<!-- runs on -->` | `sh`: a server, which must say that it listens; it ends with the page, or when the next one starts |
//! | `<!-- file: NAME -->` | it is written to that file, where the commands of its page run |
//! | `<!-- not run: WHY -->`, `<!-- not checked: WHY -->` | nothing |
//!
//! A page has a folder of its own, and free ports in the place of those that it names.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]

mod page;
mod shell;

use std::path::{Path, PathBuf};
use std::process::Command;

use page::{Block, Fate, blocks};
use shell::Shell;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sekisho");

#[test]
fn every_command_of_every_page_does_what_the_page_says() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let pages: Vec<_> =
            pages().into_iter().map(|page| scope.spawn(move || walk(&page))).collect();
        pages.into_iter().filter_map(|page| page.join().unwrap().err()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_page_has_its_place_in_the_book() {
    let summary = read("docs/SUMMARY.md");
    let missing: Vec<_> = pages()
        .into_iter()
        .filter_map(|page| Some(page.strip_prefix("docs/")?.to_owned()))
        .filter(|page| page != "SUMMARY.md" && !summary.contains(&format!("]({page})")))
        .collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not name {missing:?}");
}

#[test]
fn the_reference_is_what_the_program_says_of_itself() {
    let made = Command::new(PROGRAM).args(["generate", "reference"]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    for told in ["| `identity.recheck`", "### `sekisho grant revoke`", "`--user <NAME>`"] {
        let told = told.replace("identity.", "");
        assert!(made.contains(&told), "the reference has {told:?}");
    }
    assert!(!made.contains("attend"), "what is hidden is not told");
    assert!(
        made == read("docs/reference.md"),
        "docs/reference.md is out of date: make it anew with \
         `cargo run -- generate reference >docs/reference.md`"
    );
}

/// Runs, writes or checks each block of a page, in their order.
fn walk(page: &str) -> Result<(), String> {
    let mut shell = Shell::new(PROGRAM);
    for block in blocks(&read(page)) {
        follow(&mut shell, &block).map_err(|why| format!("{page}:{}: {why}", block.line))?;
    }
    Ok(())
}

fn follow(shell: &mut Shell, block: &Block) -> Result<(), String> {
    match block.fate()? {
        Fate::Left => Ok(()),
        Fate::Written(name) => shell.write(name, &block.text),
        Fate::Run => shell.run(&block.text),
        Fate::RunOn => shell.start(&block.text),
        Fate::Checked => {
            shell.write("checked.toml", &block.text)?;
            shell.run("sekisho config check --config checked.toml")
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// README.md, and all that is below `docs/`, `examples/` and `packaging/`, but for the decisions.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    for folder in ["docs", "examples", "packaging"] {
        collect(folder, &mut pages);
    }
    assert!(pages.len() > 10, "the pages were found: {pages:?}");
    pages
}

fn collect(folder: &str, pages: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            if path != "docs/decisions" {
                collect(&path, pages);
            }
        } else if Path::new(&path).extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
}
