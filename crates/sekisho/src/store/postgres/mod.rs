//! A store in a `PostgreSQL` database, shared by all instances of one service.
//!
//! Whatever reads before it writes takes one lock of the database first, so that instances write one
//! after the other, as the processes on an `SQLite` file do. The verbs are those of every SQL
//! database: `sql/verbs.rs`.

#[path = "../sql/condition.rs"]
mod condition;
#[path = "../sql/flows.rs"]
mod flows;
#[path = "../sql/grants.rs"]
mod grants;
mod instances;
mod open;
#[path = "../sql/provider_sessions.rs"]
mod provider_sessions;
#[path = "../sql/rows.rs"]
mod rows;
#[path = "../sql/schema.rs"]
mod schema;
mod statements;
#[path = "../sql/sweep.rs"]
mod sweep;
#[path = "../sql/verbs.rs"]
mod verbs;

use std::fmt;
use std::time::Duration;

use sekisho_protocol::Secret;

pub use self::instances::{INSTANCES_MAX, InstanceSeen};
pub use self::open::PostgresOpenError;
use self::sweep::SweepCursor;
use self::verbs::Uncounted;
use super::{Condition, SchemaAge, StoreError, TableLimits};

// What the files of `sql/` are compiled with.
use self::PostgresStore as SqlStore;
use self::open::MIGRATIONS_TABLE;
use self::statements::{Bind, Column, Query, Row, Step, query, read, unavailable};
use sqlx::postgres::{PgPool as Readers, PgPool as Writer};

/// Longest that a verb waits for a connection, for its turn to write, or for the database to answer.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// Connections of one instance at once.
pub const CONNECTIONS_MAX: u32 = 16;

/// All tables in the schema `sekisho` of one database.
pub struct PostgresStore {
    /// Where it is, without a password.
    place: String,
    instance_id: String,
    limits: TableLimits,
    uncounted: Uncounted,
    sweep_cursor: SweepCursor,
    writer: Writer,
    readers: Readers,
}

impl PostgresStore {
    /// Connects to `url` (`postgres://user:password@host:port/database`, with the parameters of
    /// libpq that concern the connection), makes the schema if it is not there, and brings it up to
    /// date. What the URL leaves out is read from libpq's variables (`PGPASSWORD`, …) and `~/.pgpass`.
    ///
    /// # Errors
    /// One [`PostgresOpenError`] for each way to be unusable, with the remedy and without the
    /// password.
    pub async fn open(url: &Secret, limits: TableLimits) -> Result<Self, PostgresOpenError> {
        let open::Opened { place, instance_id, pool } = open::open(url, WAIT_MAX).await?;
        let (uncounted, sweep_cursor) = (Uncounted::default(), SweepCursor::default());
        Ok(Self {
            place,
            instance_id,
            limits,
            uncounted,
            sweep_cursor,
            writer: pool.clone(),
            readers: pool,
        })
    }

    /// Looks at the database without making or changing its schema.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn look(url: &Secret) -> Result<Condition, PostgresOpenError> {
        open::look(url, WAIT_MAX).await
    }

    /// Whether `url` is one to connect to, without connecting.
    ///
    /// # Errors
    /// [`PostgresOpenError::Url`] says what is wrong with it, without repeating it.
    pub fn check_url(url: &Secret) -> Result<(), PostgresOpenError> {
        open::options(url, WAIT_MAX).map(|_| ())
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.writer.close().await;
    }

    /// A transaction that holds the right to write from its first statement on, so that what it
    /// reads cannot change under it, and what is numbered in it comes in the order of the numbers.
    async fn begin(&self) -> Result<Step, StoreError> {
        let mut step = Step(self.writer.begin().await.map_err(unavailable)?);
        open::take_turn(&mut step).await?;
        Ok(step)
    }

    /// The same: the server itself ends what waits for too long.
    async fn begin_for_notes(&self) -> Result<Step, StoreError> {
        self.begin().await
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("place", &self.place)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
