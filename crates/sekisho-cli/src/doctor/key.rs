//! The operator's keys: there, readable by their owner alone, and worth the name. Makes none.

use std::io::ErrorKind;

use sekisho::seal::KeyRing;

use super::finding::{Finding, quoted};
use crate::config::{Config, KeyFile};
use crate::key::{self, KeyError};

const ABOUT: &str = "key";

/// Also gives the keys, if they are good.
pub(super) fn examine(config: &Config) -> (Vec<Finding>, Option<KeyRing>) {
    let KeyFile::At(file) = &config.key_file else { return (Vec::new(), None) };
    let path = quoted(file);
    let found = match key::read_again(file) {
        Ok(keys) => {
            let older = keys.older.len();
            let what = format!("key_file {path} holds a good key, and {older} older ones");
            let ok = Finding::ok(ABOUT, what);
            return (vec![ok], Some(keys.ring()));
        }
        Err(KeyError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {
            match key::refuse_if_sealed(file, &config.store) {
                Ok(()) => Finding::ok(
                    ABOUT,
                    format!("key_file {path} is not there yet: the first start makes it"),
                ),
                Err(lost) => Finding::told(ABOUT, lost.to_string()),
            }
        }
        Err(wrong) => Finding::told(ABOUT, wrong.to_string()),
    };
    (vec![found], None)
}
