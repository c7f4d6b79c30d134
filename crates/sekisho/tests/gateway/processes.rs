//! Processes: whose they are, what becomes of those that fail, and that none is left behind.

use std::path::Path;
use std::time::Duration;

use sekisho::gateway::Per;
use sekisho::mcp::McpService as _;
use serde_json::json;

use crate::rig::{PATIENCE, Plan, after_the_greeting, caller, caller_who_can, raw, until};

fn is_there(process: u64) -> bool {
    // A process that nobody waited for has no command line any more.
    std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn has_an_entry(process: u64) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

#[tokio::test]
async fn two_people_never_share_a_process_unless_the_operator_says_so() {
    let rows = [
        (Per::User, false, "each person their own"),
        (Per::Session, false, "without sessions, each person their own"),
        (Per::Process, true, "one for all"),
    ];
    for (per, shared, reason) in rows {
        let rig = Plan { per, ..Plan::scripted() }.begin();
        let alices = rig.process_of(&caller("alice")).await;
        assert_eq!(rig.process_of(&caller("alice")).await, alices, "{reason}: it stays");
        assert_eq!(rig.process_of(&caller("bob")).await == alices, shared, "{reason}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn two_sessions_have_two_processes_if_the_operator_says_so() {
    let rig = Plan { per: Per::Session, ..Plan::scripted() }.begin();
    let mut processes = Vec::new();
    for _ in 0..2 {
        let mut client = rig.client();
        client.shake_hands(json!({})).await;
        let answer = client.ask(1, "tools/call", json!({ "name": "who" })).await;
        processes.push(answer["result"]["pid"].as_u64().unwrap());
    }
    assert_ne!(processes[0], processes[1]);
    rig.stop().await;
}

#[tokio::test]
async fn a_process_gets_the_environment_it_is_given_and_nothing_else() {
    let rig = Plan::scripted().variable("GIVEN", "yes").begin();
    let answer = rig.call(&caller("alice"), "environment").await.unwrap();
    let names: Vec<_> = answer["environment"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap().split('=').next().unwrap().to_owned())
        .collect();
    assert!(names.contains(&"GIVEN".to_owned()), "{names:?}");
    let ours = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("CARGO_"));
    for name in ours {
        assert!(!names.contains(&name), "{name} is ours: {names:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_call_whose_process_dies_fails_at_once_and_the_next_has_another() {
    let rig = Plan::scripted().begin();
    let first = rig.process_of(&caller("alice")).await;
    let bobs = rig.process_of(&caller("bob")).await;
    let error = rig.call(&caller("alice"), "fall").await.unwrap_err();
    assert!(error.contains("ended before it answered"), "{error}");
    let mut second = rig.call(&caller("alice"), "who").await;
    while second.is_err() {
        // It is started again after a pause, and who comes before hears for how long.
        assert!(second.unwrap_err().contains("try again in"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        second = rig.call(&caller("alice"), "who").await;
    }
    assert_ne!(second.unwrap()["pid"].as_u64().unwrap(), first);
    assert_eq!(rig.process_of(&caller("bob")).await, bobs, "nobody else notices");
    rig.stop().await;
}

#[tokio::test]
async fn a_command_that_keeps_ending_is_started_ever_less_often() {
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let script = format!("echo x >> '{}'; exit 1", starts.display());
    let rig = Plan::shell(&script).begin();
    let began = std::time::Instant::now();
    let mut paused = 0;
    while began.elapsed() < Duration::from_secs(2) {
        let error = rig.call(&caller("alice"), "who").await.unwrap_err();
        paused += usize::from(error.contains("try again in"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let started = std::fs::read_to_string(&starts).unwrap().lines().count();
    assert!(started <= 4, "within two seconds: at 0, ½, 1½, and not after that; {started}");
    assert!(paused > started, "who comes in between is told so");
    rig.stop().await;
}

#[tokio::test]
async fn a_command_that_is_not_there_is_an_error_of_the_call() {
    let rig = Plan::program("/no/such/program").begin();
    let error = rig.call(&caller("alice"), "who").await.unwrap_err();
    assert!(error.contains("does not start"), "{error}");
    assert!(!error.contains("/no/such"), "what is configured is no business of a client: {error}");
    rig.stop().await;
}

#[tokio::test]
async fn a_command_that_says_nothing_is_given_up() {
    let mut plan = Plan::shell("sleep 1000");
    plan.limits.start_wait = Duration::from_millis(200);
    let rig = plan.begin();
    let error = rig.call(&caller("alice"), "who").await.unwrap_err();
    assert!(error.contains("does not answer"), "{error}");
    rig.stop().await;
}

#[tokio::test]
async fn a_call_without_an_answer_is_given_up_and_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left");
    let mut plan = Plan::scripted().variable("GATEWAY_TEST_LEFT", &left);
    plan.limits.answer_wait = Duration::from_secs(2);
    let rig = plan.begin();
    let error = rig.call(&caller("alice"), "wait").await.unwrap_err();
    assert!(error.contains("does not answer"), "{error}");
    until("the server hears that the call is cancelled", || left.exists()).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_gives_up_has_its_call_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left");
    let rig = Plan::scripted().variable("GATEWAY_TEST_LEFT", &left).begin();
    let mut client = rig.client();
    client.shake_hands(json!({})).await;
    client.request(1, "tools/call", json!({ "name": "wait" })).await;
    let params = json!({ "name": "who" });
    client.ask(2, "tools/call", params).await;
    let cancelled = json!({ "requestId": 1 });
    client
        .send(
            &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled }),
        )
        .await;
    until("the server hears that the call is cancelled", || left.exists()).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_line_without_end_costs_its_process_and_no_memory() {
    let mut plan = Plan::scripted();
    plan.limits.message_bytes_max = 64 * 1024;
    let rig = plan.begin();
    let error = rig.call(&caller("alice"), "flood").await.unwrap_err();
    assert!(error.contains("ended before it answered"), "{error}");
    rig.stop().await;
}

#[tokio::test]
async fn a_process_that_reads_nothing_holds_nobody_up() {
    let mut plan = Plan::shell(&after_the_greeting("sleep 1000"));
    plan.limits.answer_wait = Duration::from_secs(1);
    plan.limits.calls_max = 100;
    let rig = plan.begin();
    let params = raw(&format!(r#"{{"name":"{}"}}"#, "x".repeat(100_000)));
    let alice = caller("alice");
    let calls = (0..200).map(|_| rig.gateway.call("tools/call", Some(&params), &alice));
    let answers = tokio::time::timeout(PATIENCE, futures::future::join_all(calls)).await.unwrap();
    let refused = |what: &str| {
        let errors = answers.iter().filter_map(|answer| answer.as_ref().err());
        errors.filter(|error| error.to_string().contains(what)).count()
    };
    assert_eq!(refused("too many calls wait"), 100);
    assert_eq!(refused("before it answered") + refused("does not answer"), 100);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_message_is_passed_over_however_much_it_is() {
    let then = "echo not json; echo; yes 'x' | head -n 100000; yes 'y' | head -n 100000 >&2; \
                read initialized; read call; \
                echo '{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"pid\":1}}'; sleep 1000";
    let rig = Plan::shell(&after_the_greeting(then)).begin();
    assert_eq!(rig.process_of(&caller("alice")).await, 1);
    rig.stop().await;
}

#[tokio::test]
async fn too_many_people_are_told_so_and_one_at_rest_makes_room() {
    let mut plan = Plan::scripted();
    plan.limits.upstreams_max = 2;
    let rig = plan.begin();
    let alices = rig.process_of(&caller("alice")).await;
    let bobs = rig.process_of(&caller("bob")).await;
    let carols = rig.process_of(&caller("carol")).await;
    until("the one at rest for longest is ended", || !is_there(alices)).await;
    assert!(is_there(bobs) && is_there(carols));
    rig.stop().await;
    assert!(!is_there(bobs) && !is_there(carols));
}

/// What is ending takes up as much as what runs.
#[tokio::test]
async fn a_process_that_makes_room_is_gone_before_the_next_one_is_there() {
    let stubborn = "trap '' TERM; read initialized; read call; \
                    echo \"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"id\\\":2,\\\"result\\\":{\\\"pid\\\":$$}}\"; \
                    while :; do sleep 1; done";
    let mut plan = Plan::shell(&after_the_greeting(stubborn));
    plan.limits.upstreams_max = 1;
    let rig = plan.begin();
    let alices = rig.process_of(&caller("alice")).await;
    assert!(is_there(alices));
    let bobs = rig.process_of(&caller("bob")).await;
    assert!(!is_there(alices) && is_there(bobs));
    rig.stop().await;
}

#[tokio::test]
async fn a_client_whose_server_did_not_start_may_shake_hands_again() {
    let rig = Plan::program("/no/such/program").begin();
    let mut client = rig.client();
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
    for id in 1..3 {
        let answer = client.ask(id, "initialize", params.clone()).await.to_string();
        assert!(answer.contains("does not start") || answer.contains("keeps ending"), "{answer}");
        let answer = client.ask(id + 10, "tools/list", json!({})).await.to_string();
        assert!(answer.contains("the first request is initialize"), "{answer}");
    }
    rig.stop().await;
}

/// Clients that say they can do ever other things are still one person's.
#[tokio::test]
async fn one_person_with_many_unlike_clients_ends_nobody_elses_process() {
    let mut plan = Plan::scripted();
    plan.limits.upstreams_per_person_max = 2;
    plan.limits.upstreams_max = 3;
    let rig = plan.begin();
    let alices = rig.process_of(&caller("alice")).await;
    for number in 0..4 {
        let mallory = caller_who_can("mallory", &json!({ "sampling": { "x": number } }));
        rig.process_of(&mallory).await;
    }
    assert_eq!(rig.process_of(&caller("alice")).await, alices);
    rig.stop().await;
}

/// Nothing says whose question it would be.
#[tokio::test]
async fn a_process_that_all_share_hears_of_a_client_that_cannot_be_asked() {
    let rig = Plan { per: Per::Process, ..Plan::scripted() }.begin();
    for capabilities in [json!({}), json!({ "elicitation": {}, "sampling": { "x": 1 } })] {
        let can = rig.call(&caller_who_can("alice", &capabilities), "can").await.unwrap();
        assert_eq!(can["can"], json!([false, false, false]));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_process_that_nobody_needs_is_ended() {
    let mut plan = Plan::scripted();
    plan.limits.idle = Duration::ZERO;
    let rig = plan.begin();
    let process = rig.process_of(&caller("alice")).await;
    until("it is ended, and waited for", || !has_an_entry(process)).await;
    rig.stop().await;
}

#[tokio::test]
async fn nothing_is_left_of_a_process_that_will_not_end_and_of_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    // Neither the end of its input nor SIGTERM impresses it or its child.
    let script = format!(
        "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $$ $! > '{}'; {}",
        pids.display(),
        after_the_greeting("while :; do sleep 1; done")
    );
    let rig = Plan::shell(&script).begin();
    let alice = caller("alice");
    let call = rig.call(&alice, "who");
    let given_up = tokio::time::timeout(Duration::from_secs(3), call).await;
    assert!(given_up.is_err(), "it never answers");
    rig.stop().await;
    let pids = std::fs::read_to_string(&pids).unwrap();
    let pids: Vec<u64> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        until("it is gone", || !is_there(pid)).await;
    }
}

#[tokio::test]
async fn what_a_gateway_began_ends_when_nobody_uses_it_any_more() {
    let rig = Plan::scripted().begin();
    rig.process_of(&caller("alice")).await;
    rig.process_of(&caller("bob")).await;
    rig.leave().await;
}
