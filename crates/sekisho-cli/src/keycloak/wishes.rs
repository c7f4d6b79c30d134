//! What a realm needs, worked out from the settings alone; and the requests that grant it, in words.

use std::fmt::Write as _;

use sekisho::authorization_server::Provider;
use sekisho::protocol::Secret;
use serde_json::{Value, json};

use super::representation::Representation;
use crate::config::{
    Config, ConfigError, ExternalConfig, IdentityConfig, OidcConfig, ProviderConfig, ProviderKind,
    Verification,
};

/// A realm by its issuer, `BASE/realms/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RealmUrl {
    pub(super) base: String,
    pub(super) name: String,
}

/// One thing that a realm needs.
#[derive(Debug)]
pub(super) enum Wish {
    /// We log people in there: our client.
    Client(OurClient),
    /// We ask there about tokens: as whom, and with what secret.
    Asking {
        /// The client's id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
    /// Its tokens are ours: a scope that says for whom a token is.
    Scope(ScopeForUs),
    /// Clients may register themselves, with these scopes and addresses on these hosts.
    Registration {
        /// Every scope of ours.
        scopes: Vec<String>,
        /// Loopback, and what the operator said.
        hosts: Vec<String>,
    },
}

/// Our client in `delegated` mode.
#[derive(Debug)]
pub(super) struct OurClient {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) callback: String,
    pub(super) logout: String,
    pub(super) after_logout: String,
}

/// A client scope in `external` mode.
#[derive(Debug)]
pub(super) struct ScopeForUs {
    pub(super) name: String,
    pub(super) server: String,
    /// What `aud` will have: the server, and who asks about tokens, whom later Keycloaks tell of no
    /// others.
    pub(super) audiences: Vec<String>,
}

/// The attribute of a client with the addresses after a logout, several with `##` between them.
pub(super) const AFTER_LOGOUT: &str = "post.logout.redirect.uris";
/// Keycloak's rules for who may register without a token.
pub(super) const POLICY_TYPE: &str =
    "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy";
/// Its mapper that adds a fixed word to `aud`.
pub(super) const AUDIENCE_MAPPER: &str = "oidc-audience-mapper";

/// Which realm, and what it needs.
///
/// # Errors
/// When the settings name no realm of a Keycloak, or wish for what cannot be.
pub(super) fn wishes(
    config: &Config,
    client_hosts: &[String],
) -> Result<(RealmUrl, Vec<Wish>), ConfigError> {
    match &config.identity {
        IdentityConfig::Providers(all) => {
            let openid: Vec<_> = all.iter().filter_map(openid).collect();
            // Of several the one that looks like a Keycloak.
            let realm = openid.iter().find(|(_, oidc)| oidc.issuer.contains("/realms/"));
            let Some((one, oidc)) = realm.or(openid.first()).copied() else {
                return Err(ConfigError::new(
                    "identity.provider = \"local\": no Keycloak is named: set it to \"keycloak\", or \
                     authorization.mode to \"external\", and the issuer to that of your realm",
                ));
            };
            let realm = RealmUrl::of("identity.issuer", &oidc.issuer)?;
            if !client_hosts.is_empty() {
                return Err(ConfigError::new(
                    "--client-host: clients register here and not at Keycloak: leave it out, or set \
                     authorization.mode to \"external\"",
                ));
            }
            Ok((realm, vec![Wish::Client(our_client(config, one, oidc)?)]))
        }
        IdentityConfig::External(other) => {
            let realm = RealmUrl::of("authorization.issuer", &other.issuer)?;
            Ok((realm, for_external(config, other, client_hosts)?))
        }
    }
}

fn openid(one: &ProviderConfig) -> Option<(&ProviderConfig, &OidcConfig)> {
    match &one.kind {
        ProviderKind::Oidc(oidc) => Some((one, oidc)),
        ProviderKind::Local | ProviderKind::GitHub(_) => None,
    }
}

fn our_client(
    config: &Config,
    one: &ProviderConfig,
    oidc: &OidcConfig,
) -> Result<OurClient, ConfigError> {
    let Some(secret) = oidc.client_secret.clone() else {
        return Err(ConfigError::new(
            "identity.client_secret: there is none yet: write one into a file, for example with \
             openssl rand -hex 32, name it in identity.client_secret_file, and Keycloak is told",
        ));
    };
    let at = |path: &str| config.public_url.endpoint(path);
    let (callback, logout) = Provider::paths(&one.name);
    Ok(OurClient {
        id: oidc.client_id.clone(),
        secret,
        callback: at(&callback),
        logout: at(&logout),
        after_logout: at("/logout"),
    })
}

fn for_external(
    config: &Config,
    other: &ExternalConfig,
    client_hosts: &[String],
) -> Result<Vec<Wish>, ConfigError> {
    let asking = match &other.verification {
        Verification::Jwt => None,
        Verification::Introspection { client, .. } => Some(client),
    };
    let mut scopes: Vec<ScopeForUs> = Vec::new();
    for server in &config.servers {
        let resource = &server.resource;
        let audience = other.audience.first().map_or(resource.resource.as_str(), String::as_str);
        for name in resource.scopes.iter().chain(resource.more_scopes.iter()) {
            if let Some(first) = scopes.iter().find(|scope| scope.name == name) {
                return Err(ConfigError::new(format!(
                    "[[server]] {} and {} have the same scope {name:?}: a token for one would open \
                     the other, give each its own",
                    first.server, resource.name
                )));
            }
            scopes.push(ScopeForUs {
                name: name.to_owned(),
                server: resource.name.clone(),
                audiences: std::iter::once(audience)
                    .chain(asking.map(|client| client.id.as_str()))
                    .map(str::to_owned)
                    .collect(),
            });
        }
    }
    let loopback = ["localhost", "127.0.0.1"].map(str::to_owned);
    let registration = Wish::Registration {
        scopes: scopes.iter().map(|scope| scope.name.clone()).collect(),
        hosts: loopback.into_iter().chain(client_hosts.iter().cloned()).collect(),
    };
    let asking =
        asking.map(|client| Wish::Asking { id: client.id.clone(), secret: client.secret.clone() });
    Ok(asking
        .into_iter()
        .chain(scopes.into_iter().map(Wish::Scope))
        .chain([registration])
        .collect())
}

impl RealmUrl {
    fn of(key: &str, issuer: &str) -> Result<Self, ConfigError> {
        let found = issuer.rsplit_once("/realms/");
        match found.map(|(base, name)| (base, name.trim_end_matches('/'))) {
            Some((base, name)) if !name.is_empty() && !name.contains('/') => {
                Ok(Self { base: base.to_owned(), name: name.to_owned() })
            }
            Some(_) | None => Err(ConfigError::new(format!(
                "{key} = {issuer:?}: it is no realm of a Keycloak: those end with /realms/NAME"
            ))),
        }
    }

    /// Where the realm is administered.
    pub(super) fn admin(&self) -> String {
        format!("{}/admin/realms/{}", self.base, self.name)
    }
}

impl OurClient {
    /// The client as Keycloak has it, but for its secret.
    pub(super) fn representation(&self) -> Value {
        json!({
            "clientId": self.id,
            "protocol": "openid-connect",
            "publicClient": false,
            "standardFlowEnabled": true,
            "implicitFlowEnabled": false,
            "directAccessGrantsEnabled": false,
            "serviceAccountsEnabled": false,
            "redirectUris": [self.callback],
            "attributes": {
                "backchannel.logout.url": self.logout,
                "backchannel.logout.session.required": "true",
                AFTER_LOGOUT: self.after_logout,
            },
        })
    }
}

impl ScopeForUs {
    /// The client scope as Keycloak has it, with its mapper.
    pub(super) fn representation(&self) -> Value {
        json!({
            "name": self.name,
            "description": format!("To use {}", self.server),
            "protocol": "openid-connect",
            "attributes": { "include.in.token.scope": "true", "display.on.consent.screen": "true" },
            "protocolMappers": self.audiences.iter().map(|one| mapper(one)).collect::<Vec<_>>(),
        })
    }
}

/// What puts an audience into access tokens, and into nothing else.
pub(super) fn mapper(audience: &str) -> Value {
    json!({
        "name": format!("audience {audience}"),
        "protocol": "openid-connect",
        "protocolMapper": AUDIENCE_MAPPER,
        "config": {
            "included.custom.audience": audience,
            "access.token.claim": "true",
            "introspection.token.claim": "true",
            "id.token.claim": "false",
        },
    })
}

/// The client that asks about tokens as Keycloak has it, but for its secret: it can do nothing else.
pub(super) fn asking_client(id: &str) -> Value {
    json!({
        "clientId": id,
        "protocol": "openid-connect",
        "publicClient": false,
        "standardFlowEnabled": false,
        "implicitFlowEnabled": false,
        "directAccessGrantsEnabled": false,
        "serviceAccountsEnabled": false,
    })
}

impl Wish {
    /// The requests that grant it, for people.
    pub(super) fn steps(&self, realm: &RealmUrl) -> String {
        let at = realm.admin();
        let mut text = String::new();
        match self {
            Self::Client(client) => {
                let client = without_secret(client.representation());
                let _ = write!(text, "# Our client\nPOST {at}/clients\n{client:#}\n");
            }
            Self::Asking { id, .. } => {
                let client = without_secret(asking_client(id));
                let _ = write!(text, "# Who asks about tokens\nPOST {at}/clients\n{client:#}\n");
            }
            Self::Scope(scope) => {
                let (name, representation) = (&scope.name, scope.representation());
                let _ = write!(
                    text,
                    "# The scope {name}, which makes a token one for {}\n\
                     POST {at}/client-scopes\n{representation:#}\n\
                     # Clients may ask for it, also those to come\n\
                     PUT {at}/default-optional-client-scopes/(the id of {name})\n",
                    scope.audiences.join(" and "),
                );
            }
            Self::Registration { scopes, hosts } => {
                let _ = write!(
                    text,
                    "# Who may register without a token: anybody, whose addresses are on these hosts\n\
                     GET {at}/components?type={POLICY_TYPE}\n\
                     PUT {at}/components/(the id of \"trusted-hosts\", anonymous)\n{:#}\n\
                     # and with these scopes\n\
                     PUT {at}/components/(the id of \"allowed-client-templates\", anonymous)\n{:#}\n",
                    json!({ "config": {
                        "host-sending-registration-request-must-match": ["false"],
                        "client-uris-must-match": ["true"],
                        "trusted-hosts": hosts,
                    } }),
                    json!({ "config": {
                        "allow-default-scopes": ["true"],
                        "allowed-client-scopes": scopes,
                    } }),
                );
            }
        }
        text
    }
}

fn without_secret(client: Value) -> Value {
    let mut client = Representation::new(client);
    client.set("secret", "(the one in your settings)");
    client.into_value()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_realm_is_named_by_its_issuer() {
        let rows = [
            ("http://localhost:8080/realms/master", Some(("http://localhost:8080", "master"))),
            ("https://sso.example/auth/realms/main", Some(("https://sso.example/auth", "main"))),
            ("https://sso.example/realms/main/", Some(("https://sso.example", "main"))),
            ("https://sso.example/realms/", None),
            ("https://sso.example/realms/a/b", None),
            ("https://accounts.example", None),
        ];
        for (issuer, expected) in rows {
            let found = RealmUrl::of("identity.issuer", issuer).ok();
            let expected = expected
                .map(|(base, name)| RealmUrl { base: base.to_owned(), name: name.to_owned() });
            assert_eq!(found, expected, "{issuer}");
        }
    }

    #[test]
    fn what_is_printed_says_every_step_and_no_secret() {
        let realm = RealmUrl::of("identity.issuer", "http://localhost:8080/realms/main").unwrap();
        let client = Wish::Client(OurClient {
            id: "mcp".to_owned(),
            secret: Secret::new("very secret"),
            callback: "http://localhost:8000/auth/callback".to_owned(),
            logout: "http://localhost:8000/auth/logout".to_owned(),
            after_logout: "http://localhost:8000/logout".to_owned(),
        });
        let said = client.steps(&realm);
        assert!(said.contains("POST http://localhost:8080/admin/realms/main/clients\n"), "{said}");
        assert!(said.contains("\"http://localhost:8000/auth/callback\""), "{said}");
        assert!(!said.contains("very secret"), "{said}");
    }
}
