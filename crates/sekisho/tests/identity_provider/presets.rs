//! The presets, against what each provider documents of itself: metadata, ID token and token answer as
//! they are written down in `presets/`, with their sources. The endpoints are those of the stand-in.

use std::collections::BTreeMap;
use std::sync::Arc;

use sekisho::clock::Clock;
use sekisho::identity_provider::IdentityProvider as _;
use sekisho::identity_provider::oidc::{OidcProvider, OidcSettings};
use sekisho::identity_provider::preset::{PRESETS, Preset, PresetIssuer, PresetProtocol, preset};
use sekisho::principal::WantedClaims;
use serde_json::{Map, Value};
use testkit::identity_provider::{Endpoint, Trouble};
use url::Url;

use crate::oidc::{PUBLIC_URL, Scene};
use crate::{Outcome, outcome};

const RECORDED: [(&str, &str); 6] = [
    ("google", include_str!("presets/google.json")),
    ("entra", include_str!("presets/entra.json")),
    ("auth0", include_str!("presets/auth0.json")),
    ("okta", include_str!("presets/okta.json")),
    ("authentik", include_str!("presets/authentik.json")),
    ("dex", include_str!("presets/dex.json")),
];

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A provider that says what this record says, and our side of it by the preset.
async fn scene(preset: &Preset, record: &Value) -> Scene {
    let mut scene = Scene::new().await;
    let issuer = scene.fake.issuer().to_owned();
    scene.fake.misbehave(|it| {
        let recorded = record["metadata"].as_object().unwrap();
        for (name, value) in recorded {
            let is_place = value.as_str().is_some_and(|text| text.starts_with("https:"));
            if !is_place {
                it.metadata(name, value.clone());
            }
        }
        for name in ["end_session_endpoint", "revocation_endpoint"] {
            if !recorded.contains_key(name) {
                it.metadata(name, Value::Null);
            }
        }
        // Nobody here names themselves in their answers; the stand-in does, which harms nobody.
        it.metadata("authorization_response_iss_parameter_supported", false);
        for name in record["leaves_out"].as_array().unwrap() {
            it.claim(name.as_str().unwrap(), Value::Null);
        }
        it.claims.extend(record["id_token"].as_object().unwrap().clone());
        it.answer.extend(record["token_answer"].as_object().unwrap().clone());
        if let Some(userinfo) = record["userinfo"].as_object() {
            it.say_at_userinfo(&issuer, userinfo.clone());
        } else {
            it.say_at_userinfo(&issuer, Map::new());
            it.trouble(Endpoint::Userinfo, Trouble::Status(500));
        }
    });
    let PresetProtocol::OpenId(quirks) = preset.protocol else { panic!("{preset:?}") };
    let audience = &record["expected"]["asks"]["audience"];
    let audience = audience.as_str().map(|text| ("audience".to_owned(), text.to_owned()));
    let settings = OidcSettings {
        scopes: preset.scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        parameters: audience.into_iter().collect(),
        quirks,
        ..scene.fake.settings(PUBLIC_URL)
    };
    let wanted = record["wanted"].as_array().unwrap().iter();
    let wanted = WantedClaims::new(wanted.map(|name| name.as_str().unwrap().to_owned()));
    let clock = Arc::clone(&scene.clock) as Arc<dyn Clock>;
    scene.ours = OidcProvider::new(settings, clock).unwrap().keeping(wanted);
    scene
}

#[tokio::test]
async fn a_person_of_each_preset_is_described_as_it_documents_people() {
    for (name, text) in RECORDED {
        let (preset, record) = (preset(name).unwrap(), read(text));
        let (scene, expected) = (scene(preset, &record).await, &record["expected"]);
        let person = scene.log_in("alice").await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let identity = person.identity;
        assert_eq!(identity.subject, record["id_token"]["sub"], "{name}");
        assert_eq!(identity.name.as_deref(), expected["name"].as_str(), "{name}");
        assert_eq!(identity.email.as_deref(), expected["email"].as_str(), "{name}");
        assert_eq!(identity.email_verified, expected["email_verified"], "{name}");
        let claims: Map<_, _> =
            identity.claims.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        assert_eq!(Value::from(claims), expected["claims"], "{name}");
        let tokens = person.tokens.unwrap();
        assert_eq!(tokens.is_offline, expected["is_offline"], "{name}");
        // Whoever leaves nothing out is not asked once more.
        let asked = u64::from(record["userinfo"].is_object());
        assert_eq!(scene.fake.requests(Endpoint::Userinfo), asked, "{name}");

        let renewed = scene.ours.renew(&tokens.refresh_token.unwrap()).await.unwrap();
        let confirmed = scene.ours.confirm(&renewed, &identity.subject).await.unwrap().unwrap();
        assert_eq!(confirmed.claims, identity.claims, "{name}: the same when it is asked again");

        let logout = scene.ours.end_session_url(None, PUBLIC_URL, "done").await.unwrap();
        assert_eq!(logout.is_some(), expected["logs_out"] == true, "{name}");
    }
}

#[tokio::test]
async fn a_login_asks_each_preset_for_what_makes_its_session_last() {
    for (name, text) in RECORDED {
        let (preset, record) = (preset(name).unwrap(), read(text));
        let scene = scene(preset, &record).await;
        let (attempt, _) = scene.begin("alice").await.unwrap();
        let url = Url::parse(&scene.ours.authorization_url(&attempt).await.unwrap()).unwrap();
        let asked: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        for (parameter, expected) in record["expected"]["asks"].as_object().unwrap() {
            let found = asked.get(parameter).map(String::as_str);
            assert_eq!(found, expected.as_str(), "{name}: {parameter}");
        }
        // Entra refuses it, and nobody needs it: tokens of the provider open nothing of ours.
        assert!(!asked.contains_key("resource"), "{name}");
    }
}

#[test]
fn the_issuer_that_a_preset_makes_is_the_one_in_the_providers_metadata() {
    let rows = [
        ("google", None),
        ("entra", Some("8eaef023-2b34-4da1-9baa-8bc8c9d6a490")),
        ("auth0", Some("example.eu.auth0.com")),
    ];
    for (name, tenant) in rows {
        let (_, text) = RECORDED.iter().find(|(recorded, _)| *recorded == name).unwrap();
        let made = match (preset(name).unwrap().issuer, tenant) {
            (PresetIssuer::Fixed(issuer), None) => issuer.to_owned(),
            (PresetIssuer::Around { shape, before, after, .. }, Some(tenant)) => {
                assert!(shape.fits(tenant), "{name}");
                format!("{before}{tenant}{after}")
            }
            (other, _) => panic!("{name}: {other:?}"),
        };
        assert_eq!(made, read(text)["metadata"]["issuer"], "{name}");
    }
}

#[test]
fn a_tenant_is_what_its_provider_calls_so() {
    let rows = [
        ("entra", "8EAEF023-2b34-4da1-9baa-8bc8c9d6a490", true, "in any case"),
        ("entra", "common", false, "everybody's, whose issuer is a template"),
        ("entra", "organizations", false, "the same"),
        ("entra", "corp.onmicrosoft.com", false, "its metadata has the id as issuer"),
        ("okta", "example.okta.com", true, "a domain"),
        ("okta", "example.okta.com/oauth2/default", false, "that is an issuer"),
        ("auth0", "https://example.eu.auth0.com", false, "that is an issuer, nearly"),
        ("auth0", "example", false, "no domain"),
        ("auth0", "example..com", false, "no domain"),
        ("auth0", "", false, "nothing"),
    ];
    for (name, tenant, expected, reason) in rows {
        let PresetIssuer::Around { shape, .. } = preset(name).unwrap().issuer else {
            panic!("{name}")
        };
        assert_eq!(shape.fits(tenant), expected, "{name} {tenant}: {reason}");
    }
    assert!(PRESETS.iter().all(|one| preset(one.name).is_some_and(|it| it.name == one.name)));
}

/// Dex's word for a refresh token that is unknown, spent or expired is one that elsewhere says that we
/// asked wrongly, which ends nothing.
#[tokio::test]
async fn what_dex_says_of_a_session_that_is_over_ends_it_and_nobody_elses() {
    let rows = [
        ("dex", 5, Outcome::Refused, Outcome::Unacceptable),
        ("google", 0, Outcome::Unacceptable, Outcome::Unacceptable),
    ];
    for (name, row, of_refresh, of_code) in rows {
        let scene = scene(preset(name).unwrap(), &read(RECORDED[row].1)).await;
        let tokens = scene.log_in("alice").await.unwrap().tokens.unwrap();
        scene.fake.misbehave(|it| it.token_error = Some((400, "invalid_request")));
        let renewed = scene.ours.renew(&tokens.refresh_token.unwrap()).await;
        assert_eq!(outcome(&renewed), of_refresh, "{name}: a refresh");
        assert_eq!(outcome(&scene.log_in("alice").await), of_code, "{name}: a login");
    }
}

/// Nobody's `email_verified` counts at Entra: an administrator of any organisation writes addresses.
#[tokio::test]
async fn an_address_at_entra_is_verified_by_its_own_claim_alone() {
    let rows = [
        (Value::from(true), Value::Null, true, "it says so"),
        (Value::from("1"), Value::Null, true, "as text"),
        (Value::from(1), Value::Null, true, "as a number"),
        (Value::from(false), Value::from(true), false, "it says no, whatever else is said"),
        (Value::Null, Value::from(true), false, "it says nothing"),
        (Value::from("0"), Value::Null, false, "no, as text"),
    ];
    for (own, usual, expected, reason) in rows {
        let (preset, record) = (preset("entra").unwrap(), read(RECORDED[1].1));
        let scene = scene(preset, &record).await;
        scene.fake.misbehave(|it| {
            it.claim("xms_edov", own);
            it.claim("email_verified", usual);
        });
        let person = scene.log_in("alice").await.unwrap();
        assert_eq!(person.identity.email_verified, expected, "{reason}");
    }
}

/// Core §5.3.2: an answer that may be about anybody else, or none at all, logs nobody in: rules that
/// deny by a claim must not pass for want of it.
#[tokio::test]
async fn userinfo_counts_only_about_the_person_of_the_id_token() {
    let record = read(RECORDED[3].1);
    let subject = record["id_token"]["sub"].clone();
    let said = |name: &str, value: Value| Map::from_iter([(name.to_owned(), value)]);
    let rows = [
        (said("sub", "somebody-else".into()), None, Outcome::Unacceptable, "about somebody else"),
        (said("sub", Value::Null), None, Outcome::Unacceptable, "about nobody"),
        (Map::new(), Some(Trouble::Status(401)), Outcome::Unacceptable, "refused"),
        (Map::new(), Some(Trouble::Status(503)), Outcome::Unavailable, "down"),
        (Map::new(), Some(Trouble::Junk), Outcome::Unacceptable, "no JSON"),
        (said("sub", subject), None, Outcome::LoggedIn, "about the person"),
    ];
    for (claims, trouble, expected, reason) in rows {
        let scene = scene(preset("okta").unwrap(), &record).await;
        scene.fake.misbehave(|it| {
            it.userinfo = claims;
            it.trouble.extend(trouble.map(|trouble| (Endpoint::Userinfo, trouble)));
        });
        assert_eq!(outcome(&scene.log_in("alice").await), expected, "{reason}");
    }
}
