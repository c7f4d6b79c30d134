//! Two instances over one store, a provider and a server behind them, and people with clients, all from one
//! seed: crashes, delays, lost questions and answers, clocks that are set. Nothing here depends on the
//! machine: one thread, time that passes only when all wait, no socket, and every number drawn from the seed.
//!
//! ```text
//!             ┌─▶ instance 0 ─┬─▶ store (in memory)        weather.rs: what goes wrong on each way
//! clients ────┤               ├─▶ identity provider        chaos.rs: who crashes, whose clock is set
//! (client.rs) └─▶ instance 1 ─┴─▶ server behind            promises.rs: what must be so, whatever happens
//! ```
//!
//! | variable | usual | what it is |
//! |---|---|---|
//! | `SIMULATION_SEEDS` | 40 | how many seeds |
//! | `SIMULATION_SEED` | the first is 1 | this one alone; its whole history is printed |
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets the unexpected must stop, and this one says what it met"
)]

mod chaos;
mod client;
mod clock;
mod history;
mod instance;
mod promises;
mod provider;
mod upstream;
mod weather;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chaos::{Outcome, simulate};

/// Lines of a history that are shown where something was broken.
const LINES_SHOWN: usize = 60;

#[test]
fn what_is_promised_holds_whatever_happens() {
    let one = variable("SIMULATION_SEED");
    let seeds = match one {
        Some(seed) => seed..=seed,
        None => 1..=variable("SIMULATION_SEEDS").unwrap_or(40),
    };
    let (next, last) = (AtomicU64::new(*seeds.start()), *seeds.end());
    let counts: Mutex<BTreeMap<&'static str, u64>> = Mutex::default();
    let failed: Mutex<Vec<(u64, Outcome)>> = Mutex::default();
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > last || !failed.lock().unwrap().is_empty() {
                        return;
                    }
                    let outcome = simulate(seed);
                    for (what, count) in &outcome.counts {
                        *counts.lock().unwrap().entry(what).or_default() += count;
                    }
                    if one.is_some() {
                        println!("{}", outcome.history.join("\n"));
                    }
                    if !outcome.broken.is_empty() {
                        failed.lock().unwrap().push((seed, outcome));
                    }
                }
            });
        }
    });
    println!("{:?}", counts.lock().unwrap());
    if let Some((seed, Outcome { history, broken, .. })) = failed.lock().unwrap().first() {
        let at = history.iter().position(|line| line.contains("BROKEN")).unwrap_or(history.len());
        let before = history.iter().take(at + 1).filter(|line| !is_background(line));
        let shown: Vec<_> = before.map(String::as_str).collect();
        println!("{}", shown[shown.len().saturating_sub(LINES_SHOWN)..].join("\n"));
        panic!(
            "seed {seed}: {}\nonce more, with its whole history: SIMULATION_SEED={seed} cargo test \
             --workspace --test simulation -- --nocapture what_is_promised",
            broken.join("\n")
        );
    }
    let counts = counts.lock().unwrap();
    for (what, least) in [
        ("logins", 5),
        ("codes redeemed", 5),
        ("codes replayed", 0),
        ("refreshes", 5),
        ("refreshes repeated", 1),
        ("replays", 0),
        ("calls", 20),
        ("calls refused", 2),
        ("revocations", 2),
        ("logouts", 1),
    ] {
        let seen = counts.get(what).copied().unwrap_or_default();
        let wanted = least * (last - seeds.start() + 1);
        assert!(
            seen >= wanted || one.is_some(),
            "{what}: {seen}, and at least {wanted} are wanted"
        );
    }
}

/// What goes on all the time.
fn is_background(line: &str) -> bool {
    line.contains(" revocations_since: done") || line.contains(" claim_provider_sessions: done")
}

#[test]
fn the_same_seed_has_the_same_history() {
    for seed in [1, 2, 3] {
        let (once, again) = (simulate(seed).history, simulate(seed).history);
        let other = once.iter().zip(&again).position(|(once, again)| once != again);
        if let Some(line) = other {
            panic!("seed {seed}, line {line}:\n{}\n{}", once[line], again[line]);
        }
        assert_eq!(once.len(), again.len(), "seed {seed}");
    }
}

#[expect(clippy::disallowed_methods, reason = "these are no settings of the program")]
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
