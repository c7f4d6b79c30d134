//! `grant_type=refresh_token` (OAuth 2.1 §4.3): trades a refresh token for its successors, and gives
//! the very same ones to whoever shows it again within a short window.
//!
//! ```text
//!                       ┌ not spent ─────────────▶ traded: new pair, derived from the token
//! find ─▶ whose? ─▶ spent? ─ within the window ──▶ the same pair, derived once more
//!                       └ long ago ──────────────▶ the grant ends: two hold what one should
//! ```
//!
//! The successors are a keyed hash of the token that was traded, so that every window of a person,
//! and every process on one store, comes to the same pair while only hashes are kept. Nothing here
//! lengthens the window, and nothing refused here has used a token up.

use std::time::Duration;

use axum::response::Response;
use sekisho_protocol::oauth::{
    OAuthError, OAuthErrorCode, RefreshRequest, ScopeSet, TokenEndpointAuthMethod,
};
use sekisho_protocol::{Secret, SecretHash};
use zeroize::Zeroizing;

use super::refusal::Refusal;
use super::token::{Minted, of_client};
use super::{AuthorizationServer, Rotation};
use crate::audit::{self, Details, Event, Refused};
use crate::clock::Timestamp;
use crate::grant::{GrantId, IssuedTokens, TokenKey};
use crate::mint;
use crate::seal::{Derived, Deriver, Sealer};
use crate::store::{
    Client, REFRESH_GRACE_MAX, RefreshExtension, RefreshRotation, RefreshToken, RotationTime,
    Successors,
};

/// Why a refresh token is not traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum RefreshRefusal {
    #[error("no such refresh token")]
    Unknown,
    #[error("the refresh token belongs to another client")]
    OtherClient,
    #[error("the refresh token was used before: its grant is revoked")]
    Replayed,
    #[error("the refresh token has expired")]
    Expired,
    #[error("identity.allow does not let this person in any more")]
    NotAdmitted,
    #[error(
        "the refresh token was traded under a key that is not in key_file: give every replica the \
         same key file"
    )]
    UnknownKey,
}

/// What a refresh token is worth at this moment.
enum Standing {
    /// To be traded.
    Fresh,
    /// Traded a moment ago.
    InGrace(Successors),
    /// Traded long ago.
    Replayed,
    /// Past its end, traded or not: nobody could use it, so its return harms nobody.
    Expired,
}

impl Standing {
    fn of(token: &RefreshToken, time: RotationTime) -> Self {
        match &token.successors {
            Some(successors) if successors.may_be_repeated(time) => {
                Self::InGrace(successors.clone())
            }
            _ if token.expires_at.is_over(time.now) => Self::Expired,
            _ if token.is_spent => Self::Replayed,
            _ => Self::Fresh,
        }
    }
}

/// A refresh token that may be traded, with whom it belongs to and what is asked for it.
struct Trade<'a> {
    client: &'a Client,
    shown: &'a Secret,
    token: RefreshToken,
    scope: ScopeSet,
    now: Timestamp,
}

impl AuthorizationServer {
    pub(super) async fn refresh(
        &self,
        client: &Client,
        request: &RefreshRequest,
    ) -> Result<Response, Refusal> {
        if !client.metadata.refreshes {
            let reason = "the client did not register for refresh_token";
            return Err(OAuthError::new(OAuthErrorCode::UnauthorizedClient, reason).into());
        }
        let shown = &request.refresh_token;
        let Some(token) = self.store.find_refresh_token(&TokenKey::shown(shown)).await? else {
            return Err(refuse(RefreshRefusal::Unknown, client));
        };
        if token.grant.client_id != client.id {
            return Err(refuse(RefreshRefusal::OtherClient, client));
        }
        let now = self.clock.now();
        let standing = Standing::of(&token, self.rotation_time(now));
        match &standing {
            Standing::Replayed => return self.refresh_replayed(client, &token.grant.id).await,
            Standing::Expired => return Err(refuse(RefreshRefusal::Expired, client)),
            Standing::Fresh | Standing::InGrace(_) => {}
        }
        if !self.providers.admit(&token.grant.identity) {
            return Err(refuse(RefreshRefusal::NotAdmitted, client));
        }
        let scope = self.narrowed(&token, request)?;
        let trade = Trade { client, shown, token, scope, now };
        match standing {
            Standing::InGrace(successors) => self.repeat(&trade, &successors),
            Standing::Fresh | Standing::Replayed | Standing::Expired => {
                if self.keeps_its_refresh_token(client) {
                    self.extend(&trade).await
                } else {
                    self.rotate(&trade).await
                }
            }
        }
    }

    fn rotation_time(&self, now: Timestamp) -> RotationTime {
        RotationTime { now, grace: self.settings.refresh_grace.min(REFRESH_GRACE_MAX) }
    }

    /// OAuth 2.1 §4.3.1: a public client has nothing but the token to prove itself with, so its
    /// tokens are rotated whatever the operator says.
    fn keeps_its_refresh_token(&self, client: &Client) -> bool {
        match self.settings.rotation {
            Rotation::Always => false,
            Rotation::PublicClients => {
                client.metadata.token_endpoint_auth_method != TokenEndpointAuthMethod::None
            }
        }
    }

    async fn rotate(&self, trade: &Trade<'_>) -> Result<Response, Refusal> {
        let Trade { client, shown, token, scope, now } = trade;
        // Fifty windows that trade one token are one trade.
        self.refreshes.count_once(&token.grant.id, &token.token).map_err(Refusal::TooMany)?;
        let (access, refresh) = successors_of(&self.sealer.deriver(), shown, token);
        let minted = self.minted(access, Some(refresh), scope.clone(), token.turn.next(), *now);
        let time = self.rotation_time(*now);
        match self.store.rotate_refresh_token(&token.key(), &minted.stored, time).await? {
            RefreshRotation::Fresh => {
                note_refresh(trade);
                Ok(minted.answer(*now))
            }
            RefreshRotation::InGrace(successors) => self.repeat(trade, &successors),
            RefreshRotation::Replayed => self.refresh_replayed(client, &token.grant.id).await,
            RefreshRotation::Unknown => Err(refuse(RefreshRefusal::Unknown, client)),
        }
    }

    /// The pair that the token was traded for, as it was made: with its own scope, whatever is
    /// asked now (RFC 6749 §3.3 lets us, and the answer says so), and with what is left of its time.
    fn repeat(&self, trade: &Trade<'_>, earlier: &Successors) -> Result<Response, Refusal> {
        let Trade { client, shown, token, scope: _, now } = trade;
        let Some((access, refresh)) = made_before(&self.sealer, shown, token, &earlier.access)
        else {
            return Err(refuse(RefreshRefusal::UnknownKey, client));
        };
        let stored = IssuedTokens {
            access: earlier.access,
            access_expires_at: earlier.access_expires_at,
            refresh: None,
            scope: earlier.scope.clone(),
            turn: token.turn.next(),
        };
        note_refresh(trade);
        Ok(Minted { access, refresh: Some(refresh), stored }.answer(*now))
    }

    /// A new access token beside the refresh token, which stays and gets a new end.
    async fn extend(&self, trade: &Trade<'_>) -> Result<Response, Refusal> {
        let Trade { client, shown, token, scope, now } = trade;
        self.refreshes.count(&token.grant.id).map_err(Refusal::TooMany)?;
        let kept = Secret::clone(shown);
        let access = mint::access_token(&token.grant.id.place(token.turn));
        let minted = self.minted(access, Some(kept), scope.clone(), token.turn, *now);
        match self.store.extend_refresh_token(&token.key(), &minted.stored).await? {
            RefreshExtension::Extended => {
                note_refresh(trade);
                Ok(minted.answer(*now))
            }
            // By a process that rotates: it knows the successors.
            RefreshExtension::Spent => self.rotate(trade).await,
            RefreshExtension::Unknown => Err(refuse(RefreshRefusal::Unknown, client)),
        }
    }

    /// OAuth 2.1 §4.3.1: two holders of one refresh token cannot be told apart, so both lose.
    async fn refresh_replayed(
        &self,
        client: &Client,
        grant: &GrantId,
    ) -> Result<Response, Refusal> {
        self.store.revoke_grant(grant, self.clock.now()).await?;
        let details =
            Details { grant: Some(grant), ..of_client(client, &RefreshRefusal::Replayed) };
        audit::note(Event::Replay, &details);
        Err(invalid_grant())
    }

    /// The scope of the next access token: the grant's, or less; never more, and for no other
    /// resource. A request refused here has not used its refresh token up.
    fn narrowed(
        &self,
        token: &RefreshToken,
        request: &RefreshRequest,
    ) -> Result<ScopeSet, OAuthError> {
        use OAuthErrorCode::{InvalidScope, InvalidTarget};
        if !self.is_for(&token.grant.resource, &request.resources) {
            return Err(OAuthError::new(InvalidTarget, "the grant is for another resource"));
        }
        let Some(asked) = &request.scope else { return Ok(token.grant.scope.clone()) };
        let asked = ScopeSet::parse(asked)
            .map_err(|reason| OAuthError::new(InvalidScope, &reason.to_string()))?;
        let asked = ScopeSet::of(asked.iter().filter(|scope| *scope != "offline_access"));
        if asked.is_empty() {
            return Ok(token.grant.scope.clone());
        }
        if token.grant.scope.covers(&asked) {
            Ok(asked)
        } else {
            Err(OAuthError::new(InvalidScope, "a scope was asked for that was not granted"))
        }
    }
}

/// The access and refresh token that `shown` becomes under one key.
fn successors_of(deriver: &Deriver, shown: &Secret, token: &RefreshToken) -> (Secret, Secret) {
    let place = token.grant.id.place(token.turn.next());
    let [access, refresh] = derived(deriver, shown, &token.grant.id);
    (mint::access_token_of(&place, &access), mint::refresh_token_of(&place, &refresh))
}

fn derived(deriver: &Deriver, shown: &Secret, grant: &GrantId) -> [Zeroizing<[u8; 32]>; 2] {
    let parts = [grant.as_str().as_bytes(), shown.reveal().as_bytes()];
    [Derived::NextAccessToken, Derived::NextRefreshToken].map(|what| deriver.derive(what, &parts))
}

/// The pair that `shown` became, made once more. The stored hash tells which of our keys made it, and whether it
/// was before tokens said where they are.
fn made_before(
    sealer: &Sealer,
    shown: &Secret,
    token: &RefreshToken,
    access: &SecretHash,
) -> Option<(Secret, Secret)> {
    let older = |deriver: &Deriver| {
        let [access, refresh] = derived(deriver, shown, &token.grant.id);
        (mint::older_access_token_of(&access), mint::older_refresh_token_of(&refresh))
    };
    sealer
        .derivers()
        .flat_map(|deriver| [successors_of(&deriver, shown, token), older(&deriver)])
        .find(|(made, _)| made.matches(access))
}

fn note_refresh(trade: &Trade<'_>) {
    let (client, grant) = (Some(&trade.client.id), &trade.token.grant);
    let (user, grant) = (Some(&grant.identity), Some(&grant.id));
    audit::note(Event::Refresh, &Details { client, user, grant, ..Details::default() });
}

fn refuse(reason: RefreshRefusal, client: &Client) -> Refusal {
    audit::note(Event::Refused(Refused::RefreshToken), &of_client(client, &reason));
    invalid_grant()
}

fn invalid_grant() -> Refusal {
    OAuthError::new(OAuthErrorCode::InvalidGrant, "the refresh token is not valid").into()
}

/// The default of [`super::Settings::refresh_grace`]: as long as a window may sleep between asking
/// and hearing the answer, and far shorter than a thief needs to go unnoticed.
pub(super) const REFRESH_GRACE_DEFAULT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use sekisho_protocol::oauth::{ClientId, ResourceUri};

    use super::*;
    use crate::grant::{Grant, Turn};
    use crate::principal::{Claims, Identity};

    #[test]
    fn a_pair_is_made_once_more_in_the_form_it_had() {
        let sealer = Sealer::ephemeral();
        let grant = GrantId::new(mint::id());
        let shown = mint::refresh_token(&grant.place(Turn::default()));
        let token = RefreshToken {
            token: shown.hash(),
            grant: Grant {
                id: grant.clone(),
                client_id: ClientId::new("client"),
                identity: Identity {
                    issuer: "https://idp.example".into(),
                    subject: "alice".into(),
                    name: None,
                    email: None,
                    email_verified: false,
                    claims: Claims::default(),
                },
                scope: ScopeSet::default(),
                resource: ResourceUri::new("http://localhost:8000/mcp"),
                created_at: Timestamp::from_unix_seconds(0),
            },
            expires_at: Timestamp::from_unix_seconds(0),
            is_spent: true,
            successors: None,
            turn: Turn::default(),
        };
        let again = |access: &Secret| {
            let made = made_before(&sealer, &shown, &token, &access.hash());
            made.map(|(access, refresh)| [access, refresh].map(|it| it.reveal().to_owned()))
        };
        let (access, refresh) = successors_of(&sealer.deriver(), &shown, &token);
        assert_eq!(again(&access), Some([access.reveal().to_owned(), refresh.reveal().to_owned()]));
        let next = TokenKey::of(&grant, Some(Turn::new(1)), refresh.hash());
        assert_eq!(TokenKey::shown(&refresh), next, "found where it is kept");

        // As it was until schema 12: all of it derived.
        let [bytes, _] = derived(&sealer.deriver(), &shown, &grant);
        let older = mint::older_access_token_of(&bytes);
        assert!(older.reveal().len() == access.reveal().len() && older.reveal() != access.reveal());
        let [access, refresh] = again(&older).unwrap_or_default();
        assert_eq!(access, older.reveal());
        assert!(refresh.starts_with("mcpr_") && refresh.len() == 69, "its own refresh token");

        assert_eq!(again(&Secret::new("mcp_0123")), None, "of a key that is not here");
    }

    #[test]
    fn a_token_is_looked_for_in_the_family_of_its_grant() {
        let (grant, first) = (GrantId::new(mint::id()), Turn::default());
        let rows = [
            (mint::access_token(&grant.place(Turn::new(0x0100))), Turn::new(0x0100)),
            (mint::refresh_token(&grant.place(first.next())), Turn::new(1)),
            (mint::personal_token(&grant.place(first)), first),
        ];
        for (token, turn) in rows {
            assert_eq!(TokenKey::shown(&token), TokenKey::of(&grant, Some(turn), token.hash()));
        }
        let digits = format!("{0}{0}", mint::id());
        let no_tokens = [
            ("", "nothing"),
            (digits.as_str(), "no kind"),
            (&format!("mcp_{digits}0"), "too long"),
            (&format!("mcp_{}", mint::id()), "a code"),
            (&format!("mcp_{}", "分".repeat(21) + "a"), "as long, and no digits"),
        ];
        for (text, reason) in no_tokens {
            let key = TokenKey::shown(&Secret::new(text));
            assert_eq!((key.family.as_str(), key.turn), ("", None), "{reason}");
        }
    }
}
