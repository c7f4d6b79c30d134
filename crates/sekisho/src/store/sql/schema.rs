//! Brings the schema up to date, for each database alike (see `verbs.rs`).

use sha2::{Digest as _, Sha384};

use super::{MIGRATIONS_TABLE, Step, query, rows};
use crate::mint;
use crate::store::StoreError;

/// A schema: its version, its name, and the statements that make it of the one before.
pub(super) type Migration = (i64, &'static str, &'static str);

/// Why the schema is not one to work with.
#[derive(Debug)]
pub(super) enum SchemaError {
    /// It has a version that this program does not know; the newest it knows.
    Newer { found: i64, known: i64 },
    /// It has a version that we know otherwise.
    Altered { version: i64 },
    /// The database refused a statement.
    Refused(StoreError),
}

impl From<StoreError> for SchemaError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Applies what is missing of `migrations` (oldest first) and gives the instance id, which the first
/// to open has made. `step` keeps other processes from doing the same.
///
/// What was applied is written down as `sqlx` does, which did it for the first versions.
pub(super) async fn bring_up_to_date(
    step: &mut Step,
    migrations: &[Migration],
) -> Result<String, SchemaError> {
    step.run(MIGRATIONS_TABLE).await?;
    let applied = query("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")
        .fetch_all(&mut *step, rows::applied_migration)
        .await?;
    for (version, checksum) in &applied {
        refuse_unknown(*version, checksum, migrations)?;
    }
    for (version, name, statements) in migrations.get(applied.len()..).unwrap_or_default() {
        step.run(statements).await?;
        let checksum = checksum_of(statements);
        query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES ($1, $2, TRUE, $3, -1)",
        )
        .bind(*version)
        .bind(*name)
        .bind(checksum.as_slice())
        .execute(&mut *step)
        .await?;
    }
    let found = query("SELECT id FROM instance LIMIT 1")
        .fetch_optional(&mut *step, rows::first::<String>)
        .await?;
    let instance_id = found.unwrap_or_else(mint::id);
    query("INSERT INTO instance (id) VALUES ($1) ON CONFLICT (id) DO NOTHING")
        .bind(&instance_id)
        .execute(&mut *step)
        .await?;
    Ok(instance_id)
}

pub(super) fn refuse_unknown(
    version: i64,
    checksum: &[u8],
    migrations: &[Migration],
) -> Result<(), SchemaError> {
    match migrations.iter().find(|(known, ..)| *known == version) {
        Some((_, _, statements)) if checksum_of(statements) == checksum => Ok(()),
        Some(_) => Err(SchemaError::Altered { version }),
        None => {
            let known = migrations.last().map_or(0, |(newest, ..)| *newest);
            Err(SchemaError::Newer { found: version, known })
        }
    }
}

fn checksum_of(statements: &str) -> Vec<u8> {
    Sha384::digest(statements.as_bytes()).to_vec()
}
