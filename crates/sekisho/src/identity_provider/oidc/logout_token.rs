//! The message that a person was logged out at the provider (`OpenID` Connect Back-Channel Logout 1.0
//! §2.4, §2.6), judged claim by claim once its signature was verified. Whether it came before is
//! for the store to know.

use std::collections::HashMap;
use std::time::Duration;

use sekisho_protocol::Secret;
use serde::Deserialize;
use serde_json::Value;

use super::super::LogoutToken;
use super::id_token::{Flaw, check_audience};
use crate::clock::Timestamp;
use crate::trusted::{
    self, Audience, CLOCK_SKEW_SECONDS_MAX, NumericDate, check_subject, check_times, is_name,
};

/// How old a logout token may be. It bounds how long its id is remembered, whatever its `exp` says;
/// providers are advised to make them last for two minutes at most.
pub const LOGOUT_TOKEN_AGE_MAX: Duration = Duration::from_mins(5);

/// The member of `events` that makes a token a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Claims whose signature was verified; nothing else of them is proven yet.
#[derive(Deserialize)]
pub(super) struct LogoutClaims {
    iss: String,
    aud: Audience,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: NumericDate,
    jti: String,
    events: HashMap<String, Value>,
    sub: Option<String>,
    sid: Option<String>,
    /// Absent, or else the token may be an ID token that somebody plays back. `null` is there too.
    #[serde(default, deserialize_with = "present")]
    nonce: bool,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    Value::deserialize(value).map(|_| true)
}

impl LogoutClaims {
    /// Judges every claim.
    pub(super) fn judge(
        self,
        issuer: &str,
        client_id: &str,
        now: Timestamp,
    ) -> Result<LogoutToken, Flaw> {
        if self.iss != issuer {
            return Err(trusted::Flaw::Issuer.into());
        }
        check_audience(&self.aud, client_id)?;
        check_times(self.exp, self.nbf, Some(self.iat), now.unix_seconds())?;
        let skew = Duration::from_secs(CLOCK_SKEW_SECONDS_MAX.unsigned_abs());
        let ends_at =
            Timestamp::from_unix_seconds(self.iat.0).plus(LOGOUT_TOKEN_AGE_MAX).plus(skew);
        if ends_at.is_over(now) {
            return Err(Flaw::TooOld);
        }
        if self.nonce || !self.events.get(LOGOUT_EVENT).is_some_and(Value::is_object) {
            return Err(Flaw::NoLogout);
        }
        if !is_name(&self.jti) {
            return Err(Flaw::TokenId);
        }
        self.sub.as_deref().map_or(Ok(()), check_subject)?;
        if self.sid.as_deref().is_some_and(|sid| !is_name(sid)) {
            return Err(Flaw::Nobody);
        }
        if self.sub.is_none() && self.sid.is_none() {
            return Err(Flaw::Nobody);
        }
        Ok(LogoutToken {
            issuer: self.iss,
            subject: self.sub,
            sid: self.sid,
            id: Secret::new(self.jti).hash(),
            ends_at,
        })
    }
}
