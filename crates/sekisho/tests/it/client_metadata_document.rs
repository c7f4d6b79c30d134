//! Client ID Metadata Documents: A9 to A12; attacks 77 to 82.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use sekisho::authorization_server::{ConsentRule, Documents};
use sekisho::clock::Clock as _;
use sekisho::front::ClientAddress;
use sekisho::store::ClientOrigin;
use sekisho_protocol::oauth::{ClientId, HostList};
use serde_json::{Value, json};
use testkit::document_host::Answered;
use testkit::world::{ISSUER, VERIFIER, authorize_url, tokens};
use testkit::{Answer, Browser, ClientKey, DocumentHost, RegisteredClient, World};

const ID: &str = "https://app.example/client.json";
const REDIRECT: &str = "http://127.0.0.1:33418/cb";

fn document() -> Value {
    json!({
        "client_id": ID, "client_name": "App", "redirect_uris": [REDIRECT, "http://localhost/cb"],
        "grant_types": ["authorization_code", "refresh_token", "urn:example:other"],
        "token_endpoint_auth_method": "none",
    })
}

fn client() -> RegisteredClient {
    RegisteredClient { id: ID.into(), secret: None, redirect_uri: REDIRECT.into() }
}

async fn world(host: &DocumentHost) -> World {
    let mut builder = World::builder();
    builder.settings.reach = host.reach();
    builder.build().await
}

async fn open(world: &World) -> Answer {
    Browser::default().open(&world.app, &authorize_url(&client(), &[])).await
}

/// A page, and nothing that sends the browser anywhere.
fn is_refused(answer: &Answer, reason: &str) {
    assert!(answer.is_page(400), "{reason}: {} {}", answer.status, answer.body);
    assert_eq!(answer.location(), None, "{reason}");
}

#[tokio::test]
async fn a_client_is_known_by_its_document_and_gets_its_tokens() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let world = world(&host).await;
    let metadata = "/.well-known/oauth-authorization-server";
    let metadata = Browser::default().open(&world.app, metadata).await.json();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);

    let first = world.tokens(&client(), "alice").await;
    let called = world.call("/mcp", &first.access).await;
    assert_eq!(called.json()["client_id"], ID);
    assert_eq!(host.requests(), 1, "one fetch for a whole login");

    // The web server may go away: who is signed in stays so.
    host.answer("/client.json", Answered { status: 500, ..Answered::json(&json!({})) });
    world.clock.advance(Duration::from_secs(3 * 24 * 3600));
    let second = tokens(&world.refresh(&client(), &first.refresh).await);
    assert_eq!(world.call("/mcp", &second.access).await.status, 200);
    assert_eq!(world.revoke(&client(), &second.refresh).await.status, 200);
    assert_eq!(world.call("/mcp", &second.access).await.status, 401);
    assert_eq!(host.requests(), 1, "/token and /revoke ask nobody");
    let kept = world.store.find_client(&ClientId::new(ID)).await.unwrap().unwrap();
    assert_eq!(kept.origin, ClientOrigin::Document);
}

#[tokio::test]
async fn the_consent_page_names_the_host_of_the_document() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let world = world(&host).await;
    let page = open(&world).await;
    assert!(page.is_page(200));
    assert!(
        page.body.contains("published at") && page.body.contains("app.example"),
        "{}",
        page.body
    );
    let registered = world.public_client(REDIRECT).await;
    let url = authorize_url(&registered, &[]);
    let page = Browser::default().open(&world.app, &url).await;
    assert!(!page.body.contains("published at"), "who registered is known by nothing");
}

#[tokio::test]
async fn a_url_or_document_that_breaks_a_rule_is_a_page() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let mut other = document();
    other["client_id"] = json!("https://app.example/other.json");
    host.publish("/moved.json", &other);
    let world = world(&host).await;
    // The tables of rules are the protocol's; here one of each kind, end to end.
    let rows = [
        ("http://app.example/client.json", "plain http"),
        ("https://app.example/", "no path"),
        ("https://app.example/x/../client.json", "dot segments"),
        ("https://app.example/x/%2e%2e/client.json", "dot segments, encoded"),
        ("https://app.example/client.json#f", "a fragment"),
        ("https://u:p@app.example/client.json", "a user"),
        ("https://APP.example/client.json", "another spelling"),
        ("https://app.example:443/client.json", "another spelling"),
        ("https://app.example/moved.json", "a document about another"),
        ("https://app.example/absent.json", "404"),
        ("https://nobody.example/client.json", "a name without an address"),
    ];
    for (id, reason) in rows {
        let asks = RegisteredClient { id: id.into(), ..client() };
        let answer = Browser::default().open(&world.app, &authorize_url(&asks, &[])).await;
        is_refused(&answer, reason);
    }
    let elsewhere = authorize_url(&client(), &[("redirect_uri", "https://evil.example/cb")]);
    is_refused(&Browser::default().open(&world.app, &elsewhere).await, "not in the document");
    for (name, value, reason) in [
        ("client_secret", json!("s"), "a published secret"),
        ("token_endpoint_auth_method", json!("client_secret_post"), "a shared secret"),
        ("client_name", Value::Null, "no name"),
        ("redirect_uris", json!(["javascript:alert(1)"]), "a script"),
        ("jwks", json!({ "keys": [{ "kty": "EC", "d": "x" }] }), "a private key"),
    ] {
        let mut wrong = document();
        wrong[name] = value;
        host.publish("/wrong.json", &wrong);
        wrong["client_id"] = json!("https://app.example/wrong.json");
        host.publish("/wrong.json", &wrong);
        let asks = RegisteredClient { id: "https://app.example/wrong.json".into(), ..client() };
        let answer = Browser::default().open(&world.app, &authorize_url(&asks, &[])).await;
        is_refused(&answer, reason);
    }
}

#[tokio::test]
async fn only_a_small_plain_quick_answer_is_read() {
    let host = DocumentHost::start().await;
    let canary = DocumentHost::start().await;
    let world = world(&host).await;
    let good = || Answered::json(&document());
    let padded = |bytes: usize| {
        let mut text = document().to_string();
        text.push_str(&" ".repeat(bytes - text.len()));
        Answered { body: text, ..good() }
    };
    let to_canary = format!("http://{}/client.json", canary.address());
    let redirect = |status| Answered { status, ..good().with("location", &to_canary) };
    let rows = [
        (redirect(301), "moved"),
        (redirect(302), "found elsewhere"),
        (redirect(307), "sent elsewhere"),
        (redirect(308), "moved for good"),
        (padded(5 * 1024 + 1), "5 KB and a byte"),
        (Answered { status: 204, body: String::new(), ..good() }, "no content"),
        (Answered { status: 206, ..good() }, "a part"),
        (Answered { status: 500, ..good() }, "an error with a document"),
        (good().with("content-type", "text/html"), "a page"),
        (good().with("content-encoding", "gzip"), "compressed"),
        (Answered { body: "[]".into(), ..good() }, "no object"),
        (Answered { body: "{".into(), ..good() }, "no JSON"),
        (Answered { body: "{\"client_id\":".into(), hangs: true, ..good() }, "endless"),
    ];
    let mut asked = 0;
    for (answered, reason) in rows {
        host.answer("/client.json", answered);
        is_refused(&open(&world).await, reason);
        asked += 1;
        assert_eq!(host.requests(), asked, "{reason}: what failed is not remembered");
    }
    assert_eq!(canary.requests(), 0, "no redirect was followed");
    host.answer("/client.json", padded(5 * 1024));
    assert!(open(&world).await.is_page(200), "5 KB");
}

#[tokio::test]
async fn no_name_leads_to_a_private_address() {
    let canary = DocumentHost::start().await;
    let host = DocumentHost::start().await;
    let (inside, outside) = (canary.address(), host.address());
    let at = |text: &str| SocketAddr::new(text.parse().unwrap(), inside.port());
    let mapped = at("::ffff:127.0.0.1");
    let rows = [
        (vec![inside], "loopback"),
        (vec![at("::1")], "loopback, IPv6"),
        (vec![mapped], "loopback, mapped"),
        (vec![at("0.0.0.0")], "this host"),
        (vec![at("10.0.0.1")], "private"),
        (vec![at("169.254.169.254")], "the cloud's metadata"),
        (vec![at("100.64.0.1")], "behind a carrier's NAT"),
        (vec![at("64:ff9b::7f00:1")], "NAT64"),
        (vec![at("2002:7f00:1::1")], "6to4"),
        (vec![outside, inside], "one of two"),
        (vec![inside, outside], "one of two, the other way round"),
        (vec![], "nowhere"),
    ];
    for (addresses, reason) in rows {
        canary.publish("/client.json", &document());
        let mut builder = World::builder();
        builder.settings.reach = host.reach_by(move |_| addresses.clone());
        is_refused(&open(&builder.build().await).await, reason);
    }
    // Addresses as such, in every disguise a URL parser knows.
    let world = world(&host).await;
    let port = inside.port();
    for literal in
        ["127.0.0.1", "[::1]", "2130706433", "0x7f000001", "0177.0.0.1", "[::ffff:7f00:1]"]
    {
        let id = format!("https://{literal}:{port}/client.json");
        let asks = RegisteredClient { id, ..client() };
        let answer = Browser::default().open(&world.app, &authorize_url(&asks, &[])).await;
        is_refused(&answer, literal);
    }
    assert_eq!((canary.requests(), host.requests()), (0, 0));
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_asked_once_for_each_connection() {
    let canary = DocumentHost::start().await;
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    canary.publish("/client.json", &document());
    let (inside, outside) = (canary.address(), host.address());
    let lookups = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&lookups);
    let mut builder = World::builder();
    builder.settings.reach = host.reach_by(move |_| {
        let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        vec![if is_first { outside } else { inside }]
    });
    let world = builder.build().await;
    assert!(open(&world).await.is_page(200), "connected to the address that was checked");
    assert_eq!((lookups.load(Ordering::SeqCst), host.requests()), (1, 1));
    world.clock.advance(Duration::from_secs(3600));
    is_refused(&open(&world).await, "the next connection is checked anew, not kept alive");
    assert_eq!((lookups.load(Ordering::SeqCst), canary.requests()), (2, 0));
}

#[tokio::test]
async fn a_document_is_kept_as_long_as_it_says_and_errors_are_not() {
    let rows = [
        ("max-age=60", 59, 60, "a minute"),
        ("max-age=0", 29, 30, "at least half a minute"),
        ("no-store", 29, 30, "at least half a minute"),
        ("max-age=31536000", 24 * 3600 - 1, 24 * 3600, "a day at most"),
        ("public", 299, 300, "five minutes if it says nothing"),
    ];
    for (cache_control, fresh, stale, reason) in rows {
        let host = DocumentHost::start().await;
        host.answer(
            "/client.json",
            Answered::json(&document()).with("cache-control", cache_control),
        );
        let world = world(&host).await;
        open(&world).await;
        world.clock.advance(Duration::from_secs(fresh));
        open(&world).await;
        assert_eq!(host.requests(), 1, "{reason}");
        world.clock.advance(Duration::from_secs(stale - fresh));
        host.answer("/client.json", Answered { status: 404, ..Answered::json(&json!({})) });
        is_refused(&open(&world).await, "gone, and no old copy in its place");
        host.publish("/client.json", &document());
        assert!(open(&world).await.is_page(200), "back, and no error in its place");
        assert_eq!(host.requests(), 3, "{reason}");
    }
}

#[tokio::test]
async fn a_hundred_who_ask_at_once_cost_one_fetch() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let world = world(&host).await;
    let pages = futures::future::join_all((0..100).map(|_| open(&world))).await;
    assert!(pages.iter().all(|page| page.is_page(200)));
    assert_eq!(host.requests(), 1);
    // Those who wait for a failure share it, too.
    host.answer(
        "/absent",
        Answered { hangs: true, body: "{".into(), ..Answered::json(&json!({})) },
    );
    let asks = RegisteredClient { id: "https://app.example/absent".into(), ..client() };
    let url = authorize_url(&asks, &[]);
    let pages = futures::future::join_all((0..100).map(|_| {
        let (app, url) = (world.app.clone(), url.clone());
        async move { Browser::default().open(&app, &url).await }
    }))
    .await;
    assert!(pages.iter().all(|page| page.is_page(400)));
    assert_eq!(host.requests(), 2);
}

#[tokio::test]
async fn one_address_makes_us_fetch_so_much_and_others_go_on() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let mut builder = World::builder();
    builder.settings.reach = host.reach();
    builder.settings.fetches_per_minute = NonZeroU32::new(3).unwrap();
    let world = builder.build().await;
    let open_from = async |address: [u8; 4], id: &str| {
        let asks = RegisteredClient { id: id.into(), ..client() };
        let request = Request::get(authorize_url(&asks, &[]))
            .extension(ClientAddress(address.into()))
            .body(axum::body::Body::empty())
            .unwrap();
        Answer::to(&world.app, request).await
    };
    let mallory = [192, 0, 2, 66];
    for number in 0..3 {
        let id = format!("https://app.example/{number}.json");
        assert_eq!(open_from(mallory, &id).await.status, 400);
    }
    let refused = open_from(mallory, "https://app.example/4.json").await;
    assert!(refused.is_page(429));
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(host.requests(), 3);
    assert!(open_from([192, 0, 2, 1], ID).await.is_page(200), "somebody else");
    assert!(open_from(mallory, ID).await.is_page(200), "what is in memory costs nothing");
}

/// Case 82: a slow host holds a few places, and no stranger those of a client that people use.
#[tokio::test]
async fn a_slow_host_keeps_neither_other_hosts_nor_its_own_clients_waiting() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let mut builder = World::builder();
    let address = host.address();
    builder.settings.reach = host.reach_by(move |_| vec![address]);
    let world = builder.build().await;
    world.tokens(&client(), "alice").await;
    world.clock.advance(Duration::from_hours(25));

    let slow = Answered { hangs: true, ..Answered::json(&json!({})) };
    let open_at = |id: String| {
        let (app, asks) = (world.app.clone(), RegisteredClient { id, ..client() });
        async move { Browser::default().open(&app, &authorize_url(&asks, &[])).await.status }
    };
    let mut waiting = Vec::new();
    for number in 0..8 {
        host.answer(&format!("/{number}.json"), slow.clone());
        waiting.push(tokio::spawn(open_at(format!("https://app.example/{number}.json"))));
    }
    while host.requests() < 9 {
        tokio::task::yield_now().await;
    }
    host.answer("/more.json", slow);
    assert_eq!(open_at("https://app.example/more.json".into()).await, 503, "its places are taken");
    assert_eq!(open_at("https://other.example/x.json".into()).await, 400, "there is none, at once");
    assert_eq!(open_at(ID.into()).await, 200, "people use it");
    for one in waiting {
        one.abort();
    }
}

#[tokio::test]
async fn a_changed_document_is_asked_about_again() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let mut builder = World::builder();
    builder.settings.reach = host.reach();
    builder.settings.consent = ConsentRule::Remember;
    let world = builder.build().await;
    let mut browser = Browser::default().sending("sec-fetch-site", "none");
    let url = authorize_url(&client(), &[]);
    world.log_in(&mut browser, "alice", &url).await;
    let silent = browser.open(&world.app, &url).await;
    assert!(silent.location().is_some(), "the same document: {}", silent.body);
    let mut renamed = document();
    renamed["client_name"] = json!("Another name");
    host.publish("/client.json", &renamed);
    world.clock.advance(Duration::from_secs(300));
    let asked = browser.open(&world.app, &url).await;
    assert!(asked.is_page(200) && asked.body.contains("Another name"));
}

#[tokio::test]
async fn the_operator_decides_whose_documents_count() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let list = |entries: &[&str]| {
        HostList::parse(&entries.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
    };
    let on = |allowed: &[&str], denied: &[&str]| Documents::On {
        allowed: list(allowed),
        denied: list(denied),
    };
    let rows = [
        (on(&[], &[]), true, "everybody"),
        (on(&["app.example"], &[]), true, "on the list"),
        (on(&["*.example"], &[]), true, "below one on the list"),
        (on(&["other.example"], &[]), false, "not on the list"),
        (on(&[], &["app.example"]), false, "denied"),
        (on(&["app.example"], &["*.example"]), false, "denied beats allowed"),
        (Documents::Off, false, "nobody"),
    ];
    for (documents, expected, reason) in rows {
        let is_off = documents == Documents::Off;
        let mut builder = World::builder();
        builder.settings.reach = host.reach();
        builder.settings.documents = documents;
        let world = builder.build().await;
        let before = host.requests();
        let answer = open(&world).await;
        assert_eq!(answer.is_page(200), expected, "{reason}");
        if !expected {
            is_refused(&answer, reason);
            assert_eq!(host.requests(), before, "{reason}: nothing is fetched");
        }
        let metadata = "/.well-known/oauth-authorization-server";
        let metadata = Browser::default().open(&world.app, metadata).await.json();
        assert_eq!(metadata.get("client_id_metadata_document_supported").is_none(), is_off);
    }
}

#[tokio::test]
async fn a_client_whose_host_was_denied_since_is_unknown_at_token() {
    let host = DocumentHost::start().await;
    host.publish("/client.json", &document());
    let before = world(&host).await;
    let signed_in = before.tokens(&client(), "alice").await;
    let mut builder = World::builder();
    builder.settings.documents = Documents::Off;
    let after = builder.over(std::sync::Arc::clone(&before.store)).build().await;
    let refused = after.refresh(&client(), &signed_in.refresh).await;
    assert_eq!((refused.status.as_u16(), refused.error().as_str()), (401, "invalid_client"));
}

#[tokio::test]
async fn a_client_with_a_document_and_a_key_must_sign() {
    let host = DocumentHost::start().await;
    let key = ClientKey::generate("k1");
    let mut signing = document();
    signing["token_endpoint_auth_method"] = json!("private_key_jwt");
    signing["jwks"] = key.jwks();
    host.publish("/client.json", &signing);
    let world = world(&host).await;
    let code = world.code(&client(), "alice").await;
    let unsigned = world.redeem(&client(), &code, VERIFIER).await;
    assert_eq!((unsigned.status.as_u16(), unsigned.error().as_str()), (401, "invalid_client"));
    let redeem = async |key: &ClientKey, code: &str, jti: &str| {
        let now = world.clock.now().unix_seconds();
        let claims = json!({ "iss": ID, "sub": ID, "aud": ISSUER, "jti": jti, "exp": now + 60 });
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &key.sign(&claims)),
        ];
        world.post_as(&client(), "/token", &form).await
    };
    assert_eq!(redeem(&key, &code, "1").await.status, 200);
    // A new key in the document counts, without a new login.
    let new = ClientKey::generate("k2");
    signing["jwks"] = new.jwks();
    host.publish("/client.json", &signing);
    let code = world.code(&client(), "alice").await;
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(redeem(&new, &code, "2").await.status, 200);
}
