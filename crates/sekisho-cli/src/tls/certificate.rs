//! A certificate to show and its key, from two files (PEM): all of it, or a sentence that says which
//! file is wrong and what to do. Never says what a key is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use sekisho::clock::Timestamp;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::config::CertificateFiles;

/// Largest file that is looked at, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// A certificate ends soon in this part of its life, the last sixth. What renews it does so after two
/// thirds.
const LAST_PART: u32 = 6;
/// Nor longer before its end than this.
const SOON_MAX: Duration = Duration::from_hours(14 * 24);

/// Why there is no certificate to show, worded with its remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("{setting} {path:?} cannot be read ({source}): name a file we may read")]
    Unreadable { setting: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{setting} {path:?} is larger than {FILE_BYTES_MAX} bytes: name a file with nothing else"
    )]
    Large { setting: &'static str, path: PathBuf },
    #[error(
        "tls.cert_file {path:?} holds no certificate: it must be PEM, our certificate first and then \
         those of its issuers, such as the fullchain.pem of certbot"
    )]
    NoCertificate { path: PathBuf },
    #[error(
        "tls.key_file {path:?} holds no private key: it must be PEM, without a password, such as the \
         privkey.pem of certbot"
    )]
    NoKey { path: PathBuf },
    #[error(
        "tls.key_file {path:?} is locked with a password, which nobody could type at a start: write \
         it without one, for example with openssl pkey -in {path:?}"
    )]
    Locked { path: PathBuf },
    #[error(
        "tls.key_file {key:?} is not the key of the first certificate in tls.cert_file {certificate:?}: \
         name two files that belong together"
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("tls.cert_file {certificate:?} and tls.key_file {key:?} cannot be used: {reason}")]
    Unusable { certificate: PathBuf, key: PathBuf, reason: String },
    #[error(
        "tls.acme.ca_file {path:?} holds no certificate of an authority: it must be PEM, one or more"
    )]
    NoAuthority { path: PathBuf },
    #[error("tls.acme.folder {path:?} cannot be used ({source}): name one that we may write to")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "tls.acme.folder {path:?} can be looked into by others (mode {mode:04o}): run chmod 700 \
         {path:?}"
    )]
    SharedFolder { path: PathBuf, mode: u32 },
}

/// What stands in both files, understood or not.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// A certificate and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Contents {
    /// What stands in the files now.
    ///
    /// # Errors
    /// When one of them cannot be read, or is far too large.
    pub(super) fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        Ok(Self {
            certificate: read("tls.cert_file", &files.cert_file)?.to_vec(),
            key: read("tls.key_file", &files.key_file)?,
        })
    }

    /// The certificate in it.
    ///
    /// # Errors
    /// When the files do not hold a certificate and its key.
    pub(super) fn understood(
        &self,
        files: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Result<Certificate, CertificateError> {
        let no_certificate = || CertificateError::NoCertificate { path: files.cert_file.clone() };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| no_certificate())?;
        let first = chain.first().ok_or_else(no_certificate)?;
        let (not_before, not_after) = validity(first).ok_or_else(no_certificate)?;
        let key = self.private_key(&files.key_file)?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let (certificate, key) = (files.cert_file.clone(), files.key_file.clone());
            if error == Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
                CertificateError::Mismatch { certificate, key }
            } else {
                CertificateError::Unusable { certificate, key, reason: error.to_string() }
            }
        })?;
        Ok(Certificate { key: Arc::new(key), not_before, not_after })
    }

    fn private_key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
        match PrivateKeyDer::from_pem_slice(&self.key) {
            Ok(key) => Ok(key),
            Err(_) if is_locked(&self.key) => {
                Err(CertificateError::Locked { path: path.to_owned() })
            }
            Err(_) => Err(CertificateError::NoKey { path: path.to_owned() }),
        }
    }
}

impl Certificate {
    /// A key and its chain in one text, which is what rustls-acme keeps.
    pub(super) fn of_one_text(pem: &[u8]) -> Option<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let chain = chain.ok()?;
        let (not_before, not_after) = validity(chain.first()?)?;
        let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).ok()?;
        Some(Self { key: Arc::new(key), not_before, not_after })
    }

    /// Whether it is for this name.
    pub(super) fn is_for(&self, name: &ServerName<'_>) -> bool {
        let first = self.key.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
        first.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
    }

    /// What to say of its time, if anything: that it is over, not begun, or over soon.
    pub(super) fn age_warning(&self, now: Timestamp) -> Option<String> {
        let (from, until) = (self.not_before, self.not_after);
        let soon = (until.left(from) / LAST_PART).min(SOON_MAX);
        if until.is_over(now) {
            Some(format!(
                "the certificate ended on {until}, and clients refuse it: have it renewed, or set \
                 the clock; a new one is taken as soon as it is in its file"
            ))
        } else if !from.is_over(now) {
            Some(format!(
                "the certificate begins on {from} only, and clients refuse it: set the clock"
            ))
        } else if until.left(now) <= soon {
            Some(format!(
                "the certificate ends on {until}: see why it was not renewed yet; a new one is \
                 taken as soon as it is in its file"
            ))
        } else {
            None
        }
    }
}

/// From when and until when it is valid.
fn validity(der: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_unix_seconds(time.timestamp());
    Some((at(validity.not_before), at(validity.not_after)))
}

/// PKCS #8 with a password, which says so in its first line, or the older way, in its second.
fn is_locked(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// A small file, whole.
pub(super) fn read(
    setting: &'static str,
    path: &Path,
) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| {
        // With room from the start: what a vector leaves behind when it grows is not wiped.
        bytes.reserve(usize::try_from(file.metadata()?.len().min(FILE_BYTES_MAX)).unwrap_or(0) + 1);
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    });
    match read {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read <= FILE_BYTES_MAX) => Ok(bytes),
        Ok(_) => Err(CertificateError::Large { setting, path: path.to_owned() }),
        Err(source) => Err(CertificateError::Unreadable { setting, path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use rcgen::{CertificateParams, CertifiedKey as Made, KeyPair, date_time_ymd};

    use super::*;

    fn made(name: &str) -> Made<KeyPair> {
        rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap()
    }

    fn understood(certificate: &str, key: &str) -> Result<Certificate, CertificateError> {
        let contents = Contents {
            certificate: certificate.as_bytes().to_vec(),
            key: Zeroizing::new(key.as_bytes().to_vec()),
        };
        let files = CertificateFiles { cert_file: "c.pem".into(), key_file: "k.pem".into() };
        contents.understood(&files, &aws_lc_rs::default_provider())
    }

    #[test]
    fn two_files_are_a_certificate_and_its_key_or_a_sentence() {
        let one = made("localhost");
        let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let (other, others_key) =
            (made("a.example"), made("localhost").signing_key.serialize_pem());
        let chain = format!("{certificate}{}", other.cert.pem());
        let both = format!("{certificate}{key}");
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let locked_before = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\naGVsbG8=\n\
            -----END RSA PRIVATE KEY-----\n";
        let junk = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let half = certificate.split_at(certificate.len() / 2).0;
        let rows = [
            (certificate.as_str(), key.as_str(), None, "a certificate and its key"),
            (&chain, &key, None, "with what else is in the chain"),
            (&both, &both, None, "both in one file"),
            (&certificate, &others_key, Some("is not the key of"), "the key of another"),
            (&other.cert.pem(), &key, Some("is not the key of"), "another's certificate"),
            ("", &key, Some("cert_file \"c.pem\" holds no certificate"), "nothing"),
            ("certificate", &key, Some("holds no certificate"), "words"),
            (&key, &key, Some("holds no certificate"), "two keys"),
            (junk, &key, Some("holds no certificate"), "something else in its place"),
            (half, &key, Some("holds no certificate"), "half of it"),
            (&certificate, "", Some("key_file \"k.pem\" holds no private key"), "no key"),
            (&certificate, &certificate, Some("holds no private key"), "two certificates"),
            (&certificate, &locked, Some("is locked with a password"), "a locked key"),
            (&certificate, locked_before, Some("is locked with a password"), "locked the old way"),
        ];
        for (certificate, key, expected, reason) in rows {
            match (understood(certificate, key), expected) {
                (Ok(_), None) => {}
                (Err(error), Some(expected)) => {
                    let error = error.to_string();
                    assert!(error.contains(expected), "{reason}: {error}");
                    assert!(!error.contains("MI"), "{reason}: shows what is in the file");
                }
                (understood, _) => unreachable!("{reason}: {understood:?}"),
            }
        }
    }

    #[test]
    fn a_certificate_is_for_the_names_in_it() {
        let one = made("*.example.com");
        let one = understood(&one.cert.pem(), &one.signing_key.serialize_pem()).unwrap();
        for (name, expected) in [
            ("mcp.example.com", true),
            ("example.com", false),
            ("mcp.example.org", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(one.is_for(&ServerName::try_from(name).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn a_certificate_is_warned_of_in_the_last_part_of_its_life() {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 4, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let certificate = understood(&certificate.pem(), &key.serialize_pem()).unwrap();
        let day = |day: u64| certificate.not_before.plus(Duration::from_hours(24 * day));
        let rows = [
            (0, None, "its first moment"),
            (70, None, "what renews it may be trying still"),
            (75, None, "fifteen days left"),
            (77, Some("ends on 2026-04-01T00:00:00Z"), "thirteen days left"),
            (90, Some("ended on"), "its end"),
            (900, Some("ended on"), "long ago"),
        ];
        for (at, expected, reason) in rows {
            let said = certificate.age_warning(day(at)).unwrap_or_default();
            assert_eq!(said.is_empty(), expected.is_none(), "{reason}: {said}");
            assert!(said.contains(expected.unwrap_or_default()), "{reason}: {said}");
        }
        let before = certificate.not_before.minus(Duration::from_secs(1));
        assert!(certificate.age_warning(before).unwrap().contains("begins on"));
        let short = Certificate {
            not_after: certificate.not_before.plus(Duration::from_hours(6 * 24)),
            ..certificate.clone()
        };
        assert_eq!(short.age_warning(day(4)), None, "one of six days is not always ending");
        assert!(short.age_warning(day(5)).is_some());
    }
}
