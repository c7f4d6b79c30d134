//! The operator's keys: each 32 random bytes as a line of text, in a file that only its owner can
//! read. The first line seals, all lines open. Made with one key where there is none, but never
//! beside a store that was sealed with another.
//!
//! A running server reads the file again every second ([`follow`]), so that `sekisho key rotate`
//! (`key_rotate.rs`) needs no restart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sekisho::seal::{KeyRing, Sealer, random_key};
use sekisho::store::{KeyClaim, Store};
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use crate::config::{KeyFile, StoreLocation};
use crate::outcome::Failure;
use crate::telemetry::chain;

/// The most keys in a file: the one that seals, and those whose time it outlived.
pub(crate) const KEYS_MAX: usize = 32;

/// Largest file that is looked at, in bytes: that many keys in any spelling, with room for blank
/// lines.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// How often a running server reads the file again.
pub(crate) const KEY_FILE_READ_EVERY: Duration = Duration::from_secs(1);

/// Fewer different bytes than this in 32 are no accident.
const DIFFERENT_BYTES_MIN: usize = 12;

/// Why there is no key to work with, worded with its remedy. Never says what the file holds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(
        "key_file {path:?} is missing, but {store:?} was sealed with it: put the key back, or \
         remove the store to begin anew"
    )]
    Lost { path: PathBuf, store: PathBuf },
    #[error(
        "key_file {path:?} does not hold the key that {store} was sealed with: put that key back, \
         or remove the store to begin anew"
    )]
    Foreign { path: PathBuf, store: String },
    #[error(
        "key_file {path:?} is missing: with a store that several instances share it is never made \
         by one of them; write 32 random bytes there, for example with openssl rand -hex 32, and \
         give every instance the same"
    )]
    Unshared { path: PathBuf },
    #[error("key_file {path:?} cannot be made ({source}): name a file in a folder we may write to")]
    Unmakeable { path: PathBuf, source: io::Error },
    #[error("key_file {path:?} cannot be read ({source}): name a file we may read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("key_file {path:?} can be read by others (mode {mode:04o}): run chmod 600 {path:?}")]
    Shared { path: PathBuf, mode: u32 },
    #[error(
        "key_file {path:?} holds more than {KEYS_MAX} keys: remove the last lines, which are the \
         oldest and open nothing that is still in use"
    )]
    Many { path: PathBuf },
    #[error(
        "key_file {path:?} holds {KEYS_MAX} keys, which is as many as it may: remove the last line, \
         which is the oldest and opens nothing that is still in use"
    )]
    Full { path: PathBuf },
    #[error(
        "key_file {path:?} is not a key: write 32 random bytes as 64 hex digits or base64, for \
         example from openssl rand -hex 32"
    )]
    Malformed { path: PathBuf },
    #[error(
        "key_file {path:?} holds a key that anybody can guess: make one with openssl rand -hex 32"
    )]
    Guessable { path: PathBuf },
}

/// The sealer for what `store` remembers.
///
/// # Errors
/// One [`KeyError`] for each way to be without a good key.
pub(crate) fn sealer(key_file: &KeyFile, store: &StoreLocation) -> Result<Sealer, KeyError> {
    let path = match key_file {
        KeyFile::Ephemeral => return Ok(Sealer::ephemeral()),
        KeyFile::At(path) => path,
    };
    let keys = match File::open(path) {
        Ok(file) => read(path, file),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            refuse_if_sealed(path, store)?;
            make(path).map_err(|source| KeyError::Unmakeable { path: path.clone(), source })?;
            // Read back what is there: another process may have been faster.
            read_again(path)
        }
        Err(source) => Err(KeyError::Unreadable { path: path.clone(), source }),
    }?;
    Ok(Sealer::with_ring(keys.ring()))
}

/// Makes sure that `store` was sealed with these keys, and notes the one that seals from now on.
///
/// # Errors
/// When it was sealed with another, or cannot be asked.
pub(crate) async fn claim(
    sealer: &Sealer,
    key_file: &KeyFile,
    store: &dyn Store,
    location: &StoreLocation,
) -> Result<(), Failure> {
    let claim = store.claim_keys(&sealer.key_ids()).await;
    match (claim.map_err(|error| Failure::because(&error))?, key_file) {
        (KeyClaim::Foreign, KeyFile::At(path)) => {
            Err(KeyError::Foreign { path: path.clone(), store: shown(location) }.into())
        }
        (KeyClaim::Ours, _) | (KeyClaim::Foreign, KeyFile::Ephemeral) => Ok(()),
    }
}

/// Whether these keys still open what is in the store; of one that cannot be asked, nothing is said. A
/// process that missed a new key would turn people away whom another one let in.
pub(crate) async fn opens(sealer: &Sealer, store: &dyn Store) -> bool {
    !matches!(store.claim_keys(&sealer.key_ids()).await, Ok(KeyClaim::Foreign))
}

fn shown(store: &StoreLocation) -> String {
    match store {
        StoreLocation::Sqlite(path) => format!("\"{}\"", path.display()),
        StoreLocation::Memory => "the store".to_owned(),
        // Not its URL, which may hold a password.
        StoreLocation::Postgres(_) => "the database".to_owned(),
    }
}

/// Turns to the keys in the file whenever they change, for as long as it is polled. A file that is
/// wrong changes nothing: it is said once, and the keys at hand go on.
pub(crate) async fn follow(path: PathBuf, sealer: Sealer, store: Arc<dyn Store>) {
    let mut turn = interval(KEY_FILE_READ_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = None;
    loop {
        turn.tick().await;
        let outcome = match read_again(&path) {
            Ok(keys) => turn_to(&keys, &sealer, store.as_ref()).await,
            Err(problem) => Err(problem.to_string()),
        };
        let problem = outcome.err();
        if problem != said {
            if let Some(problem) = &problem {
                tracing::warn!("the keys at hand go on: {problem}");
            }
            said = problem;
        }
    }
}

async fn turn_to(keys: &Keys, sealer: &Sealer, store: &dyn Store) -> Result<(), String> {
    let ring = keys.ring();
    if ring.ids() == sealer.key_ids() {
        return Ok(());
    }
    // Noted first, so that nothing is sealed with a key that nobody knows of.
    match store.claim_keys(&ring.ids()).await.map_err(|error| chain(&error))? {
        KeyClaim::Ours => {
            tracing::info!(keys = ring.ids().len(), "the keys in key_file have changed");
            sealer.turn_to(ring);
            Ok(())
        }
        KeyClaim::Foreign => Err("key_file does not hold the key that the store was sealed with \
                                  any more: put that key back"
            .to_owned()),
    }
}

/// The keys of a file, newest first.
pub(crate) struct Keys {
    pub(crate) newest: Zeroizing<[u8; 32]>,
    pub(crate) older: Vec<Zeroizing<[u8; 32]>>,
}

impl Keys {
    pub(crate) fn ring(&self) -> KeyRing {
        KeyRing::new(&self.newest, &self.older)
    }
}

/// The keys of a file that must be there.
///
/// # Errors
/// One [`KeyError`] for each way to be without good keys.
pub(crate) fn read_again(path: &Path) -> Result<Keys, KeyError> {
    let file = File::open(path)
        .map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })?;
    read(path, file)
}

/// A new key would leave everything sealed so far unreadable without a word.
pub(crate) fn refuse_if_sealed(path: &Path, store: &StoreLocation) -> Result<(), KeyError> {
    match store {
        StoreLocation::Sqlite(store) if fs::metadata(store).is_ok_and(|file| file.len() > 0) => {
            Err(KeyError::Lost { path: path.to_owned(), store: store.clone() })
        }
        StoreLocation::Sqlite(_) | StoreLocation::Memory => Ok(()),
        StoreLocation::Postgres(_) => Err(KeyError::Unshared { path: path.to_owned() }),
    }
}

fn read(path: &Path, file: File) -> Result<Keys, KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
    refuse_if_shared(path, &file.metadata().map_err(unreadable)?)?;
    let mut text = Zeroizing::new(String::new());
    match file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(KeyError::Malformed { path: path.to_owned() });
        }
        Err(source) => return Err(unreadable(source)),
    }
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let key = decode(line).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })?;
        if is_guessable(&key) {
            return Err(KeyError::Guessable { path: path.to_owned() });
        }
        keys.push(key);
    }
    if keys.len() > KEYS_MAX {
        return Err(KeyError::Many { path: path.to_owned() });
    }
    let mut keys = keys.into_iter();
    let newest = keys.next().ok_or_else(|| KeyError::Malformed { path: path.to_owned() })?;
    Ok(Keys { newest, older: keys.collect() })
}

fn is_guessable(key: &[u8; 32]) -> bool {
    let mut different = Zeroizing::new(*key);
    different.sort_unstable();
    let (mut count, mut last) = (0, None);
    for byte in *different {
        count += usize::from(last != Some(byte));
        last = Some(byte);
    }
    count < DIFFERENT_BYTES_MIN
}

#[cfg(unix)]
fn refuse_if_shared(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o7777;
    let for_others = mode & 0o077;
    if for_others == 0 { Ok(()) } else { Err(KeyError::Shared { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "only Unix tells who may read a file")]
fn refuse_if_shared(_: &Path, _: &fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

/// 64 hex digits, or base64 in either alphabet, with or without padding.
fn decode(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(if text.len() == 64 { from_hex(text)? } else { from_base64(text)? });
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect();
    let digits = Zeroizing::new(digits?);
    Some(digits.as_chunks().0.iter().map(|[high, low]| high << 4 | low).collect())
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet =
        if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(text).ok()
}

/// Writes a new key aside and moves it into place, so that nobody ever reads half a key.
fn make(path: &Path) -> io::Result<()> {
    let aside = aside(path);
    let written = write_private(&aside, [&random_key()]);
    let placed = written.and_then(|()| match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&aside);
    placed.and(removed)
}

/// Puts these keys in the place of those in the file, so that nobody ever reads half of them.
pub(crate) fn replace<'a>(
    path: &Path,
    newest_first: impl IntoIterator<Item = &'a Zeroizing<[u8; 32]>>,
) -> io::Result<()> {
    let aside = aside(path);
    let placed = write_private(&aside, newest_first).and_then(|()| fs::rename(&aside, path));
    if placed.is_err() {
        // What is left of it, if anything; the first failure is the one to tell.
        drop(fs::remove_file(&aside));
    }
    placed
}

fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    // Random, since a process that died here may have had our number.
    let [one, two, three, four, ..] = *random_key();
    aside.push(format!(".{one:02x}{two:02x}{three:02x}{four:02x}"));
    PathBuf::from(aside)
}

fn write_private<'a>(
    path: &Path,
    keys: impl IntoIterator<Item = &'a Zeroizing<[u8; 32]>>,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    for key in keys {
        for byte in key.iter() {
            write!(file, "{byte:02x}")?;
        }
        writeln!(file)?;
    }
    file.sync_all()
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const GOOD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn written(text: &[u8], mode: u32) -> (tempfile::TempDir, KeyFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sekisho.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, KeyFile::At(path))
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sekisho.key");
        let key_file = KeyFile::At(path.clone());
        sealer(&key_file, &StoreLocation::Memory).unwrap();
        let first = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        sealer(&key_file, &StoreLocation::Memory).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first, "kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing left aside");
    }

    #[test]
    fn a_file_is_a_key_or_a_sentence() {
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let many = format!("{GOOD}\n").repeat(KEYS_MAX + 1);
        let rows: [(&[u8], u32, Option<&str>, &str); 18] = [
            (GOOD.as_bytes(), 0o600, None, "hex"),
            (GOOD.as_bytes(), 0o400, None, "read-only"),
            (&[GOOD.as_bytes(), b"\n"].concat(), 0o600, None, "with a line break"),
            (base64.as_bytes(), 0o600, None, "base64 without padding"),
            (&[base64.as_bytes(), b"="].concat(), 0o600, None, "base64 with padding"),
            (GOOD.as_bytes(), 0o640, Some("chmod 600"), "the group can read it"),
            (GOOD.as_bytes(), 0o604, Some("chmod 600"), "everybody can read it"),
            (b"", 0o600, Some("not a key"), "empty"),
            (&[GOOD.as_bytes(), b"\n\n", base64.as_bytes()].concat(), 0o600, None, "two keys"),
            (&[GOOD.as_bytes(), b"\nshort"].concat(), 0o600, Some("not a key"), "a bad line"),
            (&[GOOD.as_bytes(), b"\n", &[b'0'; 64]].concat(), 0o600, Some("guess"), "a bad key"),
            (many.as_bytes(), 0o600, Some("more than 32 keys"), "one too many"),
            (b"short", 0o600, Some("not a key"), "too short"),
            (GOOD.trim_end_matches("1f").as_bytes(), 0o600, Some("not a key"), "31 bytes"),
            (&[GOOD.as_bytes(), b"20"].concat(), 0o600, Some("not a key"), "33 bytes"),
            (b"\xff\xfe", 0o600, Some("not a key"), "no text"),
            (&[b'0'; 64], 0o600, Some("guess"), "all zero"),
            (&[b'A'; 43], 0o600, Some("guess"), "all zero, in base64"),
        ];
        for (text, mode, expected, reason) in rows {
            let (_folder, key_file) = written(text, mode);
            let problem = sealer(&key_file, &StoreLocation::Memory).err().map(|e| e.to_string());
            match (problem, expected) {
                (None, None) => {}
                (Some(problem), Some(expected)) => {
                    assert!(problem.contains(expected), "{reason}: {problem}");
                    assert!(!problem.contains(GOOD), "{reason}: shows the key");
                }
                (problem, _) => unreachable!("{reason}: {problem:?}"),
            }
        }
    }

    #[test]
    fn a_lost_key_is_not_replaced_beside_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("sekisho.db");
        fs::write(&store, "sealed rows").unwrap();
        let key_file = KeyFile::At(folder.path().join("sekisho.key"));
        let refused = sealer(&key_file, &StoreLocation::Sqlite(store));
        assert!(matches!(refused, Err(KeyError::Lost { .. })), "{refused:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
    }
}
