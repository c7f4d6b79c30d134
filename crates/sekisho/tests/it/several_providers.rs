//! Several identity providers: a person chooses one, and nobody's answer passes for another's.

use std::sync::Arc;
use std::time::Duration;

use sekisho::authorization_server::{Checked, ConsentRule, Provider, SessionRule};
use sekisho::policy::{Admission, Expression, Scope};
use testkit::scripted_provider::Fault;
use testkit::world::authorize_url;
use testkit::{Answer, Browser, RegisteredClient, ScriptedProvider, World};

const OTHER: &str = "https://other.test";

/// A world where people choose, and the provider beside the usual one.
async fn world_with(
    change: impl FnOnce(&mut testkit::world::WorldBuilder),
    terms: impl FnOnce(Provider) -> Provider,
) -> (World, Arc<ScriptedProvider>) {
    let other = Arc::new(ScriptedProvider::called("other", OTHER));
    let beside = terms(Provider::from(Arc::clone(&other)).called("other", "Other & Sons"));
    let idp = ScriptedProvider::called("idp", testkit::scripted_provider::PROVIDER);
    let mut builder = World::builder().with_choice(idp, vec![beside]);
    change(&mut builder);
    (builder.build().await, other)
}

async fn world() -> (World, Arc<ScriptedProvider>) {
    world_with(|_| {}, |other| other).await
}

/// Says yes, and chooses.
async fn choose(
    world: &World,
    browser: &mut Browser,
    client: &RegisteredClient,
    name: &str,
) -> Answer {
    let page = browser.open(&world.app, &authorize_url(client, &[("state", "theirs")])).await;
    let chooser = browser.decide(&world.app, &page, "approve").await;
    assert!(chooser.is_page(200), "{chooser:?}");
    let consent = chooser.input("consent").unwrap();
    let decision = chooser.input("decision").unwrap();
    let form = [("consent", consent.as_str()), ("decision", &decision), ("provider", name)];
    browser.post(&world.app, "/consent", &form).await
}

/// The whole way; gives the subject and issuer that the grant has.
async fn tokens_from(
    world: &World,
    provider: &ScriptedProvider,
    name: &str,
) -> testkit::world::Tokens {
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let sent = choose(world, &mut browser, &client, name).await;
    let back = browser.open(&world.app, &provider.log_in("alice", sent.location().unwrap())).await;
    let code = back.parameter("code").unwrap_or_else(|| panic!("{back:?}"));
    testkit::world::tokens(&world.redeem(&client, &code, testkit::world::VERIFIER).await)
}

#[tokio::test]
async fn a_person_chooses_where_to_log_in_and_is_a_person_of_there() {
    let (world, other) = world().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let page = browser.open(&world.app, &authorize_url(&client, &[("state", "theirs")])).await;
    let chooser = browser.decide(&world.app, &page, "approve").await;
    assert!(chooser.is_page(200), "{chooser:?}");
    assert!(
        chooser.body.contains("Idp") && chooser.body.contains("Other &#38; Sons"),
        "{chooser:?}"
    );
    assert_eq!(
        (world.provider.authorizations(), other.authorizations()),
        (0, 0),
        "nobody is asked"
    );

    let sent = choose(&world, &mut browser, &client, "other").await;
    assert_eq!((world.provider.authorizations(), other.authorizations()), (0, 1));
    let callback = other.log_in("alice", sent.location().unwrap());
    let back = browser.open(&world.app, &callback).await;
    assert_eq!(back.parameter("state").as_deref(), Some("theirs"));
    let code = back.parameter("code").unwrap();
    let answer = world.redeem(&client, &code, testkit::world::VERIFIER).await;
    let token = testkit::world::tokens(&answer).access;
    assert_eq!(world.call("/mcp", &token).await.json()["subject"], "sub-alice");

    // One subject at two providers is two people.
    let of = |issuer: &str| sekisho::store::GrantsOf::Person {
        issuer: issuer.to_owned(),
        subject: "sub-alice".to_owned(),
    };
    let theirs = world.store.list_grants(&of(OTHER), None).await.unwrap();
    assert_eq!(theirs.len(), 1);
    let usual = of(testkit::scripted_provider::PROVIDER);
    assert!(world.store.list_grants(&usual, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_choice_that_is_none_shows_the_choice_again() {
    let (world, other) = world().await;
    let client = world.public_client("https://app.example/cb").await;
    for name in ["", "nobody", "OTHER", "https://other.test"] {
        let again = choose(&world, &mut Browser::default(), &client, name).await;
        assert!(again.is_page(200) && again.input("consent").is_some(), "{name:?}: {again:?}");
    }
    assert_eq!((world.provider.authorizations(), other.authorizations()), (0, 0));
    let mut browser = Browser::default();
    let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
    let forged = [("consent", "c2VhbGVk"), ("decision", "approve"), ("provider", "other")];
    assert!(browser.post(&world.app, "/consent", &forged).await.is_page(403));
    let mut another = Browser::default();
    let consent = page.input("consent").unwrap();
    let theirs = [("consent", consent.as_str()), ("decision", "approve"), ("provider", "other")];
    let refused = another.post(&world.app, "/consent", &theirs).await;
    assert!(refused.is_page(403), "in another browser: {refused:?}");
}

/// Case 16, with two providers: mallory runs one, and would have the other's code brought to her.
#[tokio::test]
async fn the_answer_of_one_provider_never_passes_for_that_of_another() {
    for (is_silent, reason) in [(false, "who name themselves"), (true, "who do not")] {
        let (world, other) = world().await;
        if is_silent {
            world.provider.say_no_iss();
            other.say_no_iss();
        }
        let client = world.public_client("https://app.example/cb").await;
        let mut browser = Browser::default();
        let sent = choose(&world, &mut browser, &client, "other").await;
        // `other` sends alice on to the honest provider, with our client there and the same state.
        let onward = sent.location().unwrap().replace(OTHER, testkit::scripted_provider::PROVIDER);
        let callback = world.provider.log_in("alice", &onward);
        assert!(callback.starts_with("/auth/callback/idp?"), "where that client's answers go");
        let landed = browser.open(&world.app, &callback).await;
        assert!(landed.is_page(400), "{reason}: {landed:?}");
        assert_eq!(other.redemptions(), 0, "{reason}: mallory's token endpoint sees no code");
        assert_eq!(world.provider.redemptions(), 0, "{reason}");
        // What was begun is void.
        let late = browser.open(&world.app, &callback.replace("/idp?", "/other?")).await;
        assert!(late.is_page(400), "{reason}: {late:?}");
        assert_eq!(other.redemptions(), 0, "{reason}");
    }
}

#[tokio::test]
async fn with_names_there_is_no_callback_without_one() {
    let (world, other) = world().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let sent = choose(&world, &mut browser, &client, "other").await;
    let callback = other.log_in("alice", sent.location().unwrap());
    let plain = callback.replace("/auth/callback/other?", "/auth/callback?");
    assert_eq!(browser.open(&world.app, &plain).await.status, 404);
    let unknown = callback.replace("/auth/callback/other?", "/auth/callback/third?");
    assert_eq!(browser.open(&world.app, &unknown).await.status, 404);
    assert!(browser.open(&world.app, &callback).await.parameter("code").is_some());
}

#[tokio::test]
async fn each_provider_is_asked_about_its_own_sessions_by_its_own_rule() {
    let hourly = SessionRule::Follow { recheck: Duration::from_hours(1) };
    let (world, other) = world_with(|_| {}, |other| other.under(hourly)).await;
    tokens_from(&world, &world.provider, "idp").await;
    let theirs = tokens_from(&world, &other, "other").await;
    let sessions = world.server.provider_sessions();
    world.clock.advance(Duration::from_mins(16));
    assert_eq!(sessions.check_due().await.unwrap(), Checked { alive: 1, ..Checked::default() });
    assert_eq!((world.provider.renewals(), other.renewals()), (1, 0), "every quarter of an hour");
    world.provider.disable("alice");
    world.clock.advance(Duration::from_mins(44));
    let checked = sessions.check_due().await.unwrap();
    assert_eq!(checked, Checked { alive: 1, ended: 1, ..Checked::default() });
    assert_eq!(other.renewals(), 1, "every hour");
    assert_eq!(world.call("/mcp", &theirs.access).await.status, 401, "an hour is over");
}

#[tokio::test]
async fn a_provider_that_is_silent_holds_nobody_of_another_up() {
    let (world, other) = world().await;
    for _ in 0..40 {
        tokens_from(&world, &other, "other").await;
        // Theirs are due first.
        world.clock.advance(Duration::from_secs(1));
    }
    world.clock.advance(Duration::from_mins(2));
    let disabled = tokens_from(&world, &world.provider, "idp").await;
    other.set_fault(Some(Fault::Down));
    world.provider.disable("alice");
    world.clock.advance(Duration::from_mins(16));
    let checked = world.server.provider_sessions().check_due().await.unwrap();
    assert_eq!(checked, Checked { ended: 1, failed: 16, ..Checked::default() }, "at once");
    assert_eq!(other.renewals(), 16, "and one that is silent is left alone");
    assert_eq!(world.call("/mcp", &disabled.access).await.status, 401);

    other.set_fault(None);
    world.clock.advance(Duration::from_mins(1));
    let checked = world.server.provider_sessions().check_due().await.unwrap();
    assert_eq!(checked, Checked { alive: 40, ..Checked::default() }, "it is asked again");
}

#[tokio::test]
async fn a_provider_under_login_only_is_not_asked_beside_one_that_is_followed() {
    let (world, other) = world_with(|_| {}, |other| other.under(SessionRule::LoginOnly)).await;
    tokens_from(&world, &other, "other").await;
    tokens_from(&world, &world.provider, "idp").await;
    let sessions = world.server.provider_sessions();
    for _ in 0..3 {
        world.clock.advance(Duration::from_mins(16));
        sessions.check_due().await.unwrap();
    }
    assert_eq!((world.provider.renewals(), other.renewals()), (3, 0));
}

#[tokio::test]
async fn a_logout_told_by_one_provider_ends_nothing_of_another() {
    let (world, other) = world().await;
    let usual = tokens_from(&world, &world.provider, "idp").await;
    let theirs = tokens_from(&world, &other, "other").await;
    let ends = sekisho::clock::Clock::now(&*world.clock).plus(Duration::from_mins(1));
    let token = other.logout_token("m1", "alice", "", ends);
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("logout_token", &token)
        .finish();
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(world.post("/auth/logout", &kind, &form).await.status, 404);
    assert_eq!(world.post("/auth/logout/other", &kind, &form).await.status, 200);
    assert_eq!(world.call("/mcp", &theirs.access).await.status, 401);
    assert_eq!(world.call("/mcp", &usual.access).await.status, 200);
}

#[tokio::test]
async fn each_provider_lets_in_whom_its_own_condition_admits() {
    let nobody = Expression::parse("user.name == 'nobody'", Scope::Login).unwrap();
    let (world, other) = world_with(|_| {}, |other| other.admitting(Admission::only(nobody))).await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let sent = choose(&world, &mut browser, &client, "other").await;
    let back = browser.open(&world.app, &other.log_in("alice", sent.location().unwrap())).await;
    assert_eq!(back.parameter("error").as_deref(), Some("access_denied"));
    tokens_from(&world, &world.provider, "idp").await;
}

/// Who logged in somewhere is sent there again, without a question.
#[tokio::test]
async fn a_remembered_yes_leads_to_the_provider_that_it_was_said_with() {
    let change = |builder: &mut testkit::world::WorldBuilder| {
        builder.settings.consent = ConsentRule::Remember;
    };
    let (world, other) = world_with(change, |other| other).await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default().sending("sec-fetch-site", "none");
    let sent = choose(&world, &mut browser, &client, "other").await;
    browser.open(&world.app, &other.log_in("alice", sent.location().unwrap())).await;
    let silent = browser.open(&world.app, &authorize_url(&client, &[("state", "theirs")])).await;
    assert!(silent.location().is_some_and(|to| to.starts_with(OTHER)), "{silent:?}");
}

#[tokio::test]
async fn the_account_page_asks_where_to_log_in_too_and_logs_out_there() {
    let (world, other) = world().await;
    let mut browser = Browser::default().sending("origin", "http://localhost:8000");
    let chooser = browser.post(&world.app, "/account/login", &[]).await;
    assert!(
        chooser.is_page(200) && chooser.body.contains("action=\"/account/login\""),
        "{chooser:?}"
    );
    let sent = browser.post(&world.app, "/account/login", &[("provider", "other")]).await;
    let callback = other.log_in("alice", sent.location().unwrap());
    let swapped = callback.replace("/other?", "/idp?");
    assert!(browser.clone().open(&world.app, &swapped).await.is_page(400), "another's callback");

    let sent = browser.post(&world.app, "/account/login", &[("provider", "other")]).await;
    let callback = other.log_in("alice", sent.location().unwrap());
    assert_eq!(
        browser.open(&world.app, &callback).await.location(),
        Some("http://localhost:8000/account")
    );
    let page = browser.open(&world.app, "/account").await;
    assert!(page.body.contains("alice"), "{page:?}");
    let question = browser.open(&world.app, "/logout").await;
    let csrf = question.input("csrf").unwrap();
    let out = browser.post(&world.app, "/logout", &[("csrf", &csrf)]).await;
    assert!(out.location().is_some_and(|to| to.starts_with(OTHER)), "{out:?}");
}

/// An operator takes a provider out of the settings: its people are nobody's any more.
#[tokio::test]
async fn people_of_a_provider_that_is_gone_do_not_come_back() {
    let (world, other) = world().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut browser = Browser::default();
    let sent = choose(&world, &mut browser, &client, "other").await;
    let back = browser.open(&world.app, &other.log_in("alice", sent.location().unwrap())).await;
    let code = back.parameter("code").unwrap();
    let answer = world.redeem(&client, &code, testkit::world::VERIFIER).await;
    let refresh = testkit::world::tokens(&answer).refresh;

    // Whether one is left or several: none of them is asked about somebody else's people.
    let third = Arc::new(ScriptedProvider::called("third", "https://third.test"));
    let third = Provider::from(third).called("third", "Third");
    for beside in [vec![], vec![third]] {
        let idp = ScriptedProvider::called("idp", testkit::scripted_provider::PROVIDER);
        let builder = World::builder().with_choice(idp, beside).over(Arc::clone(&world.store));
        let later = builder.by(&world.clock).build().await;
        let refused = later.refresh(&client, &refresh).await;
        assert_eq!((refused.status.as_u16(), refused.error()), (400, "invalid_grant".to_owned()));
        world.clock.advance(Duration::from_mins(16));
        let checked = later.server.provider_sessions().check_due().await.unwrap();
        assert_eq!(checked, Checked::default(), "nobody can be asked, and nobody is called silent");
    }
}
