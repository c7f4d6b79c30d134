//! Every verb as SQL, for each database alike: this file is compiled once for each of them, with the
//! types of `super`.
//!
//! Every verb is one statement, or one step that holds the right to write from its beginning. A step
//! that is dropped half way is undone, so that is for what failed alone: whoever comes to an answer
//! commits first, also one that wrote nothing, since it may rest on what others are still to commit. The
//! statements are those that all databases understand. Only hashes and sealed bytes are written.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::rows::RefreshState;
use super::{Query, SqlStore, Step, flows, grants, provider_sessions, query, rows, sweep};
use crate::clock::Timestamp;
use crate::grant::{Grant, GrantId, IssuedTokens, TokenKey, Turn};
use crate::principal::Identity;
use crate::seal::{KeyId, Sealed};
use crate::store::{
    AccessToken, AccountSessionBegun, AssertionUse, CLIENTS_LISTED_MAX, CONSENTS_KEPT,
    ClaimedSession, Client, ClientOrigin, CodeIssue, CodeRecord, CodeRedemption, DueSessions, Flow,
    FlowNote, FoundPerson, GrantsOf, KeyClaim, LOCAL_ISSUER, ListedGrant, LocalUser, LoggedOut,
    LoginBegun, LoginRecord, PERSONAL_CLIENT, PersonalToken, PersonalTokenAdded, ProviderLogout,
    ProviderSession, REVOCATIONS_READ_MAX, RefreshExtension, RefreshRotation, RefreshToken,
    RememberedConsent, Revocation, RotationTime, SessionEnd, Store, StoreError, Swept, TryCounted,
    TryCounter, UsedAssertion,
};
use async_trait::async_trait;
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::ClientId;
use sha2::{Digest as _, Sha256};

/// The columns of an access token, and when it opens anything: a personal one only while its person is there.
macro_rules! access_token {
    (columns) => {
        "tokens.token, turn, grant_id, client_id, issuer, subject, name, email, email_verified, claims,
            tokens.scope AS scope, resource, expires_at, last_used_at"
    };
    (opens) => {
        "kind = 'access' AND (client_id <> $4 OR NOT EXISTS (SELECT 1 FROM gone_people
            WHERE gone_people.issuer = grants.issuer AND gone_people.subject = grants.subject))"
    };
}

/// The columns of a refresh token, and which it is.
macro_rules! refresh_token {
    (columns) => {
        "tokens.token, turn, grant_id, client_id, issuer, subject, name, email, email_verified, claims,
            grants.scope AS scope, resource, created_at, expires_at, kind = 'spent' AS is_spent,
            spent_at, next_access, next_access_expires_at, next_scope"
    };
    (is) => {
        "kind IN ('refresh', 'spent')"
    };
}

/// Looks for the token `$2` in the family `$1`, in its turn `$3`; or among those that do not say where
/// they are, since they are older.
macro_rules! shown {
    ($kind:ident, $which:ident) => {
        concat!(
            "SELECT ",
            $kind!(columns),
            " FROM tokens JOIN grants ON grants.id = tokens.grant_id
             WHERE family = $1 AND turn = $3 AND tokens.token = $2 AND ",
            $kind!($which),
            " UNION ALL SELECT ",
            $kind!(columns),
            " FROM older_tokens
             JOIN tokens ON tokens.family = older_tokens.family AND turn = 0
                AND tokens.token = older_tokens.token
             JOIN grants ON grants.id = tokens.grant_id
             WHERE older_tokens.token = $2 AND ",
            $kind!($which)
        )
    };
}

#[async_trait]
impl Store for SqlStore {
    async fn instance_id(&self) -> Result<String, StoreError> {
        Ok(self.instance_id.clone())
    }

    async fn register_client(&self, client: &Client) -> Result<(), StoreError> {
        let mut step = self.begin().await?;
        insert_client(&mut step, client).await?;
        make_room(&mut step, client, self.limits.clients_max, &self.uncounted.clients).await?;
        step.commit().await
    }

    async fn find_client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        query(
            "SELECT id, metadata, secret, secret_expires_at, created_at, origin, last_used_at
             FROM clients WHERE id = $1",
        )
        .bind(key(id.as_str()))
        .fetch_optional(&self.readers, rows::client)
        .await
    }

    async fn begin_login(&self, login: &LoginRecord) -> Result<LoginBegun, StoreError> {
        const INSERT: &str = "INSERT INTO logins (login_state, browser, sealed, expires_at)
            VALUES ($1, $2, $3, $4)";
        const INSERT_COUNTED: &str = "INSERT INTO logins (login_state, browser, sealed, expires_at)
            SELECT $1, $2, $3, $4 WHERE (SELECT COUNT(*) FROM logins) < $5
            RETURNING (SELECT COUNT(*) FROM logins)";
        let (room, logins_max) = (&self.uncounted.logins, self.limits.logins_max);
        let is_room_known = room.take();
        let insert = query(if is_room_known { INSERT } else { INSERT_COUNTED })
            .bind(bytes(&login.login_state))
            .bind(bytes(&login.browser))
            .bind(login.sealed.as_bytes())
            .bind(login.expires_at.unix_seconds());
        if is_room_known {
            insert.execute(&self.writer).await?;
            return Ok(LoginBegun::Begun);
        }
        let counted = insert.bind(limit(logins_max)).fetch_all(&self.writer, rows::first::<i64>);
        let Some(logins) = counted.await?.pop() else { return Ok(LoginBegun::Full) };
        room.set(u64::try_from(logins).unwrap_or_default(), logins_max);
        Ok(LoginBegun::Begun)
    }

    async fn find_login(
        &self,
        login_state: &SecretHash,
    ) -> Result<Option<LoginRecord>, StoreError> {
        query("SELECT login_state, browser, sealed, expires_at FROM logins WHERE login_state = $1")
            .bind(bytes(login_state))
            .fetch_optional(&self.readers, rows::login)
            .await
    }

    async fn take_login(
        &self,
        login_state: &SecretHash,
    ) -> Result<Option<LoginRecord>, StoreError> {
        // All rows, though there is one at most: the statement is committed once it has run to its
        // end, and the answer must not come before that.
        let taken = query(
            "DELETE FROM logins WHERE login_state = $1
             RETURNING login_state, browser, sealed, expires_at",
        )
        .bind(bytes(login_state))
        .fetch_all(&self.writer, rows::login)
        .await?;
        Ok(taken.into_iter().next())
    }

    async fn issue_code(&self, code: &CodeRecord) -> Result<CodeIssue, StoreError> {
        let mut step = self.begin().await?;
        let issued = insert_code(&mut step, code).await?;
        step.commit().await?;
        Ok(issued)
    }

    async fn find_code(&self, code: &SecretHash) -> Result<Option<CodeRecord>, StoreError> {
        query(
            "SELECT code, grant_id, request, issuer, subject, name, email, email_verified,
                claims, expires_at, is_redeemed
             FROM codes WHERE code = $1",
        )
        .bind(bytes(code))
        .fetch_optional(&self.readers, rows::code)
        .await
    }

    async fn redeem_code(
        &self,
        code: &SecretHash,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<CodeRedemption, StoreError> {
        let mut step = self.begin().await?;
        let redeemed =
            query("UPDATE codes SET is_redeemed = TRUE WHERE code = $1 AND is_redeemed = FALSE")
                .bind(bytes(code))
                .execute(&mut step)
                .await?;
        if redeemed == 0 {
            let known = query("SELECT COUNT(*) FROM codes WHERE code = $1")
                .bind(bytes(code))
                .fetch_one(&mut step, rows::first::<i64>)
                .await?;
            step.commit().await?;
            return Ok(match known {
                0 => CodeRedemption::Unknown,
                _ => CodeRedemption::Replayed,
            });
        }
        insert_grant(&mut step, grant).await?;
        insert_tokens(&mut step, &grant.id, tokens).await?;
        step.commit().await?;
        Ok(CodeRedemption::Fresh)
    }

    async fn find_access_token(
        &self,
        token: &TokenKey,
    ) -> Result<Option<Arc<AccessToken>>, StoreError> {
        let statement = match token.turn {
            Some(_) => shown!(access_token, opens),
            // The number is named so that it is there.
            None => concat!(
                "SELECT ",
                access_token!(columns),
                " FROM tokens JOIN grants ON grants.id = tokens.grant_id
                 WHERE family = $1 AND tokens.token = $2 AND $3 IS NULL AND ",
                access_token!(opens)
            ),
        };
        let found = about(token, statement)
            .bind(PERSONAL_CLIENT)
            .fetch_optional(&self.readers, rows::access_token)
            .await?;
        Ok(found.map(Arc::new))
    }

    async fn find_refresh_token(
        &self,
        token: &TokenKey,
    ) -> Result<Option<RefreshToken>, StoreError> {
        about(token, shown!(refresh_token, is))
            .fetch_optional(&self.readers, rows::refresh_token)
            .await
    }

    async fn rotate_refresh_token(
        &self,
        token: &TokenKey,
        successors: &IssuedTokens,
        time: RotationTime,
    ) -> Result<RefreshRotation, StoreError> {
        let mut step = self.begin().await?;
        let found = find_own(&mut step, token).await?;
        let Some((grant_id, RefreshState::Unspent)) = found else {
            step.commit().await?;
            return Ok(match found {
                None => RefreshRotation::Unknown,
                Some((_, RefreshState::Spent(Some(earlier)))) if earlier.may_be_repeated(time) => {
                    RefreshRotation::InGrace(earlier)
                }
                Some(_) => RefreshRotation::Replayed,
            });
        };
        let spent = about(
            token,
            "UPDATE tokens SET kind = 'spent', spent_at = $4, next_access = $5,
                next_access_expires_at = $6, next_scope = $7
             WHERE family = $1 AND turn = $3 AND token = $2 AND kind = 'refresh'",
        )
        .bind(time.now.unix_seconds())
        .bind(bytes(&successors.access))
        .bind(successors.access_expires_at.unix_seconds())
        .bind(successors.scope.to_string())
        .execute(&mut step)
        .await?;
        if spent == 0 {
            return Ok(RefreshRotation::Unknown);
        }
        insert_tokens(&mut step, &grant_id, successors).await?;
        step.commit().await?;
        Ok(RefreshRotation::Fresh)
    }

    async fn extend_refresh_token(
        &self,
        token: &TokenKey,
        tokens: &IssuedTokens,
    ) -> Result<RefreshExtension, StoreError> {
        let mut step = self.begin().await?;
        let found = find_own(&mut step, token).await?;
        let Some((grant_id, RefreshState::Unspent)) = found else {
            step.commit().await?;
            return Ok(match found {
                Some(_) => RefreshExtension::Spent,
                None => RefreshExtension::Unknown,
            });
        };
        if let Some((_, expires_at)) = tokens.refresh {
            about(
                token,
                "UPDATE tokens SET expires_at = $4
                 WHERE family = $1 AND turn = $3 AND token = $2",
            )
            .bind(expires_at.unix_seconds())
            .execute(&mut step)
            .await?;
        }
        let access_only = IssuedTokens { refresh: None, ..tokens.clone() };
        insert_tokens(&mut step, &grant_id, &access_only).await?;
        step.commit().await?;
        Ok(RefreshExtension::Extended)
    }

    async fn revoke_grant(&self, grant: &GrantId, now: Timestamp) -> Result<(), StoreError> {
        let mut step = self.begin().await?;
        grants::end(&mut step, &GrantsOf::One(grant.clone()), now).await?;
        step.commit().await
    }

    async fn revoke_access_token(
        &self,
        token: &TokenKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut step = self.begin().await?;
        about(
            token,
            "INSERT INTO revocations (access_token, revoked_at)
             SELECT token, $4 FROM tokens
             WHERE family = $1 AND turn = $3 AND token = $2 AND kind = 'access'",
        )
        .bind(now.unix_seconds())
        .execute(&mut step)
        .await?;
        about(
            token,
            "DELETE FROM tokens
             WHERE family = $1 AND turn = $3 AND token = $2 AND kind = 'access'",
        )
        .execute(&mut step)
        .await?;
        step.commit().await
    }

    async fn revocations_since(
        &self,
        cursor: Option<i64>,
    ) -> Result<(i64, Vec<Revocation>), StoreError> {
        let Some(cursor) = cursor else {
            let newest = query("SELECT COALESCE(MAX(seq), 0) FROM revocations")
                .fetch_one(&self.readers, rows::first::<i64>)
                .await?;
            return Ok((newest, Vec::new()));
        };
        let found = query(
            "SELECT seq, grant_id, access_token FROM revocations WHERE seq > $1
             ORDER BY seq LIMIT $2",
        )
        .bind(cursor)
        .bind(i64::from(REVOCATIONS_READ_MAX))
        .fetch_all(&self.readers, rows::revocation)
        .await?;
        let newest = found.last().map_or(cursor, |(seq, _)| *seq);
        Ok((newest, found.into_iter().map(|(_, revocation)| revocation).collect()))
    }

    async fn list_grants(
        &self,
        of: &GrantsOf,
        after: Option<&ListedGrant>,
    ) -> Result<Vec<ListedGrant>, StoreError> {
        grants::list(&self.readers, of, after).await
    }

    async fn find_people(&self, called: &str) -> Result<Vec<FoundPerson>, StoreError> {
        grants::find_people(&self.readers, called).await
    }

    async fn end_grants(&self, of: &GrantsOf, now: Timestamp) -> Result<u64, StoreError> {
        let mut step = self.begin().await?;
        let ended = grants::take_back(&mut step, of, now).await?;
        step.commit().await?;
        Ok(ended)
    }

    async fn describe_person(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        // Most logins say nothing new, and then nobody is kept from writing.
        if !grants::is_described_otherwise(&self.readers, identity).await? {
            return Ok(0);
        }
        let mut step = self.begin().await?;
        let described = grants::describe(&mut step, identity, now).await?;
        step.commit().await?;
        Ok(described)
    }

    async fn note_use(&self, grant: &GrantId, at: Timestamp) -> Result<(), StoreError> {
        grants::note_use(&self.writer, grant, at).await
    }

    async fn add_personal_token(
        &self,
        token: &PersonalToken,
    ) -> Result<PersonalTokenAdded, StoreError> {
        let mut step = self.begin().await?;
        let added = grants::add_personal_token(&mut step, token).await?;
        step.commit().await?;
        Ok(added)
    }

    async fn add_user(&self, user: &LocalUser) -> Result<bool, StoreError> {
        let added = query(
            "INSERT INTO users (name, password_hash, created_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&user.name)
        .bind(&user.password_hash)
        .bind(user.created_at.unix_seconds())
        .execute(&self.writer)
        .await?;
        Ok(added > 0)
    }

    async fn find_user(&self, name: &str) -> Result<Option<LocalUser>, StoreError> {
        query("SELECT name, password_hash, created_at FROM users WHERE name = $1")
            .bind(key(name))
            .fetch_optional(&self.readers, rows::user)
            .await
    }

    async fn list_users(&self) -> Result<Vec<LocalUser>, StoreError> {
        query("SELECT name, password_hash, created_at FROM users ORDER BY name")
            .fetch_all(&self.readers, rows::user)
            .await
    }

    async fn set_password(&self, name: &str, password_hash: &str) -> Result<bool, StoreError> {
        let mut step = self.begin().await?;
        let changed = query("UPDATE users SET password_hash = $2 WHERE name = $1")
            .bind(key(name))
            .bind(password_hash)
            .execute(&mut step)
            .await?;
        query("DELETE FROM browser_sessions WHERE issuer = $1 AND subject = $2")
            .bind(LOCAL_ISSUER)
            .bind(key(name))
            .execute(&mut step)
            .await?;
        step.commit().await?;
        Ok(changed > 0)
    }

    async fn remove_user(&self, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut step = self.begin().await?;
        let removed =
            query("DELETE FROM users WHERE name = $1").bind(key(name)).execute(&mut step).await?;
        if removed > 0 {
            grants::take_back(&mut step, &GrantsOf::local(name), now).await?;
        }
        step.commit().await?;
        Ok(removed > 0)
    }

    async fn remember_consent(
        &self,
        consent: &RememberedConsent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO consents (issuer, subject, tuple, given_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (issuer, subject, tuple) DO UPDATE SET given_at = excluded.given_at",
        )
        .bind(&consent.identity.issuer)
        .bind(&consent.identity.subject)
        .bind(bytes(&consent.tuple))
        .bind(now.unix_seconds())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn is_consent_remembered(
        &self,
        consent: &RememberedConsent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let found = query(
            "SELECT COUNT(*) FROM consents
             WHERE issuer = $1 AND subject = $2 AND tuple = $3 AND given_at > $4",
        )
        .bind(&consent.identity.issuer)
        .bind(&consent.identity.subject)
        .bind(bytes(&consent.tuple))
        .bind(now.minus(CONSENTS_KEPT).unix_seconds())
        .fetch_one(&self.readers, rows::first::<i64>)
        .await?;
        Ok(found > 0)
    }

    async fn begin_browser_session(
        &self,
        browser: &SecretHash,
        identity: &Identity,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        browser_session(browser, identity, expires_at, None).execute(&self.writer).await?;
        Ok(())
    }

    async fn find_browser_session(
        &self,
        browser: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        query(
            "SELECT issuer, subject, name, email, email_verified, claims
             FROM browser_sessions WHERE browser = $1 AND expires_at > $2",
        )
        .bind(bytes(browser))
        .bind(now.unix_seconds())
        .fetch_optional(&self.readers, rows::browser_session)
        .await
    }

    async fn end_browser_session(&self, browser: &SecretHash) -> Result<(), StoreError> {
        query("DELETE FROM browser_sessions WHERE browser = $1")
            .bind(bytes(browser))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn issue_code_of_session(
        &self,
        code: &CodeRecord,
        session: &ProviderSession,
    ) -> Result<CodeIssue, StoreError> {
        let mut step = self.begin().await?;
        let issued = insert_code(&mut step, code).await?;
        if issued == CodeIssue::Issued {
            provider_sessions::insert(&mut step, session).await?;
        }
        step.commit().await?;
        Ok(issued)
    }

    async fn find_provider_session(
        &self,
        grant: &GrantId,
    ) -> Result<Option<ProviderSession>, StoreError> {
        provider_sessions::find(&self.readers, grant).await
    }

    async fn find_provider_session_of_browser(
        &self,
        browser: &SecretHash,
    ) -> Result<Option<ProviderSession>, StoreError> {
        provider_sessions::find_of_browser(&self.readers, browser).await
    }

    async fn claim_provider_sessions(
        &self,
        now: Timestamp,
        horizon: Timestamp,
        until: Timestamp,
        rows_max: u16,
        which: DueSessions,
    ) -> Result<Vec<ClaimedSession>, StoreError> {
        provider_sessions::claim(&self.writer, now, horizon, until, rows_max, which).await
    }

    async fn claim_provider_session(
        &self,
        grant: &GrantId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ClaimedSession>, StoreError> {
        provider_sessions::claim_alone(&self.writer, grant, now, until).await
    }

    async fn renew_provider_session(
        &self,
        claimed: &ClaimedSession,
        tokens: &Sealed,
        check_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        provider_sessions::renew(&self.writer, claimed, tokens, check_at).await
    }

    async fn postpone_provider_session(
        &self,
        claimed: &ClaimedSession,
        check_at: Timestamp,
    ) -> Result<bool, StoreError> {
        provider_sessions::postpone(&self.writer, claimed, check_at).await
    }

    async fn end_provider_session(
        &self,
        claimed: &ClaimedSession,
        now: Timestamp,
    ) -> Result<SessionEnd, StoreError> {
        let mut step = self.begin().await?;
        let ended = provider_sessions::end(&mut step, claimed, now).await?;
        step.commit().await?;
        Ok(ended)
    }

    async fn forget_provider_session(&self, claimed: &ClaimedSession) -> Result<(), StoreError> {
        provider_sessions::forget(&self.writer, claimed).await
    }

    async fn log_out_at_provider(
        &self,
        logout: &ProviderLogout,
        now: Timestamp,
    ) -> Result<LoggedOut, StoreError> {
        let mut step = self.begin().await?;
        let logged_out = provider_sessions::log_out(&mut step, logout, now).await?;
        step.commit().await?;
        Ok(logged_out)
    }

    async fn begin_account_session(
        &self,
        browser: &SecretHash,
        identity: &Identity,
        session: Option<&ProviderSession>,
        idle_until: Timestamp,
        expires_at: Timestamp,
    ) -> Result<AccountSessionBegun, StoreError> {
        let mut step = self.begin().await?;
        if grants::is_removed(&mut step, identity).await? {
            step.commit().await?;
            return Ok(AccountSessionBegun::NoSuchUser);
        }
        provider_sessions::welcome_back(&mut step, identity).await?;
        browser_session(browser, identity, expires_at, Some(idle_until)).execute(&mut step).await?;
        if let Some(session) = session {
            provider_sessions::insert(&mut step, session).await?;
        }
        step.commit().await?;
        Ok(AccountSessionBegun::Begun)
    }

    async fn use_account_session(
        &self,
        browser: &SecretHash,
        now: Timestamp,
        idle_until: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        // All rows, though there is one at most: see take_login.
        let used = query(
            "UPDATE browser_sessions SET idle_until = $3
             WHERE browser = $1 AND expires_at > $2 AND idle_until > $2
             RETURNING issuer, subject, name, email, email_verified, claims",
        )
        .bind(bytes(browser))
        .bind(now.unix_seconds())
        .bind(idle_until.unix_seconds())
        .fetch_all(&self.writer, rows::browser_session)
        .await?;
        Ok(used.into_iter().next())
    }

    async fn sweep_some(
        &self,
        now: Timestamp,
        unused_clients_before: Timestamp,
        rows_max: u32,
    ) -> Result<Swept, StoreError> {
        sweep::some(self, now, unused_clients_before, rows_max).await
    }

    async fn keep_document_client(&self, client: &Client) -> Result<(), StoreError> {
        let mut step = self.begin().await?;
        let known = query("SELECT origin FROM clients WHERE id = $1")
            .bind(client.id.as_str())
            .fetch_optional(&mut step, rows::first::<String>)
            .await?;
        if known.is_none() {
            insert_client(&mut step, client).await?;
            make_room(&mut step, client, self.limits.clients_max, &self.uncounted.clients).await?;
        } else {
            query(
                "UPDATE clients SET metadata = $2, last_used_at = $4, created_at =
                    CASE WHEN has_finished_login = FALSE THEN $5 ELSE created_at END
                 WHERE id = $1 AND origin = $3",
            )
            .bind(client.id.as_str())
            .bind(as_json(&client.metadata))
            .bind(rows::origin_word(ClientOrigin::Document))
            .bind(client.last_used_at.unix_seconds())
            .bind(client.created_at.unix_seconds())
            .execute(&mut step)
            .await?;
        }
        step.commit().await
    }

    async fn list_clients(&self, after: Option<&ClientId>) -> Result<Vec<Client>, StoreError> {
        query(
            "SELECT id, metadata, secret, secret_expires_at, created_at, origin, last_used_at
             FROM clients WHERE id > $1 ORDER BY id LIMIT $2",
        )
        // No id is empty.
        .bind(after.map_or("", |after| key(after.as_str())))
        .bind(i64::from(CLIENTS_LISTED_MAX))
        .fetch_all(&self.readers, rows::client)
        .await
    }

    async fn remove_client(&self, id: &ClientId, now: Timestamp) -> Result<bool, StoreError> {
        let mut step = self.begin().await?;
        grants::end(&mut step, &GrantsOf::Client(id.clone()), now).await?;
        let removed = query("DELETE FROM clients WHERE id = $1")
            .bind(key(id.as_str()))
            .execute(&mut step)
            .await?;
        step.commit().await?;
        Ok(removed > 0)
    }

    async fn is_client_in_use(&self, id: &ClientId) -> Result<bool, StoreError> {
        query("SELECT EXISTS (SELECT 1 FROM grants WHERE client_id = $1)")
            .bind(key(id.as_str()))
            .fetch_one(&self.readers, rows::first::<bool>)
            .await
    }

    async fn note_client_use(&self, id: &ClientId, now: Timestamp) -> Result<(), StoreError> {
        query("UPDATE clients SET last_used_at = $2 WHERE id = $1")
            .bind(key(id.as_str()))
            .bind(now.unix_seconds())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn sweep_idle_clients(&self, unused_since: Timestamp) -> Result<Swept, StoreError> {
        sweep::idle_clients(self, unused_since).await
    }

    async fn issue_to_machine(
        &self,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<(), StoreError> {
        let mut step = self.begin().await?;
        let known = query("SELECT COUNT(*) FROM grants WHERE id = $1")
            .bind(grant.id.as_str())
            .fetch_one(&mut step, rows::first::<i64>)
            .await?;
        if known == 0 {
            insert_grant(&mut step, grant).await?;
        }
        insert_tokens(&mut step, &grant.id, tokens).await?;
        step.commit().await
    }

    async fn issue_vouched(&self, grant: &Grant, tokens: &IssuedTokens) -> Result<(), StoreError> {
        let mut step = self.begin().await?;
        insert_grant(&mut step, grant).await?;
        query("UPDATE grants SET is_vouched = TRUE WHERE id = $1")
            .bind(grant.id.as_str())
            .execute(&mut step)
            .await?;
        insert_tokens(&mut step, &grant.id, tokens).await?;
        step.commit().await
    }

    async fn use_assertion(&self, assertion: &UsedAssertion) -> Result<AssertionUse, StoreError> {
        let UsedAssertion { id, share, expires_at } = assertion;
        let mut step = self.begin().await?;
        let used = query(
            "INSERT INTO assertions (assertion, expires_at, share)
             SELECT $1, $2, $3 WHERE (SELECT COUNT(*) FROM assertions WHERE share = $3) < $4
             ON CONFLICT (assertion) DO NOTHING",
        )
        .bind(bytes(id))
        .bind(expires_at.unix_seconds())
        .bind(bytes(&share.0))
        .bind(limit(self.limits.assertions_per_share_max))
        .execute(&mut step)
        .await?;
        if used > 0 {
            step.commit().await?;
            return Ok(AssertionUse::Fresh);
        }
        let known = query("SELECT COUNT(*) FROM assertions WHERE assertion = $1")
            .bind(bytes(id))
            .fetch_one(&mut step, rows::first::<i64>)
            .await?;
        step.commit().await?;
        Ok(if known > 0 { AssertionUse::Replayed } else { AssertionUse::Full })
    }

    async fn count_try(
        &self,
        counters: &[TryCounter],
        now: Timestamp,
    ) -> Result<TryCounted, StoreError> {
        let mut step = self.begin().await?;
        let mut counted = TryCounted::Allowed;
        for counter in counters {
            let place = i64::from(counter.place);
            let known = query("SELECT until, counted_at FROM tries WHERE place = $1")
                .bind(place)
                .fetch_optional(&mut step, rows::tries)
                .await?;
            let (row, outcome) = counter.count(known, now);
            query(
                "INSERT INTO tries (place, until, counted_at) VALUES ($1, $2, $3)
                 ON CONFLICT (place) DO UPDATE SET
                    until = excluded.until, counted_at = excluded.counted_at",
            )
            .bind(place)
            .bind(row.full_at.unix_seconds())
            .bind(row.counted_at.unix_seconds())
            .execute(&mut step)
            .await?;
            if outcome != TryCounted::Allowed {
                counted = outcome;
                break;
            }
        }
        step.commit().await?;
        Ok(counted)
    }

    async fn claim_keys(&self, newest_first: &[KeyId]) -> Result<KeyClaim, StoreError> {
        let mut step = self.begin().await?;
        let noted = query("SELECT sealing_key FROM instance")
            .fetch_one(&mut step, rows::first::<Option<String>>)
            .await?;
        if noted.is_some_and(|noted| newest_first.iter().all(|key| key.as_str() != noted)) {
            step.commit().await?;
            return Ok(KeyClaim::Foreign);
        }
        query("UPDATE instance SET sealing_key = $1")
            .bind(newest_first.first().map(KeyId::as_str))
            .execute(&mut step)
            .await?;
        step.commit().await?;
        Ok(KeyClaim::Ours)
    }

    async fn note_flows(&self, notes: &[FlowNote]) -> Result<(), StoreError> {
        let mut step = self.begin_for_notes().await?;
        for note in notes {
            flows::note(&mut step, note).await?;
        }
        flows::make_room(&mut step).await?;
        step.commit().await
    }

    async fn list_flows(&self, trace_id: Option<&str>) -> Result<Vec<Flow>, StoreError> {
        flows::list(&self.readers, trace_id).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        // A real commit: a read-only or full disk lets everything short of it pass.
        let written = query("UPDATE instance SET id = id").execute(&self.writer).await?;
        match written {
            0 => Err(StoreError::Unreadable {
                table: "instance",
                source: "the instance id is gone".into(),
            }),
            _ => Ok(()),
        }
    }
}

/// Nothing where nothing is kept.
pub(super) fn claims_as_json(identity: &Identity) -> Option<String> {
    (!identity.claims.is_empty()).then(|| as_json(&identity.claims))
}

/// A digest of what the provider says of a person, beside who they are.
pub(super) fn description(identity: &Identity) -> Vec<u8> {
    let Identity { issuer: _, subject: _, name, email, email_verified, claims } = identity;
    let mut digest = Sha256::digest(as_json(&(name, email, email_verified, claims))).to_vec();
    digest.truncate(DESCRIPTION_BYTES);
    digest
}

/// Enough that no two things said of one person are taken for each other.
const DESCRIPTION_BYTES: usize = 16;

/// Who is logged in at a browser; at the account page too until `idle_until`.
fn browser_session<'q>(
    browser: &'q SecretHash,
    identity: &'q Identity,
    expires_at: Timestamp,
    idle_until: Option<Timestamp>,
) -> Query<'q> {
    query(
        "INSERT INTO browser_sessions
            (browser, issuer, subject, name, email, email_verified, expires_at, idle_until, claims,
             described)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (browser) DO UPDATE SET
            issuer = excluded.issuer, subject = excluded.subject, name = excluded.name,
            email = excluded.email, email_verified = excluded.email_verified,
            claims = excluded.claims, described = excluded.described,
            expires_at = excluded.expires_at, idle_until = excluded.idle_until",
    )
    .bind(bytes(browser))
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(&identity.name)
    .bind(&identity.email)
    .bind(identity.email_verified)
    .bind(expires_at.unix_seconds())
    .bind(idle_until.map(Timestamp::unix_seconds))
    .bind(claims_as_json(identity))
    .bind(description(identity))
}

/// Keeps a code, and marks its client as one that finished a login.
async fn insert_code(step: &mut Step, code: &CodeRecord) -> Result<CodeIssue, StoreError> {
    let CodeRecord { code, grant, expires_at, is_redeemed: _ } = code;
    let issued = query(
        "INSERT INTO codes
            (code, grant_id, request, issuer, subject, name, email, email_verified, expires_at,
             is_redeemed, client_id, claims)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, FALSE, $11, $12
         WHERE $4 <> $10 OR EXISTS (SELECT 1 FROM users WHERE users.name = $5)",
    )
    .bind(bytes(code))
    .bind(grant.grant_id.as_str())
    .bind(as_json(&grant.request))
    .bind(&grant.identity.issuer)
    .bind(&grant.identity.subject)
    .bind(&grant.identity.name)
    .bind(&grant.identity.email)
    .bind(grant.identity.email_verified)
    .bind(expires_at.unix_seconds())
    .bind(LOCAL_ISSUER)
    .bind(grant.request.client_id.as_str())
    .bind(claims_as_json(&grant.identity))
    .execute(&mut *step)
    .await?;
    if issued == 0 {
        return Ok(CodeIssue::NoSuchUser);
    }
    provider_sessions::welcome_back(step, &grant.identity).await?;
    query("UPDATE clients SET has_finished_login = TRUE WHERE id = $1")
        .bind(grant.request.client_id.as_str())
        .execute(&mut *step)
        .await?;
    Ok(CodeIssue::Issued)
}

async fn insert_client(step: &mut Step, client: &Client) -> Result<(), StoreError> {
    query(
        "INSERT INTO clients
            (id, metadata, secret, secret_expires_at, created_at, has_finished_login, origin,
             last_used_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(client.id.as_str())
    .bind(as_json(&client.metadata))
    .bind(client.secret.as_ref().map(bytes))
    .bind(client.secret_expires_at.map(Timestamp::unix_seconds))
    .bind(client.created_at.unix_seconds())
    .bind(client.origin == ClientOrigin::Preregistered)
    .bind(rows::origin_word(client.origin))
    .bind(client.last_used_at.unix_seconds())
    .execute(&mut *step)
    .await?;
    Ok(())
}

/// Room in the tables that strangers fill.
#[derive(Debug, Default)]
pub(super) struct Uncounted {
    clients: Room,
    logins: Room,
}

/// How many rows may still come before they are counted again: counting looks at all of them, and
/// while there is much room it can wait.
#[derive(Debug, Default)]
struct Room(AtomicU64);

impl Room {
    /// Whether one more may come uncounted.
    fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// They were counted. Other processes add some too, so not all the room is ours.
    fn set(&self, rows: u64, rows_max: u64) {
        let room = rows_max.saturating_sub(rows);
        self.0.store((room / ROOM_SHARED_BY).min(UNCOUNTED_MAX), Relaxed);
    }
}

/// Processes on one store that can add as fast as they like and stay within the limit together.
const ROOM_SHARED_BY: u64 = 16;

/// Rows that come between two countings at most.
const UNCOUNTED_MAX: u64 = 1024;

/// Drops the oldest clients that never finished a login until there are no more than may be, or
/// none of these is left but the one that just came.
async fn make_room(
    step: &mut Step,
    newest: &Client,
    clients_max: u64,
    room: &Room,
) -> Result<(), StoreError> {
    if room.take() {
        return Ok(());
    }
    let clients =
        query("SELECT COUNT(*) FROM clients").fetch_one(&mut *step, rows::first::<i64>).await?;
    room.set(u64::try_from(clients).unwrap_or_default(), clients_max);
    let too_many = clients.saturating_sub(limit(clients_max));
    if too_many > 0 {
        query(
            "DELETE FROM clients WHERE id IN (
                SELECT id FROM clients WHERE has_finished_login = FALSE AND id <> $1
                ORDER BY created_at, id LIMIT $2)",
        )
        .bind(newest.id.as_str())
        .bind(too_many)
        .execute(&mut *step)
        .await?;
    }
    Ok(())
}

pub(super) async fn insert_grant(step: &mut Step, grant: &Grant) -> Result<(), StoreError> {
    query(
        "INSERT INTO grants
            (id, client_id, issuer, subject, name, email, email_verified, scope, resource,
             created_at, claims, described)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(grant.id.as_str())
    .bind(grant.client_id.as_str())
    .bind(&grant.identity.issuer)
    .bind(&grant.identity.subject)
    .bind(&grant.identity.name)
    .bind(&grant.identity.email)
    .bind(grant.identity.email_verified)
    .bind(grant.scope.to_string())
    .bind(grant.resource.as_str())
    .bind(grant.created_at.unix_seconds())
    .bind(claims_as_json(&grant.identity))
    .bind(description(&grant.identity))
    .execute(&mut *step)
    .await?;
    Ok(())
}

/// A statement about the token `$2` of the family `$1`, in its turn `$3`.
fn about<'q>(token: &'q TokenKey, statement: &'static str) -> Query<'q> {
    query(statement).bind(key(&token.family)).bind(bytes(&token.hash)).bind(turn(token.turn))
}

/// The grant of a refresh token that is in its place, and what became of the token.
async fn find_own(
    step: &mut Step,
    token: &TokenKey,
) -> Result<Option<(GrantId, RefreshState)>, StoreError> {
    about(
        token,
        "SELECT grant_id, kind = 'spent' AS is_spent, spent_at, next_access,
            next_access_expires_at, next_scope
         FROM tokens WHERE family = $1 AND turn = $3 AND token = $2 AND kind <> 'access'",
    )
    .fetch_optional(step, rows::refresh_state)
    .await
}

pub(super) async fn insert_tokens(
    step: &mut Step,
    grant_id: &GrantId,
    tokens: &IssuedTokens,
) -> Result<(), StoreError> {
    const ACCESS: &str =
        "INSERT INTO tokens (family, turn, token, kind, grant_id, expires_at, scope)
        VALUES ($1, $2, $3, 'access', $4, $5, $6)";
    const PAIR: &str = "INSERT INTO tokens (family, turn, token, kind, grant_id, expires_at, scope)
        VALUES ($1, $2, $3, 'access', $4, $5, $6), ($1, $2, $7, 'refresh', $4, $8, NULL)";
    let insert = query(if tokens.refresh.is_some() { PAIR } else { ACCESS })
        .bind(grant_id.family())
        .bind(turn(Some(tokens.turn)))
        .bind(bytes(&tokens.access))
        .bind(grant_id.as_str())
        .bind(tokens.access_expires_at.unix_seconds())
        .bind(tokens.scope.to_string());
    let insert = match &tokens.refresh {
        Some((refresh, expires_at)) => insert.bind(bytes(refresh)).bind(expires_at.unix_seconds()),
        None => insert,
    };
    insert.execute(&mut *step).await?;
    Ok(())
}

/// What a row is looked for by. No key is empty, and none has a NUL, which some databases cannot even
/// be asked for.
pub(super) fn key(text: &str) -> &str {
    if text.contains('\0') { "" } else { text }
}

pub(super) fn bytes(hash: &SecretHash) -> &[u8] {
    hash.as_bytes()
}

fn turn(turn: Option<Turn>) -> Option<i64> {
    turn.map(|turn| i64::from(turn.number()))
}

fn limit(rows_max: u64) -> i64 {
    i64::try_from(rows_max).unwrap_or(i64::MAX)
}

fn as_json(value: &impl serde::Serialize) -> String {
    #[expect(clippy::expect_used, reason = "our own types have string keys and no failing parts")]
    serde_json::to_string(value).expect("our own types serialise")
}
