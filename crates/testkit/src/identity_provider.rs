//! An `OpenID` provider on a loopback port: login form, SSO cookie, keys that rotate, request
//! counters, and switches for everything a provider can do wrong.
//!
//! It signs with `aws-lc-rs` and writes its JWTs by hand, so that it shares no code with what
//! checks them.

mod keys;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::StreamExt as _;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, DATE, LOCATION, SET_COOKIE,
};
use http::{HeaderMap, StatusCode, Uri};
use sekisho::clock::{Clock, Timestamp};
use sekisho::identity_provider::oidc::{OidcProvider, OidcSettings};
use sekisho::principal::{Claims, Identity};
use sekisho_protocol::Secret;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use self::keys::Keys;

/// The client that is registered, as at a Keycloak of the first kind.
pub const CLIENT_ID: &str = "mcp";

/// Its secret; with signs that must be encoded before they go into a header (RFC 6749 §2.3.1).
pub const CLIENT_SECRET: &str = "fake secret: 100% +&=";

/// How long ID tokens live, in seconds.
const ID_TOKEN_SECONDS: i64 = 300;

/// How long access tokens live, in seconds.
pub const ACCESS_TOKEN_SECONDS: i64 = 300;

/// How long logout tokens live, in seconds.
const LOGOUT_TOKEN_SECONDS: i64 = 120;

/// Longer than the slowest machine takes; tests of slowness set their own.
const PATIENCE: Duration = Duration::from_secs(60);

const SSO_COOKIE: &str = "fake_idp_session";

/// An address of the provider whose requests are counted, and which can be in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/.well-known/openid-configuration`
    Metadata,
    /// Where browsers are sent.
    Authorize,
    /// Where the login form goes.
    Login,
    /// Where codes are traded.
    Token,
    /// The public keys.
    Keys,
    /// Where tokens are given back.
    Revocation,
    /// Where resource servers ask about tokens.
    Introspect,
    /// Where more is said of a person; in the metadata only if somebody writes it there.
    Userinfo,
    /// An address that nothing should ever ask for.
    Canary,
}

/// What an endpoint does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Answers with this status and a page.
    Status(u16),
    /// Keeps the connection open and says nothing, for half a minute at most.
    Silence,
    /// Sends the first byte of an answer, then nothing, for half a minute at most.
    Stalls,
    /// Answers 200 with something that is not JSON.
    Junk,
    /// Answers 200 with JSON that is not what was asked for.
    OtherJson,
    /// Answers rightly, behind 3 MiB of space.
    Huge,
    /// Sends the caller to the canary.
    Redirect,
}

/// How ID tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signing {
    /// ECDSA on P-256.
    #[default]
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// RSA, PKCS #1 v1.5.
    Rs256,
    /// The same with SHA-512.
    Rs512,
    /// RSA-PSS.
    Ps256,
    /// Ed25519.
    EdDsa,
    /// `alg: none`, no signature.
    None,
    /// `alg: HS256`, with the published RSA key as the shared secret.
    HmacWithPublicKey,
    /// ES256 with a key that is not published, under the published name.
    ForeignKey,
    /// RS256 with a key that is not published, under the published name.
    ForeignRsaKey,
    /// ES256, all bytes zero (CVE-2022-21449).
    ZeroSignature,
    /// ES256 over something else.
    OtherSignature,
}

/// What the answer to the callback says of its sender (RFC 9207).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallbackIss {
    /// The issuer.
    #[default]
    Right,
    /// Another issuer.
    Wrong,
    /// Nothing.
    Absent,
    /// The issuer, twice.
    Twice,
}

/// What the provider does wrong. All off by default.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Members of the metadata to replace; null removes.
    pub metadata: Map<String, Value>,
    /// Claims of a token to replace; null removes.
    pub claims: Map<String, Value>,
    /// Members of a token's header to replace; null removes.
    pub header: Map<String, Value>,
    /// Signs each ID token under a name that no key has, a new one each time.
    pub made_up_kid: bool,
    /// Members of the token endpoint's answer to replace; null removes.
    pub answer: Map<String, Value>,
    /// Members of every published key to replace; null removes.
    pub keys: Map<String, Value>,
    /// What the userinfo endpoint says beside `sub`; null removes.
    pub userinfo: Map<String, Value>,
    /// How ID tokens are signed.
    pub signing: Signing,
    /// What the callback says of its sender.
    pub callback_iss: CallbackIss,
    /// Answers every authorization request with this error.
    pub authorize_error: Option<&'static str>,
    /// Answers every code with this status and error.
    pub token_error: Option<(u16, &'static str)>,
    /// Does not know the redirect URI of anybody.
    pub knows_no_redirect_uri: bool,
    /// What every answer says of the time instead of the right one (RFC 9110 §6.6.1).
    pub date: Option<&'static str>,
    /// Endpoints in trouble.
    pub trouble: HashMap<Endpoint, Trouble>,
}

impl Faults {
    /// Replaces a member of the metadata.
    pub fn metadata(&mut self, name: &str, value: impl Into<Value>) {
        self.metadata.insert(name.into(), value.into());
    }

    /// Replaces a claim.
    pub fn claim(&mut self, name: &str, value: impl Into<Value>) {
        self.claims.insert(name.into(), value.into());
    }

    /// Replaces a member of the ID token's header.
    pub fn header(&mut self, name: &str, value: impl Into<Value>) {
        self.header.insert(name.into(), value.into());
    }

    /// Replaces a member of the token endpoint's answer.
    pub fn answer(&mut self, name: &str, value: impl Into<Value>) {
        self.answer.insert(name.into(), value.into());
    }

    /// Says where more is said of people, and what.
    pub fn say_at_userinfo(&mut self, issuer: &str, claims: Map<String, Value>) {
        self.metadata("userinfo_endpoint", format!("{issuer}/userinfo"));
        self.userinfo = claims;
    }

    /// Replaces a member of every published key.
    pub fn key(&mut self, name: &str, value: impl Into<Value>) {
        self.keys.insert(name.into(), value.into());
    }

    /// Puts an endpoint in trouble.
    pub fn trouble(&mut self, endpoint: Endpoint, trouble: Trouble) {
        self.trouble.insert(endpoint, trouble);
    }
}

/// A running provider; it stops when dropped.
pub struct FakeIdentityProvider {
    inside: Arc<Inside>,
    server: JoinHandle<()>,
    browser: reqwest::Client,
}

/// A browser that came back from the provider.
#[derive(Debug, Clone)]
pub struct Callback {
    /// Where the provider sent it.
    pub url: Url,
}

struct Inside {
    issuer: String,
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
    faults: Mutex<Faults>,
    codes: Mutex<HashMap<String, IssuedCode>>,
    /// By the one refresh token that each session has at this moment: the person.
    sessions: Mutex<HashMap<String, String>>,
    /// What is answered about each opaque access token.
    opaque: Mutex<HashMap<String, Value>>,
    /// Who got the last access token.
    last_person: Mutex<String>,
    requests: Mutex<HashMap<Endpoint, u64>>,
    serial: AtomicU64,
}

/// What a code stands for.
struct IssuedCode {
    person: String,
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
}

type Parameters = HashMap<String, String>;

impl FakeIdentityProvider {
    /// A provider whose tokens are dated by `clock`.
    pub async fn start(clock: Arc<dyn Clock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Inside {
            issuer: format!("http://{address}/realms/test"),
            clock,
            keys: Mutex::new(Keys::generate("1")),
            faults: Mutex::default(),
            codes: Mutex::default(),
            sessions: Mutex::default(),
            opaque: Mutex::default(),
            last_person: Mutex::default(),
            requests: Mutex::default(),
            serial: AtomicU64::new(1),
        });
        let app = routes(&inside);
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        // Plain http needs no certificates, and reading those of the system takes a while.
        let browser = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([])
            .build()
            .unwrap();
        Self { inside, server, browser }
    }

    /// The issuer, which has a path as a Keycloak realm's does.
    pub fn issuer(&self) -> &str {
        &self.inside.issuer
    }

    /// The settings under which we are registered here.
    pub fn settings(&self, public_url: &str) -> OidcSettings {
        OidcSettings::keycloak(
            self.issuer(),
            CLIENT_ID,
            Some(Secret::new(CLIENT_SECRET)),
            format!("{public_url}/auth/callback"),
        )
    }

    /// Our side of it, with patience for a busy machine.
    pub fn provider(&self, public_url: &str) -> OidcProvider {
        OidcProvider::new(self.settings(public_url), Arc::clone(&self.inside.clock))
            .unwrap()
            .with_patience(PATIENCE)
    }

    /// How the provider knows a person: anybody may log in, with [`password_of`] their name.
    pub fn identity(&self, name: &str) -> Identity {
        Identity {
            issuer: self.issuer().to_owned(),
            subject: subject_of(name),
            name: Some(name.to_owned()),
            email: Some(format!("{name}@example.com")),
            email_verified: true,
            claims: Claims::default(),
        }
    }

    /// How many requests an endpoint got, in trouble or not.
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        locked(&self.inside.requests).get(&endpoint).copied().unwrap_or(0)
    }

    /// How many requests the whole provider got.
    pub fn requests_in_all(&self) -> u64 {
        locked(&self.inside.requests).values().sum()
    }

    /// An address that nothing should ever ask for.
    pub fn canary(&self) -> String {
        format!("{}/canary", self.issuer())
    }

    /// An access token for `audience`, as Keycloak makes them; wrong in what [`Faults::claims`],
    /// [`Faults::header`] and [`Faults::signing`] say.
    pub fn access_token(&self, person: &str, audience: &str) -> String {
        let claims = self.inside.access_claims(person, audience);
        self.inside.sign(&claims)
    }

    /// An ID token as a client gets it, wrong in the same.
    pub fn id_token(&self, person: &str) -> String {
        self.inside.id_token(person, None)
    }

    /// A token that means nothing by itself and stands for the same, for
    /// [`Endpoint::Introspect`].
    pub fn opaque_token(&self, person: &str, audience: &str) -> String {
        let token = format!("opaque-{}", self.inside.next());
        let mut claims = self.inside.access_claims(person, audience);
        claims["active"] = json!(true);
        locked(&self.inside.opaque).insert(token.clone(), claims);
        token
    }

    /// Takes all opaque tokens back.
    pub fn revoke_opaque_tokens(&self) {
        locked(&self.inside.opaque).clear();
    }

    /// What the provider posts to us when a person was logged out; wrong in what
    /// [`Faults::claims`], [`Faults::header`] and [`Faults::signing`] say.
    pub fn logout_token(&self, person: &str) -> String {
        self.inside.logout_token(person)
    }

    /// A word to the authorization server `audience` that a client may act for a person at `resource`
    /// (ID-JAG); wrong in the same.
    pub fn id_jag(&self, person: &str, client: &str, audience: &str, resource: &str) -> String {
        let now = Timestamp::unix_seconds(self.inside.clock.now());
        let mut claims = json!({
            "iss": self.issuer(),
            "sub": subject_of(person),
            "aud": audience,
            "client_id": client,
            "resource": resource,
            "scope": "fortune",
            "jti": format!("id-jag-{}", self.inside.next()),
            "iat": now,
            "exp": now + ACCESS_TOKEN_SECONDS,
            "email": format!("{person}@example.com"),
        });
        let faults = locked(&self.inside.faults);
        replace(&mut claims, &faults.claims);
        let mut header = Map::from_iter([("typ".to_owned(), json!("oauth-id-jag+jwt"))]);
        header.extend(faults.header.clone());
        locked(&self.inside.keys).sign(faults.signing, &header, &claims)
    }

    /// Ends all sessions of a person, and tells nobody.
    pub fn end_sessions_of(&self, person: &str) {
        locked(&self.inside.sessions).retain(|_, whose| whose != person);
    }

    /// Does something wrong from now on.
    pub fn misbehave(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut locked(&self.inside.faults));
    }

    /// Does everything right again.
    pub fn behave(&self) {
        *locked(&self.inside.faults) = Faults::default();
    }

    /// Signs with new keys from now on, and publishes no old one.
    pub fn rotate_keys(&self) {
        let name = self.inside.serial.fetch_add(1, Ordering::SeqCst);
        *locked(&self.inside.keys) = Keys::generate(&format!("rotated-{name}"));
    }

    /// Lets a person log in by the form, in a browser without cookies.
    pub async fn log_in(&self, authorization_url: &str, name: &str) -> Callback {
        let browser = &self.browser;
        let shown = browser.get(authorization_url).send().await.unwrap();
        let answer = if shown.status().is_redirection() {
            shown
        } else {
            let query = Url::parse(authorization_url).unwrap();
            let form = [
                ("request", query.query().unwrap_or_default()),
                ("username", name),
                ("password", &password_of(name)),
            ];
            browser.post(format!("{}/login", self.issuer())).form(&form).send().await.unwrap()
        };
        assert!(answer.status().is_redirection(), "the login failed: {}", answer.status());
        let location = answer.headers().get(LOCATION).unwrap().to_str().unwrap();
        Callback { url: Url::parse(location).unwrap() }
    }
}

impl Drop for FakeIdentityProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for FakeIdentityProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeIdentityProvider")
            .field("issuer", &self.issuer())
            .finish_non_exhaustive()
    }
}

impl Callback {
    /// A parameter of the callback, if it came exactly once.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut values = self.url.query_pairs().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.into_owned());
        value.filter(|_| values.next().is_none())
    }

    /// The code.
    pub fn code(&self) -> Secret {
        Secret::new(self.parameter("code").expect("the callback has a code"))
    }
}

/// The password of a person, whoever it is.
pub fn password_of(name: &str) -> String {
    format!("{name}-password")
}

/// The stable id of a person.
pub fn subject_of(name: &str) -> String {
    format!("f:1b7c:{name}")
}

/// The name of a person's session.
pub fn session_of(name: &str) -> String {
    format!("session-of-{name}")
}

fn routes(inside: &Arc<Inside>) -> Router {
    let at = |endpoint: Endpoint, route: axum::routing::MethodRouter<Arc<Inside>>| {
        route.layer(from_fn_with_state((Arc::clone(inside), endpoint), count_or_fail))
    };
    let realm = Router::new()
        .route("/.well-known/openid-configuration", at(Endpoint::Metadata, get(metadata)))
        .route("/authorize", at(Endpoint::Authorize, get(authorize)))
        .route("/login", at(Endpoint::Login, post(login)))
        .route("/token", at(Endpoint::Token, post(token)))
        .route("/keys", at(Endpoint::Keys, get(published_keys)))
        .route("/revoke", at(Endpoint::Revocation, post(revoke)))
        .route("/introspect", at(Endpoint::Introspect, post(introspect)))
        .route("/userinfo", at(Endpoint::Userinfo, get(userinfo)))
        .route("/canary", at(Endpoint::Canary, any(async || StatusCode::NO_CONTENT)));
    Router::new().nest("/realms/test", realm).with_state(Arc::clone(inside))
}

/// Counts a request, and answers in the endpoint's stead if it is in trouble.
async fn count_or_fail(
    State((inside, endpoint)): State<(Arc<Inside>, Endpoint)>,
    request: Request,
    next: Next,
) -> Response {
    *locked(&inside.requests).entry(endpoint).or_default() += 1;
    let (trouble, date) = {
        let faults = locked(&inside.faults);
        (faults.trouble.get(&endpoint).copied(), faults.date)
    };
    let mut answer = answer_or_fail(&inside, trouble, request, next).await;
    if let Some(date) = date {
        answer.headers_mut().insert(DATE, date.parse().unwrap());
    }
    answer
}

async fn answer_or_fail(
    inside: &Arc<Inside>,
    trouble: Option<Trouble>,
    request: Request,
    next: Next,
) -> Response {
    match trouble {
        None => next.run(request).await,
        Some(Trouble::Status(status)) => {
            (StatusCode::from_u16(status).unwrap(), Html("<p>trouble</p>")).into_response()
        }
        Some(Trouble::Silence) => {
            a_while().await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Some(Trouble::Stalls) => {
            let body = futures::stream::unfold(0, async |part: u8| {
                if part > 0 {
                    a_while().await;
                }
                (part < 2).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"{")), part + 1))
            });
            Body::from_stream(body).into_response()
        }
        Some(Trouble::Junk) => Html("<html>Please try again</html>").into_response(),
        Some(Trouble::OtherJson) => json_answer(&json!({ "hello": ["world"] })),
        Some(Trouble::Huge) => {
            let (parts, answer) = next.run(request).await.into_parts();
            let space = || Ok::<_, axum::Error>(Bytes::from(vec![b' '; 64 * 1024]));
            let padding = futures::stream::iter((0..48).map(move |_| space()));
            Response::from_parts(parts, Body::from_stream(padding.chain(answer.into_data_stream())))
        }
        Some(Trouble::Redirect) => {
            let canary = format!("{}/canary", inside.issuer);
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, canary)]).into_response()
        }
    }
}

/// Longer than anybody should wait; ends by itself.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}

async fn metadata(State(inside): State<Arc<Inside>>) -> Response {
    let at = |path: &str| format!("{}{path}", inside.issuer);
    let mut document = json!({
        "issuer": inside.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"),
        "introspection_endpoint": at("/introspect"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "email", "profile", "offline_access"],
        "end_session_endpoint": at("/logout"),
        "revocation_endpoint": at("/revoke"),
        "authorization_response_iss_parameter_supported": true,
    });
    replace(&mut document, &locked(&inside.faults).metadata);
    json_answer(&document)
}

async fn authorize(State(inside): State<Arc<Inside>>, uri: Uri, headers: HeaderMap) -> Response {
    let query = uri.query().unwrap_or_default();
    let asked = parse(query.as_bytes());
    if let Err(reason) = check_request(&asked) {
        return (StatusCode::BAD_REQUEST, reason).into_response();
    }
    let (error, knows_no_redirect_uri) = {
        let faults = locked(&inside.faults);
        (faults.authorize_error, faults.knows_no_redirect_uri)
    };
    if knows_no_redirect_uri {
        let page = Html("<p>Invalid parameter: redirect_uri</p>");
        return (StatusCode::BAD_REQUEST, page).into_response();
    }
    if let Some(error) = error {
        return inside.send_back(&asked, ("error", error));
    }
    let wants_no_page = asked.get("prompt").is_some_and(|prompt| prompt == "none");
    match person_with_session(&headers) {
        None if wants_no_page => inside.send_back(&asked, ("error", "login_required")),
        Some(person) => inside.send_back_with_code(&asked, &person),
        None => Html(login_form(&inside.issuer, query, "")).into_response(),
    }
}

async fn login(State(inside): State<Arc<Inside>>, body: Bytes) -> Response {
    let form = parse(&body);
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let (query, person) = (field("request"), field("username"));
    if person.is_empty() || field("password") != password_of(person) {
        return Html(login_form(&inside.issuer, query, "Invalid username or password."))
            .into_response();
    }
    let cookie = format!("{SSO_COOKIE}={person}; Path=/; HttpOnly; SameSite=Lax");
    let mut response = inside.send_back_with_code(&parse(query.as_bytes()), person);
    response.headers_mut().insert(SET_COOKIE, cookie.parse().unwrap());
    response
}

async fn token(State(inside): State<Arc<Inside>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = parse(&body);
    let error = locked(&inside.faults).token_error;
    if let Some((status, error)) = error {
        return token_error(status, error);
    }
    if let Err(error) = check_client(&headers, &form) {
        return token_error(401, error);
    }
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let (person, nonce) = match field("grant_type") {
        "authorization_code" => {
            let Some(code) = locked(&inside.codes).remove(field("code")) else {
                return token_error(400, "invalid_grant");
            };
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
            if challenge != code.challenge || field("redirect_uri") != code.redirect_uri {
                return token_error(400, "invalid_grant");
            }
            (code.person, code.nonce)
        }
        // Each is good for once.
        "refresh_token" => match locked(&inside.sessions).remove(field("refresh_token")) {
            Some(person) => (person, None),
            None => return token_error(400, "invalid_grant"),
        },
        "urn:ietf:params:oauth:grant-type:token-exchange" => return exchange(&inside, &body),
        _ => return token_error(400, "unsupported_grant_type"),
    };
    locked(&inside.last_person).clone_from(&person);
    let refresh_token = format!("provider-refresh-{}", inside.next());
    locked(&inside.sessions).insert(refresh_token.clone(), person.clone());
    let mut answer = json!({
        "access_token": format!("provider-access-{}", inside.next()),
        "refresh_token": refresh_token,
        "token_type": "Bearer",
        "expires_in": 60,
        "id_token": inside.id_token(&person, nonce.as_deref()),
    });
    replace(&mut answer, &locked(&inside.faults).answer);
    json_answer(&answer)
}

/// RFC 8693, for access tokens of ours: what comes back says for whom and what for.
fn exchange(inside: &Inside, body: &[u8]) -> Response {
    const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
    let fields: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    let all = |name: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(field, _)| field == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    let is_ours = matches!(all("subject_token")[..], [one] if one.starts_with("provider-access-"));
    let is_typed = ["subject_token_type", "requested_token_type"]
        .iter()
        .all(|name| all(name) == [ACCESS_TOKEN]);
    if !is_ours || !is_typed {
        return token_error(400, "invalid_request");
    }
    let token = format!("exchanged/{}/{}", all("audience").join("+"), all("scope").join("+"));
    let mut answer = json!({
        "access_token": token.replace(' ', "+"),
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 300,
    });
    replace(&mut answer, &locked(&inside.faults).answer);
    json_answer(&answer)
}

/// RFC 7009: a token that nobody knows is as good as revoked.
async fn revoke(State(inside): State<Arc<Inside>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = parse(&body);
    if let Err(error) = check_client(&headers, &form) {
        return token_error(401, error);
    }
    if form.get("token_type_hint").map(String::as_str) != Some("refresh_token") {
        return token_error(400, "unsupported_token_type");
    }
    locked(&inside.sessions).remove(form.get("token").map_or("", String::as_str));
    StatusCode::OK.into_response()
}

async fn introspect(
    State(inside): State<Arc<Inside>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = parse(&body);
    if check_client(&headers, &form).is_err() {
        return token_error(401, "invalid_client");
    }
    let known = form.get("token").and_then(|token| locked(&inside.opaque).get(token).cloned());
    json_answer(&known.unwrap_or_else(|| json!({ "active": false })))
}

/// Core §5.3, for every access token of ours; who last got one is whom it is about.
async fn userinfo(State(inside): State<Arc<Inside>>, headers: HeaderMap) -> Response {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !shown.is_some_and(|value| value.starts_with("Bearer provider-access-")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let person = locked(&inside.last_person).clone();
    let mut document = json!({ "sub": subject_of(&person) });
    replace(&mut document, &locked(&inside.faults).userinfo);
    json_answer(&document)
}

async fn published_keys(State(inside): State<Arc<Inside>>) -> Response {
    let mut document = locked(&inside.keys).published();
    for key in document["keys"].as_array_mut().unwrap() {
        replace(key, &locked(&inside.faults).keys);
    }
    json_answer(&document)
}

impl Inside {
    fn next(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::SeqCst)
    }

    fn send_back_with_code(&self, asked: &Parameters, person: &str) -> Response {
        let code = format!("provider-code-{}", self.next());
        let field = |name: &str| asked.get(name).cloned();
        let issued = IssuedCode {
            person: person.to_owned(),
            nonce: field("nonce"),
            challenge: field("code_challenge").unwrap_or_default(),
            redirect_uri: field("redirect_uri").unwrap_or_default(),
        };
        locked(&self.codes).insert(code.clone(), issued);
        self.send_back(asked, ("code", &code))
    }

    /// The way back to the client, with `state` and `iss`.
    fn send_back(&self, asked: &Parameters, outcome: (&str, &str)) -> Response {
        let Ok(mut url) = Url::parse(&asked["redirect_uri"]) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        url.query_pairs_mut().append_pair(outcome.0, outcome.1);
        if let Some(state) = asked.get("state") {
            url.query_pairs_mut().append_pair("state", state);
        }
        let iss = locked(&self.faults).callback_iss;
        let issuers: &[&str] = match iss {
            CallbackIss::Right => &[&self.issuer],
            CallbackIss::Wrong => &["https://other.example"],
            CallbackIss::Absent => &[],
            CallbackIss::Twice => &[&self.issuer, &self.issuer],
        };
        for issuer in issuers {
            url.query_pairs_mut().append_pair("iss", issuer);
        }
        (StatusCode::FOUND, [(LOCATION, url.to_string())]).into_response()
    }

    fn access_claims(&self, person: &str, audience: &str) -> Value {
        let now = Timestamp::unix_seconds(self.clock.now());
        let mut claims = json!({
            "iss": self.issuer,
            "sub": subject_of(person),
            "aud": [audience, "account"],
            "azp": CLIENT_ID,
            "exp": now + ACCESS_TOKEN_SECONDS,
            "iat": now,
            "jti": format!("access-{}", self.next()),
            "typ": "Bearer",
            "scope": "openid fortune email",
            "sid": session_of(person),
            "preferred_username": person,
            "email": format!("{person}@example.com"),
            "email_verified": true,
        });
        replace(&mut claims, &locked(&self.faults).claims);
        claims
    }

    fn id_token(&self, person: &str, nonce: Option<&str>) -> String {
        let now = Timestamp::unix_seconds(self.clock.now());
        let mut claims = json!({
            "iss": self.issuer,
            "sub": subject_of(person),
            "aud": CLIENT_ID,
            "azp": CLIENT_ID,
            "exp": now + ID_TOKEN_SECONDS,
            "iat": now,
            "auth_time": now,
            "typ": "ID",
            "nonce": nonce,
            "sid": session_of(person),
            "name": person,
            "preferred_username": person,
            "email": format!("{person}@example.com"),
            "email_verified": true,
        });
        let faults = locked(&self.faults);
        replace(&mut claims, &faults.claims);
        drop(faults);
        self.sign(&claims)
    }

    /// What is posted to us when a person was logged out (Back-Channel Logout §2.4).
    fn logout_token(&self, person: &str) -> String {
        let now = Timestamp::unix_seconds(self.clock.now());
        let mut claims = json!({
            "iss": self.issuer,
            "sub": subject_of(person),
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + LOGOUT_TOKEN_SECONDS,
            "jti": format!("logout-{}", self.next()),
            "sid": session_of(person),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        let faults = locked(&self.faults);
        replace(&mut claims, &faults.claims);
        drop(faults);
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> String {
        let faults = locked(&self.faults);
        let mut header = faults.header.clone();
        if faults.made_up_kid {
            header.insert("kid".into(), json!(format!("made-up-{}", self.next())));
        }
        locked(&self.keys).sign(faults.signing, &header, claims)
    }
}

fn check_request(asked: &Parameters) -> Result<(), &'static str> {
    let has = |name: &str, value: &str| asked.get(name).is_some_and(|have| have == value);
    let is_there = |name: &str| asked.get(name).is_some_and(|value| !value.is_empty());
    if !has("client_id", CLIENT_ID) || !is_there("redirect_uri") {
        return Err("unknown client");
    }
    if !has("response_type", "code") || !asked["scope"].split(' ').any(|one| one == "openid") {
        return Err("not an OpenID code flow");
    }
    if !has("code_challenge_method", "S256") || asked["code_challenge"].len() != 43 {
        return Err("no PKCE");
    }
    Ok(())
}

/// Accepts Basic, the secret in the form, and for a public client no secret.
fn check_client(headers: &HeaderMap, form: &Parameters) -> Result<(), &'static str> {
    let basic = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let (id, secret) = match basic {
        Some(basic) if !form.contains_key("client_secret") => {
            let encoded = basic.strip_prefix("Basic ").ok_or("invalid_client")?;
            let decoded = STANDARD.decode(encoded).map_err(|_| "invalid_client")?;
            let decoded = String::from_utf8(decoded).map_err(|_| "invalid_client")?;
            let (id, secret) = decoded.split_once(':').ok_or("invalid_client")?;
            (form_decoded(id), Some(form_decoded(secret)))
        }
        Some(_) => return Err("invalid_request"),
        None => {
            (form.get("client_id").cloned().unwrap_or_default(), form.get("client_secret").cloned())
        }
    };
    let is_right = secret.is_none_or(|secret| secret == CLIENT_SECRET);
    if id == CLIENT_ID && is_right { Ok(()) } else { Err("invalid_client") }
}

fn form_decoded(text: &str) -> String {
    form_urlencoded::parse(format!("x={text}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn token_error(status: u16, error: &str) -> Response {
    let mut response = json_answer(&json!({
        "error": error,
        "error_description": "a description that nobody should repeat",
    }));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn json_answer(value: &Value) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (headers, value.to_string()).into_response()
}

/// Replaces members; null removes.
fn replace(object: &mut Value, replacements: &Map<String, Value>) {
    let object = object.as_object_mut().unwrap();
    for (name, value) in replacements {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
}

fn person_with_session(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    cookies
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SSO_COOKIE)
        .map(|(_, person)| person.to_owned())
}

fn login_form(issuer: &str, query: &str, problem: &str) -> String {
    let query = query.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    format!(
        "<!doctype html><title>Log in</title><p>{problem}</p>\
         <form action=\"{issuer}/login\" method=\"post\">\
         <input type=\"hidden\" name=\"request\" value=\"{query}\">\
         <input name=\"username\"><input name=\"password\" type=\"password\">\
         <button>Log in</button></form>"
    )
}

fn parse(text: &[u8]) -> Parameters {
    form_urlencoded::parse(text).into_owned().collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
