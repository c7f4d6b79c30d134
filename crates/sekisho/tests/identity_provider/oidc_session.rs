//! What becomes of a login later: refresh tokens that are good for once, and what the provider's
//! answers say of a person's session. Only its clear word says that the session is over.

use std::time::Duration;

use sekisho::identity_provider::{IdentityProvider as _, LoggedIn};
use sekisho_protocol::Secret;
use serde_json::{Value, json};
use testkit::identity_provider::{CLIENT_ID, Endpoint, Trouble, session_of, subject_of};
use url::Url;

use crate::oidc::Scene;
use crate::{Outcome, attempt, outcome};

use Outcome::{LoggedIn as Alive, Refused as Over, Unacceptable, Unavailable};

fn refresh_token(person: &LoggedIn) -> Secret {
    person.tokens.as_ref().unwrap().refresh_token.clone().unwrap()
}

#[tokio::test]
async fn offline_access_is_asked_where_it_is_offered_and_wanted() {
    let offered = json!(["openid", "offline_access"]);
    let rows = [
        (offered.clone(), true, "openid", "openid offline_access", "offered and wanted"),
        (offered.clone(), false, "openid", "openid", "not wanted"),
        (json!(["openid"]), true, "openid", "openid", "not offered"),
        (Value::Null, true, "openid", "openid", "nothing is said of scopes"),
        (offered, true, "openid offline_access", "openid offline_access", "written by hand: once"),
    ];
    for (scopes, wanted, written, expected, reason) in rows {
        let mut scene = Scene::new().await;
        scene.fake.misbehave(|it| it.metadata("scopes_supported", scopes));
        scene.reset_with(|it| {
            it.asks_offline_access = wanted;
            it.scopes = written.split(' ').map(str::to_owned).collect();
        });
        let url = Url::parse(&scene.ours.authorization_url(&attempt()).await.unwrap()).unwrap();
        let scope = url.query_pairs().find(|(name, _)| name == "scope").unwrap().1.into_owned();
        assert_eq!(scope, expected, "{reason}");
    }
}

#[tokio::test]
async fn a_session_is_renewed_and_every_token_is_good_for_once() {
    let scene = Scene::new().await;
    let person = scene.log_in("alice").await.unwrap();
    assert_eq!(person.sid, Some(session_of("alice")));
    let first = refresh_token(&person);
    let renewed = scene.ours.renew(&first).await.unwrap();
    scene.ours.confirm(&renewed, &subject_of("alice")).await.unwrap();
    let second = renewed.refresh_token.unwrap();
    assert_eq!(outcome(&scene.ours.renew(&first).await), Over, "the old one is spent");
    assert_eq!(outcome(&scene.ours.renew(&second).await), Alive);

    scene.fake.misbehave(|it| it.claim("sid", "x".repeat(300)));
    assert_eq!(scene.log_in("bob").await.unwrap().sid, None, "a name nobody can keep");
    scene.fake.misbehave(|it| it.claim("sid", 7));
    assert_eq!(outcome(&scene.log_in("bob").await), Unacceptable, "no name at all");
}

/// Case 114, for sessions: what an answer says, and what it does not.
#[tokio::test]
async fn only_a_clear_word_says_that_a_session_is_over() {
    let errors = [
        (400, "invalid_grant", Over, "disabled, logged out, expired"),
        (401, "invalid_grant", Over, "the same with another status"),
        (400, "interaction_required", Over, "it goes no further without the person"),
        (401, "invalid_client", Unacceptable, "our own secret is wrong"),
        (400, "unauthorized_client", Unacceptable, "our client was changed"),
        (400, "invalid_request", Unacceptable, "we asked wrongly"),
        (400, "not_allowed", Unacceptable, "offline access was taken back"),
        (403, "something_new", Unacceptable, "a word that nobody knows"),
        (400, "temporarily_unavailable", Unavailable, "it says so"),
        (500, "invalid_grant", Unavailable, "a broken provider's words do not count"),
        (503, "whatever", Unavailable, "down"),
        (429, "invalid_grant", Unavailable, "too many questions"),
    ];
    let scene = Scene::new().await;
    let token = refresh_token(&scene.log_in("alice").await.unwrap());
    for (status, error, expected, reason) in errors {
        scene.fake.misbehave(|it| it.token_error = Some((status, error)));
        assert_eq!(
            outcome(&scene.ours.renew(&token).await),
            expected,
            "{status} {error}: {reason}"
        );
    }
    scene.fake.behave();
    let troubles = [
        (Trouble::Junk, Unacceptable, "a page"),
        (Trouble::OtherJson, Unacceptable, "JSON of something else"),
        (Trouble::Redirect, Unacceptable, "elsewhere"),
        (Trouble::Status(502), Unavailable, "a proxy without its server"),
    ];
    for (trouble, expected, reason) in troubles {
        scene.fake.misbehave(|it| it.trouble(Endpoint::Token, trouble));
        assert_eq!(outcome(&scene.ours.renew(&token).await), expected, "{reason}");
        scene.fake.behave();
    }
    assert_eq!(outcome(&scene.ours.renew(&token).await), Alive, "it lived on all the time");
    assert_eq!(scene.fake.requests(Endpoint::Canary), 0);
}

#[tokio::test]
async fn a_silent_provider_says_nothing_of_a_session() {
    let scene = Scene::new().await;
    let token = refresh_token(&scene.log_in("alice").await.unwrap());
    scene.fake.misbehave(|it| it.trouble(Endpoint::Token, Trouble::Silence));
    let impatient = scene.fake.provider("http://localhost:8000");
    let impatient = impatient.with_patience(Duration::from_millis(400));
    assert_eq!(outcome(&impatient.renew(&token).await), Unavailable);
}

/// `OpenID` Connect Core §12.2.
#[tokio::test]
async fn a_renewed_session_must_be_of_the_same_person() {
    let other_client = json!(["somebody-else", CLIENT_ID]);
    let rows = [
        ("sub", json!("f:1b7c:mallory"), Over, "another person: these tokens are not ours to keep"),
        ("iss", json!("https://other.example"), Unacceptable, "another provider"),
        ("aud", json!("somebody-else"), Unacceptable, "another client"),
        ("aud", other_client, Alive, "others beside us, and we are the authorized party"),
        ("nonce", Value::Null, Alive, "no nonce: it was for the login"),
    ];
    let scene = Scene::new().await;
    for (claim, value, expected, reason) in rows {
        let token = refresh_token(&scene.log_in("alice").await.unwrap());
        scene.fake.misbehave(|it| it.claim(claim, value));
        let renewed = scene.ours.renew(&token).await.unwrap();
        let confirmed = scene.ours.confirm(&renewed, &subject_of("alice")).await;
        assert_eq!(outcome(&confirmed), expected, "{reason}");
        scene.fake.behave();
    }
    let token = refresh_token(&scene.log_in("alice").await.unwrap());
    scene.fake.misbehave(|it| it.answer("id_token", Value::Null));
    let renewed = scene.ours.renew(&token).await.unwrap();
    scene.ours.confirm(&renewed, &subject_of("alice")).await.unwrap();
}

/// What an answer of the token endpoint says of offline access, by which a later no is judged.
#[tokio::test]
async fn a_login_knows_whether_it_outlives_its_browser() {
    let rows = [
        (json!("openid offline_access"), true, true, "given"),
        (json!("openid"), true, false, "asked for and not given"),
        (Value::Null, true, true, "nothing said: what was asked for (RFC 6749 §5.1)"),
        (Value::Null, false, false, "nothing said and not asked for"),
        (json!("openid offline_accessory"), true, false, "another scope"),
    ];
    for (scope, asked, expected, reason) in rows {
        let mut scene = Scene::new().await;
        scene.fake.misbehave(|it| it.answer("scope", scope));
        scene.reset_with(|it| it.asks_offline_access = asked);
        let tokens = scene.log_in("alice").await.unwrap().tokens.unwrap();
        assert_eq!(tokens.is_offline, expected, "{reason}");
    }
}

/// RFC 7009, as far as the provider offers it.
#[tokio::test]
async fn a_refresh_token_is_given_back_where_the_provider_takes_it() {
    let scene = Scene::new().await;
    let token = refresh_token(&scene.log_in("alice").await.unwrap());
    for (trouble, expected, reason) in [
        (Trouble::Status(503), Unavailable, "down"),
        (Trouble::Status(400), Unacceptable, "it will not have it"),
        (Trouble::Redirect, Unacceptable, "elsewhere"),
    ] {
        scene.fake.misbehave(|it| it.trouble(Endpoint::Revocation, trouble));
        assert_eq!(outcome(&scene.ours.revoke(&token).await), expected, "{reason}");
        scene.fake.behave();
    }
    assert_eq!(outcome(&scene.ours.revoke(&token).await), Alive);
    assert_eq!(outcome(&scene.ours.renew(&token).await), Over, "it is worth nothing now");
    assert_eq!(outcome(&scene.ours.revoke(&token).await), Alive, "twice is fine");
    assert_eq!(scene.fake.requests(Endpoint::Canary), 0);

    let mut scene = Scene::new().await;
    scene.fake.misbehave(|it| it.metadata("revocation_endpoint", Value::Null));
    scene.reset_with(|_| {});
    let token = refresh_token(&scene.log_in("alice").await.unwrap());
    assert_eq!(outcome(&scene.ours.revoke(&token).await), Alive, "there is nobody to tell");
    assert_eq!(outcome(&scene.ours.renew(&token).await), Alive);
}

#[tokio::test]
async fn a_provider_may_have_a_place_to_log_out() {
    let scene = Scene::new().await;
    let hint = Secret::new("eyJ");
    let return_to = "http://localhost:8000/logout";
    let url = scene.ours.end_session_url(Some(&hint), return_to, "done").await.unwrap().unwrap();
    let url = Url::parse(&url).unwrap();
    assert!(url.as_str().starts_with(&format!("{}/logout?", scene.fake.issuer())));
    let sent: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let expected = [
        ("id_token_hint", "eyJ"),
        ("client_id", CLIENT_ID),
        ("post_logout_redirect_uri", return_to),
        ("state", "done"),
    ];
    assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));

    for (place, reason) in [
        (Value::Null, "none"),
        (json!("https://elsewhere.example/logout"), "not where its issuer is"),
        (json!("javascript:alert(1)"), "a script"),
    ] {
        let mut scene = Scene::new().await;
        scene.fake.misbehave(|it| it.metadata("end_session_endpoint", place));
        scene.reset_with(|_| {});
        let url = scene.ours.end_session_url(None, return_to, "done").await.unwrap();
        assert_eq!(url, None, "{reason}");
        assert_eq!(outcome(&scene.log_in("alice").await), Alive, "{reason}: logins go on");
    }
}
