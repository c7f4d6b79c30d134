//! The reference as a page: every setting by the table of settings, every command as the command line
//! knows it. What is hidden or kept for later is left out.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::config::{CLIENT_KEYS, KEYS, Key, Kind, RULE_KEYS, SERVER_KEYS};

/// The whole page, as Markdown.
pub(crate) fn page(mut program: Command) -> String {
    program.build();
    let mut page = HEAD.to_owned();
    settings(&mut page);
    page.push_str(COMMANDS);
    commands(&mut page, &program, "sekisho");
    page
}

fn settings(page: &mut String) {
    let tables: [(&str, &[Key]); 3] =
        [("server", SERVER_KEYS), ("rule", RULE_KEYS), ("client", CLIENT_KEYS)];
    let mut table = None;
    for key in KEYS {
        let (within, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if table != Some(within) {
            let title = if within.is_empty() { "At the top" } else { &format!("`[{within}]`") };
            open(page, title);
            table = Some(within);
        }
        row(page, name, key);
    }
    for (name, keys) in tables {
        open(page, &format!("`[[{name}]]`"));
        for key in keys {
            row(page, key.path, key);
        }
    }
}

fn open(page: &mut String, title: &str) {
    let _ = write!(
        page,
        "\n### {title}\n\n| setting | holds | default | what it is |\n|---|---|---|---|\n"
    );
}

fn row(page: &mut String, name: &str, key: &Key) {
    let default = match key.default {
        None | Some("") => String::new(),
        Some(default) => format!("`{default}`"),
    };
    let purpose = cell(key.purpose);
    let _ = writeln!(page, "| `{name}` | {} | {default} | {purpose} |", holds(key.kind));
}

const fn holds(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Secret => "text, never shown",
        Kind::List => "list",
        Kind::Table => "names and texts, never shown",
        Kind::Names => "names and texts",
        Kind::Number => "number",
    }
}

/// A command without others below it has a section; what it is below of has none.
fn commands(page: &mut String, command: &Command, typed: &str) {
    let below: Vec<_> = command.get_subcommands().filter(|below| !is_left_out(below)).collect();
    for one in &below {
        commands(page, one, &format!("{typed} {}", one.get_name()));
    }
    if below.is_empty() {
        section(page, command, typed);
    }
}

fn is_left_out(command: &Command) -> bool {
    command.is_hide_set() || command.get_name() == "help"
}

fn section(page: &mut String, command: &Command, typed: &str) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = write!(page, "\n### `{typed}`\n\n{}\n\n```text\n{usage}\n```\n", cell(&about));
    let arguments: Vec<_> =
        command.get_arguments().filter(|argument| !is_known_to_all(argument)).collect();
    if !arguments.is_empty() {
        page.push_str("\n| | |\n|---|---|\n");
    }
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(page, "| `{}` | {} |", spelled(argument), cell(&help));
    }
}

fn is_known_to_all(argument: &Arg) -> bool {
    argument.is_hide_set() || argument.get_id() == "help"
}

fn spelled(argument: &Arg) -> String {
    let values: Vec<_> = argument
        .get_value_names()
        .filter(|_| argument.get_action().takes_values())
        .into_iter()
        .flatten()
        .map(|name| format!("<{name}>"))
        .collect();
    let flag = argument.get_long().map(|long| format!("--{long}"));
    flag.into_iter().chain(values).collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

const HEAD: &str = "\
# Reference

<!-- Made by `sekisho generate reference`; a test holds it to that. -->

What there is to set and to type, made from the program itself. README.md says [more of each setting](../README.md#settings).

## Settings

A setting is taken from a flag, else the environment, else the file, else the default. The file is the one named by `--config` or
`SEKISHO_CONFIG`, else `./sekisho.toml` if it is there. In the environment a setting is `SEKISHO_` and its path in capitals, with `__` between
levels and commas in lists: `identity.client_secret` is `SEKISHO_IDENTITY__CLIENT_SECRET`. What stands in `[[…]]` stands in the file alone.
Lengths of time are written `90s`, `5m`, `1h`, `30d`.
";

const COMMANDS: &str = "
## Commands

Exit codes: 0 for done, 1 for something outside that is in the way, 2 for a wrong setting or flag.
";
