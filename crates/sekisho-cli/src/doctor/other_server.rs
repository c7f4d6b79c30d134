//! The other authorization server of `authorization.mode = "external"`: its keys or its introspection
//! endpoint, our credentials there, its clock.

use std::sync::Arc;

use sekisho::clock::{Clock, SystemClock};
use sekisho::protocol::Secret;
use sekisho::resource_server::{ExternalIssuer, VerifyError};

use super::finding::Finding;
use super::outside::{client, exchange};
use super::{clock, token};
use crate::config::{Config, ExternalConfig, Verification};
use crate::issuing::Verifiers;
use crate::telemetry::chain;

const ABOUT: &str = "authorization server";

pub(super) async fn examine(
    config: &Config,
    other: &ExternalConfig,
    token: Option<&Secret>,
) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let issuer = match ExternalIssuer::new(&other.issuer, Arc::clone(&clock)) {
        Ok(issuer) => Arc::new(issuer),
        Err(error) => return vec![Finding::told(ABOUT, chain(&error))],
    };
    let verifiers = Verifiers::External {
        issuer: Arc::clone(&issuer),
        by: other.verification.clone(),
        audience: other.audience.clone(),
        claims: config.claims.clone(),
    };
    let (there, skew) =
        tokio::join!(usable(config, other, &issuer, &verifiers, &clock), skew(other));
    let mut found = vec![there];
    found.extend(skew);
    if let Some(token) = token {
        found.extend(token::examine(config, other, &verifiers, token, &clock).await);
    }
    found
}

async fn usable(
    config: &Config,
    other: &ExternalConfig,
    issuer: &Arc<ExternalIssuer>,
    verifiers: &Verifiers,
    clock: &Arc<dyn Clock>,
) -> Finding {
    let fix = "set authorization.issuer to what its metadata says, and let us reach it";
    match &other.verification {
        Verification::Jwt => match issuer.check_keys().await {
            Ok(()) => Finding::ok(ABOUT, format!("{} is there, and publishes keys", other.issuer)),
            Err(error) => Finding::problem(ABOUT, chain(&error), fix),
        },
        Verification::Introspection { .. } => {
            if let Err(error) = issuer.check_introspection().await {
                return Finding::problem(ABOUT, chain(&error), fix);
            }
            let Some(server) = config.servers.first() else {
                return Finding::ok(ABOUT, format!("{} is there", other.issuer));
            };
            // Whoever says that this is no token has accepted us first.
            let verifier = verifiers.of(&server.resource, clock);
            match verifier.verify(&Secret::new("sekisho-doctor-asks-about-no-token")).await {
                Err(VerifyError::Unavailable(error)) => Finding::problem(
                    ABOUT,
                    chain(error.as_ref()),
                    "copy authorization.client_id and client_secret anew from the client's page there",
                ),
                Ok(_) | Err(VerifyError::Refused(_) | VerifyError::Invalid) => Finding::ok(
                    ABOUT,
                    format!("{} is there, and answers our client about tokens", other.issuer),
                ),
            }
        }
    }
}

async fn skew(other: &ExternalConfig) -> Option<Finding> {
    let http = client(&other.issuer).ok()?;
    let answer = exchange(http.get(&other.issuer)).await.ok()?;
    clock::compare(ABOUT, &answer.headers)
}
