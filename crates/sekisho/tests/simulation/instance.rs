//! One instance: everything it has in memory, which a crash takes, and its ways to the others, which it
//! cuts. What is left of a crashed instance reaches nobody any more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use sekisho::authorization_server::{
    AuthorizationServer, Provider as LogsIn, Providers, SessionRule, Settings,
};
use sekisho::clock::Clock;
use sekisho::gateway::{Attribute, Gateway, GatewayLimits, Introduction, Per, RemoteServer};
use sekisho::mcp::{self, McpEndpoints};
use sekisho::protocol::oauth::{Issuer, ProtectedResource, ProtectedResources, ScopeSet};
use sekisho::resource_server::{GuardLayer, OwnTokens, TokenVerifier, metadata_routes};
use sekisho::seal::Sealer;
use sekisho::store::cached::REVOCATIONS_POLLED_EVERY;
use sekisho::store::{Around, CachedStore, Store, StoreError, StoreWithin};
use testkit::App;
use testkit::world::ISSUER;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::clock::SteppedClock;
use crate::history::History;
use crate::promises::{ACCESS_TTL, CODE_TTL, GRACE, Listening, Place, Promises, REQUEST_MAX};
use crate::provider::{Provider, Reached};
use crate::upstream::{PERSON, URL};
use crate::weather::{End, Weather};

/// No answer: the status stands for a connection that broke.
pub(crate) const NO_ANSWER: u16 = 599;
/// How often the provider is asked whether a session lives on.
pub(crate) const RECHECK: Duration = Duration::from_secs(30);
/// How often the store is swept.
const SWEEP_EVERY: Duration = Duration::from_secs(20);

/// A machine with an instance on it, or none at the moment.
#[derive(Debug)]
pub(crate) struct Machine {
    place: Place,
    parts: Parts,
    running: Mutex<Option<Running>>,
}

/// What an instance is started with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: Arc<SteppedClock>,
    pub(crate) heard: Arc<HeardOf>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) store_weather: Arc<Weather>,
    pub(crate) sealer: Sealer,
    pub(crate) provider: Arc<Provider>,
    pub(crate) promises: Arc<Promises>,
    pub(crate) history: Arc<History>,
}

#[derive(Debug, Clone)]
struct Running {
    app: Router,
    link: Arc<Link>,
}

/// One life of an instance, as the others know it.
#[derive(Debug)]
pub(crate) struct Link {
    place: Place,
    power: CancellationToken,
    history: Arc<History>,
    heard: Arc<HeardOf>,
    weather: Arc<Weather>,
    /// When an answer was lost last that had a session of the provider in it.
    lost_at: Mutex<Option<Instant>>,
}

impl Link {
    /// Asks somebody, and loses the answer as the weather has it. Of what crashed, nothing comes any more.
    pub(crate) async fn ask<T, E>(
        &self,
        weather: &Weather,
        what: &'static str,
        asked: impl Future<Output = Result<T, E>>,
        lost: impl FnOnce() -> E,
    ) -> Result<T, E> {
        let fate = weather.fate();
        self.wait(fate.before).await;
        if fate.end != End::Heard && what.starts_with("renew") {
            *self.lost_at.lock().unwrap() = Some(Instant::now());
        }
        if fate.end == End::Unreached {
            self.note(what, "not reached");
            return Err(lost());
        }
        let answer = asked.await;
        self.note(what, if answer.is_ok() { "done" } else { "refused" });
        self.wait(fate.after).await;
        if fate.end == End::Unheard {
            self.note(what, "not heard");
            return Err(lost());
        }
        answer
    }

    async fn wait(&self, duration: Duration) {
        sleep(duration).await;
        if self.power.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }

    fn note(&self, what: &str, end: &str) {
        self.history.note(format_args!("{} {what}: {end}", self.place));
    }

    /// Whether what the provider told it at that moment may never have come to the store.
    pub(crate) fn may_have_lost(&self, moment: Instant) -> bool {
        self.power.is_cancelled() || self.lost_at.lock().unwrap().is_some_and(|at| at >= moment)
    }
}

/// The store as one instance reaches it.
#[derive(Debug)]
struct ToStore(Arc<Link>);

impl Around for ToStore {
    async fn around<T: Send>(
        &self,
        verb: &'static str,
        asked: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let Self(link) = self;
        let lost = || StoreError::Unavailable("connection reset".into());
        let is_poll = verb == "revocations_since";
        if is_poll {
            link.heard.begins(link.place);
        }
        let answer = link.ask(&link.weather, verb, asked, lost).await;
        if is_poll {
            link.heard.ends(link.place, answer.is_ok());
        }
        answer
    }
}

/// Since when each instance hears in time of what others ended.
#[derive(Debug)]
pub(crate) struct HeardOf(Mutex<Vec<Hearing>>);

#[derive(Debug, Clone, Copy)]
struct Hearing {
    since: Instant,
    asking: Option<Instant>,
}

impl HeardOf {
    pub(crate) fn new(places: usize) -> Self {
        let hearing = Hearing { since: Instant::now(), asking: None };
        Self(Mutex::new(vec![hearing; places]))
    }

    fn begins(&self, place: Place) {
        self.0.lock().unwrap()[place].asking = Some(Instant::now());
    }

    fn ends(&self, place: Place, is_answered: bool) {
        let mut all = self.0.lock().unwrap();
        let hearing = &mut all[place];
        let asked = hearing.asking.take();
        if !is_answered || asked.is_some_and(|at| at.elapsed() > REVOCATIONS_POLLED_EVERY) {
            hearing.since = Instant::now();
        }
    }
}

impl Listening for HeardOf {
    fn since(&self, place: Place) -> Instant {
        let Hearing { since, asking } = self.0.lock().unwrap()[place];
        let is_waiting = asking.filter(|at| at.elapsed() > REVOCATIONS_POLLED_EVERY);
        is_waiting.map_or(since, |_| Instant::now())
    }
}

impl Machine {
    pub(crate) fn new(place: Place, parts: Parts) -> Arc<Self> {
        Arc::new(Self { place, parts, running: Mutex::default() })
    }

    /// Starts until it is there, as whoever looks after processes does.
    pub(crate) async fn start(&self) {
        loop {
            self.parts.history.note(format_args!("{} starts", self.place));
            match self.try_start().await {
                Ok(running) => {
                    *self.running.lock().unwrap() = Some(running);
                    return;
                }
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// All that it had in memory is gone, and nobody hears of it again; `false` if there is none.
    pub(crate) fn crash(&self) -> bool {
        let Some(Running { link, .. }) = self.running.lock().unwrap().take() else { return false };
        self.parts.history.note(format_args!("{} crashes", self.place));
        link.power.cancel();
        self.parts.heard.ends(self.place, true);
        true
    }

    /// Where it is reached: what breaks or never comes is [`NO_ANSWER`].
    pub(crate) fn app(self: &Arc<Self>) -> App {
        let machine = Arc::clone(self);
        Router::new().fallback(move |request: Request| {
            let machine = Arc::clone(&machine);
            async move { machine.answer(request).await }
        })
    }

    async fn answer(&self, request: Request) -> Response {
        let nothing = || StatusCode::from_u16(NO_ANSWER).unwrap().into_response();
        let Some(Running { app, link }) = self.running.lock().unwrap().clone() else {
            return nothing();
        };
        let what = format!("{} {} {}", self.place, request.method(), request.uri());
        let answering = async {
            let (head, body) = app.oneshot(request).await.unwrap().into_parts();
            let body = http_body_util::BodyExt::collect(body)
                .await
                .map(http_body_util::Collected::to_bytes);
            Response::from_parts(head, body.unwrap_or_default().into())
        };
        let answered = timeout(REQUEST_MAX, link.power.run_until_cancelled(answering)).await;
        let answer = match answered {
            Ok(Some(answer)) => answer,
            Ok(None) => nothing(),
            Err(_) => {
                self.parts.promises.broken(format!("no answer, and none is to come: {what}"));
                nothing()
            }
        };
        self.parts.history.note(format_args!("{what} -> {}", answer.status()));
        answer
    }

    async fn try_start(&self) -> Result<Running, StoreError> {
        let power = CancellationToken::new();
        let link = Arc::new(Link {
            place: self.place,
            power: power.clone(),
            history: Arc::clone(&self.parts.history),
            heard: Arc::clone(&self.parts.heard),
            weather: Arc::clone(&self.parts.store_weather),
            lost_at: Mutex::default(),
        });
        let clock: Arc<dyn Clock> = Arc::clone(&self.parts.clock) as _;
        let behind = StoreWithin::new(ToStore(Arc::clone(&link)), Arc::clone(&self.parts.store));
        let cached = Arc::new(CachedStore::new(Arc::new(behind)));
        let store: Arc<dyn Store> = Arc::clone(&cached) as _;
        let settings = settings();
        let provider = Reached {
            provider: Arc::clone(&self.parts.provider),
            link: Arc::clone(&link),
            promises: Arc::clone(&self.parts.promises),
        };
        let follow = SessionRule::Follow { recheck: RECHECK };
        let logs_in = LogsIn::new(Arc::new(provider)).under(follow);
        let server = AuthorizationServer::new(
            settings.clone(),
            Arc::clone(&store),
            Providers::new(vec![logs_in]).unwrap(),
            self.parts.sealer.clone(),
            Arc::clone(&clock),
        )
        .await?;
        let beside = |work| drop(tokio::spawn(power.clone().run_until_cancelled_owned(work)));
        beside(boxed(cached.follow(REVOCATIONS_POLLED_EVERY)));
        beside(boxed(server.flow_writer().follow()));
        beside(boxed(server.provider_sessions().follow(CancellationToken::new())));
        beside(boxed(sweep(Arc::clone(&store), Arc::clone(&clock))));
        let app = (server.browser_routes().merge(server.client_routes()))
            .merge(metadata_routes(&settings.issuer, &settings.servers, ISSUER))
            .merge(self.guarded(&settings, store, clock, &power));
        Ok(Running { app, link })
    }

    /// The server behind, behind the guard.
    fn guarded(
        &self,
        settings: &Settings,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        power: &CancellationToken,
    ) -> Router {
        let resource = settings.servers.iter().next().unwrap();
        let who = Introduction::Attributes(vec![(
            PERSON.parse().unwrap(),
            Attribute::parse("subject").unwrap(),
        )]);
        let server = RemoteServer::new(URL, None, []).unwrap().introducing(who).unwrap();
        let limits = GatewayLimits {
            idle: Duration::from_secs(30),
            start_wait: Duration::from_secs(15),
            answer_wait: Duration::from_secs(20),
            connect_wait: Duration::from_secs(5),
            ..GatewayLimits::default()
        };
        let gateway = Gateway::new(server, Per::User, limits, power, TaskTracker::new());
        let verifier = OwnTokens::new(store, resource.resource.clone(), Arc::clone(&clock));
        let verifier: Arc<dyn TokenVerifier> = Arc::new(verifier);
        let mut of_mcp = mcp::Settings::new("/messages");
        of_mcp.sealer = self.parts.sealer.clone();
        let asked = Some(Arc::clone(&verifier));
        let endpoints = McpEndpoints::new(Arc::new(gateway), of_mcp, asked, power.clone(), clock);
        let metadata = resource.metadata_url(&settings.issuer, "mcp");
        let guard = GuardLayer::new(verifier, resource.scopes.clone(), &metadata).unwrap();
        Router::new().route("/mcp", endpoints.mcp().layer(guard))
    }
}

fn boxed(
    work: impl Future<Output = ()> + Send + 'static,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(work)
}

fn settings() -> Settings {
    let issuer = Issuer::parse(ISSUER).unwrap();
    let server = ProtectedResource::new(&issuer, "behind", "/", ScopeSet::of(["behind"]));
    let mut settings = Settings::new(issuer, ProtectedResources::new(vec![server]));
    settings.code_ttl = CODE_TTL;
    settings.access_token_ttl = ACCESS_TTL;
    settings.refresh_grace = GRACE;
    // These go by the machine's own time, which is no part of this.
    let much = std::num::NonZeroU32::MAX;
    settings.registrations_per_minute = much;
    settings.logins_per_minute = much;
    settings.pages_per_minute = much;
    settings.calls_per_minute = much;
    settings.refreshes_per_minute = much;
    settings.failures_per_minute = much;
    settings
}

async fn sweep(store: Arc<dyn Store>, clock: Arc<dyn Clock>) {
    loop {
        sleep(SWEEP_EVERY).await;
        let now = clock.now();
        // What could not be swept is swept the next time.
        let _ = store.sweep(now, now.minus(Duration::from_hours(24))).await;
    }
}
