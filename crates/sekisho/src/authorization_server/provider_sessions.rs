//! Keeps asking the provider whether the sessions behind our grants live on (spec: A26).
//!
//! ```text
//! due ─claim─▶ renew at the provider ─▶ new tokens ─▶ stored, before anything else ─▶ confirmed
//!                     │ "over" ─▶ the grant ends        │ somebody else about whom? ─▶ the grant ends
//!                     └ no answer ─▶ later
//! due ─claim─▶ nothing hangs on it any more ─▶ given back to the provider (RFC 7009), and forgotten
//! ```
//!
//! A session is asked about by one process at a time, however many share the store: the claim is one
//! statement and lasts for [`LEASE`]. Should somebody be slower than that, new tokens are kept if they
//! follow those that are there, and a "no" counts only while the claim is the last.
//! Only the provider's clear word ends a grant. A refresh token is given back only with the last
//! session of its person here: a provider may end all of them with one. Never asks on behalf of a request: `/token` and the
//! guard do not wait for a provider.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use sekisho_protocol::Secret;
use tokio_util::sync::CancellationToken;

use super::{AuthorizationServer, Provider, Providers};
use crate::audit::{self, Details, Event};
use crate::clock::{Clock, Timestamp};
use crate::grant::GrantId;
use crate::identity_provider::{LoggedIn, ProviderError, ProviderTokens, StoredProviderTokens};
use crate::mint;
use crate::principal::{Claims, Identity};
use crate::seal::{Purpose, Sealed, Sealer};
use crate::store::{
    CLOCKS_APART_MAX, ClaimedSession, Due, DueSessions, GrantsOf, ProviderSession, SessionEnd,
    Store, StoreError,
};

/// How a grant depends on the person's session at the identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRule {
    /// The provider is asked again this often, and a clear no ends the grant.
    Follow {
        /// The longest time between two questions.
        recheck: Duration,
    },
    /// The login was all: nobody asks again. A logout that the provider tells of counts all the
    /// same.
    LoginOnly,
}

/// The usual time between two questions.
pub const RECHECK_DEFAULT: Duration = Duration::from_mins(15);

/// How often somebody looks for sessions that are due.
pub const DUE_LOOKED_FOR_EVERY: Duration = Duration::from_secs(1);

/// How long a session belongs to the process that claimed it: several times what a provider may
/// take ([`PROVIDER_PATIENCE`](crate::identity_provider::oidc::PROVIDER_PATIENCE)) and a busy store
/// after it.
pub const LEASE: Duration = Duration::from_mins(1);

/// Sessions asked about at the same time.
pub const CHECKS_AT_ONCE_MAX: u16 = 16;

/// The first wait after a question that got no answer, and the longest.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The longest rest while the provider answers nothing at all.
const REST_MAX: Duration = Duration::from_secs(15);

/// Of so many sessions of one provider that are asked about together, all without an answer: it is not asked
/// about others this time, and holds nobody of another one up.
const SILENT_FROM: usize = 4;

/// A session that fails this often in a row, while others do not, is told of once.
const FAILURES_TOLD_OF: u32 = 5;

/// Why a grant ends without its person's doing.
const OVER: &str = "the session at the identity provider is over";
const NOT_ADMITTED: &str = "identity.allow does not let this person in any more";

/// With how many other tokens of a person it is asked whether they are there: as many as GitHub keeps.
const OTHERS_ASKED_MAX: usize = 10;

/// How often a farewell is tried: over some five minutes.
const FAREWELLS_MAX: u32 = 8;

impl SessionRule {
    /// The time between two questions; the usual one where nobody asks, so that a session is due in
    /// good time should the rule change.
    pub(super) const fn recheck(self) -> Duration {
        match self {
            Self::Follow { recheck } => recheck,
            Self::LoginOnly => RECHECK_DEFAULT,
        }
    }
}

/// When a session is asked about next: never later than `recheck`, and up to a tenth sooner, so that
/// people who logged in together are not asked about together for ever.
pub(super) fn next_check(now: Timestamp, recheck: Duration) -> Timestamp {
    let spread = u32::from(u16::from_le_bytes(mint::bytes::<2>()));
    let sooner = recheck / 10 * spread / (u32::from(u16::MAX) + 1);
    now.plus(recheck.saturating_sub(sooner))
}

impl AuthorizationServer {
    /// The provider's session of a login, where the provider gave tokens for it.
    pub(super) fn provider_session(
        &self,
        provider: &Provider,
        grant_id: &GrantId,
        person: &LoggedIn,
        browser: Option<&Secret>,
    ) -> Option<ProviderSession> {
        let tokens = person.tokens.as_ref()?;
        if tokens.refresh_token.is_none() {
            provider.tell_of_no_refresh_token();
        }
        let place = grant_id.as_str().as_bytes();
        let stored = StoredProviderTokens::from(tokens);
        let check_at = next_check(self.clock.now(), provider.session.recheck());
        Some(ProviderSession {
            grant_id: grant_id.clone(),
            issuer: person.identity.issuer.clone(),
            subject: person.identity.subject.clone(),
            sid: person.sid.clone(),
            browser: browser.map(Secret::hash),
            tokens: self.sealer.seal_value(Purpose::ProviderTokens, place, &stored),
            is_offline: tokens.is_offline,
            check_at: tokens.refresh_token.as_ref().map(|_| check_at),
        })
    }
}

impl Provider {
    /// Where sessions are to be followed and cannot be, the operator hears of it once.
    fn tell_of_no_refresh_token(&self) {
        if self.session == SessionRule::LoginOnly {
            return;
        }
        let issuer = self.seam.issuer();
        if self.has_told_of_no_refresh_token() {
            tracing::debug!(issuer, "the identity provider gave no refresh token");
        } else {
            tracing::warn!(
                issuer,
                "the identity provider gives no refresh token: nobody can ask whether a person is \
                 still there, as with identity.session = \"login-only\"; let this client have \
                 refresh tokens there (often the scope offline_access)"
            );
        }
    }
}

/// Asks about the sessions in one store.
#[derive(Debug)]
pub struct ProviderSessions {
    pub(super) store: Arc<dyn Store>,
    pub(super) providers: Providers,
    pub(super) sealer: Sealer,
    pub(super) clock: Arc<dyn Clock>,
    /// The issuers that answered nothing last time.
    pub(super) out: Mutex<BTreeSet<String>>,
}

/// What became of the sessions that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// The provider says that they live on.
    pub alive: usize,
    /// The provider says that they are over; their grants are ended.
    pub ended: usize,
    /// Nothing could be found out; they are asked about again soon.
    pub failed: usize,
}

/// What became of one.
pub(super) enum Outcome {
    Alive,
    Ended,
    /// Why nothing is known, for the log.
    Failed(String),
    /// Another process claimed it meanwhile, or the grant ended by itself.
    Lost,
}

impl Checked {
    const fn is_fruitless(self) -> bool {
        self.failed > 0 && self.alive + self.ended == 0
    }
}

impl ProviderSessions {
    /// Asks until somebody else does, by other settings. What was begun by then is brought to its end:
    /// the answer may hold the only token that is good. While the provider answers nothing, the rests
    /// grow.
    pub async fn follow(self, superseded: CancellationToken) {
        let mut rest = DUE_LOOKED_FOR_EVERY;
        while superseded.run_until_cancelled(tokio::time::sleep(rest)).await.is_some() {
            rest = match self.check_due().await {
                Ok(checked) if checked.is_fruitless() => (rest * 2).min(REST_MAX),
                Ok(_) => DUE_LOOKED_FOR_EVERY,
                Err(reason) => {
                    tracing::warn!(
                        error = &reason as &dyn Error,
                        "the provider's sessions cannot be looked up: trying again"
                    );
                    REST_MAX
                }
            };
        }
    }

    /// Asks about every session that is due, a few at a time, until none is left or no provider answers.
    ///
    /// # Errors
    /// When the store fails. What was claimed by then is due again after [`LEASE`].
    pub async fn check_due(&self) -> Result<Checked, StoreError> {
        let mut all = Checked::default();
        let mut silent = BTreeSet::new();
        loop {
            let now = self.clock.now();
            let longest = self.providers.iter().map(|one| one.session.recheck()).max();
            // What another instance claimed a moment ago, by a clock that is ahead, is not due yet.
            let farthest = longest.unwrap_or(RECHECK_DEFAULT).max(LEASE + CLOCKS_APART_MAX);
            let horizon = now.plus(farthest);
            let is_followed = |one: &Provider| one.session != SessionRule::LoginOnly;
            let which = if self.providers.iter().any(is_followed) {
                DueSessions::All
            } else {
                DueSessions::Farewells
            };
            let claimed = self
                .store
                .claim_provider_sessions(now, horizon, now.plus(LEASE), CHECKS_AT_ONCE_MAX, which)
                .await?;
            let asked = claimed.iter().map(|one| self.check_by_rule(one, &silent));
            let mut heard: BTreeMap<&str, (Checked, Option<String>)> = BTreeMap::new();
            for (one, outcome) in claimed.iter().zip(join_all(asked).await) {
                let (checked, reason) = heard.entry(&one.issuer).or_default();
                match outcome? {
                    Outcome::Alive => checked.alive += 1,
                    Outcome::Ended => checked.ended += 1,
                    Outcome::Failed(why) => {
                        checked.failed += 1;
                        reason.get_or_insert(why);
                    }
                    Outcome::Lost => {}
                }
            }
            for (issuer, (checked, reason)) in heard {
                self.tell_of_change(issuer, checked, reason.as_deref());
                if checked.is_fruitless() && checked.failed >= SILENT_FROM {
                    silent.insert(issuer.to_owned());
                }
                all.alive += checked.alive;
                all.ended += checked.ended;
                all.failed += checked.failed;
            }
            let mut followed = self.providers.iter().filter(|one| is_followed(one));
            let is_none_left = claimed.len() < usize::from(CHECKS_AT_ONCE_MAX);
            let is_all_silent =
                !silent.is_empty() && followed.all(|one| silent.contains(one.seam.issuer()));
            if is_none_left || is_all_silent {
                return Ok(all);
            }
        }
    }

    /// One line when a provider falls silent and one when it answers again, however many sessions
    /// there are.
    fn tell_of_change(&self, issuer: &str, these: Checked, reason: Option<&str>) {
        let mut out = self.out();
        if these.is_fruitless() {
            if out.insert(issuer.to_owned()) {
                tracing::warn!(
                    issuer,
                    reason,
                    "the identity provider does not say whether sessions live on: grants stay, \
                     asking again"
                );
            }
        } else if these != Checked::default() && out.remove(issuer) {
            tracing::info!(issuer, "the identity provider says again whether sessions live on");
        }
    }

    fn out(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of a provider that nobody asks, or nobody can ask, again waits for the next time, in case the
    /// settings change; one of a provider that is `silent` for as long as if it had been asked about.
    async fn check_by_rule(
        &self,
        claimed: &ClaimedSession,
        silent: &BTreeSet<String>,
    ) -> Result<Outcome, StoreError> {
        if claimed.due != Due::Question {
            return self.check(claimed).await;
        }
        let rule = self.providers.of_issuer(&claimed.issuer).map(|provider| provider.session);
        if matches!(rule, None | Some(SessionRule::LoginOnly)) {
            let next = Some(next_check(self.clock.now(), SessionRule::LoginOnly.recheck()));
            self.store.renew_provider_session(claimed, &claimed.tokens, next).await?;
            return Ok(Outcome::Lost);
        }
        if silent.contains(&claimed.issuer) {
            self.ask_later(claimed).await?;
            return Ok(Outcome::Lost);
        }
        self.check(claimed).await
    }

    pub(super) async fn check(&self, claimed: &ClaimedSession) -> Result<Outcome, StoreError> {
        match claimed.due {
            Due::Question => self.ask(claimed).await,
            Due::Farewell => self.bid_farewell(claimed).await,
            Due::SilentFarewell => {
                self.store.forget_provider_session(claimed).await?;
                Ok(Outcome::Lost)
            }
        }
    }

    /// Nobody waits for it, and nobody is worse off if it fails: the tokens are forgotten here.
    async fn bid_farewell(&self, claimed: &ClaimedSession) -> Result<Outcome, StoreError> {
        if let Some(provider) = self.providers.of_issuer(&claimed.issuer)
            && let Some(refresh_token) = self.open(claimed).and_then(|tokens| tokens.refresh_token)
            && let Err(reason) = provider.seam.revoke(&Secret::new(refresh_token)).await
            && claimed.failures + 1 < FAREWELLS_MAX
        {
            tracing::debug!(
                grant.id = claimed.grant_id.as_str(),
                error = &reason as &dyn Error,
                "the provider could not be told that a session is not needed any more"
            );
            self.ask_later(claimed).await?;
            return Ok(Outcome::Lost);
        }
        self.store.forget_provider_session(claimed).await?;
        Ok(Outcome::Lost)
    }

    fn open(&self, claimed: &ClaimedSession) -> Option<StoredProviderTokens> {
        self.open_at(&claimed.grant_id, &claimed.tokens)
    }

    pub(super) fn open_at(&self, grant: &GrantId, tokens: &Sealed) -> Option<StoredProviderTokens> {
        let place = grant.as_str().as_bytes();
        self.sealer.open_value(Purpose::ProviderTokens, place, tokens).ok()
    }

    async fn ask(&self, claimed: &ClaimedSession) -> Result<Outcome, StoreError> {
        let place = claimed.grant_id.as_str().as_bytes();
        let Some(provider) = self.providers.of_issuer(&claimed.issuer) else {
            let reason = "its provider is not among the settings any more".into();
            return self.postpone(claimed, reason).await;
        };
        let Some(before) = self.open(claimed) else {
            return self.postpone(claimed, "its tokens do not open with this key".into()).await;
        };
        let Some(refresh_token) = before.refresh_token.as_deref().map(Secret::new) else {
            // Kept from before we knew: there is nothing to ask with.
            let _ = self.store.renew_provider_session(claimed, &claimed.tokens, None).await?;
            return Ok(Outcome::Lost);
        };
        let asked = match provider.seam.renew(&refresh_token).await {
            Err(ProviderError::Refused { reason })
                if provider.seam.drops_older_tokens(&refresh_token) =>
            {
                self.renew_by_another(provider, claimed, reason).await?
            }
            asked => asked,
        };
        let tokens = match asked {
            Ok(tokens) => tokens,
            Err(ProviderError::Refused { reason }) => {
                return self.end(claimed, &reason, OVER).await;
            }
            Err(reason) => return self.postpone(claimed, in_full(&reason)).await,
        };
        // The old refresh token may be worthless by now, so the new one is kept before all else.
        let stored = before.renewed(&tokens);
        let sealed = self.sealer.seal_value(Purpose::ProviderTokens, place, &stored);
        let check_at = next_check(self.clock.now(), provider.session.recheck());
        if !self.store.renew_provider_session(claimed, &sealed, Some(check_at)).await? {
            return Ok(Outcome::Lost);
        }
        // Keeping them was a step of this claim: what follows is said about the session as it is now.
        let claimed =
            &ClaimedSession { claim: claimed.claim + 1, tokens: sealed, ..claimed.clone() };
        match provider.seam.confirm(&tokens, &claimed.subject).await {
            Err(ProviderError::Refused { reason }) => self.end(claimed, &reason, OVER).await,
            Ok(Some(person)) if !provider.admission.admits(&person) => {
                // All else of theirs is judged by what is known now, too.
                self.store.describe_person(&person, self.clock.now()).await?;
                self.end(claimed, NOT_ADMITTED, NOT_ADMITTED).await
            }
            Ok(Some(person)) => {
                self.store.describe_person(&person, self.clock.now()).await?;
                Ok(Outcome::Alive)
            }
            Err(reason) => {
                // The session lives, that was the question; it is only oddly told.
                tracing::debug!(
                    grant.id = claimed.grant_id.as_str(),
                    error = &reason as &dyn Error,
                    "the provider's new ID token is not acceptable"
                );
                Ok(Outcome::Alive)
            }
            Ok(None) => Ok(Outcome::Alive),
        }
    }

    /// Where a person's older tokens end for the sake of newer ones: a newer one of the same person is as
    /// good to ask with, and is this session's from now on. Without any the no counts, for `reason`.
    async fn renew_by_another(
        &self,
        provider: &Provider,
        claimed: &ClaimedSession,
        reason: String,
    ) -> Result<Result<ProviderTokens, ProviderError>, StoreError> {
        let (issuer, subject) = (claimed.issuer.clone(), claimed.subject.clone());
        let of = GrantsOf::Person { issuer, subject };
        let mut theirs = self.store.list_grants(&of, None).await?;
        theirs.retain(|grant| grant.id != claimed.grant_id && grant.personal.is_none());
        for grant in theirs.iter().rev().take(OTHERS_ASKED_MAX) {
            let Some(session) = self.store.find_provider_session(&grant.id).await? else {
                continue;
            };
            let its = self.open_at(&grant.id, &session.tokens);
            let Some(its) = its.and_then(|its| its.refresh_token).map(Secret::new) else {
                continue;
            };
            if !provider.seam.drops_older_tokens(&its) {
                continue;
            }
            match provider.seam.renew(&its).await {
                Err(ProviderError::Refused { .. }) => {}
                asked => return Ok(asked),
            }
        }
        Ok(Err(ProviderError::Refused { reason }))
    }

    /// `reason` is for whoever looks after the server, `word` for the audit trail.
    async fn end(
        &self,
        claimed: &ClaimedSession,
        reason: &str,
        word: &'static str,
    ) -> Result<Outcome, StoreError> {
        let end = self.store.end_provider_session(claimed, self.clock.now()).await?;
        let suspended = match end {
            SessionEnd::Lost => return Ok(Outcome::Lost),
            SessionEnd::Ended => 0,
            SessionEnd::PersonGone { personal_tokens } => personal_tokens,
        };
        tracing::info!(
            grant.id = claimed.grant_id.as_str(),
            subject = claimed.subject,
            reason,
            "{word}: grant ended"
        );
        let details =
            Details { grant: Some(&claimed.grant_id), detail: Some(&word), ..Details::default() };
        audit::note(Event::Revoke, &details);
        if suspended > 0 {
            let detail = "the person is gone at the identity provider: their personal tokens are \
                          refused until they log in again";
            tracing::info!(subject = claimed.subject, personal_tokens = suspended, "{detail}");
            let person = Identity {
                issuer: claimed.issuer.clone(),
                subject: claimed.subject.clone(),
                name: None,
                email: None,
                email_verified: false,
                claims: Claims::default(),
            };
            let (user, detail) = (Some(&person), Some(&detail as _));
            audit::note(Event::Revoke, &Details { user, detail, ..Details::default() });
        }
        Ok(Outcome::Ended)
    }

    /// `false` if another process claimed it meanwhile.
    async fn ask_later(&self, claimed: &ClaimedSession) -> Result<bool, StoreError> {
        let check_at = self.clock.now().plus(retry_after(claimed.failures));
        self.store.postpone_provider_session(claimed, check_at).await
    }

    async fn postpone(
        &self,
        claimed: &ClaimedSession,
        reason: String,
    ) -> Result<Outcome, StoreError> {
        if !self.ask_later(claimed).await? {
            return Ok(Outcome::Lost);
        }
        if claimed.failures + 1 == FAILURES_TOLD_OF && !self.out().contains(&claimed.issuer) {
            tracing::warn!(
                grant.id = claimed.grant_id.as_str(),
                reason,
                "nothing is known of this session at the identity provider: the grant stays"
            );
        }
        Ok(Outcome::Failed(reason))
    }
}

/// Five seconds, then twice as long each time, up to a minute.
fn retry_after(failures: u32) -> Duration {
    RETRY_AFTER.saturating_mul(1 << failures.min(8)).min(RETRY_AFTER_MAX)
}

/// An error with what is behind it, in one line.
pub(super) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(reason) = cause {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        cause = reason.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_asked_about_no_later_than_agreed_and_not_much_sooner() {
        let now = Timestamp::from_unix_seconds(1_000_000);
        for seconds in [1_u64, 5, 60, 900, 86_400] {
            let recheck = Duration::from_secs(seconds);
            for _ in 0..1000 {
                let wait = next_check(now, recheck).left(now).as_secs();
                assert!(wait <= seconds, "{wait} of {seconds}");
                assert!(wait + 1 >= seconds - seconds / 10, "{wait} of {seconds}");
            }
        }
    }

    #[test]
    fn a_question_without_an_answer_is_repeated_less_and_less_often() {
        let waits: Vec<u64> = (0..6).map(|failures| retry_after(failures).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert_eq!(retry_after(u32::MAX), RETRY_AFTER_MAX);
    }
}
