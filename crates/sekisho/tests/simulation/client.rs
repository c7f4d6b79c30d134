//! What one client of one person does, as chance has it: logs in, calls, refreshes, gives back, and now and
//! then what it should not: shows codes and tokens twice, speaks in somebody else's session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use serde_json::{Value, json};
use testkit::scripted_provider::PROVIDER;
use testkit::world::{self, VERIFIER, authorize_url};
use testkit::{Answer, App, Browser, Chance, RegisteredClient, Tokens};
use tokio::time::sleep;

use crate::history::History;
use crate::instance::{Machine, NO_ANSWER};
use crate::promises::{Attempt, FamilyId, GRACE, Heard, Place, Promises};
use crate::provider::Provider;

const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";
/// Logins of one client that go on at once.
const FAMILIES_MAX: usize = 4;

/// A session that somebody began somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    person: &'static str,
    place: Place,
    id: String,
}

/// What all clients know.
#[derive(Debug)]
pub(crate) struct Everybody {
    pub(crate) machines: Vec<Arc<Machine>>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) promises: Arc<Promises>,
    pub(crate) history: Arc<History>,
    pub(crate) sessions: Mutex<Vec<Session>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) person: &'static str,
    all: Arc<Everybody>,
    chance: Chance,
    registered: Option<RegisteredClient>,
    /// Codes that wait.
    codes: Vec<(FamilyId, String)>,
    /// Codes that were sent in.
    sent: Vec<(FamilyId, String)>,
    families: Vec<FamilyId>,
    sessions: Vec<Session>,
}

impl Client {
    pub(crate) fn new(person: &'static str, all: Arc<Everybody>, chance: Chance) -> Self {
        let (registered, codes, sent, families, sessions) = Default::default();
        Self { person, all, chance, registered, codes, sent, families, sessions }
    }

    /// One thing after the other, for ever.
    pub(crate) async fn work(mut self, until: Duration) -> Self {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < until {
            let pause = Duration::from_millis(self.chance.within(10..3_000));
            sleep(pause).await;
            self.step().await;
        }
        self
    }

    async fn step(&mut self) {
        if let Some((family, code)) = self.codes.pop() {
            return self.redeem(family, &code).await;
        }
        let Some(index) = self.chance.index(self.families.len()) else {
            return self.log_in().await;
        };
        let family = self.families[index];
        match self.chance.within(0..100) {
            0..6 if self.families.len() <= FAMILIES_MAX => self.log_in().await,
            0..50 => self.call(family).await,
            50..66 => self.refresh(family).await,
            66..74 => self.refresh_twice_at_once(family).await,
            74..80 => self.refresh_with_one_traded_before(family).await,
            80..84 => self.call_in_another_session(family).await,
            84..88 => self.give_back_access(family).await,
            88..92 => self.give_back(family).await,
            92..94 => self.show_a_code_again().await,
            _ => self.forget(index),
        }
    }

    /// A login is not used any more. If it was not ended it lives on, and nobody knows.
    fn forget(&mut self, index: usize) {
        if !self.all.promises.must_live(self.families[index]) || self.families.len() > FAMILIES_MAX
        {
            self.families.remove(index);
        }
    }

    fn place(&mut self) -> Place {
        self.chance.index(self.all.machines.len()).unwrap()
    }

    fn app(&self, place: Place) -> App {
        self.all.machines[place].app()
    }

    /// Whether an answer that came is lost on its way to us.
    fn is_lost(&mut self) -> bool {
        !self.all.provider.weather.is_calm() && self.chance.is(6)
    }

    // --- logging in -----------------------------------------------------------------------------

    async fn register(&mut self) -> Option<RegisteredClient> {
        if let Some(client) = &self.registered {
            return Some(client.clone());
        }
        let metadata = json!({
            "client_name": "Simulated",
            "redirect_uris": [REDIRECT_URI],
            "token_endpoint_auth_method": "none",
        });
        let request = Request::post("/register").header(CONTENT_TYPE, "application/json");
        let place = self.place();
        let request = request.body(Body::from(metadata.to_string())).unwrap();
        let answer = Answer::to(&self.app(place), request).await;
        if answer.status != 201 {
            return None;
        }
        let id = answer.json()["client_id"].as_str().unwrap().to_owned();
        let client = RegisteredClient { id, secret: None, redirect_uri: REDIRECT_URI.to_owned() };
        self.registered = Some(client.clone());
        Some(client)
    }

    /// The whole way through the pages, each at another instance; to a code, if all goes well.
    pub(crate) async fn log_in(&mut self) {
        let Some(client) = self.register().await else { return };
        let mut browser = Browser::default();
        let place = self.place();
        let page = browser.open(&self.app(place), &authorize_url(&client, &[])).await;
        if !page.is_page(200) {
            return;
        }
        let place = self.place();
        let sent = browser.decide(&self.app(place), &page, "approve").await;
        let Some(there) = sent.location().filter(|url| url.starts_with(PROVIDER)) else { return };
        if self.chance.is(10) {
            sleep(Duration::from_millis(self.chance.within(0..20_000))).await;
        }
        let callback = self.all.provider.scripted.log_in(self.person, there);
        let place = self.place();
        let attempt = Attempt::begin(place);
        let answer = browser.open(&self.app(place), &callback).await;
        if let Some(code) = answer.parameter("code")
            && !self.is_lost()
        {
            let family = self.all.promises.code_issued(self.person, attempt);
            self.codes.push((family, code));
        }
    }

    async fn redeem(&mut self, family: FamilyId, code: &str) {
        if self.chance.is(85) {
            let place = self.place();
            self.redeem_at(place, family, code).await;
        } else {
            let client = self.registered.clone().unwrap();
            let lost = [self.is_lost(), self.is_lost()];
            tokio::join!(
                redeem(&self.all, 0, &client, family, code, lost[0]),
                redeem(&self.all, 1, &client, family, code, lost[1]),
            );
        }
        self.sent.push((family, code.to_owned()));
        if self.all.promises.newest(family).is_some() {
            self.families.push(family);
        } else if self.chance.is(30) {
            // No answer came: a client in the field tries once more.
            self.codes.push((family, code.to_owned()));
        }
    }

    async fn redeem_at(&mut self, place: Place, family: FamilyId, code: &str) {
        let client = self.registered.clone().unwrap();
        let is_lost = self.is_lost();
        redeem(&self.all, place, &client, family, code, is_lost).await;
    }

    async fn show_a_code_again(&mut self) {
        if let Some(index) = self.chance.index(self.sent.len()) {
            let (family, code) = self.sent[index].clone();
            let place = self.place();
            self.redeem_at(place, family, &code).await;
        }
    }

    // --- refreshing and giving back -------------------------------------------------------------

    async fn refresh(&mut self, family: FamilyId) {
        let Some(newest) = self.all.promises.newest(family) else { return };
        let place = self.place();
        self.refresh_at(place, &newest.refresh).await;
    }

    async fn refresh_at(&mut self, place: Place, token: &str) {
        let client = self.registered.clone().unwrap();
        let is_lost = self.is_lost();
        refresh(&self.all, place, &client, token, is_lost).await;
    }

    async fn refresh_twice_at_once(&mut self, family: FamilyId) {
        let Some(Tokens { refresh: token, .. }) = self.all.promises.newest(family) else { return };
        let client = self.registered.clone().unwrap();
        let lost = [self.is_lost(), self.is_lost()];
        tokio::join!(
            refresh(&self.all, 0, &client, &token, lost[0]),
            refresh(&self.all, 1, &client, &token, lost[1]),
        );
    }

    /// Within the window, or after it.
    async fn refresh_with_one_traded_before(&mut self, family: FamilyId) {
        let traded = self.all.promises.traded(family);
        let Some(index) = self.chance.index(traded.len()) else { return };
        if self.chance.is(30) {
            sleep(GRACE).await;
        }
        let place = self.place();
        self.refresh_at(place, &traded[index]).await;
    }

    async fn give_back(&mut self, family: FamilyId) {
        if let Some(newest) = self.all.promises.newest(family) {
            self.revoke(&newest.refresh).await;
        }
    }

    async fn give_back_access(&mut self, family: FamilyId) {
        let access = self.all.promises.access(family);
        if let Some(index) = self.chance.index(access.len()) {
            self.revoke(&access[index]).await;
        }
    }

    async fn revoke(&mut self, token: &str) {
        let (place, client) = (self.place(), self.registered.clone().unwrap());
        let attempt = Attempt::begin(place);
        self.all.promises.revoking(token);
        let answer =
            world::post_as(&self.app(place), &client, "/revoke", &[("token", token)]).await;
        let heard = match answer.status.as_u16() {
            200 if !self.is_lost() => Heard::Yes(()),
            _ => Heard::Nothing,
        };
        self.all.promises.revoked(token, attempt, &heard);
    }

    // --- calling --------------------------------------------------------------------------------

    async fn call(&mut self, family: FamilyId) {
        let newest = self.all.promises.newest(family).map(|tokens| tokens.access);
        let access = self.all.promises.access(family);
        let any = self.chance.index(access.len()).map(|index| access[index].clone());
        let Some(token) = (if self.chance.is(80) { newest } else { any }) else { return };
        let place = self.place();
        if self.chance.is(50) {
            self.call_at(place, &token).await;
        } else {
            self.call_in_session(place, &token).await;
        }
    }

    /// Without a session.
    pub(crate) async fn call_at(&self, place: Place, token: &str) -> Heard<String> {
        let attempt = Attempt::begin(place);
        let number = self.all.promises.calling(token);
        let heard = stateless(&self.app(place), token, number).await;
        self.all.promises.called(token, number, attempt, &heard);
        heard
    }

    async fn call_in_session(&mut self, place: Place, token: &str) {
        let theirs = self.sessions.iter().position(|session| session.place == place);
        let session = if let Some(index) = theirs {
            self.sessions[index].clone()
        } else {
            let Some(id) = begin_session(&self.app(place), token).await else { return };
            let session = Session { person: self.person, place, id };
            self.sessions.push(session.clone());
            self.all.sessions.lock().unwrap().push(session.clone());
            session
        };
        let attempt = Attempt::begin(place);
        let number = self.all.promises.calling(token);
        let (status, heard) = within(&self.app(place), token, &session.id, number).await;
        self.all.promises.called(token, number, attempt, &heard);
        if status == 404 {
            self.sessions.retain(|one| one.id != session.id);
        }
    }

    /// In a session that another person began.
    async fn call_in_another_session(&mut self, family: FamilyId) {
        let newest = self.all.promises.newest(family);
        let sessions = self.all.sessions.lock().unwrap().clone();
        let theirs: Vec<_> = sessions.into_iter().filter(|one| one.person != self.person).collect();
        let (Some(Tokens { access, .. }), Some(index)) = (&newest, self.chance.index(theirs.len()))
        else {
            return;
        };
        let Session { person, place, id } = &theirs[index];
        let number = self.all.promises.calling(access);
        let (status, _) = within(&self.app(*place), access, id, number).await;
        if status == 200 {
            let what = format!("{} was answered in a session of {person}", self.person);
            self.all.promises.broken(what);
        }
        self.all.promises.count("sessions of others tried");
    }

    // --- at the end -----------------------------------------------------------------------------

    /// Looks at every token there ever was, each at one instance.
    pub(crate) async fn settle(&mut self) {
        for family in 0..self.all.promises.families() {
            for token in self.all.promises.access(family) {
                let place = self.place();
                self.call_at(place, &token).await;
            }
        }
    }

    /// A new login works, at every instance.
    pub(crate) async fn begin_anew(&mut self) {
        self.codes.clear();
        self.log_in().await;
        let Some((family, code)) = self.codes.pop() else {
            return self.all.promises.broken(format!("{} cannot log in any more", self.person));
        };
        self.redeem_at(0, family, &code).await;
        self.refresh(family).await;
        for token in self.all.promises.access(family) {
            for place in 0..self.all.machines.len() {
                let heard = self.call_at(place, &token).await;
                if !matches!(heard, Heard::Yes(_)) {
                    let what = format!("a call of {} at {place}: {heard:?}", self.person);
                    self.all.promises.broken(format!("all is well, and yet {what}"));
                }
            }
        }
    }

    /// Trades the newest token of each login that must live, and of those that may.
    pub(crate) async fn refresh_all(&mut self) {
        for family in self.families.clone() {
            let must_live = self.all.promises.must_live(family);
            let Some(newest) = self.all.promises.newest(family) else { continue };
            let place = self.place();
            self.refresh_at(place, &newest.refresh).await;
            if must_live && self.all.promises.newest(family) == Some(newest) {
                let what = format!("login {family} of {} cannot be refreshed", self.person);
                self.all.promises.broken(format!("all is well, and yet {what}"));
            }
        }
    }
}

async fn redeem(
    all: &Everybody,
    place: Place,
    client: &RegisteredClient,
    family: FamilyId,
    code: &str,
    is_lost: bool,
) {
    let attempt = Attempt::begin(place);
    all.promises.redeeming(family, attempt);
    let answer = world::redeem(&all.machines[place].app(), client, code, VERIFIER).await;
    all.promises.redeemed(family, attempt, &heard_of(all, &answer, is_lost));
}

async fn refresh(
    all: &Everybody,
    place: Place,
    client: &RegisteredClient,
    token: &str,
    is_lost: bool,
) {
    let attempt = Attempt::begin(place);
    all.promises.refreshing(token, attempt);
    let answer = world::refresh_at(&all.machines[place].app(), client, token).await;
    all.promises.refreshed(token, attempt, &heard_of(all, &answer, is_lost));
}

/// What the token endpoint says.
fn heard_of(all: &Everybody, answer: &Answer, is_lost: bool) -> Heard<Tokens> {
    match answer.status.as_u16() {
        _ if is_lost => Heard::Nothing,
        200 => Heard::Yes(world::tokens(answer)),
        400 if answer.error() == "invalid_grant" => Heard::No,
        503 | NO_ANSWER => Heard::Nothing,
        status => {
            all.promises.broken(format!("/token answers {status}: {}", answer.body));
            Heard::Nothing
        }
    }
}

// --- MCP ----------------------------------------------------------------------------------------

async fn stateless(app: &App, token: &str, number: u64) -> Heard<String> {
    let mut params = json!({ "name": "who", "arguments": { "number": number } });
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let headers =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "who")];
    text_of(&post(app, token, &headers, Some(number), "tools/call", &params).await)
}

async fn begin_session(app: &App, token: &str) -> Option<String> {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "simulated", "version": "1" },
    });
    let answer = post(app, token, &[], Some(0), "initialize", &params).await;
    let id = answer.headers.get("mcp-session-id")?.to_str().unwrap().to_owned();
    let headers = [("mcp-session-id", &*id), ("mcp-protocol-version", "2025-11-25")];
    post(app, token, &headers, None, "notifications/initialized", &json!({})).await;
    Some(id)
}

async fn within(app: &App, token: &str, session: &str, number: u64) -> (u16, Heard<String>) {
    let headers = [("mcp-session-id", session), ("mcp-protocol-version", "2025-11-25")];
    let params = json!({ "name": "who", "arguments": { "number": number } });
    let answer = post(app, token, &headers, Some(number), "tools/call", &params).await;
    (answer.status.as_u16(), text_of(&answer))
}

async fn post(
    app: &App,
    token: &str,
    headers: &[(&str, &str)],
    id: Option<u64>,
    method: &str,
    params: &Value,
) -> Answer {
    let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
    if let Some(id) = id {
        message["id"] = id.into();
    }
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/mcp")
        .header("host", "localhost:8000")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::to(app, request.body(Body::from(message.to_string())).unwrap()).await
}

/// The text of the result, from JSON or from the last event of a stream.
fn text_of(answer: &Answer) -> Heard<String> {
    if answer.status == 401 {
        return Heard::No;
    }
    let json = answer.body.lines().rev().find_map(|line| line.strip_prefix("data: "));
    let value: Value = serde_json::from_str(json.unwrap_or(&answer.body)).unwrap_or_default();
    match value["result"]["content"][0]["text"].as_str() {
        Some(text) => Heard::Yes(text.to_owned()),
        None => Heard::Nothing,
    }
}
