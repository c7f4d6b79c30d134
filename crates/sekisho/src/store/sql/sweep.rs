//! Removes what is over, a few rows at a time, for each database alike (see `verbs.rs`).
//!
//! What is to go is looked for by a reader, so that nobody waits for that, however much there is to look
//! at. Then those rows go in one step, each by its key and only if it is still over.

use super::{Bind, Column, SqlStore, query, rows};
use crate::clock::Timestamp;
use crate::store::{
    CONSENTS_KEPT, FAREWELLS_KEPT, FLOWS_KEPT, REFRESH_GRACE_MAX, REVOCATIONS_KEPT, StoreError,
    Swept,
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

/// In this order: what hangs on something goes before it.
fn rules(now: Timestamp, unused_clients_before: Timestamp) -> [Rule; 19] {
    let ago = |time| Some(now.minus(time));
    let at = Some(now);
    [
        rule!(Text, "id", "flows", { "begun_at <= $2" }, ago(FLOWS_KEPT)),
        rule!(Hash, "login_state", "logins", { "expires_at <= $2" }, at),
        rule!(Hash, "browser", "browser_sessions", { "expires_at <= $2" }, at),
        rule!(Number, "place", "tries", { "until <= $2" }, at),
        rule!(Hash, "assertion", "assertions", { "expires_at <= $2" }, at),
        rule!(Hash, "token", "access_tokens", { "expires_at <= $2" }, at),
        rule!(Hash, "token", "refresh_tokens", { "expires_at <= $2 AND is_spent = FALSE" }, at),
        rule!(
            Hash,
            "token",
            "refresh_tokens",
            { "expires_at <= $2 AND is_spent = TRUE" },
            ago(REFRESH_GRACE_MAX)
        ),
        // Spent ones before their own end, once their grant has nothing left that a replay could
        // cost it.
        rule!(
            Hash,
            "token",
            "refresh_tokens",
            {
                "is_spent = TRUE
                    AND NOT EXISTS (SELECT 1 FROM access_tokens AS living
                        WHERE living.grant_id = refresh_tokens.grant_id)
                    AND NOT EXISTS (SELECT 1 FROM refresh_tokens AS living
                        WHERE living.grant_id = refresh_tokens.grant_id
                            AND living.is_spent = FALSE)"
            },
            None
        ),
        rule!(
            Text,
            "id",
            "grants",
            {
                "NOT EXISTS (SELECT 1 FROM access_tokens WHERE grant_id = grants.id)
                    AND NOT EXISTS (SELECT 1 FROM refresh_tokens WHERE grant_id = grants.id)"
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

/// Removes some of it: `rows_max` at most, or nearly, since a few keys stand for several rows.
pub(super) async fn some(
    store: &SqlStore,
    now: Timestamp,
    unused_clients_before: Timestamp,
    rows_max: u32,
) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    for rule in rules(now, unused_clients_before) {
        let left = i64::from(rows_max).saturating_sub_unsigned(swept.rows);
        if left <= 0 {
            break;
        }
        swept.rows += match rule.key {
            Key::Hash => apply::<Vec<u8>>(store, &rule, left).await?,
            Key::Text => apply::<String>(store, &rule, left).await?,
            Key::Number => apply::<i64>(store, &rule, left).await?,
        };
    }
    Ok(swept)
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
