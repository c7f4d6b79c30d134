//! A client proves itself with a JWT that it signed (`private_key_jwt`, RFC 7523 §2.2, §3): once.
//!
//! Keys come from the client's registration or from its `jwks_uri`, under the rules of
//! [`crate::fetch`]; what a token says about its own key is never looked at.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Header, Validation, decode, decode_header};
use sekisho_protocol::oauth::{
    ASSERTION_BYTES_MAX, AssertionClaims, AssertionFlaw, ClientKeys, ExpectedAssertion,
    JWKS_BYTES_MAX,
};
use sekisho_protocol::{Secret, SecretHash};
use url::Url;

use super::AuthorizationServer;
use super::clients::NoClient;
use crate::clock::Timestamp;
use crate::fetch::{Fault, Standing};
use crate::jwks::{KeySet, SIGNING_ALGORITHMS, Wanted};
use crate::store::{AssertionShare, AssertionUse, Client, ClientOrigin, StoreError, UsedAssertion};

/// How old fetched keys may be when one is missing: what made-up key ids cost is one fetch in this
/// time.
pub(super) const MISSING_KEY_COOL_DOWN: Duration = Duration::from_secs(30);

/// How long a client waits when too many documents are being fetched.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Why an assertion is not believed. Never holds a part of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum AssertionRefusal {
    #[error("the assertion is too large")]
    TooLarge,
    #[error("the assertion is no JWT, or signed with an algorithm nobody may use")]
    Header,
    #[error("the assertion has critical extensions or is of another type")]
    Extension,
    #[error("the client has published no keys")]
    NoKeys,
    #[error("the assertion is signed with a key that the client has not published")]
    UnknownKey,
    #[error("the assertion's signature is wrong, or its claims are absent or of the wrong type")]
    Signature,
    #[error(transparent)]
    Claims(#[from] AssertionFlaw),
    #[error("the assertion was used before")]
    Replayed,
    #[error("the client's keys cannot be had")]
    KeysUnavailable(#[source] Fault),
    #[error("too many assertions")]
    TooMany(Duration),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuthorizationServer {
    /// Whether the client signed this for us, and did not use it before.
    pub(super) async fn verify_assertion(
        &self,
        client: &Client,
        assertion: &Secret,
        caller: Option<IpAddr>,
    ) -> Result<(), AssertionRefusal> {
        if assertion.reveal().len() > ASSERTION_BYTES_MAX {
            return Err(AssertionRefusal::TooLarge);
        }
        let header = decode_header(assertion.reveal()).map_err(|_| AssertionRefusal::Header)?;
        check_header(&header)?;
        let claims = self.verify_signature(client, assertion, &header, caller).await?;
        let now = self.clock.now();
        let expected = ExpectedAssertion {
            client_id: &client.id,
            issuer: &self.settings.issuer,
            now_seconds: now.unix_seconds(),
        };
        let (jti, ends) = claims.judge(&expected)?;
        self.use_up(client, jti, Timestamp::from_unix_seconds(ends)).await
    }

    async fn verify_signature(
        &self,
        client: &Client,
        assertion: &Secret,
        header: &Header,
        caller: Option<IpAddr>,
    ) -> Result<AssertionClaims, AssertionRefusal> {
        let wanted = Wanted { id: header.kid.as_deref(), algorithm: header.alg };
        let mut keys = self.keys_of(client, Duration::MAX, caller).await?;
        if keys.find(wanted).is_none() {
            // The client may have made a new key since.
            keys = self.keys_of(client, MISSING_KEY_COOL_DOWN, caller).await?;
        }
        let key = keys.find(wanted).ok_or(AssertionRefusal::UnknownKey)?;
        // The claims are judged by our clock and with their types.
        let mut signature_only = Validation::new(header.alg);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_nbf = false;
        signature_only.validate_aud = false;
        decode::<AssertionClaims>(assertion.reveal(), key, &signature_only)
            .map(|verified| verified.claims)
            .map_err(|_| AssertionRefusal::Signature)
    }

    /// The client's keys. Those of a document are read anew with it, since they change with it.
    async fn keys_of(
        &self,
        client: &Client,
        age_max: Duration,
        caller: Option<IpAddr>,
    ) -> Result<Arc<KeySet>, AssertionRefusal> {
        let today = match client.origin {
            ClientOrigin::Document => {
                match self.client_no_older_than(age_max, &client.id, caller).await {
                    Ok(today) => Some(today),
                    // Who may not ask must not choose between old keys and new ones by it.
                    Err(NoClient::TooMany(wait)) => return Err(AssertionRefusal::TooMany(wait)),
                    Err(NoClient::Busy) => return Err(AssertionRefusal::TooMany(BUSY_WAIT)),
                    Err(NoClient::Store(reason)) => return Err(AssertionRefusal::Store(reason)),
                    Err(NoClient::Unknown | NoClient::Document(_)) => None,
                }
            }
            ClientOrigin::Dynamic | ClientOrigin::Preregistered => None,
        };
        match &today.as_ref().unwrap_or(client).metadata.keys {
            None => Err(AssertionRefusal::NoKeys),
            Some(ClientKeys::Jwks(text)) => {
                KeySet::parse(text.as_bytes()).map(Arc::new).ok_or(AssertionRefusal::NoKeys)
            }
            Some(ClientKeys::JwksUri(uri)) => {
                let url = Url::parse(uri).map_err(|_| AssertionRefusal::NoKeys)?;
                let read = |body: &[u8]| {
                    KeySet::parse(body).ok_or_else(|| "it is not a JSON Web Key Set".to_owned())
                };
                let standing = match client.origin {
                    ClientOrigin::Preregistered => Standing::Known,
                    _ if self.keys.has(&url, age_max) => Standing::Stranger,
                    ClientOrigin::Dynamic | ClientOrigin::Document => {
                        self.standing_of(&client.id).await?
                    }
                };
                let admit = || self.may_fetch(caller);
                let keys = self.keys.get(&url, age_max, standing, admit, read).await;
                keys.map_err(|fault| {
                    if let Fault::TooMany(wait) = fault {
                        AssertionRefusal::TooMany(wait)
                    } else {
                        AssertionRefusal::KeysUnavailable(fault)
                    }
                })
            }
        }
    }

    /// RFC 7523 §3 rule 7: an assertion counts once.
    async fn use_up(
        &self,
        client: &Client,
        jti: &str,
        ends: Timestamp,
    ) -> Result<(), AssertionRefusal> {
        self.assertions.count(&client.id).map_err(AssertionRefusal::TooMany)?;
        let id = SecretHash::of(format!("{}\n{jti}", client.id).as_bytes());
        let share = self.share_of(client).await?;
        match self.store.use_assertion(&UsedAssertion { id, share, expires_at: ends }).await? {
            AssertionUse::Fresh => Ok(()),
            AssertionUse::Replayed => Err(AssertionRefusal::Replayed),
            AssertionUse::Full => Err(AssertionRefusal::TooMany(MISSING_KEY_COOL_DOWN)),
        }
    }

    /// Anybody can register clients and sign with them, so those have no share in what others need.
    async fn share_of(&self, client: &Client) -> Result<AssertionShare, StoreError> {
        if client.origin == ClientOrigin::Preregistered {
            return Ok(AssertionShare::of_preregistered(&client.id));
        }
        Ok(match self.standing_of(&client.id).await? {
            Standing::Known => AssertionShare::of_clients_in_use(),
            Standing::Stranger => AssertionShare::of_strangers(),
        })
    }
}

/// RFC 7515 §4.1.11: what is critical must be understood, and we understand no extension. A type,
/// if there is one, is that of an assertion: an ID or access token proves no client.
fn check_header(header: &Header) -> Result<(), AssertionRefusal> {
    if !SIGNING_ALGORITHMS.contains(&header.alg) {
        return Err(AssertionRefusal::Header);
    }
    let is_assertion = header.typ.as_deref().is_none_or(|kind| {
        ["JWT", "client-authentication+jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known))
    });
    if header.crit.is_some() || !is_assertion {
        return Err(AssertionRefusal::Extension);
    }
    Ok(())
}

const _: () = assert!(ASSERTION_BYTES_MAX < super::FORM_BYTES_MAX && JWKS_BYTES_MAX > 0);
