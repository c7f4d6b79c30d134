//! Servers at a URL: every transport and era of theirs, for clients of every era; whose session is
//! whose; and what they never get to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::IntoResponse as _;
use http::{Method, StatusCode};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sekisho::gateway::{Per, RemoteServer, RemoteServerError};
use sekisho::mcp::McpService as _;
use sekisho::protocol::Secret;
use serde_json::{Value, json};

use crate::child::ODD_RESULT;
use crate::rig::{Plan, caller, meta, raw, until};
use crate::web::{
    Person, Speaks, Web, event, greeting, in_front_of, result_of, stateless, stream_of,
};

#[tokio::test]
async fn every_transport_and_era_is_found_out_and_answers_byte_for_byte() {
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        let rig = Plan::at(&web.url(speaks.path())).begin();
        let mut client = rig.client();
        let greeting = client.shake_hands(json!({})).await;
        assert_eq!(greeting["result"]["serverInfo"]["name"], "scripted", "{speaks:?}");
        let expected = json!({
            "logging": {}, "resources": { "subscribe": true }, "tools": { "listChanged": true },
        });
        assert_eq!(greeting["result"]["capabilities"], expected, "{speaks:?}");
        client.request(7, "tools/call", json!({ "name": "odd" })).await;
        let line = client.line().await;
        let expected = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{ODD_RESULT}}}"#);
        assert_eq!(line.trim_end(), expected, "{speaks:?}");

        let params = json!({ "name": "odd", "_meta": meta(&json!({})) });
        let answer = rig.client().ask(8, "tools/call", params).await;
        assert_eq!(answer["result"]["resultType"], "complete", "{speaks:?}");
        assert_eq!(answer["result"]["unheard"]["of"][0], 100.0, "{speaks:?}: {answer}");
        rig.stop().await;
    }
}

/// Whatever stands in a request or in a result that nobody here needs to know.
#[tokio::test]
async fn values_that_nobody_here_knows_survive_both_ways_byte_for_byte() {
    let leaf = prop_oneof![
        Just("1.0e2".to_owned()),
        Just("12345678901234567890123".to_owned()),
        Just("-0".to_owned()),
        Just("0.10".to_owned()),
        Just("null".to_owned()),
        Just(r#""\u00e9\n\/ \ud83d\ude00""#.to_owned()),
        "\"[a-z世界 ]{0,8}\"",
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|all| format!("[ {} ]", all.join(" ,"))),
            prop::collection::vec(inner, 0..4).prop_map(|all| {
                let named = |(at, value): (usize, &String)| format!("\"\\u006e{at}\" : {value}");
                format!("{{{}}}", all.iter().enumerate().map(named).collect::<Vec<_>>().join(", "))
            }),
        ]
    });
    let params = prop::collection::vec(value, 0..5).prop_map(|all| {
        let named = |(at, value): (usize, &String)| format!("\"x{at}\":{value}");
        format!("{{{}}}", all.iter().enumerate().map(named).collect::<Vec<_>>().join(","))
    });
    let mut runner = TestRunner::deterministic();
    let alice = caller("alice");
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        let rig = Plan::at(&web.url(speaks.path())).begin();
        for _ in 0..100 {
            let params = params.new_tree(&mut runner).unwrap().current();
            let came = rig.gateway.call("params/echo", Some(&raw(&params)), &alice).await.unwrap();
            assert_eq!(came.get(), params, "{speaks:?}");
        }
        rig.stop().await;
    }
    let rig = Plan::scripted().begin();
    for _ in 0..100 {
        let params = params.new_tree(&mut runner).unwrap().current();
        let came = rig.gateway.call("params/echo", Some(&raw(&params)), &alice).await.unwrap();
        assert_eq!(came.get(), params, "over stdio");
    }
    rig.stop().await;
}

#[tokio::test]
async fn questions_reach_clients_of_both_eras_from_servers_of_both() {
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        let rig = Plan::at(&web.url(speaks.path())).begin();

        let mut client = rig.client();
        client.shake_hands(json!({ "elicitation": {} })).await;
        client.request(1, "tools/call", json!({ "name": "ask" })).await;
        for (message, answer) in [("Who are you?", "Alice"), ("Really?", "yes")] {
            let question = client.next().await;
            assert_eq!(question["method"], "elicitation/create", "{speaks:?}: {question}");
            assert_eq!(question["params"]["message"], message, "{speaks:?}");
            let result = json!({ "action": "accept", "content": { "a": answer } });
            client.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })).await;
        }
        let answer = client.next().await;
        assert_eq!(answer["result"]["answers"][0]["content"]["a"], "Alice", "{speaks:?}: {answer}");
        assert_eq!(answer["result"]["answers"][1]["content"]["a"], "yes", "{speaks:?}");

        let mut client = rig.client();
        let mut params = json!({ "name": "ask", "_meta": meta(&json!({ "elicitation": {} })) });
        for (id, message, answer) in [(1, "Who are you?", "Alice"), (2, "Really?", "yes")] {
            let result = client.ask(id, "tools/call", params.clone()).await["result"].clone();
            assert_eq!(result["resultType"], "input_required", "{speaks:?}: {result}");
            let asked = result["inputRequests"].as_object().unwrap();
            let (key, question) = asked.iter().next().unwrap();
            assert_eq!(question["params"]["message"], message, "{speaks:?}");
            let response = json!({ "action": "accept", "content": { "a": answer } });
            params["inputResponses"] = json!({ key: response });
            params["requestState"] = result["requestState"].clone();
        }
        let answer = client.ask(3, "tools/call", params).await["result"].clone();
        assert_eq!(answer["answers"][0]["content"]["a"], "Alice", "{speaks:?}: {answer}");
        assert_eq!(answer["answers"][1]["content"]["a"], "yes", "{speaks:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn what_is_told_before_an_answer_comes_under_the_clients_own_token() {
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        let rig = Plan::at(&web.url(speaks.path())).begin();
        let mut client = rig.client();
        client.shake_hands(json!({})).await;
        let params = json!({ "name": "tell", "_meta": { "progressToken": "mine" } });
        client.request(1, "tools/call", params).await;
        let progress = client.next().await;
        let expected =
            json!({ "progressToken": "mine", "progress": 1.0, "total": 2.0, "message": "half" });
        assert_eq!(progress["params"], expected, "{speaks:?}");
        let log = client.next().await;
        assert_eq!(log["params"], json!({ "level": "warning", "data": "careful" }), "{speaks:?}");
        assert_eq!(client.next().await["id"], 1, "{speaks:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn changes_reach_whoever_follows_them() {
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        let rig = Plan::at(&web.url(speaks.path())).begin();
        let mut client = rig.client();
        client.shake_hands(json!({})).await;
        if speaks == Speaks::Handshake {
            until("our stream is there", || web.seen().iter().any(|it| it.method == Method::GET))
                .await;
        }
        let params = json!({ "uri": "test://followed" });
        let answer = client.ask(1, "resources/subscribe", params).await;
        assert_eq!(answer["result"], json!({}), "{speaks:?}: {answer}");
        client.request(2, "tools/call", json!({ "name": "change" })).await;
        let mut methods = Vec::new();
        for _ in 0..3 {
            let message = client.next().await;
            methods.push(message["method"].as_str().unwrap_or("answer").to_owned());
        }
        methods.sort();
        let expected =
            ["answer", "notifications/resources/updated", "notifications/tools/list_changed"];
        assert_eq!(methods, expected, "{speaks:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_change_is_told_to_those_it_concerns_alone() {
    let rig = Plan::scripted().begin();
    let web = in_front_of(&rig.gateway).await;
    let alice = Person::begin(&web, "alice", &[]).await;
    let bob = Person::begin(&web, "bob", &[]).await;
    let (alice_hears, bob_hears) = (alice.listen().await, bob.listen().await);
    bob.post("tools/call", Some(1), json!({ "name": "change" })).await.text().await.unwrap();
    until("bob hears of bob's change", || bob_hears.lock().unwrap().contains("list_changed")).await;
    alice.post("tools/call", Some(1), json!({ "name": "change" })).await.text().await.unwrap();
    until("alice hears of hers", || alice_hears.lock().unwrap().contains("list_changed")).await;
    let heard = alice_hears.lock().unwrap().matches("tools/list_changed").count();
    assert_eq!(heard, 1, "and not of bob's");
    rig.stop().await;
}

/// The client's capabilities are known before anybody is asked.
#[tokio::test]
async fn a_client_that_can_do_something_has_one_conversation_and_not_two() {
    let web = Web::serve(Speaks::Handshake.server()).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let mut client = rig.client();
    client.shake_hands(json!({ "elicitation": {} })).await;
    client.ask(1, "tools/call", json!({ "name": "odd" })).await;
    assert_eq!(web.count("initialize"), 1);
    rig.stop().await;
}

#[tokio::test]
async fn everybody_has_a_session_of_their_own_unless_the_operator_says_otherwise() {
    for (per, expected) in [(Per::User, 2), (Per::Process, 1)] {
        let web = Web::serve(Speaks::Handshake.server()).await;
        let rig = Plan { per, ..Plan::at(&web.url("/mcp")) }.begin();
        for person in ["alice", "bob", "alice"] {
            rig.call(&caller(person), "odd").await.unwrap();
        }
        assert_eq!(web.count("initialize"), expected, "{per:?}");
        let mut sessions: Vec<_> = web
            .seen()
            .iter()
            .filter(|seen| seen.says().as_deref() == Some("tools/call"))
            .map(|seen| seen.header("mcp-session-id").unwrap().to_owned())
            .collect();
        sessions.sort();
        sessions.dedup();
        assert_eq!(sessions.len(), expected, "{per:?}");
        rig.stop().await;
        let ended = web.seen().iter().filter(|seen| seen.method == Method::DELETE).count();
        assert_eq!(ended, expected, "{per:?}: each is ended with us");
    }
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_made_anew_and_its_call_repeated_once() {
    let web = Web::serve(Speaks::Handshake.server()).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let alice = caller("alice");
    rig.call(&alice, "odd").await.unwrap();
    web.become_another(Speaks::Handshake.server());
    rig.call(&alice, "odd").await.unwrap();
    assert_eq!(web.count("initialize"), 2);
    assert_eq!(web.count("tools/call"), 3, "one was refused, which is no reason to fail");

    // One that comes back as another kind of server is found out again.
    web.become_another(Speaks::Stateless.server());
    rig.call(&alice, "odd").await.unwrap();
    rig.stop().await;
}

/// Another server is put in its place: of the same kind, of an older, of a newer.
#[tokio::test]
async fn what_was_followed_goes_on_when_the_server_has_begun_anew() {
    let rows = [
        (Speaks::Handshake, Speaks::Handshake, 2, 1),
        (Speaks::Stateless, Speaks::Handshake, 1, 1),
        (Speaks::Handshake, Speaks::Stateless, 1, 0),
    ];
    for (before, after, subscribed, parted) in rows {
        let web = Web::serve(before.server()).await;
        let rig = Plan::at(&web.url("/mcp")).begin();
        let mut client = rig.client();
        client.shake_hands(json!({})).await;
        let uri = json!({ "uri": "test://followed" });
        let answer = client.ask(1, "resources/subscribe", uri.clone()).await;
        assert_eq!(answer["result"], json!({}), "{before:?}");
        web.become_another(after.server());
        let answer = client.ask(2, "tools/call", json!({ "name": "odd" })).await;
        assert_eq!(answer["id"], 2, "{before:?} {after:?}");
        assert!(answer["result"].is_object(), "{before:?} {after:?}: {answer}");
        assert_eq!(web.count("resources/subscribe"), subscribed, "{before:?} {after:?}");
        client.request(3, "tools/call", json!({ "name": "change" })).await;
        let mut methods = Vec::new();
        while !methods.contains(&"notifications/resources/updated".to_owned()) {
            methods.push(client.next().await["method"].as_str().unwrap_or("answer").to_owned());
        }
        client.request(4, "resources/unsubscribe", uri).await;
        let has_parted = || web.count("resources/unsubscribe") == parted;
        until("it is followed no more", has_parted).await;
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_always_forgets_is_not_asked_for_ever() {
    let forgets = greeting(async |_| StatusCode::NOT_FOUND.into_response());
    let web = Web::serve(forgets).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let error = rig.call(&caller("alice"), "odd").await.unwrap_err();
    assert!(error.contains("keeps ending"), "{error}");
    assert!(web.count("tools/call") <= 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_is_asked_for_where_it_broke_off() {
    let resumed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&resumed);
    let server = greeting(move |seen| {
        let counted = Arc::clone(&counted);
        async move {
            if seen.method == Method::GET {
                let Some(place) = seen.header("last-event-id") else {
                    return StatusCode::METHOD_NOT_ALLOWED.into_response();
                };
                assert_eq!(seen.header("mcp-session-id"), Some("their-session"));
                assert_eq!(seen.header("mcp-protocol-version"), Some("2025-11-25"));
                let turn = counted.fetch_add(1, Ordering::SeqCst);
                assert_eq!(place, format!("1-{turn}"));
                let answer = json!({ "jsonrpc": "2.0", "id": 3, "result": { "turn": turn } });
                return match turn {
                    0 => stream_of(&["id: 1-1\ndata:\n\n".to_owned()]),
                    _ => stream_of(&[event(&answer)]),
                };
            }
            assert_eq!(seen.json()["id"], 3);
            stream_of(&["id: 1-0\nretry: 20\ndata:\n\n".to_owned()])
        }
    });
    let web = Web::serve(server).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let answer = rig.call(&caller("alice"), "slow").await.unwrap();
    assert_eq!(answer, json!({ "turn": 1 }));
    assert_eq!(web.count("tools/call"), 1, "asked once");
    rig.stop().await;
}

/// A timer inside of it would make it so, and all futures around it.
#[tokio::test]
async fn a_call_asks_for_no_memory_that_allocators_are_slow_at() {
    let rig = Plan::at("http://127.0.0.1:9/mcp").begin();
    let who = caller("alice");
    let call = rig.gateway.call("tools/call", None, &who);
    assert!(std::mem::align_of_val(&*call) <= align_of::<u128>());
    drop(call);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_gives_up_is_heard_of_in_the_words_of_the_servers_era() {
    for speaks in Speaks::ALL {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("left");
        let web = Web::serve(speaks.server()).await;
        let rig = Plan::at(&web.url(speaks.path())).begin();
        let mut client = rig.client();
        client.shake_hands(json!({})).await;
        let params = json!({ "name": "wait", "arguments": { "left": left } });
        client.request(1, "tools/call", params).await;
        until("the call is there", || web.count("tools/call") == 1).await;
        let cancelled = json!({ "requestId": 1 });
        client
            .send(&json!({
                "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled,
            }))
            .await;
        until("the server has given it up", || left.exists()).await;
        let said = usize::from(speaks != Speaks::Stateless);
        assert_eq!(web.count("notifications/cancelled"), said, "{speaks:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_conversation_that_nobody_needs_is_ended() {
    let web = Web::serve(Speaks::Handshake.server()).await;
    let mut plan = Plan::at(&web.url("/mcp"));
    // Longer than it takes until a conversation may be begun again.
    plan.limits.idle = Duration::from_millis(300);
    let rig = plan.begin();
    rig.call(&caller("alice"), "odd").await.unwrap();
    let is_delete = || web.seen().iter().any(|seen| seen.method == Method::DELETE);
    until("its session is ended", is_delete).await;
    rig.call(&caller("alice"), "odd").await.unwrap();
    assert_eq!(web.count("initialize"), 2);
    rig.stop().await;
}

#[tokio::test]
async fn headers_of_a_stateless_request_are_made_from_its_body() {
    let web = Web::serve(Speaks::Stateless.server()).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let alice = caller("alice");
    let rows = [
        ("tools/call", r#"{"name":"odd"}"#, Some("odd")),
        ("tools/call", r#"{"name":"世界"}"#, Some("=?base64?5LiW55WM?=")),
        ("tools/call", r#"{"name":"a\r\nX-Evil: 1"}"#, Some("=?base64?YQ0KWC1FdmlsOiAx?=")),
        ("resources/read", r#"{"uri":"a:\u0000b"}"#, Some("=?base64?YToAYg==?=")),
        ("resources/read", r#"{"uri":"test://x"}"#, Some("test://x")),
        ("tools/list", "{}", None),
        // The one tool that wants an argument in a header: it is found out when it is refused.
        ("tools/call", r#"{"name":"routed","arguments":{"region":"西"}}"#, Some("routed")),
    ];
    for (method, params, name) in rows {
        // What came of it is not the point, except for the last.
        let outcome = rig.gateway.call(method, Some(&raw(params)), &alice).await;
        let all = web.seen();
        let seen = all.iter().rfind(|seen| seen.says().as_deref() == Some(method)).unwrap();
        assert_eq!(seen.header("mcp-protocol-version"), Some("2026-07-28"), "{params}");
        assert_eq!(seen.header("mcp-method"), Some(method), "{params}");
        assert_eq!(seen.header("mcp-name"), name, "{params}");
        assert_eq!(seen.header("mcp-session-id"), None, "{params}");
        assert_eq!(seen.header("x-evil"), None, "{params}");
        if params.contains("routed") {
            assert_eq!(seen.header("mcp-param-region"), Some("=?base64?6KW/?="), "{params}");
            let outcome: Value = serde_json::from_str(outcome.unwrap().get()).unwrap();
            assert_eq!(outcome["arguments"], json!({ "region": "西" }));
        }
    }
    rig.stop().await;
}

/// Case 61: a server does not know that we let in not everybody.
#[tokio::test]
async fn a_list_is_nobody_elses_whatever_the_server_says() {
    let server = stateless(|seen| async move {
        let list = json!({ "tools": [], "cacheScope": "public", "ttlMs": 60_000 });
        axum::Json(result_of(&seen, &list)).into_response()
    });
    let web = Web::serve(server).await;
    let rig = Plan { per: Per::Process, ..Plan::at(&web.url("/mcp")) }.begin();
    let front = in_front_of(&rig.gateway).await;
    for (person, asked) in [("alice", 1), ("mallory", 2)] {
        let mut client = testkit::McpClient::new(front.url("/mcp"));
        client.set_header("x-test-person", person);
        let list = client.stateless("tools/list", json!({})).await.result();
        assert_eq!(list["cacheScope"], "private", "{person}: {list}");
        assert_eq!(web.count("tools/list"), asked, "{person}: nothing is kept here");
    }
    let mut older = rig.client();
    older.shake_hands(json!({})).await;
    let list = older.ask(1, "tools/list", json!({})).await["result"].clone();
    assert_eq!(list, json!({ "tools": [] }), "an older client is told nothing of keeping");
    rig.stop().await;
}

/// Every byte that any server of any kind gets, looked through for what is none of its business.
#[tokio::test]
async fn a_server_gets_nothing_of_a_clients_request_but_its_message() {
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        let secret = Secret::new("Bearer operators-own");
        let server = RemoteServer::new(
            &web.url(speaks.path()),
            None,
            [("Authorization", &secret), ("X-Api-Key", &secret)],
        );
        let plan = Plan { server: server.unwrap().into(), ..Plan::at("http://127.0.0.1/") };
        let rig = plan.begin();
        let front = in_front_of(&rig.gateway).await;
        let client = Person::begin(
            &front,
            "alice",
            &[
                ("authorization", "Bearer mcp_clients-token"),
                ("cookie", "session=clients-cookie"),
                ("origin", "https://clients-origin.example"),
                ("x-forwarded-for", "203.0.113.7"),
                ("x-forwarded-user", "forged-user"),
                ("mcp-name", "forged-name"),
                ("mcp-param-x", "forged-param"),
                ("last-event-id", "forged-place"),
                // Whoever lists a header here wants it taken out on the way.
                ("connection", "authorization, x-api-key, mcp-session-id, mcp-protocol-version"),
                ("x_forwarded_user", "forged-user"),
                ("x-auth-request-email", "forged-email"),
                ("forwarded", "for=forged-for;host=forged-host"),
                ("via", "1.1 forged-proxy"),
                ("proxy-authorization", "Basic forged-password"),
                ("te", "trailers, forged-coding"),
            ],
        )
        .await;
        client.post("tools/call", Some(1), json!({ "name": "odd" })).await.text().await.unwrap();
        let uri = json!({ "uri": "test://followed" });
        client.post("resources/subscribe", Some(2), uri).await.text().await.unwrap();
        let session = client.session();
        rig.stop().await;

        let seen = web.seen();
        assert!(seen.len() >= 3, "{speaks:?}");
        for one in &seen {
            assert_eq!(one.header("authorization"), Some("Bearer operators-own"), "{one:?}");
            assert_eq!(one.header("x-api-key"), Some("Bearer operators-own"), "{one:?}");
            let all = format!(
                "{} {:?} {}",
                one.path,
                one.headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value:?}"))
                    .collect::<Vec<_>>(),
                String::from_utf8_lossy(&one.body)
            );
            for foreign in
                ["mcp_clients-token", "clients-", "forged-", "203.0.113.7", session.as_str()]
            {
                assert!(!all.contains(foreign), "{speaks:?}: {foreign} in {all}");
            }
            let host = web.origin.strip_prefix("http://");
            assert_eq!(one.header("host"), host, "our own idea of who it is");
            assert_eq!(one.header("origin"), None);
        }
    }
}

#[test]
fn a_url_or_header_that_cannot_be_used_is_refused() {
    let secret = Secret::new("v");
    let evil = Secret::new("a\r\nb: c");
    let header = |name: &str| RemoteServerError::Header(name.to_owned());
    let reserved = |name: &str| RemoteServerError::ReservedHeader(name.to_owned());
    let rows = [
        ("http://127.0.0.1:1/mcp", None, Ok(()), "plain"),
        ("https://a.example/mcp?key=1", None, Ok(()), "a query is the operator's"),
        ("https://a.example/", Some(("Authorization", &secret)), Ok(()), "credentials"),
        ("ftp://a.example/", None, Err(RemoteServerError::NotAUrl), "another scheme"),
        ("unix:/tmp/x", None, Err(RemoteServerError::NotAUrl), "no host"),
        ("a.example/mcp", None, Err(RemoteServerError::NotAUrl), "no scheme"),
        ("https://u:p@a.example/", None, Err(RemoteServerError::Credentials), "name, password"),
        ("https://u@a.example/", None, Err(RemoteServerError::Credentials), "a name"),
        ("https://a.example/#x", None, Err(RemoteServerError::Fragment), "a fragment"),
        ("https://a.example/", Some(("a b", &secret)), Err(header("a b")), "a space"),
        ("https://a.example/", Some(("A", &evil)), Err(header("A")), "two lines"),
        ("https://a.example/", Some(("Host", &secret)), Err(reserved("Host")), "who it is for"),
        (
            "https://a.example/",
            Some(("mcp-session-ID", &secret)),
            Err(reserved("mcp-session-ID")),
            "a session",
        ),
        ("https://a.example/", Some(("Accept", &secret)), Err(reserved("Accept")), "ours to say"),
        (
            "https://a.example/",
            Some(("Content-Length", &secret)),
            Err(reserved("Content-Length")),
            "smuggling",
        ),
    ];
    for (url, header, expected, reason) in rows {
        let made = RemoteServer::new(url, None, header).map(drop);
        assert_eq!(made, expected, "{url}: {reason}");
    }
    let twice = [("X-Key", &secret), ("x-key", &secret)];
    let made = RemoteServer::new("https://a.example/", None, twice).map(drop);
    assert_eq!(
        made,
        Err(RemoteServerError::DoubledHeader("x-key".to_owned())),
        "whatever its case"
    );
}
