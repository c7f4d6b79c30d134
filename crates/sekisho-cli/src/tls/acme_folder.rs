//! Where what ACME gave is kept: a file for each account and each certificate, that only we can read.
//! Instances may share it: a file is there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rustls_acme::{AccountCache, CertCache};

use super::acme::Acquired;
use super::certificate::{Certificate, CertificateError};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Something could not be read or written there.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} in tls.acme.folder: {source}")]
pub(super) struct FolderError {
    path: PathBuf,
    source: io::Error,
}

/// The folder, and who is told of each certificate that goes through it.
#[derive(Debug, Clone)]
pub(super) struct AcmeFolder {
    path: PathBuf,
    acquired: Arc<Acquired>,
}

impl AcmeFolder {
    /// Makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or others can look into it.
    pub(super) fn open(path: &Path, acquired: Arc<Acquired>) -> Result<Self, CertificateError> {
        let unusable = |source| CertificateError::Folder { path: path.to_owned(), source };
        make(path).map_err(unusable)?;
        refuse_if_shared(path, &fs::metadata(path).map_err(unusable)?)?;
        Ok(Self { path: path.to_owned(), acquired })
    }

    /// Named by whom it is of, and by the authority, whose test server has another.
    fn certificate(&self, domains: &[String], directory: &str) -> PathBuf {
        self.path.join(format!(
            "certificate-{}-{}.pem",
            plain(&domains.join(" ")),
            plain(directory)
        ))
    }

    fn account(&self, directory: &str) -> PathBuf {
        self.path.join(format!("account-{}.der", plain(directory)))
    }
}

#[async_trait]
impl CertCache for AcmeFolder {
    type EC = FolderError;

    async fn load_cert(
        &self,
        domains: &[String],
        directory: &str,
    ) -> Result<Option<Vec<u8>>, FolderError> {
        let bytes = read(self.certificate(domains, directory))?;
        // What cannot be understood is as good as none: another is asked for.
        let Some(bytes) = bytes else { return Ok(None) };
        let Some(certificate) = Certificate::of_one_text(&bytes) else { return Ok(None) };
        self.acquired.turn_to(certificate);
        Ok(Some(bytes))
    }

    async fn store_cert(
        &self,
        domains: &[String],
        directory: &str,
        bytes: &[u8],
    ) -> Result<(), FolderError> {
        if let Some(certificate) = Certificate::of_one_text(bytes) {
            self.acquired.turn_to(certificate);
        }
        write(self.certificate(domains, directory), bytes)
    }
}

#[async_trait]
impl AccountCache for AcmeFolder {
    type EA = FolderError;

    async fn load_account(
        &self,
        _: &[String],
        directory: &str,
    ) -> Result<Option<Vec<u8>>, FolderError> {
        read(self.account(directory))
    }

    async fn store_account(
        &self,
        _: &[String],
        directory: &str,
        key: &[u8],
    ) -> Result<(), FolderError> {
        write(self.account(directory), key)
    }
}

/// As it may stand in the name of a file.
fn plain(text: &str) -> String {
    let keep = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    let text = text.trim_start_matches("https://");
    text.chars().map(|letter| if keep(letter) { letter } else { '-' }).collect()
}

fn read(path: PathBuf) -> Result<Option<Vec<u8>>, FolderError> {
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FolderError { path, source }),
    }
}

/// Aside first, and then in its place.
fn write(path: PathBuf, bytes: &[u8]) -> Result<(), FolderError> {
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    write_private(&aside, bytes)
        .and_then(|()| fs::rename(&aside, &path))
        .map_err(|source| FolderError { path, source })
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn refuse_if_shared(path: &Path, metadata: &fs::Metadata) -> Result<(), CertificateError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o7777;
    let for_others = mode & 0o077;
    if for_others == 0 {
        Ok(())
    } else {
        Err(CertificateError::SharedFolder { path: path.to_owned(), mode })
    }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "only Unix tells who may read a folder")]
fn refuse_if_shared(_: &Path, _: &fs::Metadata) -> Result<(), CertificateError> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const AUTHORITY: &str = "https://acme.example/directory";

    fn kept(folder: &Path) -> (AcmeFolder, Arc<Acquired>) {
        let acquired = Arc::new(Acquired::default());
        (AcmeFolder::open(folder, Arc::clone(&acquired)).unwrap(), acquired)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn what_is_kept_is_read_back_and_is_ours_alone() {
        let outer = tempfile::tempdir().unwrap();
        let place = outer.path().join("a/b");
        let (folder, _) = kept(&place);
        assert_eq!(mode(&place), 0o700);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let pem = [made.signing_key.serialize_pem(), made.cert.pem()].concat().into_bytes();
        let domains = ["localhost".to_owned()];
        folder.store_cert(&domains, AUTHORITY, &pem).await.unwrap();
        folder.store_account(&[], AUTHORITY, b"key").await.unwrap();
        for file in fs::read_dir(&place).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
        assert_eq!(fs::read_dir(&place).unwrap().count(), 2, "nothing is left aside");

        let (again, acquired) = kept(&place);
        assert_eq!(again.load_cert(&domains, AUTHORITY).await.unwrap(), Some(pem));
        assert!(format!("{acquired:?}").contains("not_after"), "it is shown from then on");
        assert_eq!(again.load_account(&[], AUTHORITY).await.unwrap(), Some(b"key".to_vec()));
        let staging = "https://staging.example/directory";
        assert_eq!(again.load_cert(&domains, staging).await.unwrap(), None, "another authority");
        let others = ["other.example".to_owned()];
        assert_eq!(again.load_cert(&others, AUTHORITY).await.unwrap(), None, "another name");
    }

    #[tokio::test]
    async fn what_is_broken_in_it_is_asked_for_anew() {
        let outer = tempfile::tempdir().unwrap();
        let (folder, _) = kept(&outer.path().join("acme"));
        let domains = ["localhost".to_owned()];
        folder.store_cert(&domains, AUTHORITY, b"half a certifica").await.unwrap();
        assert_eq!(folder.load_cert(&domains, AUTHORITY).await.unwrap(), None);
    }

    #[test]
    fn a_folder_that_others_can_look_into_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let refused = AcmeFolder::open(outer.path(), Arc::default()).unwrap_err().to_string();
        assert!(refused.contains("mode 0750") && refused.contains("chmod 700"), "{refused}");
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(outer.path().join("file"), "").unwrap();
        let refused = AcmeFolder::open(&outer.path().join("file/x"), Arc::default());
        assert!(refused.unwrap_err().to_string().contains("cannot be used"));
    }
}
