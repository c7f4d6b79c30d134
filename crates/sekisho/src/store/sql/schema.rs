//! Brings the schema up to date, for each database alike (see `verbs.rs`).

use sqlx::migrate::{AppliedMigration, Migrate as _, MigrateError, Migration, MigrationType};
use sqlx::{SqlSafeStr as _, Transaction};

use super::Database;
use crate::mint;

/// Why the schema is not one to work with.
#[derive(Debug)]
pub(super) enum SchemaError {
    /// It has a version that this program does not know; the newest it knows.
    Newer { found: i64, known: i64 },
    /// It has a version that we know otherwise.
    Altered { version: i64 },
    /// The database refused a statement.
    Refused(sqlx::Error),
    /// Anything else.
    Failed(MigrateError),
}

/// Applies what is missing of `migrations` (version, name, statements; oldest first) and gives the
/// instance id, which the first to open has made. `step` keeps other processes from doing the same.
pub(super) async fn bring_up_to_date(
    step: &mut Transaction<'static, Database>,
    migrations_table: &str,
    migrations: &[(i64, &'static str, &'static str)],
) -> Result<String, SchemaError> {
    step.ensure_migrations_table(migrations_table).await.map_err(failure)?;
    let applied = step.list_applied_migrations(migrations_table).await.map_err(failure)?;
    let known: Vec<Migration> = migrations.iter().map(migration).collect();
    for applied in &applied {
        refuse_unknown(applied, &known)?;
    }
    for migration in known.get(applied.len()..).unwrap_or_default() {
        step.apply(migrations_table, migration).await.map_err(failure)?;
    }
    let found: Option<String> = sqlx::query_scalar("SELECT id FROM instance LIMIT 1")
        .fetch_optional(&mut **step)
        .await
        .map_err(SchemaError::Refused)?;
    let instance_id = found.unwrap_or_else(mint::id);
    sqlx::query("INSERT INTO instance (id) VALUES ($1) ON CONFLICT (id) DO NOTHING")
        .bind(&instance_id)
        .execute(&mut **step)
        .await
        .map_err(SchemaError::Refused)?;
    Ok(instance_id)
}

pub(super) fn refuse_unknown(
    applied: &AppliedMigration,
    known: &[Migration],
) -> Result<(), SchemaError> {
    let version = applied.version;
    match known.iter().find(|known| known.version == version) {
        Some(known) if known.checksum == applied.checksum => Ok(()),
        Some(_) => Err(SchemaError::Altered { version }),
        None => {
            let known = known.last().map_or(0, |newest| newest.version);
            Err(SchemaError::Newer { found: version, known })
        }
    }
}

pub(super) fn migration(&(version, name, sql): &(i64, &'static str, &'static str)) -> Migration {
    Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
}

pub(super) fn failure(error: MigrateError) -> SchemaError {
    if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
        return SchemaError::Refused(error);
    }
    SchemaError::Failed(error)
}
