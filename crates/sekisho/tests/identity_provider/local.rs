//! Accounts of our own: the login page, the limits, and what a code is worth.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Method, Request};
use sekisho::clock::Clock;
use sekisho::front::ClientAddress;
use sekisho::identity_provider::local::accounts::{self, AccountError, UserName};
use sekisho::identity_provider::local::{self, LOGIN_FORM_BYTES_MAX, LocalProvider, LoginBinding};
use sekisho::identity_provider::{IdentityProvider, LoginAttempt, ProviderError};
use sekisho::seal::{Sealed, Sealer};
use sekisho::store::{LocalUser, LoginBegun, LoginRecord, MemoryStore, Store, TableLimits};
use sekisho_protocol::oauth::Issuer;
use sekisho_protocol::{Secret, SecretHash};
use testkit::{Answer, App, ManualClock};

use crate::{Outcome, attempt, outcome};

const PUBLIC_URL: &str = "http://localhost:8000";
const PASSWORD: &str = "correct horse";
/// Hashing takes its time on purpose, so it is done once for all scenes.
static PASSWORD_HASH: LazyLock<String> =
    LazyLock::new(|| accounts::hash_password(&Secret::new(PASSWORD)).unwrap());

const BINDING: &str = "x-binding";

/// Binds by a header that holds what the cookie would.
#[derive(Debug)]
struct HeaderBinding;

impl LoginBinding for HeaderBinding {
    fn is_bound(&self, headers: &HeaderMap, _: &Secret, browser: &SecretHash) -> bool {
        let value = headers.get(BINDING).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| Secret::new(value).matches(browser))
    }
}

/// The provider with the accounts `alice` and `bob`.
struct Scene {
    app: App,
    provider: Arc<LocalProvider>,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
}

type Header = (&'static str, &'static str);

/// Someone at a login page: from where, in which browser, with what headers.
#[derive(Clone)]
struct Visitor {
    address: IpAddr,
    browser: &'static str,
    headers: Vec<Header>,
}

fn visitor() -> Visitor {
    let form = ("content-type", "application/x-www-form-urlencoded");
    Visitor { address: [192, 0, 2, 1].into(), browser: "browser", headers: vec![form] }
}

impl Visitor {
    fn from(self, address: &str) -> Self {
        Self { address: address.parse().unwrap(), ..self }
    }

    fn sending(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.retain(|(have, _)| *have != name);
        self.headers.push((name, value));
        self
    }
}

impl Scene {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(TableLimits::default()));
        for name in ["alice", "bob"] {
            let user = LocalUser {
                name: name.to_owned(),
                password_hash: PASSWORD_HASH.clone(),
                created_at: clock.now(),
            };
            assert!(store.add_user(&user).await.unwrap());
        }
        let provider = Arc::new(LocalProvider::new(
            Issuer::parse(PUBLIC_URL).unwrap(),
            Arc::clone(&store),
            Sealer::ephemeral(),
            Arc::clone(&clock) as _,
        ));
        let app = local::routes(Arc::clone(&provider), Arc::new(HeaderBinding));
        Self { app, provider, store, clock }
    }

    /// A login on its way, in the browser that everybody here has.
    async fn begin(&self) -> LoginAttempt {
        let attempt = attempt();
        let login = LoginRecord {
            login_state: attempt.login_state.hash(),
            browser: Secret::new("browser").hash(),
            sealed: Sealed::from_bytes(Vec::new()),
            expires_at: self.clock.now().plus(Duration::from_mins(10)),
        };
        assert_eq!(self.store.begin_login(&login).await.unwrap(), LoginBegun::Begun);
        attempt
    }

    async fn send(&self, visitor: &Visitor, method: Method, url: &str, body: String) -> Answer {
        let mut request =
            Request::builder().method(method).uri(url).header(BINDING, visitor.browser);
        for (name, value) in &visitor.headers {
            request = request.header(*name, *value);
        }
        let request = request.extension(ClientAddress(visitor.address)).body(Body::from(body));
        Answer::to(&self.app, request.unwrap()).await
    }

    async fn open(&self, visitor: &Visitor, url: &str) -> Answer {
        self.send(visitor, Method::GET, url, String::new()).await
    }

    async fn post(&self, visitor: &Visitor, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send(visitor, Method::POST, "/login", body).await
    }

    async fn log_in(&self, visitor: &Visitor, state: &Secret, name: &str, word: &str) -> Answer {
        let fields = [("state", state.reveal()), ("username", name), ("password", word)];
        self.post(visitor, &fields).await
    }

    /// A code of a fresh login of `name`.
    async fn code(&self, name: &str) -> (LoginAttempt, Secret) {
        let attempt = self.begin().await;
        let answer = self.log_in(&visitor(), &attempt.login_state, name, PASSWORD).await;
        let code = answer.parameter("code").unwrap_or_else(|| panic!("no code: {answer:?}"));
        (attempt, Secret::new(code))
    }
}

#[tokio::test]
async fn the_right_password_leads_back_to_the_callback_and_to_the_person() {
    let scene = Scene::new().await;
    let attempt = scene.begin().await;
    let url = scene.provider.authorization_url(&attempt).await.unwrap();
    let path = url.strip_prefix(PUBLIC_URL).unwrap();
    let page = scene.open(&visitor(), path).await;
    assert!(page.is_page(200), "{page:?}");
    assert_eq!(page.input("state").as_deref(), Some(attempt.login_state.reveal()));
    assert!(page.body.contains("name=\"username\"") && page.body.contains("name=\"password\""));

    let answer = scene.log_in(&visitor(), &attempt.login_state, " alice ", PASSWORD).await;
    assert_eq!(answer.status, 303);
    assert!(answer.location().unwrap().starts_with("http://localhost:8000/auth/callback?code="));
    assert_eq!(answer.parameter("state").as_deref(), Some(attempt.login_state.reveal()));
    assert!(scene.provider.is_answer_from_us(None).await.unwrap());
    assert!(!scene.provider.is_answer_from_us(Some("https://other.example")).await.unwrap());

    let code = Secret::new(answer.parameter("code").unwrap());
    assert!(!code.reveal().contains("alice"), "the code says nothing to whoever sees the URL");
    let person = scene.provider.redeem(&code, &attempt).await.unwrap();
    assert_eq!(
        (person.identity.issuer.as_str(), person.identity.subject.as_str()),
        ("local", "alice")
    );
    assert!(person.tokens.is_none());
}

/// A parameter with a NUL has no value: some would read it to there, and others on.
#[tokio::test]
async fn a_name_with_a_nul_is_no_name() {
    let scene = Scene::new().await;
    let attempt = scene.begin().await;
    let from = visitor().from("198.51.100.1");
    let answer = scene.log_in(&from, &attempt.login_state, "alice\0x", PASSWORD).await;
    assert!(answer.is_page(400), "{answer:?}");
}

#[tokio::test]
async fn what_was_wrong_is_not_said() {
    let rows = [
        ("alice", "wrong horse", "the password"),
        ("alice", "", "no password"),
        ("alice", "correct horse ", "a space more"),
        ("alice", "Correct horse", "case"),
        ("Alice", PASSWORD, "another name by case"),
        ("nobody", PASSWORD, "a name that nobody has"),
        ("", PASSWORD, "no name"),
        ("", "", "nothing"),
        (
            "a name far longer than any that an account here could have, as everybody knows",
            "x",
            "a long name",
        ),
    ];
    let scene = Scene::new().await;
    let mut pages = Vec::new();
    for (number, (name, password, reason)) in rows.into_iter().enumerate() {
        let attempt = scene.begin().await;
        let from = visitor().from(&format!("198.51.100.{number}"));
        let answer = scene.log_in(&from, &attempt.login_state, name, password).await;
        assert!(answer.is_page(200), "{reason}: {answer:?}");
        assert!(!answer.body.contains("correct horse"), "{reason}: a password is never echoed");
        let body = answer.body.replace(attempt.login_state.reveal(), "");
        pages.push(body.replace(&format!("value=\"{name}\""), "value=\"\""));
        scene.clock.advance(Duration::from_mins(1));
    }
    let (known, unknown) = (&pages[0], &pages[5]);
    assert_eq!(known, unknown, "a known and an unknown name get the same page");
}

#[tokio::test]
async fn an_account_allows_five_tries_and_then_one_every_twelve_seconds() {
    let scene = Scene::new().await;
    let attempt = scene.begin().await;
    let state = &attempt.login_state;
    let from = |number: u8| visitor().from(&format!("198.51.100.{number}"));
    for _ in 0..5 {
        assert!(scene.log_in(&from(5), state, "alice", "wrong horse").await.is_page(200));
    }
    let sixth = scene.log_in(&from(5), state, "alice", PASSWORD).await;
    assert!(sixth.is_page(429), "even the right password: {sixth:?}");
    assert_eq!(sixth.header("retry-after"), "12");
    let other = scene.log_in(&from(5), state, "bob", PASSWORD).await;
    assert_eq!(other.status, 303, "another account");

    for _ in 0..100 {
        assert!(scene.log_in(&from(5), state, " alice", "wrong horse").await.is_page(429));
    }
    let owner = scene.log_in(&from(7), state, "alice", PASSWORD).await;
    assert_eq!(owner.status, 303, "whoever tries elsewhere does not lock the owner out");
    scene.clock.advance(Duration::from_secs(12));
    let same = scene.log_in(&from(5), state, "alice", PASSWORD).await;
    assert_eq!(same.status, 303, "nor do tries that were refused");
}

#[tokio::test]
async fn a_clock_that_is_set_back_locks_nobody_out() {
    let scene = Scene::new().await;
    let year = Duration::from_hours(365 * 24);
    scene.clock.advance(year);
    let attempt = scene.begin().await;
    let state = &attempt.login_state;
    for _ in 0..5 {
        assert!(scene.log_in(&visitor(), state, "alice", "wrong horse").await.is_page(200));
    }
    scene.clock.set_back(year);
    let at_once = scene.log_in(&visitor(), state, "alice", PASSWORD).await;
    assert!(at_once.is_page(429), "setting the clock forgives nothing: {at_once:?}");
    scene.clock.advance(Duration::from_secs(12));
    let soon = scene.log_in(&visitor(), state, "alice", PASSWORD).await;
    assert_eq!(soon.status, 303, "and what was counted passes as ever");
}

#[tokio::test]
async fn an_account_allows_twenty_tries_from_everywhere() {
    let scene = Scene::new().await;
    let attempt = scene.begin().await;
    let state = &attempt.login_state;
    let from = |number: u8| visitor().from(&format!("198.51.100.{number}"));
    for number in 0..20 {
        assert!(scene.log_in(&from(number), state, "alice", "wrong horse").await.is_page(200));
    }
    let more = scene.log_in(&from(20), state, "alice", PASSWORD).await;
    assert!(more.is_page(429), "{more:?}");
    assert_eq!(more.header("retry-after"), "3");
}

#[tokio::test]
async fn an_address_allows_twenty_tries_whatever_the_account() {
    let scene = Scene::new().await;
    let attempt = scene.begin().await;
    let state = &attempt.login_state;
    let from = |address: &str| visitor().from(address);
    for number in 0..20 {
        let name = format!("nobody-{number}");
        // A /64 belongs to one customer, who may choose any address in it.
        let address = from(&format!("2001:db8::{number:x}"));
        assert!(scene.log_in(&address, state, &name, "wrong horse").await.is_page(200));
    }
    let more = scene.log_in(&from("2001:db8::ffff"), state, "alice", PASSWORD).await;
    assert!(more.is_page(429), "{more:?}");
    assert_eq!(more.header("retry-after"), "3");
    let neighbour = scene.log_in(&from("2001:db8:0:1::1"), state, "alice", PASSWORD).await;
    assert_eq!(neighbour.status, 303, "another network");
}

#[tokio::test]
async fn a_code_is_good_for_its_own_login_for_a_minute() {
    let scene = Scene::new().await;
    let (alices, code) = scene.code("alice").await;
    let other = scene.begin().await;
    let redeem = async |code: &Secret, attempt: &LoginAttempt| {
        outcome(&scene.provider.redeem(code, attempt).await)
    };
    assert_eq!(redeem(&code, &alices).await, Outcome::LoggedIn, "its own");
    assert_eq!(redeem(&code, &other).await, Outcome::Refused, "another login");
    let altered = Secret::new(format!("{}A", code.reveal()));
    assert_eq!(redeem(&altered, &alices).await, Outcome::Refused, "altered");
    for junk in ["", "mcp_0123", "!", &"A".repeat(10_000)] {
        assert_eq!(redeem(&Secret::new(junk), &alices).await, Outcome::Refused, "{junk}");
    }
    scene.clock.advance(Duration::from_secs(59));
    assert_eq!(redeem(&code, &alices).await, Outcome::LoggedIn, "59 s old");
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(redeem(&code, &alices).await, Outcome::Refused, "60 s old");

    let elsewhere = Scene::new().await;
    let (foreign, code) = elsewhere.code("alice").await;
    assert_eq!(redeem(&code, &foreign).await, Outcome::Refused, "sealed with another key");
}

#[tokio::test]
async fn who_was_removed_in_between_is_not_logged_in() {
    let scene = Scene::new().await;
    let (attempt, code) = scene.code("alice").await;
    let alice = UserName::parse("alice").unwrap();
    accounts::remove(scene.store.as_ref(), scene.clock.as_ref(), &alice).await.unwrap();
    let result = scene.provider.redeem(&code, &attempt).await;
    assert!(matches!(result, Err(ProviderError::Refused { .. })), "{result:?}");
}

#[tokio::test]
async fn only_the_browser_that_began_a_login_sees_its_page() {
    let scene = Scene::new().await;
    let attempt = scene.begin().await;
    let state = attempt.login_state.reveal();
    let other = Visitor { browser: "another", ..visitor() };
    let (mine, long) =
        (format!("/login?state={state}"), format!("/login?state={}", "a".repeat(64_000)));
    let doubled = format!("/login?state={state}&state={state}");
    let rows: [(&Visitor, &str, u16, &str); 6] = [
        (&visitor(), &mine, 200, "the right browser"),
        (&other, &mine, 403, "another browser"),
        (&visitor(), "/login", 400, "no state"),
        (&visitor(), "/login?state=unknown", 400, "a state nobody knows"),
        (&visitor(), &doubled, 400, "two states"),
        (&visitor(), &long, 400, "an endless state"),
    ];
    for (visitor, url, status, reason) in rows {
        let answer = scene.open(visitor, url).await;
        assert!(answer.is_page(status), "{reason}: {}", answer.status);
    }
    let stolen = scene.log_in(&other, &attempt.login_state, "mallory", "x").await;
    assert!(stolen.is_page(403), "nor posts its form: {stolen:?}");
    let unknown = scene.log_in(&visitor(), &Secret::new("unknown"), "alice", PASSWORD).await;
    assert!(unknown.is_page(400), "{unknown:?}");
    scene.clock.advance(Duration::from_mins(10));
    assert!(scene.open(&visitor(), &mine).await.is_page(400), "expired");
    let late = scene.log_in(&visitor(), &attempt.login_state, "alice", PASSWORD).await;
    assert!(late.is_page(400), "expired while typing: {late:?}");
}

#[tokio::test]
async fn no_other_site_posts_the_form() {
    let rows: [(&[Header], u16, &str); 8] = [
        (&[], 303, "no browser's headers"),
        (&[("origin", PUBLIC_URL)], 303, "our origin"),
        (&[("sec-fetch-site", "same-origin")], 303, "our page"),
        (&[("sec-fetch-site", "cross-site")], 403, "another site"),
        (&[("sec-fetch-site", "same-site")], 403, "a sibling"),
        (&[("origin", "http://evil.example")], 403, "another origin"),
        (&[("origin", "null")], 403, "an opaque origin"),
        (
            &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8001")],
            403,
            "one lies",
        ),
    ];
    for (headers, status, reason) in rows {
        let scene = Scene::new().await;
        let attempt = scene.begin().await;
        let sender =
            headers.iter().fold(visitor(), |visitor, (name, value)| visitor.sending(name, value));
        let answer = scene.log_in(&sender, &attempt.login_state, "alice", PASSWORD).await;
        assert_eq!(answer.status.as_u16(), status, "{reason}");
    }
}

#[tokio::test]
async fn only_a_small_plain_form_is_read() {
    let scene = Scene::new().await;
    let attempt = scene.begin().await;
    let state = attempt.login_state.reveal();
    let fields = [("state", state), ("username", "alice"), ("password", PASSWORD)];
    let rows = [
        ("application/json", 415, "JSON"),
        ("multipart/form-data; boundary=x", 415, "parts"),
        ("text/plain", 415, "text"),
        ("", 415, "no type"),
        ("application/x-www-form-urlencoded; charset=utf-8", 303, "with a charset"),
    ];
    for (kind, status, reason) in rows {
        let answer = scene.post(&visitor().sending("content-type", kind), &fields).await;
        assert_eq!(answer.status.as_u16(), status, "{reason}");
    }
    let doubled = [&fields[..], &[("username", "bob")]].concat();
    assert!(scene.post(&visitor(), &doubled).await.is_page(400), "a field twice");
    let large = "x".repeat(LOGIN_FORM_BYTES_MAX);
    let large = [&fields[..], &[("more", large.as_str())]].concat();
    assert!(scene.post(&visitor(), &large).await.is_page(413), "over 8 KiB");
    let in_the_query = format!("/login?state={state}&username=alice&password=correct+horse");
    let answer = scene.send(&visitor(), Method::POST, &in_the_query, String::new()).await;
    assert!(answer.is_page(400), "nothing is read from the query: {answer:?}");
}

#[tokio::test]
async fn the_demo_account_is_made_once_and_only_where_there_is_none() {
    let clock = Arc::new(ManualClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(TableLimits::default()));
    let first = accounts::ensure_demo(&store, clock.as_ref()).await.unwrap();
    let first = first.expect("the first start gives the password");
    assert!(accounts::ensure_demo(&store, clock.as_ref()).await.unwrap().is_none(), "only once");
    assert!(Scene::new().await.ensure_demo().await.is_none(), "not beside other accounts");

    let demo = store.find_user(accounts::DEMO_USER).await.unwrap().unwrap();
    assert!(demo.password_hash.starts_with("$argon2id$"), "at rest only as argon2id");
    assert!(!demo.password_hash.contains(first.reveal()));
}

impl Scene {
    async fn ensure_demo(&self) -> Option<Secret> {
        accounts::ensure_demo(&self.store, self.clock.as_ref()).await.unwrap()
    }
}

#[tokio::test]
async fn accounts_are_added_changed_and_removed_once() {
    let scene = Scene::new().await;
    let name = |text: &str| UserName::parse(text).unwrap();
    let word = Secret::new("another horse");
    let (store, clock) = (scene.store.as_ref(), scene.clock.as_ref());
    let taken = accounts::add(store, clock, &name("alice"), &word).await;
    assert!(matches!(taken, Err(AccountError::Taken(name)) if name == "alice"));
    let unknown = accounts::set_password(store, &name("nobody"), &word).await;
    assert!(matches!(unknown, Err(AccountError::Unknown(name)) if name == "nobody"));

    accounts::set_password(store, &name("alice"), &word).await.unwrap();
    let state = scene.begin().await.login_state;
    assert!(scene.log_in(&visitor(), &state, "alice", PASSWORD).await.is_page(200), "the old one");
    let new = scene.log_in(&visitor(), &state, "alice", word.reveal()).await;
    assert_eq!(new.status, 303, "the new one");

    accounts::remove(store, clock, &name("alice")).await.unwrap();
    let again = accounts::remove(store, clock, &name("alice")).await;
    assert!(matches!(again, Err(AccountError::Unknown(_))));
    let gone = scene.log_in(&visitor(), &state, "alice", word.reveal()).await;
    assert!(gone.is_page(200), "{gone:?}");
}
