//! A person with a browser and a client: signs in as the pages of each kind of server want it, trades the
//! code for tokens, and refreshes them. Every sign-in begins with a browser that has been nowhere.
//!
//! ```text
//! the program, minimal   register ─▶ authorize ─▶ consent ─▶ (provider) ─▶ callback ─▶ token
//! node-oidc-provider     register ─▶ auth ─▶ login page, form ─▶ auth ─▶ consent page, form ─▶ auth ─▶ token
//! Keycloak                           auth ─▶ login form ─▶ token
//! ```

use std::net::SocketAddr;

use serde_json::Value;

use super::site::{FORM, Site, encoded, location, member};
use crate::Result;
use crate::load::{self, Connection};

const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";
const CODE_VERIFIER: &str = "a-verifier-that-guards-nothing-but-a-benchmark";
const CODE_CHALLENGE: &str = "fNC0C4nHpumxoUtoK0wFXAZjA-3eybr6hn_szSD8TgI";
/// Whoever wants to come in says this, wherever somebody asks.
pub(super) const PASSWORD: &str = "any";
/// The one client that Keycloak knows; it lets a stranger register only so many.
pub(super) const KEYCLOAK_CLIENT: &str = "bench";
pub(super) const KEYCLOAK_REALM: &str = "measured";

/// What kind of pages a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// The program's and minimal's.
    Ours,
    NodeOidcProvider,
    Keycloak,
}

impl Pages {
    /// People who log in by turns.
    fn people(self) -> u64 {
        match self {
            Self::Ours | Self::NodeOidcProvider => 1_000,
            Self::Keycloak => super::keycloak::PEOPLE,
        }
    }

    fn path(self, endpoint: &str) -> String {
        match self {
            Self::Ours | Self::NodeOidcProvider => format!("/{endpoint}"),
            Self::Keycloak => {
                format!("/realms/{KEYCLOAK_REALM}/protocol/openid-connect/{endpoint}")
            }
        }
    }
}

pub(super) struct Person {
    pages: Pages,
    site: Site,
    /// The identity provider behind the program, with what it is called.
    provider: Option<(Connection, String)>,
    name: String,
    client_id: String,
    refresh_token: String,
}

impl Person {
    pub(super) async fn arrive(
        pages: Pages,
        address: SocketAddr,
        provider: &str,
        number: u64,
    ) -> Result<Self> {
        let provider = match pages {
            Pages::Ours => {
                let host = provider.trim_start_matches("http://");
                let host = host.split('/').next().unwrap_or_default().to_owned();
                Some((Connection::open(host.parse()?).await?, host))
            }
            Pages::NodeOidcProvider | Pages::Keycloak => None,
        };
        Ok(Self {
            pages,
            site: Site::open(address).await?,
            provider,
            name: format!("person-{}", number % pages.people()),
            client_id: KEYCLOAK_CLIENT.to_owned(),
            refresh_token: String::new(),
        })
    }

    pub(super) async fn sign_in(&mut self) -> Result<()> {
        self.site.forget_cookies();
        let code = match self.pages {
            Pages::Ours => self.sign_in_with_us().await?,
            Pages::NodeOidcProvider => self.sign_in_at_node_oidc_provider().await?,
            Pages::Keycloak => self.sign_in_at_keycloak().await?,
        };
        self.trade(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", CODE_VERIFIER),
        ])
        .await
    }

    pub(super) async fn refresh(&mut self) -> Result<()> {
        let token = std::mem::take(&mut self.refresh_token);
        self.trade(&[("grant_type", "refresh_token"), ("refresh_token", &token)]).await
    }

    async fn trade(&mut self, form: &[(&str, &str)]) -> Result<()> {
        let client_id = self.client_id.clone();
        let form = encoded(&[form, &[("client_id", &client_id)]].concat());
        let answer = self.site.ask("POST", &self.pages.path("token"), &[FORM], &form, 200).await?;
        let answer: Value = serde_json::from_str(&answer.body)?;
        member(&answer, "access_token")?;
        self.refresh_token = member(&answer, "refresh_token")?;
        Ok(())
    }

    async fn sign_in_with_us(&mut self) -> Result<String> {
        self.register("/register").await?;
        let resource = format!("{}/mcp", self.site.issuer);
        let query = self.request(&[("scope", "fortune"), ("resource", &resource)]);
        let page = self.site.ask("GET", &format!("/authorize?{query}"), &[], "", 200).await?;
        let consent = field(&page.body, "consent").ok_or("no form")?;
        let form = encoded(&[("consent", consent), ("decision", "approve")]);
        let origin = self.site.issuer.clone();
        let sent =
            self.site.ask("POST", "/consent", &[FORM, ("Origin", &origin)], &form, 303).await?;

        let (provider, host) = self.provider.as_mut().ok_or("there is no provider")?;
        let path = location(&sent)?.replacen(&format!("http://{host}"), "", 1);
        let cookie = format!("fake_idp_session={}", self.name);
        let back =
            provider.ask(&load::request("GET", &path, host, &[("Cookie", &cookie)], "")).await?;

        let done = self.site.follow(&back, 303).await?;
        code(location(&done)?)
    }

    async fn sign_in_at_node_oidc_provider(&mut self) -> Result<String> {
        self.register("/reg").await?;
        let path = format!("/auth?{}", self.request(&[("scope", "fortune")]));
        let mut sent = self.site.ask("GET", &path, &[], "", 303).await?;
        for fields in [
            vec![("prompt", "login"), ("login", &self.name), ("password", PASSWORD)],
            vec![("prompt", "consent")],
        ] {
            let form = encoded(&fields);
            let page = self.site.follow(&sent, 200).await?;
            let action = self.site.path(action(&page.body).ok_or("no form")?.as_str());
            let answered = self.site.ask("POST", &action, &[FORM], &form, 303).await?;
            sent = self.site.follow(&answered, 303).await?;
        }
        code(location(&sent)?)
    }

    async fn sign_in_at_keycloak(&mut self) -> Result<String> {
        let path = format!("{}?{}", self.pages.path("auth"), self.request(&[]));
        let page = self.site.ask("GET", &path, &[], "", 200).await?;
        let action = self.site.path(action(&page.body).ok_or("no form")?.as_str());
        let form = encoded(&[("username", &self.name), ("password", PASSWORD)]);
        let sent = self.site.ask("POST", &action, &[FORM], &form, 302).await?;
        code(location(&sent)?)
    }

    /// A client of its own, by RFC 7591.
    async fn register(&mut self, path: &str) -> Result<()> {
        let metadata = format!(
            r#"{{"client_name":"benchmark","redirect_uris":["{REDIRECT_URI}"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"]}}"#
        );
        let json = [("Content-Type", "application/json")];
        let registered = self.site.ask("POST", path, &json, &metadata, 201).await?;
        self.client_id = member(&serde_json::from_str(&registered.body)?, "client_id")?;
        Ok(())
    }

    /// The query of an authorization request.
    fn request(&self, more: &[(&str, &str)]) -> String {
        let common = [
            ("response_type", "code"),
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", REDIRECT_URI),
            ("state", "benchmark"),
            ("code_challenge", CODE_CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        encoded(&[&common, more].concat())
    }
}

/// The code in the URI that a browser is sent back to.
fn code(location: &str) -> Result<String> {
    let (at, query) = location.split_once('?').ok_or("no answer for the client")?;
    if at != REDIRECT_URI {
        return Err(format!("sent to {at} instead of back to the client").into());
    }
    let mut answer = form_urlencoded::parse(query.as_bytes());
    let (_, code) = answer.find(|(name, _)| name == "code").ok_or("no code")?;
    Ok(code.into_owned())
}

/// The value of an input.
fn field<'page>(page: &'page str, name: &str) -> Option<&'page str> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split_once('"')?.0)
}

/// Where the first form goes.
fn action(page: &str) -> Option<String> {
    let (_, form) = page.split_once("<form")?;
    let (tag, _) = form.split_once('>')?;
    let (_, rest) = tag.split_once(" action=\"")?;
    Some(rest.split_once('"')?.0.replace("&amp;", "&"))
}
