//! Listing and ending grants, their last use, and personal access tokens, for each database alike (see
//! `verbs.rs`).

use sekisho_protocol::SecretHash;
use sqlx::{Pool, Transaction};

use super::verbs::{bytes, unavailable};
use super::{Database, rows};
use crate::clock::Timestamp;
use crate::grant::GrantId;
use crate::store::{
    GRANTS_LISTED_MAX, GrantsOf, LOCAL_ISSUER, ListedGrant, PERSONAL_CLIENT,
    PERSONAL_TOKENS_PER_PERSON_MAX, PersonalToken, PersonalTokenAdded, StoreError,
};

macro_rules! list {
    ($whose:literal) => {
        concat!(
            "SELECT grants.id, grants.client_id, clients.metadata, issuer, subject, name, email,
                email_verified, scope, resource, grants.created_at, grants.last_used_at,
                personal_tokens.label, personal_tokens.expires_at
             FROM grants
             LEFT JOIN clients ON clients.id = grants.client_id
             LEFT JOIN personal_tokens ON personal_tokens.grant_id = grants.id
             WHERE (grants.created_at, grants.id) > ($1, $2) AND ",
            $whose,
            " ORDER BY grants.created_at, grants.id LIMIT $3"
        )
    };
}

pub(super) async fn list(
    readers: &Pool<Database>,
    of: &GrantsOf,
    after: Option<&ListedGrant>,
) -> Result<Vec<ListedGrant>, StoreError> {
    let statement = match of {
        GrantsOf::Everyone => list!("TRUE"),
        GrantsOf::Person { .. } => list!("issuer = $4 AND subject = $5"),
        GrantsOf::Client(_) => list!("grants.client_id = $4"),
        GrantsOf::One(_) => list!("grants.id = $4"),
    };
    let (moment, id) =
        after.map_or((i64::MIN, ""), |last| (last.created_at.unix_seconds(), last.id.as_str()));
    let mut query = sqlx::query(statement).bind(moment).bind(id).bind(i64::from(GRANTS_LISTED_MAX));
    for value in values(of) {
        query = query.bind(value);
    }
    let found = query.fetch_all(readers).await.map_err(unavailable)?;
    found.iter().map(rows::listed_grant).collect()
}

pub(super) async fn end(
    step: &mut Transaction<'static, Database>,
    of: &GrantsOf,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let [log, codes, end] = match of {
        GrantsOf::Everyone => [
            "INSERT INTO revocations (grant_id, revoked_at) SELECT id, $1 FROM grants ORDER BY id",
            "DELETE FROM codes WHERE is_redeemed = FALSE",
            "DELETE FROM grants",
        ],
        GrantsOf::Person { .. } => [
            "INSERT INTO revocations (grant_id, revoked_at)
             SELECT id, $1 FROM grants WHERE issuer = $2 AND subject = $3 ORDER BY id",
            "DELETE FROM codes WHERE is_redeemed = FALSE AND issuer = $1 AND subject = $2",
            "DELETE FROM grants WHERE issuer = $1 AND subject = $2",
        ],
        GrantsOf::Client(client) => {
            end_codes_of_client(step, client.as_str()).await?;
            [
                "INSERT INTO revocations (grant_id, revoked_at)
                 SELECT id, $1 FROM grants WHERE client_id = $2 ORDER BY id",
                "",
                "DELETE FROM grants WHERE client_id = $1",
            ]
        }
        GrantsOf::One(_) => [
            "INSERT INTO revocations (grant_id, revoked_at) SELECT id, $1 FROM grants WHERE id = $2",
            "DELETE FROM codes WHERE is_redeemed = FALSE AND grant_id = $1",
            "DELETE FROM grants WHERE id = $1",
        ],
    };
    let mut query = sqlx::query(log).bind(now.unix_seconds());
    for value in values(of) {
        query = query.bind(value);
    }
    query.execute(&mut **step).await.map_err(unavailable)?;
    let besides: &[&'static str] = match of {
        GrantsOf::Everyone => &[
            "DELETE FROM provider_sessions",
            "DELETE FROM browser_sessions",
            "DELETE FROM consents",
        ],
        GrantsOf::Person { .. } => &[
            "DELETE FROM provider_sessions WHERE issuer = $1 AND subject = $2",
            "DELETE FROM browser_sessions WHERE issuer = $1 AND subject = $2",
            "DELETE FROM consents WHERE issuer = $1 AND subject = $2",
        ],
        GrantsOf::Client(_) => &[
            "DELETE FROM provider_sessions WHERE grant_id IN
                (SELECT id FROM grants WHERE client_id = $1)",
            "DELETE FROM consents WHERE EXISTS (SELECT 1 FROM grants WHERE client_id = $1
                AND grants.issuer = consents.issuer AND grants.subject = consents.subject)",
        ],
        GrantsOf::One(_) => &[
            "DELETE FROM provider_sessions WHERE grant_id = $1",
            "DELETE FROM consents WHERE EXISTS (SELECT 1 FROM grants WHERE grants.id = $1
                AND grants.issuer = consents.issuer AND grants.subject = consents.subject)",
        ],
    };
    for statement in besides {
        let mut query = sqlx::query(*statement);
        for value in values(of) {
            query = query.bind(value);
        }
        query.execute(&mut **step).await.map_err(unavailable)?;
    }
    let mut ended = 0;
    // The grants last: theirs is the number that is given.
    for statement in [codes, end].into_iter().filter(|statement| !statement.is_empty()) {
        let mut query = sqlx::query(statement);
        for value in values(of) {
            query = query.bind(value);
        }
        ended = query.execute(&mut **step).await.map_err(unavailable)?.rows_affected();
    }
    Ok(ended)
}

/// The codes of a client that were not redeemed: few, since a code lives for minutes. The client
/// stands inside the request.
async fn end_codes_of_client(
    step: &mut Transaction<'static, Database>,
    client: &str,
) -> Result<(), StoreError> {
    let found = sqlx::query("SELECT code, request FROM codes WHERE is_redeemed = FALSE")
        .fetch_all(&mut **step)
        .await
        .map_err(unavailable)?;
    let codes: Result<Vec<_>, _> = found.iter().map(rows::code_of_client).collect();
    let theirs: Vec<SecretHash> =
        codes?.into_iter().filter(|(_, id)| id.as_str() == client).map(|(code, _)| code).collect();
    for code in theirs {
        sqlx::query("DELETE FROM codes WHERE code = $1")
            .bind(bytes(&code))
            .execute(&mut **step)
            .await
            .map_err(unavailable)?;
    }
    Ok(())
}

/// What the statements about these grants ask for, in order.
fn values(of: &GrantsOf) -> Vec<&str> {
    match of {
        GrantsOf::Everyone => vec![],
        GrantsOf::Person { issuer, subject } => vec![issuer, subject],
        GrantsOf::Client(client) => vec![client.as_str()],
        GrantsOf::One(grant) => vec![grant.as_str()],
    }
}

pub(super) async fn note_use(
    writer: &Pool<Database>,
    grant: &GrantId,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE grants SET last_used_at = $2
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
    )
    .bind(grant.as_str())
    .bind(at.unix_seconds())
    .execute(writer)
    .await
    .map_err(unavailable)?;
    Ok(())
}

pub(super) async fn add_personal_token(
    step: &mut Transaction<'static, Database>,
    token: &PersonalToken,
) -> Result<PersonalTokenAdded, StoreError> {
    let identity = &token.identity;
    if identity.issuer == LOCAL_ISSUER {
        let accounts: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users WHERE name = $1")
            .bind(&identity.subject)
            .fetch_one(&mut **step)
            .await
            .map_err(unavailable)?;
        if accounts == 0 {
            return Ok(PersonalTokenAdded::NoAccount);
        }
    }
    let theirs: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM grants WHERE issuer = $1 AND subject = $2 AND client_id = $3",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(PERSONAL_CLIENT)
    .fetch_one(&mut **step)
    .await
    .map_err(unavailable)?;
    if theirs >= i64::from(PERSONAL_TOKENS_PER_PERSON_MAX) {
        return Ok(PersonalTokenAdded::TooMany);
    }
    insert_personal_token(step, token).await?;
    Ok(PersonalTokenAdded::Added)
}

async fn insert_personal_token(
    step: &mut Transaction<'static, Database>,
    token: &PersonalToken,
) -> Result<(), StoreError> {
    let identity = &token.identity;
    sqlx::query(
        "INSERT INTO grants
            (id, client_id, issuer, subject, name, email, email_verified, scope, resource,
             created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(token.id.as_str())
    .bind(PERSONAL_CLIENT)
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(&identity.name)
    .bind(&identity.email)
    .bind(identity.email_verified)
    .bind(token.scope.to_string())
    .bind(token.resource.as_str())
    .bind(token.created_at.unix_seconds())
    .execute(&mut **step)
    .await
    .map_err(unavailable)?;
    sqlx::query("INSERT INTO personal_tokens (grant_id, label, expires_at) VALUES ($1, $2, $3)")
        .bind(token.id.as_str())
        .bind(&token.label)
        .bind(token.expires_at.unix_seconds())
        .execute(&mut **step)
        .await
        .map_err(unavailable)?;
    sqlx::query(
        "INSERT INTO access_tokens (token, grant_id, scope, expires_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(bytes(&token.token))
    .bind(token.id.as_str())
    .bind(token.scope.to_string())
    .bind(token.expires_at.unix_seconds())
    .execute(&mut **step)
    .await
    .map_err(unavailable)?;
    Ok(())
}
