//! TLS that ends here, without a proxy in front: whose certificate is shown, and which protocols are
//! spoken behind it. How long a handshake may take stands where connections are let in
//! (`entrance.rs`).

mod acme;
mod acme_folder;
mod certificate;
mod follow;

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sekisho::clock::{Clock, SystemClock};
use sekisho::protocol::oauth::Issuer;
use tokio_rustls::TlsAcceptor;
use url::Url;

pub(crate) use acme::CHALLENGE;
pub(crate) use certificate::CertificateError;
use certificate::{Certificate, Contents};
use follow::follow;

use crate::config::{CertificateFiles, TlsConfig};
use crate::outcome::Failure;

/// What is spoken behind it, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Reads the certificate, and turns to the next one whenever its files change; or asks for one.
///
/// # Errors
/// When the files hold none to begin with, or nothing could be kept.
pub(crate) fn begin(config: &TlsConfig, public_url: &Issuer) -> Result<TlsAcceptor, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    match config {
        TlsConfig::Files(files) => {
            let shown = begin_to_follow(files, public_url, &provider)?;
            acceptor(provider, shown, &PROTOCOLS)
        }
        TlsConfig::Acme(settings) => {
            let acquired = acme::begin(settings, &settings.host, &provider)?;
            acceptor(provider, acquired, &[PROTOCOLS.as_slice(), &[CHALLENGE]].concat())
        }
    }
}

fn begin_to_follow(
    files: &CertificateFiles,
    public_url: &Issuer,
    provider: &CryptoProvider,
) -> Result<Arc<Shown>, Failure> {
    let contents = Contents::read(files)?;
    let certificate = contents.understood(files, provider)?;
    let host = server_name(public_url);
    check(&certificate, host.as_ref());
    let shown = Arc::new(Shown(RwLock::new(Arc::clone(&certificate.key))));
    let following = follow(files.clone(), contents, certificate, Arc::clone(&shown), host);
    tokio::spawn(following);
    Ok(shown)
}

fn acceptor(
    provider: Arc<CryptoProvider>,
    shown: Arc<dyn ResolvesServerCert>,
    protocols: &[&[u8]],
) -> Result<TlsAcceptor, Failure> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::because(&error))?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificate that is shown now, to whoever asks by whatever name: which names we answer to is
/// decided by the front, for each request.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn turn_to(&self, certificate: &Certificate) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&certificate.key);
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The name that clients will want to see in it.
fn server_name(public_url: &Issuer) -> Option<ServerName<'static>> {
    let url = Url::parse(public_url.as_str()).ok()?;
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).ok()
}

/// Warns of what clients would refuse. We show it all the same: our clock may be the wrong one.
fn check(certificate: &Certificate, host: Option<&ServerName<'_>>) {
    if let Some(host) = host
        && !certificate.is_for(host)
    {
        let host = host.to_str();
        tracing::warn!(
            "the certificate is not for {host}, the host of public_url: clients will refuse it"
        );
    }
    if let Some(warning) = certificate.age_warning(SystemClock.now()) {
        tracing::warn!("{warning}");
    }
}
