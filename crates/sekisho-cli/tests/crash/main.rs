//! `kill -9` at random moments, while people sign in, refresh and revoke: what was acknowledged is
//! still so when the program is back.
//!
//! ```text
//! start ─▶ ready? file sound? ─▶ settle what was on its way, hold all the rest against what was
//!   ▲                            acknowledged ─▶ load, and kill -9 in the middle of it ─┐
//!   └───────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | variable | usual | what it is |
//! |---|---|---|
//! | `CRASH_KILLS` | 10 | how often |
//! | `CRASH_STORE` | `sqlite:sekisho.db` | the `store` setting; a path is relative to a folder of its own; `postgres`: a database that is made for this |
//! | `CRASH_BIN` | as built for the tests | the program |
//! | `CRASH_FLEET_SECONDS` | 20 | how long three instances on one `PostgreSQL` database work, one of which is killed every few seconds |
//! | `CRASH_SEED` | drawn, and printed | what is done when; not what the machine makes of it |
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected must stop"
)]

mod client;
mod family;
mod fleet;
mod program;
mod report;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use client::MadClient;
use program::Program;
use report::Report;
use sekisho::clock::SystemClock;
use testkit::{Chance, FakeIdentityProvider, chance};

/// How many clients work at once.
const CLIENTS: u64 = 8;
/// The kill comes after so many requests, and a moment that nobody chose.
const REQUESTS: Range<u64> = 1..250;
/// So many that every client has tokens by then: one that is killed before has nothing to forget.
const REQUESTS_WITH_TOKENS: Range<u64> = 200..250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let kills = variable("CRASH_KILLS").map_or(10, |text| text.parse().expect("a number"));
    let store = match variable("CRASH_STORE").as_deref() {
        Some("postgres") => testkit::postgres::database().reveal().to_owned(),
        Some(store) => store.to_owned(),
        None => "sqlite:sekisho.db".to_owned(),
    };
    let report = crash(&store, kills, REQUESTS).await;
    report.tell();
    assert!(report.is_clean(), "{}", report.violations());
    assert!(report.has_seen_everything(kills), "the load was none: {report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_forgets_is_seen_to_forget() {
    let report = crash("memory:", 10, REQUESTS_WITH_TOKENS).await;
    let violations = report.violations();
    assert!(violations.contains("an acknowledged token is lost"), "{violations}");
}

/// Kills the program so often, or until it broke a promise.
async fn crash(store: &str, kills: u64, requests: Range<u64>) -> Arc<Report> {
    let seed = variable("CRASH_SEED").map_or_else(chance::seed, |text| text.parse().unwrap());
    let mut chance = Chance::from(seed);
    let report = Arc::new(Report::new(store, seed));
    let provider = Arc::new(FakeIdentityProvider::start(Arc::new(SystemClock)).await);
    let program = Program::new(store, variable("CRASH_BIN"), &provider);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (provider, report) = (Arc::clone(&provider), Arc::clone(&report));
            MadClient::new(provider, chance.fork(), report)
        })
        .collect();

    for _ in 0..kills {
        let mut running = program.start(&report).await;
        program.check_file(&report);
        settle(&mut clients, &running.app).await;
        if !report.is_clean() {
            return report;
        }
        let enough = report.requests() + chance.within(requests.clone());
        let loaded: Vec<_> = clients
            .drain(..)
            .map(|client| tokio::spawn(client.work(running.app.clone(), running.dying.clone())))
            .collect();
        while report.requests() < enough && report.is_clean() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        running.kill_9().await;
        report.killed();
        for client in loaded {
            clients.push(client.await.unwrap());
        }
    }
    let running = program.start(&report).await;
    program.check_file(&report);
    settle(&mut clients, &running.app).await;
    report
}

/// All clients at once hold the program against what they know.
async fn settle(clients: &mut Vec<MadClient>, app: &testkit::App) {
    let settled: Vec<_> =
        clients.drain(..).map(|client| tokio::spawn(client.settle(app.clone()))).collect();
    for client in settled {
        clients.push(client.await.unwrap());
    }
}

#[expect(clippy::disallowed_methods, reason = "these are no settings of the program")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
