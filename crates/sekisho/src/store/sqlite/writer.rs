//! Those who write: one after the other, on one connection, and committed together.
//!
//! A step that is over is not committed at once. Whoever has its turn before the runtime is idle joins
//! the same transaction, and then all of it is committed: pages of the file that several of them wrote
//! are written once. Nobody hears how their step came out before the commit that holds it, and if that
//! fails, all of them hear that the store is not available. What a step wrote that fails by itself is
//! undone by itself: each but the first has a savepoint. The first is undone with the whole transaction,
//! which holds nothing else then.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::BUSY_RETRY_EVERY;
use super::log::Log;
use super::open::{Durability, File};
use super::statements::{aside, is_busy, unavailable};
use crate::store::StoreError;

/// The most steps in one transaction.
const STEPS_TOGETHER_MAX: u32 = 128;

/// The right to write, taken in turns.
pub(super) struct Writer {
    pen: Arc<Mutex<Pen>>,
    wait_max: Duration,
}

/// What there is to write with.
pub(super) struct Pen {
    /// `None` once it is closed.
    connection: Option<Connection>,
    durability: Durability,
    /// The transaction that is open, if there is one.
    batch: Option<Batch>,
    pub(super) log: Log,
}

/// Steps that are committed together.
struct Batch {
    /// How many are over.
    steps: u32,
    outcome: watch::Sender<Option<Outcome>>,
}

type Outcome = Result<(), Failure>;

/// Why nothing was committed, for each who waits for it.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
struct Failure(Arc<rusqlite::Error>);

impl Writer {
    pub(super) fn new(mut connection: Connection, file: File, wait_max: Duration) -> Self {
        let durability = file.durability;
        let log = Log::new(&mut connection, file);
        let pen = Pen { connection: Some(connection), durability, batch: None, log };
        Self { pen: Arc::new(Mutex::new(pen)), wait_max }
    }

    /// The pen, for who only reads.
    pub(super) fn pen(&self) -> Arc<Mutex<Pen>> {
        Arc::clone(&self.pen)
    }

    /// A step that holds the right to write from its beginning.
    pub(super) async fn begin(&self) -> Result<Step, StoreError> {
        self.begin_within(self.wait_max).await
    }

    /// The same, with another wait for its turn and for the file together.
    pub(super) async fn begin_within(&self, wait_max: Duration) -> Result<Step, StoreError> {
        let give_up_at = Instant::now() + wait_max;
        let mut pen = timeout_at(give_up_at, self.turn()).await.map_err(too_late)?;
        if pen.batch.as_ref().is_some_and(|batch| batch.steps >= STEPS_TOGETHER_MAX) {
            commit_all(&mut pen);
        }
        while pen.batch.is_none() {
            let Err(error) = pen.open_batch() else { break };
            if !is_busy(&error) || Instant::now() >= give_up_at {
                return Err(error);
            }
            tokio::time::sleep(BUSY_RETRY_EVERY).await;
        }
        // The first needs none: nothing else is in the transaction. It would copy each page before it is written.
        let step = Step { pen, is_over: false };
        if !step.is_first() {
            step.say("SAVEPOINT step")?;
        }
        Ok(step)
    }

    /// The pen, once it is our turn and there is room in the log.
    async fn turn(&self) -> OwnedMutexGuard<Pen> {
        loop {
            let pen = Arc::clone(&self.pen).lock_owned().await;
            let Some(mut is_folding) = pen.log.is_full() else { return pen };
            drop(pen);
            // An error is a log that is gone.
            drop(is_folding.wait_for(|is_folding| !is_folding).await);
        }
    }

    /// Commits what is open and lets go of the file.
    pub(super) async fn close(&self) {
        let mut pen = Arc::clone(&self.pen).lock_owned().await;
        commit_all(&mut pen);
        let connection = pen.connection.take();
        aside(|| drop(connection));
    }
}

fn too_late(elapsed: Elapsed) -> StoreError {
    StoreError::Unavailable(Box::new(elapsed))
}

impl Pen {
    pub(super) fn connection(&self) -> Result<&Connection, StoreError> {
        self.connection
            .as_ref()
            .ok_or_else(|| StoreError::Unavailable("the store is closed".into()))
    }

    fn say(&self, statement: &str) -> Result<(), StoreError> {
        let mut statement = self.connection()?.prepare_cached(statement).map_err(unavailable)?;
        statement.raw_execute().map_err(unavailable)?;
        Ok(())
    }

    /// Whether a transaction is open. Some failures, as of a full disk, end it by themselves.
    pub(super) fn is_open(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_autocommit())
    }

    fn open_batch(&mut self) -> Result<(), StoreError> {
        if self.is_open() {
            // It could not be undone before; it must be now.
            self.say("ROLLBACK")?;
        }
        self.say("BEGIN IMMEDIATE")?;
        self.batch = Some(Batch { steps: 0, outcome: watch::Sender::new(None) });
        Ok(())
    }

    /// Undoes all that is not committed, and tells those who wait for it.
    fn give_up(&mut self, failure: rusqlite::Error) {
        if self.is_open()
            && let Err(error) = self.say("ROLLBACK")
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "a step is not undone yet");
        }
        if let Some(batch) = self.batch.take() {
            batch.outcome.send_replace(Some(Err(Failure(Arc::new(failure)))));
        }
    }
}

/// Commits the steps that are over. Whoever has the pen may do so: no step is under way then.
pub(super) fn commit_all(pen: &mut OwnedMutexGuard<Pen>) {
    let Some(connection) = pen.batch.as_ref().and(pen.connection.as_ref()) else { return };
    let commit = || connection.prepare_cached("COMMIT")?.raw_execute();
    let committed = match pen.durability {
        Durability::Normal => commit(),
        // It waits for the disk.
        Durability::Full => aside(commit),
    };
    if let Err(error) = committed {
        pen.give_up(error);
        return;
    }
    if let Some(batch) = pen.batch.take() {
        batch.outcome.send_replace(Some(Ok(())));
    }
    if pen.log.is_long() {
        let turns = Arc::clone(OwnedMutexGuard::mutex(pen));
        pen.log.fold(turns);
    }
}

/// Commits once the runtime has nothing else to do, or has done a good deal of it.
async fn commit_soon(turns: Arc<Mutex<Pen>>) {
    tokio::task::yield_now().await;
    commit_all(&mut turns.lock_owned().await);
}

/// One verb while it writes. Dropped before its end it leaves nothing.
pub(super) struct Step {
    pen: OwnedMutexGuard<Pen>,
    is_over: bool,
}

impl Step {
    pub(super) fn connection(&self) -> Result<&Connection, StoreError> {
        self.pen.connection()
    }

    /// Whether nothing else is in the transaction.
    fn is_first(&self) -> bool {
        self.pen.batch.as_ref().is_none_or(|batch| batch.steps == 0)
    }

    /// Statements without values and answers.
    #[expect(clippy::unused_async, reason = "as elsewhere, where it waits for the database")]
    pub(super) async fn run(&mut self, statements: &'static str) -> Result<(), StoreError> {
        self.connection()?.execute_batch(statements).map_err(unavailable)
    }

    /// Ends it, and comes back when what it wrote, and what it saw of others, is committed.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let mut outcome = self.end()?;
        drop(self);
        let outcome = outcome.wait_for(Option::is_some).await;
        match outcome.as_deref() {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(failure))) => Err(StoreError::Unavailable(Box::new(failure.clone()))),
            // The runtime ends, and whoever was to commit with it.
            Ok(None) | Err(_) => Err(StoreError::Unavailable("the store is closed".into())),
        }
    }

    /// Leaves what was written to the batch, which the first who does so has committed.
    fn end(&mut self) -> Result<watch::Receiver<Option<Outcome>>, StoreError> {
        if !self.is_first() {
            self.say("RELEASE step")?;
        } else if !self.pen.is_open() {
            return Err(StoreError::Unavailable("the transaction is over".into()));
        }
        let turns = Arc::clone(OwnedMutexGuard::mutex(&self.pen));
        let Some(batch) = self.pen.batch.as_mut() else {
            return Err(StoreError::Unavailable("the transaction is over".into()));
        };
        self.is_over = true;
        batch.steps += 1;
        if batch.steps == 1 {
            tokio::spawn(commit_soon(turns));
        }
        Ok(batch.outcome.subscribe())
    }

    fn say(&self, statement: &str) -> Result<(), StoreError> {
        self.pen.say(statement)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let is_undone = !self.is_first()
            && self.pen.is_open()
            && self.say("ROLLBACK TO step").is_ok()
            && self.say("RELEASE step").is_ok();
        if !is_undone {
            self.pen.give_up(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT),
                Some("another step of the same transaction could not be undone by itself".into()),
            ));
        }
    }
}
