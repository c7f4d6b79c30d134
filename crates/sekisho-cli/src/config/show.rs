//! `sekisho config show`: every setting with its place and purpose, secrets left out. What it
//! prints is a settings file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sekisho::protocol::Secret;

use super::error::{Origin, quoted};
use super::keys::{CLIENT_KEYS, KEYS, Key, Kind, RULE_KEYS, SERVER_KEYS};
use super::understood::Config;
use super::written::{ConfigFile, Settings, Value, Written, shown};

/// The settings as a file that says where each comes from.
pub(crate) fn show(written: &ConfigFile, config: &Config) -> String {
    let mut text = String::new();
    let mut table = "";
    let is_several =
        |key: &&Key| !written.identities.is_empty() && key.path.starts_with("identity.");
    for key in KEYS.iter().filter(|key| !is_several(key)) {
        let (within, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if within != table {
            table = within;
            let _ = writeln!(text, "\n[{table}]");
        }
        let line = match written.settings.find(key.path) {
            // What is the default anyway is no setting, and some are of no use to some providers.
            Some(setting) if setting.origin == Origin::Default => {
                format!("# {name} = {}  # default", value(setting))
            }
            Some(setting) => format!("{name} = {}  # {}", value(setting), place(&setting.origin)),
            None if key.path == "public_url" => {
                format!("# {name} = {}  # from listen", quoted(config.public_url.as_str()))
            }
            None => format!("# {name} is not set"),
        };
        let _ = writeln!(text, "{line}; {}", key.purpose);
    }
    for (origin, settings) in &written.identities {
        let _ = writeln!(text, "\n[[identity]]  # {}", place(origin));
        for key in settings.written() {
            if let Some(setting) = settings.find(key) {
                let name = key.trim_start_matches("identity.");
                let _ = writeln!(text, "{name} = {}", value(setting));
            }
        }
    }
    let tables = [
        ("server", &written.servers, SERVER_KEYS),
        ("rule", &written.rules, RULE_KEYS),
        ("client", &written.clients, CLIENT_KEYS),
    ];
    for (name, tables, keys) in tables {
        for (origin, settings) in tables {
            let _ = writeln!(text, "\n[[{name}]]  # {}", place(origin));
            of_table(&mut text, settings, keys);
        }
    }
    text
}

fn of_table(text: &mut String, settings: &Settings, keys: &[Key]) {
    for key in keys {
        if let Some(setting) = settings.find(key.path) {
            let shown = match (key.kind, &setting.value) {
                (Kind::Names, Value::Table(names)) => table(names, |text| quoted(text.reveal())),
                _ => value(setting),
            };
            let _ = writeln!(text, "{} = {shown}", key.path);
        }
    }
}

fn value(written: &Written) -> String {
    match &written.value {
        Value::Text(text) => quoted(shown(text)),
        Value::Secret(_) => "\"***\"".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Table(texts) => table(texts, |_| "\"***\"".to_owned()),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn table(texts: &BTreeMap<String, Secret>, show: impl Fn(&Secret) -> String) -> String {
    let shown: Vec<_> =
        texts.iter().map(|(name, text)| format!("{} = {}", quoted(name), show(text))).collect();
    format!("{{ {} }}", shown.join(", "))
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File { path, line } => format!("{}, line {line}", path.display()),
        Origin::Environment(variable) => variable.clone(),
        Origin::Flag(flag) => (*flag).to_owned(),
    }
}
