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
    /// From an authority, which we ask.
    Acme(AcmeSettings),
}

/// Whom to ask for a certificate, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcmeSettings {
    /// Where the authority says how it is asked.
    pub(crate) directory: String,
    /// That of `public_url`.
    pub(crate) host: String,
    /// E-mail addresses.
    pub(crate) contact: Vec<String>,
    /// Where what it gave is kept.
    pub(crate) folder: PathBuf,
    /// Whom to trust at the directory's own address, instead of those whom browsers do.
    pub(crate) ca_file: Option<PathBuf>,
}

/// A chain and the key of its first certificate, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

const CERT_FILE: &str = "tls.cert_file";
const KEY_FILE: &str = "tls.key_file";
const ACME: &str = "tls.acme.";
const DIRECTORY: &str = "tls.acme.directory";
const CONTACT: &str = "tls.acme.contact";
const FOLDER: &str = "tls.acme.folder";
const CA_FILE: &str = "tls.acme.ca_file";

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
    if settings.was_written(DIRECTORY) {
        return acme(settings, public_url).map(|acme| Some(TlsConfig::Acme(acme)));
    }
    if first.starts_with(ACME) {
        let problem = format!("nobody is asked for a certificate: set {DIRECTORY}");
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

fn acme(settings: &Settings, public_url: &Issuer) -> Result<AcmeSettings, ConfigError> {
    if let Some(key) = [CERT_FILE, KEY_FILE].into_iter().find(|key| settings.was_written(key)) {
        let problem = format!("there would be two certificates: take it or {DIRECTORY} out");
        return Err(settings.refuse(key, problem));
    }
    let directory = settings.text(DIRECTORY);
    if !Url::parse(directory).is_ok_and(|url| url.scheme() == "https") {
        let problem = "it is no https URL: write the directory of an authority, such as \
                       \"https://acme-v02.api.letsencrypt.org/directory\"";
        return Err(settings.refuse(DIRECTORY, problem));
    }
    let Some(Host::Domain(host)) = host(public_url) else {
        let problem = "a certificate is for a name, and public_url has an address: give it one";
        return Err(settings.refuse(DIRECTORY, problem));
    };
    let contact = settings.list(CONTACT);
    let is_address = |text: &String| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b",?:".contains(&byte));
        is_plain && text.split_once('@').is_some_and(|(who, at)| !who.is_empty() && !at.is_empty())
    };
    if !contact.iter().all(is_address) {
        let problem = "one of them is no e-mail address: write for example [\"ops@example.com\"]";
        return Err(settings.refuse(CONTACT, problem));
    }
    if settings.text(FOLDER).is_empty() {
        return Err(settings.refuse(FOLDER, "it names no folder: write a path"));
    }
    Ok(AcmeSettings {
        directory: directory.to_owned(),
        host,
        contact: contact.to_vec(),
        folder: settings.path(FOLDER),
        ca_file: named(settings, CA_FILE)?,
    })
}

/// The host that a certificate must be for.
fn host(public_url: &Issuer) -> Option<Host<String>> {
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
