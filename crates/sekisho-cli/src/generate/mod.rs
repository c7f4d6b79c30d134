//! `sekisho generate`: what is made from the program's own tables, so that it cannot say anything else
//! than they do: completions for shells, man pages, and the reference in `docs/reference.md`.

mod reference;

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, GenerateCommand};
use crate::outcome::{Failure, say};

/// Makes what was asked for.
///
/// # Errors
/// [`Failure::Run`] when the pages cannot be written.
pub(crate) fn run(command: &GenerateCommand) -> Result<(), Failure> {
    match command {
        GenerateCommand::Completions(args) => say(completions(args.shell).trim_end()),
        GenerateCommand::Man(args) => man(&args.folder),
        GenerateCommand::Reference => say(reference::page(Cli::command()).trim_end()),
    }
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sekisho", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn man(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| {
            Failure::Run(format!("cannot write man pages into {}: {error}", folder.display()))
        })
}
