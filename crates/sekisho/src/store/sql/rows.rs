//! Reads rows back into values, for each database alike (see `verbs.rs`). A row that does not hold what we wrote is an error, never a guess.

use std::sync::Arc;

use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::{ClientId, ResourceUri, ScopeSet};
use serde::de::DeserializeOwned;

use super::sweep::TokenPlace;
use super::{Column, Row, read, unavailable};
use crate::clock::Timestamp;
use crate::grant::{CodeGrant, FlowId, Grant, GrantId, Turn};
use crate::principal::{Claims, Identity, Principal};
use crate::seal::Sealed;
use crate::store::tries::TryRow;
use crate::store::{
    AccessToken, Admitted, ClaimedSession, Client, ClientOrigin, CodeRecord, Contents, Due, Flow,
    FoundBy, FoundPerson, LastNoted, ListedGrant, LocalUser, LoginRecord, Personal,
    ProviderSession, RefreshToken, Revocation, StoreError, Successors,
};

pub(super) fn client(row: Row<'_>) -> Result<Client, StoreError> {
    let row = Columns { row, table: "clients" };
    Ok(Client {
        id: ClientId::new(row.text("id")?),
        metadata: row.json("metadata")?,
        secret: row.maybe_hash("secret")?,
        secret_expires_at: row
            .read::<Option<i64>>("secret_expires_at")?
            .map(Timestamp::from_unix_seconds),
        created_at: row.time("created_at")?,
        origin: row.origin()?,
        last_used_at: row.time("last_used_at")?,
    })
}

pub(super) fn flow(row: Row<'_>) -> Result<Flow, StoreError> {
    const TABLE: &str = "flows";
    let row = Columns { row, table: TABLE };
    let unreadable = |source: serde_json::Error| StoreError::Unreadable {
        table: TABLE,
        source: Box::new(source),
    };
    let steps: Result<_, _> = row.text("steps")?.lines().map(serde_json::from_str).collect();
    Ok(Flow {
        id: FlowId::new(row.text("id")?),
        begun_at: row.time("begun_at")?,
        client_id: row.read::<Option<String>>("client_id")?.map(ClientId::new),
        grant_id: row.read::<Option<String>>("grant_id")?.map(GrantId::new),
        is_approved: row.read("is_approved")?,
        steps: steps.map_err(unreadable)?,
    })
}

pub(super) fn contents(row: Row<'_>) -> Result<Contents, StoreError> {
    let row = Columns { row, table: "instance" };
    let count = |rows: i64| u64::try_from(rows).unwrap_or_default();
    Ok(Contents {
        clients: count(row.read("clients")?),
        logins: count(row.read("logins")?),
        sealing_key: row.read("sealing_key")?,
    })
}

pub(super) fn tries(row: Row<'_>) -> Result<TryRow, StoreError> {
    let row = Columns { row, table: "tries" };
    Ok(TryRow { full_at: row.time("until")?, counted_at: row.time("counted_at")? })
}

/// How an origin is written down.
pub(super) const fn origin_word(origin: ClientOrigin) -> &'static str {
    match origin {
        ClientOrigin::Dynamic => "dynamic",
        ClientOrigin::Document => "document",
        ClientOrigin::Preregistered => "preregistered",
    }
}

pub(super) fn login(row: Row<'_>) -> Result<LoginRecord, StoreError> {
    let row = Columns { row, table: "logins" };
    Ok(LoginRecord {
        login_state: row.hash("login_state")?,
        browser: row.hash("browser")?,
        sealed: Sealed::from_bytes(row.read("sealed")?),
        expires_at: row.time("expires_at")?,
    })
}

pub(super) fn code(row: Row<'_>) -> Result<CodeRecord, StoreError> {
    let row = Columns { row, table: "codes" };
    Ok(CodeRecord {
        code: row.hash("code")?,
        grant: CodeGrant {
            request: row.json("request")?,
            identity: row.identity()?,
            grant_id: GrantId::new(row.text("grant_id")?),
        },
        expires_at: row.time("expires_at")?,
        is_redeemed: row.read("is_redeemed")?,
    })
}

pub(super) fn access_token(row: Row<'_>) -> Result<AccessToken, StoreError> {
    let row = Columns { row, table: "tokens" };
    let principal = Principal {
        identity: row.identity()?,
        client_id: ClientId::new(row.text("client_id")?),
        grant_id: GrantId::new(row.text("grant_id")?),
        scopes: row.scope("scope")?,
        token: row.hash("token")?,
        expires_at: row.time("expires_at")?,
    };
    let resource = ResourceUri::new(row.text("resource")?);
    let last_noted = LastNoted::new(row.time_if_any("last_used_at")?);
    let (principal, admitted) = (Arc::new(principal), Admitted::default());
    Ok(AccessToken { principal, resource, last_noted, admitted, turn: row.turn()? })
}

pub(super) fn refresh_token(row: Row<'_>) -> Result<RefreshToken, StoreError> {
    let successors = successors(row)?;
    let row = Columns { row, table: "tokens" };
    Ok(RefreshToken {
        token: row.hash("token")?,
        grant: Grant {
            id: GrantId::new(row.text("grant_id")?),
            client_id: ClientId::new(row.text("client_id")?),
            identity: row.identity()?,
            scope: row.scope("scope")?,
            resource: ResourceUri::new(row.text("resource")?),
            created_at: row.time("created_at")?,
        },
        expires_at: row.time("expires_at")?,
        is_spent: row.read("is_spent")?,
        successors,
        turn: row.turn()?,
    })
}

pub(super) fn listed_grant(row: Row<'_>) -> Result<ListedGrant, StoreError> {
    let row = Columns { row, table: "grants" };
    let expires_at = row.time_if_any("expires_at")?;
    let label = row.read("label")?;
    let client = match row.read::<Option<String>>("metadata")? {
        Some(metadata) => {
            Some(serde_json::from_str(&metadata).map_err(|error| row.unreadable(error))?)
        }
        None => None,
    };
    Ok(ListedGrant {
        id: GrantId::new(row.text("id")?),
        client_id: ClientId::new(row.text("client_id")?),
        client,
        identity: row.identity()?,
        scope: row.scope("scope")?,
        resource: ResourceUri::new(row.text("resource")?),
        created_at: row.time("created_at")?,
        last_used_at: row.time_if_any("last_used_at")?,
        personal: expires_at.map(|expires_at| Personal { label, expires_at }),
    })
}

pub(super) fn found_person(row: Row<'_>) -> Result<FoundPerson, StoreError> {
    let row = Columns { row, table: "grants" };
    let by = match row.read::<i32>("way")? {
        0 => FoundBy::Subject,
        1 => FoundBy::VerifiedEmail,
        _ => FoundBy::Name,
    };
    Ok(FoundPerson { by, issuer: row.text("issuer")?, subject: row.text("subject")? })
}

/// What a refresh token was traded for. A token traded under the first schema does not say.
fn successors(row: Row<'_>) -> Result<Option<Successors>, StoreError> {
    let row = Columns { row, table: "tokens" };
    let Some(spent_at) = row.read::<Option<i64>>("spent_at")? else { return Ok(None) };
    Ok(Some(Successors {
        spent_at: Timestamp::from_unix_seconds(spent_at),
        access: row.hash("next_access")?,
        access_expires_at: row.time("next_access_expires_at")?,
        scope: row.scope("next_scope")?,
    }))
}

/// What became of a refresh token.
pub(super) enum RefreshState {
    Unspent,
    Spent(Option<Successors>),
}

/// The grant of a refresh token, and what became of the token.
pub(super) fn refresh_state(row: Row<'_>) -> Result<(GrantId, RefreshState), StoreError> {
    let columns = Columns { row, table: "tokens" };
    let state = if columns.read("is_spent")? {
        RefreshState::Spent(successors(row)?)
    } else {
        RefreshState::Unspent
    };
    Ok((GrantId::new(columns.text("grant_id")?), state))
}

/// What a token is kept under.
pub(super) fn token_place(row: Row<'_>) -> Result<TokenPlace, StoreError> {
    let row = Columns { row, table: "tokens" };
    Ok((row.text("family")?, row.read("turn")?, row.read("token")?))
}

/// The number of a revocation and what was revoked.
pub(super) fn revocation(row: Row<'_>) -> Result<(i64, Revocation), StoreError> {
    let row = Columns { row, table: "revocations" };
    let what = match row.read::<Option<String>>("grant_id")? {
        Some(grant) => Revocation::Grant(GrantId::new(grant)),
        None => Revocation::AccessToken(row.hash("access_token")?),
    };
    Ok((row.read("seq")?, what))
}

pub(super) fn user(row: Row<'_>) -> Result<LocalUser, StoreError> {
    let row = Columns { row, table: "users" };
    Ok(LocalUser {
        name: row.text("name")?,
        password_hash: row.text("password_hash")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn browser_session(row: Row<'_>) -> Result<Identity, StoreError> {
    Columns { row, table: "browser_sessions" }.identity()
}

pub(super) fn provider_session(row: Row<'_>) -> Result<ProviderSession, StoreError> {
    let row = Columns { row, table: "provider_sessions" };
    Ok(ProviderSession {
        grant_id: GrantId::new(row.text("grant_id")?),
        issuer: row.text("issuer")?,
        subject: row.text("subject")?,
        sid: row.read("sid")?,
        browser: row.maybe_hash("browser")?,
        tokens: Sealed::from_bytes(row.read("tokens")?),
        is_offline: row.read("is_offline")?,
        check_at: row.read::<Option<i64>>("check_at")?.map(Timestamp::from_unix_seconds),
    })
}

pub(super) fn claimed_session(row: Row<'_>) -> Result<ClaimedSession, StoreError> {
    let row = Columns { row, table: "provider_sessions" };
    let failures: i64 = row.read("failures")?;
    let is_over = row.read::<Option<i64>>("over_since")?.is_some();
    Ok(ClaimedSession {
        grant_id: GrantId::new(row.text("grant_id")?),
        due: match (is_over, row.read("others_live")?) {
            (false, _) => Due::Question,
            (true, false) => Due::Farewell,
            (true, true) => Due::SilentFarewell,
        },
        issuer: row.text("issuer")?,
        subject: row.text("subject")?,
        tokens: Sealed::from_bytes(row.read("tokens")?),
        claim: row.read("claim")?,
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
    })
}

/// The grant and the person of a session that ends.
pub(super) fn ending_session(row: Row<'_>) -> Result<(GrantId, String), StoreError> {
    let row = Columns { row, table: "provider_sessions" };
    Ok((GrantId::new(row.text("grant_id")?), row.text("subject")?))
}

/// A session that the provider has ended.
pub(super) struct EndedSession {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) browser: Option<SecretHash>,
    pub(super) is_offline: bool,
}

pub(super) fn ended_session(row: Row<'_>) -> Result<EndedSession, StoreError> {
    let row = Columns { row, table: "provider_sessions" };
    Ok(EndedSession {
        issuer: row.text("issuer")?,
        subject: row.text("subject")?,
        browser: row.maybe_hash("browser")?,
        is_offline: row.read("is_offline")?,
    })
}

/// The version of a schema that was applied, and the checksum of its statements.
pub(super) fn applied_migration(row: Row<'_>) -> Result<(i64, Vec<u8>), StoreError> {
    let row = Columns { row, table: "_sqlx_migrations" };
    Ok((row.read("version")?, row.read("checksum")?))
}

/// The only column of an answer.
pub(super) fn first<T: Column>(row: Row<'_>) -> Result<T, StoreError> {
    read(row, 0).map_err(unavailable)
}

/// A row with the name of its table, for the error.
struct Columns<'r> {
    row: Row<'r>,
    table: &'static str,
}

impl Columns<'_> {
    fn read<T: Column>(&self, column: &str) -> Result<T, StoreError> {
        read(self.row, column).map_err(|error| self.unreadable(error))
    }

    fn text(&self, column: &str) -> Result<String, StoreError> {
        self.read(column)
    }

    fn turn(&self) -> Result<Turn, StoreError> {
        let number = u32::try_from(self.read::<i64>("turn")?);
        number.map(Turn::new).map_err(|error| self.unreadable(error))
    }

    fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.read(column).map(Timestamp::from_unix_seconds)
    }

    fn time_if_any(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.read::<Option<i64>>(column)?.map(Timestamp::from_unix_seconds))
    }

    fn hash(&self, column: &str) -> Result<SecretHash, StoreError> {
        self.as_hash(self.read(column)?)
    }

    fn as_hash(&self, bytes: Vec<u8>) -> Result<SecretHash, StoreError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| self.unreadable("not 32 bytes"))?;
        Ok(SecretHash::from_bytes(bytes))
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(column)?).map_err(|error| self.unreadable(error))
    }

    fn scope(&self, column: &str) -> Result<ScopeSet, StoreError> {
        ScopeSet::parse(&self.text(column)?).map_err(|error| self.unreadable(error))
    }

    fn maybe_hash(&self, column: &str) -> Result<Option<SecretHash>, StoreError> {
        self.read::<Option<Vec<u8>>>(column)?.map(|hash| self.as_hash(hash)).transpose()
    }

    fn origin(&self) -> Result<ClientOrigin, StoreError> {
        let word = self.text("origin")?;
        [ClientOrigin::Dynamic, ClientOrigin::Document, ClientOrigin::Preregistered]
            .into_iter()
            .find(|origin| origin_word(*origin) == word)
            .ok_or_else(|| self.unreadable("no origin of a client"))
    }

    fn identity(&self) -> Result<Identity, StoreError> {
        Ok(Identity {
            issuer: self.text("issuer")?,
            subject: self.text("subject")?,
            name: self.read("name")?,
            email: self.read("email")?,
            email_verified: self.read("email_verified")?,
            claims: self.claims()?,
        })
    }

    /// None where nobody had asked for any.
    fn claims(&self) -> Result<Claims, StoreError> {
        let Some(text) = self.read::<Option<String>>("claims")? else {
            return Ok(Claims::default());
        };
        serde_json::from_str(&text).map_err(|error| self.unreadable(error))
    }

    fn unreadable(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Unreadable { table: self.table, source: source.into() }
    }
}
