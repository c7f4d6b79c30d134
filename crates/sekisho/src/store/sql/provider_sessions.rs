//! The sessions that people have at the identity provider, for each database alike (see `verbs.rs`).
//!
//! A row lives while something hangs on it here. Then `over_since` is set, and what is left of it is a
//! farewell: the provider is told, and the row goes.

use sekisho_protocol::SecretHash;

use super::verbs::{bytes, key};
use super::{Readers, Step, Writer, grants, query, rows};
use crate::clock::Timestamp;
use crate::grant::GrantId;
use crate::principal::Identity;
use crate::seal::Sealed;
use crate::store::{
    CLOCKS_APART_MAX, ClaimedSession, DueSessions, GrantsOf, LoggedOut, PERSONAL_CLIENT,
    ProviderLogout, ProviderSession, SessionEnd, StoreError,
};

pub(super) async fn insert(step: &mut Step, session: &ProviderSession) -> Result<(), StoreError> {
    query(
        "INSERT INTO provider_sessions
            (grant_id, issuer, subject, sid, browser, tokens, is_offline, check_at, claim, failures)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)",
    )
    .bind(session.grant_id.as_str())
    .bind(&session.issuer)
    .bind(&session.subject)
    .bind(&session.sid)
    .bind(session.browser.as_ref().map(bytes))
    .bind(session.tokens.as_bytes())
    .bind(session.is_offline)
    .bind(session.check_at.map(Timestamp::unix_seconds))
    .execute(&mut *step)
    .await?;
    Ok(())
}

/// The provider logged the person in, so they are there.
pub(super) async fn welcome_back(step: &mut Step, identity: &Identity) -> Result<(), StoreError> {
    query("DELETE FROM gone_people WHERE issuer = $1 AND subject = $2")
        .bind(&identity.issuer)
        .bind(&identity.subject)
        .execute(&mut *step)
        .await?;
    Ok(())
}

pub(super) async fn find(
    readers: &Readers,
    grant: &GrantId,
) -> Result<Option<ProviderSession>, StoreError> {
    query(
        "SELECT grant_id, issuer, subject, sid, browser, tokens, is_offline, check_at
         FROM provider_sessions WHERE grant_id = $1 AND over_since IS NULL",
    )
    .bind(key(grant.as_str()))
    .fetch_optional(readers, rows::provider_session)
    .await
}

pub(super) async fn find_of_browser(
    readers: &Readers,
    browser: &SecretHash,
) -> Result<Option<ProviderSession>, StoreError> {
    query(
        "SELECT grant_id, issuer, subject, sid, browser, tokens, is_offline, check_at
         FROM provider_sessions WHERE browser = $1 AND over_since IS NULL
         ORDER BY grant_id LIMIT 1",
    )
    .bind(bytes(browser))
    .fetch_optional(readers, rows::provider_session)
    .await
}

pub(super) async fn claim(
    writer: &Writer,
    now: Timestamp,
    horizon: Timestamp,
    until: Timestamp,
    rows_max: u16,
    which: DueSessions,
) -> Result<Vec<ClaimedSession>, StoreError> {
    // The outer condition repeats the inner one for databases where two of these run at once:
    // whoever comes second looks at the row as the first has left it.
    query(
        "UPDATE provider_sessions SET check_at = $2, claim = claim + 1, claimed_until = $2
         WHERE (check_at <= $1 OR check_at > $4)
            AND (claimed_until IS NULL OR claimed_until <= $1 OR claimed_until > $6
                OR over_since IS NOT NULL)
            AND grant_id IN (
            SELECT grant_id FROM provider_sessions
            WHERE (check_at <= $1 OR check_at > $4) AND ($5 OR over_since IS NOT NULL)
                AND (claimed_until IS NULL OR claimed_until <= $1 OR claimed_until > $6
                    OR over_since IS NOT NULL)
            ORDER BY check_at, grant_id LIMIT $3)
         RETURNING grant_id, issuer, subject, tokens, claim, failures, over_since,
            EXISTS (SELECT 1 FROM provider_sessions AS others
                WHERE others.issuer = provider_sessions.issuer
                    AND others.subject = provider_sessions.subject
                    AND others.over_since IS NULL) AS others_live",
    )
    .bind(now.unix_seconds())
    .bind(until.unix_seconds())
    .bind(i64::from(rows_max))
    .bind(horizon.unix_seconds())
    .bind(which == DueSessions::All)
    .bind(until.plus(CLOCKS_APART_MAX).unix_seconds())
    .fetch_all(writer, rows::claimed_session)
    .await
}

pub(super) async fn claim_alone(
    writer: &Writer,
    grant: &GrantId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<ClaimedSession>, StoreError> {
    // All rows, though there is one at most: see take_login.
    let claimed = query(
        "UPDATE provider_sessions SET claim = claim + 1, claimed_until = $3
         WHERE grant_id = $1 AND over_since IS NULL
            AND (claimed_until IS NULL OR claimed_until <= $2 OR claimed_until > $4)
         RETURNING grant_id, issuer, subject, tokens, claim, failures, over_since,
            TRUE AS others_live",
    )
    .bind(key(grant.as_str()))
    .bind(now.unix_seconds())
    .bind(until.unix_seconds())
    .bind(until.plus(CLOCKS_APART_MAX).unix_seconds())
    .fetch_all(writer, rows::claimed_session)
    .await?;
    Ok(claimed.into_iter().next())
}

pub(super) async fn renew(
    writer: &Writer,
    claimed: &ClaimedSession,
    tokens: &Sealed,
    check_at: Option<Timestamp>,
) -> Result<bool, StoreError> {
    // A farewell that came meanwhile is said with the new tokens, and no later for them.
    let renewed = query(
        "UPDATE provider_sessions SET tokens = $3, claim = claim + 1, failures = 0,
            claimed_until = NULL,
            check_at = CASE WHEN over_since IS NULL THEN $4 ELSE check_at END
         WHERE grant_id = $1 AND tokens = $2",
    )
    .bind(claimed.grant_id.as_str())
    .bind(claimed.tokens.as_bytes())
    .bind(tokens.as_bytes())
    .bind(check_at.map(Timestamp::unix_seconds))
    .execute(writer)
    .await?;
    Ok(renewed > 0)
}

pub(super) async fn postpone(
    writer: &Writer,
    claimed: &ClaimedSession,
    check_at: Timestamp,
) -> Result<bool, StoreError> {
    let postponed = query(
        "UPDATE provider_sessions SET check_at = $3, failures = failures + 1, claimed_until = NULL
         WHERE grant_id = $1 AND claim = $2",
    )
    .bind(claimed.grant_id.as_str())
    .bind(claimed.claim)
    .bind(check_at.unix_seconds())
    .execute(writer)
    .await?;
    Ok(postponed > 0)
}

pub(super) async fn forget(writer: &Writer, claimed: &ClaimedSession) -> Result<(), StoreError> {
    query("DELETE FROM provider_sessions WHERE grant_id = $1 AND claim = $2")
        .bind(claimed.grant_id.as_str())
        .bind(claimed.claim)
        .execute(writer)
        .await?;
    Ok(())
}

pub(super) async fn end(
    step: &mut Step,
    claimed: &ClaimedSession,
    now: Timestamp,
) -> Result<SessionEnd, StoreError> {
    let ended = query(
        "DELETE FROM provider_sessions WHERE grant_id = $1 AND claim = $2 AND over_since IS NULL
         RETURNING issuer, subject, browser, is_offline",
    )
    .bind(claimed.grant_id.as_str())
    .bind(claimed.claim)
    .fetch_optional(&mut *step, rows::ended_session)
    .await?;
    let Some(ended) = ended else { return Ok(SessionEnd::Lost) };
    grants::end(step, &GrantsOf::One(claimed.grant_id.clone()), now).await?;
    if let Some(browser) = &ended.browser {
        query("DELETE FROM browser_sessions WHERE browser = $1")
            .bind(bytes(browser))
            .execute(&mut *step)
            .await?;
    }
    if !ended.is_offline {
        return Ok(SessionEnd::Ended);
    }
    let followed = query(
        "SELECT COUNT(*) FROM provider_sessions
         WHERE issuer = $1 AND subject = $2 AND is_offline = TRUE AND over_since IS NULL
            AND check_at IS NOT NULL",
    )
    .bind(&ended.issuer)
    .bind(&ended.subject)
    .fetch_one(&mut *step, rows::first::<i64>)
    .await?;
    if followed > 0 {
        return Ok(SessionEnd::Ended);
    }
    let personal_tokens = see_off(step, &ended, now).await?;
    Ok(SessionEnd::PersonGone { personal_tokens })
}

/// Nobody says any more that the person is there: what they have left opens nothing until they come
/// back, and other processes hear of it.
async fn see_off(
    step: &mut Step,
    ended: &rows::EndedSession,
    now: Timestamp,
) -> Result<u64, StoreError> {
    query(
        "INSERT INTO gone_people (issuer, subject) VALUES ($1, $2)
         ON CONFLICT (issuer, subject) DO NOTHING",
    )
    .bind(&ended.issuer)
    .bind(&ended.subject)
    .execute(&mut *step)
    .await?;
    let told = query(
        "INSERT INTO revocations (grant_id, revoked_at) SELECT id, $3 FROM grants
         WHERE issuer = $1 AND subject = $2 AND client_id = $4 ORDER BY id",
    )
    .bind(&ended.issuer)
    .bind(&ended.subject)
    .bind(now.unix_seconds())
    .bind(PERSONAL_CLIENT)
    .execute(&mut *step)
    .await?;
    end_vouched(step, &ended.issuer, &ended.subject, now).await?;
    Ok(told)
}

/// Ends what this person was given on somebody's word, of which no session is kept.
async fn end_vouched(
    step: &mut Step,
    issuer: &str,
    subject: &str,
    now: Timestamp,
) -> Result<Vec<GrantId>, StoreError> {
    let vouched = query(
        "SELECT id FROM grants WHERE issuer = $1 AND subject = $2 AND is_vouched = TRUE
         ORDER BY id",
    )
    .bind(issuer)
    .bind(subject)
    .fetch_all(&mut *step, rows::first::<String>)
    .await?;
    let vouched: Vec<GrantId> = vouched.into_iter().map(GrantId::new).collect();
    for grant in &vouched {
        grants::end(step, &GrantsOf::One(grant.clone()), now).await?;
    }
    Ok(vouched)
}

pub(super) async fn log_out(
    step: &mut Step,
    logout: &ProviderLogout,
    now: Timestamp,
) -> Result<LoggedOut, StoreError> {
    let first = query(
        "INSERT INTO logout_messages (message, ends_at) VALUES ($1, $2)
         ON CONFLICT (message) DO NOTHING",
    )
    .bind(bytes(&logout.message))
    .bind(logout.message_ends_at.unix_seconds())
    .execute(&mut *step)
    .await?;
    if first == 0 {
        return Ok(LoggedOut::Replayed);
    }
    // One statement for each of the ways to name a session, so that each has its index.
    let statement = match (&logout.subject, &logout.sid) {
        (Some(subject), Some(sid)) => query(
            "SELECT grant_id, subject FROM provider_sessions
             WHERE issuer = $1 AND subject = $2 AND (sid = $3 OR sid IS NULL)
                AND over_since IS NULL",
        )
        .bind(&logout.issuer)
        .bind(subject)
        .bind(sid),
        (Some(subject), None) => query(
            "SELECT grant_id, subject FROM provider_sessions
             WHERE issuer = $1 AND subject = $2 AND over_since IS NULL",
        )
        .bind(&logout.issuer)
        .bind(subject),
        (None, sid) => query(
            "SELECT grant_id, subject FROM provider_sessions
             WHERE issuer = $1 AND sid = $2 AND over_since IS NULL",
        )
        .bind(&logout.issuer)
        .bind(sid),
    };
    let found = statement.fetch_all(&mut *step, rows::ending_session).await?;
    let mut ended = Vec::with_capacity(found.len());
    let mut people: Vec<String> = logout.subject.iter().cloned().collect();
    for (grant, subject) in found {
        people.push(subject);
        if end_unless_needed(step, &grant, now).await? {
            ended.push(grant);
        }
    }
    people.sort_unstable();
    people.dedup();
    for subject in &people {
        ended.extend(end_vouched(step, &logout.issuer, subject, now).await?);
        query("DELETE FROM browser_sessions WHERE issuer = $1 AND subject = $2")
            .bind(&logout.issuer)
            .bind(subject)
            .execute(&mut *step)
            .await?;
    }
    Ok(LoggedOut::Ended(ended))
}

/// Ends a session with what hangs on it. Personal tokens outlive a logout, and with them what the
/// provider is asked with.
async fn end_unless_needed(
    step: &mut Step,
    grant: &GrantId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let gone = query(
        "DELETE FROM provider_sessions WHERE grant_id = $1
            AND NOT EXISTS (SELECT 1 FROM personal_tokens WHERE session = $1)",
    )
    .bind(grant.as_str())
    .execute(&mut *step)
    .await?;
    if gone == 0 {
        return Ok(false);
    }
    grants::end(step, &GrantsOf::One(grant.clone()), now).await?;
    Ok(true)
}
