//! A store in one `SQLite` file, shared by the server and the command line.
//!
//! One connection writes, a few read. The verbs are those of every SQL database: `sql/verbs.rs`.

#[path = "../sql/condition.rs"]
mod condition;
#[path = "../sql/flows.rs"]
mod flows;
#[path = "../sql/grants.rs"]
mod grants;
mod open;
#[path = "../sql/provider_sessions.rs"]
mod provider_sessions;
#[path = "../sql/rows.rs"]
mod rows;
#[path = "../sql/schema.rs"]
mod schema;
#[path = "../sql/sweep.rs"]
mod sweep;
#[path = "../sql/verbs.rs"]
mod verbs;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Transaction;
use sqlx::sqlite::SqlitePool;

pub use self::open::{Durability, OpenError};
use self::verbs::{Uncounted, unavailable};
use super::{Condition, Contents, SchemaAge, StoreError, TableLimits};

// What the files of `sql/` are compiled with.
use self::SqliteStore as SqlStore;
use sqlx::Sqlite as Database;
use sqlx::sqlite::SqliteRow as Row;

/// Longest that a verb waits for the file, or for its turn to write.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// All tables in one file.
pub struct SqliteStore {
    path: PathBuf,
    instance_id: String,
    limits: TableLimits,
    uncounted: Uncounted,
    writer: SqlitePool,
    readers: SqlitePool,
    notes: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, makes it (mode 0600) if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// One [`OpenError`] for each way to be unusable, with the remedy; the file is then as it was.
    pub async fn open(
        path: &Path,
        limits: TableLimits,
        durability: Durability,
    ) -> Result<Self, OpenError> {
        Self::open_waiting(path, limits, durability, WAIT_MAX).await
    }

    /// Looks at the file without bringing its schema up to date. It must be there.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn look(path: &Path) -> Result<Condition, OpenError> {
        open::look(path, WAIT_MAX).await
    }

    async fn open_waiting(
        path: &Path,
        limits: TableLimits,
        durability: Durability,
        wait_max: Duration,
    ) -> Result<Self, OpenError> {
        let open::Opened { path, instance_id, writer, readers, notes } =
            open::open(path, durability, wait_max).await?;
        let uncounted = Uncounted::default();
        Ok(Self { path, instance_id, limits, uncounted, writer, readers, notes })
    }

    /// Ends all connections and folds the write-ahead log into the file. Without it nothing is
    /// lost; the log is folded in when the file is next opened.
    pub async fn close(&self) {
        self.readers.close().await;
        self.notes.close().await;
        self.writer.close().await;
    }

    /// A transaction that holds the right to write from its first statement on, so that what it
    /// reads cannot change under it.
    async fn begin(&self) -> Result<Transaction<'static, Database>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)
    }

    /// The same for what can do without, on a connection of its own that hardly waits: while another
    /// process holds the file, nobody waits behind it.
    async fn begin_for_notes(&self) -> Result<Transaction<'static, Database>, StoreError> {
        self.notes.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::{LocalUser, Store as _};

    #[tokio::test]
    async fn a_locked_file_is_unavailable_for_writing_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        let other = impatient(&folder).await.unwrap();
        let held = other.begin().await.unwrap();

        let refused = store.add_user(&user("alice")).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        let refused = store.remove_user("alice", NOW).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!(store.check().await.is_err(), "/readyz says so");
        assert!(store.find_user("alice").await.unwrap().is_none(), "reading goes on");

        held.rollback().await.unwrap();
        assert!(store.add_user(&user("alice")).await.unwrap());
        store.check().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_stays_locked_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        let held = store.begin().await.unwrap();
        let refused = impatient(&folder).await.unwrap_err();
        assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
        held.rollback().await.unwrap();
        impatient(&folder).await.unwrap();
    }

    async fn impatient(folder: &tempfile::TempDir) -> Result<SqliteStore, OpenError> {
        let path = folder.path().join("sekisho.db");
        let wait_max = Duration::from_millis(400);
        let limits = TableLimits::default();
        SqliteStore::open_waiting(&path, limits, Durability::Normal, wait_max).await
    }

    fn user(name: &str) -> LocalUser {
        LocalUser { name: name.into(), password_hash: "hash".into(), created_at: NOW }
    }

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_305_600);
}
