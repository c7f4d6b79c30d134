//! What is shipped beside the program fits it: the licences of what it is made of, completions and man
//! pages, and the files in `packaging/`. Each test reads the files as they are shipped, and asks the
//! program itself what it makes of the settings in them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]

mod dependencies;
mod files;
mod generated;
mod licences;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sekisho");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs the program without any settings of ours.
fn sekisho(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEKISHO_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).output().unwrap()
}
