//! Looks at a store without bringing it up to date, for each database alike (see `verbs.rs`).

use sqlx::migrate::Migrate as _;

use super::schema::{SchemaError, failure, migration, refuse_unknown};
use super::{Condition, Contents, Database, SchemaAge};

/// Reads what there is, and writes once what is there already, since only that shows that writing
/// works. There must be a table of migrations.
pub(super) async fn look(
    connection: &mut <Database as sqlx::Database>::Connection,
    migrations_table: &str,
    migrations: &[(i64, &'static str, &'static str)],
) -> Result<Condition, SchemaError> {
    let applied = connection.list_applied_migrations(migrations_table).await.map_err(failure)?;
    let known: Vec<_> = migrations.iter().map(migration).collect();
    for applied in &applied {
        refuse_unknown(applied, &known)?;
    }
    let newest = known.last().map_or(0, |newest| newest.version);
    let Some(found) = applied.last().map(|applied| applied.version) else {
        return Ok(Condition { schema: SchemaAge::Absent, contents: None });
    };
    sqlx::query("UPDATE instance SET id = id")
        .execute(&mut *connection)
        .await
        .map_err(SchemaError::Refused)?;
    if found < newest {
        let schema = SchemaAge::Older { found, known: newest };
        return Ok(Condition { schema, contents: None });
    }
    let (clients, logins, sealing_key): (i64, i64, Option<String>) = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM clients), (SELECT COUNT(*) FROM logins), \
         (SELECT sealing_key FROM instance)",
    )
    .fetch_one(connection)
    .await
    .map_err(SchemaError::Refused)?;
    let count = |rows: i64| u64::try_from(rows).unwrap_or_default();
    let contents = Contents { clients: count(clients), logins: count(logins), sealing_key };
    Ok(Condition { schema: SchemaAge::Current(found), contents: Some(contents) })
}
