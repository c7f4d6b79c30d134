//! Local accounts: what the administration commands do, and the account for a first try.
//!
//! Never keeps or prints a password; the one made for `demo` is handed out once.

use std::sync::Arc;

use sekisho_protocol::Secret;

use super::password;
use crate::clock::Clock;
use crate::mint;
use crate::store::{LocalUser, Store, StoreError};

/// Longest name.
pub const USER_NAME_CHARS_MAX: usize = 64;

/// Shortest password (NIST SP 800-63B §5.1.1.2).
pub const PASSWORD_CHARS_MIN: usize = 8;

/// Longest password: 1 KiB.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// The account that is made where there is none.
pub const DEMO_USER: &str = "demo";

/// The name of an account as typed, without space around it. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserName(String);

/// Why an account could not be added or changed, worded with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Nothing but space.
    #[error("the name is empty")]
    EmptyName,
    /// More than [`USER_NAME_CHARS_MAX`] characters.
    #[error("the name is longer than {USER_NAME_CHARS_MAX} characters")]
    LongName,
    /// A tab, newline or the like.
    #[error("the name contains a control character")]
    ControlCharacter,
    /// Fewer than [`PASSWORD_CHARS_MIN`] characters.
    #[error("the password is shorter than {PASSWORD_CHARS_MIN} characters")]
    ShortPassword,
    /// More than [`PASSWORD_BYTES_MAX`] bytes.
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    LongPassword,
    /// The name is taken.
    #[error("there is an account {0:?} already: choose another name, or give it a new password")]
    Taken(String),
    /// There is no such account.
    #[error("there is no account {0:?}")]
    Unknown(String),
    /// argon2id gave up, for want of memory.
    #[error("the password could not be hashed")]
    Hashing(#[source] argon2::password_hash::Error),
    /// The store is broken.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UserName {
    /// Accepts what can be typed into one line, after dropping the space around it.
    ///
    /// # Errors
    /// For an empty name, one that is too long, and one with control characters.
    pub fn parse(text: &str) -> Result<Self, AccountError> {
        let name = text.trim();
        if name.is_empty() {
            return Err(AccountError::EmptyName);
        }
        if name.chars().count() > USER_NAME_CHARS_MAX {
            return Err(AccountError::LongName);
        }
        if name.chars().any(char::is_control) {
            return Err(AccountError::ControlCharacter);
        }
        Ok(Self(name.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hashes a password for [`LocalUser::password_hash`]: argon2id, tens of milliseconds of a core.
///
/// # Errors
/// When the password is too short or too long.
pub fn hash_password(password: &Secret) -> Result<String, AccountError> {
    if password.reveal().chars().count() < PASSWORD_CHARS_MIN {
        return Err(AccountError::ShortPassword);
    }
    if password.reveal().len() > PASSWORD_BYTES_MAX {
        return Err(AccountError::LongPassword);
    }
    password::hash(password).map_err(AccountError::Hashing)
}

/// Adds an account.
///
/// # Errors
/// When the name is taken or the password is refused.
pub async fn add(
    store: &dyn Store,
    clock: &dyn Clock,
    name: &UserName,
    password: &Secret,
) -> Result<(), AccountError> {
    let password_hash = hash_password(password)?;
    let user = LocalUser { name: name.0.clone(), password_hash, created_at: clock.now() };
    if store.add_user(&user).await? { Ok(()) } else { Err(AccountError::Taken(name.0.clone())) }
}

/// Gives an account a new password. What was granted under the old one stays granted.
///
/// # Errors
/// When there is no such account or the password is refused.
pub async fn set_password(
    store: &dyn Store,
    name: &UserName,
    password: &Secret,
) -> Result<(), AccountError> {
    let password_hash = hash_password(password)?;
    if store.set_password(name.as_str(), &password_hash).await? {
        Ok(())
    } else {
        Err(AccountError::Unknown(name.0.clone()))
    }
}

/// Removes an account and ends what was granted under it.
///
/// # Errors
/// When there is no such account.
pub async fn remove(
    store: &dyn Store,
    clock: &dyn Clock,
    name: &UserName,
) -> Result<(), AccountError> {
    if store.remove_user(name.as_str(), clock.now()).await? {
        Ok(())
    } else {
        Err(AccountError::Unknown(name.0.clone()))
    }
}

/// Makes [`DEMO_USER`] where there is no account at all, and gives its password, which is known
/// nowhere else and never again. `None` where there are accounts already.
///
/// # Errors
/// When the store is broken.
pub async fn ensure_demo(
    store: &Arc<dyn Store>,
    clock: &dyn Clock,
) -> Result<Option<Secret>, AccountError> {
    if !store.list_users().await?.is_empty() {
        return Ok(None);
    }
    let password = random_password();
    let name = UserName(DEMO_USER.to_owned());
    match add(store.as_ref(), clock, &name, &password).await {
        Ok(()) => Ok(Some(password)),
        // Another process was faster, and has told its operator.
        Err(AccountError::Taken(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Four groups of four, from 32 signs that nobody mistakes for each other: 80 bits.
fn random_password() -> Secret {
    const SIGNS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let groups: Vec<String> = mint::bytes::<16>()
        .chunks(4)
        .map(|group| {
            let sign = |byte: &u8| SIGNS.get(usize::from(byte & 31)).map(|&sign| char::from(sign));
            group.iter().filter_map(sign).collect()
        })
        .collect();
    Secret::new(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_of_at_most_64_characters() {
        let rows = [
            ("alice", Some("alice"), "plain"),
            ("  alice ", Some("alice"), "space around it is dropped"),
            ("Alice Müller", Some("Alice Müller"), "space and letters of any kind"),
            ("山田", Some("山田"), "any script"),
            ("", None, "empty"),
            ("   ", None, "only space"),
            ("ali\nce", None, "a newline"),
            ("ali\u{0}ce", None, "a NUL"),
        ];
        for (text, expected, reason) in rows {
            let parsed = UserName::parse(text).ok();
            assert_eq!(parsed.as_ref().map(UserName::as_str), expected, "{reason}");
        }
        assert!(UserName::parse(&"名".repeat(USER_NAME_CHARS_MAX)).is_ok());
        assert!(UserName::parse(&"名".repeat(USER_NAME_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn a_password_has_8_characters_to_1024_bytes() {
        let rows = [
            ("12345678".to_owned(), true, "shortest"),
            ("1234567".to_owned(), false, "too short"),
            ("パスワード".to_owned(), false, "counted in characters, not bytes"),
            ("x".repeat(1024), true, "longest"),
            ("x".repeat(1025), false, "too long"),
        ];
        for (text, accepted, reason) in rows {
            assert_eq!(hash_password(&Secret::new(text)).is_ok(), accepted, "{reason}");
        }
    }

    #[test]
    fn a_random_password_is_typed_easily_and_never_twice_the_same() {
        let password = random_password();
        let groups: Vec<_> = password.reveal().split('-').collect();
        assert_eq!(groups.len(), 4);
        assert!(groups.iter().all(|group| group.len() == 4), "{groups:?}");
        assert_ne!(password.reveal(), random_password().reveal());
    }
}
