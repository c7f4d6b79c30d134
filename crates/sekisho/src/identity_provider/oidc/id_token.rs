//! The proof that a person logged in (`OpenID` Connect Core §2, §3.1.3.7; RFC 8725), checked whole:
//! nothing of a token is believed before its signature, and no claim is taken for granted.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use sekisho_protocol::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::keys::{KeySet, Wanted};
use crate::clock::Timestamp;
use crate::jwks::SIGNING_ALGORITHMS;
use crate::principal::Identity;

/// How far the provider's clock may be from ours, either way, the last second included.
pub(super) const CLOCK_SKEW_SECONDS_MAX: i64 = 30;

/// Largest token that is looked at.
const ID_TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Longest `sub` (Core §2).
const SUBJECT_BYTES_MAX: usize = 255;

/// Longest name that is kept, and longest e-mail address (RFC 5321 §4.5.3.1.3).
const NAME_CHARS_MAX: usize = 128;
const EMAIL_BYTES_MAX: usize = 254;

/// What a token must say to be the answer to our question.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a Secret,
    pub(super) now: Timestamp,
}

/// What is wrong with a token. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("the token is too large")]
    TooLarge,
    #[error("the token is no JWT, or signed with an algorithm nobody may use")]
    Header,
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    #[error("the token has critical extensions or is of another type")]
    Extension,
    #[error("the token is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token's claims are absent or of the wrong type")]
    Claims,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another client")]
    Audience,
    #[error("the token was issued to another client (azp)")]
    AuthorizedParty,
    #[error("the token is for another login (nonce)")]
    Nonce,
    #[error("the token has expired: if it should not have, compare the clocks")]
    Expired,
    #[error("the token is from the future: compare the clocks")]
    FromTheFuture,
    #[error("the token's subject is empty or too long")]
    Subject,
    #[error("the token is about another person than before")]
    OtherPerson,
    #[error("the token is no logout token (events, nonce)")]
    NoLogout,
    #[error("the token says neither who is logged out nor from where")]
    Nobody,
    #[error("the token's own id is empty or too long")]
    TokenId,
    #[error("the token was issued too long ago")]
    TooOld,
}

/// What a token is for, as far as its header says so (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A proof that a person logged in.
    Id,
    /// A message that a person was logged out.
    Logout,
}

impl TokenKind {
    /// A logout or access token is no ID token, even with the right signature. A logout token may
    /// say what it is, and need not (Back-Channel Logout §2.4).
    fn is_typed(self, typ: Option<&str>) -> bool {
        let Some(typ) = typ else { return true };
        let is = |kind: &str| typ.eq_ignore_ascii_case(kind);
        match self {
            Self::Id => is("JWT"),
            Self::Logout => is("JWT") || is("logout+jwt") || is("application/logout+jwt"),
        }
    }
}

/// Claims whose signature was verified; nothing else of them is proven yet.
#[derive(Deserialize)]
pub(super) struct SignedClaims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    nonce: Option<String>,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: NumericDate,
    name: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
    #[serde(default)]
    email_verified: serde_json::Value,
    sid: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// Whether others are meant beside us, who must be.
    pub(super) fn check(&self, client_id: &str) -> Result<bool, Flaw> {
        let (is_for_us, has_others) = match self {
            Self::One(one) => (one == client_id, false),
            Self::Many(many) => (many.iter().any(|one| one == client_id), many.len() > 1),
        };
        if is_for_us { Ok(has_others) } else { Err(Flaw::Audience) }
    }
}

/// Seconds since 1970, as a JSON number that may have a fraction (RFC 7519 §2).
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "serde_json::Number")]
pub(super) struct NumericDate(pub(super) i64);

/// Checks the signature with the provider's keys.
pub(super) fn verify_signature<C: DeserializeOwned>(
    token: &Secret,
    kind: TokenKind,
    keys: &KeySet,
) -> Result<C, Flaw> {
    if token.reveal().len() > ID_TOKEN_BYTES_MAX {
        return Err(Flaw::TooLarge);
    }
    let header = decode_header(token.reveal()).map_err(|_| Flaw::Header)?;
    if !SIGNING_ALGORITHMS.contains(&header.alg) {
        return Err(Flaw::Algorithm);
    }
    // RFC 7515 §4.1.11: what is critical must be understood, and we understand no extension.
    if header.crit.is_some() || !kind.is_typed(header.typ.as_deref()) {
        return Err(Flaw::Extension);
    }
    let wanted = Wanted { id: header.kid.as_deref(), algorithm: header.alg };
    let key = keys.find(wanted).ok_or(Flaw::UnknownKey)?;
    let verified = decode::<C>(token.reveal(), key, &signature_only(header.alg));
    verified.map(|verified| verified.claims).map_err(|error| {
        if matches!(error.kind(), ErrorKind::Json(_)) {
            Flaw::Claims
        } else if header.kid.is_none() {
            // A nameless key may have been replaced by another nameless one.
            Flaw::UnknownKey
        } else {
            Flaw::Signature
        }
    })
}

/// The claims are judged below, by our clock and with their types.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

impl SignedClaims {
    /// Judges every claim, and gives the person.
    pub(super) fn judge(self, expected: &Expected<'_>) -> Result<Identity, Flaw> {
        if self.iss != expected.issuer {
            return Err(Flaw::Issuer);
        }
        self.check_audience(expected.client_id)?;
        let nonce = Secret::new(self.nonce.as_deref().unwrap_or_default());
        if !nonce.matches(&expected.nonce.hash()) {
            return Err(Flaw::Nonce);
        }
        check_times(self.exp, self.nbf, self.iat, expected.now.unix_seconds())?;
        check_subject(&self.sub)?;
        let email = self.email.filter(|address| is_email(address));
        Ok(Identity {
            issuer: self.iss,
            subject: self.sub,
            name: self.name.or(self.preferred_username).and_then(|name| shown(&name)),
            email_verified: email.is_some() && self.email_verified == true,
            email,
        })
    }

    /// Judges a token that came of a refresh (Core §12.2): the same provider, client and person.
    pub(super) fn judge_renewed(
        &self,
        issuer: &str,
        client_id: &str,
        subject: &str,
    ) -> Result<(), Flaw> {
        if self.iss != issuer {
            return Err(Flaw::Issuer);
        }
        self.check_audience(client_id)?;
        if self.sub == subject { Ok(()) } else { Err(Flaw::OtherPerson) }
    }

    /// The provider's name for the session, unless it is empty or too long to be kept.
    pub(super) fn sid(&self) -> Option<String> {
        self.sid.clone().filter(|sid| is_sid(sid))
    }

    /// Core §3.1.3.7, steps 3 to 5.
    fn check_audience(&self, client_id: &str) -> Result<(), Flaw> {
        let has_others = self.aud.check(client_id)?;
        match &self.azp {
            Some(party) if party == client_id => Ok(()),
            None if !has_others => Ok(()),
            Some(_) | None => Err(Flaw::AuthorizedParty),
        }
    }
}

/// Refuses what is over, and what is not yet (RFC 7519 §4.1.4 to §4.1.6).
pub(super) fn check_times(
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: NumericDate,
    now: i64,
) -> Result<(), Flaw> {
    let earliest = now.saturating_sub(CLOCK_SKEW_SECONDS_MAX);
    let latest = now.saturating_add(CLOCK_SKEW_SECONDS_MAX);
    if exp.0 < earliest {
        return Err(Flaw::Expired);
    }
    if iat.0 > latest || nbf.is_some_and(|from| from.0 > latest) {
        return Err(Flaw::FromTheFuture);
    }
    Ok(())
}

/// Longest `sid` and `jti` that are kept.
const NAME_BYTES_MAX: usize = 255;

/// Whether a text can be a provider's name for a session, or for a token.
pub(super) fn is_sid(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Core §2: a subject is a short text.
pub(super) fn check_subject(subject: &str) -> Result<(), Flaw> {
    let is_subject = (1..=SUBJECT_BYTES_MAX).contains(&subject.len());
    if is_subject && !subject.chars().any(char::is_control) { Ok(()) } else { Err(Flaw::Subject) }
}

impl TryFrom<serde_json::Number> for NumericDate {
    type Error = &'static str;

    fn try_from(number: serde_json::Number) -> Result<Self, Self::Error> {
        const FAR: f64 = 9_007_199_254_740_992.0;
        match (number.as_i64(), number.as_f64()) {
            (Some(seconds), _) => Ok(Self(seconds)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a fraction of a second is dropped"
            )]
            (None, Some(seconds)) if seconds.abs() < FAR => Ok(Self(seconds as i64)),
            (None, _) => Err("no moment in time"),
        }
    }
}

/// A name to show: no control characters, not endless.
fn shown(name: &str) -> Option<String> {
    let name: String =
        name.trim().chars().filter(|char| !char.is_control()).take(NAME_CHARS_MAX).collect();
    (!name.is_empty()).then_some(name)
}

/// One `@` with something on both sides. Stricter than RFC 5322, which nobody's rules about domains
/// survive: `a@x@corp.example` must never pass for an address at `corp.example`.
fn is_email(text: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty() && !part.contains(|char: char| char.is_whitespace() || char.is_control())
    };
    text.len() <= EMAIL_BYTES_MAX
        && text.split_once('@').is_some_and(|(local, domain)| {
            is_plain(local)
                && is_plain(domain)
                && !domain.contains('@')
                && !text.contains(['"', '<', '>'])
        })
}
