//! Opens the file: private to its owner, ours and no other program's, at the schema we know.
//!
//! Several processes may open one file at once, also a file that is not there yet. A file that is
//! not ours is refused before anything is written to it.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use super::schema::{self, SchemaError};
use super::{Condition, SchemaAge, condition};

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
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) notes: SqlitePool,
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
    let file = SqliteConnectOptions::new()
        .filename(&path)
        .pragma("wal_autocheckpoint", LOG_PAGES_MAX)
        .busy_timeout(wait_max)
        .foreign_keys(true)
        .synchronous(match durability {
            Durability::Normal => SqliteSynchronous::Normal,
            Durability::Full => SqliteSynchronous::Full,
        })
        .disable_statement_logging();
    prepare(&path, &file, wait_max).await?;
    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(wait_max)
            .idle_timeout(None)
            .max_lifetime(None)
            // A file is not lost as a server is; asking costs as much as a statement.
            .test_before_acquire(false)
    };
    let writer = pool()
        .max_connections(1)
        // A step that could not be written, as on a full disk, is undone by SQLite itself. sqlx does
        // not notice and goes on waiting for its end: only a new connection begins another.
        .before_acquire(|connection, _| {
            let is_free = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_free) })
        })
        .connect_with(file.clone())
        .await
        .map_err(|error| refusal(&path, error))?;
    let notes =
        pool().max_connections(1).connect_lazy_with(file.clone().busy_timeout(NOTES_WAIT_MAX));
    let readers =
        pool().max_connections(READERS_MAX).connect_lazy_with(file.pragma("query_only", "on"));
    match migrate(&path, &writer).await {
        Ok(instance_id) => Ok(Opened { path, instance_id, writer, readers, notes }),
        Err(refused) => {
            writer.close().await;
            Err(refused)
        }
    }
}

/// Looks at a file that is there, and leaves its schema as it is.
pub(super) async fn look(path: &Path, wait_max: Duration) -> Result<Condition, OpenError> {
    let path = std::path::absolute(path)
        .map_err(|source| OpenError::Create { path: path.to_owned(), source })?;
    let file = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(false)
        .busy_timeout(wait_max)
        .disable_statement_logging();
    let refused = |error| refusal(&path, error);
    let mut connection = file.connect().await.map_err(refused)?;
    if is_foreign(&mut connection).await.map_err(refused)? {
        return Err(OpenError::Foreign { path });
    }
    let is_made: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = $1)")
            .bind(MIGRATIONS_TABLE)
            .fetch_one(&mut connection)
            .await
            .map_err(refused)?;
    let looked = if is_made {
        condition::look(&mut connection, MIGRATIONS_TABLE, &MIGRATIONS).await
    } else {
        Ok(Condition { schema: SchemaAge::Absent, contents: None })
    };
    connection.close().await.map_err(refused)?;
    looked.map_err(|error| schema_refusal(&path, error))
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
async fn prepare(
    path: &Path,
    file: &SqliteConnectOptions,
    wait_max: Duration,
) -> Result<(), OpenError> {
    let mut connection = file.connect().await.map_err(|error| refusal(path, error))?;
    if is_foreign(&mut connection).await.map_err(|error| refusal(path, error))? {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    connection.close().await.map_err(|error| refusal(path, error))?;
    keep_private(path);

    let file = file.clone().journal_mode(SqliteJournalMode::Wal);
    let give_up_at = tokio::time::Instant::now() + wait_max;
    loop {
        // The switch needs the file alone and does not wait for it by itself.
        match file.connect().await {
            Ok(connection) => {
                return connection.close().await.map_err(|error| refusal(path, error));
            }
            Err(error) if is_busy(&error) && tokio::time::Instant::now() < give_up_at => {
                tokio::time::sleep(WAL_RETRY_EVERY).await;
            }
            Err(error) => return Err(refusal(path, error)),
        }
    }
}

/// Whether there are tables in it but not our mark. An empty file is free to take.
async fn is_foreign(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // One statement, so that both are of one moment while another process fills the file.
    let (tables, mark): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM sqlite_schema), application_id FROM pragma_application_id",
    )
    .fetch_one(connection)
    .await?;
    Ok(tables > 0 && mark != APPLICATION_ID)
}

/// Brings the schema up to date and gives the instance id. All or nothing, and one process at a time.
async fn migrate(path: &Path, writer: &SqlitePool) -> Result<String, OpenError> {
    let refused = |error| refusal(path, error);
    let mut step = writer.begin_with("BEGIN IMMEDIATE").await.map_err(refused)?;
    let instance_id = schema::bring_up_to_date(&mut step, MIGRATIONS_TABLE, &MIGRATIONS)
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
        SchemaError::Failed(source) => OpenError::Unusable { path, source: Box::new(source) },
    }
}

fn refusal(path: &Path, error: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match primary_code(&error) {
        Some(SQLITE_NOTADB) => OpenError::NotDatabase { path },
        Some(SQLITE_BUSY) => OpenError::Locked { path },
        _ => OpenError::Unusable { path, source: Box::new(error) },
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(SQLITE_BUSY)
}

/// The result code of `SQLite` without its extension in the upper bits.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// `sqlite3.h`: something else holds the file.
const SQLITE_BUSY: u32 = 5;
/// `sqlite3.h`: the header or a page is not one of a database.
const SQLITE_NOTADB: u32 = 26;

/// "skis", set by the first migration.
const APPLICATION_ID: i64 = 0x736b_6973;

/// Pages of the write-ahead log before it is folded into the file: 16 MiB. Folding waits for the disk
/// twice, and a page that was written often is folded once.
const LOG_PAGES_MAX: &str = "4096";

/// How long what can do without waits for the file.
const NOTES_WAIT_MAX: Duration = Duration::from_millis(100);

/// Connections that read side by side; each is a thread, opened when first needed.
const READERS_MAX: u32 = 4;

/// Pause between two attempts to turn a file that others are opening too to write-ahead logging.
const WAL_RETRY_EVERY: Duration = Duration::from_millis(10);

/// Where the applied migrations are written down, as `sqlx` does by default.
const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

/// Every schema there ever was, oldest first. Never changed once released, only added to.
const MIGRATIONS: [(i64, &str, &str); 9] = [
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
    (10, "leases", include_str!("../../../migrations/sqlite/0010_leases.sql")),
];
