//! Listing and ending grants, their last use, and personal access tokens, for each database alike (see
//! `verbs.rs`).

use super::verbs::{claims_as_json, description, insert_grant, insert_tokens, key};
use super::{Query, Readers, Step, Writer, query, rows};
use crate::clock::Timestamp;
use crate::grant::GrantId;
use crate::principal::{CLIENT_ISSUER, Identity};
use crate::store::{
    FoundPerson, GRANTS_LISTED_MAX, GrantsOf, LOCAL_ISSUER, ListedGrant, PEOPLE_FOUND_MAX,
    PERSONAL_CLIENT, PERSONAL_TOKENS_PER_PERSON_MAX, PersonalToken, PersonalTokenAdded, StoreError,
};

macro_rules! list {
    ($whose:literal) => {
        concat!(
            "SELECT grants.id, grants.client_id, clients.metadata, issuer, subject, name, email,
                email_verified, claims, scope, resource, grants.created_at, grants.last_used_at,
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
    readers: &Readers,
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
    let listing = query(statement).bind(moment).bind(id).bind(i64::from(GRANTS_LISTED_MAX));
    at_length_if_many(with(listing, of), of).fetch_all(readers, rows::listed_grant).await
}

/// Whether something is written down of a person that reads otherwise.
pub(super) async fn is_described_otherwise(
    readers: &Readers,
    identity: &Identity,
) -> Result<bool, StoreError> {
    // Each is a look into an index, however many grants they have.
    query(
        "SELECT EXISTS (SELECT 1 FROM grants
                WHERE issuer = $1 AND subject = $2 AND described < $3)
            OR EXISTS (SELECT 1 FROM grants
                WHERE issuer = $1 AND subject = $2 AND described > $3)
            OR EXISTS (SELECT 1 FROM browser_sessions
                WHERE issuer = $1 AND subject = $2 AND described < $3)
            OR EXISTS (SELECT 1 FROM browser_sessions
                WHERE issuer = $1 AND subject = $2 AND described > $3)",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(description(identity))
    .fetch_one(readers, rows::first::<bool>)
    .await
}

pub(super) async fn describe(
    step: &mut Step,
    identity: &Identity,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Whoever has them in memory is told as of a revocation, and reads them anew.
    let told = query(
        "INSERT INTO revocations (grant_id, revoked_at) SELECT id, $4 FROM grants
         WHERE issuer = $1 AND subject = $2 AND described <> $3
         ORDER BY id",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(description(identity))
    .bind(now.unix_seconds())
    .execute(&mut *step)
    .await?;
    for statement in [
        "UPDATE grants
         SET described = $3, name = $4, email = $5, email_verified = $6, claims = $7
         WHERE issuer = $1 AND subject = $2 AND described <> $3",
        "UPDATE browser_sessions
         SET described = $3, name = $4, email = $5, email_verified = $6, claims = $7
         WHERE issuer = $1 AND subject = $2 AND described <> $3",
    ] {
        query(statement)
            .bind(&identity.issuer)
            .bind(&identity.subject)
            .bind(description(identity))
            .bind(&identity.name)
            .bind(&identity.email)
            .bind(identity.email_verified)
            .bind(claims_as_json(identity))
            .execute(&mut *step)
            .await?;
    }
    Ok(told)
}

pub(super) async fn find_people(
    readers: &Readers,
    called: &str,
) -> Result<Vec<FoundPerson>, StoreError> {
    // All grants are looked through: only the command line asks.
    query(
        "SELECT 0 AS way, issuer, subject FROM grants WHERE subject = $1 AND issuer <> $2
         UNION SELECT 1, issuer, subject FROM grants
            WHERE email = $1 AND email_verified = TRUE AND issuer <> $2
         UNION SELECT 2, issuer, subject FROM grants WHERE name = $1 AND issuer <> $2
         ORDER BY 1, 2, 3 LIMIT $3",
    )
    .bind(key(called))
    .bind(CLIENT_ISSUER)
    .bind(i64::from(PEOPLE_FOUND_MAX))
    .at_length()
    .fetch_all(readers, rows::found_person)
    .await
}

/// What ends grants: they are written down, and what hangs on them goes; of a provider's session a
/// farewell stays. `$now` is the parameter behind those that say whose they are. The grants last:
/// theirs is the number that is given.
macro_rules! ending {
    (grants: $grants:literal, codes: $codes:literal, sessions: $sessions:literal, $now:literal) => {
        [
            concat!(
                "UPDATE provider_sessions SET over_since = ",
                $now,
                ", check_at = ",
                $now,
                ", claim = claim + 1, failures = 0
                 WHERE over_since IS NULL AND check_at IS NOT NULL AND ",
                $sessions
            ),
            concat!(
                "INSERT INTO revocations (grant_id, revoked_at)
                 SELECT id, ",
                $now,
                " FROM grants WHERE ",
                $grants,
                " ORDER BY id"
            ),
            concat!("DELETE FROM codes WHERE is_redeemed = FALSE AND ", $codes),
            concat!(
                "DELETE FROM provider_sessions WHERE over_since IS NULL AND check_at IS NULL AND ",
                $sessions
            ),
            concat!(
                "DELETE FROM tokens
                 WHERE family IN (SELECT substr(id, 1, 16) FROM grants WHERE ",
                $grants,
                ") AND grant_id IN (SELECT id FROM grants WHERE ",
                $grants,
                ")"
            ),
            concat!("DELETE FROM grants WHERE ", $grants),
        ]
    };
}

/// Ends grants with their tokens, the codes that would become some, and the provider's sessions
/// behind them; gives the number of grants.
pub(super) async fn end(step: &mut Step, of: &GrantsOf, now: Timestamp) -> Result<u64, StoreError> {
    let [farewell, log, codes, sessions, tokens, grants] = match of {
        GrantsOf::Everyone => ending!(grants: "TRUE", codes: "TRUE", sessions: "TRUE", "$1"),
        GrantsOf::Person { .. } => ending!(
            grants: "issuer = $1 AND subject = $2",
            codes: "issuer = $1 AND subject = $2",
            sessions: "issuer = $1 AND subject = $2",
            "$3"
        ),
        GrantsOf::Client(_) => ending!(
            grants: "client_id = $1",
            codes: "client_id = $1",
            sessions: "grant_id IN (SELECT id FROM grants WHERE client_id = $1)",
            "$2"
        ),
        GrantsOf::One(_) => {
            ending!(grants: "id = $1", codes: "grant_id = $1", sessions: "grant_id = $1", "$2")
        }
    };
    for statement in [farewell, log] {
        about(statement, of).bind(now.unix_seconds()).execute(&mut *step).await?;
    }
    let mut ended = 0;
    for statement in [codes, sessions, tokens, grants] {
        ended = about(statement, of).execute(&mut *step).await?;
    }
    Ok(ended)
}

/// As [`end`], for whoever takes back what was allowed: everybody concerned is asked anew, and where
/// all of a person's goes, so do their browser sessions.
pub(super) async fn take_back(
    step: &mut Step,
    of: &GrantsOf,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let statements: &[&'static str] = match of {
        GrantsOf::Everyone => &["DELETE FROM browser_sessions", "DELETE FROM consents"],
        GrantsOf::Person { .. } => &[
            "DELETE FROM browser_sessions WHERE issuer = $1 AND subject = $2",
            "DELETE FROM consents WHERE issuer = $1 AND subject = $2",
        ],
        GrantsOf::Client(_) => &["DELETE FROM consents WHERE EXISTS (SELECT 1 FROM grants
            WHERE client_id = $1
                AND grants.issuer = consents.issuer AND grants.subject = consents.subject)"],
        GrantsOf::One(_) => &["DELETE FROM consents WHERE EXISTS (SELECT 1 FROM grants
            WHERE grants.id = $1
                AND grants.issuer = consents.issuer AND grants.subject = consents.subject)"],
    };
    for statement in statements {
        about(statement, of).execute(&mut *step).await?;
    }
    end(step, of, now).await
}

/// A statement with the values that say whose grants it is about.
fn about<'q>(statement: &'static str, of: &'q GrantsOf) -> Query<'q> {
    at_length_if_many(with(query(statement), of), of)
}

fn with<'q>(query: Query<'q>, of: &'q GrantsOf) -> Query<'q> {
    values(of).into_iter().fold(query, Query::bind)
}

/// One person has a few grants; a client, or the service, may have a great many.
fn at_length_if_many<'q>(query: Query<'q>, of: &GrantsOf) -> Query<'q> {
    match of {
        GrantsOf::Everyone | GrantsOf::Client(_) => query.at_length(),
        GrantsOf::Person { .. } | GrantsOf::One(_) => query,
    }
}

/// What the statements about these grants ask for, in order.
fn values(of: &GrantsOf) -> Vec<&str> {
    match of {
        GrantsOf::Everyone => vec![],
        GrantsOf::Person { issuer, subject } => vec![key(issuer), key(subject)],
        GrantsOf::Client(client) => vec![key(client.as_str())],
        GrantsOf::One(grant) => vec![key(grant.as_str())],
    }
}

pub(super) async fn note_use(
    writer: &Writer,
    grant: &GrantId,
    at: Timestamp,
) -> Result<(), StoreError> {
    query(
        "UPDATE grants SET last_used_at = $2
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
    )
    .bind(grant.as_str())
    .bind(at.unix_seconds())
    .execute(writer)
    .await?;
    Ok(())
}

pub(super) async fn add_personal_token(
    step: &mut Step,
    token: &PersonalToken,
) -> Result<PersonalTokenAdded, StoreError> {
    let identity = &token.identity;
    if is_removed(step, identity).await? {
        return Ok(PersonalTokenAdded::NoAccount);
    }
    let theirs =
        query("SELECT COUNT(*) FROM grants WHERE issuer = $1 AND subject = $2 AND client_id = $3")
            .bind(&identity.issuer)
            .bind(&identity.subject)
            .bind(PERSONAL_CLIENT)
            .fetch_one(&mut *step, rows::first::<i64>)
            .await?;
    if theirs >= i64::from(PERSONAL_TOKENS_PER_PERSON_MAX) {
        return Ok(PersonalTokenAdded::TooMany);
    }
    insert_grant(step, &token.grant()).await?;
    query(
        "INSERT INTO personal_tokens (grant_id, label, expires_at, session) VALUES ($1, $2, $3, $4)",
    )
    .bind(token.id.as_str())
    .bind(&token.label)
    .bind(token.expires_at.unix_seconds())
    .bind(token.session.as_ref().map(GrantId::as_str))
    .execute(&mut *step)
    .await?;
    insert_tokens(step, &token.id, &token.tokens()).await?;
    Ok(PersonalTokenAdded::Added)
}

/// Whether the person is a local account that is not there.
pub(super) async fn is_removed(step: &mut Step, identity: &Identity) -> Result<bool, StoreError> {
    if identity.issuer != LOCAL_ISSUER {
        return Ok(false);
    }
    let accounts = query("SELECT COUNT(*) FROM users WHERE name = $1")
        .bind(&identity.subject)
        .fetch_one(&mut *step, rows::first::<i64>)
        .await?;
    Ok(accounts == 0)
}
