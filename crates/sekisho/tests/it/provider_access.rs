//! The provider's access token of a login, for servers behind us: fresh, renewed by one for all, and
//! for nobody who did not log in there.

use std::sync::Arc;
use std::time::Duration;

use sekisho::authorization_server::{NoProviderToken, ProviderAccess};
use sekisho::clock::Clock as _;
use sekisho::grant::{GrantId, TokenKey};
use sekisho::identity_provider::{ExchangeWish, ProviderToken};
use sekisho_protocol::Secret;
use testkit::scripted_provider::{Fault, Gives, Pause};
use testkit::{Tokens, World};

/// How long the provider's access tokens live here.
const LIFE: Duration = Duration::from_mins(5);

/// Alice and bob each let a client act for them.
struct Scene {
    world: World,
    alice: Tokens,
    bob: Tokens,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        world.provider.let_access_tokens_end_at(world.clock.now().plus(LIFE));
        let client = world.public_client("https://app.example/cb").await;
        let alice = world.tokens(&client, "alice").await;
        let bob = world.tokens(&client, "bob").await;
        Self { world, alice, bob }
    }

    /// One of the instances that share the store.
    fn instance(&self) -> ProviderAccess {
        self.world.server.provider_access()
    }

    async fn grant(&self, tokens: &Tokens) -> GrantId {
        grant(&self.world, &tokens.access).await
    }

    /// Lets so much time pass; what the provider gives from now on lives as long as before.
    fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
        self.world.provider.let_access_tokens_end_at(self.world.clock.now().plus(LIFE));
    }

    async fn is_let_in(&self, tokens: &Tokens) -> bool {
        self.world.call("/mcp", &tokens.access).await.status == 200
    }
}

async fn grant(world: &World, access: &str) -> GrantId {
    let found =
        world.store.find_access_token(&TokenKey::shown(&Secret::new(access))).await.unwrap();
    found.unwrap().principal.grant_id.clone()
}

fn text(given: Result<ProviderToken, NoProviderToken>) -> String {
    given.unwrap().token.reveal().to_owned()
}

#[tokio::test]
async fn a_token_is_given_as_it_is_while_it_is_fresh_and_renewed_before_its_end() {
    let scene = Scene::new().await;
    let (ours, grant) = (scene.instance(), scene.grant(&scene.alice).await);
    let first = text(ours.access_token(&grant, None).await);
    scene.advance(Duration::from_secs(270));
    assert_eq!(text(ours.access_token(&grant, None).await), first);
    assert_eq!(scene.world.provider.renewals(), 0);
    scene.advance(Duration::from_secs(1));
    let second = ours.access_token(&grant, None).await.unwrap();
    assert_ne!(second.token.reveal(), first, "29 s are too few");
    assert_eq!(second.ends_at, Some(scene.world.clock.now().plus(LIFE)));
    assert_eq!(text(ours.access_token(&grant, None).await), second.token.reveal());
    assert_eq!(scene.world.provider.renewals(), 1);
    let bobs = text(ours.access_token(&scene.grant(&scene.bob).await, None).await);
    assert_ne!(bobs, second.token.reveal(), "to each their own");
}

/// Case 49, with everybody who wants to know.
#[tokio::test]
async fn fifty_calls_at_two_instances_and_the_daily_question_renew_a_session_once() {
    let scene = Scene::new().await;
    let grant = scene.grant(&scene.alice).await;
    scene.advance(Duration::from_mins(15));
    let instances = [scene.instance(), scene.instance()];
    scene.world.provider.pause(Pause::BeforeRenewal);
    let asking: Vec<_> = (0..50)
        .map(|number: usize| {
            let (ours, grant) = (instances[number % 2].clone(), grant.clone());
            tokio::spawn(async move { ours.access_token(&grant, None).await })
        })
        .collect();
    while scene.world.provider.renewals() == 0 {
        tokio::task::yield_now().await;
    }
    // Alice is due at this very moment, and somebody has her: bob alone is asked about.
    let server = Arc::clone(&scene.world.server);
    let daily = tokio::spawn(async move { server.provider_sessions().check_due().await });
    while scene.world.provider.renewals() == 1 {
        tokio::task::yield_now().await;
    }
    scene.world.provider.go_on();
    let mut tokens = Vec::new();
    for asked in asking {
        tokens.push(text(asked.await.unwrap()));
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "all have the same: {tokens:?}");
    assert_eq!(daily.await.unwrap().unwrap().alive, 1);
    assert_eq!(scene.world.provider.renewals(), 2, "alice once, bob once");
    assert!(scene.is_let_in(&scene.alice).await && scene.is_let_in(&scene.bob).await);
}

#[tokio::test]
async fn a_renewal_is_brought_to_its_end_when_nobody_waits_for_it_any_more() {
    let scene = Scene::new().await;
    let (ours, grant) = (scene.instance(), scene.grant(&scene.alice).await);
    scene.advance(LIFE);
    scene.world.provider.pause(Pause::BeforeConfirmation);
    let asking = tokio::spawn({
        let (ours, grant) = (ours.clone(), grant.clone());
        async move { ours.access_token(&grant, None).await }
    });
    while scene.world.provider.renewals() == 0 {
        tokio::task::yield_now().await;
    }
    asking.abort();
    assert!(asking.await.is_err(), "the client has hung up");
    scene.world.provider.go_on();
    scene.advance(LIFE);
    // Which takes the next refresh token, and that was kept.
    ours.access_token(&grant, None).await.unwrap();
    assert_eq!(scene.world.provider.renewals(), 2);
}

#[tokio::test]
async fn the_providers_no_ends_the_grant_and_its_silence_does_not() {
    let scene = Scene::new().await;
    let (ours, grant) = (scene.instance(), scene.grant(&scene.alice).await);
    scene.advance(LIFE);
    for fault in [Fault::Down, Fault::Wrong] {
        scene.world.provider.set_fault(Some(fault));
        let given = ours.access_token(&grant, None).await;
        assert!(matches!(given, Err(NoProviderToken::Unavailable(_))), "{fault:?}: {given:?}");
        assert!(scene.is_let_in(&scene.alice).await, "{fault:?}");
    }
    scene.world.provider.set_fault(None);
    ours.access_token(&grant, None).await.unwrap();
    scene.advance(LIFE);
    scene.world.provider.disable("alice");
    assert_eq!(ours.access_token(&grant, None).await.unwrap_err(), NoProviderToken::Over);
    assert!(!scene.is_let_in(&scene.alice).await);
    assert_eq!(ours.access_token(&grant, None).await.unwrap_err(), NoProviderToken::NoLogin);
    assert!(scene.is_let_in(&scene.bob).await, "nobody else");
}

#[tokio::test]
async fn a_token_that_somebody_refused_is_not_given_again() {
    let scene = Scene::new().await;
    let (ours, grant) = (scene.instance(), scene.grant(&scene.alice).await);
    let first = ours.access_token(&grant, None).await.unwrap().token;
    let refused = Some(first.hash());
    let second = text(ours.access_token(&grant, refused.as_ref()).await);
    assert_ne!(second, first.reveal());
    assert_eq!(text(ours.access_token(&grant, refused.as_ref()).await), second, "renewed by then");
    assert_eq!(scene.world.provider.renewals(), 1);
}

#[tokio::test]
async fn a_provider_that_gives_the_same_token_again_is_asked_once() {
    let scene = Scene::new().await;
    scene.world.provider.set_gives(Gives::OneAccessToken);
    let client = scene.world.public_client("https://app.example/cb").await;
    let carol = scene.world.tokens(&client, "carol").await;
    let (ours, grant) = (scene.instance(), scene.grant(&carol).await);
    let first = ours.access_token(&grant, None).await.unwrap().token;
    let again = text(ours.access_token(&grant, Some(&first.hash())).await);
    assert_eq!((again.as_str(), scene.world.provider.renewals()), (first.reveal(), 1));
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_now_is_given_until_its_end() {
    let scene = Scene::new().await;
    let (ours, grant) = (scene.instance(), scene.grant(&scene.alice).await);
    scene.advance(LIFE.saturating_sub(Duration::from_secs(10)));
    scene.world.provider.set_fault(Some(Fault::Down));
    ours.access_token(&grant, None).await.unwrap();
    scene.advance(Duration::from_secs(10));
    let given = ours.access_token(&grant, None).await.unwrap_err();
    assert!(matches!(given, NoProviderToken::Unavailable(_)), "{given:?}");
}

#[tokio::test]
async fn without_a_refresh_token_a_token_is_good_until_its_end() {
    let scene = Scene::new().await;
    scene.world.provider.set_gives(Gives::NoRefreshToken);
    let client = scene.world.public_client("https://app.example/cb").await;
    let carol = scene.world.tokens(&client, "carol").await;
    let (ours, grant) = (scene.instance(), scene.grant(&carol).await);
    scene.advance(Duration::from_secs(299));
    ours.access_token(&grant, None).await.unwrap();
    scene.advance(Duration::from_secs(1));
    assert_eq!(ours.access_token(&grant, None).await.unwrap_err(), NoProviderToken::Over);
    assert!(scene.is_let_in(&carol).await, "which is no reason to end the grant");
}

#[tokio::test]
async fn what_is_traded_is_the_callers_own_and_fresh() {
    let scene = Scene::new().await;
    let (ours, grant) = (scene.instance(), scene.grant(&scene.alice).await);
    let wish = ExchangeWish { audience: vec!["tools".into()], scopes: Vec::new() };
    scene.advance(LIFE);
    let traded = text(ours.exchanged(&grant, &wish).await);
    let own = text(ours.access_token(&grant, None).await);
    assert_eq!(traded, format!("{own} for tools"));
    assert_eq!((scene.world.provider.renewals(), scene.world.provider.exchanges()), (1, 1));
    for (fault, is_silence) in [(Fault::Down, true), (Fault::Wrong, false), (Fault::Refuses, false)]
    {
        scene.world.provider.set_fault(Some(fault));
        let given = ours.exchanged(&grant, &wish).await.unwrap_err();
        assert_eq!(
            matches!(given, NoProviderToken::Unavailable(_)),
            is_silence,
            "{fault:?}: {given:?}"
        );
        assert!(scene.is_let_in(&scene.alice).await, "a trade that fails ends nothing: {fault:?}");
    }
}

#[tokio::test]
async fn whoever_did_not_log_in_there_has_no_token_there() {
    let scene = Scene::new().await;
    let ours = scene.instance();
    let made_up = GrantId::new("a personal token's, or a machine's");
    assert_eq!(ours.access_token(&made_up, None).await.unwrap_err(), NoProviderToken::NoLogin);
    let wish = ExchangeWish { audience: vec!["tools".into()], scopes: Vec::new() };
    assert_eq!(ours.exchanged(&made_up, &wish).await.unwrap_err(), NoProviderToken::NoLogin);
    assert_eq!(scene.world.provider.exchanges(), 0);
}
