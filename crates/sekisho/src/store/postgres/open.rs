//! Connects, makes our own schema, and refuses one we do not know. The password never leaves here.

use std::str::FromStr as _;
use std::time::Duration;

use sekisho_protocol::Secret;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use url::Url;

use super::rows;
use super::schema::{self, Migration, SchemaError};
use super::statements::{Step, query, unavailable};
use super::{CONNECTIONS_MAX, Condition, SchemaAge, condition};
use crate::store::StoreError;

/// Why a database could not be opened as a store. `place` never holds a password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// Not a URL of `PostgreSQL`, or one with a parameter nobody reads.
    #[error("{problem}: write \"postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full\"")]
    Url {
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody answers there.
    #[error("the store {place} does not answer: start it, or check host, port and network")]
    Unreachable {
        /// Host, port and database.
        place: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers, and does not let us in.
    #[error("the store {place} refuses us: check user, password, database and its pg_hba.conf")]
    Refused {
        /// Host, port and database.
        place: String,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its schema has a version that this program does not know.
    #[error(
        "the store {place} was written by a newer version of sekisho (schema {found}, known up to \
         {known}): run that version, or restore a backup made before it"
    )]
    Newer {
        /// Host, port and database.
        place: String,
        /// The first version that is not known.
        found: i64,
        /// The newest version that is.
        known: i64,
    },
    /// Its schema has a version that we know otherwise.
    #[error(
        "the store {place} has another schema {version} than this version of sekisho: run the \
         version that wrote it, or restore a backup"
    )]
    Altered {
        /// Host, port and database.
        place: String,
        /// The version that differs.
        version: i64,
    },
    /// Anything else, such as a right we lack.
    #[error(
        "cannot open the store {place}: our user must own the schema \"sekisho\", or be allowed to \
         create it in that database"
    )]
    Unusable {
        /// Host, port and database.
        place: String,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The database opened.
pub(super) struct Opened {
    pub(super) place: String,
    pub(super) instance_id: String,
    pub(super) pool: PgPool,
}

pub(super) async fn open(url: &Secret, wait_max: Duration) -> Result<Opened, PostgresOpenError> {
    let options = options(url, wait_max)?;
    let place = place(&options);
    warn_of_plain_text(&options, &place);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(wait_max)
        .connect_with(options)
        .await
        .map_err(|error| refusal(&place, unavailable(error)))?;
    match migrate(&place, &pool).await {
        Ok(instance_id) => Ok(Opened { place, instance_id, pool }),
        Err(refused) => {
            pool.close().await;
            Err(refused)
        }
    }
}

/// Looks at the database, and leaves its schema as it is.
pub(super) async fn look(url: &Secret, wait_max: Duration) -> Result<Condition, PostgresOpenError> {
    let options = options(url, wait_max)?;
    let place = place(&options);
    warn_of_plain_text(&options, &place);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(wait_max)
        .connect_with(options)
        .await
        .map_err(|error| refusal(&place, unavailable(error)))?;
    let refused = |error| refusal(&place, error);
    let begun = pool.begin().await;
    let mut step = Step(begun.map_err(|error| refused(unavailable(error)))?);
    let is_made = query(
        "SELECT EXISTS (SELECT 1 FROM pg_tables
            WHERE schemaname = $1 AND tablename = '_sqlx_migrations')",
    )
    .bind(SCHEMA)
    .fetch_one(&mut step, rows::first::<bool>)
    .await
    .map_err(refused)?;
    if !is_made {
        return Ok(Condition { schema: SchemaAge::Absent, contents: None });
    }
    let looked = condition::look(step, &MIGRATIONS).await;
    pool.close().await;
    looked.map_err(|error| schema_refusal(&place, error))
}

/// Waits for the right to write, and keeps it until the transaction ends.
pub(super) async fn take_turn(step: &mut Step) -> Result<(), StoreError> {
    query("SELECT pg_advisory_xact_lock($1)").bind(WRITE_LOCK).execute(step).await?;
    Ok(())
}

pub(super) fn options(
    url: &Secret,
    wait_max: Duration,
) -> Result<PgConnectOptions, PostgresOpenError> {
    let wrong = |problem: String| PostgresOpenError::Url { problem };
    let parsed =
        Url::parse(url.reveal()).map_err(|error| wrong(format!("it is no URL ({error})")))?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(wrong("its scheme is not postgres".to_owned()));
    }
    let names_database = !parsed.path().trim_start_matches('/').is_empty()
        || parsed.query_pairs().any(|(name, _)| name == "dbname");
    if parsed.cannot_be_a_base() || !names_database {
        return Err(wrong("it names no database".to_owned()));
    }
    // The database library logs what it does not know with its value, and goes on without.
    if let Some((name, _)) =
        parsed.query_pairs().find(|(name, _)| !PARAMETERS.contains(&name.as_ref()))
    {
        let known = PARAMETERS.join(", ");
        return Err(wrong(format!("it has a parameter {name:?}, which is none of {known}")));
    }
    let options = PgConnectOptions::from_str(url.reveal())
        .map_err(|_| wrong("one of its parts cannot be read".to_owned()))?;
    let milliseconds = wait_max.as_millis().to_string();
    Ok(options
        .application_name("sekisho")
        .options([
            ("search_path", SCHEMA),
            ("lock_timeout", &milliseconds),
            ("statement_timeout", &milliseconds),
            // A stalled instance must not keep the others from writing.
            ("idle_in_transaction_session_timeout", &milliseconds),
        ])
        .disable_statement_logging())
}

/// Host, port and database, for messages.
fn place(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("postgres at {host}, database {database:?}")
}

fn warn_of_plain_text(options: &PgConnectOptions, place: &str) {
    let is_near = options.get_socket().is_some()
        || matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]")
        || options.get_host().starts_with('/');
    let is_checked = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    if !is_near && !is_checked {
        tracing::warn!(
            "{place}: whoever is on the way can read and change what is sent; add \
             ?sslmode=verify-full to the URL"
        );
    }
}

/// Makes the schema if it is not there, brings it up to date and gives the instance id. All or
/// nothing, and one instance at a time.
async fn migrate(place: &str, pool: &PgPool) -> Result<String, PostgresOpenError> {
    let refused = |error| refusal(place, error);
    let mut step = Step(pool.begin().await.map_err(|error| refusal(place, unavailable(error)))?);
    take_turn(&mut step).await.map_err(refused)?;
    // Writing a large table anew takes longer than any request may.
    step.run("SET LOCAL statement_timeout = 0").await.map_err(refused)?;
    let is_there = query("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
        .bind(SCHEMA)
        .fetch_one(&mut step, rows::first::<bool>)
        .await
        .map_err(refused)?;
    if !is_there {
        query("CREATE SCHEMA sekisho").execute(&mut step).await.map_err(refused)?;
    }
    let instance_id = schema::bring_up_to_date(&mut step, &MIGRATIONS)
        .await
        .map_err(|error| schema_refusal(place, error))?;
    step.commit().await.map_err(refused)?;
    Ok(instance_id)
}

fn schema_refusal(place: &str, error: SchemaError) -> PostgresOpenError {
    let place = place.to_owned();
    match error {
        SchemaError::Newer { found, known } => PostgresOpenError::Newer { place, found, known },
        SchemaError::Altered { version } => PostgresOpenError::Altered { place, version },
        SchemaError::Refused(error) => refusal(&place, error),
    }
}

fn refusal(place: &str, error: StoreError) -> PostgresOpenError {
    let place = place.to_owned();
    let source = match error {
        StoreError::Unavailable(source) => source,
        unreadable @ StoreError::Unreadable { .. } => {
            return PostgresOpenError::Unusable { place, source: Box::new(unreadable) };
        }
    };
    let said = source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    let Some(code) = said.and_then(sqlx::error::DatabaseError::code) else {
        return PostgresOpenError::Unreachable { place, source };
    };
    if REFUSALS.iter().any(|class| code.starts_with(class)) {
        PostgresOpenError::Refused { place, source }
    } else {
        PostgresOpenError::Unusable { place, source }
    }
}

/// Error classes 28 (authorisation), 3D (no such database) and 53 (too many connections).
const REFUSALS: [&str; 3] = ["28", "3D", "53"];

/// Our tables live in a schema of their own, beside whatever else the database holds.
const SCHEMA: &str = "sekisho";

/// "sekisho" as bytes: the advisory lock that stands for the right to write.
const WRITE_LOCK: i64 = 0x0073_656b_6973_686f;

/// What a URL may say beyond user, password, host, port and database.
const PARAMETERS: [&str; 9] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "dbname", "user", "password"];

/// What was applied is written down as `sqlx` did for the first versions.
pub(super) const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
    success BOOLEAN NOT NULL,
    checksum BYTEA NOT NULL,
    execution_time BIGINT NOT NULL
)";

/// Every schema there ever was, oldest first. Never changed once released, only added to.
const MIGRATIONS: [Migration; 13] = [
    (1, "tables", include_str!("../../../migrations/postgres/0001_tables.sql")),
    (2, "refresh", include_str!("../../../migrations/postgres/0002_refresh.sql")),
    (3, "clients", include_str!("../../../migrations/postgres/0003_clients.sql")),
    (
        4,
        "provider sessions",
        include_str!("../../../migrations/postgres/0004_provider_sessions.sql"),
    ),
    (
        5,
        "last use and personal tokens",
        include_str!("../../../migrations/postgres/0005_last_use_and_personal_tokens.sql"),
    ),
    (6, "people", include_str!("../../../migrations/postgres/0006_people.sql")),
    (7, "flows", include_str!("../../../migrations/postgres/0007_flows.sql")),
    (8, "claims", include_str!("../../../migrations/postgres/0008_claims.sql")),
    (9, "described", include_str!("../../../migrations/postgres/0009_described.sql")),
    (10, "leases", include_str!("../../../migrations/postgres/0010_leases.sql")),
    (
        11,
        "instances and tries",
        include_str!("../../../migrations/postgres/0011_instances_and_tries.sql"),
    ),
    (
        12,
        "shares and vouched",
        include_str!("../../../migrations/postgres/0012_shares_and_vouched.sql"),
    ),
    (13, "families", include_str!("../../../migrations/postgres/0013_families.sql")),
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_its_password() {
        let rows = [
            ("mysql://u:hunter2@db/x", "scheme", "another database"),
            ("postgres://u:hunter2@db:port/x", "no URL", "a port that is no number"),
            ("postgres://u@db/x?pasword=hunter2", "pasword", "a misspelt parameter"),
            ("postgres://u:hunter2@db/x?sslmode=on", "cannot be read", "no such mode"),
        ];
        for (url, said, reason) in rows {
            let refused = options(&Secret::new(url), Duration::from_secs(5)).unwrap_err();
            let message = format!("{refused} {refused:?}");
            assert!(message.contains(said), "{reason}: {message}");
            assert!(!message.contains("hunter2"), "{reason}: {message}");
        }
    }

    #[test]
    fn a_place_is_named_without_user_and_password() {
        let rows = [
            ("postgres://u:hunter2@db:5433/x", "postgres at db:5433, database \"x\""),
            ("postgresql://u:hunter2@db/x", "postgres at db:5432, database \"x\""),
            ("postgres:///x?host=/run/pg&user=u", "postgres at /run/pg, database \"x\""),
        ];
        for (url, expected) in rows {
            let options = options(&Secret::new(url), Duration::from_secs(5)).unwrap();
            assert_eq!(place(&options), expected);
        }
    }
}
