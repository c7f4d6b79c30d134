//! Looks at a store without bringing it up to date, for each database alike (see `verbs.rs`).

use super::schema::{Migration, SchemaError, refuse_unknown};
use super::{Condition, SchemaAge, Step, query, rows};

/// Reads what there is, and writes once what is there already, since only that shows that writing
/// works. There must be a table of migrations.
pub(super) async fn look(
    mut step: Step,
    migrations: &[Migration],
) -> Result<Condition, SchemaError> {
    let applied = query("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")
        .fetch_all(&mut step, rows::applied_migration)
        .await?;
    for (version, checksum) in &applied {
        refuse_unknown(*version, checksum, migrations)?;
    }
    let newest = migrations.last().map_or(0, |(newest, ..)| *newest);
    let Some((found, _)) = applied.last() else {
        return Ok(Condition { schema: SchemaAge::Absent, contents: None });
    };
    let found = *found;
    query("UPDATE instance SET id = id").execute(&mut step).await?;
    if found < newest {
        step.commit().await?;
        let schema = SchemaAge::Older { found, known: newest };
        return Ok(Condition { schema, contents: None });
    }
    let contents = query(
        "SELECT (SELECT COUNT(*) FROM clients) AS clients, \
            (SELECT COUNT(*) FROM logins) AS logins, (SELECT sealing_key FROM instance) AS sealing_key",
    )
    .fetch_one(&mut step, rows::contents)
    .await?;
    step.commit().await?;
    Ok(Condition { schema: SchemaAge::Current(found), contents: Some(contents) })
}
