//! `consent = "remember"`: silent only for the very same, from one's own navigation.

use sekisho::authorization_server::ConsentRule;
use testkit::world::{VERIFIER, authorize_url};
use testkit::{Browser, World};

async fn world_that_remembers() -> World {
    let mut builder = World::builder();
    builder.settings.consent = ConsentRule::Remember;
    builder.build().await
}

#[tokio::test]
async fn a_yes_is_remembered_for_the_very_same_and_nothing_else() {
    let world = world_that_remembers().await;
    let client = world.public_client("http://127.0.0.1:1/cb").await;
    let twin = world.public_client("http://127.0.0.1:1/cb").await;
    let mut alice = Browser::default().sending("sec-fetch-site", "none");
    let other = [("resource", "http://localhost:8000/other/mcp"), ("scope", "other")];
    world.log_in(&mut alice, "alice", &authorize_url(&client, &[])).await;
    world.log_in(&mut alice, "alice", &authorize_url(&client, &other)).await;

    let silent = alice.open(&world.app, &authorize_url(&client, &[])).await;
    assert_eq!(silent.status, 303, "the same again");
    let callback = world.provider.log_in("alice", silent.location().unwrap());
    let back = alice.open(&world.app, &callback).await;
    let redeemed = world.redeem(&client, &back.parameter("code").unwrap(), VERIFIER).await;
    assert_eq!(redeemed.status, 200);

    let other_port = [("redirect_uri", "http://127.0.0.1:2/cb")];
    assert_eq!(alice.open(&world.app, &authorize_url(&client, &other_port)).await.status, 303);

    let wider = [("resource", "http://localhost:8000/other/mcp"), ("scope", "other more")];
    let mut mallory = Browser::default().sending("sec-fetch-site", "none");
    world.log_in(&mut mallory, "mallory", &authorize_url(&twin, &[])).await;
    let asked_again = [
        (alice.open(&world.app, &authorize_url(&twin, &[])).await, "a client of the same name"),
        (alice.open(&world.app, &authorize_url(&client, &wider)).await, "wider scope"),
        (mallory.open(&world.app, &authorize_url(&client, &[])).await, "another person"),
        (
            Browser::default()
                .sending("sec-fetch-site", "none")
                .open(&world.app, &authorize_url(&client, &[]))
                .await,
            "another browser",
        ),
    ];
    for (answer, reason) in asked_again {
        assert!(answer.is_page(200), "{reason}: {answer:?}");
    }
}

#[tokio::test]
async fn a_remembered_yes_cannot_be_ridden_from_another_site() {
    let world = world_that_remembers().await;
    let client = world.public_client("http://127.0.0.1:1/cb").await;
    let url = authorize_url(&client, &[]);
    let mut alice = Browser::default().sending("sec-fetch-site", "none");
    world.log_in(&mut alice, "alice", &url).await;
    for (site, silent) in
        [("cross-site", false), ("same-site", false), ("none", true), ("same-origin", true)]
    {
        let answer = alice.clone().sending("sec-fetch-site", site).open(&world.app, &url).await;
        assert_eq!(answer.status == 303, silent, "{site}");
    }
    let mut without = alice.clone();
    without.extra.clear();
    assert!(without.open(&world.app, &url).await.is_page(200), "a browser that does not say");
}

#[tokio::test]
async fn nobody_is_silent_under_the_default() {
    let world = World::new().await;
    let client = world.public_client("http://127.0.0.1:1/cb").await;
    let url = authorize_url(&client, &[]);
    let mut alice = Browser::default().sending("sec-fetch-site", "none");
    world.log_in(&mut alice, "alice", &url).await;
    assert!(alice.open(&world.app, &url).await.is_page(200));
}

#[tokio::test]
async fn if_somebody_else_logs_in_that_person_is_asked() {
    let world = world_that_remembers().await;
    let client = world.public_client("http://127.0.0.1:1/cb").await;
    let url = authorize_url(&client, &[]);
    let mut shared = Browser::default().sending("sec-fetch-site", "none");
    world.log_in(&mut shared, "alice", &url).await;
    let silent = shared.open(&world.app, &url).await;
    let callback = world.provider.log_in("bob", silent.location().unwrap());
    let page = shared.open(&world.app, &callback).await;
    assert!(page.is_page(200), "bob never said yes: {page:?}");
    let again = shared.decide(&world.app, &page, "approve").await;
    let callback = world.provider.log_in("bob", again.location().unwrap());
    assert!(shared.open(&world.app, &callback).await.parameter("code").is_some());
}

#[tokio::test]
async fn a_remembered_yes_ends_after_a_year_however_often_it_is_used() {
    let world = world_that_remembers().await;
    let hours = |hours| world.clock.advance(std::time::Duration::from_hours(hours));
    let client = world.public_client("http://127.0.0.1:1/cb").await;
    let other = world.public_client("http://127.0.0.1:1/cb").await;
    let url = authorize_url(&client, &[]);
    let mut alice = Browser::default().sending("sec-fetch-site", "none");
    world.log_in(&mut alice, "alice", &url).await;
    hours(11);
    let silent = alice.open(&world.app, &url).await;
    let callback = world.provider.log_in("alice", silent.location().unwrap());
    assert!(alice.open(&world.app, &callback).await.parameter("code").is_some());

    hours(365 * 24 - 11 - 1);
    // For the browser to be known again, which it is for half a day.
    world.log_in(&mut alice, "alice", &authorize_url(&other, &[])).await;
    assert_eq!(alice.open(&world.app, &url).await.status, 303, "an hour is left");
    hours(1);
    assert!(alice.open(&world.app, &url).await.is_page(200), "the silent login was no yes");
    assert_eq!(alice.open(&world.app, &authorize_url(&other, &[])).await.status, 303);
}
