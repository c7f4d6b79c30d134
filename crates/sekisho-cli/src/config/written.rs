//! The settings as they were written, each with the place it was written at: flag beats environment
//! beats file beats default. Knows names and kinds, not what the values mean.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use sekisho::protocol::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::keys::{CLIENT_KEYS, KEYS, Key, Kind, RULE_KEYS, SERVER_KEYS, nearest};

/// Every variable of ours begins so.
const PREFIX: &str = "SEKISHO_";

/// What was written for one setting.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Text.
    Text(String),
    /// Text that is never shown.
    Secret(Secret),
    /// Texts.
    List(Vec<String>),
    /// Texts by name, never shown.
    Table(BTreeMap<String, Secret>),
    /// A whole number.
    Number(u64),
}

/// One setting as somebody wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Settings by name, of the whole program or of one `[[server]]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings(BTreeMap<&'static str, Written>);

/// All that was written, everywhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigFile {
    /// The winners among flag, environment, file and default.
    pub(crate) settings: Settings,
    /// Each `[[server]]`, with its place.
    pub(crate) servers: Vec<(Origin, Settings)>,
    /// Each `[[client]]`, with its place.
    pub(crate) clients: Vec<(Origin, Settings)>,
    /// Each `[[rule]]`, with its place.
    pub(crate) rules: Vec<(Origin, Settings)>,
    /// The environment without what is a setting of ours.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl ConfigFile {
    /// The defaults alone.
    pub(crate) fn defaults() -> Self {
        let mut settings = Settings::default();
        for key in KEYS {
            if let Some(Ok(value)) = key.default.map(|text| read_text(key.kind, text)) {
                settings.0.insert(key.path, Written { value, origin: Origin::Default });
            }
        }
        Self { settings, ..Self::default() }
    }

    /// Lays a file over what is there.
    ///
    /// # Errors
    /// When it is no TOML, or holds an unknown or reserved name or another kind of value.
    pub(crate) fn overlay_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let file = File { path, text };
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let problem = format!("not valid TOML: {}", error.message().trim_end_matches('.'));
            ConfigError::new(format!("{}, line {}: {problem}", path.display(), file.line(at)))
        })?;
        for (name, value) in document.get_ref() {
            match name.get_ref().as_ref() {
                "server" => self.servers = file.tables("server", SERVER_KEYS, value)?,
                "rule" => self.rules = file.tables("rule", RULE_KEYS, value)?,
                "client" => self.clients = file.tables("client", CLIENT_KEYS, value)?,
                setting => {
                    file.read(KEYS, setting, name.span().start, value, &mut self.settings)?;
                }
            }
        }
        Ok(())
    }

    /// Lays the environment over what is there.
    ///
    /// # Errors
    /// When a variable with our prefix is unknown, reserved, or no text.
    pub(crate) fn overlay_environment(
        &mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (variable, value) in variables {
            let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else {
                if !OF_OURS.iter().any(|ours| variable.to_string_lossy().starts_with(ours)) {
                    self.environment.push((variable, value));
                }
                continue;
            };
            if variable != CONFIG_VARIABLE && !is_service_link(variable, &value) {
                self.overlay_variable(variable, &value)?;
            }
        }
        Ok(())
    }

    fn overlay_variable(&mut self, variable: &str, value: &OsStr) -> Result<(), ConfigError> {
        let Some(key) = KEYS.iter().find(|key| key.variable() == variable) else {
            return Err(unknown_variable(variable));
        };
        let origin = Origin::Environment(variable.to_owned());
        let refuse = |problem: &str| ConfigError::at(&origin, key.path, None, problem);
        let text = value.to_str().ok_or_else(|| refuse("it is not valid UTF-8"))?;
        let value = read_text(key.kind, text).map_err(|problem| refuse(&problem))?;
        self.settings.0.insert(key.path, Written { value, origin });
        Ok(())
    }

    /// Lays one flag over what is there.
    pub(crate) fn overlay_flag(&mut self, flag: &'static str, key: &'static str, text: &str) {
        let written = Written { value: Value::Text(text.to_owned()), origin: Origin::Flag(flag) };
        self.settings.0.insert(key, written);
    }

    /// The files that settings name, but for the keys, which are followed by themselves.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let tables = [&self.servers, &self.clients].into_iter().flatten();
        let all = std::iter::once(&self.settings).chain(tables.map(|(_, settings)| settings));
        all.flat_map(|settings| {
            let names = settings.written().filter(|key| key.ends_with("_file"));
            names.filter(|key| *key != "key_file").map(|key| settings.path(key))
        })
    }

    /// Guards this command alone, whatever the file guards.
    pub(crate) fn overlay_command(&mut self, command: &[String]) {
        let command = Value::List(command.to_vec());
        self.guard_alone("upstream.command", command, &Origin::Flag(TYPED_COMMAND));
    }

    /// Guards the server at the URL that `upstream` says, if it says one, and no other.
    ///
    /// # Errors
    /// When one file says both.
    pub(crate) fn overlay_upstream(&mut self) -> Result<(), ConfigError> {
        let Some(written) = self.settings.find("upstream") else { return Ok(()) };
        if matches!(written.origin, Origin::File { .. }) && !self.servers.is_empty() {
            let problem =
                "a [[server]] is written as well: move it there, as upstream = { url = … }";
            return Err(self.settings.refuse("upstream", problem));
        }
        let (value, origin) = (written.value.clone(), written.origin.clone());
        self.guard_alone("upstream.url", value, &origin);
        Ok(())
    }

    fn guard_alone(&mut self, what: &'static str, value: Value, origin: &Origin) {
        let text = |text: &str| Value::Text(text.to_owned());
        let values = [
            ("name", text("main")),
            ("path", text("/")),
            ("scopes", Value::List(vec!["mcp".to_owned()])),
            (what, value),
        ];
        let written = |value| Written { value, origin: origin.clone() };
        let settings = values.map(|(key, value)| (key, written(value)));
        self.servers = vec![(origin.clone(), Settings(settings.into()))];
    }
}

/// Beginnings of variables that are no settings and still for us alone: the database's password,
/// an administrator's, a service manager's secrets, and its ways to speak with us.
const OF_OURS: [&str; 7] = [
    "PG",
    "KC_BOOTSTRAP_",
    "CREDENTIALS_DIRECTORY",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_",
];

/// Where a command that was typed is said to come from.
const TYPED_COMMAND: &str = "-- COMMAND";

/// The variable that names the file itself.
pub(crate) const CONFIG_VARIABLE: &str = "SEKISHO_CONFIG";

/// Kubernetes tells every container of a service called `sekisho` where that service is, in
/// variables that look like ours and are not meant for us.
fn is_service_link(variable: &str, value: &OsStr) -> bool {
    let is_address = || value.to_str().is_some_and(|value| value.contains("://"));
    variable.starts_with("SEKISHO_SERVICE_")
        || variable.starts_with("SEKISHO_PORT_")
        || (variable == "SEKISHO_PORT" && is_address())
}

fn unknown_variable(variable: &str) -> ConfigError {
    let tables = ["server", "client", "rule"];
    let is_of = |table: &&&str| variable.starts_with(&format!("{PREFIX}{}_", table.to_uppercase()));
    if let Some(table) = tables.iter().find(is_of) {
        let problem = "tables come from the file only: write them in sekisho.toml";
        return ConfigError::new(format!("{variable}: [[{table}]] {problem}"));
    }
    let path = variable.trim_start_matches(PREFIX).to_lowercase().replace("__", ".");
    let meant = nearest(&path, KEYS.iter().map(|key| key.path))
        .and_then(|path| KEYS.iter().find(|key| key.path == path))
        .map(Key::variable);
    let remedy = match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => "unset it, every SEKISHO_ variable must be a setting".to_owned(),
    };
    ConfigError::new(format!("{variable}: there is no such setting: {remedy}"))
}

/// A value from the environment, from a flag, or from the table of defaults.
fn read_text(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Secret => Ok(Value::Secret(Secret::new(text))),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::List(items.map(str::to_owned).collect()))
        }
        Kind::Number => text
            .parse()
            .map(Value::Number)
            .map_err(|_| "it is not a whole number: write digits only".to_owned()),
        Kind::Table | Kind::Names => Err("it is a table: write it in the file".to_owned()),
        Kind::Reserved(purpose) => Err(reserved(purpose)),
    }
}

/// The one wording for every name that is kept for later.
pub(crate) fn reserved(purpose: &str) -> String {
    format!("it is reserved for {purpose} and not built yet: leave it out")
}

/// A file being read, for the lines in its messages.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.get(..at).unwrap_or_default().matches('\n').count()
    }

    fn origin(&self, at: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line(at) }
    }

    fn tables(
        &self,
        name: &str,
        keys: &'static [Key],
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<(Origin, Settings)>, ConfigError> {
        let refuse = |at: usize| {
            let problem = format!("it is a list of tables: begin each with [[{name}]]");
            ConfigError::at(&self.origin(at), name, None, problem)
        };
        let tables = value.get_ref().as_array().ok_or_else(|| refuse(value.span().start))?;
        let mut read = Vec::new();
        for table in tables {
            let at = table.span().start;
            let table = table.get_ref().as_table().ok_or_else(|| refuse(at))?;
            let mut settings = Settings::default();
            for (name, value) in table {
                let at = name.span().start;
                self.read(keys, name.get_ref(), at, value, &mut settings)?;
            }
            read.push((self.origin(at), settings));
        }
        Ok(read)
    }

    /// Reads the setting called `path`, or the table of settings below it.
    fn read(
        &self,
        keys: &'static [Key],
        path: &str,
        at: usize,
        value: &Spanned<DeValue<'_>>,
        into: &mut Settings,
    ) -> Result<(), ConfigError> {
        let origin = self.origin(at);
        if let Some(key) = keys.iter().find(|key| key.path == path) {
            let value = read_value(key.kind, value.get_ref())
                .map_err(|problem| ConfigError::at(&origin, path, None, problem))?;
            into.0.insert(key.path, Written { value, origin });
            return Ok(());
        }
        let is_table = keys
            .iter()
            .any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
        match value.get_ref().as_table() {
            Some(table) if is_table => {
                for (name, value) in table {
                    let below = format!("{path}.{}", name.get_ref());
                    self.read(keys, &below, name.span().start, value, into)?;
                }
                Ok(())
            }
            None if is_table => {
                let problem = format!("it is a table: write [{path}] and its settings below");
                Err(ConfigError::at(&origin, path, None, problem))
            }
            Some(_) | None => {
                let remedy = match nearest(path, keys.iter().map(|key| key.path)) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "take it out".to_owned(),
                };
                let problem = format!("there is no such setting: {remedy}");
                Err(ConfigError::at(&origin, path, None, problem))
            }
        }
    }
}

/// A value from a file.
fn read_value(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    match (kind, value) {
        (Kind::Reserved(purpose), _) => Err(reserved(purpose)),
        (Kind::Text, DeValue::String(text)) => Ok(Value::Text(text.to_string())),
        (Kind::Secret, DeValue::String(text)) => Ok(Value::Secret(Secret::new(text.as_ref()))),
        (Kind::Number, DeValue::Integer(digits)) => {
            u64::from_str_radix(digits.as_str(), digits.radix())
                .map(Value::Number)
                .map_err(|_| "it is not a whole number from 0 on: write digits only".to_owned())
        }
        (Kind::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map(Value::List)
            .ok_or_else(|| wanted(kind)),
        (Kind::Table | Kind::Names, DeValue::Table(table)) => table
            .iter()
            .map(|(name, value)| {
                Some((name.get_ref().to_string(), Secret::new(value.get_ref().as_str()?)))
            })
            .collect::<Option<_>>()
            .map(Value::Table)
            .ok_or_else(|| wanted(kind)),
        (Kind::Text | Kind::Secret | Kind::Number | Kind::List | Kind::Table | Kind::Names, _) => {
            Err(wanted(kind))
        }
    }
}

fn wanted(kind: Kind) -> String {
    let wanted = match kind {
        Kind::Text | Kind::Secret | Kind::Reserved(_) => "text: write it in quotes",
        Kind::List => "a list of texts: write for example [\"one\", \"two\"]",
        Kind::Number => "a whole number: write digits without quotes",
        Kind::Table | Kind::Names => "a table of texts: write for example { NAME = \"text\" }",
    };
    format!("it must be {wanted}")
}

impl Settings {
    /// What was written for `key`, or its default.
    pub(crate) fn find(&self, key: &str) -> Option<&Written> {
        self.0.get(key)
    }

    /// Where `key` was written.
    pub(crate) fn origin(&self, key: &str) -> &Origin {
        self.find(key).map_or(&Origin::Default, |written| &written.origin)
    }

    /// Whether anybody wrote `key` anywhere.
    pub(crate) fn was_written(&self, key: &str) -> bool {
        self.find(key).is_some_and(|written| written.origin != Origin::Default)
    }

    /// Everything that anybody wrote anywhere.
    pub(crate) fn written(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(|(_, written)| written.origin != Origin::Default).map(|(key, _)| *key)
    }

    /// The text of `key`; empty where there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        match self.find(key).map(|written| &written.value) {
            Some(Value::Text(text)) => text,
            Some(Value::Secret(_) | Value::List(_) | Value::Number(_) | Value::Table(_)) | None => {
                ""
            }
        }
    }

    /// The secret of `key`.
    pub(crate) fn secret(&self, key: &str) -> Option<&Secret> {
        match self.find(key).map(|written| &written.value) {
            Some(Value::Secret(secret)) => Some(secret),
            Some(Value::Text(_) | Value::List(_) | Value::Number(_) | Value::Table(_)) | None => {
                None
            }
        }
    }

    /// The texts of `key`; none where there is no such list.
    pub(crate) fn list(&self, key: &str) -> &[String] {
        match self.find(key).map(|written| &written.value) {
            Some(Value::List(items)) => items,
            Some(Value::Text(_) | Value::Secret(_) | Value::Number(_) | Value::Table(_)) | None => {
                &[]
            }
        }
    }

    /// The texts of `key` by their names; none where there is no such table.
    pub(crate) fn table(&self, key: &str) -> impl Iterator<Item = (&String, &Secret)> {
        let table = match self.find(key).map(|written| &written.value) {
            Some(Value::Table(table)) => Some(table),
            Some(Value::Text(_) | Value::Secret(_) | Value::Number(_) | Value::List(_)) | None => {
                None
            }
        };
        table.into_iter().flatten()
    }

    /// The number of `key`; 0 where there is none.
    pub(crate) fn number(&self, key: &str) -> u64 {
        match self.find(key).map(|written| &written.value) {
            Some(Value::Number(number)) => *number,
            Some(Value::Text(_) | Value::Secret(_) | Value::List(_) | Value::Table(_)) | None => 0,
        }
    }

    /// The text of `key`, understood by `read`.
    pub(crate) fn parse<T, E: Display>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        read(self.text(key)).map_err(|problem| self.refuse(key, problem))
    }

    /// The path that `key` names; relative ones are relative to the file that names them.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.resolve(key, self.text(key))
    }

    /// `path`, written as part of `key`, from where it was written.
    pub(crate) fn resolve(&self, key: &str, path: &str) -> PathBuf {
        match self.find(key).map(|written| &written.origin) {
            Some(Origin::File { path: file, .. }) => {
                file.parent().unwrap_or_else(|| Path::new("")).join(path)
            }
            Some(Origin::Default | Origin::Environment(_) | Origin::Flag(_)) | None => {
                PathBuf::from(path)
            }
        }
    }

    /// The sentence about a wrong `key`, with its place and (unless it is a secret) its value.
    pub(crate) fn refuse(&self, key: &str, problem: impl Display) -> ConfigError {
        let Some(written) = self.find(key) else {
            return ConfigError::at(&Origin::Default, key, None, problem);
        };
        let value = match &written.value {
            Value::Text(text) => Some(shown(text).to_owned()),
            Value::List(items) => Some(items.join(",")),
            Value::Number(number) => Some(number.to_string()),
            Value::Secret(_) | Value::Table(_) => None,
        };
        ConfigError::at(&written.origin, key, value.as_deref(), problem)
    }
}

/// A text as it may be shown: the URL of a database holds a password, and any other may.
pub(crate) fn shown(text: &str) -> &str {
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        "postgres://***"
    } else if text.contains("://") && text.contains('@') {
        "***"
    } else {
        text
    }
}
