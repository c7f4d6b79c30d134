//! An identity provider vouches for somebody to a client of ours (Identity Assertion JWT Authorization
//! Grant; MCP extension `io.modelcontextprotocol/enterprise-managed-authorization`): whether it is one
//! that the operator trusts, and what it says.
//!
//! ```text
//! assertion ─▶ iss trusted? ─▶ its keys (crate::trusted) ─▶ typ, signature ─▶ claims ─▶ IdJag
//! ```
//!
//! Nothing is fetched for an issuer that nobody trusts. No part of an assertion reaches an error or the
//! log. Whether it came before is for the store to know.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sekisho_protocol::{Secret, SecretHash};
use serde::Deserialize;
use url::Url;

use super::oidc::PROVIDER_PATIENCE;
use crate::clock::{Clock, Timestamp};
use crate::principal::{Identity, WantedClaims};
use crate::trusted::{
    self, Answer, Audience, CLOCK_SKEW_SECONDS_MAX, Description, Endpoint, Fault, Fetched, KeySet,
    NumericDate, TokenKind, Unverified, Wire, check_issuer, check_subject, check_times, described,
    endpoint, is_name, quoted, read_keys,
};

/// How far ahead an assertion may end: as long must its id be remembered.
pub const ID_JAG_LIFE_MAX: Duration = Duration::from_hours(1);

/// How old an issuer's metadata and keys may be.
const FRESH_FOR: Duration = Duration::from_hours(1);

/// What a verified assertion says. Whose it is and whether it counts is for the token endpoint.
#[derive(Debug)]
pub struct IdJag {
    /// The person, as their provider knows them.
    pub identity: Identity,
    /// The client that may use it.
    pub client_id: String,
    /// For what, if it says so.
    pub resources: Vec<String>,
    /// The most that it may be good for, if it says so.
    pub scope: Option<String>,
    /// Hash of issuer and `jti`.
    pub id: SecretHash,
    /// When it is refused for its age, so that its id may be forgotten.
    pub ends_at: Timestamp,
}

/// Why an assertion is of no use.
#[derive(Debug, thiserror::Error)]
pub enum IdJagError {
    /// It proves nothing.
    #[error("the assertion is not acceptable: {0}")]
    Unacceptable(String),
    /// It cannot be said: the issuer's keys cannot be had.
    #[error("the issuer of the assertion is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Everybody whose word is taken.
#[derive(Debug)]
pub struct IdJagIssuers {
    issuers: Vec<TrustedIssuer>,
    claims: WantedClaims,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct TrustedIssuer {
    issuer: String,
    wire: OnceLock<Wire>,
    keys_at: Fetched<Url>,
    keys: Fetched<KeySet>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// Claims whose signature was verified; nothing else of them is proven yet.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    client_id: String,
    jti: String,
    exp: NumericDate,
    iat: NumericDate,
    nbf: Option<NumericDate>,
    resource: Option<OneOrMany>,
    scope: Option<String>,
    cnf: Option<serde_json::Value>,
    #[serde(flatten)]
    description: Description,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Whose word it must be, for whom, and when.
struct Expected<'a> {
    issuer: &'a str,
    audience: &'a str,
    now: Timestamp,
}

/// What is wrong with an assertion. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Flaw {
    #[error(transparent)]
    Token(#[from] trusted::Flaw),
    #[error("it is from an issuer that is not among authorization.id_jag_issuers")]
    Untrusted,
    #[error("it is for another authorization server, or for several")]
    Audience,
    #[error("its own id (jti) is empty or too long")]
    Jti,
    #[error("it lives too long: exp may be an hour ahead at most")]
    TooLong,
    #[error("it is bound to a key (cnf), and nobody here checks that")]
    Bound,
}

impl IdJagIssuers {
    /// These, by their issuers; none are asked before somebody shows their word.
    pub fn new(issuers: &[String], clock: &Arc<dyn Clock>) -> Self {
        let issuers = issuers.iter().map(|issuer| TrustedIssuer {
            issuer: issuer.clone(),
            wire: OnceLock::new(),
            keys_at: Fetched::new(Arc::clone(clock)),
            keys: Fetched::new(Arc::clone(clock)),
        });
        let issuers = issuers.collect();
        Self { issuers, claims: WantedClaims::default(), clock: Arc::clone(clock) }
    }

    /// Keeps these claims of a person, beside who they are.
    #[must_use]
    pub fn keeping(mut self, claims: WantedClaims) -> Self {
        self.claims = claims;
        self
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Verifies an assertion that is meant for `audience`, which is what we call ourselves.
    ///
    /// # Errors
    /// When it is not, or its issuer's keys cannot be had.
    pub async fn verify(&self, assertion: &Secret, audience: &str) -> Result<IdJag, IdJagError> {
        let issuer = unverified_issuer(assertion).ok_or(trusted::Flaw::Header);
        let issuer = issuer.map_err(|flaw| unacceptable(flaw.into()))?;
        let known = self.issuers.iter().find(|one| one.issuer == issuer);
        let known = known.ok_or_else(|| unacceptable(Flaw::Untrusted))?;
        let claims = Unverified::within(PROVIDER_PATIENCE, known.verify(assertion)).await;
        let claims = claims.map_err(|unverified| match unverified {
            Unverified::Flaw(flaw) => unacceptable(flaw.into()),
            Unverified::Fault(fault) => IdJagError::Unavailable(Box::new(fault)),
        })?;
        let expected = Expected { issuer: &known.issuer, audience, now: self.clock.now() };
        claims.judge(&expected, &self.claims).map_err(unacceptable)
    }
}

fn unacceptable(flaw: Flaw) -> IdJagError {
    IdJagError::Unacceptable(flaw.to_string())
}

/// Who an assertion says it is from, before anything is verified: to know whose keys to ask for.
fn unverified_issuer(assertion: &Secret) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let payload = URL_SAFE_NO_PAD.decode(assertion.reveal().split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok().map(|Issuer { iss }| iss)
}

impl TrustedIssuer {
    async fn verify(&self, assertion: &Secret) -> Result<Claims, Unverified> {
        let keys_at = self.keys_at.no_older_than(FRESH_FOR, self.find_keys()?).await;
        let keys_at = keys_at.map_err(Unverified::Fault)?;
        let fetch = || self.fetch_keys(&keys_at);
        let keys = self.keys.no_older_than(FRESH_FOR, fetch()?).await.map_err(Unverified::Fault)?;
        let verified = self.keys.verify(keys, assertion, TokenKind::IdJag, fetch()?).await;
        verified.map(|(claims, _)| claims)
    }

    fn find_keys(
        &self,
    ) -> Result<impl Future<Output = Result<Url, Fault>> + Send + use<>, Unverified> {
        let (wire, issuer) = (self.wire()?, self.issuer.clone());
        Ok(async move {
            let place = format!(
                "{}/.well-known/openid-configuration",
                issuer.strip_suffix('/').unwrap_or(&issuer)
            );
            let url = Url::parse(&place)
                .map_err(|_| Fault::Unacceptable("the issuer is no URL".into()))?;
            read_place(&wire.get(Endpoint::Metadata, url).await?, &issuer)
        })
    }

    fn fetch_keys(
        &self,
        place: &Url,
    ) -> Result<impl Future<Output = Result<KeySet, Fault>> + Send + use<>, Unverified> {
        let (wire, place) = (self.wire()?, place.clone());
        Ok(async move { read_keys(&wire.get(Endpoint::Keys, place).await?) })
    }

    fn wire(&self) -> Result<Wire, Unverified> {
        if let Some(wire) = self.wire.get() {
            return Ok(wire.clone());
        }
        let refused = |reason: &str| Unverified::Fault(Fault::Unacceptable(reason.to_owned()));
        check_issuer(&self.issuer).map_err(|_| refused("the issuer is no https URL"))?;
        let made = Wire::new(self.issuer.starts_with("http:"), PROVIDER_PATIENCE);
        let wire = made.map_err(|_| refused("TLS cannot be used"))?;
        Ok(self.wire.get_or_init(|| wire).clone())
    }
}

fn read_place(answer: &Answer, issuer: &str) -> Result<Url, Fault> {
    let refused = |reason: String| Fault::Unacceptable(format!("metadata of {issuer}: {reason}"));
    if answer.status != http::StatusCode::OK {
        return Err(refused(format!("answered {}", answer.status)));
    }
    let document: Document = serde_json::from_slice(&answer.body)
        .map_err(|_| refused("it is no OpenID metadata document".into()))?;
    if document.issuer != issuer {
        return Err(refused(format!("it is for {}", quoted(&document.issuer))));
    }
    endpoint("jwks_uri", &document.jwks_uri, issuer).map_err(refused)
}

impl Claims {
    fn judge(self, expected: &Expected<'_>, wanted: &WantedClaims) -> Result<IdJag, Flaw> {
        let Expected { issuer, audience, now } = *expected;
        if self.iss != issuer {
            return Err(trusted::Flaw::Issuer.into());
        }
        // Whoever else it is for could use it here, or we there.
        if !self.aud.iter().eq([audience]) {
            return Err(Flaw::Audience);
        }
        let seconds = now.unix_seconds();
        check_times(self.exp, self.nbf, Some(self.iat), seconds)?;
        let life_max = i64::try_from(ID_JAG_LIFE_MAX.as_secs()).unwrap_or(i64::MAX);
        if self.exp.0 > seconds.saturating_add(life_max).saturating_add(CLOCK_SKEW_SECONDS_MAX) {
            return Err(Flaw::TooLong);
        }
        check_subject(&self.sub)?;
        if !is_name(&self.jti) {
            return Err(Flaw::Jti);
        }
        if self.cnf.is_some() {
            return Err(Flaw::Bound);
        }
        // An issuer has no line break, so that joining is unambiguous.
        let id = SecretHash::of(format!("id-jag\n{}\n{}", self.iss, self.jti).as_bytes());
        let ends_at = self.exp.0.saturating_add(CLOCK_SKEW_SECONDS_MAX + 1);
        let mut identity = described(self.iss, self.sub, self.description, wanted);
        // It says what it needs to, and a login would have said more.
        identity.claims = identity.claims.in_part();
        Ok(IdJag {
            identity,
            client_id: self.client_id,
            resources: match self.resource {
                None => Vec::new(),
                Some(OneOrMany::One(one)) => vec![one],
                Some(OneOrMany::Many(many)) => many,
            },
            scope: self.scope,
            id,
            ends_at: Timestamp::from_unix_seconds(ends_at),
        })
    }
}
