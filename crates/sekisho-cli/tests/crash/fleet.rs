//! Three instances on one database, each request to the next of them, and one after the other is killed
//! and started again while clients work: nobody gets a wrong answer, no code is redeemed twice, no token
//! is accepted later than the bound after its revocation, and nobody waits for whoever is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Builder;
use sekisho::clock::SystemClock;
use sekisho::fleet::GONE_AFTER;
use serde_json::{Value, json};
use testkit::world::{VERIFIER, redeem, tokens};
use testkit::{Answer, App, Chance, FakeIdentityProvider, chance};
use tokio::time::{Instant, sleep};

use crate::client::MadClient;
use crate::program::{Program, app, is_unknown};
use crate::report::{Report, count};
use crate::variable;

const INSTANCES: usize = 3;
const MAD_CLIENTS: u64 = 6;
const TALKERS: u64 = 4;
/// What the documentation promises.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_instances_keep_their_word_while_one_is_killed_every_few_seconds() {
    let seconds = variable("CRASH_FLEET_SECONDS").map_or(20, |text| text.parse().expect("seconds"));
    let seed = variable("CRASH_SEED").map_or_else(chance::seed, |text| text.parse().unwrap());
    let mut chance = Chance::from(seed);
    let report = Arc::new(Report::new("three instances on postgres", seed));
    let provider = Arc::new(FakeIdentityProvider::start(Arc::new(SystemClock)).await);
    let database = testkit::postgres::database();
    let programs =
        Program::replicas(INSTANCES, database.reveal(), variable("CRASH_BIN"), &provider);
    let all = app(programs.iter().map(Program::url).collect(), &report);
    let mut running = Vec::new();
    for program in &programs {
        running.push(program.start(&report).await);
    }

    let done: Arc<AtomicBool> = Arc::default();
    let mut mad = Vec::new();
    for _ in 0..MAD_CLIENTS {
        let client = MadClient::new(Arc::clone(&provider), chance.fork(), Arc::clone(&report));
        let client = client.patient(REVOKED_WITHIN);
        mad.push(tokio::spawn(client.work_on(all.clone(), Arc::clone(&done))));
    }
    let mut talkers = Vec::new();
    for _ in 0..TALKERS {
        let client = MadClient::new(Arc::clone(&provider), chance.fork(), Arc::clone(&report));
        let talker = Talker { app: all.clone(), report: Arc::clone(&report), token: None };
        talkers.push(tokio::spawn(talker.talk(client, Arc::clone(&done))));
    }

    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end && report.is_clean() {
        sleep(Duration::from_millis(chance.within(1_500..4_000))).await;
        let victim = chance.index(INSTANCES).unwrap();
        // From here on sessions may be gone.
        report.killed();
        running.get_mut(victim).unwrap().kill_9().await;
        sleep(Duration::from_millis(chance.within(0..1_500))).await;
        *running.get_mut(victim).unwrap() = programs.get(victim).unwrap().start(&report).await;
    }
    done.store(true, Ordering::SeqCst);
    for talker in talkers {
        talker.await.unwrap();
    }
    for client in mad {
        client.await.unwrap().settle(all.clone()).await;
    }
    report.tell();
    assert!(report.is_clean(), "{}", report.violations());
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let done = [&report.sign_ins, &report.refreshes, &report.sessions, &report.calls];
    assert!(done.into_iter().all(|counter| read(counter) > 0), "the load was none: {report:?}");
    assert!(report.kills() > 0, "nobody was killed");
}

/// A client with a session, which it begins anew whenever it is unknown.
struct Talker {
    app: App,
    report: Arc<Report>,
    token: Option<String>,
}

impl Talker {
    async fn talk(mut self, mut client: MadClient, done: Arc<AtomicBool>) {
        while !done.load(Ordering::SeqCst) && self.report.is_clean() {
            if self.token.is_none() {
                let Some((registered, code)) = client.code(&self.app).await else { continue };
                let answer = redeem(&self.app, &registered, &code, VERIFIER).await;
                if answer.status == 200 {
                    self.token = Some(tokens(&answer).access);
                }
                continue;
            }
            let kills = self.report.kills();
            let Some(session) = self.begin().await else { continue };
            count(&self.report.sessions);
            self.use_up(&session, kills, &done).await;
        }
    }

    /// Begins a session; none if there was no answer.
    async fn begin(&self) -> Option<String> {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "talker", "version": "1" } });
        let answer = self.post(None, 0, "initialize", params).await;
        if is_unknown(answer.status) {
            return None;
        }
        if answer.status != 200 {
            self.report.violation(format!("initialize: {} {}", answer.status, answer.body));
        }
        Some(answer.header("mcp-session-id").to_owned())
    }

    /// Calls until the session is unknown, which it may be only if somebody was killed since `kills`.
    async fn use_up(&self, session: &str, kills: u64, done: &AtomicBool) {
        for id in 1..=200 {
            if done.load(Ordering::SeqCst) {
                return;
            }
            let answer =
                self.post(Some(session), id, "tools/call", json!({ "name": "fortune" })).await;
            count(&self.report.calls);
            let is_text = |body: &Value| {
                body.pointer("/result/content/0/type").is_some_and(|kind| kind == "text")
            };
            let is_ours = |body: &Value| body["id"] == id && is_text(body);
            match answer.status.as_u16() {
                // Whoever it went to was killed, and nobody knows what became of it.
                _ if is_unknown(answer.status) => {}
                200 if is_ours(&answer.json()) => {}
                404 if self.report.kills() > kills => {
                    count(&self.report.unknown_sessions);
                    return;
                }
                502 if self.report.kills() > kills => count(&self.report.lost_calls),
                _ => {
                    let what = format!("a call in a session: {} {}", answer.status, answer.body);
                    self.report.violation(what);
                    return;
                }
            }
        }
        let ended = self.send(Request::delete("/mcp"), Some(session), Body::empty()).await.status;
        let is_killed = self.report.kills() > kills;
        if !(ended == 204
            || is_unknown(ended)
            || (is_killed && matches!(ended.as_u16(), 404 | 502)))
        {
            self.report.violation(format!("the end of a session: {ended}"));
        }
    }

    async fn post(&self, session: Option<&str>, id: u64, method: &str, params: Value) -> Answer {
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(Request::post("/mcp"), session, Body::from(body.to_string())).await
    }

    async fn send(&self, request: Builder, session: Option<&str>, body: Body) -> Answer {
        let mut request = request
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header(AUTHORIZATION, format!("Bearer {}", self.token.as_deref().unwrap_or_default()));
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        let begun = Instant::now();
        let answer = Answer::to(&self.app, request.body(body).unwrap()).await;
        let took = begun.elapsed();
        self.report
            .longest_ms
            .fetch_max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if took > 2 * GONE_AFTER {
            self.report.violation(format!("a call took {took:?}: somebody waited for the dead"));
        }
        answer
    }
}
