//! A realm by Keycloak's administration API (26.1 to 26.7): looks at what is there, changes what is
//! not as it should be, and nothing else.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use sekisho::protocol::Secret;
use serde_json::{Value, json};

use super::wishes::{
    AFTER_LOGOUT, AUDIENCE_MAPPER, OurClient, POLICY_TYPE, RealmUrl, ScopeForUs, Wish,
};
use crate::outcome::Failure;

/// Longest that one request takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who may change the realm.
pub(super) struct Administrator {
    pub(super) realm: String,
    pub(super) username: String,
    pub(super) password: Secret,
}

/// The realm, with the door open.
pub(super) struct Realm {
    url: RealmUrl,
    client: reqwest::Client,
    token: Secret,
}

impl Realm {
    /// Logs the administrator in.
    ///
    /// # Errors
    /// When Keycloak cannot be reached, or refuses them.
    pub(super) async fn enter(
        url: RealmUrl,
        administrator: &Administrator,
    ) -> Result<Self, Failure> {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE);
        let is_plain = url.base.starts_with("http:");
        let builder = if is_plain { builder.tls_certs_only([]) } else { builder.https_only(true) };
        let client = builder.build().map_err(|error| Failure::because(&error))?;
        let Administrator { realm, username, password } = administrator;
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", username.as_str()),
            ("password", password.reveal()),
        ];
        let token_url = format!("{}/realms/{realm}/protocol/openid-connect/token", url.base);
        let answer = client.post(token_url).form(&form).send().await;
        let answer = answer.map_err(|error| unreachable(&url, error))?;
        if !answer.status().is_success() {
            return Err(Failure::Run(format!(
                "Keycloak at {} refuses the administrator of realm {realm:?} ({}): check user name \
                 and password, and --admin-realm",
                url.base,
                answer.status()
            )));
        }
        let answer: Value = answer.json().await.map_err(|error| unreachable(&url, error))?;
        let Some(token) = text(&answer, "access_token") else {
            return Err(Failure::Run(format!("{} gives no token: is it a Keycloak?", url.base)));
        };
        Ok(Self { token: Secret::new(token), url, client })
    }

    /// Makes it so; says what was changed, a line each.
    ///
    /// # Errors
    /// When Keycloak refuses a change.
    pub(super) async fn grant(&self, wish: &Wish) -> Result<Vec<String>, Failure> {
        match wish {
            Wish::Client(client) => self.grant_client(client).await,
            Wish::Scope(scope) => self.grant_scope(scope).await,
            Wish::Registration { scopes, hosts } => self.grant_registration(scopes, hosts).await,
        }
    }

    async fn grant_client(&self, wanted: &OurClient) -> Result<Vec<String>, Failure> {
        let id = &wanted.id;
        let found = self.ask(Method::GET, &format!("clients?clientId={}", encoded(id))).await?;
        let Some(mut client) = first(found) else {
            let mut client = wanted.representation();
            client["secret"] = json!(wanted.secret.reveal());
            self.tell(Method::POST, "clients", &client).await?;
            return Ok(vec![format!("made the client {id}")]);
        };
        let mut changes = Vec::new();
        for (setting, value) in [("publicClient", false), ("standardFlowEnabled", true)] {
            if client[setting] != value {
                client[setting] = json!(value);
                changes.push(format!("set {setting} of the client {id} to {value}"));
            }
        }
        if add(&mut client["redirectUris"], &wanted.callback) {
            changes.push(format!("let the client {id} come back to {}", wanted.callback));
        }
        let attributes = [
            ("backchannel.logout.url", wanted.logout.as_str()),
            ("backchannel.logout.session.required", "true"),
        ];
        for (name, value) in attributes {
            if client["attributes"][name] != value {
                client["attributes"][name] = json!(value);
                changes.push(format!("set {name} of the client {id} to {value}"));
            }
        }
        let after = text(&client["attributes"], AFTER_LOGOUT).unwrap_or_default().to_owned();
        if !after.split("##").any(|one| one == wanted.after_logout) {
            let separator = if after.is_empty() { "" } else { "##" };
            client["attributes"][AFTER_LOGOUT] =
                json!(format!("{after}{separator}{}", wanted.after_logout));
            changes.push(format!("let people who log out come back to {}", wanted.after_logout));
        }
        let key = text(&client, "id").unwrap_or_default().to_owned();
        let secret = self.ask(Method::GET, &format!("clients/{key}/client-secret")).await?;
        if text(&secret, "value") != Some(wanted.secret.reveal()) {
            client["secret"] = json!(wanted.secret.reveal());
            changes.push(format!("set the secret of the client {id} to that of the settings"));
        }
        if !changes.is_empty() {
            self.tell(Method::PUT, &format!("clients/{key}"), &client).await?;
        }
        Ok(changes)
    }

    async fn grant_scope(&self, wanted: &ScopeForUs) -> Result<Vec<String>, Failure> {
        let name = &wanted.name;
        let mut changes = Vec::new();
        let scope = match self.scope(name).await? {
            Some(scope) => scope,
            None => {
                self.tell(Method::POST, "client-scopes", &wanted.representation()).await?;
                changes.push(format!("made the scope {name}, for {}", wanted.audience));
                self.scope(name).await?.unwrap_or_default()
            }
        };
        let id = text(&scope, "id").unwrap_or_default().to_owned();
        changes.extend(self.correct_scope(scope, &id, wanted).await?);

        let mut is_offered = false;
        for list in ["default-default-client-scopes", "default-optional-client-scopes"] {
            let offered = self.ask(Method::GET, list).await?;
            is_offered |= items(&offered).iter().any(|one| text(one, "id") == Some(&id));
        }
        if !is_offered {
            let place = format!("default-optional-client-scopes/{id}");
            self.tell(Method::PUT, &place, &json!({})).await?;
            changes.push(format!("let clients to come ask for the scope {name}"));
        }
        Ok(changes)
    }

    /// A scope that was there before may lack what makes it ours.
    async fn correct_scope(
        &self,
        mut scope: Value,
        id: &str,
        wanted: &ScopeForUs,
    ) -> Result<Vec<String>, Failure> {
        const IN_TOKEN: &str = "include.in.token.scope";
        let name = &wanted.name;
        let mut changes = Vec::new();
        if text(&scope["attributes"], IN_TOKEN) == Some("false") {
            scope["attributes"][IN_TOKEN] = json!("true");
            self.tell(Method::PUT, &format!("client-scopes/{id}"), &scope).await?;
            changes.push(format!("put the scope {name} into the tokens"));
        }
        let says_it = |mapper: &Value| {
            mapper["protocolMapper"] == AUDIENCE_MAPPER
                && mapper["config"]["included.custom.audience"] == wanted.audience
                && mapper["config"]["access.token.claim"] == "true"
        };
        let mappers = items(&scope["protocolMappers"]);
        if mappers.iter().any(says_it) {
            return Ok(changes);
        }
        let mapper = wanted.mapper();
        let place = format!("client-scopes/{id}/protocol-mappers/models");
        match mappers.iter().find(|other| other["name"] == mapper["name"]) {
            None => self.tell(Method::POST, &place, &mapper).await?,
            Some(other) => {
                let mut changed = mapper;
                changed["id"] = other["id"].clone();
                let key = text(other, "id").unwrap_or_default();
                self.tell(Method::PUT, &format!("{place}/{key}"), &changed).await?;
            }
        }
        changes.push(format!("had the scope {name} put {} into aud", wanted.audience));
        Ok(changes)
    }

    async fn grant_registration(
        &self,
        scopes: &[String],
        hosts: &[String],
    ) -> Result<Vec<String>, Failure> {
        const SENDER: &str = "host-sending-registration-request-must-match";
        let policies = self.ask(Method::GET, &format!("components?type={POLICY_TYPE}")).await?;
        let policy = |provider: &str| {
            let found = items(&policies).iter().find(|policy| {
                policy["providerId"] == provider && policy["subType"] == "anonymous"
            });
            found.cloned()
        };
        let mut changes = Vec::new();
        // A realm without a policy has no such rule to be let through.
        if let Some(mut rule) = policy("trusted-hosts") {
            let before = rule.clone();
            if rule["config"][SENDER] != json!(["false"]) {
                rule["config"][SENDER] = json!(["false"]);
                changes.push("let clients register from any address".to_owned());
            }
            for host in hosts {
                if add(&mut rule["config"]["trusted-hosts"], host) {
                    changes.push(format!("let clients that register have addresses at {host}"));
                }
            }
            self.change_policy(&rule, &before).await?;
        }
        if let Some(mut rule) = policy("allowed-client-templates") {
            let before = rule.clone();
            for scope in scopes {
                if add(&mut rule["config"]["allowed-client-scopes"], scope) {
                    changes.push(format!("let clients that register have the scope {scope}"));
                }
            }
            self.change_policy(&rule, &before).await?;
        }
        Ok(changes)
    }

    async fn change_policy(&self, rule: &Value, before: &Value) -> Result<(), Failure> {
        if rule == before {
            return Ok(());
        }
        let id = text(rule, "id").unwrap_or_default();
        self.tell(Method::PUT, &format!("components/{id}"), rule).await
    }

    async fn scope(&self, name: &str) -> Result<Option<Value>, Failure> {
        let scopes = self.ask(Method::GET, "client-scopes").await?;
        Ok(items(&scopes).iter().find(|scope| scope["name"] == name).cloned())
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Value, Failure> {
        let answer = self.send(method, path, None).await?;
        answer.json().await.map_err(|error| unreachable(&self.url, error))
    }

    async fn tell(&self, method: Method, path: &str, body: &Value) -> Result<(), Failure> {
        self.send(method, path, Some(body)).await.map(|_| ())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<reqwest::Response, Failure> {
        let url = format!("{}/{path}", self.url.admin());
        let request = self.client.request(method.clone(), url).bearer_auth(self.token.reveal());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.map_err(|error| unreachable(&self.url, error))?;
        let status = answer.status();
        let name = &self.url.name;
        if status.is_success() {
            return Ok(answer);
        }
        let problem = match status {
            StatusCode::FORBIDDEN => {
                "the administrator may not do that: give them the realm's role realm-admin"
            }
            StatusCode::NOT_FOUND => "it is not there: check the issuer in the settings",
            _ => "it is refused: the log of Keycloak says why",
        };
        let place = path.split('?').next().unwrap_or_default();
        Err(Failure::Run(format!("{method} {place} in realm {name:?}: {status}: {problem}")))
    }
}

/// Puts a text into a list, unless it is there.
fn add(list: &mut Value, text: &str) -> bool {
    if items(list).iter().any(|one| one == text) {
        return false;
    }
    match list {
        Value::Array(all) => all.push(json!(text)),
        other => *other = json!([text]),
    }
    true
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn first(value: Value) -> Option<Value> {
    match value {
        Value::Array(all) => all.into_iter().next(),
        _ => None,
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn unreachable(url: &RealmUrl, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let reason = crate::telemetry::chain(&error);
    Failure::Run(format!("Keycloak at {} cannot be asked: {reason}", url.base))
}
