//! GitHub, as it documents itself ([`ANSWERS`] says where): no discovery, no ID token, errors with 200.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, Uri};
use sekisho::identity_provider::github::{GITHUB, GROUP_PAGES_MAX, GitHubProvider, GitHubSettings};
use sekisho::identity_provider::{IdentityProvider, LoggedIn, ProviderError};
use sekisho::principal::WantedClaims;
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{CodeChallenge, CodeVerifier};
use serde_json::{Value, json};
use testkit::ManualClock;
use url::Url;

use crate::{Outcome, attempt, outcome};

/// What the API answers, with its sources.
const ANSWERS: &str = include_str!("presets/github.json");

#[derive(Default)]
struct Inside {
    answers: Mutex<Value>,
    asked: Mutex<Vec<String>>,
    /// The code's challenge.
    challenge: Mutex<String>,
    revoked: Mutex<bool>,
}

struct Scene {
    inside: Arc<Inside>,
    ours: GitHubProvider,
    issuer: String,
}

impl Scene {
    async fn new() -> Self {
        let answers = Mutex::new(serde_json::from_str(ANSWERS).unwrap());
        let inside = Arc::new(Inside { answers, ..Inside::default() });
        let routes = Router::new()
            .route("/login/oauth/access_token", post(token))
            .route("/api/v3/applications/app/token", delete(revoke))
            .route("/api/v3/{*what}", get(api))
            .with_state(Arc::clone(&inside));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let ours = provider(&issuer, &["login", "groups"]);
        Self { inside, ours, issuer }
    }

    fn answer(&self, what: &str, value: Value) {
        self.inside.answers.lock().unwrap()[what] = value;
    }

    async fn log_in(&self) -> Result<LoggedIn, ProviderError> {
        let attempt = attempt();
        let url = Url::parse(&self.ours.authorization_url(&attempt).await.unwrap()).unwrap();
        let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
        self.inside.challenge.lock().unwrap().clone_from(&asked["code_challenge"]);
        self.ours.redeem(&Secret::new("provider-code-1"), &attempt).await
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.inside.asked.lock().unwrap())
    }
}

fn provider(issuer: &str, wanted: &[&str]) -> GitHubProvider {
    let settings = GitHubSettings {
        issuer: issuer.to_owned(),
        client_id: "app".to_owned(),
        client_secret: Secret::new("100% secret"),
        scopes: ["read:user", "user:email", "read:org"].map(str::to_owned).to_vec(),
        redirect_uri: "http://localhost:8000/auth/callback".to_owned(),
    };
    let wanted = wanted.iter().map(|name| (*name).to_owned());
    let provider = GitHubProvider::new(settings, Arc::new(ManualClock::default())).unwrap();
    provider.keeping(WantedClaims::new(wanted)).with_patience(Duration::from_secs(60))
}

async fn token(State(inside): State<Arc<Inside>>, body: Bytes) -> Response {
    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let error = |error: &str| Json(json!({ "error": error })).into_response();
    if form["client_id"] != "app" || form["client_secret"] != "100% secret" {
        return error("incorrect_client_credentials");
    }
    let answers = inside.answers.lock().unwrap().clone();
    if form.get("grant_type").is_some_and(|grant| grant == "refresh_token") {
        let is_known = form["refresh_token"] == answers["app_token"]["refresh_token"];
        return if is_known {
            Json(answers["app_token"].clone()).into_response()
        } else {
            error("bad_refresh_token")
        };
    }
    let verifier = CodeVerifier::parse(&form["code_verifier"]).unwrap();
    if CodeChallenge::of(&verifier).as_str() != *inside.challenge.lock().unwrap() {
        return error("bad_verification_code");
    }
    Json(answers["token"].clone()).into_response()
}

async fn api(
    State(inside): State<Arc<Inside>>,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let what = uri.path().trim_start_matches("/api/v3/").to_owned();
    inside.asked.lock().unwrap().push(what.clone());
    let answers = inside.answers.lock().unwrap();
    let shown = headers["authorization"].to_str().unwrap();
    let is_token = [&answers["token"], &answers["app_token"]].iter().any(|token| {
        token["access_token"].as_str().is_some_and(|token| shown == format!("Bearer {token}"))
    });
    if *inside.revoked.lock().unwrap() || !is_token {
        return (StatusCode::UNAUTHORIZED, Json(answers["refused"].clone())).into_response();
    }
    let answer = &answers[&what];
    if let Some(status) = answer.as_u64() {
        let status = StatusCode::from_u16(u16::try_from(status).unwrap());
        return status.unwrap().into_response();
    }
    if let (Some(all), Some(page)) = (answer.as_array(), query.get("page")) {
        let (page, size): (usize, usize) =
            (page.parse().unwrap(), query["per_page"].parse().unwrap());
        return Json(all.chunks(size).nth(page - 1).unwrap_or_default()).into_response();
    }
    Json(answer.clone()).into_response()
}

async fn revoke(State(inside): State<Arc<Inside>>, headers: HeaderMap, body: Bytes) -> Response {
    let is_us = headers["authorization"].to_str().unwrap().starts_with("Basic ");
    let body: Value = serde_json::from_slice(&body).unwrap();
    let is_token = body["access_token"] == inside.answers.lock().unwrap()["token"]["access_token"];
    if !is_us || !is_token {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    *inside.revoked.lock().unwrap() = true;
    StatusCode::NO_CONTENT.into_response()
}

#[tokio::test]
async fn a_person_at_github_is_a_number_with_verified_address_organisations_and_teams() {
    let scene = Scene::new().await;
    let person = scene.log_in().await.unwrap();
    let identity = person.identity;
    assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (&*scene.issuer, "583231"));
    assert_eq!(identity.name.as_deref(), Some("The Octocat"));
    assert_eq!(identity.email.as_deref(), Some("octocat@github.com"), "the primary one");
    assert!(identity.email_verified);
    assert_eq!(identity.claims.find("login"), Some(&json!("octocat")));
    assert_eq!(identity.claims.find("groups"), Some(&json!(["github", "github/justice-league"])));
    let tokens = person.tokens.unwrap();
    assert!(tokens.is_offline && tokens.id_token.is_none() && tokens.expires_at.is_none());

    let without_groups = Scene { ours: provider(&scene.issuer, &["login"]), ..scene };
    without_groups.asked();
    without_groups.log_in().await.unwrap();
    assert_eq!(without_groups.asked(), ["user", "user/emails"], "nobody asks about groups");
}

#[tokio::test]
async fn an_address_that_nobody_verified_or_nobody_calls_primary_is_no_proof() {
    let email = |primary, verified| json!([{ "email": "a@corp.example", "primary": primary, "verified": verified }]);
    let rows = [
        (email(true, true), Some("a@corp.example"), true, "primary and verified"),
        (email(true, false), Some("a@corp.example"), false, "not verified"),
        (email(false, true), None, false, "not primary"),
        (json!([]), None, false, "none"),
    ];
    for (emails, address, is_verified, reason) in rows {
        let scene = Scene::new().await;
        scene.answer("user/emails", emails);
        let identity = scene.log_in().await.unwrap().identity;
        assert_eq!(
            (identity.email.as_deref(), identity.email_verified),
            (address, is_verified),
            "{reason}"
        );
    }
}

/// Half of a list would be another list, and a rule that denies by it would let people in.
#[tokio::test]
async fn whoever_is_in_too_many_groups_is_in_none_that_rules_see() {
    let scene = Scene::new().await;
    let organizations =
        |count| (0..count).map(|n| json!({ "login": format!("org-{n}") })).collect();
    scene.answer("user/orgs", Value::Array(organizations(250)));
    let identity = scene.log_in().await.unwrap().identity;
    let groups = identity.claims.find("groups").unwrap().as_array().unwrap().len();
    assert_eq!(groups, 251, "three pages, and a team");
    scene.answer("user/orgs", Value::Array(organizations(GROUP_PAGES_MAX * 100)));
    let claims = scene.log_in().await.unwrap().identity.claims;
    assert!(
        claims.find("groups").is_none() && claims.are_in_part(),
        "and nobody takes it for none"
    );
}

#[tokio::test]
async fn what_github_refuses_is_sorted_by_whose_fault_it_is() {
    let scene = Scene::new().await;
    let other = scene.ours.redeem(&Secret::new("provider-code-1"), &attempt()).await;
    assert_eq!(outcome(&other), Outcome::Refused, "another login's verifier");
    for (what, answer, expected, reason) in [
        ("token", json!({ "error": "bad_verification_code" }), Outcome::Refused, "a wrong code"),
        (
            "token",
            json!({ "error": "incorrect_client_credentials" }),
            Outcome::Unacceptable,
            "ours",
        ),
        ("token", json!({ "error": "something_new" }), Outcome::Unacceptable, "an unknown word"),
        ("token", json!({}), Outcome::Unacceptable, "no token"),
        ("user", json!({ "login": "octocat" }), Outcome::Unacceptable, "nobody's number"),
        ("user", json!(503), Outcome::Unavailable, "down"),
        ("user/emails", json!(404), Outcome::Unacceptable, "a scope that was not given"),
        ("user/teams", json!(403), Outcome::Unacceptable, "the same for groups"),
        ("user/orgs", json!(429), Outcome::Unavailable, "too many questions"),
    ] {
        let scene = Scene::new().await;
        scene.answer(what, answer);
        assert_eq!(outcome(&scene.log_in().await), expected, "{what}: {reason}");
    }
}

/// There is no refresh token: the access token itself is what can be asked with, and is given back.
#[tokio::test]
async fn a_token_of_an_oauth_app_is_asked_with_itself_until_it_is_revoked() {
    let scene = Scene::new().await;
    let person = scene.log_in().await.unwrap();
    let refresh_token = person.tokens.unwrap().refresh_token.unwrap();
    let renewed = scene.ours.renew(&refresh_token).await.unwrap();
    let confirmed = scene.ours.confirm(&renewed, "583231").await.unwrap();
    assert_eq!(confirmed, Some(person.identity));
    let other = scene.ours.confirm(&renewed, "1").await;
    assert_eq!(outcome(&other), Outcome::Refused, "somebody else's number");
    let kept = renewed.refresh_token.unwrap();
    scene.answer("user", json!(503));
    assert_eq!(outcome(&scene.ours.renew(&kept).await), Outcome::Unavailable, "that says nothing");
    scene.ours.revoke(&kept).await.unwrap();
    assert_eq!(outcome(&scene.ours.renew(&kept).await), Outcome::Refused, "revoked");
}

#[tokio::test]
async fn a_token_of_a_github_app_is_refreshed() {
    let scene = Scene::new().await;
    let app_token = scene.inside.answers.lock().unwrap()["app_token"].clone();
    scene.answer("token", app_token);
    let tokens = scene.log_in().await.unwrap().tokens.unwrap();
    assert!(tokens.expires_at.is_some());
    let renewed = scene.ours.renew(&tokens.refresh_token.unwrap()).await.unwrap();
    assert_eq!(scene.ours.confirm(&renewed, "583231").await.unwrap().unwrap().subject, "583231");
    let spent = scene.ours.renew(&Secret::new("ghr_spent")).await;
    assert_eq!(outcome(&spent), Outcome::Refused, "an old one");
}

#[tokio::test]
async fn a_login_at_github_asks_with_pkce_and_an_answer_of_another_is_not_its() {
    let ours = provider(GITHUB, &[]);
    let url = Url::parse(&ours.authorization_url(&attempt()).await.unwrap()).unwrap();
    assert_eq!(&url[..url::Position::AfterPath], "https://github.com/login/oauth/authorize");
    let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["scope"], "read:user user:email read:org");
    for (iss, expected) in [
        (None, true),
        (Some("https://github.com/login/oauth"), true),
        (Some("https://idp.test"), false),
        (Some("https://github.com.evil.test"), false),
    ] {
        assert_eq!(ours.is_answer_from_us(iss).await.unwrap(), expected, "{iss:?}");
    }
    for issuer in ["http://github.example", "github.com", "https://github.example/"] {
        let settings = GitHubSettings {
            issuer: issuer.to_owned(),
            client_id: "app".to_owned(),
            client_secret: Secret::new("secret"),
            scopes: Vec::new(),
            redirect_uri: String::new(),
        };
        let refused = GitHubProvider::new(settings, Arc::new(ManualClock::default()));
        assert!(refused.unwrap_err().to_string().contains("no GitHub"), "{issuer}");
    }
}
