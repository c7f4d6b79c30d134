//! A certificate that we ask for and renew ourselves (RFC 8555), proving the name in a handshake
//! (TLS-ALPN-01, RFC 8737), so that no other port is needed.
//!
//! rustls-acme speaks to the authority. What it has no limit for has one here: an attempt that takes too
//! long, or fails, is given up, and another begins later and later. The certificate at hand goes on.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::{AcmeConfig, AcmeState, EventOk, ResolvesServerCertAcme, is_tls_alpn_challenge};
use sekisho::clock::{Clock as _, SystemClock};
use tokio::time::{sleep, timeout};

use super::acme_folder::{AcmeFolder, FolderError};
use super::certificate::{Certificate, CertificateError};
use crate::config::AcmeSettings;
use crate::outcome::Failure;
use crate::telemetry::chain;

/// How a client of an authority says that it looks for a proof, and not for us.
pub(crate) const CHALLENGE: &[u8] = b"acme-tls/1";

/// Longest that one order may take, in which the authority comes here to look.
const ORDER_WAIT: Duration = Duration::from_mins(10);
/// How long after the first failure the next attempt begins; twice as long after each, since
/// authorities count failures.
const PAUSE_MIN: Duration = Duration::from_mins(2);
/// Nor longer than this.
const PAUSE_MAX: Duration = Duration::from_hours(1);
/// A certificate is renewed when less than this part of its life is left, as rustls-acme does.
const RENEWED_IN_LAST: u32 = 3;
/// What is told of an error that an authority worded.
const TOLD_BYTES_MAX: usize = 500;

/// What is shown: to those who come to us, the certificate at hand; to an authority, its proof.
#[derive(Debug, Default)]
pub(super) struct Acquired {
    at_hand: RwLock<Option<Certificate>>,
    proof: RwLock<Option<Arc<ResolvesServerCertAcme>>>,
}

impl Acquired {
    /// Shows it from now on.
    pub(super) fn turn_to(&self, certificate: Certificate) {
        tracing::info!(until = %certificate.not_after, "the certificate is at hand");
        *self.at_hand.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    /// How long the certificate at hand is good enough.
    fn time_until_renewal(&self) -> Duration {
        let at_hand = self.at_hand.read().unwrap_or_else(PoisonError::into_inner);
        at_hand.as_ref().map_or(Duration::ZERO, |certificate| {
            let (from, until) = (certificate.not_before, certificate.not_after);
            until.minus(until.left(from) / RENEWED_IN_LAST).left(SystemClock.now())
        })
    }
}

impl ResolvesServerCert for Acquired {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_tls_alpn_challenge(&hello) {
            let proof = self.proof.read().unwrap_or_else(PoisonError::into_inner).clone();
            return proof?.resolve(hello);
        }
        let at_hand = self.at_hand.read().unwrap_or_else(PoisonError::into_inner);
        at_hand.as_ref().map(|certificate| Arc::clone(&certificate.key))
    }
}

/// Begins to ask for a certificate for `host`, or takes the one that is kept.
///
/// # Errors
/// When what it is kept in, or whom to trust, is unusable.
pub(super) fn begin(
    settings: &AcmeSettings,
    host: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<Acquired>, Failure> {
    let acquired = Arc::new(Acquired::default());
    let folder = AcmeFolder::open(&settings.folder, Arc::clone(&acquired))?;
    let trusting = settings.ca_file.as_deref().map(|path| trust(path, provider)).transpose()?;
    let attempt = {
        let (settings, host) = (settings.clone(), host.to_owned());
        move || {
            let mut config = AcmeConfig::new([&host])
                .directory(&settings.directory)
                .contact(settings.contact.iter().map(|address| format!("mailto:{address}")));
            if let Some(client) = &trusting {
                config = config.client_tls_config(Arc::clone(client));
            }
            config.cache(folder.clone()).state()
        }
    };
    tokio::spawn(acquire(attempt, Arc::clone(&acquired), settings.directory.clone()));
    Ok(acquired)
}

/// Whom to trust at the authority's own address.
fn trust(
    path: &std::path::Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, Failure> {
    let bytes = super::certificate::read("tls.acme.ca_file", path)?;
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(&bytes) {
        let added = found.ok().and_then(|found| roots.add(found).ok());
        added.ok_or_else(|| CertificateError::NoAuthority { path: path.to_owned() })?;
    }
    if roots.is_empty() {
        return Err(CertificateError::NoAuthority { path: path.to_owned() }.into());
    }
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::because(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

type State = AcmeState<FolderError, FolderError>;

/// One attempt after the other, for as long as it is polled.
async fn acquire(attempt: impl Fn() -> State, acquired: Arc<Acquired>, directory: String) {
    let mut pause = PAUSE_MIN;
    loop {
        let mut state = attempt();
        *acquired.proof.write().unwrap_or_else(PoisonError::into_inner) = Some(state.resolver());
        let problem = follow(&mut state, &acquired, &mut pause).await;
        let told = problem.get(..problem.floor_char_boundary(TOLD_BYTES_MAX)).unwrap_or_default();
        tracing::warn!(
            "no certificate could be had from {directory}, which is asked again in {} min: {told}; \
             it must reach us by the host of public_url at port 443, whose TLS nothing else may end",
            pause.as_secs() / 60
        );
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Until something goes wrong, or takes too long.
async fn follow(state: &mut State, acquired: &Acquired, pause: &mut Duration) -> String {
    loop {
        let patience = acquired.time_until_renewal() + ORDER_WAIT;
        match timeout(patience, state.next()).await {
            Ok(Some(Ok(EventOk::DeployedNewCert | EventOk::CertCacheStore))) => *pause = PAUSE_MIN,
            Ok(Some(Ok(EventOk::DeployedCachedCert | EventOk::AccountCacheStore))) => {}
            Ok(Some(Err(error))) => return chain(&error),
            Ok(None) => return "it ended".to_owned(),
            Err(_) => return "it takes too long".to_owned(),
        }
    }
}
