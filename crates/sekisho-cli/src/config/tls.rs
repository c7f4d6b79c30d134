//! `[tls]`: whether we end TLS ourselves, and with whose certificate.

use std::path::PathBuf;

use sekisho::protocol::oauth::Issuer;
use url::{Host, Url};

use super::error::ConfigError;
use super::written::Settings;

/// Where the certificate comes from that we show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TlsConfig {
    /// From files that somebody else renews.
    Files(CertificateFiles),
}

/// A chain and the key of its first certificate, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

const CERT_FILE: &str = "tls.cert_file";
const KEY_FILE: &str = "tls.key_file";

/// Whether anything of `[tls]` was written.
pub(super) fn is_wanted(settings: &Settings) -> bool {
    settings.written().any(|key| key.starts_with("tls."))
}

/// What `[tls]` says; none if it says nothing.
///
/// # Errors
/// When half of it is missing, or `public_url` is not what it could be for.
pub(super) fn tls(
    settings: &Settings,
    public_url: &Issuer,
) -> Result<Option<TlsConfig>, ConfigError> {
    let Some(first) = settings.written().find(|key| key.starts_with("tls.")) else {
        return Ok(None);
    };
    if !public_url.is_https() {
        let host = host(public_url).map_or("mcp.example.com".to_owned(), |host| host.to_string());
        let problem = format!(
            "people then come by https: set public_url to the https URL they use, such as \
             \"https://{host}\""
        );
        return Err(settings.refuse(first, problem));
    }
    let files = (named(settings, CERT_FILE)?, named(settings, KEY_FILE)?);
    let (Some(cert_file), Some(key_file)) = files else {
        let (there, missing) = if settings.was_written(CERT_FILE) {
            (CERT_FILE, KEY_FILE)
        } else {
            (KEY_FILE, CERT_FILE)
        };
        let problem = format!("a certificate and its key belong together: set {missing} too");
        return Err(settings.refuse(there, problem));
    };
    Ok(Some(TlsConfig::Files(CertificateFiles { cert_file, key_file })))
}

/// The host that a certificate must be for.
pub(super) fn host(public_url: &Issuer) -> Option<Host<String>> {
    Url::parse(public_url.as_str()).ok()?.host().map(|host| host.to_owned())
}

fn named(settings: &Settings, key: &str) -> Result<Option<PathBuf>, ConfigError> {
    if !settings.was_written(key) {
        return Ok(None);
    }
    if settings.text(key).is_empty() {
        return Err(settings.refuse(key, "it names no file: write a path"));
    }
    Ok(Some(settings.path(key)))
}
