//! `/account`: a person sees who may act for them, ends it, makes personal tokens, and nobody else does.

use std::time::Duration;

use testkit::{Answer, Browser, World};

#[tokio::test]
async fn a_person_sees_who_may_act_for_them_and_ends_it() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let alice = world.tokens(&client, "alice").await;
    let bob = world.tokens(&client, "bob").await;
    let mut browser = Browser::default();
    let page = log_in(&world, &mut browser, "alice").await;
    for text in ["alice", "Claude (official)", "app.example", "fortune", "Not yet"] {
        assert!(page.body.contains(text), "{text:?} in {}", page.body);
    }
    assert_eq!(page.body.matches("value=\"remove\"").count(), 1, "bob's is not hers to see");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("cache-control"), "no-store");

    assert_eq!(world.call("/mcp", &alice.access).await.status, 200);
    let removed = press(&world, &mut browser, &page, &[("action", "remove")]).await;
    let to = (removed.status.as_u16(), removed.location());
    assert_eq!(to, (303, Some("http://localhost:8000/account")));
    assert_eq!(world.call("/mcp", &alice.access).await.status, 401, "at once");
    assert_eq!(world.refresh(&client, &alice.refresh).await.error(), "invalid_grant");
    assert_eq!(world.call("/mcp", &bob.access).await.status, 200);
    let page = browser.open(&world.app, "/account").await;
    assert!(page.body.contains("No application may act in your name here."));
}

#[tokio::test]
async fn a_last_use_shows_the_day() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let tokens = world.tokens(&client, "alice").await;
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 200);
    let mut browser = Browser::default();
    // It is written down beside the request.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let page = log_in(&world, &mut browser, "alice").await;
    assert!(!page.body.contains("Not yet"), "{}", page.body);
}

#[tokio::test]
async fn a_grant_of_somebody_else_is_not_ended() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let alice = world.tokens(&client, "alice").await;
    world.tokens(&client, "mallory").await;
    let grants = world.store.list_grants(&sekisho::store::GrantsOf::Everyone, None).await.unwrap();
    let hers = grants.iter().find(|grant| grant.identity.subject == "sub-alice").unwrap();
    let mut browser = Browser::default();
    let page = log_in(&world, &mut browser, "mallory").await;
    let form = page.input("form").unwrap();
    let fields = [("form", form.as_str()), ("grant", hers.id.as_str()), ("action", "remove")];
    assert_eq!(browser.post(&world.app, "/account", &fields).await.status, 303, "as if done");
    assert_eq!(world.call("/mcp", &alice.access).await.status, 200);
}

#[tokio::test]
async fn a_personal_token_is_made_shown_once_used_and_removed() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = log_in(&world, &mut browser, "alice").await;
    let wanted = [
        ("action", "make"),
        ("server", "other"),
        ("scope:other", "yes"),
        ("scope:more", "yes"),
        ("days", "30"),
        ("label", "nightly <b>"),
    ];
    let made = press(&world, &mut browser, &page, &wanted).await;
    assert_eq!(made.status, 200);
    let at = made.body.find("mcpp_").unwrap();
    let token = made.body[at..at + 69].to_owned();
    assert_eq!(world.call("/other/mcp", &token).await.json()["subject"], "sub-alice");
    assert_eq!(world.call("/mcp", &token).await.status, 401, "for one server");
    let page = browser.open(&world.app, "/account").await;
    assert!(!page.body.contains(&token), "shown once");
    assert!(page.body.contains("nightly &#60;b&#62;"), "{}", page.body);

    world.clock.advance(Duration::from_mins(20));
    assert_eq!(press(&world, &mut browser, &page, &[("action", "remove")]).await.status, 303);
    assert_eq!(world.call("/other/mcp", &token).await.status, 401);
}

#[tokio::test]
async fn a_personal_token_ends() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = log_in(&world, &mut browser, "alice").await;
    let wanted =
        [("action", "make"), ("server", "fortune"), ("scope:fortune", "yes"), ("days", "7")];
    let made = press(&world, &mut browser, &page, &wanted).await;
    let at = made.body.find("mcpp_").unwrap();
    let token = made.body[at..at + 69].to_owned();
    world.clock.advance(Duration::from_hours(7 * 24 - 1));
    assert_eq!(world.call("/mcp", &token).await.status, 200);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(world.call("/mcp", &token).await.status, 401);
}

#[tokio::test]
async fn a_token_that_the_form_cannot_ask_for_is_not_made() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = log_in(&world, &mut browser, "alice").await;
    let long = "x".repeat(65);
    let good = [("action", "make"), ("server", "fortune"), ("scope:fortune", "y"), ("days", "7")];
    for (name, value, reason) in [
        ("server", "none", "no such server"),
        ("scope:fortune", "", "no scope at all"),
        ("days", "0", "no life"),
        ("days", "367", "too long a life"),
        ("days", "-1", "no number"),
        ("days", "99999999999999999999", "no number we know"),
        ("label", &long, "too long a label"),
    ] {
        let mut fields: Vec<_> = good.iter().copied().filter(|(have, _)| *have != name).collect();
        fields.push((name, value));
        let refused = press(&world, &mut browser, &page, &fields).await;
        assert!(refused.is_page(400) && !refused.body.contains("mcpp_"), "{reason}: {refused:?}");
    }
}

#[tokio::test]
async fn the_way_out_asks_first_and_then_the_page_is_closed() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = log_in(&world, &mut browser, "alice").await;
    assert!(page.body.contains("<form action=\"logout\" method=\"get\">"), "{}", page.body);
    let asked = browser.open(&world.app, "/logout").await;
    let csrf = asked.input("csrf").unwrap();
    let left = browser.post(&world.app, "/logout", &[("csrf", &csrf)]).await;
    assert_eq!(left.status, 303, "on to the provider: {left:?}");
    let page = browser.open(&world.app, "/account").await;
    assert!(page.body.contains("/account/login") && !page.body.contains("Log out"), "{page:?}");
}

/// Case 69, and 4 for this page.
#[tokio::test]
async fn a_form_counts_only_from_our_page_in_that_session() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let alice = world.tokens(&client, "alice").await;
    let mut browser = Browser::default();
    let page = log_in(&world, &mut browser, "alice").await;
    let mut mallory = Browser::default();
    let theirs = log_in(&world, &mut mallory, "mallory").await;

    let foreign = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    for (name, value) in foreign {
        let mut ridden = browser.clone().sending(name, value);
        let refused = press(&world, &mut ridden, &page, &[("action", "remove")]).await;
        assert!(refused.is_page(403), "{name}: {value}: {refused:?}");
        let begun = ridden.post(&world.app, "/account/login", &[]).await;
        assert!(begun.is_page(403), "no login is begun from elsewhere either");
    }
    let grant = page.input("grant").unwrap();
    let stolen = theirs.input("form").unwrap();
    for form in [stolen.as_str(), "", "AAAA"] {
        let fields = [("form", form), ("grant", grant.as_str()), ("action", "remove")];
        let refused = browser.post(&world.app, "/account", &fields).await;
        assert!(refused.is_page(403), "the proof of another session: {refused:?}");
    }
    let nobody = press(&world, &mut Browser::default(), &page, &[("action", "remove")]).await;
    assert!(nobody.is_page(200) && nobody.body.contains("/account/login"), "{nobody:?}");
    assert_eq!(world.call("/mcp", &alice.access).await.status, 200, "nothing came of any of it");
}

#[tokio::test]
async fn a_session_ends_when_idle_and_at_its_end() {
    let world = World::new().await;
    let is_open = async |browser: &mut Browser| {
        browser.open(&world.app, "/account").await.body.contains("Log out")
    };
    let mut idle = Browser::default();
    log_in(&world, &mut idle, "alice").await;
    let mut busy = Browser::default();
    log_in(&world, &mut busy, "alice").await;
    for _ in 0..19 {
        world.clock.advance(Duration::from_mins(25));
        assert!(is_open(&mut busy).await);
    }
    assert!(!is_open(&mut idle).await, "unused for half an hour");
    world.clock.advance(Duration::from_mins(5));
    assert!(!is_open(&mut busy).await, "eight hours are over");
    assert!(!is_open(&mut Browser::default()).await, "nobody");
}

#[tokio::test]
async fn the_login_of_the_page_is_bound_to_its_browser_and_gives_no_code() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let begun = browser.post(&world.app, "/account/login", &[]).await;
    let callback = world.provider.log_in("alice", begun.location().unwrap());
    let other = Browser::default().open(&world.app, &callback).await;
    assert!(other.is_page(403), "case 1: {other:?}");
    let void = browser.open(&world.app, &callback).await;
    assert!(void.is_page(400), "the login is void: {void:?}");

    world.provider.set_fault(Some(testkit::scripted_provider::Fault::Refuses));
    let begun = browser.post(&world.app, "/account/login", &[]).await;
    let callback = world.provider.log_in("alice", begun.location().unwrap());
    let failed = browser.open(&world.app, &callback).await;
    assert!(failed.is_page(403) && failed.body.contains("did not work"), "{failed:?}");
    world.provider.set_fault(Some(testkit::scripted_provider::Fault::Down));
    let down = browser.post(&world.app, "/account/login", &[]).await;
    assert!(down.is_page(503), "{down:?}");
    assert!(browser.cookies().keys().all(|name| !name.ends_with("-browser")), "no session");
}

pub(crate) async fn log_in(world: &World, browser: &mut Browser, person: &str) -> Answer {
    let asked = browser.open(&world.app, "/account").await;
    assert!(asked.is_page(200) && asked.body.contains("/account/login"), "{asked:?}");
    let begun = browser.post(&world.app, "/account/login", &[]).await;
    let callback = world.provider.log_in(person, begun.location().unwrap());
    let back = browser.open(&world.app, &callback).await;
    assert_eq!(back.location(), Some("http://localhost:8000/account"), "{back:?}");
    let page = browser.open(&world.app, "/account").await;
    assert!(page.is_page(200), "{page:?}");
    page
}

/// Presses a button of the page's first form, with these fields beside the hidden ones.
pub(crate) async fn press(
    world: &World,
    browser: &mut Browser,
    page: &Answer,
    fields: &[(&str, &str)],
) -> Answer {
    let (form, grant) = (page.input("form").unwrap(), page.input("grant").unwrap_or_default());
    let hidden = [("form", form.as_str()), ("grant", grant.as_str())];
    let fields: Vec<_> = hidden.iter().chain(fields).copied().collect();
    browser.post(&world.app, "/account", &fields).await
}
