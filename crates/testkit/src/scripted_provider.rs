//! An identity provider in memory: logs in whom the test says, and keeps a provider's promises
//! (codes once, PKCE, nonce), so that a mixed-up login fails here as it would at a real one.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sekisho::identity_provider::{
    IdentityProvider, LoggedIn, LoginAttempt, ProviderError, ProviderTokens,
};
use sekisho::principal::Identity;
use sekisho_protocol::Secret;
use url::Url;

/// The provider's issuer.
pub const PROVIDER: &str = "https://idp.test";

/// See the module.
#[derive(Debug, Default)]
pub struct ScriptedProvider {
    codes: Mutex<HashMap<String, Issued>>,
    next_code: AtomicUsize,
    /// How often a browser was sent here.
    authorizations: AtomicUsize,
    /// How often a code was traded.
    redemptions: AtomicUsize,
    fault: Mutex<Option<Fault>>,
}

#[derive(Debug)]
struct Issued {
    person: String,
    nonce: String,
    code_challenge: String,
}

/// What goes wrong at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not answer.
    Down,
    /// It answers nonsense.
    Wrong,
    /// It refuses the code.
    Refuses,
}

impl ScriptedProvider {
    /// From now on something is wrong, or nothing.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// How often a browser was sent here.
    pub fn authorizations(&self) -> usize {
        self.authorizations.load(Ordering::SeqCst)
    }

    /// How often a code was traded.
    pub fn redemptions(&self) -> usize {
        self.redemptions.load(Ordering::SeqCst)
    }

    /// `person` opens `location` and is logged in without a question (they have a session); gives
    /// the URL the browser is sent to.
    pub fn log_in(&self, person: &str, location: &str) -> String {
        let url = Url::parse(location).expect("an absolute URL");
        assert_eq!(url.host_str(), Some("idp.test"), "{location}");
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        let code = format!("idp-code-{}", self.next_code.fetch_add(1, Ordering::SeqCst));
        let of = |name: &str| query.get(name).cloned().unwrap_or_default();
        let issued = Issued {
            person: person.to_owned(),
            nonce: of("nonce"),
            code_challenge: of("code_challenge"),
        };
        self.codes.lock().unwrap().insert(code.clone(), issued);
        let answer = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &of("state"))
            .append_pair("iss", PROVIDER)
            .finish();
        format!("/auth/callback?{answer}")
    }

    /// Trades a code without PKCE and nonce, as a careless client would: gives the person.
    pub fn redeem_carelessly(&self, code: &str) -> Option<String> {
        self.codes.lock().unwrap().remove(code).map(|issued| issued.person)
    }

    fn check_fault(&self) -> Result<(), ProviderError> {
        let wrong = |reason: &str| reason.to_owned();
        match *self.fault.lock().unwrap() {
            None => Ok(()),
            Some(Fault::Down) => Err(ProviderError::Unavailable("connection refused".into())),
            Some(Fault::Wrong) => {
                Err(ProviderError::Unacceptable { reason: wrong("the ID token is not signed") })
            }
            Some(Fault::Refuses) => Err(ProviderError::Refused { reason: wrong("invalid_grant") }),
        }
    }
}

/// A person of that name, as this provider tells of them.
pub fn identity(person: &str) -> Identity {
    Identity {
        issuer: PROVIDER.into(),
        subject: format!("sub-{person}"),
        name: Some(person.to_owned()),
        email: Some(format!("{person}@corp.example")),
        email_verified: true,
    }
}

#[async_trait]
impl IdentityProvider for ScriptedProvider {
    async fn authorization_url(&self, attempt: &LoginAttempt) -> Result<String, ProviderError> {
        if *self.fault.lock().unwrap() == Some(Fault::Down) {
            self.check_fault()?;
        }
        self.authorizations.fetch_add(1, Ordering::SeqCst);
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("state", attempt.login_state.reveal())
            .append_pair("nonce", attempt.nonce.reveal())
            .append_pair("code_challenge", &challenge(attempt))
            .finish();
        Ok(format!("{PROVIDER}/authorize?{query}"))
    }

    async fn is_answer_from_us(&self, iss: Option<&str>) -> Result<bool, ProviderError> {
        Ok(iss == Some(PROVIDER))
    }

    async fn redeem(
        &self,
        code: &Secret,
        attempt: &LoginAttempt,
    ) -> Result<LoggedIn, ProviderError> {
        self.redemptions.fetch_add(1, Ordering::SeqCst);
        self.check_fault()?;
        let issued = self.codes.lock().unwrap().remove(code.reveal());
        let refused = |reason: &str| ProviderError::Refused { reason: reason.to_owned() };
        let issued = issued.ok_or_else(|| refused("no such code"))?;
        if issued.code_challenge != challenge(attempt) {
            return Err(refused("the verifier does not match"));
        }
        if issued.nonce != attempt.nonce.reveal() {
            return Err(ProviderError::Unacceptable { reason: "another nonce".into() });
        }
        let tokens = ProviderTokens {
            access_token: Secret::new("idp-access-token"),
            refresh_token: Some(Secret::new("idp-refresh-token")),
            id_token: None,
            expires_at: None,
        };
        Ok(LoggedIn { identity: identity(&issued.person), tokens: Some(tokens) })
    }

    async fn check(&self) -> Result<(), ProviderError> {
        self.check_fault()
    }
}

fn challenge(attempt: &LoginAttempt) -> String {
    use sekisho_protocol::oauth::{CodeChallenge, CodeVerifier};
    let verifier = CodeVerifier::parse(attempt.code_verifier.reveal()).expect("a verifier");
    CodeChallenge::of(&verifier).as_str().to_owned()
}
