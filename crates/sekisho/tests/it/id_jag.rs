//! Enterprise-managed authorization: an identity provider that the operator trusts vouches for a person
//! to a client, and nobody is asked. And everybody whose word does not count.

use std::sync::Arc;
use std::time::Duration;

use sekisho::policy::{Admission, Expression, Scope};
use sekisho::principal::WantedClaims;
use sekisho::store::GrantsOf;
use serde_json::{Value, json};
use testkit::identity_provider::{
    Endpoint, FakeIdentityProvider, Faults, Signing, Trouble, subject_of,
};
use testkit::world::{ISSUER, WorldBuilder};
use testkit::{Answer, ManualClock, RegisteredClient, World};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const RESOURCE: &str = "http://localhost:8000/mcp";

struct Scene {
    world: World,
    idp: FakeIdentityProvider,
    client: RegisteredClient,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut WorldBuilder)) -> Self {
        let clock = Arc::new(ManualClock::default());
        let idp = FakeIdentityProvider::start(Arc::clone(&clock) as _).await;
        let mut builder = World::builder().by(&clock);
        builder.settings.id_jag_issuers = vec![idp.issuer().to_owned()];
        change(&mut builder);
        let world = builder.build().await;
        let client = world.confidential_client().await;
        Self { world, idp, client }
    }

    fn jag(&self) -> String {
        self.idp.id_jag("alice", &self.client.id, ISSUER, RESOURCE)
    }

    async fn show(&self, assertion: &str, more: &[(&str, &str)]) -> Answer {
        let form: Vec<_> =
            [("grant_type", GRANT), ("assertion", assertion)].iter().chain(more).copied().collect();
        self.world.post_as(&self.client, "/token", &form).await
    }

    /// What comes of an assertion that is wrong in one thing.
    async fn wrong(&self, change: impl FnOnce(&mut Faults)) -> (u16, String) {
        self.idp.misbehave(change);
        let assertion = self.jag();
        self.idp.behave();
        said(&self.show(&assertion, &[]).await)
    }
}

fn said(answer: &Answer) -> (u16, String) {
    let error = if answer.status == 200 { String::new() } else { answer.error() };
    (answer.status.as_u16(), error)
}

#[tokio::test]
async fn a_company_vouches_for_a_person_and_the_client_acts_for_them() {
    let scene = Scene::new().await;
    let answer = scene.show(&scene.jag(), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    let document = answer.json();
    assert_eq!(document["scope"], "fortune");
    assert!(document.get("refresh_token").is_none(), "whoever decided may decide anew");
    let called = scene.world.call("/mcp", document["access_token"].as_str().unwrap()).await.json();
    assert_eq!(called["subject"], Value::from(subject_of("alice")));
    assert_eq!(called["client_id"], Value::from(scene.client.id.as_str()));
    assert_eq!(scene.world.provider.authorizations(), 0, "nobody logged in here");

    // It is theirs as anything else is: seen, and ended.
    let of =
        GrantsOf::Person { issuer: scene.idp.issuer().to_owned(), subject: subject_of("alice") };
    assert_eq!(scene.world.store.list_grants(&of, None).await.unwrap().len(), 1);
    let now = sekisho::clock::Clock::now(&*scene.world.clock);
    scene.world.store.end_grants(&of, now).await.unwrap();
    let over = scene.world.call("/mcp", document["access_token"].as_str().unwrap()).await;
    assert_eq!(over.status, 401);
}

#[tokio::test]
async fn an_assertion_counts_once_and_not_after_its_end() {
    let scene = Scene::new().await;
    let assertion = scene.jag();
    assert_eq!(scene.show(&assertion, &[]).await.status, 200);
    assert_eq!(
        said(&scene.show(&assertion, &[]).await),
        (400, "invalid_grant".to_owned()),
        "twice"
    );
    let late = scene.jag();
    scene.world.clock.advance(Duration::from_secs(332));
    assert_eq!(said(&scene.show(&late, &[]).await), (400, "invalid_grant".to_owned()), "too late");
}

/// One that was refused for something else is not used up: a thief must not spoil it for its client.
#[tokio::test]
async fn an_assertion_in_the_wrong_hands_gives_nothing_and_stays_good() {
    let scene = Scene::new().await;
    let assertion = scene.jag();
    let thief = scene.world.confidential_client().await;
    let form = [("grant_type", GRANT), ("assertion", assertion.as_str())];
    let stolen = scene.world.post_as(&thief, "/token", &form).await;
    assert_eq!(said(&stolen), (400, "invalid_grant".to_owned()));
    let public = scene.world.public_client("https://app.example/cb").await;
    let theirs = scene.idp.id_jag("alice", &public.id, ISSUER, RESOURCE);
    let form = [("grant_type", GRANT), ("assertion", theirs.as_str())];
    let unproven = scene.world.post_as(&public, "/token", &form).await;
    assert_eq!(said(&unproven), (400, "unauthorized_client".to_owned()), "a client without proof");
    assert_eq!(scene.show(&assertion, &[]).await.status, 200);
}

#[tokio::test]
async fn whatever_is_wrong_with_an_assertion_it_gives_nothing() {
    let scene = Scene::new().await;
    let now = sekisho::clock::Clock::now(&*scene.world.clock).unix_seconds();
    let claim = |name: &'static str, value: Value| move |it: &mut Faults| it.claim(name, value);
    let refused = (400, "invalid_grant".to_owned());
    let claims = [
        ("iss", json!("https://evil.test"), "an issuer that nobody trusts"),
        ("aud", json!("https://other.example"), "for another authorization server"),
        ("aud", json!([ISSUER, "https://other.example"]), "for two"),
        ("aud", json!([]), "for nobody"),
        ("aud", json!(format!("{ISSUER}/")), "another spelling"),
        ("aud", json!(RESOURCE), "for the resource, as an access token is"),
        ("client_id", json!("somebody"), "another client"),
        ("client_id", Value::Null, "no client"),
        ("sub", Value::Null, "nobody"),
        ("sub", json!(""), "an empty subject"),
        ("jti", Value::Null, "no id of its own"),
        ("jti", json!(""), "an empty id"),
        ("exp", Value::Null, "no end"),
        ("exp", json!(now - 31), "over"),
        ("exp", json!(now + 3_631), "it would have to be remembered for too long"),
        ("iat", Value::Null, "no beginning"),
        ("iat", json!(now + 31), "from the future"),
        ("nbf", json!(now + 31), "not yet"),
        ("resource", Value::Null, "for nothing in particular, where there are two"),
        ("resource", json!("http://localhost:8000/nowhere"), "for a resource that is none"),
        ("resource", json!([RESOURCE, "http://localhost:8000/other/mcp"]), "for two resources"),
        ("cnf", json!({ "jkt": "x" }), "bound to a key"),
    ];
    for (name, value, reason) in claims {
        assert_eq!(scene.wrong(claim(name, value)).await, refused, "{name}: {reason}");
    }
    let headers = [
        (json!("JWT"), "another kind of token"),
        (json!("at+jwt"), "an access token"),
        (json!("oauth-id-jag"), "nearly"),
        (Value::Null, "a kind that is not told"),
    ];
    for (typ, reason) in headers {
        let header = |it: &mut Faults| it.header("typ", typ);
        assert_eq!(scene.wrong(header).await, refused, "typ: {reason}");
    }
    for signing in [Signing::None, Signing::HmacWithPublicKey, Signing::ForeignKey] {
        assert_eq!(scene.wrong(|it| it.signing = signing).await, refused, "{signing:?}");
    }
    assert_eq!(scene.wrong(|it| it.header("crit", json!(["x"]))).await, refused, "critical");
    for assertion in ["", "a", "a.b.c", "..", &scene.idp.id_token("alice")] {
        let (status, error) = said(&scene.show(assertion, &[]).await);
        let is_refused = status == 400 && matches!(&*error, "invalid_grant" | "invalid_request");
        assert!(is_refused, "{assertion:?}: {status} {error}");
    }
    assert_eq!(scene.show(&scene.jag(), &[]).await.status, 200, "the right one, after all that");
}

/// Nobody makes us ask a stranger for keys.
#[tokio::test]
async fn an_issuer_that_nobody_trusts_is_asked_nothing() {
    let scene = Scene::new().await;
    let stranger = FakeIdentityProvider::start(Arc::clone(&scene.world.clock) as _).await;
    let assertion = stranger.id_jag("alice", &scene.client.id, ISSUER, RESOURCE);
    assert_eq!(said(&scene.show(&assertion, &[]).await), (400, "invalid_grant".to_owned()));
    assert_eq!((stranger.requests_in_all(), scene.idp.requests_in_all()), (0, 0));
}

#[tokio::test]
async fn while_the_issuers_keys_cannot_be_had_a_client_hears_that_it_may_try_again() {
    let scene = Scene::new().await;
    let assertion = scene.jag();
    scene.idp.misbehave(|it| it.trouble(Endpoint::Keys, Trouble::Status(503)));
    let down = scene.show(&assertion, &[]).await;
    assert_eq!(said(&down), (503, "temporarily_unavailable".to_owned()));
    assert!(!down.header("retry-after").is_empty());
    scene.idp.behave();
    scene.world.clock.advance(Duration::from_secs(3));
    assert_eq!(scene.show(&assertion, &[]).await.status, 200, "it was not used up");
    scene.idp.rotate_keys();
    assert_eq!(scene.show(&scene.jag(), &[]).await.status, 200, "a new key is found at once");
}

#[tokio::test]
async fn a_token_is_for_no_more_than_assertion_request_and_server_agree_on() {
    let other = "http://localhost:8000/other/mcp";
    let rows = [
        (other, json!("other more"), "", Ok("more other"), "all that the assertion has"),
        (other, json!("other more"), "other", Ok("other"), "less, as asked for"),
        (other, json!("other"), "other more", Ok("other"), "no more than the assertion has"),
        (other, json!("other mail"), "", Ok("other"), "what nobody has here is dropped"),
        (other, Value::Null, "more", Ok("more"), "the assertion leaves it to us"),
        (other, Value::Null, "", Ok("more other"), "what the server asks of everybody"),
        (RESOURCE, json!("other"), "", Err("invalid_scope"), "nothing of this server's"),
        (RESOURCE, json!("fortune"), "more", Err("invalid_scope"), "nothing in common"),
    ];
    for (resource, scope, asked, expected, reason) in rows {
        let scene = Scene::new().await;
        scene.idp.misbehave(|it| it.claim("scope", scope));
        let assertion = scene.idp.id_jag("alice", &scene.client.id, ISSUER, resource);
        let asked = [("scope", asked)];
        let answer = scene.show(&assertion, if asked[0].1.is_empty() { &[] } else { &asked }).await;
        match expected {
            Ok(scope) => {
                assert_eq!(answer.status, 200, "{reason}: {}", answer.body);
                let mut given: Vec<_> = answer.json()["scope"]
                    .as_str()
                    .unwrap()
                    .split(' ')
                    .map(str::to_owned)
                    .collect();
                given.sort();
                assert_eq!(given.join(" "), scope, "{reason}");
            }
            Err(error) => assert_eq!(said(&answer), (400, error.to_owned()), "{reason}"),
        }
    }
    let scene = Scene::new().await;
    let elsewhere = scene.show(&scene.jag(), &[("resource", other)]).await;
    assert_eq!(said(&elsewhere), (400, "invalid_target".to_owned()), "asked for another resource");
    let token = scene.show(&scene.jag(), &[]).await.json();
    let token = token["access_token"].as_str().unwrap();
    assert_eq!(scene.world.call("/other/mcp", token).await.status, 401, "for one server alone");
}

/// Who may log in decides for people of that provider, whichever way they come.
#[tokio::test]
async fn whoever_may_not_log_in_is_not_vouched_in_either() {
    let scene = both(Some("false")).await;
    assert_eq!(said(&scene.show(&scene.jag(), &[]).await), (400, "invalid_grant".to_owned()));
}

/// Who logs people in here and vouches for them, too, as `corp`.
async fn both(condition: Option<&str>) -> Scene {
    let clock = Arc::new(ManualClock::default());
    let idp = FakeIdentityProvider::start(Arc::clone(&clock) as _).await;
    let condition = condition.map(|text| Expression::parse(text, Scope::Login).unwrap());
    let admission = condition.map(Admission::only).unwrap_or_default();
    let provider = Arc::new(idp.provider(ISSUER));
    let login = sekisho::authorization_server::Provider::from(provider).called("corp", "Corp");
    let mut builder = World::builder().by(&clock).with_choice(
        testkit::ScriptedProvider::called("idp", testkit::scripted_provider::PROVIDER),
        vec![login.admitting(admission)],
    );
    builder.settings.id_jag_issuers = vec![idp.issuer().to_owned()];
    builder.settings.id_jag_claims = WantedClaims::new(["groups".to_owned()]);
    let world = builder.build().await;
    let client = world.confidential_client().await;
    Scene { world, idp, client }
}

#[tokio::test]
async fn what_a_company_says_of_groups_counts_and_its_silence_is_no_answer() {
    let rows = [
        ("'staff' in user.groups", json!(["staff"]), 200, "it says so"),
        ("'staff' in user.groups", json!(["guests"]), 400, "it says otherwise"),
        ("'staff' in user.groups", Value::Null, 400, "it says nothing"),
        ("!('banned' in user.groups)", json!(["staff"]), 200, "it says of which"),
        ("!('banned' in user.groups)", json!(["banned"]), 400, "it says so"),
        ("!('banned' in user.groups)", Value::Null, 400, "it says nothing"),
    ];
    for (condition, groups, status, reason) in rows {
        let scene = both(Some(condition)).await;
        scene.idp.misbehave(|it| it.claim("groups", groups.clone()));
        let answer = scene.show(&scene.jag(), &[]).await;
        assert_eq!(answer.status.as_u16(), status, "{condition}: {reason}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_logout_at_the_company_ends_what_its_word_gave() {
    let scene = both(None).await;
    let mut tokens = Vec::new();
    for person in ["alice", "bob"] {
        let jag = scene.idp.id_jag(person, &scene.client.id, ISSUER, RESOURCE);
        let document = scene.show(&jag, &[]).await.json();
        tokens.push(document["access_token"].as_str().unwrap().to_owned());
    }
    let status = async |which: usize| scene.world.call("/mcp", &tokens[which]).await.status;
    assert_eq!((status(0).await.as_u16(), status(1).await.as_u16()), (200, 200), "seen before");
    let token = scene.idp.logout_token("alice");
    let body: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("logout_token", &token)
        .finish();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(scene.world.post("/auth/logout/corp", &form, &body).await.status, 200);
    assert_eq!((status(0).await.as_u16(), status(1).await.as_u16()), (401, 200));
}

#[tokio::test]
async fn the_grant_is_advertised_where_somebody_is_trusted_and_nowhere_else() {
    let place = "/.well-known/oauth-authorization-server";
    for (trusts, world) in [(true, Scene::new().await.world), (false, World::new().await)] {
        let document = testkit::Browser::default().open(&world.app, place).await.json();
        let grants = document["grant_types_supported"].as_array().unwrap();
        assert_eq!(grants.contains(&GRANT.into()), trusts);
        let profiles = &document["authorization_grant_profiles_supported"];
        let expected = json!(["urn:ietf:params:oauth:grant-profile:id-jag"]);
        assert_eq!(*profiles, if trusts { expected } else { Value::Null });
    }
}
