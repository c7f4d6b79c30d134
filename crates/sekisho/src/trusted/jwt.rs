//! A JWT that another server signed (RFC 7519, RFC 8725): nothing of it is believed before its
//! signature, its header says what it is, and its times are judged by our clock.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use sekisho_protocol::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::jwks::{KeySet, SIGNING_ALGORITHMS, Wanted};

/// How far the other server's clock may be from ours, either way, the last second included.
pub(crate) const CLOCK_SKEW_SECONDS_MAX: i64 = 30;

/// Largest token that is looked at.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Longest `sub` (Core §2).
const SUBJECT_BYTES_MAX: usize = 255;

/// Longest `sid` and `jti` that are kept.
const NAME_BYTES_MAX: usize = 255;

/// What is wrong with a token, whatever it is for. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("the token is too large")]
    TooLarge,
    #[error("the token is no JWT, or signed with an algorithm nobody may use")]
    Header,
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    #[error("the token has critical extensions or is of another type")]
    Extension,
    #[error("the token is signed with a key that the issuer does not publish")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token's claims are absent or of the wrong type")]
    Claims,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token has expired: if it should not have, compare the clocks")]
    Expired,
    #[error("the token is from the future: compare the clocks")]
    FromTheFuture,
    #[error("the token's subject is empty or too long")]
    Subject,
}

/// What a token is for, as far as its header says so (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A proof that a person logged in.
    Id,
    /// A message that a person was logged out.
    Logout,
    /// What opens a resource. Whoever takes one without that type must look at its claims.
    Access,
    /// A word to another server that a client may act for somebody (ID-JAG).
    IdJag,
}

impl TokenKind {
    /// A token of another kind does not pass, even with the right signature. A logout token may say
    /// what it is, and need not (Back-Channel Logout §2.4); so may an access token that is not of
    /// RFC 9068, as Keycloak's.
    fn is_typed(self, typ: Option<&str>) -> bool {
        // What opens a door here by itself must say that it is meant to.
        let Some(typ) = typ else { return self != Self::IdJag };
        let is = |kind: &str| typ.eq_ignore_ascii_case(kind);
        match self {
            Self::Id => is("JWT"),
            Self::Logout => is("JWT") || is("logout+jwt") || is("application/logout+jwt"),
            Self::Access => is("JWT") || is_access_token(typ),
            Self::IdJag => is("oauth-id-jag+jwt"),
        }
    }
}

fn is_access_token(typ: &str) -> bool {
    ["at+jwt", "application/at+jwt"].iter().any(|kind| typ.eq_ignore_ascii_case(kind))
}

/// Whether a token says in its header that it is an access token (RFC 9068 §2.1).
pub(crate) fn says_access_token(token: &Secret) -> bool {
    let header = decode_header(token.reveal());
    header.is_ok_and(|header| header.typ.as_deref().is_some_and(is_access_token))
}

/// Whom a token is for.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// Everybody it is for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        };
        all.iter().map(String::as_str)
    }
}

/// Seconds since 1970, as a JSON number that may have a fraction (RFC 7519 §2).
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "serde_json::Number")]
pub(crate) struct NumericDate(pub(crate) i64);

/// Checks the signature with the server's keys.
pub(crate) fn verify_signature<C: DeserializeOwned>(
    token: &Secret,
    kind: TokenKind,
    keys: &KeySet,
) -> Result<C, Flaw> {
    if token.reveal().len() > TOKEN_BYTES_MAX {
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

/// The claims are judged by whoever asked, by our clock and with their types.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// Refuses what is over, and what is not yet (RFC 7519 §4.1.4 to §4.1.6).
pub(crate) fn check_times(
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    now: i64,
) -> Result<(), Flaw> {
    let earliest = now.saturating_sub(CLOCK_SKEW_SECONDS_MAX);
    let latest = now.saturating_add(CLOCK_SKEW_SECONDS_MAX);
    if exp.0 < earliest {
        return Err(Flaw::Expired);
    }
    if [nbf, iat].into_iter().flatten().any(|from| from.0 > latest) {
        return Err(Flaw::FromTheFuture);
    }
    Ok(())
}

/// Whether a text can be the server's name for a session, a client or a token.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Core §2: a subject is a short text.
pub(crate) fn check_subject(subject: &str) -> Result<(), Flaw> {
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
