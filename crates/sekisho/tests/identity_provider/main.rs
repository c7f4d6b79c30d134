//! Who logs people in, as the authorization server meets them: an `OpenID` provider over real
//! sockets, rightly and wrongly behaved, and the accounts of our own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]

mod github;
mod local;
mod oidc;
mod oidc_claims;
mod oidc_exchange;
mod oidc_logout;
mod oidc_outages;
mod oidc_session;
mod presets;

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use sekisho::identity_provider::{LoggedIn, LoginAttempt, ProviderError};
use sekisho_protocol::Secret;

/// What became of a login, as the authorization server tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    LoggedIn,
    Unavailable,
    Unacceptable,
    Refused,
}

/// Sorts a result, and holds every error to the rule that it tells nothing secret.
fn outcome<T>(result: &Result<T, ProviderError>) -> Outcome {
    if let Err(error) = result {
        let said = chain(error);
        for secret in ["provider-code", "provider-access", "provider-refresh", "100%", "eyJ"] {
            assert!(!said.contains(secret), "{secret} in: {said}");
        }
        assert!(!said.contains("nobody should repeat"), "the provider's own text in: {said}");
    }
    match result {
        Ok(_) => Outcome::LoggedIn,
        Err(ProviderError::Unavailable(_)) => Outcome::Unavailable,
        Err(ProviderError::Unacceptable { .. }) => Outcome::Unacceptable,
        Err(ProviderError::Refused { .. }) => Outcome::Refused,
    }
}

/// An error and everything behind it, as a log shows it, and as `{:?}` does.
fn chain(error: &ProviderError) -> String {
    let mut said = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    said
}

fn said(result: Result<LoggedIn, ProviderError>) -> String {
    result.map_or_else(|error| chain(&error), |_| panic!("somebody was logged in"))
}

/// A new attempt, different from every other.
fn attempt() -> LoginAttempt {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let secret = || Secret::new(format!("{:064x}", NEXT.fetch_add(1, Ordering::SeqCst)));
    LoginAttempt { login_state: secret(), nonce: secret(), code_verifier: secret() }
}
