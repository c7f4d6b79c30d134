//! What a process hears of who calls: by its environment, and so whoever is told otherwise has another
//! process.

use sekisho::gateway::{Attribute, GuardedServer, Per};
use sekisho::mcp::Context;
use serde_json::{Value, json};

use crate::rig::{Plan, Rig, caller, changed};

fn telling() -> Plan {
    let mut plan = Plan::scripted().variable("GIVEN", "yes");
    let GuardedServer::Command(command) = &mut plan.server else { panic!("it is a command") };
    let told = [("WHO", "subject"), ("EMAIL", "email"), ("GROUPS", "claims.groups")];
    command.told = told.map(|(name, word)| (name.into(), Attribute::parse(word).unwrap())).into();
    plan
}

fn in_groups(person: &str, groups: &Value) -> Context {
    changed(&caller(person), |alice| {
        alice.identity.claims = [("groups".to_owned(), groups.clone())].into_iter().collect();
        alice.identity.email = Some("a@example.com".to_owned());
        alice.identity.email_verified = true;
    })
}

/// What a process has of the variables that say who calls.
async fn told(rig: &Rig, who: &Context) -> Vec<String> {
    let answer = rig.call(who, "environment").await.unwrap();
    let all = answer["environment"].as_array().unwrap().iter();
    let all = all.map(|text| text.as_str().unwrap().to_owned());
    let mut told: Vec<_> = all
        .filter(|text| ["WHO=", "EMAIL=", "GROUPS="].iter().any(|name| text.starts_with(name)))
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_process_hears_whose_it_is() {
    for per in [Per::User, Per::Session, Per::Process] {
        let rig = Plan { per, ..telling() }.begin();
        let alice = in_groups("alice", &json!(["staff", "管理"]));
        let expected = ["EMAIL=a@example.com", "GROUPS=[\"staff\",\"管理\"]", "WHO=alice"];
        assert_eq!(told(&rig, &alice).await, expected, "{per:?}");
        assert_eq!(told(&rig, &caller("bob")).await, ["WHO=bob"], "{per:?}: nothing of hers");
        let answer = rig.call(&caller("bob"), "environment").await.unwrap();
        assert!(answer.to_string().contains("GIVEN=yes"), "{per:?}: beside what all get");
        rig.stop().await;
    }
}

#[tokio::test]
async fn whoever_is_told_otherwise_has_another_process() {
    let rig = telling().begin();
    let before = in_groups("alice", &json!(["staff", "admins"]));
    let first = rig.process_of(&before).await;
    assert_eq!(rig.process_of(&before).await, first, "it stays");
    let after = in_groups("alice", &json!(["staff"]));
    let second = rig.process_of(&after).await;
    assert_ne!(second, first, "a right that was taken away is not told any more");
    let other_client = changed(&after, |alice| {
        alice.client_id = sekisho::protocol::oauth::ClientId::new("another");
    });
    assert_eq!(rig.process_of(&other_client).await, second, "she herself is the same");
    rig.stop().await;
}

#[tokio::test]
async fn no_process_is_started_for_whom_it_cannot_hear_of() {
    let rig = telling().begin();
    let nobody = Context::new(None, caller("x").version());
    let error = rig.call(&nobody, "who").await.unwrap_err();
    assert!(error.contains("nobody is known"), "{error}");
    let odd = changed(&caller("a\0b"), |_| {});
    let error = rig.call(&odd, "who").await.unwrap_err();
    assert!(error.contains("too much to say"), "{error}");
    rig.call(&caller("alice"), "who").await.expect("nothing counts against the others");
    rig.stop().await;
}
