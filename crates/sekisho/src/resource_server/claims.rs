//! What an access token of another authorization server says (RFC 9068 §2.2, RFC 7662 §2.2), judged
//! claim by claim: for this resource, from this issuer, in force, and no token of another kind.

use sekisho_protocol::oauth::{ClientId, ProtectedResource, ScopeSet};
use sekisho_protocol::{Secret, SecretHash};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::grant::GrantId;
use crate::principal::{Principal, WantedClaims};
use crate::trusted::{
    self, Audience, Description, NumericDate, check_subject, check_times, described, is_name,
};

/// What is wrong with a token whose issuer speaks for it. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error(transparent)]
    Token(#[from] trusted::Flaw),
    #[error(
        "the token is for another resource: have the authorization server put the URL of this one into aud"
    )]
    Audience,
    #[error("the token is no access token (typ, nonce, at_hash, c_hash, events)")]
    OtherKind,
    #[error("the token is bound to a key of its client (cnf), which nobody here can check")]
    Bound,
    #[error("the token names no client (client_id, azp)")]
    Client,
    #[error("the token's scopes are malformed")]
    Scopes,
}

/// How a token showed that it is one that opens resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// By its header (RFC 9068 §2.1), or by the server's word (RFC 7662).
    Clearly,
    /// Not yet: its claims must show it.
    ByClaims,
}

/// Which token of whom is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    audience: Wants,
    /// What is kept of the person beside who they are.
    claims: WantedClaims,
}

#[derive(Debug, Clone)]
enum Wants {
    /// A name of this resource.
    Resource(ProtectedResource),
    /// One of these words of the operator, letter by letter.
    Written(Vec<String>),
}

/// Claims that are the issuer's; nothing else of them is proven yet.
#[derive(Deserialize)]
pub(super) struct AccessClaims {
    iss: Option<String>,
    sub: String,
    aud: Audience,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    scope: Option<String>,
    scp: Option<Scopes>,
    client_id: Option<String>,
    azp: Option<String>,
    sid: Option<String>,
    name: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
    #[serde(default)]
    email_verified: Value,
    /// Keycloak's word for what a token is: `Bearer`, `ID`, `Refresh`, `Logout`.
    typ: Option<String>,
    token_type: Option<String>,
    /// What some servers say of a refresh token instead.
    token_use: Option<String>,
    cnf: Option<Value>,
    nonce: Option<Value>,
    at_hash: Option<Value>,
    c_hash: Option<Value>,
    events: Option<Value>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scopes {
    Text(String),
    List(Vec<String>),
}

impl Wanted {
    /// Tokens for any name of `resource`.
    pub(super) fn for_resource(resource: &ProtectedResource) -> Self {
        Self { audience: Wants::Resource(resource.clone()), claims: WantedClaims::default() }
    }

    /// Tokens for one of these instead.
    pub(super) fn for_written(self, audience: Vec<String>) -> Self {
        Self { audience: Wants::Written(audience), ..self }
    }

    /// The same tokens, of which these claims are kept.
    pub(super) fn keeping(self, claims: WantedClaims) -> Self {
        Self { claims, ..self }
    }

    fn is_meant_by(&self, audience: &Audience) -> bool {
        audience.iter().any(|one| match &self.audience {
            Wants::Resource(resource) => resource.is_named_by(one),
            Wants::Written(words) => words.iter().any(|word| word == one),
        })
    }
}

impl AccessClaims {
    /// Whether the issuer named itself, which a signed token must and an opinion need not.
    pub(super) const fn names_issuer(&self) -> bool {
        self.iss.is_some()
    }

    /// Judges every claim, and gives the caller.
    pub(super) fn judge(
        self,
        wanted: &Wanted,
        issuer: &str,
        shown: Shown,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Principal, Flaw> {
        if self.iss.as_deref().is_some_and(|iss| iss != issuer) {
            return Err(trusted::Flaw::Issuer.into());
        }
        self.check_kind(shown)?;
        if !wanted.is_meant_by(&self.aud) {
            return Err(Flaw::Audience);
        }
        check_times(self.exp, self.nbf, self.iat, now.unix_seconds())?;
        let expires_at = Timestamp::from_unix_seconds(self.exp.0);
        if expires_at.is_over(now) {
            return Err(trusted::Flaw::Expired.into());
        }
        check_subject(&self.sub)?;
        let scopes = self.scopes()?;
        let client = self.client_id.or(self.azp).filter(|client| is_name(client));
        let client_id = ClientId::new(client.ok_or(Flaw::Client)?);
        let session = self.sid.filter(|sid| is_name(sid)).unwrap_or_default();
        let grant_id = grant(&[issuer, &self.sub, client_id.as_str(), &session]);
        let description = Description {
            name: self.name,
            preferred_username: self.preferred_username,
            email: self.email,
            email_verified: self.email_verified,
            rest: self.rest,
        };
        let identity = described(issuer.to_owned(), self.sub, description, &wanted.claims);
        Ok(Principal { identity, client_id, grant_id, scopes, token: token.hash(), expires_at })
    }

    /// An ID token is never an access token, nor is any other that the same keys sign (RFC 8725
    /// §3.11, §3.12). Whoever has no type of RFC 9068 must show it: by Keycloak's `typ`, or by scopes
    /// and nothing that only an ID token has (Core §2, §3.3.2.11).
    fn check_kind(&self, shown: Shown) -> Result<(), Flaw> {
        if self.cnf.is_some() {
            return Err(Flaw::Bound);
        }
        let is_bearer = |text: &str| text.eq_ignore_ascii_case("Bearer");
        let is_other = |text: Option<&str>| text.is_some_and(|text| !is_bearer(text));
        let has_mark = self.events.is_some() || self.at_hash.is_some() || self.c_hash.is_some();
        let is_other_use = |text: &str| !matches!(text, "access" | "access_token");
        let used_otherwise = self.token_use.as_deref().is_some_and(is_other_use);
        if used_otherwise
            || is_other(self.typ.as_deref())
            || is_other(self.token_type.as_deref())
            || has_mark
        {
            return Err(Flaw::OtherKind);
        }
        let says_bearer = self.typ.as_deref().is_some_and(is_bearer);
        let has_scopes = self.scope.is_some() || self.scp.is_some();
        match shown {
            Shown::Clearly => Ok(()),
            Shown::ByClaims if says_bearer || (has_scopes && self.nonce.is_none()) => Ok(()),
            Shown::ByClaims => Err(Flaw::OtherKind),
        }
    }

    fn scopes(&self) -> Result<ScopeSet, Flaw> {
        match (&self.scope, &self.scp) {
            (Some(text), _) | (None, Some(Scopes::Text(text))) => {
                ScopeSet::parse(text).map_err(|_| Flaw::Scopes)
            }
            (None, Some(Scopes::List(list))) => Ok(ScopeSet::of(list.iter().map(String::as_str))),
            (None, None) => Ok(ScopeSet::default()),
        }
    }
}

/// A name for what the person allowed the client: the same for every token of a session there, so
/// that a newer one continues what an older one began.
fn grant(parts: &[&str]) -> GrantId {
    // Each with its length, so that no two lists of parts read alike.
    let parts: Vec<_> = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    let hash = SecretHash::of(parts.concat().as_bytes());
    let hex: Vec<_> = hash.as_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    GrantId::new(hex.concat())
}
