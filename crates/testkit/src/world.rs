//! The whole server in process: authorization server, checkpoint, and a service behind it that
//! says who called.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Extension;
use axum::routing::any;
use axum::{Json, Router};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use sekisho::authorization_server::{
    AuthorizationServer, Provider, Providers, SessionRule, Settings,
};
use sekisho::clock::Clock;
use sekisho::policy::Admission;
use sekisho::principal::Principal;
use sekisho::resource_server::{Admitting, GuardLayer, OwnTokens, metadata_routes};
use sekisho::seal::Sealer;
use sekisho::store::{MemoryStore, Store, TableLimits};
use sekisho_protocol::oauth::{
    CodeChallenge, CodeVerifier, Issuer, ProtectedResource, ProtectedResources, ScopeSet,
};
use serde_json::{Value, json};

use crate::{Answer, Browser, ManualClock, ScriptedProvider};

/// Where every world is.
pub const ISSUER: &str = "http://localhost:8000";

/// An application without a socket.
pub type App = Router;

/// The server, its clock, its store and its provider.
#[derive(Debug)]
pub struct World {
    /// What requests are sent to.
    pub app: App,
    /// Time.
    pub clock: Arc<ManualClock>,
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// Who logs people in.
    pub provider: Arc<ScriptedProvider>,
    /// What answers; asked for more than one follower of the provider's sessions, it stands for as
    /// many instances over one store.
    pub server: Arc<AuthorizationServer>,
}

/// A world with other settings.
#[derive(Debug)]
pub struct WorldBuilder {
    /// What to change before the world begins.
    pub settings: Settings,
    /// How grants depend on sessions at the provider.
    pub session: SessionRule,
    /// Who may log in at all.
    pub admission: Admission,
    beside: Vec<Provider>,
    provider: ScriptedProvider,
    store: Option<Arc<dyn Store>>,
    sealer: Sealer,
    clock: Arc<ManualClock>,
}

impl WorldBuilder {
    /// A world over this store, for worlds that end and begin again.
    #[must_use]
    pub fn over(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// A world with these keys, for worlds that share a store or change their keys.
    #[must_use]
    pub fn sealed_with(mut self, sealer: &Sealer) -> Self {
        self.sealer = sealer.clone();
        self
    }

    /// A world by this clock, for worlds side by side.
    #[must_use]
    pub fn by(mut self, clock: &Arc<ManualClock>) -> Self {
        self.clock = Arc::clone(clock);
        self
    }

    /// A world where people choose between this provider, by its name, and others.
    #[must_use]
    pub fn with_choice(mut self, provider: ScriptedProvider, others: Vec<Provider>) -> Self {
        (self.provider, self.beside) = (provider, others);
        self
    }

    /// Begins the world.
    pub async fn build(self) -> World {
        let clock = self.clock;
        let limits = TableLimits::default();
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new(limits)));
        let provider = Arc::new(self.provider);
        let settings = self.settings;
        let shared_clock: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let one = Provider::from(Arc::clone(&provider));
        let one = if self.beside.is_empty() { one } else { one.called("idp", "Idp") };
        let one = one.under(self.session).admitting(self.admission);
        let providers = std::iter::once(one).chain(self.beside).collect();
        let server = AuthorizationServer::new(
            settings.clone(),
            Arc::clone(&store),
            Providers::new(providers).unwrap(),
            self.sealer,
            Arc::clone(&shared_clock),
        )
        .await
        .unwrap();
        let mut app = server.browser_routes().merge(server.client_routes()).merge(metadata_routes(
            &settings.issuer,
            &settings.servers,
            ISSUER,
        ));
        for guarded in settings.servers.iter() {
            for endpoint in ["mcp", "sse"] {
                let of_now = Arc::clone(&server);
                let verifier = OwnTokens::new(
                    Arc::clone(&store),
                    guarded.resource.clone(),
                    Arc::clone(&shared_clock),
                )
                .admitting(Admitting::those(move |person| of_now.admits(person)));
                let metadata = guarded.metadata_url(&settings.issuer, endpoint);
                let guard =
                    GuardLayer::new(Arc::new(verifier), guarded.scopes.clone(), &metadata).unwrap();
                let path = format!("{}{endpoint}", guarded.path);
                app = app.merge(Router::new().route(&path, any(who_am_i)).route_layer(guard));
            }
        }
        World { app, clock, store, provider, server }
    }
}

/// The guarded service: tells the caller who it is, and whether it saw the token.
async fn who_am_i(
    Extension(principal): Extension<Arc<Principal>>,
    headers: http::HeaderMap,
) -> Json<Value> {
    Json(json!({
        "subject": principal.identity.subject,
        "client_id": principal.client_id.as_str(),
        "scope": principal.scopes.to_string(),
        "authorization_seen": headers.contains_key(AUTHORIZATION),
    }))
}

/// A client that registered.
#[derive(Debug, Clone)]
pub struct RegisteredClient {
    /// Its id.
    pub id: String,
    /// Its secret, if it has one.
    pub secret: Option<String>,
    /// Where its answers go.
    pub redirect_uri: String,
}

/// What `/token` gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// `access_token`
    pub access: String,
    /// `refresh_token`
    pub refresh: String,
}

/// The verifier all good clients use here; what matters is who knows it.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

impl World {
    /// A world with the settings everybody has.
    pub async fn new() -> Self {
        Self::builder().build().await
    }

    /// A world about to begin: `fortune` at `/` with scope `fortune`, and `other` at `/other/`.
    pub fn builder() -> WorldBuilder {
        let issuer = Issuer::parse(ISSUER).unwrap();
        let server = |name, path, scopes: &[&'static str]| {
            ProtectedResource::new(&issuer, name, path, ScopeSet::of(scopes.iter().copied()))
        };
        let servers = ProtectedResources::new(vec![
            server("fortune", "/", &["fortune"]),
            server("other", "/other/", &["other", "more"]),
        ]);
        let mut settings = Settings::new(issuer, servers);
        settings.registrations_per_minute = std::num::NonZeroU32::MAX;
        settings.logins_per_minute = std::num::NonZeroU32::MAX;
        let (sealer, clock) = (Sealer::ephemeral(), Arc::new(ManualClock::default()));
        let usual = Provider::from(Arc::new(ScriptedProvider::default()));
        let Provider { session, admission, .. } = usual;
        let (beside, provider) = (Vec::new(), ScriptedProvider::default());
        WorldBuilder { settings, session, admission, beside, provider, store: None, sealer, clock }
    }

    /// Registers whatever is sent.
    pub async fn register(&self, metadata: &Value) -> Answer {
        register(&self.app, metadata).await
    }

    /// A public client whose answers go to `redirect_uri`.
    pub async fn public_client(&self, redirect_uri: &str) -> RegisteredClient {
        public_client(&self.app, redirect_uri).await
    }

    /// A client with a secret.
    pub async fn confidential_client(&self) -> RegisteredClient {
        let redirect_uri = "https://app.example/cb";
        let answer = self.register(&json!({ "redirect_uris": [redirect_uri] })).await;
        registered(&answer, redirect_uri)
    }

    /// `person` logs in with `client` and says yes; gives the redirect back to the client.
    pub async fn log_in(&self, browser: &mut Browser, person: &str, url: &str) -> Answer {
        let page = browser.open(&self.app, url).await;
        assert!(page.is_page(200), "expected the consent page: {page:?}");
        let to_provider = browser.decide(&self.app, &page, "approve").await;
        let callback =
            self.provider.log_in(person, to_provider.location().expect("to the provider"));
        browser.open(&self.app, &callback).await
    }

    /// A code for `client` by a login of `person`.
    pub async fn code(&self, client: &RegisteredClient, person: &str) -> String {
        let answer =
            self.log_in(&mut Browser::default(), person, &authorize_url(client, &[])).await;
        answer.parameter("code").unwrap_or_else(|| panic!("no code: {answer:?}"))
    }

    /// Tokens for `client` by a login of `person`.
    pub async fn tokens(&self, client: &RegisteredClient, person: &str) -> Tokens {
        let code = self.code(client, person).await;
        let answer = self.redeem(client, &code, VERIFIER).await;
        tokens(&answer)
    }

    /// Redeems a code.
    pub async fn redeem(&self, client: &RegisteredClient, code: &str, verifier: &str) -> Answer {
        redeem(&self.app, client, code, verifier).await
    }

    /// Trades a refresh token.
    pub async fn refresh(&self, client: &RegisteredClient, refresh: &str) -> Answer {
        refresh_at(&self.app, client, refresh).await
    }

    /// Gives a token back.
    pub async fn revoke(&self, client: &RegisteredClient, token: &str) -> Answer {
        self.post_as(client, "/revoke", &[("token", token)]).await
    }

    /// Posts a form with the client's credentials in it.
    pub async fn post_as(
        &self,
        client: &RegisteredClient,
        path: &str,
        form: &[(&str, &str)],
    ) -> Answer {
        post_as(&self.app, client, path, form).await
    }

    /// Posts a form with headers of one's own.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::to(&self.app, request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Calls a guarded endpoint with a bearer token.
    pub async fn call(&self, path: &str, token: &str) -> Answer {
        call(&self.app, path, token).await
    }
}

/// Calls a guarded endpoint of any application with a bearer token.
pub async fn call(app: &App, path: &str, token: &str) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "localhost:8000")
        .header(AUTHORIZATION, format!("Bearer {token}"));
    Answer::to(app, request.body(Body::empty()).unwrap()).await
}

/// Registers a public client at any application.
pub async fn public_client(app: &App, redirect_uri: &str) -> RegisteredClient {
    let metadata = json!({
        "client_name": "Claude (official)",
        "redirect_uris": [redirect_uri],
        "token_endpoint_auth_method": "none",
    });
    registered(&register(app, &metadata).await, redirect_uri)
}

async fn register(app: &App, metadata: &Value) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/register")
        .header("host", "localhost:8000")
        .header(CONTENT_TYPE, "application/json");
    Answer::to(app, request.body(Body::from(metadata.to_string())).unwrap()).await
}

fn registered(answer: &Answer, redirect_uri: &str) -> RegisteredClient {
    assert_eq!(answer.status, 201, "{}", answer.body);
    let text = |name: &str| answer.json()[name].as_str().map(str::to_owned);
    RegisteredClient {
        id: text("client_id").unwrap(),
        secret: text("client_secret"),
        redirect_uri: redirect_uri.to_owned(),
    }
}

/// The URL a client opens in the browser; `changes` replace or add parameters, empty ones remove.
pub fn authorize_url(client: &RegisteredClient, changes: &[(&str, &str)]) -> String {
    let challenge = CodeChallenge::of(&CodeVerifier::parse(VERIFIER).unwrap());
    let usual = [
        ("response_type", "code"),
        ("client_id", &client.id),
        ("redirect_uri", &client.redirect_uri),
        ("state", "client-state"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    let kept = usual.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept.chain(changes).filter(|(_, value)| !value.is_empty()))
        .finish();
    format!("/authorize?{query}")
}

/// Redeems a code at any application.
pub async fn redeem(app: &App, client: &RegisteredClient, code: &str, verifier: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &client.redirect_uri),
        ("code_verifier", verifier),
    ];
    post_as(app, client, "/token", &form).await
}

/// Trades a refresh token at any application.
pub async fn refresh_at(app: &App, client: &RegisteredClient, refresh: &str) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    post_as(app, client, "/token", &form).await
}

/// Posts a form with the credentials of a client, at any application.
pub async fn post_as(
    app: &App,
    client: &RegisteredClient,
    path: &str,
    form: &[(&str, &str)],
) -> Answer {
    let id = ("client_id", client.id.as_str());
    let secret = client.secret.as_deref().map(|secret| ("client_secret", secret));
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form.iter().copied().chain([id]).chain(secret))
        .finish();
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "localhost:8000")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    Answer::to(app, request.body(Body::from(body)).unwrap()).await
}

/// The tokens of an answer that has them.
pub fn tokens(answer: &Answer) -> Tokens {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
    Tokens { access: text("access_token"), refresh: text("refresh_token") }
}
