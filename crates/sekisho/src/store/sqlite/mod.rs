//! A store in one `SQLite` file, shared by the server and the command line.
//!
//! One connection writes (`writer.rs`), and reads what is short while nobody writes; a few others read. The verbs are those of every SQL database:
//! `sql/verbs.rs`.

#[path = "../sql/condition.rs"]
mod condition;
#[path = "../sql/flows.rs"]
mod flows;
#[path = "../sql/grants.rs"]
mod grants;
mod log;
mod open;
#[path = "../sql/provider_sessions.rs"]
mod provider_sessions;
mod readers;
#[path = "../sql/rows.rs"]
mod rows;
#[path = "../sql/schema.rs"]
mod schema;
mod statements;
#[path = "../sql/sweep.rs"]
mod sweep;
#[path = "../sql/verbs.rs"]
mod verbs;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::open::{Durability, OpenError};
use self::sweep::SweepCursor;
use self::verbs::Uncounted;
use super::{Condition, SchemaAge, StoreError, TableLimits};

// What the files of `sql/` are compiled with.
use self::SqliteStore as SqlStore;
use self::open::MIGRATIONS_TABLE;
use self::readers::Readers;
use self::statements::{Bind, Column, Query, Row, query, read, unavailable};
use self::writer::{Step, Writer};

/// Longest that a verb waits for the file, or for its turn to write.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// Longest that what can do without is waited for.
const NOTES_WAIT_MAX: Duration = Duration::from_millis(100);

/// Pause between two attempts at what another process holds.
const BUSY_RETRY_EVERY: Duration = Duration::from_millis(2);

/// All tables in one file.
pub struct SqliteStore {
    path: PathBuf,
    instance_id: String,
    limits: TableLimits,
    uncounted: Uncounted,
    sweep_cursor: SweepCursor,
    writer: Writer,
    readers: Readers,
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
        let open::Opened { path, instance_id, writer, readers } =
            open::open(path, durability, wait_max).await?;
        let (uncounted, sweep_cursor) = (Uncounted::default(), SweepCursor::default());
        Ok(Self { path, instance_id, limits, uncounted, sweep_cursor, writer, readers })
    }

    /// Ends all connections and folds the write-ahead log into the file. Without it nothing is
    /// lost; the log is folded in when the file is next opened.
    pub async fn close(&self) {
        self.readers.close();
        self.writer.close().await;
    }

    /// A step that holds the right to write from its first statement on, so that what it
    /// reads cannot change under it.
    async fn begin(&self) -> Result<Step, StoreError> {
        self.writer.begin().await
    }

    /// The same for what can do without: while another process holds the file, whoever waits behind it
    /// waits hardly longer.
    async fn begin_for_notes(&self) -> Result<Step, StoreError> {
        self.writer.begin_within(NOTES_WAIT_MAX).await
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
    use super::open::PAGE_BYTES;
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

        drop(held);
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
        drop(held);
        impatient(&folder).await.unwrap();
    }

    #[tokio::test]
    async fn waiting_for_another_process_holds_no_thread() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        let held = impatient(&folder).await.unwrap().begin().await.unwrap();
        let mut others = 0;
        let alice = user("alice");
        tokio::select! {
            biased;
            added = store.add_user(&alice) => panic!("{added:?} though it is locked"),
            () = async {
                for _ in 0..20 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    others += 1;
                }
            } => {}
        }
        assert_eq!(others, 20, "on the same thread");
        drop(held);
        assert!(store.add_user(&alice).await.unwrap(), "and who gave up left nothing behind");
    }

    #[tokio::test]
    async fn a_step_that_fails_takes_nothing_of_others_along() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        let fails = async {
            let mut step = store.begin().await?;
            add(&mut step, "bob").await?;
            query("INSERT INTO users (name) VALUES ('no hash')").execute(&mut step).await?;
            step.commit().await
        };
        let (alice, carol) = (user("alice"), user("carol"));
        let (alice, failed, carol) =
            tokio::join!(store.add_user(&alice), fails, store.add_user(&carol));
        assert!(alice.unwrap() && carol.unwrap());
        assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
        assert_eq!(names(&store).await, ["alice", "carol"]);
    }

    #[tokio::test]
    async fn what_cannot_be_committed_is_answered_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        assert!(store.add_user(&user("alice")).await.unwrap());
        // One of them breaks a promise that is kept at the commit alone.
        let breaks = async {
            let mut step = store.begin().await?;
            step.run("PRAGMA defer_foreign_keys = ON").await?;
            query("INSERT INTO personal_tokens (grant_id, expires_at) VALUES ('no grant', 0)")
                .execute(&mut step)
                .await?;
            step.commit().await
        };
        let bob = user("bob");
        let (added, seen, broken) =
            tokio::join!(store.add_user(&bob), store.add_user(&bob), breaks);
        for (answer, whose) in [(added, "wrote"), (seen, "saw what the other wrote")] {
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{whose}: {answer:?}");
        }
        assert!(matches!(broken, Err(StoreError::Unavailable(_))), "{broken:?}");
        assert_eq!(names(&store).await, ["alice"]);
        assert!(store.add_user(&bob).await.unwrap(), "and it goes on");
    }

    #[tokio::test]
    async fn nobody_reads_what_is_not_committed() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        let commits = async {
            let mut step = store.begin().await?;
            add(&mut step, "bob").await?;
            step.commit().await
        };
        let reads = async {
            assert!(store.find_user("bob").await.unwrap().is_none(), "the step is over");
            tokio::task::yield_now().await;
        };
        let (committed, ()) = tokio::join!(commits, reads);
        committed.unwrap();
        assert!(store.find_user("bob").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_statement_is_planned_once_whatever_it_is_asked_with() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        let pen = store.writer.pen();
        let pen = pen.lock().await;
        let connection = pen.connection().unwrap();
        let ask = || connection.prepare_cached("SELECT seq FROM revocations LIMIT ?1").unwrap();
        for rows_max in 1..4 {
            assert!(ask().query([rows_max]).unwrap().next().unwrap().is_none());
        }
        assert_eq!(ask().get_status(rusqlite::StatementStatus::RePrepare), 0);
    }

    #[tokio::test]
    async fn a_step_given_up_half_way_leaves_nothing_and_the_turn_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        let mut step = store.begin().await.unwrap();
        add(&mut step, "bob").await.unwrap();
        drop(step);
        assert!(store.add_user(&user("alice")).await.unwrap());
        assert_eq!(names(&store).await, ["alice"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_log_is_folded_beside_those_who_write() {
        let folder = tempfile::tempdir().unwrap();
        let store = impatient(&folder).await.unwrap();
        let length = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
        let password_hash = "x".repeat(100_000);
        for number in 0..1000 {
            let user =
                LocalUser { password_hash: password_hash.clone(), ..user(&number.to_string()) };
            assert!(store.add_user(&user).await.unwrap());
        }
        let (log, file) = (length("sekisho.db-wal"), length("sekisho.db"));
        let page = u64::from(PAGE_BYTES);
        // Each page has a header there, and the last step is a few of them.
        let at_most = (page + 24) * u64::from(2 * log::PAGES_MAX + 100);
        assert!(log < at_most, "the log has {log} bytes");
        assert!(file > page * u64::from(log::PAGES_MAX), "the file has {file} bytes");
    }

    #[tokio::test]
    async fn a_new_file_has_small_pages_and_an_older_one_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sekisho.db");
        // Where a file of SQLite says it (https://www.sqlite.org/fileformat2.html §1.3.2).
        let page = || {
            let file = std::fs::read(&path).unwrap();
            let said = file.get(16..18).and_then(|said| said.try_into().ok()).unwrap();
            u32::from(u16::from_be_bytes(said))
        };
        impatient(&folder).await.unwrap().close().await;
        assert_eq!(page(), PAGE_BYTES);

        let made = rusqlite::Connection::open(&path).unwrap();
        made.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 4096; VACUUM")
            .unwrap();
        drop(made);
        let store = impatient(&folder).await.unwrap();
        assert!(store.add_user(&user("alice")).await.unwrap());
        store.close().await;
        assert_eq!(page(), 4096);
    }

    async fn add(step: &mut Step, name: &str) -> Result<u64, StoreError> {
        query("INSERT INTO users (name, password_hash, created_at) VALUES ($1, 'hash', 0)")
            .bind(name)
            .execute(step)
            .await
    }

    async fn names(store: &SqliteStore) -> Vec<String> {
        store.list_users().await.unwrap().into_iter().map(|user| user.name).collect()
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
