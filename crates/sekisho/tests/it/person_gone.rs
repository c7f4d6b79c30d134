//! What is a person's own, when the provider says that they are gone: sessions at the account page and
//! personal tokens; and what the provider is told when nothing hangs on a session any more.

use std::time::Duration;

use sekisho::store::{GrantsOf, LOCAL_ISSUER};
use sekisho_protocol::oauth::ClientId;
use testkit::scripted_provider::{Fault, Gives, PROVIDER, identity};
use testkit::{Browser, RegisteredClient, Tokens, World};

use crate::account::{log_in, press};

const RECHECK: Duration = Duration::from_mins(15);

/// Alice is at the account page and has made a personal token there.
struct Scene {
    world: World,
    browser: Browser,
    token: String,
}

impl Scene {
    async fn new(gives: Gives) -> Self {
        let world = World::new().await;
        world.provider.set_gives(gives);
        let mut browser = Browser::default();
        let page = log_in(&world, &mut browser, "alice").await;
        let wanted =
            [("action", "make"), ("server", "fortune"), ("scope:fortune", "yes"), ("days", "90")];
        let made = press(&world, &mut browser, &page, &wanted).await;
        let at = made.body.find("mcpp_").unwrap();
        let token = made.body[at..at + 69].to_owned();
        let scene = Self { world, browser, token };
        assert!(scene.is_token_good().await);
        scene
    }

    async fn is_token_good(&self) -> bool {
        let status = self.world.call("/mcp", &self.token).await.status;
        assert!(status == 200 || status == 401, "{status}");
        status == 200
    }

    async fn is_page_open(&mut self) -> bool {
        self.browser.open(&self.world.app, "/account").await.body.contains("Log out")
    }

    async fn ask_provider(&self) {
        self.world.clock.advance(RECHECK);
        self.world.server.provider_sessions().check_due().await.unwrap();
    }

    async fn tell(&self, id: &str) {
        let ends_at = sekisho::clock::Clock::now(self.world.clock.as_ref());
        let ends_at = ends_at.plus(Duration::from_mins(5));
        let token = self.world.provider.logout_token(id, "alice", "", ends_at);
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("logout_token", &token)
            .finish();
        let kind = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(self.world.post("/auth/logout", &[kind], &form).await.status, 200);
    }
}

#[tokio::test]
async fn a_disabled_person_keeps_neither_the_account_page_nor_personal_tokens() {
    let mut scene = Scene::new(Gives::OfflineAccess).await;
    scene.ask_provider().await;
    assert!(scene.is_token_good().await && scene.is_page_open().await, "all is well");
    scene.world.provider.disable("alice");
    scene.ask_provider().await;
    assert!(!scene.is_token_good().await);
    assert!(!scene.is_page_open().await);

    scene.world.provider.enable("alice");
    scene.ask_provider().await;
    assert!(!scene.is_token_good().await, "nobody said that she is back");
    log_in(&scene.world, &mut Browser::default(), "alice").await;
    assert!(scene.is_token_good().await, "she said so herself");
}

/// Nobody is logged out of a job at night because a browser was.
#[tokio::test]
async fn a_logout_closes_the_account_page_and_leaves_personal_tokens() {
    let mut scene = Scene::new(Gives::OfflineAccess).await;
    scene.tell("m1").await;
    assert!(!scene.is_page_open().await);
    assert!(scene.is_token_good().await);
    scene.ask_provider().await;
    assert!(scene.is_token_good().await, "the provider still knows her");
    scene.world.provider.disable("alice");
    scene.ask_provider().await;
    assert!(!scene.is_token_good().await, "disabled, though long logged out");
}

#[tokio::test]
async fn a_provider_without_offline_access_ends_no_personal_token_with_its_session() {
    let mut scene = Scene::new(Gives::SessionOnly).await;
    scene.world.provider.end_sessions_of("alice");
    scene.ask_provider().await;
    assert!(!scene.is_page_open().await, "that login is over");
    assert!(scene.is_token_good().await, "and says nothing of her");
}

#[tokio::test]
async fn an_outage_ends_nothing_of_a_persons_own() {
    let mut scene = Scene::new(Gives::OfflineAccess).await;
    scene.world.provider.set_fault(Some(Fault::Down));
    scene.ask_provider().await;
    assert!(scene.is_token_good().await && scene.is_page_open().await);
}

#[tokio::test]
async fn the_account_page_does_not_open_for_an_account_that_was_just_removed() {
    let world = World::new().await;
    // What the provider says is what a local account would be.
    let local = sekisho::principal::Identity { issuer: LOCAL_ISSUER.into(), ..identity("alice") };
    world.provider.tell_of(local);
    let mut browser = Browser::default();
    let begun = browser.post(&world.app, "/account/login", &[]).await;
    let callback = world.provider.log_in("alice", begun.location().unwrap());
    let back = browser.open(&world.app, &callback).await;
    assert!(back.is_page(403) && back.body.contains("did not work"), "{back:?}");
    assert!(browser.cookies().keys().all(|name| !name.ends_with("-browser")), "no session");
}

// --- what the provider is told --------------------------------------------------------------------

async fn signed_in(world: &World, person: &str) -> (RegisteredClient, Tokens) {
    let client = world.public_client("https://app.example/cb").await;
    let tokens = world.tokens(&client, person).await;
    (client, tokens)
}

async fn check_due(world: &World) {
    world.server.provider_sessions().check_due().await.unwrap();
}

#[tokio::test]
async fn the_provider_is_told_when_the_last_grant_of_a_person_ends() {
    let world = World::new().await;
    let (first, one) = signed_in(&world, "alice").await;
    let (second, other) = signed_in(&world, "alice").await;
    signed_in(&world, "bob").await;
    world.revoke(&first, &one.refresh).await;
    check_due(&world).await;
    assert_eq!(world.provider.revoked(), [""; 0], "it would end the other grant as well");
    assert_eq!(world.call("/mcp", &other.access).await.status, 200);

    world.revoke(&second, &other.refresh).await;
    assert_eq!(world.provider.revoked(), [""; 0], "the client did not wait for the provider");
    check_due(&world).await;
    assert_eq!(world.provider.revoked().len(), 1);
    assert_eq!(world.provider.sids_of("alice"), [""; 0]);
    check_due(&world).await;
    assert_eq!(world.provider.revoked().len(), 1, "once");
}

#[tokio::test]
async fn every_way_to_end_a_grant_tells_the_provider_but_the_providers_own() {
    let world = World::new().await;
    let now = sekisho::clock::Clock::now(world.clock.as_ref());
    for (round, person) in ["alice", "bob", "carol"].into_iter().enumerate() {
        let (client, _) = signed_in(&world, person).await;
        let (issuer, subject) = (PROVIDER.to_owned(), format!("sub-{person}"));
        let of = GrantsOf::Person { issuer, subject };
        match round {
            0 => assert_eq!(world.store.end_grants(&of, now).await.unwrap(), 1),
            1 => assert!(
                (world.store.remove_client(&ClientId::new(client.id.as_str()), now).await).unwrap()
            ),
            _ => {
                let listed = world.store.list_grants(&of, None).await.unwrap();
                world.store.revoke_grant(&listed[0].id, now).await.unwrap();
            }
        }
        check_due(&world).await;
        assert_eq!(world.provider.revoked().len(), round + 1, "{person}");
    }
    signed_in(&world, "dave").await;
    world.provider.disable("dave");
    world.clock.advance(RECHECK);
    check_due(&world).await;
    assert_eq!(world.provider.revoked().len(), 3, "the provider said so itself");
}

#[tokio::test]
async fn a_provider_that_cannot_be_told_is_told_later_and_not_for_ever() {
    let world = World::new().await;
    let (client, tokens) = signed_in(&world, "alice").await;
    world.provider.set_fault(Some(Fault::Down));
    assert_eq!(world.revoke(&client, &tokens.refresh).await.status, 200);
    check_due(&world).await;
    world.provider.set_fault(None);
    check_due(&world).await;
    assert_eq!(world.provider.revoked().len(), 0, "not at once");
    world.clock.advance(Duration::from_mins(1));
    check_due(&world).await;
    assert_eq!(world.provider.revoked().len(), 1);

    let (client, tokens) = signed_in(&world, "alice").await;
    world.provider.set_fault(Some(Fault::Down));
    world.revoke(&client, &tokens.refresh).await;
    for _ in 0..10 {
        check_due(&world).await;
        world.clock.advance(Duration::from_mins(1));
    }
    world.provider.set_fault(None);
    check_due(&world).await;
    assert_eq!(world.provider.revoked().len(), 1, "given up");
}
