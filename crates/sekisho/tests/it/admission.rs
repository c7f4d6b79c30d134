//! Who may log in at all, and what is known of those who did: `identity.allow`, claims, and the scopes
//! that single tools ask for.

use std::sync::Arc;
use std::time::Duration;

use sekisho::authorization_server::Checked;
use sekisho::authorization_server::personal_token::{self, PersonalTokenRequest};
use sekisho::grant::TokenKey;
use sekisho::policy::{Admission, Expression, Scope};
use sekisho::principal::Claims;
use sekisho::store::GrantsOf;
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{ProtectedResources, ScopeSet};
use serde_json::json;
use testkit::scripted_provider::identity;
use testkit::world::{VERIFIER, authorize_url, tokens};
use testkit::{Browser, Tokens, World};

use crate::account;

const RECHECK: Duration = Duration::from_mins(15);

fn groups(names: &[&str]) -> Claims {
    [("groups".to_owned(), json!(names))].into_iter().collect()
}

fn only(condition: &str) -> Admission {
    Admission::only(Expression::parse(condition, Scope::Login).unwrap())
}

async fn world_for_staff() -> World {
    let mut builder = World::builder();
    builder.admission = only("'staff' in user.groups");
    let world = builder.build().await;
    world.provider.say_of("alice", groups(&["staff"]));
    world.provider.say_of("mallory", groups(&["guests"]));
    world
}

/// Nobody is kept out, and alice is of the staff.
async fn world_for_all() -> World {
    let world = World::builder().build().await;
    world.provider.say_of("alice", groups(&["staff"]));
    world
}

/// What was granted in `before`, under settings that let in those of whom this holds.
async fn under_other_settings(before: &World, condition: &str) -> World {
    let mut builder = World::builder().over(Arc::clone(&before.store)).by(&before.clock);
    builder.admission = only(condition);
    builder.build().await
}

#[tokio::test]
async fn who_is_not_let_in_gets_nothing_and_the_client_hears_that_they_were_refused() {
    let world = world_for_staff().await;
    let client = world.public_client("https://app.example/cb").await;
    for (person, expected) in
        [("alice", None), ("mallory", Some("access_denied")), ("eve", Some("access_denied"))]
    {
        let url = authorize_url(&client, &[("state", "abc")]);
        let answer = world.log_in(&mut Browser::default(), person, &url).await;
        assert_eq!(answer.parameter("error").as_deref(), expected, "{person}");
        assert_eq!(answer.parameter("code").is_some(), expected.is_none(), "{person}");
        assert_eq!(answer.parameter("state").as_deref(), Some("abc"), "{person}");
        let theirs = GrantsOf::person(&identity(person));
        assert!(world.store.list_grants(&theirs, None).await.unwrap().is_empty(), "{person}");
        assert!(world.store.find_people(&identity(person).subject).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn who_is_not_let_in_any_more_has_no_account_page_to_make_tokens_on() {
    let before = world_for_all().await;
    let [mut alice, mut bob] = [Browser::default(), Browser::default()];
    account::log_in(&before, &mut alice, "alice").await;
    account::log_in(&before, &mut bob, "bob").await;
    assert!(bob.open(&before.app, "/account").await.body.contains("Log out"));

    let after = under_other_settings(&before, "'staff' in user.groups").await;
    let page = bob.open(&after.app, "/account").await;
    assert!(page.body.contains("/account/login") && !page.body.contains("Log out"), "{page:?}");
    assert!(alice.open(&after.app, "/account").await.body.contains("Log out"));
}

#[tokio::test]
async fn who_is_not_let_in_any_more_refreshes_nothing() {
    let before = world_for_all().await;
    let client = before.public_client("https://app.example/cb").await;
    let alice = before.tokens(&client, "alice").await;
    let bob = before.tokens(&client, "bob").await;

    let after = under_other_settings(&before, "'staff' in user.groups").await;
    assert_eq!(after.refresh(&client, &alice.refresh).await.status, 200);
    let refused = after.refresh(&client, &bob.refresh).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["error"].as_str()),
        (400, Some("invalid_grant"))
    );
}

/// Neither a token that lives for an hour nor one for a year outlasts the settings that let it be.
#[tokio::test]
async fn who_is_not_let_in_any_more_calls_nothing_from_then_on() {
    let before = world_for_all().await;
    let client = before.public_client("https://app.example/cb").await;
    let mut shown = Vec::new();
    for person in ["alice", "bob"] {
        shown.push((person, before.tokens(&client, person).await.access));
        let of = GrantsOf::person(&identity(person));
        let grant = before.store.list_grants(&of, None).await.unwrap().remove(0);
        let servers = World::builder().settings.servers;
        let request = PersonalTokenRequest {
            identity: &grant.identity,
            server: servers.iter().next().unwrap(),
            scope: ScopeSet::default(),
            life: Duration::from_hours(24 * 30),
            label: "",
            session: None,
        };
        let personal = personal_token::add(&*before.store, &*before.clock, &request).await.unwrap();
        shown.push((person, personal.token.reveal().to_owned()));
    }
    let after = under_other_settings(&before, "'staff' in user.groups").await;
    for (person, token) in &shown {
        assert_eq!(before.call("/mcp", token).await.status, 200, "{person}");
        let expected = if *person == "alice" { 200 } else { 401 };
        for _ in 0..2 {
            assert_eq!(after.call("/mcp", token).await.status, expected, "{person}");
        }
    }
    let loosened = under_other_settings(&before, "true").await;
    for (person, token) in &shown {
        assert_eq!(loosened.call("/mcp", token).await.status, 200, "{person}: it only rested");
    }
}

/// Somebody who has logged in twice loses all of it when the first session is asked about.
#[tokio::test]
async fn who_must_not_be_here_any_more_is_out_with_all_they_have() {
    let world = world_for_staff().await;
    let client = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&client, "alice").await;
    world.clock.advance(RECHECK / 2);
    let second = world.tokens(&client, "alice").await;
    world.provider.say_of("alice", groups(&[]));
    world.clock.advance(RECHECK / 2);
    let checked = world.server.provider_sessions().check_due().await.unwrap();
    assert_eq!((checked.alive, checked.ended), (0, 1), "the first alone is due");
    for tokens in [first, second] {
        assert_eq!(world.call("/mcp", &tokens.access).await.status, 401);
    }
}

/// What the guard will be told of whoever shows this token.
async fn claims_behind(world: &World, tokens: &Tokens) -> Option<Claims> {
    let found =
        world.store.find_access_token(&TokenKey::shown(&Secret::new(tokens.access.as_str()))).await;
    found.unwrap().map(|found| found.principal.identity.claims.clone())
}

#[tokio::test]
async fn who_loses_a_group_loses_it_at_the_next_question_and_who_must_not_be_here_is_out() {
    let world = world_for_staff().await;
    world.provider.say_of("alice", groups(&["staff", "admins"]));
    let client = world.public_client("https://app.example/cb").await;
    let alice = world.tokens(&client, "alice").await;
    assert_eq!(claims_behind(&world, &alice).await, Some(groups(&["staff", "admins"])));

    let check = || async {
        world.clock.advance(RECHECK);
        world.server.provider_sessions().check_due().await.unwrap()
    };
    world.provider.say_of("alice", groups(&["staff"]));
    assert_eq!(check().await, Checked { alive: 1, ended: 0, failed: 0 });
    assert_eq!(claims_behind(&world, &alice).await, Some(groups(&["staff"])));

    world.provider.say_of("alice", groups(&[]));
    assert_eq!(check().await, Checked { alive: 0, ended: 1, failed: 0 });
    assert_eq!(claims_behind(&world, &alice).await, None, "nothing is left of the grant");
}

#[tokio::test]
async fn a_new_login_tells_of_the_person_for_all_they_had_allowed_before() {
    let world = world_for_staff().await;
    let client = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&client, "alice").await;
    world.provider.say_of("alice", groups(&["staff", "sales"]));
    let second = world.tokens(&client, "alice").await;
    for tokens in [first, second] {
        assert_eq!(claims_behind(&world, &tokens).await, Some(groups(&["staff", "sales"])));
    }
}

async fn read(world: &World, document: &str) -> serde_json::Value {
    Browser::default().open(&world.app, document).await.json()
}

#[tokio::test]
async fn a_scope_of_single_tools_is_given_to_those_alone_who_ask_for_it() {
    let mut builder = World::builder();
    let servers = builder.settings.servers.iter().cloned();
    let servers = servers.map(|server| match server.name.as_str() {
        "fortune" => server.with_more_scopes(&ScopeSet::of(["reports:run"])),
        _ => server,
    });
    builder.settings.servers = ProtectedResources::new(servers.collect());
    let world = builder.build().await;

    let supported = |document: serde_json::Value| document["scopes_supported"].clone();
    let of_all = read(&world, "/.well-known/oauth-authorization-server").await;
    assert_eq!(supported(of_all), json!(["fortune", "reports:run", "other", "more"]));
    let of_one = read(&world, "/.well-known/oauth-protected-resource/mcp").await;
    assert_eq!(
        supported(of_one),
        json!(["fortune"]),
        "no client asks for more than the least at once"
    );

    let client = world.public_client("https://app.example/cb").await;
    let rows = [
        ("", "fortune", "nothing asked: the least"),
        ("fortune", "fortune", "the least"),
        ("fortune reports:run", "fortune reports:run", "as the challenge says"),
        ("fortune reports:all", "fortune", "no such scope"),
        ("fortune other", "fortune", "another server's"),
    ];
    for (asked, granted, reason) in rows {
        let changes: &[(&str, &str)] = if asked.is_empty() { &[] } else { &[("scope", asked)] };
        let url = authorize_url(&client, changes);
        let back = world.log_in(&mut Browser::default(), "alice", &url).await;
        let code = back.parameter("code").unwrap();
        let answer = world.redeem(&client, &code, VERIFIER).await;
        assert_eq!(answer.json()["scope"], granted, "{reason}");
        assert!(world.call("/mcp", &tokens(&answer).access).await.status == 200, "{reason}");
    }
}
