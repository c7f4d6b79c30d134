//! The proof that a person logged in (`OpenID` Connect Core §2, §3.1.3.7; RFC 8725), checked whole:
//! nothing of a token is believed before its signature, and no claim is taken for granted.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use sekisho_protocol::Secret;
use serde::Deserialize;

use super::keys::{KeySet, Wanted};
use crate::clock::Timestamp;
use crate::jwks::SIGNING_ALGORITHMS;
use crate::principal::Identity;

/// How far the provider's clock may be from ours, either way, the last second included.
const CLOCK_SKEW_SECONDS_MAX: i64 = 30;

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
    #[error("the ID token is too large")]
    TooLarge,
    #[error("the ID token is no JWT, or signed with an algorithm nobody may use")]
    Header,
    #[error("the ID token is signed with an algorithm that is not accepted")]
    Algorithm,
    #[error("the ID token has critical extensions or is of another type")]
    Extension,
    #[error("the ID token is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("the ID token's signature is wrong")]
    Signature,
    #[error("the ID token's claims are absent or of the wrong type")]
    Claims,
    #[error("the ID token is from another issuer")]
    Issuer,
    #[error("the ID token is for another client")]
    Audience,
    #[error("the ID token was issued to another client (azp)")]
    AuthorizedParty,
    #[error("the ID token is for another login (nonce)")]
    Nonce,
    #[error("the ID token has expired: if it should not have, compare the clocks")]
    Expired,
    #[error("the ID token is from the future: compare the clocks")]
    FromTheFuture,
    #[error("the ID token's subject is empty or too long")]
    Subject,
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
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Seconds since 1970, as a JSON number that may have a fraction (RFC 7519 §2).
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "serde_json::Number")]
struct NumericDate(i64);

/// Checks the signature with the provider's keys.
pub(super) fn verify_signature(token: &Secret, keys: &KeySet) -> Result<SignedClaims, Flaw> {
    if token.reveal().len() > ID_TOKEN_BYTES_MAX {
        return Err(Flaw::TooLarge);
    }
    let header = decode_header(token.reveal()).map_err(|_| Flaw::Header)?;
    if !SIGNING_ALGORITHMS.contains(&header.alg) {
        return Err(Flaw::Algorithm);
    }
    // RFC 7515 §4.1.11: what is critical must be understood, and we understand no extension.
    // RFC 8725 §3.11: a logout or access token is no ID token, even with the right signature.
    let is_jwt = header.typ.is_none_or(|kind| kind.eq_ignore_ascii_case("JWT"));
    if header.crit.is_some() || !is_jwt {
        return Err(Flaw::Extension);
    }
    let wanted = Wanted { id: header.kid.as_deref(), algorithm: header.alg };
    let key = keys.find(wanted).ok_or(Flaw::UnknownKey)?;
    let verified = decode::<SignedClaims>(token.reveal(), key, &signature_only(header.alg));
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
        self.check_times(expected.now.unix_seconds())?;
        let is_subject = (1..=SUBJECT_BYTES_MAX).contains(&self.sub.len());
        if !is_subject || self.sub.chars().any(char::is_control) {
            return Err(Flaw::Subject);
        }
        let email = self.email.filter(|address| is_email(address));
        Ok(Identity {
            issuer: self.iss,
            subject: self.sub,
            name: self.name.or(self.preferred_username).and_then(|name| shown(&name)),
            email_verified: email.is_some() && self.email_verified == true,
            email,
        })
    }

    /// Core §3.1.3.7, steps 3 to 5.
    fn check_audience(&self, client_id: &str) -> Result<(), Flaw> {
        let (is_for_us, has_others) = match &self.aud {
            Audience::One(one) => (one == client_id, false),
            Audience::Many(many) => (many.iter().any(|one| one == client_id), many.len() > 1),
        };
        if !is_for_us {
            return Err(Flaw::Audience);
        }
        match &self.azp {
            Some(party) if party == client_id => Ok(()),
            None if !has_others => Ok(()),
            Some(_) | None => Err(Flaw::AuthorizedParty),
        }
    }

    fn check_times(&self, now: i64) -> Result<(), Flaw> {
        let earliest = now.saturating_sub(CLOCK_SKEW_SECONDS_MAX);
        let latest = now.saturating_add(CLOCK_SKEW_SECONDS_MAX);
        if self.exp.0 < earliest {
            return Err(Flaw::Expired);
        }
        if self.iat.0 > latest || self.nbf.is_some_and(|from| from.0 > latest) {
            return Err(Flaw::FromTheFuture);
        }
        Ok(())
    }
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
