//! The store: there, ours, at the schema we know, writable, sealed with a key at hand, and with room.

use std::path::Path;

use sekisho::seal::KeyRing;
use sekisho::store::{Condition, Contents, PostgresStore, SchemaAge, SqliteStore};

use super::finding::{Finding, quoted};
use crate::config::{Config, StoreLocation};
use crate::telemetry::chain;

const ABOUT: &str = "store";

/// A table that is fuller than this is told of, in percent.
const FULL_PERCENT: u64 = 80;
/// Less free space than this on the disk of a file is told of.
#[cfg(unix)]
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

pub(super) async fn examine(config: &Config, keys: Option<&KeyRing>) -> Vec<Finding> {
    match &config.store {
        StoreLocation::Memory => Vec::new(),
        StoreLocation::Sqlite(path) if !path.exists() => {
            let mut found = vec![not_there(path)];
            found.extend(disk(path));
            found
        }
        StoreLocation::Sqlite(path) => {
            let mut found = match SqliteStore::look(path).await {
                Ok(condition) => of(&condition, &quoted(path), config, keys),
                Err(error) => vec![Finding::told(ABOUT, chain(&error))],
            };
            found.extend(mode(path));
            found.extend(disk(path));
            found
        }
        StoreLocation::Postgres(url) => match PostgresStore::look(url).await {
            Ok(condition) => of(&condition, "the database", config, keys),
            Err(error) => vec![Finding::told(ABOUT, chain(&error))],
        },
    }
}

fn of(condition: &Condition, place: &str, config: &Config, keys: Option<&KeyRing>) -> Vec<Finding> {
    match condition.schema {
        SchemaAge::Absent => {
            vec![Finding::ok(ABOUT, format!("{place} is empty: the first start makes the tables"))]
        }
        SchemaAge::Older { found, known } => vec![Finding::warning(
            ABOUT,
            format!("{place} has schema {found}, and this version has {known}"),
            "keep a backup: the next start of `sekisho serve` brings it up to date, and older \
             versions cannot read it then",
        )],
        SchemaAge::Current(version) => {
            let Some(contents) = &condition.contents else { return Vec::new() };
            let mut found = vec![Finding::ok(
                ABOUT,
                format!(
                    "{place} can be written, and has schema {version}, {} clients and {} logins on \
                     their way",
                    contents.clients, contents.logins
                ),
            )];
            found.extend(sealed_with(contents, place, keys));
            found.extend(full("clients", contents.clients, config.tables.clients_max));
            found.extend(full("logins", contents.logins, config.tables.logins_max));
            found
        }
    }
}

fn sealed_with(contents: &Contents, place: &str, keys: Option<&KeyRing>) -> Option<Finding> {
    let (noted, keys) = (contents.sealing_key.as_deref()?, keys?);
    let is_at_hand = keys.ids().iter().any(|id| id.as_str() == noted);
    (!is_at_hand).then(|| {
        Finding::problem(
            ABOUT,
            format!("{place} was sealed with a key that is not in key_file"),
            "put that key back, or remove the store to begin anew",
        )
    })
}

fn full(what: &str, rows: u64, most: u64) -> Option<Finding> {
    (rows.saturating_mul(100) >= most.saturating_mul(FULL_PERCENT)).then(|| {
        Finding::warning(
            ABOUT,
            format!("{rows} of at most {most} {what} are there"),
            format!(
                "find out who makes them (sekisho client list, the log), or raise limits.{what}_max"
            ),
        )
    })
}

fn not_there(path: &Path) -> Finding {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let path = quoted(path);
    if folder.is_dir() {
        Finding::ok(ABOUT, format!("{path} is not there yet: the first start makes it"))
    } else {
        let folder = quoted(folder);
        Finding::problem(
            ABOUT,
            format!("{path} cannot be made: there is no folder {folder}"),
            "make the folder, owned by whom the server runs as",
        )
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let path = quoted(path);
    (mode & 0o077 != 0).then(|| {
        Finding::warning(
            ABOUT,
            format!("{path} can be read by others (mode {mode:04o})"),
            format!("run chmod 600 {path}"),
        )
    })
}

#[cfg(unix)]
fn disk(path: &Path) -> Option<Finding> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let room = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    (free < FREE_BYTES_MIN).then(|| {
        Finding::warning(
            ABOUT,
            format!("the disk of {} has {} MiB left", quoted(path), free / (1024 * 1024)),
            "make room: without it nobody can log in, though tokens in force keep working",
        )
    })
}

#[cfg(not(unix))]
fn mode(_: &Path) -> Option<Finding> {
    None
}

#[cfg(not(unix))]
fn disk(_: &Path) -> Option<Finding> {
    None
}
