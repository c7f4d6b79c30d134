//! `private_key_jwt` (RFC 7523): a client that signs, and everybody who cannot.

use std::sync::Arc;
use std::time::Duration;

use sekisho::clock::{Clock as _, Timestamp};
use sekisho::grant::{Grant, GrantId, IssuedTokens, Turn};
use sekisho::store::{Client, ClientOrigin, MemoryStore, TableLimits};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{
    ClientId, ClientKeys, ClientMetadata, ResourceUri, ScopeSet, TokenEndpointAuthMethod,
};
use serde_json::{Value, json};
use testkit::world::ISSUER;
use testkit::{Answer, ClientKey, DocumentHost, World};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client that registered with its key; gives its id.
async fn registered(world: &World, keys: Value) -> String {
    let mut metadata = json!({
        "redirect_uris": ["https://app.example/cb"],
        "token_endpoint_auth_method": "private_key_jwt",
    });
    for (name, value) in keys.as_object().unwrap() {
        metadata[name] = value.clone();
    }
    let answer = world.register(&metadata).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let document = answer.json();
    assert!(document.get("client_secret").is_none(), "who signs has no secret");
    assert_eq!(document["token_endpoint_auth_method"], "private_key_jwt");
    for (name, value) in keys.as_object().unwrap() {
        assert_eq!(document[name], *value, "what was stored is echoed");
    }
    document["client_id"].as_str().unwrap().to_owned()
}

fn claims(world: &World, id: &str, jti: &str) -> Value {
    let now = world.clock.now().unix_seconds();
    json!({ "iss": id, "sub": id, "aud": ISSUER, "jti": jti, "iat": now, "exp": now + 60 })
}

/// A refresh with an assertion: who is believed hears that the token is none.
async fn show(world: &World, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", "refresh_token"), ("refresh_token", "mcpr_x")])
        .extend_pairs([("client_assertion_type", TYPE), ("client_assertion", assertion)])
        .extend_pairs(more)
        .finish();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    world.post("/token", &headers, &form).await
}

fn said(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.error())
}

const BELIEVED: (u16, &str) = (400, "invalid_grant");
const REFUSED: (u16, &str) = (401, "invalid_client");

fn is(answer: &Answer, expected: (u16, &str), reason: &str) {
    assert_eq!(said(answer), (expected.0, expected.1.to_owned()), "{reason}: {}", answer.body);
}

#[tokio::test]
async fn a_client_that_signs_is_believed_once() {
    let world = World::new().await;
    let key = ClientKey::generate("k1");
    let id = registered(&world, json!({ "jwks": key.jwks() })).await;
    let first = key.sign(&claims(&world, &id, "1"));
    is(&show(&world, &first, &[]).await, BELIEVED, "named by the subject");
    is(&show(&world, &first, &[]).await, REFUSED, "the same again");
    let second = key.sign(&claims(&world, &id, "2"));
    is(&show(&world, &second, &[("client_id", &id)]).await, BELIEVED, "named beside it as well");
    let mut again = claims(&world, &id, "2");
    again["exp"] = json!(world.clock.now().unix_seconds() + 90);
    is(&show(&world, &key.sign(&again), &[]).await, REFUSED, "another text with the same jti");

    let other = registered(&world, json!({ "jwks": key.jwks() })).await;
    let shared = key.sign(&claims(&world, &other, "1"));
    is(&show(&world, &shared, &[]).await, BELIEVED, "the jti of another client is another");
    let stolen = key.sign(&claims(&world, &other, "3"));
    is(&show(&world, &stolen, &[("client_id", &id)]).await, REFUSED, "another client's assertion");
}

#[tokio::test]
async fn an_assertion_raced_for_is_used_once() {
    let world = World::new().await;
    let key = ClientKey::generate("k1");
    let id = registered(&world, json!({ "jwks": key.jwks() })).await;
    let assertion = key.sign(&claims(&world, &id, "1"));
    let shown = futures::future::join_all((0..20).map(|_| show(&world, &assertion, &[]))).await;
    let believed = shown.iter().filter(|answer| answer.status == 400).count();
    assert_eq!(believed, 1);
}

/// Anybody can register and sign. What they fill is theirs.
#[tokio::test]
async fn a_flood_of_strangers_assertions_keeps_nobody_else_out() {
    let limits = TableLimits { assertions_per_share_max: 3, ..TableLimits::default() };
    let mut builder = World::builder().over(Arc::new(MemoryStore::new(limits)));
    let key = ClientKey::generate("k1");
    let metadata = ClientMetadata {
        client_name: None,
        redirect_uris: Vec::new(),
        token_endpoint_auth_method: TokenEndpointAuthMethod::PrivateKeyJwt,
        refreshes: true,
        scope: ScopeSet::default(),
        client_uri: None,
        keys: Some(ClientKeys::Jwks(key.jwks().to_string())),
        acts_alone: false,
    };
    let now = Timestamp::from_unix_seconds(0);
    builder.settings.clients = vec![Client {
        id: ClientId::new("robot"),
        metadata,
        secret: None,
        secret_expires_at: None,
        created_at: now,
        origin: ClientOrigin::Preregistered,
        last_used_at: now,
    }];
    let world = builder.build().await;
    let used = registered(&world, json!({ "jwks": key.jwks() })).await;
    let identity = testkit::scripted_provider::identity("alice");
    let grant = Grant {
        id: GrantId::new("grant"),
        client_id: ClientId::new(used.as_str()),
        identity,
        scope: ScopeSet::of(["fortune"]),
        resource: ResourceUri::new("http://localhost:8000/mcp"),
        created_at: world.clock.now(),
    };
    let tokens = IssuedTokens {
        access: Secret::new("x").hash(),
        access_expires_at: world.clock.now().plus(Duration::from_hours(1)),
        refresh: None,
        scope: ScopeSet::of(["fortune"]),
        turn: Turn::default(),
    };
    world.store.issue_to_machine(&grant, &tokens).await.unwrap();
    let show =
        async |id: &str, jti: &str| show(&world, &key.sign(&claims(&world, id, jti)), &[]).await;
    for number in 0..5 {
        let stranger = registered(&world, json!({ "jwks": key.jwks() })).await;
        let answer = show(&stranger, "1").await;
        let expected = if number < 3 { 400 } else { 429 };
        assert_eq!(answer.status, expected, "{number}: {}", answer.body);
    }
    for id in [used.as_str(), "robot"] {
        for jti in ["1", "2", "3"] {
            is(&show(id, jti).await, BELIEVED, id);
        }
        assert_eq!(show(id, "4").await.status, 429, "{id}: each has its own share, and no more");
    }
}

#[tokio::test]
async fn what_proves_nothing_is_refused() {
    let world = World::new().await;
    let key = ClientKey::generate("k1");
    let foreign = ClientKey::generate("k1");
    let id = registered(&world, json!({ "jwks": key.jwks() })).await;
    let good = |jti: &str| claims(&world, &id, jti);
    let with = |jti: &str, name: &str, value: Value| {
        let mut claims = good(jti);
        claims[name] = value;
        key.sign(&claims)
    };
    let without = |jti: &str, name: &str| {
        let mut claims = good(jti);
        claims.as_object_mut().unwrap().remove(name);
        key.sign(&claims)
    };
    let now = world.clock.now().unix_seconds();
    let unsigned = {
        let signed = key.sign_with(&json!({ "alg": "none" }), &good("a"));
        format!("{}.", signed.rsplit_once('.').unwrap().0)
    };
    let rows = [
        (foreign.sign(&good("b")), "a foreign key of the same name"),
        (ClientKey::generate("k2").sign(&good("c")), "a key nobody published"),
        (unsigned, "unsigned"),
        (key.sign_with(&json!({ "alg": "HS256" }), &good("d")), "a shared secret that is public"),
        (key.sign_with(&json!({ "alg": "RS256" }), &good("e")), "another algorithm than the key's"),
        (key.sign_with(&json!({ "crit": ["x"], "x": 1 }), &good("f")), "critical extensions"),
        (key.sign_with(&json!({ "typ": "at+jwt" }), &good("g")), "an access token"),
        (
            foreign.sign_with(&json!({ "jwk": foreign.jwks()["keys"][0] }), &good("h")),
            "a key that it brings along",
        ),
        (with("i", "iss", json!("other")), "another issuer"),
        (with("j", "aud", json!("https://other.example")), "for somebody else"),
        (with("k", "aud", json!([ISSUER, "https://other.example"])), "for two"),
        (with("l", "exp", json!(now - 60)), "over"),
        (with("m", "exp", json!(now + 3600)), "for an hour"),
        (with("n", "exp", json!((now + 60).to_string())), "an end that is text"),
        (without("o", "exp"), "without an end"),
        (without("p", "jti"), "without an id"),
        (without("q", "aud"), "for anybody"),
        ("rubbish".to_owned(), "no JWT"),
        (format!("{}x", key.sign(&good("r"))), "a changed signature"),
    ];
    for (assertion, reason) in rows {
        is(&show(&world, &assertion, &[("client_id", &id)]).await, REFUSED, reason);
    }
    let long = format!("{}.{}.x", "e30", "A".repeat(9 * 1024));
    is(&show(&world, &long, &[("client_id", &id)]).await, REFUSED, "9 KiB");
    is(&show(&world, &key.sign(&good("z")), &[]).await, BELIEVED, "none of it locked it out");
}

#[tokio::test]
async fn each_client_proves_itself_in_its_own_way_and_in_one() {
    let world = World::new().await;
    let key = ClientKey::generate("k1");
    let id = registered(&world, json!({ "jwks": key.jwks() })).await;
    let confidential = world.confidential_client().await;
    let public = world.public_client("https://app.example/cb").await;
    let assertion = |id: &str, jti: &str| key.sign(&claims(&world, id, jti));
    let shown = show(&world, &assertion(&public.id, "1"), &[]).await;
    is(&shown, REFUSED, "a public client has no key");
    let shown = show(&world, &assertion(&confidential.id, "2"), &[]).await;
    is(&shown, REFUSED, "nor has one with a secret");
    let shown = show(&world, &assertion(&id, "3"), &[("client_secret", "x")]).await;
    is(&shown, (400, "invalid_request"), "two ways");
    let form = format!("grant_type=refresh_token&refresh_token=x&client_id={id}");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    is(&world.post("/token", &headers, &form).await, REFUSED, "a name is no proof");
    let form = format!("{form}&client_secret=x");
    is(&world.post("/token", &headers, &form).await, REFUSED, "nor is a secret");
    let form =
        format!("token=x&client_assertion_type={TYPE}&client_assertion={}", assertion(&id, "4"));
    assert_eq!(world.post("/revoke", &headers, &form).await.status, 200, "at /revoke as well");
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_when_they_are_needed_and_no_more() {
    let host = DocumentHost::start().await;
    let mut builder = World::builder();
    builder.settings.reach = host.reach();
    let world = builder.build().await;
    let key = ClientKey::generate("k1");
    host.publish("/jwks", &key.jwks());
    let id = registered(&world, json!({ "jwks_uri": "https://app.example/jwks" })).await;
    assert_eq!(host.requests(), 0, "registering fetches nothing");
    for jti in ["1", "2", "3"] {
        is(&show(&world, &key.sign(&claims(&world, &id, jti)), &[]).await, BELIEVED, jti);
    }
    assert_eq!(host.requests(), 1);
    let unknown = ClientKey::generate("k2");
    for jti in ["4", "5", "6"] {
        is(&show(&world, &unknown.sign(&claims(&world, &id, jti)), &[]).await, REFUSED, jti);
    }
    assert_eq!(host.requests(), 1, "the keys are younger than half a minute");
    world.clock.advance(std::time::Duration::from_secs(31));
    host.publish("/jwks", &unknown.jwks());
    is(&show(&world, &unknown.sign(&claims(&world, &id, "7")), &[]).await, BELIEVED, "a new key");
    assert_eq!(host.requests(), 2);
    is(&show(&world, &key.sign(&claims(&world, &id, "8")), &[]).await, REFUSED, "withdrawn");
}

#[tokio::test]
async fn keys_at_a_private_address_are_not_fetched() {
    let canary = DocumentHost::start().await;
    let host = DocumentHost::start().await;
    let key = ClientKey::generate("k1");
    canary.publish("/jwks", &key.jwks());
    let address = canary.address();
    let mut builder = World::builder();
    builder.settings.reach = host.reach_by(move |_| vec![address]);
    let world = builder.build().await;
    let uris = ["https://inside.example/jwks".to_owned(), format!("https://{address}/jwks")];
    for (jti, uri) in ["1", "2"].iter().zip(uris) {
        let id = registered(&world, json!({ "jwks_uri": uri })).await;
        let answer = show(&world, &key.sign(&claims(&world, &id, jti)), &[]).await;
        is(&answer, (503, "temporarily_unavailable"), &uri);
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(canary.requests(), 0);
}
