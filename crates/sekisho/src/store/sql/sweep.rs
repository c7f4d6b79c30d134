//! Removes what is over, a few rows at a time, for each database alike (see `verbs.rs`).
//!
//! What is to go is looked for by a reader, so that nobody waits for that, however much there is to look
//! at. Then those rows go in one step, each by its key and only if it is still over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Bind, Column, SqlStore, query, rows};
use crate::clock::Timestamp;
use crate::store::{
    CONSENTS_KEPT, FAREWELLS_KEPT, FLOWS_KEPT, REFRESH_GRACE_MAX, REVOCATIONS_KEPT,
    SWEPT_AT_ONCE_MAX, StoreError, Swept,
};

/// What goes: how it is found, `$1` rows of it at most, and how one of it goes, by its key `$1`. `$2`
/// is a moment, where there is one.
struct Rule {
    find: &'static str,
    remove: &'static str,
    key: Key,
    moment: Option<Timestamp>,
}

/// What the keys of a table are.
enum Key {
    Hash,
    Text,
    Number,
}

macro_rules! rule {
    ($kind:ident, $key:literal, $table:literal, { $($condition:tt)+ }, $moment:expr) => {
        rule!($kind, $key, $table, { $($condition)+ }, $moment,
            concat!("DELETE FROM ", $table))
    };
    ($kind:ident, $key:literal, $table:literal, { $($condition:tt)+ }, $moment:expr,
        concat!($($change:literal),+)) => {
        Rule {
            find: concat!("SELECT ", $key, " FROM ", $table, " WHERE ", $($condition)+, " LIMIT $1"),
            remove: concat!($($change),+, " WHERE ", $key, " = $1 AND ", $($condition)+),
            key: Key::$kind,
            moment: $moment,
        }
    };
}

/// Sessions with neither a grant nor a code that becomes one, nor somebody at the account page, nor a
/// personal token that was made there.
macro_rules! unneeded {
    () => {
        "over_since IS NULL
            AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.id = provider_sessions.grant_id)
            AND NOT EXISTS (SELECT 1 FROM codes
                WHERE codes.grant_id = provider_sessions.grant_id AND codes.is_redeemed = FALSE)
            AND NOT EXISTS (SELECT 1 FROM browser_sessions
                WHERE browser_sessions.browser = provider_sessions.browser)
            AND NOT EXISTS (SELECT 1 FROM personal_tokens
                WHERE personal_tokens.session = provider_sessions.grant_id)"
    };
}

/// On which nothing hangs.
fn standing_alone(now: Timestamp) -> [Rule; 5] {
    let at = Some(now);
    [
        rule!(Text, "id", "flows", { "begun_at <= $2" }, Some(now.minus(FLOWS_KEPT))),
        rule!(Hash, "login_state", "logins", { "expires_at <= $2" }, at),
        rule!(Hash, "browser", "browser_sessions", { "expires_at <= $2" }, at),
        rule!(Number, "place", "tries", { "until <= $2" }, at),
        rule!(Hash, "assertion", "assertions", { "expires_at <= $2" }, at),
    ]
}

/// What goes after the tokens, in this order: what hangs on something goes before it.
fn hanging_on_tokens(now: Timestamp, unused_clients_before: Timestamp) -> [Rule; 11] {
    let ago = |time| Some(now.minus(time));
    let at = Some(now);
    [
        rule!(
            Hash,
            "token",
            "older_tokens",
            {
                "NOT EXISTS (SELECT 1 FROM tokens
                    WHERE tokens.family = older_tokens.family AND tokens.turn = 0
                        AND tokens.token = older_tokens.token)"
            },
            None
        ),
        rule!(
            Text,
            "id",
            "grants",
            {
                "NOT EXISTS (SELECT 1 FROM tokens
                    WHERE family = substr(grants.id, 1, 16) AND grant_id = grants.id)"
            },
            None
        ),
        rule!(
            Hash,
            "code",
            "codes",
            {
                "expires_at <= $2 AND (is_redeemed = FALSE
                    OR NOT EXISTS (SELECT 1 FROM grants WHERE grants.id = codes.grant_id))"
            },
            at
        ),
        rule!(Text, "grant_id", "provider_sessions", { "over_since <= $2" }, ago(FAREWELLS_KEPT)),
        rule!(Text, "grant_id", "provider_sessions", { "check_at IS NULL AND ", unneeded!() }, None),
        // There is something to say farewell with: the provider is told before the row goes.
        rule!(
            Text,
            "grant_id",
            "provider_sessions",
            // The moment is named where the rows are looked for as well, so that it has its number.
            { "check_at IS NOT NULL AND $2 IS NOT NULL AND ", unneeded!() },
            at,
            concat!(
                "UPDATE provider_sessions
                 SET over_since = $2, check_at = $2, claim = claim + 1, failures = 0"
            )
        ),
        // People who have nothing left that could come back.
        rule!(
            Text,
            "subject",
            "gone_people",
            {
                "NOT EXISTS (SELECT 1 FROM grants WHERE grants.issuer = gone_people.issuer
                    AND grants.subject = gone_people.subject)"
            },
            None
        ),
        rule!(Hash, "message", "logout_messages", { "ends_at <= $2" }, at),
        rule!(Hash, "tuple", "consents", { "given_at <= $2" }, ago(CONSENTS_KEPT)),
        rule!(Number, "seq", "revocations", { "revoked_at <= $2" }, ago(REVOCATIONS_KEPT)),
        rule!(
            Text,
            "id",
            "clients",
            { "has_finished_login = FALSE AND created_at < $2" },
            Some(unused_clients_before)
        ),
    ]
}

/// Removes clients that nobody preregistered, were not used since, and have no grant.
pub(super) async fn idle_clients(
    store: &SqlStore,
    unused_since: Timestamp,
) -> Result<Swept, StoreError> {
    let rule = rule!(
        Text,
        "id",
        "clients",
        {
            "last_used_at < $2 AND origin <> 'preregistered'
                AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client_id = clients.id)"
        },
        Some(unused_since)
    );
    let mut all = Swept::default();
    loop {
        let rows = apply::<String>(store, &rule, i64::from(SWEPT_AT_ONCE_MAX)).await?;
        if rows == 0 {
            return Ok(all);
        }
        all.rows += rows;
    }
}

/// Removes some of it: `rows_max` at most, or nearly, since a few keys stand for several rows.
pub(super) async fn some(
    store: &SqlStore,
    now: Timestamp,
    unused_clients_before: Timestamp,
    rows_max: u32,
) -> Result<Swept, StoreError> {
    let rows_max = i64::from(rows_max);
    let mut rows = apply_all(store, &standing_alone(now), rows_max).await?;
    if rows < rows_max.unsigned_abs() {
        rows += tokens(store, now, rows_max.saturating_sub_unsigned(rows)).await?;
    }
    let left = rows_max.saturating_sub_unsigned(rows);
    rows += apply_all(store, &hanging_on_tokens(now, unused_clients_before), left).await?;
    if rows == 0 {
        // It is over; the next one looks again.
        *store.sweep_cursor.reached() = Reached::default();
    }
    Ok(Swept { rows })
}

async fn apply_all(store: &SqlStore, rules: &[Rule], rows_max: i64) -> Result<u64, StoreError> {
    let mut rows = 0;
    for rule in rules {
        let left = rows_max.saturating_sub_unsigned(rows);
        if left <= 0 {
            break;
        }
        rows += match rule.key {
            Key::Hash => apply::<Vec<u8>>(store, rule, left).await?,
            Key::Text => apply::<String>(store, rule, left).await?,
            Key::Number => apply::<i64>(store, rule, left).await?,
        };
    }
    Ok(rows)
}

/// How far a sweep has looked through the tokens. They have no index by their end, which would be written
/// with each of them.
#[derive(Debug, Default)]
pub(super) struct SweepCursor(Mutex<Reached>);

#[derive(Debug, Default, Clone)]
struct Reached {
    /// The last one looked at; nothing at the beginning.
    place: TokenPlace,
    /// Whether something went since the beginning. What is spent may go for that, and is looked at again.
    has_removed: bool,
    /// Whether all were looked at: until the sweep is over, nobody looks again.
    is_done: bool,
}

/// Family, turn and hash of a token.
pub(super) type TokenPlace = (String, i64, Vec<u8>);

impl SweepCursor {
    fn reached(&self) -> MutexGuard<'_, Reached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens at their end, `$1`; spent ones past their own (`$2`), or before it once their grant has
/// nothing left that a replay could cost it, of which what came last tells.
macro_rules! over {
    ($up_to:literal) => {
        concat!(
            "SELECT family, turn, token FROM tokens WHERE (family, turn, token) > ($3, $4, $5)",
            $up_to,
            " AND ",
            over!(),
            " ORDER BY family, turn, token LIMIT $6"
        )
    };
    () => {
        "(kind <> 'spent' AND expires_at <= $1
            OR kind = 'spent' AND (expires_at <= $2
                OR NOT EXISTS (SELECT 1 FROM tokens AS living
                    WHERE living.family = tokens.family AND living.grant_id = tokens.grant_id
                        AND living.kind <> 'spent' AND living.turn = (
                            SELECT MAX(turn) FROM tokens AS last
                            WHERE last.family = tokens.family
                                AND last.grant_id = tokens.grant_id))))"
    };
}

/// Removes tokens that are over, from where the sweep stands.
async fn tokens(store: &SqlStore, now: Timestamp, rows_max: i64) -> Result<u64, StoreError> {
    let spent_before = now.minus(REFRESH_GRACE_MAX).unix_seconds();
    loop {
        let reached = store.sweep_cursor.reached().clone();
        if reached.is_done {
            return Ok(0);
        }
        let (family, turn, token) = &reached.place;
        let last = query(
            "SELECT family, turn, token FROM tokens WHERE (family, turn, token) > ($1, $2, $3)
             ORDER BY family, turn, token LIMIT 1 OFFSET $4",
        )
        .bind(family)
        .bind(*turn)
        .bind(token)
        .bind(TOKENS_LOOKED_AT_MAX - 1)
        .at_length()
        .fetch_optional(&store.readers, rows::token_place)
        .await?;
        let statement = match last {
            Some(_) => over!(" AND (family, turn, token) <= ($7, $8, $9)"),
            None => over!(""),
        };
        let mut found = query(statement)
            .bind(now.unix_seconds())
            .bind(spent_before)
            .bind(family)
            .bind(*turn)
            .bind(token)
            .bind(rows_max)
            .at_length();
        if let Some((family, turn, token)) = &last {
            found = found.bind(family).bind(*turn).bind(token);
        }
        let found = found.fetch_all(&store.readers, rows::token_place).await?;
        let is_full = i64::try_from(found.len()).is_ok_and(|found| found >= rows_max);
        let next = if is_full { found.last().cloned() } else { last };
        let has_removed = reached.has_removed || !found.is_empty();
        *store.sweep_cursor.reached() = match next {
            Some(place) => Reached { place, has_removed, is_done: false },
            None => Reached { is_done: !has_removed, ..Reached::default() },
        };
        if !found.is_empty() {
            return remove_tokens(store, &found, now, spent_before).await;
        }
    }
}

/// Tokens that one statement looks at: some hundredths of a second.
const TOKENS_LOOKED_AT_MAX: i64 = 10_000;

async fn remove_tokens(
    store: &SqlStore,
    found: &[TokenPlace],
    now: Timestamp,
    spent_before: i64,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    let mut step = store.begin().await?;
    for (family, turn, token) in found {
        removed += query(concat!(
            "DELETE FROM tokens WHERE family = $3 AND turn = $4 AND token = $5 AND ",
            over!()
        ))
        .bind(now.unix_seconds())
        .bind(spent_before)
        .bind(family)
        .bind(*turn)
        .bind(token)
        .execute(&mut step)
        .await?;
    }
    step.commit().await?;
    Ok(removed)
}

async fn apply<K>(store: &SqlStore, rule: &Rule, rows_max: i64) -> Result<u64, StoreError>
where
    K: Column + Send + Sync,
    for<'q> &'q K: Bind<'q>,
{
    let mut find = query(rule.find).bind(rows_max).at_length();
    if let Some(moment) = rule.moment {
        find = find.bind(moment.unix_seconds());
    }
    let found = find.fetch_all(&store.readers, rows::first::<K>).await?;
    if found.is_empty() {
        return Ok(0);
    }
    let mut removed = 0;
    let mut step = store.begin().await?;
    for key in &found {
        let mut remove = query(rule.remove).bind(key);
        if let Some(moment) = rule.moment {
            remove = remove.bind(moment.unix_seconds());
        }
        removed += remove.execute(&mut step).await?;
    }
    step.commit().await?;
    Ok(removed)
}
