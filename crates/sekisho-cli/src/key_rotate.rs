//! `sekisho key rotate`: a new key seals, the old ones still open, and nobody is logged out.
//!
//! ```text
//! old          old               new
//!         ──▶  new (opens)  ──▶  old
//!              every process
//!              reads the file
//! ```
//!
//! In two steps, because several processes may use one file: each must be able to open what another
//! one seals a moment later. Between them lies longer than a process takes to read the file again.
//! Ended between them, the command has changed nothing that matters, and can be given again.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sekisho::seal::random_key;
use serde_json::json;

use crate::cli::OutputArgs;
use crate::config::{Config, Flags, KeyFile};
use crate::key::{self, KEYS_MAX, KeyError, Keys};
use crate::outcome::{Failure, say};
use crate::serve;

/// Three times as long as a running server takes to notice.
const STEP_WAIT: Duration = key::KEY_FILE_READ_EVERY.saturating_mul(3);

/// Does what was asked and says so.
pub(crate) fn run(
    args: &OutputArgs,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let config = load(&args.settings.flags())?;
    let KeyFile::At(path) = &config.key_file else {
        let why = "there is no key to rotate: with store = \"memory:\" the key lives and dies with \
                   the server, choose \"sqlite:PATH\" to keep both";
        return Err(Failure::Run(why.to_owned()));
    };
    // The file itself, where the settings name a link to it.
    let path = fs::canonicalize(path)
        .map_err(|source| Failure::from(KeyError::Unreadable { path: path.clone(), source }))?;
    let rotated = rotate(&path)?;
    say(&if args.json { rotated.as_json() } else { rotated.as_line() })
}

struct Rotated {
    path: PathBuf,
    keys: Keys,
}

fn rotate(path: &Path) -> Result<Rotated, Failure> {
    let _alone = be_alone(path)?;
    let replaced = |source| KeyError::Unmakeable { path: path.to_owned(), source };

    let Keys { newest: old, older } = key::read_again(path)?;
    if older.len() + 1 >= KEYS_MAX {
        return Err(KeyError::Full { path: path.to_owned() }.into());
    }
    let new = random_key();
    key::replace(path, [&old, &new].into_iter().chain(&older)).map_err(replaced)?;
    serve::runtime()?.block_on(async { tokio::time::sleep(STEP_WAIT).await });
    key::replace(path, [&new, &old].into_iter().chain(&older)).map_err(replaced)?;
    let older = [old].into_iter().chain(older).collect();
    Ok(Rotated { path: path.to_owned(), keys: Keys { newest: new, older } })
}

/// Two at a time would each write what they had read, and one new key would be lost. The folder is
/// locked, since the file is replaced.
fn be_alone(path: &Path) -> Result<Option<File>, Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Where a folder cannot be opened as a file, there is no such lock.
    let Ok(folder) = File::open(folder) else { return Ok(None) };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => {
            let why = "another `sekisho key rotate` is at work: wait for its end";
            Err(Failure::Run(why.to_owned()))
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

impl Rotated {
    fn as_line(&self) -> String {
        format!(
            "{} seals with a new key; its {} older ones still open what they sealed, and running \
             servers have taken it over: back the file up",
            self.path.display(),
            self.keys.older.len(),
        )
    }

    fn as_json(&self) -> String {
        let ids = self.keys.ring().ids();
        let ids: Vec<_> = ids.iter().map(sekisho::seal::KeyId::as_str).collect();
        json!({ "key_file": self.path, "keys": ids }).to_string()
    }
}
