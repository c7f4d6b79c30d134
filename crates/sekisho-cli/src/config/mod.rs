//! The configuration: settings as written ([`written`]) become a [`Config`] as understood, or one
//! sentence about what is wrong. Only this module reads environment and settings files.
//!
//! ```text
//! flags ─┐
//! env ───┼─▶ ConfigFile (names, kinds, places) ─▶ Config (checked values) ─▶ serve, stdio, user
//! file ──┘   written.rs by the table keys.rs      understood.rs
//! ```

mod clients;
mod duration;
mod error;
mod external;
mod introduction;
mod keys;
mod restart;
mod rules;
mod schema;
mod show;
#[cfg(test)]
mod tests;
mod understood;
mod upstream;
mod written;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub(crate) use clients::client_id;
pub(crate) use duration::parse as parse_duration;
pub(crate) use error::ConfigError;
pub(crate) use external::{ExternalConfig, Verification};
pub(crate) use introduction::{TokenKind, TokenWish};
pub(crate) use restart::needing_restart;
pub(crate) use schema::schema;
pub(crate) use show::show;
pub(crate) use understood::{
    Config, IdentityConfig, KeyFile, LogConfig, LogFormat, OidcConfig, Server, StoreLocation,
    TracesConfig,
};
pub(crate) use upstream::Upstream;

use sekisho::protocol::SecretHash;
use written::{CONFIG_VARIABLE, ConfigFile};

/// Read without being named, if it is there.
const DEFAULT_FILE: &str = "sekisho.toml";
/// Largest settings file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What was said on the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) listen: Option<String>,
    pub(crate) public_url: Option<String>,
    pub(crate) store: Option<String>,
    /// The program to guard, and its arguments; none if the settings say what is guarded.
    pub(crate) command: Vec<String>,
    /// The URL of a server to guard, likewise.
    pub(crate) upstream: Option<String>,
}

/// Reads everything there is.
///
/// # Errors
/// The first thing that is wrong, as one sentence.
pub(crate) fn load(
    flags: &Flags,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    understood::understand(&read(flags, environment)?)
}

/// What the files hold that the settings come from, as a number that is another one when any of them
/// changes. A file that cannot be read holds nothing.
pub(crate) fn fingerprint(
    flags: &Flags,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> SecretHash {
    let environment: Vec<_> = environment.collect();
    let mut held = Vec::new();
    let mut note = |text: Option<String>| {
        let hash = text.map(|text| *SecretHash::of(text.as_bytes()).as_bytes());
        held.extend_from_slice(&hash.unwrap_or_default());
    };
    note(read_file(flags, &environment).ok().flatten().map(|(_, text)| text));
    // While the settings cannot be read they name no files.
    if let Ok(written) = read(flags, environment.into_iter()) {
        written.files().for_each(|path| note(read_text(&path).ok()));
    }
    SecretHash::of(&held)
}

/// Lays flags over environment over file over defaults.
///
/// # Errors
/// When a file cannot be read, or something in it is unknown.
pub(crate) fn read(
    flags: &Flags,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<ConfigFile, ConfigError> {
    let environment: Vec<_> = environment.collect();
    let mut written = ConfigFile::defaults();
    if let Some((path, text)) = read_file(flags, &environment)? {
        written.overlay_file(&path, &text)?;
    }
    written.overlay_environment(environment.into_iter())?;
    let given = [
        ("--listen", "listen", &flags.listen),
        ("--public-url", "public_url", &flags.public_url),
        ("--store", "store", &flags.store),
        ("--upstream", "upstream", &flags.upstream),
    ];
    for (flag, key, value) in given {
        if let Some(value) = value {
            written.overlay_flag(flag, key, value);
        }
    }
    if flags.command.is_empty() {
        written.overlay_upstream()?;
    } else {
        written.overlay_command(&flags.command);
    }
    Ok(written)
}

/// The settings file, if one was named or lies here.
fn read_file(
    flags: &Flags,
    environment: &[(OsString, OsString)],
) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let by_environment = || {
        environment
            .iter()
            .find(|(name, _)| name == CONFIG_VARIABLE)
            .map(|(_, value)| (CONFIG_VARIABLE, PathBuf::from(value)))
    };
    let by_flag = flags.config.clone().map(|path| ("--config", path));
    let Some((by, path)) = by_flag.or_else(by_environment) else {
        let path = PathBuf::from(DEFAULT_FILE);
        return match read_text(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(DEFAULT_FILE, &path, &error)),
        };
    };
    match read_text(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) => Err(unreadable(by, &path, &error)),
    }
}

fn unreadable(by: &str, path: &Path, error: &std::io::Error) -> ConfigError {
    let path = path.display();
    ConfigError::new(format!(
        "{by}: cannot read the settings file \"{path}\" ({error}): name a readable file"
    ))
}

/// A small text file, whole.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > FILE_BYTES_MAX) {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}
