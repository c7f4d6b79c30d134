//! Turns to another certificate when its files change, as certbot and cert-manager change them: one
//! file after the other, or both at once by a link. Two files that do not belong together are half
//! of a change for a while, and only then a mistake.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use sekisho::clock::{Clock as _, SystemClock};
use tokio::time::{MissedTickBehavior, interval};

use super::certificate::{Certificate, CertificateError, Contents};
use super::{Shown, check};
use crate::config::CertificateFiles;

/// How often the files are read again.
const FILES_READ_EVERY: Duration = Duration::from_secs(1);
/// How many times they must be read and be wrong before anybody hears of it.
const READS_UNTIL_WRONG: u32 = 3;
/// How often it is said again that a certificate ends soon, or has.
const WARNED_EVERY: Duration = Duration::from_hours(24);

/// Follows the files for as long as it is polled.
pub(super) async fn follow(
    files: CertificateFiles,
    contents: Contents,
    certificate: Certificate,
    shown: Arc<Shown>,
    host: Option<ServerName<'static>>,
) {
    let provider = aws_lc_rs::default_provider();
    let understand = |contents: &Contents| contents.understood(&files, &provider);
    let mut watched = Watched::new(contents);
    let mut certificate = certificate;
    let mut turn = interval(FILES_READ_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned = SystemClock.now();
    loop {
        turn.tick().await;
        match watched.look(Contents::read(&files), understand) {
            Seen::Same => {}
            Seen::New(new) => {
                tracing::info!(until = %new.not_after, "the certificate has changed");
                shown.turn_to(&new);
                check(&new, host.as_ref());
                certificate = new;
            }
            Seen::Wrong(problem) => {
                tracing::warn!("the certificate at hand goes on: {problem}");
            }
        }
        let now = SystemClock.now();
        if warned.plus(WARNED_EVERY).is_over(now) {
            warned = now;
            if let Some(warning) = certificate.age_warning(now) {
                tracing::warn!("{warning}");
            }
        }
    }
}

/// What was found in the files so far.
struct Watched {
    /// What the certificate at hand was made of.
    good: Contents,
    wrong: Option<Wrong>,
}

/// What is in the files instead.
struct Wrong {
    problem: String,
    times: u32,
}

/// What a look at the files was worth.
#[derive(Debug)]
enum Seen {
    /// Nothing that was not known or said before.
    Same,
    /// Another certificate.
    New(Certificate),
    /// Something that is none, for a while now.
    Wrong(String),
}

impl Watched {
    fn new(good: Contents) -> Self {
        Self { good, wrong: None }
    }

    fn look(
        &mut self,
        read: Result<Contents, CertificateError>,
        understand: impl FnOnce(&Contents) -> Result<Certificate, CertificateError>,
    ) -> Seen {
        let understood = match read {
            Ok(contents) if contents == self.good => {
                self.wrong = None;
                return Seen::Same;
            }
            Ok(contents) => understand(&contents).map(|certificate| (contents, certificate)),
            Err(problem) => Err(problem),
        };
        match understood {
            Ok((contents, certificate)) => {
                *self = Self::new(contents);
                Seen::New(certificate)
            }
            Err(problem) => self.note(problem.to_string()),
        }
    }

    /// Says what is wrong once, when it has been wrong in the same way for long enough.
    fn note(&mut self, problem: String) -> Seen {
        let wrong = match self.wrong.take() {
            Some(wrong) if wrong.problem == problem => {
                Wrong { times: wrong.times.saturating_add(1), ..wrong }
            }
            Some(_) | None => Wrong { problem, times: 1 },
        };
        let wrong = self.wrong.insert(wrong);
        if wrong.times == READS_UNTIL_WRONG {
            Seen::Wrong(wrong.problem.clone())
        } else {
            Seen::Same
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;
    use std::path::Path;

    use super::*;

    struct Files {
        folder: tempfile::TempDir,
        files: CertificateFiles,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let files = CertificateFiles { cert_file: at("c.pem"), key_file: at("k.pem") };
            Self { folder, files }
        }

        fn write(&self, certificate: &str, key: &str) {
            fs::write(&self.files.cert_file, certificate).unwrap();
            fs::write(&self.files.key_file, key).unwrap();
        }

        fn look(&self, watched: &mut Watched) -> Seen {
            let provider = aws_lc_rs::default_provider();
            let read = Contents::read(&self.files);
            watched.look(read, |contents| contents.understood(&self.files, &provider))
        }

        /// What is said of them in ten looks: a problem, or that there is a new certificate.
        fn said(&self, watched: &mut Watched) -> Vec<String> {
            let looks = (0..10).map(|_| self.look(watched));
            looks
                .filter_map(|seen| match seen {
                    Seen::Same => None,
                    Seen::New(_) => Some("new".to_owned()),
                    Seen::Wrong(problem) => Some(problem),
                })
                .collect()
        }
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn half_of_a_change_is_no_mistake_for_a_while() {
        let (old, new, files) = (made(), made(), Files::new());
        files.write(&old.0, &old.1);
        let mut watched = Watched::new(Contents::read(&files.files).unwrap());
        assert!(files.said(&mut watched).is_empty());

        files.write(&new.0, &old.1);
        assert!(matches!(files.look(&mut watched), Seen::Same), "the key is still to come");
        assert!(matches!(files.look(&mut watched), Seen::Same));
        files.write(&new.0, &new.1);
        assert_eq!(files.said(&mut watched), ["new"]);

        files.write(&old.0, &new.1);
        let said = files.said(&mut watched);
        assert!(
            matches!(said.as_slice(), [once] if once.contains("is not the key of")),
            "{said:?}"
        );
        files.write(&new.0, &new.1);
        assert!(files.said(&mut watched).is_empty(), "it is as it was");
        files.write(&old.0, &new.1);
        assert_eq!(files.said(&mut watched).len(), 1, "the same mistake is said again");
    }

    #[test]
    fn files_that_go_away_are_said_once_and_come_back() {
        let (first, files) = (made(), Files::new());
        files.write(&first.0, &first.1);
        let mut watched = Watched::new(Contents::read(&files.files).unwrap());
        fs::remove_file(&files.files.key_file).unwrap();
        let said = files.said(&mut watched);
        assert!(matches!(said.as_slice(), [once] if once.contains("cannot be read")), "{said:?}");
        let other = made();
        files.write(&other.0, &other.1);
        assert_eq!(files.said(&mut watched), ["new"]);
    }

    /// As Kubernetes mounts a secret: the files are links into a folder, which is a link itself.
    #[cfg(unix)]
    #[test]
    fn a_link_that_turns_changes_both_files_at_once() {
        use std::os::unix::fs::symlink;
        let files = Files::new();
        let at = |name: &str| files.folder.path().join(name);
        let put = |folder: &Path, (certificate, key): (String, String)| {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("c.pem"), certificate).unwrap();
            fs::write(folder.join("k.pem"), key).unwrap();
        };
        put(&at("1"), made());
        put(&at("2"), made());
        symlink("1", at("data")).unwrap();
        symlink("data/c.pem", &files.files.cert_file).unwrap();
        symlink("data/k.pem", &files.files.key_file).unwrap();
        let mut watched = Watched::new(Contents::read(&files.files).unwrap());
        symlink("2", at("next")).unwrap();
        fs::rename(at("next"), at("data")).unwrap();
        assert_eq!(files.said(&mut watched), ["new"]);
    }
}
