//! Passwords: argon2id with the parameters of RFC 9106's second choice as `argon2` ships them.
//!
//! A check costs tens of milliseconds of a core and 19 MiB, on purpose, so few run at once, few
//! wait, and a name that nobody has costs as much as one that somebody has.

use std::sync::Arc;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use sekisho_protocol::Secret;
use tokio::sync::Semaphore;

use crate::measure::{Limit, Places};
use crate::mint;

/// Password checks that run at once, so that a flood of them leaves cores for everybody else.
pub const PASSWORD_CHECKS_AT_ONCE_MAX: usize = 2;

/// Password checks that wait for those; whoever comes then is told to try again later.
pub const PASSWORD_CHECKS_WAITING_MAX: usize = 16;

/// A hash in the current parameters whose password nobody knows: salt and output are random bytes.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$XGe3n5Yncsvwyock0BBdZQ$BVki34OCp4o3G8nm6yZE91lX/qiAvGfV5s7Fy+7Ngzo";

/// Checks passwords, a few at a time.
#[derive(Debug)]
pub(super) struct PasswordChecker {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    _places: Places,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PasswordCheck {
    Right,
    Wrong,
    /// Too many checks are waiting already.
    Busy,
}

/// Hashes a password with a salt of its own, in PHC form. Takes tens of milliseconds of a core.
pub(super) fn hash(password: &Secret) -> Result<String, argon2::password_hash::Error> {
    let salt = mint::bytes::<16>();
    let hash = Argon2::default().hash_password_with_salt(password.reveal().as_bytes(), &salt)?;
    Ok(hash.to_string())
}

impl PasswordChecker {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let at_once = (cores / 2).clamp(1, PASSWORD_CHECKS_AT_ONCE_MAX);
        Self {
            running: Arc::new(Semaphore::new(at_once)),
            admitted: Arc::new(Semaphore::new(at_once + PASSWORD_CHECKS_WAITING_MAX)),
            _places: Limit::PasswordChecks.has(at_once + PASSWORD_CHECKS_WAITING_MAX),
        }
    }

    /// Whether `password` is the one behind `stored`; without an account it is wrong, at the same
    /// cost.
    pub(super) async fn check(&self, stored: Option<String>, password: Secret) -> PasswordCheck {
        let busy = PasswordCheck::Busy;
        let Ok(admitted) = Arc::clone(&self.admitted).try_acquire_owned() else {
            Limit::PasswordChecks.turn_away();
            return busy;
        };
        let admitted = (admitted, Limit::PasswordChecks.take());
        let Ok(running) = Arc::clone(&self.running).acquire_owned().await else { return busy };
        let checked = tokio::task::spawn_blocking(move || {
            // Held until the work is done: whoever hangs up early has still used a core.
            let _permits = (admitted, running);
            let is_right = is_behind(stored.as_deref().unwrap_or(DECOY), &password);
            is_right && stored.is_some()
        });
        match checked.await {
            Ok(true) => PasswordCheck::Right,
            Ok(false) | Err(_) => PasswordCheck::Wrong,
        }
    }
}

fn is_behind(stored: &str, password: &Secret) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else { return false };
    Argon2::default().verify_password(password.reveal().as_bytes(), &stored).is_ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_an_account_is_right() {
        let checker = PasswordChecker::new();
        let stored = hash(&Secret::new("correct horse")).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let rows = [
            (Some(stored.clone()), "correct horse", PasswordCheck::Right, "the right one"),
            (Some(stored.clone()), "correct horse ", PasswordCheck::Wrong, "a space more"),
            (Some(stored.clone()), "", PasswordCheck::Wrong, "nothing"),
            (Some(stored), "Correct horse", PasswordCheck::Wrong, "case matters"),
            (Some("rubbish".into()), "rubbish", PasswordCheck::Wrong, "an unreadable hash"),
            (Some(String::new()), "", PasswordCheck::Wrong, "no hash at all"),
            (None, "correct horse", PasswordCheck::Wrong, "no account"),
        ];
        for (stored, password, expected, reason) in rows {
            assert_eq!(checker.check(stored, Secret::new(password)).await, expected, "{reason}");
        }
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        let password = Secret::new("correct horse");
        assert_ne!(hash(&password).unwrap(), hash(&password).unwrap());
    }

    #[test]
    fn the_decoy_has_the_parameters_of_a_real_hash() {
        let real = hash(&Secret::new("x")).unwrap();
        let shape = |text: &str| {
            let hash = PasswordHash::new(text).unwrap();
            let (salt, output) = (hash.salt.unwrap(), hash.hash.unwrap());
            (hash.algorithm, hash.version, hash.params.to_string(), salt.len(), output.len())
        };
        assert_eq!(shape(DECOY), shape(&real));
    }

    #[tokio::test]
    async fn a_name_nobody_has_costs_as_much_as_one_that_somebody_has() {
        let checker = PasswordChecker::new();
        let stored = hash(&Secret::new("correct horse")).unwrap();
        let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            for (times, stored) in times.iter_mut().zip([Some(stored.clone()), None]) {
                let start = Instant::now();
                checker.check(stored, Secret::new("wrong")).await;
                times.push(start.elapsed());
            }
        }
        // The fastest of five: without the decoy the second would be a thousand times faster.
        let [known, unknown] = times.map(|times| times.into_iter().min().unwrap());
        assert!(unknown > known / 3 && known > unknown / 3, "{known:?} and {unknown:?}");
    }

    #[tokio::test]
    async fn a_flood_of_checks_is_turned_away_instead_of_queued() {
        let checker = PasswordChecker::new();
        let stored = hash(&Secret::new("correct horse")).unwrap();
        let flood = (0..200).map(|_| checker.check(Some(stored.clone()), Secret::new("wrong")));
        let outcomes = futures::future::join_all(flood).await;
        let busy = outcomes.iter().filter(|one| **one == PasswordCheck::Busy).count();
        let admitted = outcomes.len() - busy;
        assert!(admitted > PASSWORD_CHECKS_WAITING_MAX, "{admitted}");
        assert!(
            admitted <= PASSWORD_CHECKS_WAITING_MAX + PASSWORD_CHECKS_AT_ONCE_MAX,
            "{admitted}"
        );
        let after = checker.check(Some(stored), Secret::new("correct horse")).await;
        assert_eq!(after, PasswordCheck::Right, "and then all is as before");
    }
}
