//! A client proves itself with a JWT of its own (RFC 7523 §2.2 and §3, with the audience rule of
//! its revision draft-ietf-oauth-rfc7523bis).
//!
//! Judges claims whose signature somebody else verified; keeps no time and no memory of its own.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::{ClientId, Issuer};

/// The only `client_assertion_type` there is (RFC 7523 §2.2).
pub const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Largest assertion that is looked at: 8 KiB.
pub const ASSERTION_BYTES_MAX: usize = 8 * 1024;

/// How far ahead an assertion may end: as long must its `jti` be remembered.
pub const ASSERTION_LIFE_MAX: Duration = Duration::from_mins(10);

/// How far the client's clock may be from ours, either way, in seconds.
const CLOCK_SKEW_SECONDS_MAX: i64 = 30;

/// Longest `jti`, in bytes.
const JTI_BYTES_MAX: usize = 256;

/// Claims of an assertion. Nothing of them is proven by reading them.
#[derive(Debug, Clone, Deserialize)]
pub struct AssertionClaims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    jti: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What an assertion must say to be this client's, here and now.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedAssertion<'a> {
    /// Who is said to have signed.
    pub client_id: &'a ClientId,
    /// Who we are.
    pub issuer: &'a Issuer,
    /// Seconds since 1970.
    pub now_seconds: i64,
}

/// Why an assertion proves nothing. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionFlaw {
    /// RFC 7523 §3 rules 1 and 2 for clients.
    #[error("iss and sub of the assertion are not the client_id")]
    OtherClient,
    /// An assertion for somebody else could have been passed on by them.
    #[error("aud of the assertion is not our issuer alone")]
    Audience,
    /// Its end has come.
    #[error("the assertion has expired: if it should not have, compare the clocks")]
    Expired,
    /// Its end is more than [`ASSERTION_LIFE_MAX`] away.
    #[error("the assertion lives too long: exp may be ten minutes ahead at most")]
    TooLong,
    /// It was not made yet.
    #[error("the assertion is from the future: compare the clocks")]
    FromTheFuture,
    /// Without one it could be used twice.
    #[error("jti of the assertion is empty or too long")]
    Jti,
}

impl AssertionClaims {
    /// Who an assertion says it is from, before anything is verified: to know whose key to ask for.
    pub fn unverified_subject(assertion: &str) -> Option<ClientId> {
        #[derive(Deserialize)]
        struct Subject {
            sub: String,
        }
        if assertion.len() > ASSERTION_BYTES_MAX {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
        let Subject { sub } = serde_json::from_slice(&payload).ok()?;
        (!sub.is_empty()).then(|| ClientId::new(sub))
    }

    /// Judges every claim; gives the `jti` and when it may be forgotten, in seconds since 1970.
    ///
    /// # Errors
    /// The first claim that is wrong.
    pub fn judge(&self, expected: &ExpectedAssertion<'_>) -> Result<(&str, i64), AssertionFlaw> {
        let client_id = expected.client_id.as_str();
        if self.iss != client_id || self.sub != client_id {
            return Err(AssertionFlaw::OtherClient);
        }
        self.check_audience(expected.issuer)?;
        let (now, skew) = (expected.now_seconds, CLOCK_SKEW_SECONDS_MAX);
        let (end, begin) = (seconds(self.exp), self.nbf.into_iter().chain(self.iat).map(seconds));
        if end.saturating_add(skew) <= now {
            return Err(AssertionFlaw::Expired);
        }
        let life = i64::try_from(ASSERTION_LIFE_MAX.as_secs()).unwrap_or(i64::MAX);
        if end > now.saturating_add(life).saturating_add(skew) {
            return Err(AssertionFlaw::TooLong);
        }
        if begin.into_iter().any(|begin| begin > now.saturating_add(skew)) {
            return Err(AssertionFlaw::FromTheFuture);
        }
        if self.jti.is_empty() || self.jti.len() > JTI_BYTES_MAX {
            return Err(AssertionFlaw::Jti);
        }
        Ok((&self.jti, end.saturating_add(skew)))
    }

    /// One audience, and it is us: our issuer, or the token endpoint as RFC 7523 had it. A second
    /// one could show the assertion to us in the client's name.
    fn check_audience(&self, issuer: &Issuer) -> Result<(), AssertionFlaw> {
        let only = match &self.aud {
            Audience::One(one) => Some(one),
            Audience::Many(many) => match many.as_slice() {
                [one] => Some(one),
                _ => None,
            },
        };
        let is_us = |one: &String| one == issuer.as_str() || *one == issuer.endpoint("/token");
        if only.is_some_and(is_us) { Ok(()) } else { Err(AssertionFlaw::Audience) }
    }
}

/// A `NumericDate` may have a fraction (RFC 7519 §2), which is dropped; what is no time is its end.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from f64 stays within the range of i64"
)]
const fn seconds(date: f64) -> i64 {
    date as i64
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_795_305_600;
    const ISSUER: &str = "https://mcp.example.com";

    #[test]
    fn every_claim_of_an_assertion_must_be_right() {
        use AssertionFlaw::*;
        let claims = |changes: Value| {
            let mut claims = json!({
                "iss": "machine", "sub": "machine", "aud": ISSUER, "jti": "j", "exp": NOW + 60,
            });
            for (name, value) in changes.as_object().unwrap() {
                claims[name] = value.clone();
            }
            serde_json::from_value::<AssertionClaims>(claims).unwrap()
        };
        let token = format!("{ISSUER}/token");
        let rows = [
            (json!({}), None, "as it should be"),
            (json!({ "aud": token }), None, "the token endpoint, as RFC 7523 has it"),
            (json!({ "aud": [ISSUER] }), None, "a list of one"),
            (json!({ "iat": NOW, "nbf": NOW }), None, "with its beginning"),
            (json!({ "exp": 1_795_305_660.5 }), None, "a fraction of a second"),
            (json!({ "exp": NOW - 29 }), None, "a clock that is behind"),
            (json!({ "iss": "other" }), Some(OtherClient), "another issuer"),
            (json!({ "sub": "other" }), Some(OtherClient), "another subject"),
            (json!({ "aud": "https://other.example" }), Some(Audience), "for somebody else"),
            (json!({ "aud": format!("{ISSUER}/") }), Some(Audience), "another spelling"),
            (json!({ "aud": [ISSUER, "https://other.example"] }), Some(Audience), "for two"),
            (json!({ "aud": [ISSUER, token] }), Some(Audience), "for two, both us"),
            (json!({ "aud": [] }), Some(Audience), "for nobody"),
            (json!({ "exp": NOW - 30 }), Some(Expired), "over"),
            (json!({ "exp": -1.0e300 }), Some(Expired), "before time"),
            (json!({ "exp": NOW + 631 }), Some(TooLong), "more than ten minutes"),
            (json!({ "exp": 1.0e300 }), Some(TooLong), "for ever"),
            (json!({ "iat": NOW + 31 }), Some(FromTheFuture), "made tomorrow"),
            (json!({ "nbf": NOW + 31 }), Some(FromTheFuture), "not yet"),
            (json!({ "jti": "" }), Some(Jti), "no id"),
            (json!({ "jti": "j".repeat(257) }), Some(Jti), "an endless id"),
        ];
        let client_id = ClientId::new("machine");
        let issuer = Issuer::parse(ISSUER).unwrap();
        let expected =
            ExpectedAssertion { client_id: &client_id, issuer: &issuer, now_seconds: NOW };
        for (changes, flaw, reason) in rows {
            let judged = claims(changes.clone()).judge(&expected).map(|_| ());
            assert_eq!(judged.err(), flaw, "{reason}: {changes}");
        }
    }

    #[test]
    fn a_claim_of_the_wrong_type_or_absent_is_no_claim() {
        let good = json!({ "iss": "m", "sub": "m", "aud": ISSUER, "jti": "j", "exp": NOW });
        for (name, value) in
            [("exp", json!("1")), ("jti", json!(1)), ("aud", json!(1)), ("iat", json!("now"))]
        {
            let mut claims = good.clone();
            claims[name] = value;
            assert!(serde_json::from_value::<AssertionClaims>(claims).is_err(), "{name}");
        }
        for name in ["iss", "sub", "aud", "exp", "jti"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            assert!(serde_json::from_value::<AssertionClaims>(claims).is_err(), "no {name}");
        }
    }

    #[test]
    fn a_subject_is_read_or_there_is_none() {
        let jwt = |payload: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload));
        let rows = [
            (jwt(r#"{"sub":"machine"}"#), Some("machine"), "a subject"),
            (jwt(r#"{"sub":""}"#), None, "an empty one"),
            (jwt("{}"), None, "none"),
            (jwt("not json"), None, "no JSON"),
            ("a.!!!.c".into(), None, "no base64"),
            ("rubbish".into(), None, "no JWT"),
            (String::new(), None, "nothing"),
            (jwt(&format!("{{\"sub\":\"{}\"}}", "s".repeat(9_000))), None, "too large"),
        ];
        for (assertion, expected, reason) in rows {
            let subject = AssertionClaims::unverified_subject(&assertion);
            assert_eq!(subject.as_ref().map(ClientId::as_str), expected, "{reason}");
        }
    }
}
