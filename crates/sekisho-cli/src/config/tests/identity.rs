//! Presets, and several providers: what each needs, and the sentence for what is wrong.

use sekisho::authorization_server::SessionRule;

use super::super::*;
use super::{Given, all_refused};

/// Issuer, scopes and label of the only provider.
fn understood(text: &str) -> (String, String, String) {
    let config = Given::file(text).load().unwrap();
    let [one] = config.identity.providers() else { unreachable!() };
    let (issuer, scopes) = match &one.kind {
        ProviderKind::Oidc(oidc) => (oidc.issuer.clone(), oidc.scopes.join(" ")),
        ProviderKind::GitHub(github) => (github.issuer.clone(), github.scopes.join(" ")),
        ProviderKind::Local => unreachable!(),
    };
    (issuer, scopes, one.label.clone())
}

#[test]
fn a_preset_needs_the_one_thing_that_only_the_operator_knows() {
    let usual = "openid email profile";
    let with_groups = "openid email profile groups";
    let rows = [
        ("google", "", "https://accounts.google.com", usual, "Google"),
        (
            "entra",
            "tenant = \"8eaef023-2b34-4da1-9baa-8bc8c9d6a490\"",
            "https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0",
            usual,
            "Microsoft",
        ),
        ("auth0", "tenant = \"corp.eu.auth0.com\"", "https://corp.eu.auth0.com/", usual, "Auth0"),
        ("okta", "tenant = \"corp.okta.com\"", "https://corp.okta.com", with_groups, "Okta"),
        (
            "okta",
            "issuer = \"https://corp.okta.com/oauth2/default\"",
            "https://corp.okta.com/oauth2/default",
            with_groups,
            "Okta",
        ),
        (
            "authentik",
            "issuer = \"https://sso.corp.example/application/o/mcp/\"",
            "https://sso.corp.example/application/o/mcp/",
            usual,
            "authentik",
        ),
        (
            "dex",
            "issuer = \"https://dex.corp.example\"\nscopes = [\"openid\"]",
            "https://dex.corp.example",
            "openid",
            "Dex",
        ),
        (
            "github",
            "client_secret = \"s\"",
            "https://github.com",
            "read:user user:email read:org",
            "GitHub",
        ),
        (
            "github",
            "client_secret = \"s\"\nissuer = \"https://github.corp.example\"",
            "https://github.corp.example",
            "read:user user:email read:org",
            "GitHub",
        ),
        (
            "oidc",
            "issuer = \"https://sso.example/x\"",
            "https://sso.example/x",
            usual,
            "sso.example",
        ),
    ];
    for (preset, more, issuer, scopes, label) in rows {
        let text = format!("[identity]\nprovider = \"{preset}\"\nclient_id = \"mcp\"\n{more}\n");
        let expected = (issuer.to_owned(), scopes.to_owned(), label.to_owned());
        assert_eq!(understood(&text), expected, "{text}");
    }
}

#[test]
fn what_a_preset_lacks_or_does_not_know_gets_one_sentence() {
    all_refused(&[
        (
            "[identity]\nprovider = \"google\"",
            "identity.client_id: provider \"google\" needs it: set it to the client you made at your provider",
            "no client",
        ),
        (
            "[identity]\nprovider = \"google\"\nclient_id = \"mcp\"\ntenant = \"corp.example\"",
            "FILE, line 4: identity.tenant = \"corp.example\": this provider has no tenants: leave it out",
            "a tenant of nobody",
        ),
        (
            "[identity]\nprovider = \"entra\"\nclient_id = \"mcp\"",
            "identity.tenant: provider \"entra\" needs it: write the directory (tenant) id of your organisation, 36 characters with dashes",
            "no tenant",
        ),
        (
            "[identity]\nprovider = \"entra\"\nclient_id = \"mcp\"\ntenant = \"common\"",
            "FILE, line 4: identity.tenant = \"common\": it is no such thing: write the directory (tenant) id of your organisation, 36 characters with dashes",
            "everybody's tenant",
        ),
        (
            "[identity]\nprovider = \"auth0\"\nclient_id = \"mcp\"\ntenant = \"corp.eu.auth0.com\"\nissuer = \"https://corp.eu.auth0.com/\"",
            "FILE, line 4: identity.tenant = \"corp.eu.auth0.com\": identity.issuer says it already: keep one of them",
            "twice",
        ),
        (
            "[identity]\nprovider = \"okta\"\nclient_id = \"mcp\"\ntenant = \"corp.okta.com\"\naudience = \"x\"",
            "FILE, line 5: identity.audience = \"x\": only \"auth0\" knows it: leave it out",
            "an audience elsewhere",
        ),
        (
            "[identity]\nprovider = \"google\"\nclient_id = \"mcp\"\nprompt = \"none\"",
            "FILE, line 4: identity.prompt = \"none\": it is not one of the choices: write \"login\" or \"consent\" or \"select_account\"",
            "nobody could log in",
        ),
        (
            "[identity]\nprovider = \"github\"\nclient_id = \"mcp\"",
            "identity.client_secret_file: provider \"github\" needs it: generate one for your app there",
            "no secret",
        ),
        (
            "[identity]\nprovider = \"dex\"\nclient_id = \"mcp\"",
            "identity.issuer: provider \"dex\" needs it: set it to the issuer of your provider's discovery document",
            "no issuer",
        ),
        (
            "[identity]\nname = \"main\"",
            "FILE, line 2: identity.name = \"main\": there is only one provider to choose: leave it out, or begin each of several with [[identity]]",
            "a name where there is no choice",
        ),
    ]);
}

#[test]
fn who_vouches_for_people_is_named_by_an_issuer() {
    let text = "[authorization]\nid_jag_issuers = [\"https://sso.corp.example\"]";
    let config = Given::file(text).load().unwrap();
    assert_eq!(config.authorization.id_jag_issuers, ["https://sso.corp.example"]);
    all_refused(&[(
        "[authorization]\nid_jag_issuers = [\"http://sso.corp.example\"]",
        "FILE, line 2: authorization.id_jag_issuers = \"http://sso.corp.example\": plain http is for loopback only: use https",
        "over a network in clear",
    )]);
}

const TWO: &str = "[[identity]]\nprovider = \"google\"\nclient_id = \"g\"\nrecheck = \"1h\"\n\
    [[identity]]\nprovider = \"oidc\"\nname = \"partner\"\nlabel = \"Our partner\"\n\
    issuer = \"https://sso.partner.example\"\nclient_id = \"p\"\nsession = \"login-only\"\n\
    allow = \"'staff' in user.groups\"\n[[identity]]\nprovider = \"local\"\n";

#[test]
fn several_providers_have_names_labels_and_terms_of_their_own() {
    let config = Given::file(TWO).load().unwrap();
    let shown: Vec<_> = config
        .identity
        .providers()
        .iter()
        .map(|one| (one.name.as_str(), one.label.as_str(), one.session))
        .collect();
    let hour = std::time::Duration::from_hours(1);
    assert_eq!(
        shown,
        [
            ("google", "Google", SessionRule::Follow { recheck: hour }),
            ("partner", "Our partner", SessionRule::LoginOnly),
            (
                "local",
                "",
                SessionRule::Follow { recheck: sekisho::authorization_server::RECHECK_DEFAULT }
            ),
        ]
    );
    assert!(config.identity.has_accounts());
    assert!(config.claims.iter().any(|claim| claim == "groups"), "what one of them asks about");
    let alone = "[[identity]]\nprovider = \"google\"\nclient_id = \"g\"\n";
    let config = Given::file(alone).load().unwrap();
    let [one] = config.identity.providers() else { unreachable!() };
    assert_eq!(one.name, "google", "one alone keeps its name, for the day when another comes");
}

#[test]
fn an_address_is_believed_of_the_provider_that_is_bound_to_its_domain() {
    let bound =
        TWO.replace("client_id = \"g\"", "client_id = \"g\"\nemail_domains = [\"corp.example\"]");
    let config = Given::file(&bound).load().unwrap();
    let (google, partner) = ("https://accounts.google.com", "https://sso.partner.example");
    for claims in [&config.claims, &config.authorization.id_jag_claims] {
        assert!(claims.believe(google, "a@corp.example"));
        assert!(!claims.believe(partner, "a@corp.example"), "another's");
        assert!(claims.believe(partner, "a@partner.example"), "nobody's");
    }
    all_refused(&[
        (
            "[[identity]]\nprovider = \"google\"\nclient_id = \"g\"\nemail_domains = [\"@corp.example\"]",
            "FILE, line 4: identity.email_domains = \"@corp.example\": \"@corp.example\" is no domain: write what stands behind the @, as in corp.example",
            "no domain",
        ),
        (
            "[identity]\nemail_domains = [\"corp.example\"]",
            "FILE, line 2: identity.email_domains = \"corp.example\": the local provider does not use it: set identity.provider to \"oidc\"",
            "accounts of our own have no addresses",
        ),
    ]);
}

#[test]
fn a_wrong_choice_of_providers_gets_one_sentence() {
    all_refused(&[
        (
            "[[identity]]\nclient_id = \"g\"",
            "FILE, line 1: provider: an [[identity]] needs a provider: write for example provider = \"google\"",
            "no provider",
        ),
        (
            "[[identity]]\nprovider = \"google\"\nclient_id = \"g\"\nname = \"Google!\"",
            "FILE, line 4: identity.name = \"Google!\": it is no name: write lower-case letters, digits and dashes, at most 63",
            "no name",
        ),
        (
            "[[identity]]\nprovider = \"local\"\n[[identity]]\nprovider = \"local\"",
            "FILE, line 4: identity.provider = \"local\": another [[identity]] has that name: write another as name",
            "two of a name",
        ),
        (
            "[[identity]]\nprovider = \"google\"\nclient_id = \"g\"\n[[identity]]\nprovider = \"google\"\nclient_id = \"h\"\nname = \"other\"",
            "FILE, line 5: identity.provider = \"google\": another [[identity]] has that issuer, and a person would be two: keep one",
            "two of an issuer",
        ),
        (
            "[[identity]]\nprovider = \"google\"\nclient = \"g\"",
            "FILE, line 3: identity.client: there is no such setting: did you mean identity.client_id?",
            "no such setting",
        ),
        (
            "identity = [1]",
            "FILE, line 1: identity: it is a table, or several: begin each with [[identity]]",
            "no tables",
        ),
        (
            "[authorization]\nmode = \"external\"\nissuer = \"https://as.example\"\n[[identity]]\nprovider = \"local\"",
            "FILE, line 4: identity: with authorization.mode = \"external\" people log in at the other authorization server: leave it out",
            "nobody logs in here",
        ),
    ]);
    let beside = Given::file(TWO).variable("SEKISHO_IDENTITY__CLIENT_SECRET", "s").refused();
    let expected = "SEKISHO_IDENTITY__CLIENT_SECRET: the file has [[identity]], and nobody knows \
                    which of them is meant: write it there";
    assert_eq!(beside, expected);
}

#[test]
fn what_is_shown_of_several_providers_is_a_file_that_says_the_same() {
    let text = format!(
        "{TWO}[[identity]]\nprovider = \"github\"\nclient_id = \"h\"\nclient_secret = \"hush\"\n"
    );
    let given = Given::file(&text);
    let written = read(&given.flags, std::iter::empty()).unwrap();
    let shown = show(&written, &given.load().unwrap());
    assert!(!shown.contains("hush"), "{shown}");
    let again = Given::file(&shown.replace("\"***\"", "\"hush\"")).load().unwrap();
    let names: Vec<_> = again.identity.providers().iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["google", "partner", "local", "github"], "{shown}");
}
