//! `identity.session`: what a grant has to do with the person's session at the identity provider.

use std::sync::Arc;
use std::time::Duration;

use sekisho::authorization_server::{
    AuthorizationServer, CHECKS_AT_ONCE_MAX, Checked, LEASE, ProviderSessions, SessionRule,
};
use sekisho::seal::Sealer;
use sekisho::store::{CLOCKS_APART_MAX, MemoryStore, Store, TableLimits};
use testkit::scripted_provider::{Fault, Gives, Pause};
use testkit::{RegisteredClient, Tokens, World};

const RECHECK: Duration = Duration::from_mins(15);

/// Alice and bob each let a client act for them.
struct Scene {
    world: World,
    client: RegisteredClient,
    alice: Tokens,
    bob: Tokens,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let client = world.public_client("https://app.example/cb").await;
        let alice = world.tokens(&client, "alice").await;
        let bob = world.tokens(&client, "bob").await;
        Self { world, client, alice, bob }
    }

    /// One of the instances that share the store.
    fn instance(&self) -> ProviderSessions {
        self.world.server.provider_sessions()
    }

    async fn is_let_in(&self, tokens: &Tokens) -> bool {
        let status = self.world.call("/mcp", &tokens.access).await.status;
        assert!(status == 200 || status == 401, "{status}");
        status == 200
    }
}

fn checked(alive: usize, ended: usize, failed: usize) -> Checked {
    Checked { alive, ended, failed }
}

#[tokio::test]
async fn a_disabled_person_is_out_at_the_next_question_and_nobody_else() {
    let scene = Scene::new().await;
    let instance = scene.instance();
    assert_eq!(instance.check_due().await.unwrap(), checked(0, 0, 0), "nobody is due yet");
    scene.world.clock.advance(RECHECK);
    assert_eq!(instance.check_due().await.unwrap(), checked(2, 0, 0));
    assert_eq!(instance.check_due().await.unwrap(), checked(0, 0, 0), "not before the next time");

    scene.world.provider.disable("alice");
    assert!(scene.is_let_in(&scene.alice).await, "nobody told us");
    scene.world.clock.advance(RECHECK);
    assert_eq!(instance.check_due().await.unwrap(), checked(1, 1, 0));
    assert!(!scene.is_let_in(&scene.alice).await);
    let refused = scene.world.refresh(&scene.client, &scene.alice.refresh).await;
    assert_eq!(refused.error(), "invalid_grant");
    assert!(scene.is_let_in(&scene.bob).await);
    scene.world.clock.advance(RECHECK);
    assert_eq!(
        instance.check_due().await.unwrap(),
        checked(1, 0, 0),
        "alice is asked about no more"
    );
}

/// GitHub keeps so many tokens of a person, and a login more ends the oldest: that says nothing of them.
#[tokio::test]
async fn a_newer_token_answers_for_one_that_the_provider_dropped() {
    let world = World::new().await;
    world.provider.set_gives(Gives::NewestTwo);
    let client = world.public_client("https://app.example/cb").await;
    let mut logins = Vec::new();
    for _ in 0..3 {
        logins.push(world.tokens(&client, "alice").await);
    }
    let instance = world.server.provider_sessions();
    let is_let_in = async |tokens: &Tokens| world.call("/mcp", &tokens.access).await.status == 200;
    for _ in 0..2 {
        world.clock.advance(RECHECK);
        assert_eq!(instance.check_due().await.unwrap(), checked(3, 0, 0), "the oldest too");
    }
    assert!(is_let_in(&logins[0]).await);
    world.provider.set_fault(Some(Fault::Down));
    world.clock.advance(RECHECK);
    assert_eq!(instance.check_due().await.unwrap(), checked(0, 0, 3), "silence ends nothing");
    world.provider.set_fault(None);
    world.provider.disable("alice");
    world.clock.advance(RECHECK);
    assert_eq!(instance.check_due().await.unwrap(), checked(0, 3, 0));
    for tokens in &logins {
        assert!(!is_let_in(tokens).await);
    }
}

#[tokio::test]
async fn an_outage_ends_nothing_and_is_noticed_when_it_is_over() {
    let scene = Scene::new().await;
    let instance = scene.instance();
    for (fault, reason) in [(Fault::Down, "no answer"), (Fault::Wrong, "nonsense")] {
        scene.world.provider.set_fault(Some(fault));
        scene.world.clock.advance(RECHECK);
        assert_eq!(instance.check_due().await.unwrap(), checked(0, 0, 2), "{reason}");
        assert_eq!(instance.check_due().await.unwrap(), checked(0, 0, 0), "{reason}: not at once");
        for _ in 0..5 {
            scene.world.clock.advance(Duration::from_mins(1));
            assert_eq!(instance.check_due().await.unwrap(), checked(0, 0, 2), "{reason}");
        }
        for tokens in [&scene.alice, &scene.bob] {
            assert!(scene.is_let_in(tokens).await, "{reason}");
        }
        scene.world.provider.set_fault(None);
        scene.world.clock.advance(Duration::from_mins(1));
        assert_eq!(
            instance.check_due().await.unwrap(),
            checked(2, 0, 0),
            "{reason}: within a minute"
        );
    }
    scene.world.provider.set_fault(Some(Fault::Refuses));
    scene.world.clock.advance(RECHECK);
    assert_eq!(instance.check_due().await.unwrap(), checked(0, 2, 0), "a clear word");
}

/// The provider takes a refresh token that comes twice for theft, and ends the session.
#[tokio::test]
async fn two_instances_never_use_one_refresh_token_twice() {
    let scene = Scene::new().await;
    let instances = [scene.instance(), scene.instance(), scene.instance()];
    for round in 1..=20 {
        scene.world.clock.advance(RECHECK);
        let [a, b, c] = &instances;
        let (a, b, c) = tokio::join!(a.check_due(), b.check_due(), c.check_due());
        let alive = a.unwrap().alive + b.unwrap().alive + c.unwrap().alive;
        assert_eq!(alive, 2, "round {round}");
        assert_eq!(scene.world.provider.renewals(), 2 * round);
    }
}

#[tokio::test]
async fn the_new_token_is_kept_before_anything_else_is_tried() {
    let scene = Scene::new().await;
    let dying = scene.instance();
    scene.world.provider.pause(Pause::BeforeConfirmation);
    scene.world.clock.advance(RECHECK);
    let crash = tokio::time::timeout(Duration::from_millis(100), dying.check_due()).await;
    assert!(crash.is_err(), "it stopped while it checked the new ID tokens, and is gone");
    assert_eq!(scene.world.provider.renewals(), 2, "the provider has answered");
    scene.world.provider.go_on();

    let survivor = scene.instance();
    scene.world.clock.advance(RECHECK);
    assert_eq!(survivor.check_due().await.unwrap(), checked(2, 0, 0), "with the new tokens");
}

#[tokio::test]
async fn who_dies_before_asking_leaves_the_session_to_others() {
    let scene = Scene::new().await;
    scene.world.provider.pause(Pause::BeforeRenewal);
    scene.world.clock.advance(RECHECK);
    let dying = scene.instance();
    let crash = tokio::time::timeout(Duration::from_millis(100), dying.check_due()).await;
    assert!(crash.is_err());
    scene.world.provider.go_on();

    let survivor = scene.instance();
    assert_eq!(survivor.check_due().await.unwrap(), checked(0, 0, 0), "it may still be at work");
    scene.world.clock.advance(LEASE);
    assert_eq!(survivor.check_due().await.unwrap(), checked(2, 0, 0));
}

#[tokio::test]
async fn who_comes_back_too_late_changes_nothing() {
    let scene = Scene::new().await;
    scene.world.provider.pause(Pause::BeforeRenewal);
    scene.world.clock.advance(RECHECK);
    let slow = scene.instance();
    let slow = tokio::spawn(async move { slow.check_due().await });
    while scene.world.provider.renewals() < 2 {
        tokio::task::yield_now().await;
    }
    // Its questions are still on the way when its time is over and another has asked.
    scene.world.clock.advance(LEASE);
    let instance = scene.instance();
    let quick = tokio::spawn(async move { instance.check_due().await });
    while scene.world.provider.renewals() < 4 {
        tokio::task::yield_now().await;
    }
    scene.world.provider.go_on();
    let (slow, quick) = (slow.await.unwrap().unwrap(), quick.await.unwrap().unwrap());
    // Whoever was first at the provider got the new tokens; the other heard that the old one is
    // spent, which ends nothing.
    assert_eq!((slow.alive + quick.alive, slow.ended + quick.ended), (2, 0), "{slow:?} {quick:?}");
    assert!(scene.is_let_in(&scene.alice).await);
    scene.world.clock.advance(RECHECK);
    let checked_now = scene.instance().check_due().await.unwrap();
    assert_eq!(checked_now, checked(2, 0, 0), "the right tokens were kept");
}

#[tokio::test]
async fn login_only_asks_nobody() {
    let mut builder = World::builder();
    builder.session = SessionRule::LoginOnly;
    let world = builder.build().await;
    let client = world.public_client("https://app.example/cb").await;
    let tokens = world.tokens(&client, "alice").await;
    world.provider.disable("alice");
    world.clock.advance(RECHECK);
    let checked_now = world.server.provider_sessions().check_due().await.unwrap();
    assert_eq!((checked_now, world.provider.renewals()), (checked(0, 0, 0), 0));
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 200);
}

#[tokio::test]
async fn more_sessions_than_are_asked_about_at_once_are_all_asked_about() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let people = usize::from(CHECKS_AT_ONCE_MAX) * 2 + 3;
    for number in 0..people {
        world.tokens(&client, &format!("person-{number}")).await;
    }
    let instance = world.server.provider_sessions();
    world.clock.advance(RECHECK);
    assert_eq!(instance.check_due().await.unwrap(), checked(people, 0, 0));
    world.provider.set_fault(Some(Fault::Down));
    world.clock.advance(RECHECK);
    let failed = instance.check_due().await.unwrap().failed;
    assert_eq!(failed, usize::from(CHECKS_AT_ONCE_MAX), "a silent provider is not flooded");
}

#[tokio::test]
async fn a_key_that_does_not_open_the_tokens_ends_nothing() {
    let scene = Scene::new().await;
    let other_key = World::builder().over(Arc::clone(&scene.world.store)).build().await;
    other_key.clock.advance(RECHECK);
    let server: &Arc<AuthorizationServer> = &other_key.server;
    let checked_now = server.provider_sessions().check_due().await.unwrap();
    assert_eq!(checked_now, checked(0, 0, 2));
    assert_eq!(other_key.provider.renewals(), 0, "there is nothing to ask with");
    assert!(scene.is_let_in(&scene.alice).await);
}

#[tokio::test]
async fn a_revoked_grant_is_asked_about_no_more() {
    let scene = Scene::new().await;
    scene.world.revoke(&scene.client, &scene.alice.refresh).await;
    scene.world.clock.advance(RECHECK);
    assert_eq!(scene.instance().check_due().await.unwrap(), checked(1, 0, 0));
}

#[tokio::test]
async fn a_clock_that_was_set_back_puts_no_question_off() {
    let scene = Scene::new().await;
    let instance = scene.instance();
    scene.world.clock.advance(Duration::from_hours(24));
    assert_eq!(instance.check_due().await.unwrap(), checked(2, 0, 0));
    scene.world.clock.go_back(Duration::from_hours(24));
    assert_eq!(instance.check_due().await.unwrap(), checked(2, 0, 0), "not in a day from now");
}

#[tokio::test]
async fn who_is_asked_about_is_not_asked_about_by_an_instance_whose_clock_is_behind() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(TableLimits::default()));
    let sealer = Sealer::ephemeral();
    let instance = || {
        let mut builder = World::builder().over(Arc::clone(&store)).sealed_with(&sealer);
        builder.session = SessionRule::Follow { recheck: Duration::from_secs(10) };
        builder.build()
    };
    let (ahead, behind) = (instance().await, instance().await);
    ahead.clock.advance(CLOCKS_APART_MAX);
    let client = ahead.public_client("https://app.example/cb").await;
    ahead.tokens(&client, "alice").await;
    for world in [&ahead, &behind] {
        world.clock.advance(Duration::from_secs(10));
    }
    ahead.provider.pause(Pause::BeforeRenewal);
    let asking = ahead.server.provider_sessions();
    let asking = tokio::spawn(async move { asking.check_due().await.unwrap() });
    while ahead.provider.renewals() == 0 {
        tokio::task::yield_now().await;
    }
    let none = behind.server.provider_sessions().check_due().await.unwrap();
    assert_eq!((none, behind.provider.renewals()), (checked(0, 0, 0), 0), "somebody has it");
    ahead.provider.go_on();
    assert_eq!(asking.await.unwrap(), checked(1, 0, 0));
}
