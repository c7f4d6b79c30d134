//! Calls: in sessions, without, and over HTTP+SSE.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::crowd::{Holder, Site, ask, expect};
use super::held::{begin, close};
use super::tally::Cause;
use super::{ANSWER_WAIT_MAX, Soak};
use crate::Result;
use crate::load::{Connection, Reply};
use crate::target::message;

/// A session or a connection is begun anew after so many calls.
const CALLS_PER_TURN: usize = 100;
/// After a turn that failed.
const REST: Duration = Duration::from_secs(1);

/// Comes at an even pace, and never faster to catch up.
pub(super) fn pace(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Calls in one session after the other.
pub(super) async fn in_sessions(soak: Arc<Soak>, holder: Arc<Holder>, every: Duration) {
    let kind = match holder.site {
        Site::BuiltIn => "call in a session, built in",
        Site::Remote => "call in a session, server at a URL",
        Site::Command => "call in a session, command",
    };
    let mut ticks = pace(every);
    loop {
        ticks.tick().await;
        let turn = async {
            let session = begin(&holder).await?;
            let mut connection = Connection::open(holder.address()).await?;
            for id in 1..=CALLS_PER_TURN {
                ticks.tick().await;
                let asked = holder.wire().call_in(&session, "fortune", id);
                let reply = ask(&mut connection, &asked).await?;
                count(&soak, kind, &holder, &reply);
            }
            close(&soak, &holder, &session).await;
            Ok(())
        };
        give_word(&soak, kind, &holder, turn.await).await;
    }
}

/// Calls as 2026-07-28 has them.
pub(super) async fn stateless(soak: Arc<Soak>, holder: Arc<Holder>, every: Duration) {
    let kind = match holder.site {
        Site::BuiltIn => "call of 2026-07-28, built in",
        Site::Remote => "call of 2026-07-28, server at a URL",
        Site::Command => "call of 2026-07-28, command",
    };
    let mut ticks = pace(every);
    loop {
        let turn = async {
            let mut connection = Connection::open(holder.address()).await?;
            for _ in 0..CALLS_PER_TURN {
                ticks.tick().await;
                let reply = ask(&mut connection, &holder.wire().call()).await?;
                count(&soak, kind, &holder, &reply);
            }
            Ok(())
        };
        give_word(&soak, kind, &holder, turn.await).await;
    }
}

/// Calls whose answers come by the stream of HTTP+SSE.
pub(super) async fn over_http_sse(soak: Arc<Soak>, holder: Arc<Holder>, every: Duration) {
    let kind = "call over HTTP+SSE";
    let mut ticks = pace(every);
    loop {
        let turn = async {
            let mut stream = Connection::open(holder.address()).await?;
            stream.ask_until(&holder.wire().get("/sse", None), b"event: endpoint").await?;
            let opened = stream.hear(b"\n\n").await?;
            let endpoint = opened.split_once("data: ").and_then(|(_, rest)| rest.lines().next());
            let endpoint = endpoint.ok_or("no endpoint")?.to_owned();
            let mut connection = Connection::open(holder.address()).await?;
            let mut say = async |body: &str| {
                let reply =
                    ask(&mut connection, &holder.wire_of_all().say(&endpoint, body)).await?;
                expect(&reply, 202, "").map(drop)
            };
            let params = r#"{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"soak","version":"1"}}"#;
            say(&message("0", "initialize", params)).await?;
            heard(&mut stream, "\"id\":0,").await?;
            say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await?;
            for id in 1..=CALLS_PER_TURN {
                ticks.tick().await;
                let params = r#"{"name":"fortune","arguments":{}}"#;
                say(&message(&id.to_string(), "tools/call", params)).await?;
                heard(&mut stream, &format!("\"id\":{id},\"result\"")).await?;
                soak.tally.expected(kind);
            }
            Ok(())
        };
        give_word(&soak, kind, &holder, turn.await).await;
    }
}

async fn heard(stream: &mut Connection, marker: &str) -> Result<()> {
    let heard = tokio::time::timeout(ANSWER_WAIT_MAX, stream.hear(marker.as_bytes())).await;
    heard.map_err(|_| format!("{marker} did not come in {ANSWER_WAIT_MAX:?}"))?.map(drop)
}

/// A result, or the error that the killed command is the cause of.
fn count(soak: &Soak, kind: &'static str, holder: &Holder, reply: &Reply) {
    match expect(reply, 200, "\"result\"") {
        Ok(_) => soak.tally.expected(kind),
        Err(_) if is_of_the_kill(soak, holder, reply) => {
            soak.tally.caused(kind, Cause::CommandKilled);
        }
        Err(error) => soak.tally.uncaused(kind, &error.to_string()),
    }
}

fn is_of_the_kill(soak: &Soak, holder: &Holder, reply: &Reply) -> bool {
    soak.command_was_killed(holder) && reply.status == 200 && reply.body.contains("\"error\"")
}

async fn give_word(soak: &Soak, kind: &'static str, holder: &Holder, turn: Result<()>) {
    if turn.is_err() {
        soak.add(kind, holder, turn);
        tokio::time::sleep(REST).await;
    }
}
