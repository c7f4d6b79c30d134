//! Gives tokens out (OAuth 2.1): one file per endpoint.
//!
//! ```text
//! client ──/register──▶ client_id
//! browser ─/authorize─▶ consent page ─/consent─▶ identity provider ─/auth/callback─▶ client, with a code
//! client ──/token─────▶ access and refresh token          client ──/revoke──▶ gone
//! browser ─/logout────▶ logged out                        provider ─/auth/logout─▶ grants ended
//! ```
//!
//! Nothing is sent to the identity provider before a person approved, and nothing comes back to a
//! browser that did not approve. Knows nothing of who guards the resources: both meet in the store.

mod account;
mod authorize;
mod browser;
mod callback;
mod client_assertion;
mod client_authentication;
mod clients;
mod consent;
mod failures;
mod flows;
mod id_jag;
mod introspect;
mod limits;
mod login;
mod logout;
mod machine;
mod metadata;
pub mod personal_token;
mod provider_access;
mod provider_logout;
mod provider_sessions;
mod providers;
mod rate;
mod refresh;
mod refusal;
mod register;
mod revoke;
mod token;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use http::HeaderMap;
use sekisho_protocol::oauth::{
    CLIENT_METADATA_DOCUMENT_BYTES_MAX, ClientId, ClientMetadata, Issuer, JWKS_BYTES_MAX,
    ProtectedResources, RedirectRule,
};
use sekisho_protocol::{Secret, SecretHash};

use crate::clock::Clock;
use crate::fetch::{Cached, Reach};
use crate::front::rate::{Per, PerAddress};
use crate::grant::GrantId;
use crate::identity_provider::id_jag::IdJagIssuers;
use crate::identity_provider::local::LoginBinding;
use crate::jwks::KeySet;
use crate::principal::{Identity, WantedClaims};
use crate::seal::Sealer;
use crate::store::{Client, Store, StoreError};

pub use provider_access::{NoProviderToken, ProviderAccess};
pub use provider_sessions::{
    CHECKS_AT_ONCE_MAX, Checked, DUE_LOOKED_FOR_EVERY, LEASE, ProviderSessions, RECHECK_DEFAULT,
    SessionRule,
};
pub use providers::{Provider, Providers, ProvidersError};

use browser::Cookies;
pub use clients::Documents;
use failures::Failures;
pub use flows::FlowWriter;
use flows::Flows;
pub use metadata::metadata_documents;
use rate::PerGrant;
pub use register::new_client_credentials;

/// Who may register a client dynamically (RFC 7591).
#[derive(Debug, Clone)]
pub enum Registration {
    /// Anybody, within limits.
    Open,
    /// Whoever shows this initial access token.
    Token(Secret),
    /// Nobody; the endpoint is neither served nor advertised.
    Off,
}

/// When a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentRule {
    /// Every time.
    Always,
    /// Not again for the same person, client, redirect URI, scopes and resource, from a browser
    /// where that person logged in before; never on cross-site navigation.
    Remember,
}

/// Whose refresh tokens are traded for new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Everybody's.
    Always,
    /// Those of public clients, which must be (OAuth 2.1 §4.3.1). A confidential client proves
    /// itself with its secret, and keeps its refresh token.
    PublicClients,
}

/// How long things last, and who may do what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our own name.
    pub issuer: Issuer,
    /// The servers that tokens are for.
    pub servers: ProtectedResources,
    /// Who may register.
    pub registration: Registration,
    /// Which redirect URIs may be theirs.
    pub redirects: RedirectRule,
    /// Who may be known by a document instead.
    pub documents: Documents,
    /// Clients that the operator wrote down beside those in the store.
    pub clients: Vec<Client>,
    /// From where documents and keys of clients are fetched.
    pub reach: Reach,
    /// When a person is asked.
    pub consent: ConsentRule,
    /// Life of a code.
    pub code_ttl: Duration,
    /// Life of an access token.
    pub access_token_ttl: Duration,
    /// Life of a refresh token.
    pub refresh_token_ttl: Duration,
    /// How long a traded refresh token gives the same successors once more; zero for never, at most
    /// [`crate::store::REFRESH_GRACE_MAX`].
    pub refresh_grace: Duration,
    /// Whose refresh tokens are traded for new ones.
    pub rotation: Rotation,
    /// Life of a client secret; `None` for ever.
    pub client_secret_ttl: Option<Duration>,
    /// The issuers whose word is taken that a client may act for somebody (ID-JAG).
    pub id_jag_issuers: Vec<String>,
    /// Which claims of theirs are kept: those that rules ask about.
    pub id_jag_claims: WantedClaims,
    /// Whether there are keys at `/jwks.json`, which the metadata then names.
    pub publishes_keys: bool,
    /// Registrations from one address in a minute.
    pub registrations_per_minute: NonZeroU32,
    /// Logins begun from one address in a minute.
    pub logins_per_minute: NonZeroU32,
    /// Documents and keys of clients that one address makes us fetch in a minute.
    pub fetches_per_minute: NonZeroU32,
    /// Wrong secrets, codes, refresh tokens and assertions from one address in a minute.
    pub failures_per_minute: NonZeroU32,
    /// Requests for pages, and forms posted from them, from one address in a minute.
    pub pages_per_minute: NonZeroU32,
    /// Requests of clients to `/token`, `/revoke` and `/introspect` from one address in a minute.
    pub calls_per_minute: NonZeroU32,
    /// Refreshes of one grant in a minute; one token shown many times counts once.
    pub refreshes_per_minute: NonZeroU32,
}

impl Settings {
    /// The defaults: five minutes for a code, an hour for an access token, thirty days for a
    /// refresh token, a minute in which a refresh may be repeated, secrets that do not expire, open
    /// registration, a person asked every time.
    pub fn new(issuer: Issuer, servers: ProtectedResources) -> Self {
        Self {
            issuer,
            servers,
            registration: Registration::Open,
            redirects: RedirectRule::default(),
            documents: Documents::default(),
            clients: Vec::new(),
            reach: Reach::internet(),
            consent: ConsentRule::Always,
            code_ttl: Duration::from_mins(5),
            access_token_ttl: Duration::from_hours(1),
            refresh_token_ttl: Duration::from_hours(30 * 24),
            refresh_grace: refresh::REFRESH_GRACE_DEFAULT,
            rotation: Rotation::Always,
            client_secret_ttl: None,
            id_jag_issuers: Vec::new(),
            id_jag_claims: WantedClaims::default(),
            publishes_keys: false,
            registrations_per_minute: PER_MINUTE_DEFAULT,
            logins_per_minute: PER_MINUTE_DEFAULT,
            fetches_per_minute: FETCHES_PER_MINUTE_DEFAULT,
            failures_per_minute: PER_MINUTE_DEFAULT,
            pages_per_minute: PAGES_PER_MINUTE_DEFAULT,
            calls_per_minute: CALLS_PER_MINUTE_DEFAULT,
            refreshes_per_minute: REFRESHES_PER_MINUTE_DEFAULT,
        }
    }
}

/// Sixty a minute: far more than people need, far less than a flood.
const PER_MINUTE_DEFAULT: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// Documents of clients that one address makes us fetch in a minute: people meet few new clients.
const FETCHES_PER_MINUTE_DEFAULT: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Tokens that one machine gets at one server in a minute. Each is a row until its end, and lasts
/// far longer than a second.
const MACHINE_TOKENS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// Assertions of one client in a minute. Each is remembered until its end, and a client that asks
/// for a token needs one.
const ASSERTIONS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).unwrap();
/// Ten a second: an office behind one address logs in.
const PAGES_PER_MINUTE_DEFAULT: NonZeroU32 = NonZeroU32::new(600).unwrap();

/// A hundred a second: an office behind one address refreshes, a resource server introspects.
const CALLS_PER_MINUTE_DEFAULT: NonZeroU32 = NonZeroU32::new(6_000).unwrap();

/// Each refresh leaves a row until the spent token's end, and a token lasts far longer than two
/// seconds.
const REFRESHES_PER_MINUTE_DEFAULT: NonZeroU32 = NonZeroU32::new(30).unwrap();

/// Messages of a provider from one address in a minute that are not believed.
const BAD_LOGOUTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// How long a person may look at the consent page, and how long a login may take after it.
pub(crate) const LOGIN_TTL: Duration = Duration::from_mins(10);
/// How long a browser is remembered under [`ConsentRule::Remember`].
const BROWSER_SESSION_TTL: Duration = Duration::from_hours(12);

/// Largest form of `/token`, `/revoke`, `/introspect`, `/account`, `/logout`, `/auth/logout`.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// Largest consent form; it carries the sealed request with the client's `state`.
const CONSENT_FORM_BYTES_MAX: usize = 64 * 1024;
/// Largest registration: several times what real clients send, and small enough that a table full
/// of the largest ones stays below a gigabyte.
const REGISTRATION_BYTES_MAX: usize = 8 * 1024;

/// The authorization server: everything its endpoints share.
#[derive(Debug)]
pub struct AuthorizationServer {
    settings: Settings,
    store: Arc<dyn Store>,
    providers: Providers,
    id_jag: IdJagIssuers,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    cookies: Cookies,
    registrations: PerAddress,
    logins: PerAddress,
    pages: PerAddress,
    calls: PerAddress,
    refreshes: PerGrant,
    bad_logouts: PerAddress,
    machine_tokens: Per<GrantId>,
    assertions: Per<ClientId>,
    fetches: PerAddress,
    failures: Failures,
    flows: Arc<Flows>,
    documents: Cached<ClientMetadata>,
    keys: Cached<KeySet>,
}

impl AuthorizationServer {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When the store cannot say which instance this is.
    pub async fn new(
        settings: Settings,
        store: Arc<dyn Store>,
        providers: impl Into<Providers>,
        sealer: Sealer,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StoreError> {
        crate::audit::show_counters();
        let cookies = Cookies::new(&settings.issuer, &store.instance_id().await?);
        let registrations = PerAddress::new(settings.registrations_per_minute);
        let logins = PerAddress::new(settings.logins_per_minute);
        let fetches = PerAddress::new(settings.fetches_per_minute);
        let failures = Failures::new(settings.failures_per_minute, Arc::clone(&clock));
        let flows = Flows::new(Arc::clone(&clock));
        let pages = PerAddress::new(settings.pages_per_minute);
        let calls = PerAddress::new(settings.calls_per_minute);
        let refreshes = PerGrant::new(settings.refreshes_per_minute);
        let bad_logouts = PerAddress::new(BAD_LOGOUTS_PER_MINUTE);
        let reach = &settings.reach;
        let documents =
            Cached::new(reach.clone(), Arc::clone(&clock), CLIENT_METADATA_DOCUMENT_BYTES_MAX);
        let keys = Cached::new(reach.clone(), Arc::clone(&clock), JWKS_BYTES_MAX);
        let id_jag = vouching(&settings, &clock);
        Ok(Arc::new(Self {
            settings,
            store,
            providers: providers.into(),
            id_jag,
            sealer,
            clock,
            cookies,
            registrations,
            logins,
            pages,
            calls,
            refreshes,
            bad_logouts,
            machine_tokens: Per::new(MACHINE_TOKENS_PER_MINUTE),
            assertions: Per::new(ASSERTIONS_PER_MINUTE),
            fetches,
            failures,
            flows,
            documents,
            keys,
        }))
    }

    /// The same server by other settings, and with whoever logs people in by them: what was counted,
    /// fetched and noted so far goes on.
    #[must_use]
    pub fn renewed(&self, settings: Settings, providers: impl Into<Providers>) -> Arc<Self> {
        let of_minute = |limit: &PerAddress, per_minute| limit.renewed(per_minute);
        // What is kept of a document was read by these rules.
        let reads_alike = settings.redirects == self.settings.redirects
            && settings.servers == self.settings.servers;
        let documents = if reads_alike {
            self.documents.clone()
        } else {
            let reach = settings.reach.clone();
            Cached::new(reach, Arc::clone(&self.clock), CLIENT_METADATA_DOCUMENT_BYTES_MAX)
        };
        Arc::new(Self {
            store: Arc::clone(&self.store),
            providers: providers.into(),
            id_jag: vouching(&settings, &self.clock),
            sealer: self.sealer.clone(),
            clock: Arc::clone(&self.clock),
            cookies: self.cookies.clone(),
            registrations: of_minute(&self.registrations, settings.registrations_per_minute),
            logins: of_minute(&self.logins, settings.logins_per_minute),
            pages: of_minute(&self.pages, settings.pages_per_minute),
            calls: of_minute(&self.calls, settings.calls_per_minute),
            refreshes: self.refreshes.renewed(settings.refreshes_per_minute),
            bad_logouts: of_minute(&self.bad_logouts, BAD_LOGOUTS_PER_MINUTE),
            machine_tokens: self.machine_tokens.renewed(MACHINE_TOKENS_PER_MINUTE),
            assertions: self.assertions.renewed(ASSERTIONS_PER_MINUTE),
            fetches: of_minute(&self.fetches, settings.fetches_per_minute),
            failures: self.failures.renewed(settings.failures_per_minute),
            flows: Arc::clone(&self.flows),
            documents,
            keys: self.keys.clone(),
            settings,
        })
    }

    /// Asks the provider about the sessions behind our grants, where somebody is to ask, and tells it
    /// of those that are not needed any more.
    pub fn provider_sessions(&self) -> ProviderSessions {
        ProviderSessions {
            store: Arc::clone(&self.store),
            providers: self.providers.clone(),
            sealer: self.sealer.clone(),
            clock: Arc::clone(&self.clock),
            out: Mutex::default(),
        }
    }

    /// Gives the provider's access tokens of logins out, to servers behind us that want them.
    pub fn provider_access(&self) -> ProviderAccess {
        ProviderAccess::new(self.provider_sessions())
    }

    /// Writes down what becomes of logins. One for each server: another has nothing to do.
    pub fn flow_writer(&self) -> FlowWriter {
        self.flows.writer(Arc::clone(&self.store))
    }

    /// All endpoints a browser or the identity provider is sent to: no CORS belongs in front of
    /// these.
    pub fn browser_routes(self: &Arc<Self>) -> Router {
        let forms = Router::new()
            .route("/account", get(account::show).post(account::change))
            .route("/account/login", post(account::log_in))
            .route("/logout", get(logout::show).post(logout::log_out));
        let mut logouts = Router::new();
        let mut callbacks = Router::new();
        for provider in self.providers.iter() {
            let (callback, logout) = Provider::paths(&provider.name);
            let name = provider.name.clone();
            let come_back = move |server, uri, headers, extensions| {
                callback::callback(name.clone(), server, uri, headers, extensions)
            };
            callbacks = callbacks.route(&callback, get(come_back));
            if provider.seam.sends_logouts() {
                let seam = Arc::clone(&provider.seam);
                let told = move |server, headers, extensions, body| {
                    provider_logout::provider_logout(
                        Arc::clone(&seam),
                        server,
                        headers,
                        extensions,
                        body,
                    )
                };
                // Counted only where it is not believed: all come from the provider's address, and
                // none may be missed.
                logouts = logouts.route(&logout, post(told));
            }
        }
        Router::new()
            .route("/authorize", get(authorize::authorize))
            .route(
                "/consent",
                post(consent::consent).layer(DefaultBodyLimit::max(CONSENT_FORM_BYTES_MAX)),
            )
            .merge(callbacks)
            .merge(forms.layer(DefaultBodyLimit::max(FORM_BYTES_MAX)))
            .route_layer(from_fn_with_state(Arc::clone(self), limits::pages))
            .merge(logouts.layer(DefaultBodyLimit::max(FORM_BYTES_MAX)))
            .with_state(Arc::clone(self))
    }

    /// All endpoints a client calls itself, possibly from a script in a page.
    pub fn client_routes(self: &Arc<Self>) -> Router {
        let forms = Router::new()
            .route("/token", post(token::token))
            .route("/revoke", post(revoke::revoke))
            .route("/introspect", post(introspect::introspect))
            .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
            .route_layer(from_fn_with_state(Arc::clone(self), limits::calls));
        let mut routes = metadata::routes(&self.settings).merge(forms);
        if !matches!(self.settings.registration, Registration::Off) {
            routes = routes.route(
                "/register",
                post(register::register).layer(DefaultBodyLimit::max(REGISTRATION_BYTES_MAX)),
            );
        }
        routes.with_state(Arc::clone(self))
    }

    /// Whether this person may have what they were granted before, by the conditions of the provider that
    /// they came from. Of one that is not among the settings any more, those alone stay for whom it may
    /// vouch.
    pub fn admits(&self, identity: &Identity) -> bool {
        self.providers.admit(identity)
            || (self.providers.of_issuer(&identity.issuer).is_none()
                && self.settings.id_jag_issuers.contains(&identity.issuer))
    }
}

/// Whose word counts by these settings.
fn vouching(settings: &Settings, clock: &Arc<dyn Clock>) -> IdJagIssuers {
    IdJagIssuers::new(&settings.id_jag_issuers, clock).keeping(settings.id_jag_claims.clone())
}

/// Tells a provider with pages of its own whether a request comes from the browser that approved
/// the login.
#[derive(Debug, Clone)]
pub struct BrowserBinding {
    cookies: Cookies,
}

impl BrowserBinding {
    /// The binding of the authorization server with this issuer over this store.
    ///
    /// # Errors
    /// When the store cannot say which instance this is.
    pub async fn new(issuer: &Issuer, store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self { cookies: Cookies::new(issuer, &store.instance_id().await?) })
    }
}

impl LoginBinding for BrowserBinding {
    fn is_bound(&self, headers: &HeaderMap, login_state: &Secret, browser: &SecretHash) -> bool {
        self.cookies.binding(headers, login_state).is_some_and(|value| value.matches(browser))
    }
}
