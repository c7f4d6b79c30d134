//! Several servers as one: their lists, whose something is, and that none of them takes the others
//! down. Some are real processes and real ports, so that all of a conversation is seen to go through.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sekisho::gateway::{Merged, MergedError};
use sekisho::mcp::{Context, McpService};
use sekisho::protocol::mcp::MemberName;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::child::{ODD_RESULT, Scripted};
use crate::rig::{Plan, caller, client_of, meta, raw};
use crate::shelf::Shelf;
use crate::web::{Speaks, Web};

fn merged(members: Vec<(&str, Arc<dyn McpService>)>) -> Arc<Merged> {
    let named = |(name, service)| (MemberName::parse(name).unwrap(), service);
    Arc::new(Merged::new("all", members.into_iter().map(named).collect()).unwrap())
}

fn of<const N: usize>(shelves: [(&str, &Arc<Shelf>); N]) -> Arc<Merged> {
    merged(shelves.into_iter().map(|(name, shelf)| (name, Arc::clone(shelf) as _)).collect())
}

async fn ask(merged: &Merged, method: &str, params: Value, who: &Context) -> Result<Value, String> {
    let params: Box<RawValue> = raw(&params.to_string());
    let result = merged.call(method, Some(&params), who).await;
    result.map(|raw| serde_json::from_str(raw.get()).unwrap()).map_err(|error| error.to_string())
}

/// The names in a list, of whichever kind.
fn names(list: &Value) -> Vec<String> {
    let lists = ["tools", "prompts", "resources", "resourceTemplates"];
    let entries = lists.iter().find_map(|name| list[*name].as_array()).unwrap();
    let keys = ["name", "uri", "uriTemplate"];
    let name = |entry: &Value| keys.iter().find_map(|key| entry[*key].as_str()).unwrap().to_owned();
    entries.iter().map(name).collect()
}

async fn capabilities(merged: &Merged, who: &Context) -> Value {
    serde_json::from_str(merged.info(who).await.unwrap().capabilities.get()).unwrap()
}

#[tokio::test]
async fn lists_are_those_of_all_members_in_their_order_under_the_members_names() {
    let files = Arc::new(
        Shelf::new(json!({ "tools": {}, "resources": { "subscribe": true } }))
            .with("tools/list", "tools", "name", &[&["read", "search"]])
            .with("resources/list", "resources", "uri", &[&["note:1"]])
            .with("resources/templates/list", "resourceTemplates", "uriTemplate", &[&["note:{n}"]]),
    );
    let web = Arc::new(
        Shelf::new(json!({ "tools": {}, "prompts": {} }))
            .with("tools/list", "tools", "name", &[&["search"]])
            .with("prompts/list", "prompts", "name", &[&["letter"]]),
    );
    let all = of([("web", &web), ("files", &files)]);
    let rows: [(&str, &[&str]); 4] = [
        ("tools/list", &["web_search", "files_read", "files_search"]),
        ("prompts/list", &["web_letter"]),
        ("resources/list", &["files+note:1"]),
        ("resources/templates/list", &["files+note:{n}"]),
    ];
    let alice = caller("alice");
    for (method, expected) in rows {
        let list = ask(&all, method, json!({}), &alice).await.unwrap();
        assert_eq!(names(&list), expected);
        assert_eq!(list.as_object().unwrap().len(), 1, "no cursor: {list}");
    }
    let asked: Vec<_> = web.reached().into_iter().map(|(method, _)| method).collect();
    assert_eq!(asked, ["tools/list", "prompts/list"], "nobody is asked for what they have not");
    let can = json!({
        "tools": { "listChanged": true }, "prompts": { "listChanged": true },
        "resources": { "listChanged": true, "subscribe": true },
    });
    assert_eq!(capabilities(&all, &alice).await, can);
    let error = ask(&all, "completion/complete", json!({}), &alice).await.unwrap_err();
    assert!(error.contains("-32602"), "{error}");
    let error = ask(&all, "params/echo", json!({ "name": "web_x" }), &alice).await.unwrap_err();
    assert!(error.contains("-32601"), "a method that names nobody's: {error}");
}

#[tokio::test]
async fn every_page_of_every_member_comes_once() {
    let files = Arc::new(Shelf::of_tools(&[&["a"], &["b"], &["c"]]));
    let mail = Arc::new(Shelf::of_tools(&[&["a"]]));
    let web = Arc::new(Shelf::of_tools(&[&["a", "b"], &["c"]]));
    let all = of([("files", &files), ("mail", &mail), ("web", &web)]);
    let alice = caller("alice");
    let mut found = Vec::new();
    let mut params = json!({ "_meta": { "traceparent": "t" } });
    for page in 1.. {
        let list = ask(&all, "tools/list", params.clone(), &alice).await.unwrap();
        found.extend(names(&list));
        assert!(page <= 3, "{list}");
        let Some(cursor) = list["nextCursor"].as_str() else { break };
        assert!(!cursor.contains("page"), "nobody reads it: {cursor}");
        params["cursor"] = cursor.into();
    }
    let expected =
        ["files_a", "mail_a", "web_a", "web_b", "files_b", "web_c", "files_c"].map(str::to_owned);
    assert_eq!(found, expected);
    let last = files.reached().pop().unwrap().1;
    assert_eq!(last, r#"{"_meta":{"traceparent":"t"},"cursor":"page 2"}"#, "its own cursor");

    for (method, why) in [("prompts/list", "another list"), ("resources/list", "and another")] {
        let error = ask(&all, method, params.clone(), &alice).await.unwrap_err();
        assert!(error.contains("-32602"), "{why}: {error}");
    }
    let fewer = of([("mail", &mail), ("web", &web)]);
    let error = ask(&fewer, "tools/list", params, &alice).await.unwrap_err();
    assert!(error.contains("begin it anew"), "a list that has become another: {error}");
}

#[tokio::test]
async fn a_tool_whose_name_clients_would_refuse_is_neither_listed_nor_called() {
    let long = "x".repeat(59);
    let files = Arc::new(Shelf::of_tools(&[&["a", &long]]));
    let all = of([("files", &files)]);
    let alice = caller("alice");
    let list = ask(&all, "tools/list", json!({}), &alice).await.unwrap();
    assert_eq!(names(&list), ["files_a"]);
    files.reached();
    let call = json!({ "name": format!("files_{long}") });
    let error = ask(&all, "tools/call", call, &alice).await.unwrap_err();
    assert!(error.contains("there is no tool"), "{error}");
    assert_eq!(files.reached(), []);
}

#[tokio::test]
async fn what_is_asked_reaches_its_member_alone_and_as_it_came() {
    let (files, web) = (Arc::new(Shelf::of_tools(&[&[]])), Arc::new(Shelf::of_tools(&[&[]])));
    let all = of([("files", &files), ("web", &web)]);
    let alice = caller("alice");
    let rows = [
        (
            "tools/call",
            r#"{"name":"files_a_b","arguments":{"n" : 1.0e2},"_meta":{"x":1}}"#,
            r#"{"name":"a_b","arguments":{"n" : 1.0e2},"_meta":{"x":1}}"#,
            r#"{"content":[{"name":"note:1","type":"resource_link","uri":"files+note:1"}],"structuredContent":{"uri":"note:1"}}"#,
        ),
        (
            "prompts/get",
            r#"{"name":"files_p"}"#,
            r#"{"name":"p"}"#,
            r#"{"messages":[{"content":{"name":"note:1","type":"resource_link","uri":"files+note:1"},"role":"user"}]}"#,
        ),
        (
            "resources/read",
            r#"{"uri":"files+note:1"}"#,
            r#"{"uri":"note:1"}"#,
            r#"{"contents":[{"text":"","uri":"files+note:1"}]}"#,
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"files+note:{n}"},"argument":{}}"#,
            r#"{"ref":{"type":"ref/resource","uri":"note:{n}"},"argument":{}}"#,
            "{}",
        ),
    ];
    for (method, params, theirs, result) in rows {
        let came = all.call(method, Some(&raw(params)), &alice).await.unwrap();
        assert_eq!(files.reached(), [(method.to_owned(), theirs.to_owned())]);
        assert_eq!(came.get(), result, "{method}");
    }
    all.subscribe("files+note:1", &alice).await.unwrap();
    assert_eq!(files.reached(), [("subscribe".to_owned(), "note:1".to_owned())]);
    assert!(all.subscribe("note:1", &alice).await.is_err(), "whose would it be?");

    let told = ["notifications/roots/list_changed", "notifications/progress", "x/y"];
    for method in told {
        all.notice(method, None, &alice).await;
    }
    let heard = [("notifications/roots/list_changed".to_owned(), String::new())];
    assert_eq!((files.reached(), web.reached()), (heard.to_vec(), heard.to_vec()));
}

#[tokio::test]
async fn a_call_that_two_readers_could_read_differently_reaches_no_member() {
    let (files, web) = (Arc::new(Shelf::of_tools(&[&[]])), Arc::new(Shelf::of_tools(&[&[]])));
    let all = of([("files", &files), ("web", &web)]);
    for params in [
        r#"{"name":"files_a","name":"web_a"}"#,
        r#"{"name":"files_a","\u006eame":"web_a"}"#,
        r#"{"name":"files_a","arguments":[1]}"#,
        r#"{"name":"files_a","arguments":{},"arguments":{}}"#,
        r#"["files_a",{}]"#,
        r#"{"name":"a"}"#,
        r#"{"name":"other_a"}"#,
        r#"{"name":"_a"}"#,
        r#"{"name":"files"}"#,
        r#"{"name":"FILES_a"}"#,
        "{}",
    ] {
        let error = all.call("tools/call", Some(&raw(params)), &caller("alice")).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("-32602"), "{params}: {error}");
    }
    assert_eq!((files.reached(), web.reached()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_fails_or_hangs_takes_no_other_down() {
    let rows = [
        (Shelf::of_tools(&[&["a"]]).failing(), 0, "it fails"),
        (Shelf::of_tools(&[&["a"]]).hanging_at("initialize"), 10, "it does not say what it is"),
        (Shelf::of_tools(&[&["a"]]).hanging_at("tools/list"), 10, "it does not list"),
    ];
    for (broken, waited, reason) in rows {
        let (broken, good) = (Arc::new(broken), Arc::new(Shelf::of_tools(&[&["a"]])));
        let all = of([("broken", &broken), ("good", &good)]);
        let alice = caller("alice");
        let began = tokio::time::Instant::now();
        let can = capabilities(&all, &alice).await;
        assert_eq!(can["tools"], json!({ "listChanged": true }), "{reason}");
        for again in 0..3 {
            let list = ask(&all, "tools/list", json!({}), &alice).await.unwrap();
            assert_eq!(names(&list), ["good_a"], "{reason}: {again}");
            let whole = began.elapsed().as_secs();
            assert_eq!(whole, waited, "{reason}: who hangs is waited for once: {again}");
        }
        ask(&all, "tools/call", json!({ "name": "good_a" }), &alice).await.unwrap();
        // Somebody else may have more luck, so they wait themselves.
        ask(&all, "tools/list", json!({}), &caller("bob")).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 2 * waited, "{reason}");
    }
    let broken = Arc::new(Shelf::of_tools(&[&["a"]]).failing());
    let alone = of([("broken", &broken)]);
    assert!(alone.info(&caller("alice")).await.is_ok(), "who comes now may list later");
    for (method, params) in
        [("tools/list", json!({})), ("tools/call", json!({ "name": "broken_a" }))]
    {
        assert!(ask(&alone, method, params, &caller("alice")).await.is_err(), "no list is no list");
    }
}

#[tokio::test(start_paused = true)]
async fn who_missed_a_slow_member_hears_when_it_is_there() {
    let slow = Arc::new(Shelf::of_tools(&[&["a"]]).hanging_at("initialize"));
    let good = Arc::new(Shelf::of_tools(&[&["a"]]));
    let all = of([("slow", &slow), ("good", &good)]);
    let mut client = client_of(Arc::clone(&all) as _);
    client.shake_hands(json!({})).await;
    let list = client.ask(1, "tools/list", json!({})).await;
    assert_eq!(names(&list["result"]), ["good_a"]);
    slow.let_on();
    let told = [client.next().await, client.next().await, client.next().await];
    let told: BTreeSet<_> = told.iter().map(|told| told["method"].as_str().unwrap()).collect();
    let lists = ["prompts", "resources", "tools"];
    let expected = lists.map(|list| format!("notifications/{list}/list_changed"));
    assert_eq!(told, expected.iter().map(String::as_str).collect());
    let list = client.ask(2, "tools/list", json!({})).await;
    assert_eq!(names(&list["result"]), ["slow_a", "good_a"]);
}

#[tokio::test]
async fn a_call_without_a_handshake_begins_its_own_member_alone() {
    let (files, web) = (Arc::new(Shelf::of_tools(&[&[]])), Arc::new(Shelf::of_tools(&[&[]])));
    let mut client = client_of(of([("files", &files), ("web", &web)]) as _);
    let params = json!({ "name": "files_a", "_meta": meta(&json!({})) });
    let answer = client.ask(1, "tools/call", params).await["result"].clone();
    assert_eq!(answer["content"][0]["uri"], "files+note:1");
    let info = &answer["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["name"], "all");
    assert_eq!(web.greeted(), 0);
}

#[test]
fn servers_that_cannot_be_one_are_refused() {
    let shelf = || Arc::new(Shelf::of_tools(&[&[]])) as Arc<dyn McpService>;
    let name = |text: &str| MemberName::parse(text).unwrap();
    let many = (0..33).map(|number| (name(&format!("a{number}")), shelf())).collect();
    let rows = [
        (vec![], MergedError::Nobody, "none"),
        (
            vec![(name("a"), shelf()), (name("a"), shelf())],
            MergedError::Twice(name("a")),
            "two of one name",
        ),
        (many, MergedError::TooMany, "too many"),
    ];
    for (members, expected, reason) in rows {
        assert_eq!(Merged::new("all", members).map(drop).unwrap_err(), expected, "{reason}");
    }
}

/// A process and servers at ports that speak each protocol, and one of our own.
#[tokio::test]
async fn a_whole_conversation_goes_through_whatever_the_member_speaks() {
    let mut rigs = vec![("stdio", Plan::scripted().begin())];
    let mut webs = Vec::new();
    for (name, speaks) in ["handshake", "stateless", "sse"].into_iter().zip(Speaks::ALL) {
        let web = Web::serve(speaks.server()).await;
        rigs.push((name, Plan::at(&web.url(speaks.path())).begin()));
        webs.push(web);
    }
    let mut members: Vec<(&str, Arc<dyn McpService>)> =
        rigs.iter().map(|(name, rig)| (*name, Arc::clone(&rig.gateway) as _)).collect();
    members.push(("own", Arc::new(Scripted::default())));
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let all = merged(members);

    let mut older = client_of(Arc::clone(&all) as _);
    older.shake_hands(json!({ "elicitation": {} })).await;
    for name in names {
        with_a_handshake(&mut older, name).await;
        without_a_handshake(client_of(Arc::clone(&all) as _), name).await;
    }
    for (_, rig) in rigs {
        rig.stop().await;
    }
    // The headers of a server without a handshake say what the body says that it gets.
    let seen = webs[1].seen();
    let calls = seen.iter().filter(|seen| seen.says().as_deref() == Some("tools/call"));
    let names: BTreeSet<_> = calls.map(|seen| seen.header("mcp-name")).collect();
    let expected = ["ask", "change", "odd", "tell"].map(Some);
    assert_eq!(names, expected.into_iter().collect());
}

/// Fidelity, progress, questions and changes of one member, for a client with a session.
async fn with_a_handshake(client: &mut crate::rig::Client, name: &str) {
    client.request(7, "tools/call", json!({ "name": format!("{name}_odd") })).await;
    let line = client.line().await;
    assert_eq!(line.trim_end(), format!(r#"{{"jsonrpc":"2.0","id":7,"result":{ODD_RESULT}}}"#));

    let tell = json!({ "name": format!("{name}_tell"), "_meta": { "progressToken": "mine" } });
    client.request(8, "tools/call", tell).await;
    assert_eq!(client.next().await["params"]["progressToken"], "mine", "{name}");
    assert_eq!(client.next().await["params"]["data"], "careful", "{name}");
    assert_eq!(client.next().await["id"], 8, "{name}");

    client.request(9, "tools/call", json!({ "name": format!("{name}_ask") })).await;
    for answer in ["Alice", "yes"] {
        let question = client.next().await;
        assert_eq!(question["method"], "elicitation/create", "{name}: {question}");
        let result = json!({ "action": "accept", "content": { "a": answer } });
        client.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })).await;
    }
    assert_eq!(client.next().await["result"]["answers"][1]["content"]["a"], "yes", "{name}");

    let followed = format!("{name}+test://followed");
    let answer = client.ask(10, "resources/subscribe", json!({ "uri": followed })).await;
    assert_eq!(answer["result"], json!({}), "{name}");
    client.request(11, "tools/call", json!({ "name": format!("{name}_change") })).await;
    let mut told = BTreeSet::new();
    for _ in 0..3 {
        let message = client.next().await;
        let uri = message["params"]["uri"].as_str().unwrap_or_default();
        told.insert(format!("{} {uri}", message["method"].as_str().unwrap_or("answer")));
    }
    let updated = format!("notifications/resources/updated {followed}");
    let expected = ["answer ", &updated, "notifications/tools/list_changed "];
    assert_eq!(told, expected.into_iter().map(str::to_owned).collect(), "{name}");
}

/// A call in several rounds, for a client without one; its state is good for this very tool.
async fn without_a_handshake(mut client: crate::rig::Client, name: &str) {
    let can = json!({ "elicitation": {} });
    let mut params = json!({ "name": format!("{name}_ask"), "_meta": meta(&can) });
    for (id, answer) in [(1, "Alice"), (2, "yes")] {
        let result = client.ask(id, "tools/call", params.clone()).await["result"].clone();
        assert_eq!(result["resultType"], "input_required", "{name}: {result}");
        let key = result["inputRequests"].as_object().unwrap().keys().next().unwrap();
        let response = json!({ "action": "accept", "content": { "a": answer } });
        params["inputResponses"] = json!({ key: response });
        params["requestState"] = result["requestState"].clone();
        let mut elsewhere = params.clone();
        elsewhere["name"] = json!("own_odd");
        let refused = client.ask(id + 10, "tools/call", elsewhere).await;
        assert_eq!(refused["error"]["code"], -32602, "{name}: taken to another server");
    }
    let answer = client.ask(3, "tools/call", params).await["result"].clone();
    assert_eq!(answer["answers"][1]["content"]["a"], "yes", "{name}: {answer}");
}

#[tokio::test]
async fn a_client_that_gives_up_has_its_call_cancelled_at_the_member() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left");
    let rig = Plan::scripted().variable("GATEWAY_TEST_LEFT", &left).begin();
    let all = merged(vec![("files", Arc::clone(&rig.gateway) as _)]);
    let mut client = client_of(all as _);
    client.shake_hands(json!({})).await;
    client.request(1, "tools/call", json!({ "name": "files_wait" })).await;
    client.ask(2, "tools/call", json!({ "name": "files_who" })).await;
    let cancelled = json!({ "requestId": 1 });
    let method = "notifications/cancelled";
    client.send(&json!({ "jsonrpc": "2.0", "method": method, "params": cancelled })).await;
    crate::rig::until("the server hears that the call is cancelled", || left.exists()).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_person_has_one_process_whichever_way_they_come() {
    let rig = Plan::scripted().begin();
    let all = merged(vec![("files", Arc::clone(&rig.gateway) as _)]);
    let alice = caller("alice");
    let through = ask(&all, "tools/call", json!({ "name": "files_who" }), &alice).await.unwrap();
    assert_eq!(through["pid"], rig.process_of(&alice).await);
    rig.stop().await;
}

#[tokio::test]
async fn a_log_level_is_told_to_every_member_that_logs() {
    let loud = Arc::new(Shelf::new(json!({ "logging": {} })));
    let quiet = Arc::new(Shelf::new(json!({ "tools": {} })));
    let all = of([("loud", &loud), ("quiet", &quiet)]);
    let alice = caller("alice");
    let level = json!({ "level": "debug" });
    ask(&all, "logging/setLevel", level.clone(), &alice).await.unwrap();
    let told = [("logging/setLevel".to_owned(), level.to_string())];
    assert_eq!((loud.reached(), quiet.reached()), (told.to_vec(), vec![]));
    let error = ask(&of([("quiet", &quiet)]), "logging/setLevel", level, &alice).await;
    assert!(error.unwrap_err().contains("-32601"));
}

/// A member that is slow for good is asked no second time meanwhile.
#[tokio::test(start_paused = true)]
async fn a_member_that_hangs_is_asked_once_at_a_time() {
    let slow = Arc::new(Shelf::of_tools(&[&["a"]]).hanging_at("tools/list"));
    let good = Arc::new(Shelf::of_tools(&[&["a"]]));
    let all = of([("slow", &slow), ("good", &good)]);
    let alice = caller("alice");
    for _ in 0..5 {
        ask(&all, "tools/list", json!({}), &alice).await.unwrap();
    }
    assert_eq!(slow.reached().len(), 1);
    slow.let_on();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let list = ask(&all, "tools/list", json!({}), &alice).await.unwrap();
    assert_eq!(names(&list), ["slow_a", "good_a"]);
}
