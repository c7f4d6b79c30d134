//! What a server at a URL hears of who calls: in every request, of that caller, and made by nobody
//! but us.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::response::IntoResponse as _;
use http::StatusCode;
use http::header::AUTHORIZATION;
use sekisho::clock::{Clock, Timestamp};
use sekisho::gateway::{
    Attribute, CallerToken, CallerTokens, Introduction, KeptTokens, NotIntroduced, Per,
    RemoteServer, RemoteServerError, SIGNED_LIFE, SignedTokens,
};
use sekisho::principal::Principal;
use sekisho::protocol::oauth::{ClientId, Issuer};
use sekisho::protocol::{Secret, SecretHash};
use sekisho::seal::Sealer;
use sekisho::signing::SigningKeys;
use serde_json::{Value, json};
use testkit::ManualClock;
use tokio::sync::Semaphore;

use crate::rig::{Plan, caller, changed, until};
use crate::web::{Person, Seen, Speaks, Web, greeting, in_front_of, result_of};

fn by_headers() -> Introduction {
    let told = [("x-forwarded-user", "subject"), ("x-groups", "claims.groups")];
    Introduction::Attributes(
        told.map(|(name, word)| (name.parse().unwrap(), Attribute::parse(word).unwrap())).into(),
    )
}

fn plan(url: &str, introduction: Introduction) -> Plan {
    let server = RemoteServer::new(url, None, []).unwrap().introducing(introduction).unwrap();
    Plan { server: server.into(), ..Plan::at(url) }
}

/// Tokens that say whose they are, and how many there were before.
#[derive(Debug, Default)]
struct Scripted {
    given: AtomicUsize,
    refused: Mutex<Vec<Option<SecretHash>>>,
    lives_for: Option<(Arc<ManualClock>, Duration)>,
    /// What happens instead.
    trouble: Mutex<Option<NotIntroduced>>,
    /// Who waits until somebody lets them go on.
    held_up: Option<(&'static str, Arc<Semaphore>)>,
}

#[async_trait]
impl CallerTokens for Scripted {
    async fn token_for(
        &self,
        caller: &Arc<Principal>,
        refused: Option<&SecretHash>,
    ) -> Result<CallerToken, NotIntroduced> {
        let number = self.given.fetch_add(1, Ordering::SeqCst);
        self.refused.lock().unwrap().push(refused.copied());
        if let Some((subject, gate)) = &self.held_up
            && caller.identity.subject == *subject
        {
            drop(gate.acquire().await);
        }
        if let Some(trouble) = self.trouble.lock().unwrap().clone() {
            return Err(trouble);
        }
        let ends_at = self.lives_for.as_ref().map(|(clock, life)| clock.now().plus(*life));
        let token = Secret::new(format!("token-{number}-of-{}", caller.identity.subject));
        Ok(CallerToken { token, ends_at })
    }
}

fn by_token(source: &Arc<Scripted>, clock: &Arc<ManualClock>) -> Introduction {
    let source: Arc<dyn CallerTokens> = Arc::clone(source) as _;
    let kept = KeptTokens::new(source, Arc::clone(clock) as Arc<dyn Clock>);
    Introduction::token(AUTHORIZATION, Arc::new(kept))
}

/// What stood in `Authorization` of each call, in order.
fn shown(web: &Web) -> Vec<String> {
    let calls = web.seen().into_iter().filter(|seen| seen.says().as_deref() == Some("tools/call"));
    calls.map(|seen| seen.header("authorization").unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn every_request_says_who_calls_and_what_a_client_says_of_it_is_not_heard() {
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        let rig = plan(&web.url(speaks.path()), by_headers()).begin();
        let front = in_front_of(&rig.gateway).await;
        let forged = [
            ("x-forwarded-user", "admin"),
            ("x_forwarded_user", "admin"),
            ("x-groups", "[\"admin\"]"),
            ("x-forwarded-email", "admin@example.com"),
            ("authorization", "Bearer forged"),
        ];
        let alice = Person::begin(&front, "alice", &forged).await;
        let bob = Person::begin(&front, "bob", &forged).await;
        let tool = json!({ "name": "odd" });
        alice.post("tools/call", Some(1), tool.clone()).await.text().await.unwrap();
        bob.post("tools/call", Some(1), tool.clone()).await.text().await.unwrap();
        alice.post("tools/call", Some(2), tool).await.text().await.unwrap();
        let uri = json!({ "uri": "test://followed" });
        bob.post("resources/subscribe", Some(2), uri).await.text().await.unwrap();
        rig.stop().await;

        let seen = web.seen();
        let mut sessions: BTreeSet<(String, String)> = BTreeSet::new();
        for one in &seen {
            let who = one.header("x-forwarded-user").unwrap_or_default();
            assert!(["alice", "bob"].contains(&who), "{speaks:?}: {one:?}");
            let all = format!("{one:?}");
            assert!(!all.contains("admin") && !all.contains("forged"), "{speaks:?}: {all}");
            if let Some(session) = one.header("mcp-session-id") {
                sessions.insert((session.to_owned(), who.to_owned()));
            }
        }
        let names: BTreeSet<_> = sessions.iter().map(|(session, _)| session).collect();
        assert_eq!(names.len(), sessions.len(), "{speaks:?}: a session is one person's");
        let calls = seen.iter().filter(|seen| seen.says().as_deref() == Some("tools/call"));
        let callers: Vec<_> = calls.map(|seen| seen.header("x-forwarded-user").unwrap()).collect();
        assert_eq!(callers, ["alice", "bob", "alice"], "{speaks:?}");
    }
}

#[tokio::test]
async fn who_is_introduced_shares_nothing_whatever_the_operator_says() {
    let web = Web::serve(Speaks::Handshake.server()).await;
    let rig = Plan { per: Per::Process, ..plan(&web.url("/mcp"), by_headers()) }.begin();
    for person in ["alice", "bob", "alice"] {
        rig.call(&caller(person), "odd").await.unwrap();
    }
    assert_eq!(web.count("initialize"), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_request_says_what_is_known_of_its_caller_now() {
    let web = Web::serve(Speaks::Handshake.server()).await;
    let rig = plan(&web.url("/mcp"), by_headers()).begin();
    for groups in [json!(["staff"]), json!(["staff", "管理"])] {
        let alice = changed(&caller("alice"), |alice| {
            alice.identity.claims = [("groups".to_owned(), groups)].into_iter().collect();
        });
        rig.call(&alice, "odd").await.unwrap();
    }
    rig.call(&caller("alice"), "odd").await.unwrap();
    let calls = web.seen().into_iter().filter(|seen| seen.says().as_deref() == Some("tools/call"));
    let told: Vec<_> = calls.map(|seen| seen.header("x-groups").map(str::to_owned)).collect();
    let expected = [
        Some("[\"staff\"]".to_owned()),
        Some("[\"staff\",\"%E7%AE%A1%E7%90%86\"]".to_owned()),
        None,
    ];
    assert_eq!(told, expected, "and what is not known is not told");
    assert_eq!(web.count("initialize"), 1, "in one conversation of hers");
    rig.stop().await;
}

/// They share a conversation, and each call is its own client's.
#[tokio::test]
async fn calls_of_one_persons_clients_at_one_time_are_not_mixed_up() {
    for speaks in Speaks::ALL {
        let web = Web::serve(speaks.server()).await;
        let told = vec![("x-client".parse().unwrap(), Attribute::Client)];
        let url = web.url(speaks.path());
        let rig = plan(&url, Introduction::Attributes(told)).begin();
        rig.call(&caller("alice"), "odd").await.unwrap();
        let clients: Vec<_> = (0..20).map(|number| format!("client-{number:02}")).collect();
        let callers = clients.iter().map(|client| {
            changed(&caller("alice"), |alice| alice.client_id = ClientId::new(client.as_str()))
        });
        let callers: Vec<_> = callers.collect();
        let calls = callers.iter().map(|who| rig.call(who, "odd"));
        for called in futures::future::join_all(calls).await {
            called.unwrap();
        }
        let seen = web.seen();
        let calls = seen.iter().filter(|seen| seen.says().as_deref() == Some("tools/call"));
        let mut told: Vec<_> = calls.map(|seen| seen.header("x-client").unwrap()).collect();
        told.sort_unstable();
        assert_eq!(told[0], "client", "{speaks:?}");
        assert_eq!(told[1..], clients, "{speaks:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn nobody_is_let_through_who_cannot_be_introduced() {
    let nobody = || sekisho::mcp::Context::new(None, caller("x").version());
    let rows = [
        (Some(caller("alice")), Some(NotIntroduced::NoLogin), "log in with a browser"),
        (Some(caller("alice")), Some(NotIntroduced::Over), "log in again"),
        (Some(caller("alice")), Some(NotIntroduced::Unavailable("exactly".into())), "later"),
        (Some(caller("alice")), Some(NotIntroduced::Refused("exactly".into())), "operator"),
        (None, None, "nobody is known"),
    ];
    for speaks in Speaks::ALL {
        for (who, trouble, expected) in &rows {
            let web = Web::serve(speaks.server()).await;
            let source = Arc::new(Scripted::default());
            source.trouble.lock().unwrap().clone_from(trouble);
            let clock = Arc::new(ManualClock::default());
            let rig = plan(&web.url(speaks.path()), by_token(&source, &clock)).begin();
            let who = who.clone().unwrap_or_else(nobody);
            let error = rig.call(&who, "odd").await.unwrap_err();
            assert!(error.contains(expected), "{speaks:?}: {error}");
            assert!(!error.contains("exactly"), "the exact words are for the log: {error}");
            assert!(web.seen().is_empty(), "{speaks:?}: {trouble:?}");
            // Nothing counts against the server: once it can be said who calls, it is asked.
            *source.trouble.lock().unwrap() = None;
            clock.advance(Duration::from_secs(5));
            rig.call(&caller("alice"), "odd").await.unwrap();
            rig.stop().await;
        }
    }
    let web = Web::serve(Speaks::Handshake.server()).await;
    let rig = plan(&web.url("/mcp"), by_headers()).begin();
    let boastful = changed(&caller("alice"), |alice| {
        let groups = json!(vec!["x".repeat(100); 100]);
        alice.identity.claims = [("groups".to_owned(), groups)].into_iter().collect();
    });
    let error = rig.call(&boastful, "odd").await.unwrap_err();
    assert!(error.contains("too much to say"), "{error}");
    assert!(web.seen().is_empty());
}

#[tokio::test]
async fn a_token_is_got_once_and_again_shortly_before_its_end() {
    let web = Web::serve(Speaks::Stateless.server()).await;
    let clock = Arc::new(ManualClock::default());
    let lives_for = Some((Arc::clone(&clock), Duration::from_mins(1)));
    let source = Arc::new(Scripted { lives_for, ..Scripted::default() });
    let rig = plan(&web.url("/mcp"), by_token(&source, &clock)).begin();
    let alice = caller("alice");
    let calls = (0..20).map(|_| rig.call(&alice, "odd"));
    for called in futures::future::join_all(calls).await {
        called.unwrap();
    }
    assert_eq!(source.given.load(Ordering::SeqCst), 1, "twenty calls at once, one question");
    clock.advance(Duration::from_secs(44));
    rig.call(&alice, "odd").await.unwrap();
    clock.advance(Duration::from_secs(1));
    rig.call(&alice, "odd").await.unwrap();
    let shown = shown(&web);
    assert!(shown[..21].iter().all(|one| one == "Bearer token-0-of-alice"), "{shown:?}");
    assert_eq!(shown[21], "Bearer token-1-of-alice", "15 s before its end");
    rig.call(&caller("bob"), "odd").await.unwrap();
    assert_eq!(self::shown(&web)[22], "Bearer token-2-of-bob");
    rig.stop().await;
}

/// The server's 401 is about our token, and another one may do.
#[tokio::test]
async fn a_token_that_the_server_refuses_is_traded_for_another() {
    let refuses = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&refuses);
    let web = Web::serve(greeting(move |seen: Seen| {
        let refuses = answers.load(Ordering::SeqCst);
        async move {
            if refuses {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            axum::Json(result_of(&seen, &json!({}))).into_response()
        }
    }))
    .await;
    let clock = Arc::new(ManualClock::default());
    let source = Arc::new(Scripted::default());
    let rig = plan(&web.url("/mcp"), by_token(&source, &clock)).begin();
    let alice = caller("alice");
    rig.call(&alice, "x").await.unwrap();
    refuses.store(true, Ordering::SeqCst);
    for expected in ["token-0", "token-1", "token-1"] {
        let error = rig.call(&alice, "x").await.unwrap_err();
        assert!(error.contains("does not let us in"), "{error}");
        let last = shown(&web).pop().unwrap();
        assert!(last.contains(expected), "the second is not given up at once: {last}");
    }
    clock.advance(Duration::from_secs(30));
    rig.call(&alice, "x").await.unwrap_err();
    refuses.store(false, Ordering::SeqCst);
    rig.call(&alice, "x").await.unwrap();
    assert!(shown(&web).pop().unwrap().contains("token-2"));
    let heard: Vec<_> = source.refused.lock().unwrap().clone();
    let of = |number: u32| Some(Secret::new(format!("token-{number}-of-alice")).hash());
    assert_eq!(heard, [None, of(0), of(1)], "and whoever gives them hears which");
    rig.stop().await;
}

/// An answer that comes late is about the token that was sent, not about the one that is sent by now.
#[tokio::test]
async fn a_late_refusal_is_not_about_a_token_that_was_got_since() {
    let gate = Arc::new(Semaphore::new(0));
    let (waits, arrived) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let came = Arc::clone(&arrived);
    let web = Web::serve(greeting(move |seen: Seen| {
        let (gate, came) = (Arc::clone(&waits), Arc::clone(&came));
        async move {
            let is_old =
                seen.header("authorization").is_some_and(|shown| shown.contains("token-0"));
            if is_old && seen.says().as_deref() == Some("tools/call") {
                came.fetch_add(1, Ordering::SeqCst);
                drop(gate.acquire().await);
                return StatusCode::UNAUTHORIZED.into_response();
            }
            axum::Json(result_of(&seen, &json!({}))).into_response()
        }
    }))
    .await;
    let clock = Arc::new(ManualClock::default());
    let lives_for = Some((Arc::clone(&clock), Duration::from_mins(1)));
    let source = Arc::new(Scripted { lives_for, ..Scripted::default() });
    let rig = Arc::new(plan(&web.url("/mcp"), by_token(&source, &clock)).begin());
    let late = Arc::clone(&rig);
    let late = tokio::spawn(async move { late.call(&caller("alice"), "x").await });
    until("it is there", || arrived.load(Ordering::SeqCst) == 1).await;
    clock.advance(Duration::from_secs(50));
    rig.call(&caller("alice"), "x").await.unwrap();
    gate.add_permits(1);
    late.await.unwrap().unwrap_err();
    rig.call(&caller("alice"), "x").await.unwrap();
    assert!(shown(&web).pop().unwrap().contains("token-1"), "{:?}", shown(&web));
    assert_eq!(source.given.load(Ordering::SeqCst), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_failure_is_an_answer_for_a_moment_and_holds_nobody_else_up() {
    let web = Web::serve(Speaks::Stateless.server()).await;
    let clock = Arc::new(ManualClock::default());
    let gate = Arc::new(Semaphore::new(0));
    let held_up = Some(("alice", Arc::clone(&gate)));
    let source = Arc::new(Scripted { held_up, ..Scripted::default() });
    let rig = Arc::new(plan(&web.url("/mcp"), by_token(&source, &clock)).begin());
    let waiting = Arc::clone(&rig);
    let alices = tokio::spawn(async move { waiting.call(&caller("alice"), "odd").await });
    until("alice waits", || source.given.load(Ordering::SeqCst) == 1).await;
    rig.call(&caller("bob"), "odd").await.expect("bob does not");
    *source.trouble.lock().unwrap() = Some(NotIntroduced::Unavailable("down".into()));
    gate.add_permits(100);
    assert!(alices.await.unwrap().is_err());
    for _ in 0..3 {
        rig.call(&caller("alice"), "odd").await.unwrap_err();
    }
    assert_eq!(source.given.load(Ordering::SeqCst), 2, "the provider is not asked for each call");
    *source.trouble.lock().unwrap() = None;
    clock.advance(Duration::from_secs(5));
    rig.call(&caller("alice"), "odd").await.unwrap();
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_not_waited_for_for_ever() {
    let gate = Arc::new(Semaphore::new(0));
    let source = Scripted { held_up: Some(("alice", gate)), ..Scripted::default() };
    let clock = Arc::new(ManualClock::default());
    // Nobody is there, and nobody is asked.
    let rig = plan("http://127.0.0.1:9/mcp", by_token(&Arc::new(source), &clock)).begin();
    let error = rig.call(&caller("alice"), "odd").await.unwrap_err();
    assert!(error.contains("try again later"), "{error}");
}

/// What an upstream has to go by: the token, and the keys that we publish.
#[tokio::test]
async fn a_token_of_ours_says_who_calls_for_this_server_and_for_a_short_time() {
    let web = Web::serve(Speaks::Handshake.server()).await;
    let clock = Arc::new(ManualClock::default());
    let keys = SigningKeys::new(Sealer::ephemeral());
    let issuer = Issuer::parse("https://mcp.example.com").unwrap();
    let audience = vec![web.url("/mcp")];
    let time: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let signed = SignedTokens::new(keys.clone(), issuer, audience, Arc::clone(&time));
    let signed = signed.saying(vec!["groups".to_owned(), "sub".to_owned()]);
    let kept = Arc::new(KeptTokens::new(Arc::new(signed), time));
    let rig = plan(&web.url("/mcp"), Introduction::token(AUTHORIZATION, kept)).begin();
    let alice = changed(&caller("alice"), |alice| {
        let claims = json!({ "groups": ["staff"], "sub": "bob", "secret": "not told" });
        alice.identity.claims = claims.as_object().unwrap().clone().into_iter().collect();
        alice.identity.email = Some("alice@example.com".to_owned());
    });
    rig.call(&alice, "odd").await.unwrap();
    clock.advance(SIGNED_LIFE);
    rig.call(&alice, "odd").await.unwrap();
    let over = changed(&alice, |alice| alice.expires_at = clock.now());
    rig.call(&over, "odd").await.expect_err("whose own token is over is spoken for no more");
    let published = Web::serve(keys.routes()).await;
    let set: Value = reqwest::get(published.url("/jwks.json")).await.unwrap().json().await.unwrap();
    let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(set["keys"][0].clone()).unwrap();
    let now = ManualClock::default().now();
    let mut ids = BTreeSet::new();
    for (at, bearer) in [now, now.plus(SIGNED_LIFE)].into_iter().zip(shown(&web)) {
        let token = bearer.strip_prefix("Bearer ").unwrap();
        let header = jsonwebtoken::decode_header(token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"), "RFC 9068 §2.1");
        assert_eq!(header.kid, key.common.key_id);
        let mut wanted = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
        wanted.set_audience(&[web.url("/mcp")]);
        wanted.set_issuer(&["https://mcp.example.com"]);
        // The clock of the test stands elsewhere.
        wanted.validate_exp = false;
        let public = jsonwebtoken::DecodingKey::from_jwk(&key).unwrap();
        let claims = jsonwebtoken::decode::<Value>(token, &public, &wanted).unwrap().claims;
        let seconds = |at: Timestamp| at.unix_seconds();
        let expected = json!({
            "iss": "https://mcp.example.com",
            "sub": "alice",
            "aud": web.url("/mcp"),
            "iat": seconds(at),
            "exp": seconds(at.plus(SIGNED_LIFE)),
            "jti": claims["jti"],
            "client_id": "client",
            "scope": "main",
            "idp": "local",
            "email": "alice@example.com",
            "email_verified": false,
            "groups": ["staff"],
        });
        assert_eq!(claims, expected);
        assert!(ids.insert(claims["jti"].as_str().unwrap().to_owned()), "an id of its own");
    }
    assert_eq!(ids.len(), 2);
    rig.stop().await;
}

#[test]
fn a_header_that_cannot_say_who_calls_is_refused() {
    let secret = Secret::new("v");
    let rows = [
        ("X-Api-Key", "x-user", Ok(()), "beside the operator's own"),
        (
            "X-User",
            "x-user",
            Err(RemoteServerError::DoubledHeader("x-user".to_owned())),
            "the operator's own, and who calls",
        ),
        (
            "X-Api-Key",
            "mcp-session-id",
            Err(RemoteServerError::ReservedHeader("mcp-session-id".to_owned())),
            "the protocol's",
        ),
        (
            "X-Api-Key",
            "cookie",
            Err(RemoteServerError::ReservedHeader("cookie".to_owned())),
            "a cookie",
        ),
    ];
    for (written, told, expected, reason) in rows {
        let server = RemoteServer::new("https://a.example/", None, [(written, &secret)]).unwrap();
        let told = vec![(told.parse().unwrap(), Attribute::Subject)];
        let made = server.introducing(Introduction::Attributes(told)).map(drop);
        assert_eq!(made, expected, "{reason}");
    }
    let twice = vec![
        ("x-user".parse().unwrap(), Attribute::Subject),
        ("X-User".parse().unwrap(), Attribute::Name),
    ];
    let server = RemoteServer::new("https://a.example/", None, []).unwrap();
    assert!(server.introducing(Introduction::Attributes(twice)).is_err(), "one name, two things");
}
