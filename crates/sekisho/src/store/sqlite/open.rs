//! Opens the file: private to its owner, ours and no other program's, at the schema we know.
//!
//! Several processes may open one file at once, also a file that is not there yet. A file that is
//! not ours is refused before anything is written to it.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::time::Instant;

use super::readers::Readers;
use super::schema::{self, Migration, SchemaError};
use super::statements::{is_busy, unavailable};
use super::writer::Writer;
use super::{BUSY_RETRY_EVERY, Condition, SchemaAge, condition, query, rows};
use crate::store::StoreError;

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, by `kill -9` too; a power cut may cost the last moments.
    #[default]
    Normal,
    /// A power cut as well: every commit waits for the disk.
    Full,
}

/// Why a file could not be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not there and cannot be made.
    #[error(
        "cannot create the store {path:?}: check that its folder exists and that we may write there"
    )]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Not an `SQLite` file at all, or so damaged that it does not look like one.
    #[error(
        "the store {path:?} is not an SQLite database: name another file, or restore a backup of it"
    )]
    NotDatabase {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else's `SQLite` file.
    #[error("the store {path:?} is the database of another program: name another file")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Its schema has a version that this program does not know.
    #[error(
        "the store {path:?} was written by a newer version of sekisho (schema {found}, known up to \
         {known}): run that version, or restore a backup made before it"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The first version that is not known.
        found: i64,
        /// The newest version that is.
        known: i64,
    },
    /// Its schema has a version that we know otherwise.
    #[error(
        "the store {path:?} has another schema {version} than this version of sekisho: run the \
         version that wrote it, or restore a backup"
    )]
    Altered {
        /// The file.
        path: PathBuf,
        /// The version that differs.
        version: i64,
    },
    /// Another process holds it for longer than we wait.
    #[error("the store {path:?} is locked by another process: end that process or wait for it")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Anything else, such as a file we may not write to or a damaged page.
    #[error("cannot open the store {path:?}: check its permissions, or restore a backup of it")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The file opened: one connection that writes, a few that read.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) instance_id: String,
    pub(super) writer: Writer,
    pub(super) readers: Readers,
}

/// How a connection to the file is made.
#[derive(Debug, Clone)]
pub(super) struct File {
    path: PathBuf,
    pub(super) durability: Durability,
}

impl File {
    /// A connection that waits for nobody: what is busy is asked for again by those who can wait
    /// without a thread.
    pub(super) fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT_MAX);
        // Else a statement with a parameter in LIMIT, or compared by = in a join or under ORDER BY, is planned anew
        // each time it is taken from the cache.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let synchronous = match self.durability {
            Durability::Normal => "NORMAL",
            Durability::Full => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // See `log.rs`.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(connection)
    }
}

pub(super) async fn open(
    path: &Path,
    durability: Durability,
    wait_max: Duration,
) -> Result<Opened, OpenError> {
    // Absolute, so that no name is read as a URI or as ":memory:".
    let path = std::path::absolute(path)
        .map_err(|source| OpenError::Create { path: path.to_owned(), source })?;
    create_private(&path)?;
    let file = File { path, durability };
    let writer = Writer::new(prepare(&file, wait_max).await?, file.clone(), wait_max);
    let instance_id = migrate(&file.path, &writer).await?;
    let readers = Readers::new(file.clone(), wait_max, &writer);
    Ok(Opened { path: file.path, instance_id, writer, readers })
}

/// Looks at a file that is there, and leaves its schema as it is.
pub(super) async fn look(path: &Path, wait_max: Duration) -> Result<Condition, OpenError> {
    let path = std::path::absolute(path)
        .map_err(|source| OpenError::Create { path: path.to_owned(), source })?;
    let file = File { path, durability: Durability::Normal };
    let path = &file.path;
    let refused = |error| refusal(path, error);
    let found = connect_to_ours(&file).map_err(|error| refused(unavailable(error)))?;
    let Some(connection) = found else { return Err(OpenError::Foreign { path: path.clone() }) };
    let writer = Writer::new(connection, file.clone(), wait_max);
    let mut step = writer.begin().await.map_err(refused)?;
    let is_made =
        query("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')")
            .fetch_one(&mut step, rows::first::<bool>)
            .await
            .map_err(refused)?;
    if !is_made {
        return Ok(Condition { schema: SchemaAge::Absent, contents: None });
    }
    let looked = condition::look(step, &MIGRATIONS).await;
    writer.close().await;
    looked.map_err(|error| schema_refusal(path, error))
}

/// Makes the file, readable by its owner only, if there is none. `SQLite` gives the files beside it
/// (`-wal`, `-shm`) the same mode.
fn create_private(path: &Path) -> Result<(), OpenError> {
    // Only ever a new file: closing a file that is open as a database elsewhere in this process
    // would let go of that database's locks (POSIX).
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(OpenError::Create { path: path.to_owned(), source }),
    }
}

/// Takes our file from the eyes of others, should it have been made or copied with another mode. What
/// cannot be changed is told of: it worked until now.
#[cfg(unix)]
fn keep_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    for part in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(part);
        // A file that is not there is made with the mode of the first.
        let Ok(metadata) = std::fs::metadata(&file) else { continue };
        let mode = metadata.permissions().mode() & 0o7777;
        let for_others = mode & 0o077;
        if for_others == 0 {
            continue;
        }
        let private = std::fs::Permissions::from_mode(mode & 0o700);
        match std::fs::set_permissions(&file, private) {
            Ok(()) => tracing::warn!(
                "the store {file:?} could be read by others (mode {mode:04o}): it is its owner's \
                 alone now"
            ),
            Err(error) => tracing::warn!(
                "the store {file:?} can be read by others (mode {mode:04o}), and that cannot be \
                 changed: {error}"
            ),
        }
    }
}

#[cfg(not(unix))]
fn keep_private(_: &Path) {}

/// Refuses a stranger's file, and turns ours to write-ahead logging, which stays with the file.
async fn prepare(file: &File, wait_max: Duration) -> Result<Connection, OpenError> {
    let path = &file.path;
    let give_up_at = Instant::now() + wait_max;
    loop {
        let refused = match connect_to_ours(file) {
            Ok(Some(connection)) => {
                keep_private(path);
                let paged = connection.pragma_update(None, "page_size", PAGE_BYTES);
                // The switch needs the file alone.
                match paged.and_then(|()| connection.pragma_update(None, "journal_mode", "WAL")) {
                    Ok(()) => return Ok(connection),
                    Err(error) => error,
                }
            }
            Ok(None) => return Err(OpenError::Foreign { path: path.clone() }),
            Err(error) => error,
        };
        let is_busy = refused.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
        if !is_busy || Instant::now() >= give_up_at {
            return Err(refusal(path, unavailable(refused)));
        }
        tokio::time::sleep(BUSY_RETRY_EVERY).await;
    }
}

/// `None` if there are tables in it but not our mark. An empty file is free to take.
fn connect_to_ours(file: &File) -> rusqlite::Result<Option<Connection>> {
    let connection = file.connect()?;
    // One statement, so that both are of one moment while another process fills the file.
    let (tables, mark): (i64, i64) = connection.query_row(
        "SELECT (SELECT COUNT(*) FROM sqlite_schema), application_id FROM pragma_application_id",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok((tables == 0 || mark == APPLICATION_ID).then_some(connection))
}

/// Brings the schema up to date and gives the instance id. All or nothing, and one process at a time.
async fn migrate(path: &Path, writer: &Writer) -> Result<String, OpenError> {
    let refused = |error| refusal(path, error);
    let mut step = writer.begin().await.map_err(refused)?;
    let instance_id = schema::bring_up_to_date(&mut step, &MIGRATIONS)
        .await
        .map_err(|error| schema_refusal(path, error))?;
    step.commit().await.map_err(refused)?;
    Ok(instance_id)
}

fn schema_refusal(path: &Path, error: SchemaError) -> OpenError {
    let path = path.to_owned();
    match error {
        SchemaError::Newer { found, known } => OpenError::Newer { path, found, known },
        SchemaError::Altered { version } => OpenError::Altered { path, version },
        SchemaError::Refused(error) => refusal(&path, error),
    }
}

fn refusal(path: &Path, error: StoreError) -> OpenError {
    let path = path.to_owned();
    if is_busy(&error) {
        return OpenError::Locked { path };
    }
    let source: Box<dyn std::error::Error + Send + Sync> = match error {
        StoreError::Unavailable(source) => source,
        unreadable @ StoreError::Unreadable { .. } => Box::new(unreadable),
    };
    let code =
        source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    match code {
        Some(ErrorCode::NotADatabase) => OpenError::NotDatabase { path },
        _ => OpenError::Unusable { path, source },
    }
}

/// How large the pages of a new file are. A commit writes each page whole that anything changed on, and what we
/// write is small and lies all over; with less than this, large stores are looked up more slowly. A file that is
/// there keeps the pages that it has.
pub(super) const PAGE_BYTES: u32 = 2048;

/// "skis", set by the first migration.
const APPLICATION_ID: i64 = 0x736b_6973;

/// Statements that are kept ready on a connection: all there are.
const STATEMENTS_KEPT_MAX: usize = 192;

/// What was applied is written down as `sqlx` did for the first versions.
pub(super) const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";

/// Every schema there ever was, oldest first. Never changed once released, only added to.
const MIGRATIONS: [Migration; 13] = [
    (1, "tables", include_str!("../../../migrations/sqlite/0001_tables.sql")),
    (2, "refresh", include_str!("../../../migrations/sqlite/0002_refresh.sql")),
    (3, "clients", include_str!("../../../migrations/sqlite/0003_clients.sql")),
    (4, "provider sessions", include_str!("../../../migrations/sqlite/0004_provider_sessions.sql")),
    (
        5,
        "last use and personal tokens",
        include_str!("../../../migrations/sqlite/0005_last_use_and_personal_tokens.sql"),
    ),
    (6, "people", include_str!("../../../migrations/sqlite/0006_people.sql")),
    (7, "flows", include_str!("../../../migrations/sqlite/0007_flows.sql")),
    (8, "claims", include_str!("../../../migrations/sqlite/0008_claims.sql")),
    (9, "described", include_str!("../../../migrations/sqlite/0009_described.sql")),
    (10, "leases", include_str!("../../../migrations/sqlite/0010_leases.sql")),
    (11, "tries", include_str!("../../../migrations/sqlite/0011_tries.sql")),
    (
        12,
        "shares and vouched",
        include_str!("../../../migrations/sqlite/0012_shares_and_vouched.sql"),
    ),
    (13, "families", include_str!("../../../migrations/sqlite/0013_families.sql")),
];
