//! A token of our own that says who calls: an access token as RFC 9068 describes it, for one server,
//! for two minutes, verified by what is at `/jwks.json`.
//!
//! A person is `idp` and `sub` together: two providers may know two people by one `sub`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::Issuer;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{CallerToken, CallerTokens, NotIntroduced, TOLD_BYTES_MAX};
use crate::clock::Clock;
use crate::mint;
use crate::principal::Principal;
use crate::signing::SigningKeys;

/// How long a token is good. It is kept and sent again until a little before.
pub const SIGNED_LIFE: Duration = Duration::from_mins(2);

/// What RFC 9068 §2.1 calls them.
const KIND: &str = "at+jwt";

/// Signs who calls, for one server.
#[derive(Debug)]
pub struct SignedTokens {
    keys: SigningKeys,
    issuer: Issuer,
    audience: Vec<String>,
    claims: Vec<String>,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: Audience<'a>,
    exp: i64,
    iat: i64,
    jti: String,
    client_id: &'a str,
    scope: String,
    idp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// One text if it is one: some verifiers take no list.
#[derive(Serialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(&'a str),
    Several(&'a [String]),
}

/// Claims that are said here, and so never by the provider.
const OWN: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "idp",
    "name",
    "email",
    "email_verified",
    "cnf",
    "act",
];

impl SignedTokens {
    /// Tokens of `issuer` for `audience`.
    pub fn new(
        keys: SigningKeys,
        issuer: Issuer,
        audience: Vec<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { keys, issuer, audience, claims: Vec::new(), clock }
    }

    /// Says these claims of the provider's too.
    #[must_use]
    pub fn saying(self, claims: Vec<String>) -> Self {
        Self { claims, ..self }
    }

    /// Whether a claim of this name is one that the token has by itself.
    pub fn is_own(claim: &str) -> bool {
        OWN.contains(&claim)
    }

    fn more(&self, caller: &Principal) -> Map<String, Value> {
        let said = self.claims.iter().filter(|name| !Self::is_own(name));
        let said = said.filter_map(|name| Some((name, caller.identity.claims.find(name)?)));
        said.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

#[async_trait]
impl CallerTokens for SignedTokens {
    async fn token_for(
        &self,
        caller: &Arc<Principal>,
        _refused: Option<&SecretHash>,
    ) -> Result<CallerToken, NotIntroduced> {
        let now = self.clock.now();
        // Nobody is spoken for longer than they may call us.
        let ends_at = now.plus(SIGNED_LIFE).min(caller.expires_at);
        if ends_at.is_over(now) {
            return Err(NotIntroduced::Over);
        }
        let identity = &caller.identity;
        let claims = Claims {
            iss: self.issuer.as_str(),
            sub: &identity.subject,
            aud: match self.audience.as_slice() {
                [one] => Audience::One(one),
                several => Audience::Several(several),
            },
            exp: ends_at.unix_seconds(),
            iat: now.unix_seconds(),
            jti: mint::id(),
            client_id: caller.client_id.as_str(),
            scope: caller.scopes.to_string(),
            idp: &identity.issuer,
            name: identity.name.as_deref(),
            email: identity.email.as_deref(),
            email_verified: identity.email.as_ref().map(|_| identity.email_verified),
            more: self.more(caller),
        };
        let token = self.keys.sign(KIND, &claims);
        if token.reveal().len() > TOLD_BYTES_MAX {
            return Err(NotIntroduced::Untellable { what: "what is signed".to_owned() });
        }
        Ok(CallerToken { token, ends_at: Some(ends_at) })
    }
}
