//! The proof that a person logged in (`OpenID` Connect Core §2, §3.1.3.7; RFC 8725), checked whole:
//! nothing of a token is believed before its signature, and no claim is taken for granted.

use sekisho_protocol::Secret;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::principal::{Identity, WantedClaims};
use crate::trusted::{
    self, Audience, Description, NumericDate, check_subject, check_times, described, is_name,
};

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
    #[error(transparent)]
    Token(#[from] trusted::Flaw),
    #[error("the token is for another client")]
    Audience,
    #[error("the token was issued to another client (azp)")]
    AuthorizedParty,
    #[error("the token is for another login (nonce)")]
    Nonce,
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
    sid: Option<String>,
    #[serde(flatten)]
    description: Description,
}

impl SignedClaims {
    /// Judges every claim.
    pub(super) fn judge(self, expected: &Expected<'_>) -> Result<Self, Flaw> {
        if self.iss != expected.issuer {
            return Err(trusted::Flaw::Issuer.into());
        }
        self.check_audience(expected.client_id)?;
        let nonce = Secret::new(self.nonce.as_deref().unwrap_or_default());
        if !nonce.matches(&expected.nonce.hash()) {
            return Err(Flaw::Nonce);
        }
        check_times(self.exp, self.nbf, Some(self.iat), expected.now.unix_seconds())?;
        check_subject(&self.sub)?;
        Ok(self)
    }

    pub(super) fn subject(&self) -> &str {
        &self.sub
    }

    /// Whether something is absent that is wanted of a person.
    pub(super) fn lacks(&self, wanted: &WantedClaims, wants_email: bool) -> bool {
        let has = |name: &str| self.description.said(name).is_some_and(|said| !said.is_null());
        (wants_email && self.description.email.is_none()) || !wanted.iter().all(has)
    }

    /// Adds what the userinfo endpoint says, where the token says nothing.
    pub(super) fn add(&mut self, said: Description) {
        self.description.add(said);
    }

    /// Claims that are somewhere else (Core §5.6.2) are not looked for, and nobody may believe that
    /// rules have seen them.
    pub(super) fn tell_of_absent(&self, wanted: &WantedClaims) {
        for claim in wanted.iter().filter(|name| self.description.is_elsewhere(name)) {
            tracing::warn!(
                subject = self.sub,
                claim,
                "the provider leaves this claim out because it is too long, and rules see none: \
                 let it say less there (Entra: only groups that are assigned to the application)"
            );
        }
    }

    /// The person, with what is wanted of them.
    pub(super) fn described(self, wanted: &WantedClaims, verified_by: Option<&str>) -> Identity {
        let description = match verified_by {
            Some(claim) => self.description.verified_by(claim),
            None => self.description,
        };
        described(self.iss, self.sub, description, wanted)
    }

    /// Judges a token that came of a refresh (Core §12.2): the same provider, client and person.
    pub(super) fn judge_renewed(
        self,
        issuer: &str,
        client_id: &str,
        subject: &str,
    ) -> Result<Self, Flaw> {
        if self.iss != issuer {
            return Err(trusted::Flaw::Issuer.into());
        }
        self.check_audience(client_id)?;
        if self.sub == subject { Ok(self) } else { Err(Flaw::OtherPerson) }
    }

    /// The provider's name for the session, unless it is empty or too long to be kept.
    pub(super) fn sid(&self) -> Option<String> {
        self.sid.clone().filter(|sid| is_name(sid))
    }

    /// Core §3.1.3.7, steps 3 to 5.
    fn check_audience(&self, client_id: &str) -> Result<(), Flaw> {
        let has_others = check_audience(&self.aud, client_id)?;
        match &self.azp {
            Some(party) if party == client_id => Ok(()),
            None if !has_others => Ok(()),
            Some(_) | None => Err(Flaw::AuthorizedParty),
        }
    }
}

/// Whether others are meant beside us, who must be.
pub(super) fn check_audience(audience: &Audience, client_id: &str) -> Result<bool, Flaw> {
    let is_for_us = audience.iter().any(|one| one == client_id);
    if is_for_us { Ok(audience.iter().nth(1).is_some()) } else { Err(Flaw::Audience) }
}
