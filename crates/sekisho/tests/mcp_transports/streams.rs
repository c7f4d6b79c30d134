//! Streams: what is on them, who may read them again, and when they end (T10–T13, case 65, 86).

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use testkit::mcp_client::Event;

use crate::rig::{Rig, VERSIONS};

/// T13: older clients cannot parse an event without data.
#[tokio::test]
async fn a_stream_opens_with_a_priming_event_from_2025_11_25_on() {
    let rig = Rig::start().await;
    for version in VERSIONS {
        let primes = version == "2025-11-25";
        let mut client = rig.session_of(version, "alice").await;
        let mut listening = client.listen().await;
        client.call_tool("announce", json!({})).await;
        let first = listening.next().await.unwrap();
        let priming =
            Event { id: Some("1-0".into()), data: Some(String::new()), ..Event::default() };
        assert_eq!(first == priming, primes, "GET under {version}: {first:?}");

        let mut client = client.accepting("text/event-stream");
        let events = client.call_tool("echo", json!({})).await.events();
        assert_eq!(events.len(), if primes { 2 } else { 1 }, "POST under {version}: {events:?}");
        assert_eq!(events[0].data.as_deref() == Some(""), primes, "POST under {version}");
    }
}

/// T11: one message on exactly one stream, and never an answer on a GET's.
#[tokio::test]
async fn a_notification_comes_on_one_of_two_streams() {
    let rig = Rig::start().await;
    let mut client = rig.session_of("2025-06-18", "alice").await;
    let (mut one, mut two) = (client.listen().await, client.listen().await);
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK));

    assert_eq!(client.call_tool("announce", json!({})).await.tool_text(), "true");

    let announced = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
    let messages = tokio::select! {
        message = one.message() => (message, two),
        message = two.message() => (message, one),
    };
    assert_eq!(messages.0, announced);
    client.end().await;
    assert_eq!(messages.1.next_owned().await, None, "the other stream got nothing");
}

/// T17: before the client says that it is initialized, nothing is told to it.
#[tokio::test]
async fn nothing_is_told_before_the_handshake_is_done() {
    let rig = Rig::start().await;
    let mut client = rig.client("alice");
    client.begin("2025-06-18").await;
    let mut listening = client.listen().await;
    assert_eq!(client.call_tool("announce", json!({})).await.tool_text(), "false");
    client.notify("notifications/initialized", json!({})).await;
    assert_eq!(client.call_tool("announce", json!({})).await.tool_text(), "true");
    assert_eq!(listening.message().await["method"], "notifications/tools/list_changed");
    client.end().await;
    assert_eq!(listening.next().await, None, "exactly one");
}

/// T10, T12: hanging up cancels nothing, and the answer waits for whoever comes back.
#[tokio::test]
async fn a_cut_stream_is_resumed_where_it_was_cut() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let call = client.next_request("tools/call", &json!({ "name": "slow_progress" }));
    let mut stream = client.post_for_stream(call.to_string()).await;
    let priming = stream.next().await.unwrap();
    assert_eq!(priming.data.as_deref(), Some(""));
    let progress = stream.next().await.unwrap();
    assert_eq!(progress.json()["params"]["progress"], 50);
    drop(stream);

    rig.gate.let_through();
    rig.gate.finished().await;

    for _ in 0..2 {
        let mut rest = client.listen_after(progress.id.as_deref().unwrap()).await;
        assert_eq!(rest.message().await["params"]["progress"], 100);
        let answer = rest.message().await;
        assert_eq!(
            (&answer["id"], &answer["result"]["content"][0]["text"]),
            (&call["id"], &json!("waited"))
        );
        assert_eq!(rest.next().await, None, "the stream ends with the answer");
    }
}

/// T13: a client that can come back is sent away; every other one keeps its connection.
#[tokio::test]
async fn a_client_that_is_sent_away_to_poll_finds_its_answer_when_it_comes_back() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let call = client.next_request("tools/call", &json!({ "name": "poll" }));
    let mut stream = client.post_for_stream(call.to_string()).await;
    let priming = stream.next().await.unwrap();
    assert_eq!(priming.data.as_deref(), Some(""));
    let sent_away = stream.next().await.unwrap();
    assert_eq!((sent_away.retry.as_deref(), &sent_away.data), (Some("7"), &None));
    assert_eq!(stream.next().await, None, "nothing has to stay open");

    let mut rest = client.listen_after(priming.id.as_deref().unwrap()).await;
    rig.gate.let_through();
    assert_eq!(rest.message().await["result"]["content"][0]["text"], "waited");
    assert_eq!(rest.next().await, None);

    for version in &VERSIONS[1..3] {
        let mut older = rig.session_of(version, "alice").await;
        rig.gate.let_through();
        let answer = older.call_tool("poll", json!({})).await;
        assert_eq!(answer.tool_text(), "waited", "{version}");
    }
    let mut over_sse = rig.sse("alice").await;
    over_sse.initialize("2025-11-25").await;
    rig.gate.let_through();
    let answer = over_sse.request("tools/call", json!({ "name": "poll" })).await;
    assert_eq!(
        answer["result"]["content"][0]["text"], "waited",
        "there is nothing to come back to"
    );
    let mut stateless = rig.client("alice");
    rig.gate.let_through();
    let answer = stateless.stateless("tools/call", json!({ "name": "poll" })).await;
    assert_eq!(answer.tool_text(), "waited", "2026-07-28");
}

/// T10: a client that waits for JSON and hangs up cancels nothing either.
#[tokio::test]
async fn hanging_up_does_not_cancel() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let call = client.next_request("tools/call", &json!({ "name": "wait" }));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.post(call.to_string()).await }
    });
    rig.gate.arrived().await;
    waiting.abort();
    assert!(waiting.await.is_err());

    rig.gate.let_through();
    rig.gate.finished().await;
}

/// T10: this is how a client cancels.
#[tokio::test]
async fn notifications_cancelled_cancels() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let call = client.next_request("tools/call", &json!({ "name": "wait" }));
    let waiting = tokio::spawn({
        let (client, call) = (client.clone(), call.to_string());
        async move { client.post(call).await }
    });
    rig.gate.arrived().await;

    client.notify("notifications/cancelled", json!({ "requestId": "other" })).await;
    client.notify("notifications/cancelled", json!({ "requestId": call["id"] })).await;

    rig.gate.dropped().await;
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, &*answer.text), (StatusCode::ACCEPTED, ""));
}

/// An id is free again when its request is done, however that ended.
#[tokio::test]
async fn an_id_is_used_once_at_a_time() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let call = client.next_request("tools/call", &json!({ "name": "wait" })).to_string();
    let first = tokio::spawn({
        let (client, call) = (client.clone(), call.clone());
        async move { client.post(call).await }
    });
    rig.gate.arrived().await;
    assert_eq!(client.post(call.clone()).await.status, StatusCode::BAD_REQUEST);
    rig.gate.let_through();
    assert_eq!(first.await.unwrap().tool_text(), "waited");
    rig.gate.let_through();
    assert_eq!(client.post(call).await.tool_text(), "waited");
}

/// Case 86: `Last-Event-ID` reaches one's own streams only.
#[tokio::test]
async fn a_stream_of_another_session_is_never_replayed() {
    let rig = Rig::start().await;
    let mut alice = rig.session("alice").await.accepting("text/event-stream");
    let told = alice.call_tool("echo", json!({ "secret": 1 })).await.events();
    let id = told[1].id.clone().unwrap();

    for token in ["mallory", "alice", "alice-elsewhere"] {
        let other = rig.session(token).await;
        let mut stream = other.listen_after(&format!("{}-0", id.split_once('-').unwrap().0)).await;
        assert_eq!(stream.status, StatusCode::OK, "{token} gets a stream of their own");
        assert_eq!(stream.next().await.unwrap().data.as_deref(), Some(""), "{token}");
        other.end().await;
        assert_eq!(stream.next().await, None, "{token} is told nothing of Alice's");
    }

    let mut mallory = rig.client("mallory");
    mallory.session.clone_from(&alice.session);
    assert_eq!(mallory.listen_after(&id).await.status, StatusCode::NOT_FOUND);
}

/// Case 86: a second GET opens its own stream; the first goes on.
#[tokio::test]
async fn a_second_stream_does_not_take_over_the_first() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let mut first = client.listen().await;
    let mut second = client.listen().await;
    assert_eq!(first.next().await.unwrap().id.as_deref(), Some("1-0"));
    assert_eq!(second.next().await.unwrap().id.as_deref(), Some("2-0"));

    client.call_tool("announce", json!({})).await;
    assert_eq!(first.message().await["method"], "notifications/tools/list_changed");
    drop(first);
    client.call_tool("announce", json!({})).await;
    client.end().await;
}

/// Junk in `Last-Event-ID` is no reason to refuse a stream, or to panic.
#[tokio::test]
async fn an_unknown_last_event_id_opens_a_new_stream() {
    let rig = Rig::start().await;
    let client = rig.session("alice").await;
    for id in ["", "-", "x", "1", "99-1", "18446744073709551615-18446744073709551615", "-1--1"] {
        assert_eq!(client.listen_after(id).await.status, StatusCode::OK, "{id:?}");
    }
}

/// T13 and demand 20: an idle stream is kept from looking dead.
#[tokio::test]
async fn an_idle_stream_gets_comments() {
    let rig = Rig::start_with(|settings| settings.keep_alive = Duration::from_millis(20)).await;
    let client = rig.session_of("2025-06-18", "alice").await;
    let mut listening = client.listen().await;
    let mut sse = rig.sse("alice").await;
    for _ in 0..3 {
        assert!(listening.next_or_comment().await.unwrap().is_comment);
        assert!(sse.events.next_or_comment().await.unwrap().is_comment);
    }
}

/// Case 65: revoked means silent, on both transports.
#[tokio::test]
async fn a_stream_ends_when_the_token_is_revoked() {
    let rig = Rig::start().await;
    let client = rig.session("alice").await;
    let listening = client.listen().await;
    let sse = rig.sse("alice").await;
    let mut others = rig.session_of("2025-06-18", "mallory").await;
    let mut unharmed = others.listen().await;

    rig.verifier.revoke("alice");

    listening.end().await;
    sse.events.end().await;
    others.call_tool("announce", json!({})).await;
    assert_eq!(unharmed.message().await["method"], "notifications/tools/list_changed");
}

/// Case 65: the answer of a call that was begun before does not come after.
#[tokio::test]
async fn the_answer_to_a_revoked_caller_is_not_sent() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let call = client.next_request("tools/call", &json!({ "name": "slow_progress" }));
    let mut stream = client.post_for_stream(call.to_string()).await;
    for _ in 0..3 {
        stream.next().await.unwrap();
    }
    rig.verifier.revoke("alice");
    assert_eq!(stream.next().await, None);
}

/// Case 65: so does expiry, unless a newer token of the same grant came meanwhile.
#[tokio::test]
async fn a_stream_ends_when_the_newest_token_expires() {
    let rig = Rig::start().await;
    let refreshing = rig.session_of("2025-06-18", "alice").await;
    let mut kept = refreshing.listen().await;
    let mut kept_sse = rig.sse("alice").await;
    let lost = rig.session("alice").await.listen().await;
    let lost_sse = rig.sse("alice").await;

    let mut refreshing = refreshing.with_token("alice-newer");
    refreshing.request("ping", json!({})).await;
    kept_sse.set_token("alice-newer");
    kept_sse.initialize("2025-06-18").await;
    // A request that was on its way with the old token does not undo the refresh.
    refreshing.clone().with_token("alice").request("ping", json!({})).await;

    rig.clock.advance(Duration::from_hours(1));

    lost.end().await;
    lost_sse.events.end().await;
    refreshing.call_tool("announce", json!({})).await;
    assert_eq!(kept.message().await["method"], "notifications/tools/list_changed");
    let pong = kept_sse.request("ping", Value::Null).await;
    assert_eq!(pong["result"], json!({}));

    rig.clock.advance(Duration::from_hours(1));
    kept.end().await;
    kept_sse.events.end().await;
}

/// Streams end at once when the server stops, and no session begins any more.
#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let rig = Rig::start_with(|settings| settings.liveness_poll = Duration::from_hours(1)).await;
    let mut newest = rig.session("alice").await.listen().await;
    let listening = rig.session_of("2025-06-18", "alice").await.listen().await;
    let sse = rig.sse("alice").await;
    assert!(newest.next().await.unwrap().data.is_some(), "the priming event");
    rig.shutdown.cancel();
    let last = newest.next().await.unwrap();
    assert_eq!(last.retry.as_deref(), Some("1000"), "when to come back: {last:?}");
    newest.end().await;
    listening.end().await;
    sse.events.end().await;
    let refused = rig.client("alice").begin("2025-11-25").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
}

/// What is being worked on when the server stops is answered, on every kind of stream.
#[tokio::test]
async fn a_call_on_a_stream_is_answered_though_the_server_stops() {
    let rig = Rig::start().await;
    let wait = json!({ "name": "wait", "arguments": {} });
    let mut session = rig.session("alice").await.accepting("text/event-stream");
    let body = session.next_request("tools/call", &wait);
    let mut answering = session.post_for_stream(body.to_string()).await;
    let mut modern = rig.client("alice").accepting("text/event-stream");
    let (sender, body) = modern.next_stateless(&json!({}), "tools/call", wait.clone());
    let mut modern = sender.post_for_stream(body.to_string()).await;
    let mut sse = rig.sse("alice").await;
    sse.initialize("2024-11-05").await;
    let call = json!({ "jsonrpc": "2.0", "id": "last", "method": "tools/call", "params": wait });
    assert_eq!(sse.post(call.to_string()).await.status, 202);
    for _ in 0..3 {
        rig.gate.arrived().await;
    }

    rig.shutdown.cancel();
    (0..3).for_each(|_| rig.gate.let_through());
    for events in [&mut answering, &mut modern, &mut sse.events] {
        let told = loop {
            let message = events.message().await;
            if message.get("result").is_some() {
                break message;
            }
        };
        assert_eq!(told["result"]["content"][0]["text"], "waited", "{told}");
    }
    sse.events.end_in_order().await;
}
