//! The way to an `OpenID` provider and back: requests, credentials, `iss`, keys.

use std::sync::Arc;
use std::time::Duration;

use sekisho::clock::{Clock, Timestamp};
use sekisho::identity_provider::oidc::{OidcProvider, OidcSettings};
use sekisho::identity_provider::{IdentityProvider, LoggedIn, LoginAttempt, ProviderError};
use sekisho_protocol::Secret;
use serde_json::{Value, json};
use testkit::ManualClock;
use testkit::identity_provider::{CallbackIss, Endpoint, FakeIdentityProvider, Signing, Trouble};
use url::Url;

use crate::{Outcome, attempt, outcome, said};

/// Where we are.
pub(crate) const PUBLIC_URL: &str = "http://localhost:8000";

/// A provider, our side of it, and the time.
pub(crate) struct Scene {
    pub(crate) fake: FakeIdentityProvider,
    pub(crate) ours: OidcProvider,
    pub(crate) clock: Arc<ManualClock>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let fake = FakeIdentityProvider::start(Arc::clone(&clock) as _).await;
        let ours = fake.provider(PUBLIC_URL);
        Self { fake, ours, clock }
    }

    /// Our side anew, with other settings and nothing fetched yet.
    pub(crate) fn reset_with(&mut self, change: impl FnOnce(&mut OidcSettings)) {
        let mut settings = self.fake.settings(PUBLIC_URL);
        change(&mut settings);
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.ours = OidcProvider::new(settings, clock).unwrap();
    }

    /// Sends a browser there and back.
    pub(crate) async fn begin(&self, name: &str) -> Result<(LoginAttempt, Secret), ProviderError> {
        let attempt = attempt();
        let url = self.ours.authorization_url(&attempt).await?;
        let callback = self.fake.log_in(&url, name).await;
        assert_eq!(callback.parameter("state").as_deref(), Some(attempt.login_state.reveal()));
        Ok((attempt, callback.code()))
    }

    /// A whole login.
    pub(crate) async fn log_in(&self, name: &str) -> Result<LoggedIn, ProviderError> {
        let (attempt, code) = self.begin(name).await?;
        self.ours.redeem(&code, &attempt).await
    }

    fn now(&self) -> i64 {
        self.clock.now().unix_seconds()
    }
}

#[tokio::test]
async fn a_person_comes_back_as_the_provider_knows_them() {
    let scene = Scene::new().await;
    let person = scene.log_in("alice").await.unwrap();
    assert_eq!(person.identity, scene.fake.identity("alice"));
    let tokens = person.tokens.unwrap();
    assert!(tokens.access_token.reveal().starts_with("provider-access-"));
    assert!(tokens.refresh_token.is_some() && tokens.id_token.is_some());
    assert_eq!(tokens.expires_at.map(Timestamp::unix_seconds), Some(scene.now() + 60));
}

#[tokio::test]
async fn nothing_is_fetched_before_it_is_needed_nor_twice() {
    let scene = Scene::new().await;
    assert_eq!(scene.fake.requests_in_all(), 0, "we start without asking anybody");
    for _ in 0..3 {
        scene.log_in("alice").await.unwrap();
    }
    assert_eq!(scene.fake.requests(Endpoint::Metadata), 1);
    assert_eq!(scene.fake.requests(Endpoint::Keys), 1);
    assert_eq!(scene.fake.requests(Endpoint::Token), 3);
}

#[tokio::test]
async fn the_browser_is_sent_with_pkce_nonce_and_our_own_state() {
    let scene = Scene::new().await;
    let attempt = attempt();
    let url = scene.ours.authorization_url(&attempt).await.unwrap();
    assert!(!url.contains(attempt.code_verifier.reveal()), "the verifier stays with us");
    let url = Url::parse(&url).unwrap();
    let sent: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let expected = [
        ("response_type", "code"),
        ("client_id", "mcp"),
        ("redirect_uri", "http://localhost:8000/auth/callback"),
        ("scope", "openid email profile offline_access"),
        ("state", attempt.login_state.reveal()),
        ("nonce", attempt.nonce.reveal()),
    ];
    for (name, value) in expected {
        assert!(sent.contains(&(name.into(), value.into())), "{name}={value} in {sent:?}");
    }
    assert!(sent.contains(&("code_challenge_method".into(), "S256".into())));
    assert_eq!(scene.fake.requests(Endpoint::Authorize), 0, "only the browser goes there");
}

#[tokio::test]
async fn parameters_of_the_providers_own_are_kept() {
    let scene = Scene::new().await;
    let endpoint = format!("{}/authorize?tenant=a%26b", scene.fake.issuer());
    scene.fake.misbehave(|it| it.metadata("authorization_endpoint", endpoint.as_str()));
    let url = scene.ours.authorization_url(&attempt()).await.unwrap();
    assert!(url.starts_with(&format!("{endpoint}&response_type=code&")), "{url}");
}

#[tokio::test]
async fn the_client_proves_itself_the_way_the_provider_offers() {
    let rows: [(Value, bool, Outcome, &str); 6] = [
        (Value::Null, true, Outcome::LoggedIn, "nothing said means basic"),
        (json!(["client_secret_basic", "private_key_jwt"]), true, Outcome::LoggedIn, "basic"),
        (json!(["client_secret_post"]), true, Outcome::LoggedIn, "post where only that is"),
        (json!(["private_key_jwt"]), true, Outcome::Unacceptable, "no way we know"),
        (json!([]), true, Outcome::Unacceptable, "no way at all"),
        (json!(["client_secret_basic"]), false, Outcome::LoggedIn, "a public client"),
    ];
    for (methods, has_secret, expected, reason) in rows {
        let mut scene = Scene::new().await;
        scene.fake.misbehave(|it| it.metadata("token_endpoint_auth_methods_supported", methods));
        scene.reset_with(|settings| {
            settings.client_secret = settings.client_secret.take().filter(|_| has_secret);
        });
        assert_eq!(outcome(&scene.log_in("alice").await), expected, "{reason}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_our_operators_business() {
    let mut scene = Scene::new().await;
    scene.reset_with(|settings| settings.client_secret = Some(Secret::new("wrong")));
    let result = scene.log_in("alice").await;
    assert_eq!(outcome(&result), Outcome::Unacceptable);
    let said = said(result);
    assert!(said.contains("invalid_client") && said.contains("check client_id"), "{said}");
}

#[tokio::test]
async fn a_code_is_worth_nothing_without_its_own_login() {
    let scene = Scene::new().await;
    let (mine, _) = scene.begin("mallory").await.unwrap();
    let (theirs, code) = scene.begin("alice").await.unwrap();
    let stolen = scene.ours.redeem(&code, &mine).await;
    assert_eq!(outcome(&stolen), Outcome::Refused, "another login's PKCE");

    let (with_nonce, code) = scene.begin("alice").await.unwrap();
    let other_nonce = LoginAttempt { nonce: theirs.nonce.clone(), ..with_nonce };
    let injected = scene.ours.redeem(&code, &other_nonce).await;
    assert_eq!(outcome(&injected), Outcome::Unacceptable, "another login's nonce");

    let (once, code) = scene.begin("alice").await.unwrap();
    assert_eq!(outcome(&scene.ours.redeem(&code, &once).await), Outcome::LoggedIn);
    assert_eq!(outcome(&scene.ours.redeem(&code, &once).await), Outcome::Refused, "used before");
}

/// Case 16: what a callback says of its sender, before the token endpoint is asked.
#[tokio::test]
async fn an_answer_counts_only_from_the_configured_provider() {
    let rows = [
        (true, CallbackIss::Right, true, "the right one"),
        (true, CallbackIss::Wrong, false, "another issuer"),
        (true, CallbackIss::Absent, false, "absent though advertised"),
        (false, CallbackIss::Absent, true, "absent and not advertised"),
        (false, CallbackIss::Right, true, "the right one, though not advertised"),
        (false, CallbackIss::Wrong, false, "another issuer, though not advertised"),
    ];
    for (is_advertised, sent, expected, reason) in rows {
        let scene = Scene::new().await;
        scene.fake.misbehave(|it| {
            it.metadata("authorization_response_iss_parameter_supported", is_advertised);
            it.callback_iss = sent;
        });
        let url = scene.ours.authorization_url(&attempt()).await.unwrap();
        let callback = scene.fake.log_in(&url, "alice").await;
        let iss = callback.parameter("iss");
        let is_ours = scene.ours.is_answer_from_us(iss.as_deref()).await.unwrap();
        assert_eq!(is_ours, expected, "{reason}");
        assert_eq!(scene.fake.requests(Endpoint::Token), 0, "{reason}");
    }
}

#[tokio::test]
async fn the_issuer_in_an_answer_is_compared_to_the_letter() {
    let scene = Scene::new().await;
    let issuer = scene.fake.issuer();
    let rows = [
        (issuer.to_owned(), true, "itself"),
        (format!("{issuer}/"), false, "a slash more"),
        (issuer.to_uppercase(), false, "upper case"),
        (issuer.replace("127.0.0.1", "localhost"), false, "the same host by another name"),
        (String::new(), false, "empty"),
    ];
    for (iss, expected, reason) in rows {
        let is_ours = scene.ours.is_answer_from_us(Some(&iss)).await.unwrap();
        assert_eq!(is_ours, expected, "{reason}");
    }
    assert_eq!(scene.fake.requests_in_all(), 0, "no question to the provider is needed for that");
}

/// Case 20, first half.
#[tokio::test]
async fn a_key_made_just_before_signing_is_found_with_one_fetch() {
    let scene = Scene::new().await;
    scene.log_in("alice").await.unwrap();
    for rotation in 1..=3 {
        scene.fake.rotate_keys();
        assert_eq!(outcome(&scene.log_in("alice").await), Outcome::LoggedIn, "at once");
        assert_eq!(scene.fake.requests(Endpoint::Keys), 1 + rotation);
    }
}

#[tokio::test]
async fn who_waits_for_the_same_new_key_shares_one_fetch() {
    let scene = Scene::new().await;
    scene.log_in("alice").await.unwrap();
    scene.fake.rotate_keys();
    let logins = futures::future::join_all((0..20).map(|_| scene.log_in("alice"))).await;
    assert!(logins.iter().all(|login| outcome(login) == Outcome::LoggedIn));
    assert_eq!(scene.fake.requests(Endpoint::Keys), 2);
}

#[tokio::test]
async fn a_key_works_only_for_what_it_is_for() {
    let rows = [
        (Signing::Es256, "use", json!("enc"), false, "for encryption"),
        (Signing::Es256, "use", json!("other"), false, "for something else"),
        (Signing::Es256, "use", Value::Null, true, "nothing said of its use"),
        (Signing::Es256, "use", json!(7), false, "a use of the wrong type"),
        (Signing::Es256, "key_ops", json!(["encrypt"]), false, "encrypts"),
        (Signing::Es256, "key_ops", json!(["verify"]), true, "verifies"),
        (Signing::Es256, "alg", json!("ES256"), true, "for this algorithm"),
        (Signing::Es256, "alg", json!("ES384"), false, "for another algorithm"),
        (Signing::Rs256, "alg", json!("RS512"), false, "for another hash"),
        (Signing::Rs256, "alg", json!("PS256"), false, "for another padding"),
        (Signing::Rs256, "alg", json!("RSA-OAEP"), false, "for encryption by algorithm"),
        (Signing::Rs256, "alg", json!("HS256"), false, "for a shared secret"),
        (Signing::Es256, "crv", json!("P-384"), false, "on another curve"),
        (Signing::Es256, "crv", json!("secp256k1"), false, "on an unknown curve"),
        (Signing::Es256, "x", json!("AAAA"), false, "no point"),
        (Signing::Es256, "kty", json!("oct"), false, "no public key at all"),
        (Signing::Rs256, "n", json!("AQAB"), false, "far too short"),
        (Signing::Es256, "kid", json!("same"), false, "under another name"),
        (Signing::HmacWithPublicKey, "kty", json!("oct"), false, "a shared secret, published"),
    ];
    for (signing, member, value, is_accepted, reason) in rows {
        let scene = Scene::new().await;
        scene.fake.misbehave(|it| {
            it.signing = signing;
            it.key(member, value);
        });
        let expected = if is_accepted { Outcome::LoggedIn } else { Outcome::Unacceptable };
        assert_eq!(outcome(&scene.log_in("alice").await), expected, "{member}: {reason}");
    }
}

#[tokio::test]
async fn a_withdrawn_key_is_trusted_for_an_hour_at_most() {
    let scene = Scene::new().await;
    scene.log_in("alice").await.unwrap();
    let (attempt, code) = scene.begin("alice").await.unwrap();
    scene.clock.advance(Duration::from_hours(1));
    scene.log_in("bob").await.unwrap();
    assert_eq!(scene.fake.requests(Endpoint::Keys), 2, "fetched anew");
    assert_eq!(scene.fake.requests(Endpoint::Metadata), 2, "fetched anew");
    assert_eq!(outcome(&scene.ours.redeem(&code, &attempt).await), Outcome::LoggedIn);
}

/// Case 20, second half.
#[tokio::test]
async fn a_flood_of_unknown_keys_costs_one_fetch_in_half_a_minute() {
    const FLOOD: usize = 100;
    let scene = Scene::new().await;
    scene.log_in("alice").await.unwrap();
    let mut tickets = Vec::new();
    for _ in 0..FLOOD {
        tickets.push(scene.begin("mallory").await.unwrap());
    }
    scene.fake.misbehave(|it| it.made_up_kid = true);
    let redeem =
        async |(attempt, code): &(LoginAttempt, Secret)| scene.ours.redeem(code, attempt).await;
    let redeemed = futures::future::join_all(tickets.iter().map(redeem)).await;
    assert!(redeemed.iter().all(|one| outcome(one) == Outcome::Unacceptable));
    assert_eq!(scene.fake.requests(Endpoint::Keys), 2, "one fetch for {FLOOD}");

    scene.fake.behave();
    assert_eq!(outcome(&scene.log_in("alice").await), Outcome::LoggedIn, "known keys go on");
    scene.clock.advance(Duration::from_secs(29));
    scene.fake.misbehave(|it| it.made_up_kid = true);
    assert_eq!(outcome(&scene.log_in("mallory").await), Outcome::Unacceptable);
    assert_eq!(scene.fake.requests(Endpoint::Keys), 2, "still cooling down");
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(&scene.log_in("mallory").await), Outcome::Unacceptable);
    assert_eq!(scene.fake.requests(Endpoint::Keys), 3, "and then one more");
}

#[tokio::test]
async fn who_has_a_known_key_does_not_wait_for_a_fetch() {
    let scene = Scene::new().await;
    scene.log_in("alice").await.unwrap();
    let (attempt, code) = scene.begin("mallory").await.unwrap();
    scene.fake.misbehave(|it| {
        it.header("kid", "made-up");
        it.trouble(Endpoint::Keys, Trouble::Silence);
    });
    let mut unknown = Box::pin(scene.ours.redeem(&code, &attempt));
    while scene.fake.requests(Endpoint::Keys) < 2 {
        tokio::select! {
            result = &mut unknown => panic!("did not fetch: {result:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    scene.fake.misbehave(|it| it.header.clear());
    let known = tokio::select! {
        result = &mut unknown => panic!("did not wait: {result:?}"),
        result = scene.log_in("alice") => result,
    };
    assert_eq!(outcome(&known), Outcome::LoggedIn);
}

#[tokio::test]
async fn a_nameless_key_works_as_long_as_it_is_the_only_one() {
    let scene = Scene::new().await;
    scene.fake.misbehave(|it| it.header("kid", Value::Null));
    assert_eq!(outcome(&scene.log_in("alice").await), Outcome::LoggedIn);
    scene.fake.rotate_keys();
    assert_eq!(outcome(&scene.log_in("alice").await), Outcome::LoggedIn, "rotated unnamed");
}

#[tokio::test]
async fn every_algorithm_for_public_keys_is_verified() {
    let rows = [
        (Signing::Es256, "ECDSA, P-256"),
        (Signing::Es384, "ECDSA, P-384"),
        (Signing::Rs256, "RSA"),
        (Signing::Rs512, "RSA with the longer hash"),
        (Signing::Ps256, "RSA-PSS"),
        (Signing::EdDsa, "Ed25519"),
    ];
    let scene = Scene::new().await;
    for (signing, reason) in rows {
        scene.fake.misbehave(|it| it.signing = signing);
        assert_eq!(outcome(&scene.log_in("alice").await), Outcome::LoggedIn, "{reason}");
    }
}

/// Case 22.
#[tokio::test]
async fn one_subject_at_two_providers_is_two_people() {
    let (here, there) = (Scene::new().await, Scene::new().await);
    let (one, other) = (here.log_in("alice").await.unwrap(), there.log_in("alice").await.unwrap());
    assert_eq!(one.identity.subject, other.identity.subject);
    assert_eq!(one.identity.email, other.identity.email);
    assert!(!one.identity.is_same_person(&other.identity));
}

#[test]
fn settings_that_can_never_work_are_refused_with_the_remedy() {
    let good = || OidcSettings::keycloak("https://login.example/realms/x", "mcp", None, "x");
    let issuer = |text: &str| OidcSettings { issuer: text.into(), ..good() };
    let scopes = |scopes: &[&str]| OidcSettings {
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        ..good()
    };
    let rows = [
        (good(), None, "the usual one"),
        (issuer("https://login.example/"), None, "a slash belongs to some issuers"),
        (issuer("http://localhost:8080/realms/master"), None, "loopback"),
        (issuer("http://[::1]:8080"), None, "loopback, IPv6"),
        (issuer("http://login.example"), Some("use https"), "plain http off loopback"),
        (issuer("http://localhost.evil.example"), Some("use https"), "a look-alike"),
        (issuer("login.example"), Some("not a URL"), "no scheme"),
        (issuer("ftp://login.example"), Some("not a URL"), "another scheme"),
        (issuer("HTTPS://login.example"), Some("not a URL"), "odd spelling"),
        (issuer("https://login.example?x"), Some("not a URL"), "a query"),
        (issuer("https://login.example#x"), Some("not a URL"), "a fragment"),
        (issuer("https://u:p@login.example"), Some("not a URL"), "credentials"),
        (issuer(" https://login.example"), Some("not a URL"), "a space before it"),
        (issuer(""), Some("not a URL"), "nothing"),
        (OidcSettings { client_id: String::new(), ..good() }, Some("register"), "no client id"),
        (
            OidcSettings { client_secret: Some(Secret::new("")), ..good() },
            Some("leave it out"),
            "an empty secret",
        ),
        (scopes(&["email"]), Some("add it"), "without openid nobody is logged in"),
        (scopes(&[]), Some("add it"), "no scope at all"),
        (scopes(&["openid email"]), Some("entry of its own"), "two scopes in one"),
        (scopes(&["openid", ""]), Some("entry of its own"), "an empty scope"),
    ];
    for (settings, remedy, reason) in rows {
        let made = OidcProvider::new(settings, Arc::new(ManualClock::default()));
        match (made, remedy) {
            (Ok(_), None) => {}
            (Err(error), Some(remedy)) => {
                assert!(error.to_string().contains(remedy), "{reason}: {error}");
            }
            (made, _) => panic!("{reason}: {made:?}"),
        }
    }
}

#[test]
fn the_secret_is_in_no_debug_text() {
    let settings =
        OidcSettings::keycloak("http://localhost:1", "mcp", Some(Secret::new("hush-hush")), "x");
    let provider = OidcProvider::new(settings.clone(), Arc::new(ManualClock::default())).unwrap();
    assert!(!format!("{settings:?}{provider:?}").contains("hush-hush"));
}
