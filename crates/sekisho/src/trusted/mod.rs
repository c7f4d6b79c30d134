//! Another server that the operator named by its issuer: an `OpenID` provider that logs people in, or
//! an authorization server whose tokens we take. Its documents, its keys, its signatures.
//!
//! Nothing here knows what a token is for: who asks judges the claims. Its addresses may be private,
//! since the operator wrote the first and the server under it the others; what strangers name goes
//! through `fetch`.

mod fetched;
mod jwt;
mod keys;
mod person;
mod wire;

use sekisho_protocol::oauth::is_loopback;
use url::Url;

pub(crate) use self::fetched::Fetched;
#[cfg(feature = "fuzzing")]
pub(crate) use self::jwt::verify_signature;
pub(crate) use self::jwt::{
    Audience, CLOCK_SKEW_SECONDS_MAX, Flaw, NumericDate, TokenKind, check_subject, check_times,
    is_name, says_access_token,
};
pub(crate) use self::keys::{Unverified, read_keys};
pub(crate) use self::person::{Description, described};
pub(crate) use self::wire::{
    ANSWER_BYTES_MAX, Answer, ClientAuthentication, Endpoint, Fault, Wire, quoted,
};
pub(crate) use crate::jwks::KeySet;

/// An issuer that can never be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IssuerFlaw {
    /// It is not an absolute URL without query, fragment and credentials.
    NoUrl,
    /// Tokens and secrets would cross a network in clear.
    Plain,
}

/// Whether a text can be an issuer. The text is what is compared, so it must be spelled as servers
/// spell it.
pub(crate) fn check_issuer(issuer: &str) -> Result<(), IssuerFlaw> {
    let url = Url::parse(issuer).map_err(|_| IssuerFlaw::NoUrl)?;
    let is_spelled = issuer.starts_with(&format!("{}://", url.scheme()))
        && !issuer.contains(['?', '#', '@'])
        && !issuer.contains(|char: char| char.is_whitespace() || char.is_control());
    match url.scheme() {
        "https" | "http" if !is_spelled => Err(IssuerFlaw::NoUrl),
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => Err(IssuerFlaw::Plain),
        _ => Err(IssuerFlaw::NoUrl),
    }
}

/// An endpoint has the issuer's scheme, and without TLS it is on loopback as the issuer is. Other
/// hosts under TLS are fine: large servers use several.
pub(crate) fn endpoint(name: &str, text: &str, issuer: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("{name} {} is no URL", quoted(text)))?;
    let is_plain = issuer.starts_with("http:");
    let is_acceptable = match url.scheme() {
        "https" => !is_plain,
        "http" => is_plain && is_loopback(&url),
        _ => false,
    };
    let has_userinfo = !url.username().is_empty() || url.password().is_some();
    if !is_acceptable || has_userinfo || url.fragment().is_some() {
        let wanted = if is_plain { "http on loopback" } else { "https" };
        return Err(format!("{name} {} is not {wanted}, as its issuer is", quoted(text)));
    }
    Ok(url)
}

/// How a client with a secret proves itself. Basic is what a server must support, and what it
/// supports if it does not say (Core §9, RFC 8414 §2).
pub(crate) fn authentication_by_secret(
    offered: Option<&[String]>,
) -> Result<ClientAuthentication, String> {
    let offers =
        |method: &str| offered.is_some_and(|offered| offered.iter().any(|one| one == method));
    if offered.is_none() || offers("client_secret_basic") {
        Ok(ClientAuthentication::Basic)
    } else if offers("client_secret_post") {
        Ok(ClientAuthentication::Post)
    } else {
        Err("it takes no client secret: switch on client_secret_basic for this client".into())
    }
}
