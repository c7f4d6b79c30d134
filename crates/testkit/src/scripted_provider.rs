//! An identity provider in memory: logs in whom the test says, and keeps a provider's promises
//! (codes once, PKCE, nonce, refresh tokens once), so that a mixed-up login fails here as it would at
//! a real one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sekisho::clock::Timestamp;
use sekisho::identity_provider::{
    ExchangeWish, IdentityProvider, LoggedIn, LoginAttempt, LogoutToken, ProviderError,
    ProviderToken, ProviderTokens,
};
use sekisho::principal::{Claims, Identity};
use sekisho_protocol::Secret;
use tokio::sync::Semaphore;
use url::Url;

/// The provider's issuer.
pub const PROVIDER: &str = "https://idp.test";

/// See the module.
#[derive(Debug, Default)]
pub struct ScriptedProvider {
    /// Another issuer than [`PROVIDER`], and the name of its callback; empty for the one there is.
    elsewhere: Option<(&'static str, &'static str)>,
    is_silent: AtomicBool,
    codes: Mutex<HashMap<String, Issued>>,
    next_code: AtomicUsize,
    /// How often a browser was sent here.
    authorizations: AtomicUsize,
    /// How often a code was traded.
    redemptions: AtomicUsize,
    fault: Mutex<Option<Fault>>,
    /// By the one refresh token that each session has at this moment.
    sessions: Mutex<HashMap<String, Session>>,
    next_session: AtomicUsize,
    renewals: AtomicUsize,
    exchanges: AtomicUsize,
    /// When the access tokens of this moment end.
    access_tokens_end_at: Mutex<Option<Timestamp>>,
    disabled: Mutex<HashSet<String>>,
    gives: Mutex<Gives>,
    told_of: Mutex<Option<Identity>>,
    /// What is said of people beside who they are.
    claims: Mutex<HashMap<String, Claims>>,
    /// The refresh tokens that were given back.
    revoked: Mutex<Vec<String>>,
    pause: Mutex<Option<(Pause, Arc<Semaphore>)>>,
}

/// What a login brings beside the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gives {
    /// A refresh token that outlives the browser's session.
    #[default]
    OfflineAccess,
    /// A refresh token that ends with the browser's session.
    SessionOnly,
    /// No refresh token.
    NoRefreshToken,
    /// One access token for as long as the session lives; the refresh token ends with the browser's.
    OneAccessToken,
    /// A token that is asked with itself and stays as it is. Of each person the newest two are good.
    NewestTwo,
}

#[derive(Debug, Clone)]
struct Session {
    person: String,
    sid: String,
}

/// Where a renewal stops until [`ScriptedProvider::go_on`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The question has not arrived yet: nothing happened at the provider.
    BeforeRenewal,
    /// The new tokens were taken, and the ID token among them is being checked.
    BeforeConfirmation,
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
    /// One of several, whose answers come to the callback of that name.
    pub fn called(name: &'static str, issuer: &'static str) -> Self {
        Self { elsewhere: Some((issuer, name)), ..Self::default() }
    }

    /// From now on it does not name itself in its answers, nor says that it would.
    pub fn say_no_iss(&self) {
        self.is_silent.store(true, Ordering::SeqCst);
    }

    fn here(&self) -> &'static str {
        self.elsewhere.map_or(PROVIDER, |(issuer, _)| issuer)
    }

    /// A person of that name, as this provider tells of them.
    pub fn identity(&self, person: &str) -> Identity {
        Identity { issuer: self.here().into(), ..identity(person) }
    }

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

    /// How often somebody asked whether a session lives on.
    pub fn renewals(&self) -> usize {
        self.renewals.load(Ordering::SeqCst)
    }

    /// How often an access token was traded for another.
    pub fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::SeqCst)
    }

    /// From now on access tokens end then; before, nothing is said of it.
    pub fn let_access_tokens_end_at(&self, end: Timestamp) {
        *self.access_tokens_end_at.lock().unwrap() = Some(end);
    }

    /// From now on the provider says this of a person.
    pub fn say_of(&self, person: &str, claims: Claims) {
        self.claims.lock().unwrap().insert(person.to_owned(), claims);
    }

    /// The provider's administrator disables a person; nobody is told.
    pub fn disable(&self, person: &str) {
        self.disabled.lock().unwrap().insert(person.to_owned());
    }

    /// The administrator has second thoughts.
    pub fn enable(&self, person: &str) {
        self.disabled.lock().unwrap().remove(person);
    }

    /// The provider ends every session of a person; nobody is told.
    pub fn end_sessions_of(&self, person: &str) {
        self.sessions.lock().unwrap().retain(|_, session| session.person != person);
    }

    /// Whoever logs in from now on, it tells of this person.
    pub fn tell_of(&self, identity: Identity) {
        *self.told_of.lock().unwrap() = Some(identity);
    }

    /// What logins bring from now on.
    pub fn set_gives(&self, gives: Gives) {
        *self.gives.lock().unwrap() = gives;
    }

    /// The refresh tokens that were given back, oldest first.
    pub fn revoked(&self) -> Vec<String> {
        self.revoked.lock().unwrap().clone()
    }

    /// Renewals stop here from now on.
    pub fn pause(&self, at: Pause) {
        *self.pause.lock().unwrap() = Some((at, Arc::new(Semaphore::new(0))));
    }

    /// Lets every renewal that stopped go on, and stops no more of them.
    pub fn go_on(&self) {
        if let Some((_, gate)) = self.pause.lock().unwrap().take() {
            gate.close();
        }
    }

    async fn stop_at(&self, at: Pause) {
        let gate = self.pause.lock().unwrap().as_ref().filter(|(here, _)| *here == at).cloned();
        if let Some((_, gate)) = gate {
            let _ = gate.acquire().await;
        }
    }

    fn tokens_of(&self, session: Session) -> ProviderTokens {
        let number = self.next_session.fetch_add(1, Ordering::SeqCst);
        let refresh_token = format!("idp-refresh-token-{number}");
        let id_token = format!("idp-id-token-of-{}", session.person);
        let gives = *self.gives.lock().unwrap();
        if gives == Gives::NewestTwo {
            return self.lasting(number, session);
        }
        self.sessions.lock().unwrap().insert(refresh_token.clone(), session);
        ProviderTokens {
            access_token: Secret::new(match gives {
                Gives::OneAccessToken => "idp-access-token".to_owned(),
                Gives::OfflineAccess
                | Gives::SessionOnly
                | Gives::NoRefreshToken
                | Gives::NewestTwo => format!("idp-access-token-{number}"),
            }),
            refresh_token: (gives != Gives::NoRefreshToken).then(|| Secret::new(refresh_token)),
            id_token: Some(Secret::new(id_token)),
            expires_at: *self.access_tokens_end_at.lock().unwrap(),
            is_offline: gives == Gives::OfflineAccess,
        }
    }

    fn lasting(&self, number: usize, session: Session) -> ProviderTokens {
        let person = session.person.clone();
        let token = format!("{LASTING}{number:06}");
        let mut sessions = self.sessions.lock().unwrap();
        sessions.insert(token.clone(), session);
        let of_person = |(token, session): (&String, &Session)| {
            (session.person == person && token.starts_with(LASTING)).then(|| token.clone())
        };
        let mut theirs: Vec<String> = sessions.iter().filter_map(of_person).collect();
        theirs.sort();
        for older in theirs.iter().rev().skip(2) {
            sessions.remove(older);
        }
        asked_with_itself(&token)
    }

    /// `person` opens `location` and is logged in without a question (they have a session); gives
    /// the URL the browser is sent to.
    pub fn log_in(&self, person: &str, location: &str) -> String {
        let url = Url::parse(location).expect("an absolute URL");
        assert!(location.starts_with(self.here()), "{location}");
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
            .extend_pairs((!self.is_silent.load(Ordering::SeqCst)).then_some(("iss", self.here())))
            .finish();
        match self.elsewhere {
            None => format!("/auth/callback?{answer}"),
            Some((_, name)) => format!("/auth/callback/{name}?{answer}"),
        }
    }

    /// What this provider posts to us when somebody was logged out: message, person and session, of
    /// which one may be empty.
    pub fn logout_token(&self, id: &str, person: &str, sid: &str, ends_at: Timestamp) -> String {
        let subject = if person.is_empty() { String::new() } else { identity(person).subject };
        format!("logout|{id}|{subject}|{sid}|{}", ends_at.unix_seconds())
    }

    /// The sessions of a person that live.
    pub fn sids_of(&self, person: &str) -> Vec<String> {
        let sessions = self.sessions.lock().unwrap();
        let theirs = sessions.values().filter(|session| session.person == person);
        theirs.map(|session| session.sid.clone()).collect()
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
        claims: Claims::default(),
    }
}

#[async_trait]
impl IdentityProvider for ScriptedProvider {
    fn issuer(&self) -> &str {
        self.here()
    }

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
        Ok(format!("{}/authorize?{query}", self.here()))
    }

    async fn is_answer_from_us(&self, iss: Option<&str>) -> Result<bool, ProviderError> {
        let is_silent = self.is_silent.load(Ordering::SeqCst);
        Ok(iss == Some(self.here()) || (iss.is_none() && is_silent))
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
        let told_of = self.told_of.lock().unwrap().clone();
        let claims = self.claims.lock().unwrap().get(&issued.person).cloned().unwrap_or_default();
        let identity =
            told_of.unwrap_or_else(|| Identity { claims, ..self.identity(&issued.person) });
        let sid = format!("sid-{}", self.next_session.fetch_add(1, Ordering::SeqCst));
        let tokens = self.tokens_of(Session { person: issued.person, sid: sid.clone() });
        Ok(LoggedIn { identity, tokens: Some(tokens), sid: Some(sid) })
    }

    async fn renew(&self, refresh_token: &Secret) -> Result<ProviderTokens, ProviderError> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        self.stop_at(Pause::BeforeRenewal).await;
        self.check_fault()?;
        let refused = |reason: &str| ProviderError::Refused { reason: reason.to_owned() };
        if refresh_token.reveal().starts_with(LASTING) {
            let sessions = self.sessions.lock().unwrap();
            let session = sessions.get(refresh_token.reveal()).ok_or_else(|| refused("dropped"))?;
            let is_there = !self.disabled.lock().unwrap().contains(&session.person);
            return is_there
                .then(|| asked_with_itself(refresh_token.reveal()))
                .ok_or_else(|| refused("user disabled"));
        }
        let session = self.sessions.lock().unwrap().remove(refresh_token.reveal());
        // Used twice: a provider that rotates takes that for theft.
        let session = session.ok_or_else(|| refused("invalid_grant: no such refresh token"))?;
        if self.disabled.lock().unwrap().contains(&session.person) {
            return Err(refused("invalid_grant: user disabled"));
        }
        Ok(self.tokens_of(session))
    }

    async fn confirm(
        &self,
        _: &ProviderTokens,
        subject: &str,
    ) -> Result<Option<Identity>, ProviderError> {
        self.stop_at(Pause::BeforeConfirmation).await;
        let known = self.claims.lock().unwrap();
        let person = known.iter().find(|(person, _)| identity(person).subject == subject);
        Ok(person
            .map(|(person, claims)| Identity { claims: claims.clone(), ..self.identity(person) }))
    }

    /// As Keycloak does: with one, all of that person's go.
    async fn revoke(&self, refresh_token: &Secret) -> Result<(), ProviderError> {
        self.check_fault()?;
        self.revoked.lock().unwrap().push(refresh_token.reveal().to_owned());
        let mut sessions = self.sessions.lock().unwrap();
        if let Some(ended) = sessions.remove(refresh_token.reveal()) {
            sessions.retain(|_, session| session.person != ended.person);
        }
        Ok(())
    }

    async fn exchange(
        &self,
        access_token: &Secret,
        wish: &ExchangeWish,
    ) -> Result<ProviderToken, ProviderError> {
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        self.check_fault()?;
        let token = format!("{} for {}", access_token.reveal(), wish.audience.join(" "));
        let ends_at = *self.access_tokens_end_at.lock().unwrap();
        Ok(ProviderToken { token: Secret::new(token), ends_at })
    }

    fn drops_older_tokens(&self, refresh_token: &Secret) -> bool {
        refresh_token.reveal().starts_with(LASTING)
    }

    fn sends_logouts(&self) -> bool {
        true
    }

    /// The tokens are those of [`ScriptedProvider::logout_token`]; checking real ones is for the
    /// tests of the real provider.
    async fn read_logout(&self, token: &Secret) -> Result<LogoutToken, ProviderError> {
        if *self.fault.lock().unwrap() == Some(Fault::Down) {
            self.check_fault()?;
        }
        let parts: Vec<&str> = token.reveal().split('|').collect();
        let ["logout", id, subject, sid, ends_at] = parts.as_slice() else {
            return Err(ProviderError::Unacceptable { reason: "no logout token".into() });
        };
        let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(LogoutToken {
            issuer: self.here().into(),
            subject: named(subject),
            sid: named(sid),
            id: Secret::new(*id).hash(),
            ends_at: Timestamp::from_unix_seconds(ends_at.parse().unwrap()),
        })
    }

    async fn end_session_url(
        &self,
        id_token_hint: Option<&Secret>,
        return_to: &str,
        state: &str,
    ) -> Result<Option<String>, ProviderError> {
        self.check_fault()?;
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(id_token_hint.map(|hint| ("id_token_hint", hint.reveal())))
            .append_pair("post_logout_redirect_uri", return_to)
            .append_pair("state", state)
            .finish();
        Ok(Some(format!("{}/logout?{query}", self.here())))
    }

    async fn check(&self) -> Result<(), ProviderError> {
        self.check_fault()
    }
}

/// Before a token that stays as it is.
const LASTING: &str = "idp-lasting-token-";

fn asked_with_itself(token: &str) -> ProviderTokens {
    ProviderTokens {
        access_token: Secret::new(token),
        refresh_token: Some(Secret::new(token)),
        id_token: None,
        expires_at: None,
        is_offline: true,
    }
}

fn challenge(attempt: &LoginAttempt) -> String {
    use sekisho_protocol::oauth::{CodeChallenge, CodeVerifier};
    let verifier = CodeVerifier::parse(attempt.code_verifier.reveal()).expect("a verifier");
    CodeChallenge::of(&verifier).as_str().to_owned()
}
