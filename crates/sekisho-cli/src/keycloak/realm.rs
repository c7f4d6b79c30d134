//! A realm by Keycloak's administration API (26.1 to 26.7): looks at what is there, changes what is
//! not as it should be, and nothing else.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use sekisho::protocol::Secret;
use serde_json::{Value, json};

use super::representation::Representation;
use super::wishes::{
    AFTER_LOGOUT, AUDIENCE_MAPPER, OurClient, POLICY_TYPE, RealmUrl, ScopeForUs, Wish,
    asking_client, mapper,
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
        let token = Secret::new(Representation::new(answer).text("access_token"));
        if token.reveal().is_empty() {
            return Err(Failure::Run(format!("{} gives no token: is it a Keycloak?", url.base)));
        }
        Ok(Self { url, client, token })
    }

    /// Makes it so; says what was changed, a line each.
    ///
    /// # Errors
    /// When Keycloak refuses a change.
    pub(super) async fn grant(&self, wish: &Wish) -> Result<Vec<String>, Failure> {
        match wish {
            Wish::Client(client) => self.grant_client(client).await,
            Wish::Asking { id, secret } => self.grant_asking(id, secret).await,
            Wish::Scope(scope) => self.grant_scope(scope).await,
            Wish::Registration { scopes, hosts } => self.grant_registration(scopes, hosts).await,
        }
    }

    async fn grant_asking(&self, id: &str, secret: &Secret) -> Result<Vec<String>, Failure> {
        if self.client(id).await?.is_some() {
            return Ok(Vec::new());
        }
        let mut client = Representation::new(asking_client(id));
        client.set("secret", secret.reveal());
        self.tell(Method::POST, "clients", client).await?;
        Ok(vec![format!("made the client {id}, which asks about tokens")])
    }

    async fn grant_client(&self, wanted: &OurClient) -> Result<Vec<String>, Failure> {
        let id = &wanted.id;
        let Some(mut client) = self.client(id).await? else {
            let mut client = Representation::new(wanted.representation());
            client.set("secret", wanted.secret.reveal());
            self.tell(Method::POST, "clients", client).await?;
            return Ok(vec![format!("made the client {id}")]);
        };
        let mut changes = Vec::new();
        for (setting, value) in [("publicClient", false), ("standardFlowEnabled", true)] {
            if client.set(setting, value) {
                changes.push(format!("set {setting} of the client {id} to {value}"));
            }
        }
        if client.add("redirectUris", &wanted.callback) {
            changes.push(format!("let the client {id} come back to {}", wanted.callback));
        }
        let attributes = [
            ("backchannel.logout.url", wanted.logout.as_str()),
            ("backchannel.logout.session.required", "true"),
        ];
        for (name, value) in attributes {
            if client.set_within("attributes", name, value) {
                changes.push(format!("set {name} of the client {id} to {value}"));
            }
        }
        let after = client.text_within("attributes", AFTER_LOGOUT).to_owned();
        if !after.split("##").any(|one| one == wanted.after_logout) {
            let separator = if after.is_empty() { "" } else { "##" };
            let all = format!("{after}{separator}{}", wanted.after_logout);
            client.set_within("attributes", AFTER_LOGOUT, all);
            changes.push(format!("let people who log out come back to {}", wanted.after_logout));
        }
        let key = client.text("id").to_owned();
        let secret = self.ask(&format!("clients/{key}/client-secret")).await?;
        if Representation::new(secret).text("value") != wanted.secret.reveal() {
            client.set("secret", wanted.secret.reveal());
            changes.push(format!("set the secret of the client {id} to that of the settings"));
        }
        if !changes.is_empty() {
            self.tell(Method::PUT, &format!("clients/{key}"), client).await?;
        }
        Ok(changes)
    }

    async fn grant_scope(&self, wanted: &ScopeForUs) -> Result<Vec<String>, Failure> {
        let name = &wanted.name;
        let mut changes = Vec::new();
        if self.scope(name).await?.is_none() {
            let scope = Representation::new(wanted.representation());
            self.tell(Method::POST, "client-scopes", scope).await?;
            changes.push(format!("made the scope {name}, for {}", wanted.audiences.join(" and ")));
        }
        let Some(scope) = self.scope(name).await? else {
            return Err(Failure::Run(format!("the scope {name} is made and not there: try again")));
        };
        let id = scope.text("id").to_owned();
        let is_everybodys = self.is_in("default-default-client-scopes", &id).await?;
        if is_everybodys && !wanted.audiences.iter().all(|audience| says(&scope, audience)) {
            return Err(Failure::Run(format!(
                "realm {:?} gives the scope {name} to every client: with our audience in it, every \
                 token would open {}: give the server a scope of its own",
                self.url.name, wanted.server
            )));
        }
        changes.extend(self.correct_scope(scope, &id, wanted).await?);
        if !is_everybodys && !self.is_in("default-optional-client-scopes", &id).await? {
            let place = format!("default-optional-client-scopes/{id}");
            self.tell(Method::PUT, &place, Representation::new(json!({}))).await?;
            changes.push(format!("let clients to come ask for the scope {name}"));
        }
        Ok(changes)
    }

    /// A scope that was there before may lack what makes it ours.
    async fn correct_scope(
        &self,
        mut scope: Representation,
        id: &str,
        wanted: &ScopeForUs,
    ) -> Result<Vec<String>, Failure> {
        const IN_TOKEN: &str = "include.in.token.scope";
        let name = &wanted.name;
        let mappers = Representation::list(scope.get("protocolMappers"));
        let missing = wanted.audiences.iter().filter(|audience| !says(&scope, audience));
        let missing: Vec<&String> = missing.collect();
        let mut changes = Vec::new();
        if scope.text_within("attributes", IN_TOKEN) == "false" {
            scope.set_within("attributes", IN_TOKEN, "true");
            self.tell(Method::PUT, &format!("client-scopes/{id}"), scope).await?;
            changes.push(format!("put the scope {name} into the tokens"));
        }
        for audience in missing {
            let mut mapper = Representation::new(mapper(audience));
            let place = format!("client-scopes/{id}/protocol-mappers/models");
            // Somebody may have changed what it does; its name is taken then.
            match mappers.iter().find(|other| other.text("name") == mapper.text("name")) {
                None => self.tell(Method::POST, &place, mapper).await?,
                Some(other) => {
                    let key = other.text("id");
                    mapper.set("id", key);
                    self.tell(Method::PUT, &format!("{place}/{key}"), mapper).await?;
                }
            }
            changes.push(format!("had the scope {name} put {audience} into aud"));
        }
        Ok(changes)
    }

    async fn grant_registration(
        &self,
        scopes: &[String],
        hosts: &[String],
    ) -> Result<Vec<String>, Failure> {
        const SENDER: &str = "host-sending-registration-request-must-match";
        let policies = self.ask(&format!("components?type={POLICY_TYPE}")).await?;
        let mut changes = Vec::new();
        // A realm without one of these rules needs no way past it.
        for mut rule in Representation::list(&policies) {
            let before = changes.len();
            match (rule.text("subType"), rule.text("providerId")) {
                ("anonymous", "trusted-hosts") => {
                    if rule.set_within("config", SENDER, json!(["false"])) {
                        changes.push("let clients register from any address".to_owned());
                    }
                    for host in hosts {
                        if rule.add_within("config", "trusted-hosts", host) {
                            changes.push(format!(
                                "let clients that register have addresses at {host}"
                            ));
                        }
                    }
                }
                ("anonymous", "allowed-client-templates") => {
                    for scope in scopes {
                        if rule.add_within("config", "allowed-client-scopes", scope) {
                            changes
                                .push(format!("let clients that register have the scope {scope}"));
                        }
                    }
                }
                (_, _) => {}
            }
            if changes.len() > before {
                let place = format!("components/{}", rule.text("id"));
                self.tell(Method::PUT, &place, rule).await?;
            }
        }
        Ok(changes)
    }

    async fn client(&self, id: &str) -> Result<Option<Representation>, Failure> {
        let found = self.ask(&format!("clients?clientId={}", encoded(id))).await?;
        Ok(Representation::list(&found).into_iter().next())
    }

    async fn scope(&self, name: &str) -> Result<Option<Representation>, Failure> {
        let scopes = Representation::list(&self.ask("client-scopes").await?);
        Ok(scopes.into_iter().find(|scope| scope.text("name") == name))
    }

    /// Whether a list of the realm's has the scope with this id.
    async fn is_in(&self, list: &str, id: &str) -> Result<bool, Failure> {
        let scopes = Representation::list(&self.ask(list).await?);
        Ok(scopes.iter().any(|scope| scope.text("id") == id))
    }

    async fn ask(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.send(Method::GET, path, None).await?;
        answer.json().await.map_err(|error| unreachable(&self.url, error))
    }

    async fn tell(&self, method: Method, path: &str, what: Representation) -> Result<(), Failure> {
        self.send(method, path, Some(&what.into_value())).await.map(|_| ())
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

/// Whether tokens with this scope are for that audience.
fn says(scope: &Representation, audience: &str) -> bool {
    Representation::list(scope.get("protocolMappers")).iter().any(|mapper| {
        mapper.text("protocolMapper") == AUDIENCE_MAPPER
            && mapper.text_within("config", "included.custom.audience") == audience
            && mapper.text_within("config", "access.token.claim") == "true"
    })
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn unreachable(url: &RealmUrl, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let reason = crate::telemetry::chain(&error);
    Failure::Run(format!("Keycloak at {} cannot be asked: {reason}", url.base))
}
