//! An access token of the provider's is traded for one that somebody else takes (RFC 8693).

use std::time::Duration;

use sekisho::clock::Clock as _;
use sekisho::identity_provider::{ExchangeWish, IdentityProvider as _, LoggedIn};
use sekisho_protocol::Secret;
use testkit::identity_provider::{Endpoint, Trouble};

use crate::oidc::Scene;
use crate::{Outcome, outcome};

use Outcome::{LoggedIn as Traded, Refused, Unacceptable, Unavailable};

fn access_token(person: &LoggedIn) -> Secret {
    person.tokens.as_ref().unwrap().access_token.clone()
}

fn wish(audience: &[&str], scopes: &[&str]) -> ExchangeWish {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    ExchangeWish { audience: texts(audience), scopes: texts(scopes) }
}

#[tokio::test]
async fn a_token_is_traded_for_whom_and_what_is_wished() {
    let scene = Scene::new().await;
    let token = access_token(&scene.log_in("alice").await.unwrap());
    let rows = [
        (wish(&["tools"], &[]), "exchanged/tools/", "an audience"),
        (wish(&["tools", "files"], &[]), "exchanged/tools+files/", "each by itself"),
        (wish(&[], &["read", "write"]), "exchanged//read+write", "scopes, in one text"),
        (wish(&["tools"], &["read"]), "exchanged/tools/read", "both"),
    ];
    for (wish, expected, reason) in rows {
        let traded = scene.ours.exchange(&token, &wish).await.unwrap();
        assert_eq!(traded.token.reveal(), expected, "{reason}");
        let end = scene.clock.now().plus(Duration::from_secs(300));
        assert_eq!(traded.ends_at, Some(end), "{reason}");
    }
}

#[tokio::test]
async fn a_no_is_told_from_a_silence_and_from_what_cannot_be_used() {
    let scene = Scene::new().await;
    let token = access_token(&scene.log_in("alice").await.unwrap());
    let tools = wish(&["tools"], &[]);
    let other = Secret::new("not one of theirs");
    assert_eq!(outcome(&scene.ours.exchange(&other, &tools).await), Unacceptable);
    let rows = [
        (400, "invalid_grant", Refused, "the person is gone"),
        (403, "access_denied", Refused, "a policy says no"),
        (400, "unsupported_grant_type", Unacceptable, "it trades no tokens"),
        (400, "unauthorized_client", Unacceptable, "not with us"),
        (400, "invalid_target", Unacceptable, "not for them"),
        (400, "invalid_scope", Unacceptable, "not for that"),
        (401, "invalid_client", Unacceptable, "our secret is wrong"),
        (503, "whatever", Unavailable, "down"),
        (429, "slow_down", Unavailable, "too many"),
    ];
    for (status, error, expected, reason) in rows {
        scene.fake.misbehave(|it| it.token_error = Some((status, error)));
        let traded = scene.ours.exchange(&token, &tools).await;
        assert_eq!(outcome(&traded), expected, "{status} {error}: {reason}");
        if expected == Unacceptable {
            let said = format!("{:?}", traded.unwrap_err());
            assert!(said.contains("let our client trade tokens"), "the remedy: {said}");
        }
    }
    scene.fake.behave();
    for (name, value) in [("token_type", "N_A"), ("token_type", "DPoP"), ("access_token", "")] {
        scene.fake.misbehave(|it| it.answer(name, value));
        let traded = scene.ours.exchange(&token, &tools).await;
        assert_eq!(outcome(&traded), Unacceptable, "{name} {value:?}");
        scene.fake.behave();
    }
    assert_eq!(outcome(&scene.ours.exchange(&token, &tools).await), Traded);
    let ours = scene.ours.with_patience(Duration::from_millis(400));
    scene.fake.misbehave(|it| it.trouble(Endpoint::Token, Trouble::Silence));
    assert_eq!(outcome(&ours.exchange(&token, &tools).await), Unavailable, "silent");
}
