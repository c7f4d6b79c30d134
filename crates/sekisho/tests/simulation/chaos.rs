//! One simulation, from its seed to its end: who works when, what goes wrong, and then a while in which
//! nothing does, after which everything must be as promised.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::body::Body;
use futures::future::join_all;
use http::Request;
use http::header::CONTENT_TYPE;
use sekisho::clock::Clock as _;
use sekisho::seal::Sealer;
use sekisho::simulation;
use sekisho::store::{GrantsOf, MemoryStore, Store, TableLimits};
use testkit::scripted_provider::Fault;
use testkit::{Answer, Chance};
use tokio::time::sleep;

use crate::client::{Client, Everybody};
use crate::clock::SteppedClock;
use crate::history::History;
use crate::instance::{HeardOf, Machine, Parts, RECHECK};
use crate::promises::{ACCESS_TTL, Attempt, Heard, Promises};
use crate::provider::{PEOPLE, Provider};
use crate::upstream::{DEAD_MAX, Upstream};
use crate::weather::{Climate, Weather};

/// How long things go wrong.
const STORM: Duration = Duration::from_secs(120);
const PLACES: usize = 2;
/// Two clients for each person.
const CLIENTS_EACH: usize = 2;
/// How far the clocks of two instances are apart, in seconds, at most; less than what is leased by them.
const APART_MAX: u64 = 20;
/// How far both are set together, in seconds.
const TOGETHER_MAX: u64 = 3_600;

const TO_STORE: Climate = Climate { unreached: 1, unheard: 1, slow: 2, slowest: 2_000 };
const TO_PROVIDER: Climate = Climate { unreached: 4, unheard: 4, slow: 10, slowest: 6_000 };
const TO_UPSTREAM: Climate = Climate { unreached: 3, unheard: 3, slow: 10, slowest: 15_000 };

/// What became of one simulation.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) history: Vec<String>,
    pub(crate) broken: Vec<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// Everything that one seed decides.
struct Simulation {
    all: Arc<Everybody>,
    clocks: Vec<Arc<SteppedClock>>,
    /// How far each clock is ahead of where all are, and where that is, in seconds.
    apart: [i64; PLACES],
    together: i64,
    store: Arc<dyn Store>,
    store_weather: Arc<Weather>,
    upstream: Arc<Upstream>,
    chance: Chance,
}

/// Lives through one seed, alone on this thread.
pub(crate) fn simulate(seed: u64) -> Outcome {
    count_panics();
    let panics = PANICS.get();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut outcome = runtime.block_on(Simulation::run(seed));
    drop(runtime);
    simulation::end();
    if PANICS.get() > panics {
        outcome.broken.push("something panicked".to_owned());
    }
    outcome
}

impl Simulation {
    async fn run(seed: u64) -> Outcome {
        let this = Self::begin(seed);
        let (history, promises) = (Arc::clone(&this.all.history), Arc::clone(&this.all.promises));
        this.live().await;
        Outcome {
            history: history.take(),
            broken: promises.all_broken(),
            counts: promises.counts(),
        }
    }

    fn begin(seed: u64) -> Self {
        let mut chance = Chance::from(seed);
        let history = Arc::new(History::begin());
        let clocks: Vec<_> = (0..PLACES).map(|_| Arc::new(SteppedClock::new())).collect();
        let heard = Arc::new(HeardOf::new(PLACES));
        let promises = Promises::new(Arc::clone(&history), clocks.clone(), Arc::clone(&heard) as _);
        let promises = Arc::new(promises);
        let mut weather = |climate| Weather::new(chance.fork(), climate);
        let provider = Arc::new(Provider::new(weather(TO_PROVIDER)));
        let store_weather = Arc::new(weather(TO_STORE));
        let behind = weather(TO_UPSTREAM);
        let upstream = Upstream::new(behind, Arc::clone(&history), Arc::clone(&promises));
        let upstream = Arc::new(upstream);
        let reached = Arc::clone(&upstream);
        simulation::begin(seed, Box::new(move |_| reached.connect()));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(TableLimits::default()));
        let sealer = Sealer::ephemeral();
        let machine = |place: usize| {
            Machine::new(
                place,
                Parts {
                    clock: Arc::clone(&clocks[place]),
                    heard: Arc::clone(&heard),
                    store: Arc::clone(&store),
                    store_weather: Arc::clone(&store_weather),
                    sealer: sealer.clone(),
                    provider: Arc::clone(&provider),
                    promises: Arc::clone(&promises),
                    history: Arc::clone(&history),
                },
            )
        };
        let machines = (0..PLACES).map(machine).collect();
        let sessions = Mutex::default();
        let all = Arc::new(Everybody { machines, provider, promises, history, sessions });
        let (apart, together) = Default::default();
        Self { all, clocks, apart, together, store, store_weather, upstream, chance }
    }

    async fn live(mut self) {
        self.upstream.start();
        join_all(self.all.machines.iter().map(|machine| machine.start())).await;
        let clients = PEOPLE.iter().flat_map(|person| [*person; CLIENTS_EACH]);
        let working: Vec<_> = clients
            .map(|person| {
                let client = Client::new(person, Arc::clone(&self.all), self.chance.fork());
                tokio::spawn(client.work(STORM))
            })
            .collect();
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < STORM {
            sleep(Duration::from_millis(self.chance.within(1_000..20_000))).await;
            self.strike().await;
        }
        let mut clients = Vec::new();
        for client in working {
            match client.await {
                Ok(client) => clients.push(client),
                Err(_) => return self.all.promises.broken("a client panicked".to_owned()),
            }
        }
        self.all_is_well(clients).await;
    }

    /// Something goes wrong.
    async fn strike(&mut self) {
        let place = self.chance.index(PLACES).unwrap();
        match self.chance.within(0..100) {
            0..25 => {
                let machine = Arc::clone(&self.all.machines[place]);
                if !machine.crash() {
                    return;
                }
                let pause = Duration::from_millis(self.chance.within(0..6_000));
                tokio::spawn(async move {
                    sleep(pause).await;
                    machine.start().await;
                });
            }
            25..45 => {
                if !self.upstream.die() {
                    return;
                }
                let pause = self.within(DEAD_MAX);
                let upstream = Arc::clone(&self.upstream);
                tokio::spawn(async move {
                    sleep(pause).await;
                    upstream.start();
                });
            }
            45..65 => self.set_clocks(place),
            65..75 => {
                let person = PEOPLE[self.chance.index(PEOPLE.len()).unwrap()];
                self.log_out(place, person).await;
            }
            75..92 => {
                self.all.history.note("the provider is down");
                self.all.provider.scripted.set_fault(Some(Fault::Down));
                let (pause, all) = (self.within(Duration::from_secs(20)), Arc::clone(&self.all));
                tokio::spawn(async move {
                    sleep(pause).await;
                    all.history.note("the provider is up");
                    all.provider.scripted.set_fault(None);
                });
            }
            _ => {
                let person = PEOPLE[self.chance.index(PEOPLE.len()).unwrap()];
                self.all.history.note(format_args!("{person}'s sessions end at the provider"));
                self.all.promises.provider_forgets(person);
                self.all.provider.scripted.end_sessions_of(person);
            }
        }
    }

    fn within(&mut self, longest: Duration) -> Duration {
        let most = u64::try_from(longest.as_millis()).unwrap();
        Duration::from_millis(self.chance.within(0..most))
    }

    /// Of one instance by a little, or of all by much.
    fn set_clocks(&mut self, place: usize) {
        if self.chance.is(80) {
            self.apart[place] = signed(self.chance.within(0..APART_MAX));
        } else {
            self.all.promises.clocks_jump();
            self.together = signed(self.chance.within(0..2 * TOGETHER_MAX)) - signed(TOGETHER_MAX);
        }
        for (place, clock) in self.clocks.iter().enumerate() {
            let ahead = self.together + self.apart[place];
            self.all.history.note(format_args!("the clock of {place} is {ahead} s ahead"));
            clock.set_ahead(ahead);
        }
    }

    /// The provider says so until it is heard, each time somewhere else.
    async fn log_out(&mut self, place: usize, person: &str) {
        let id = self.chance.within(0..u64::MAX);
        let (all, clock) = (Arc::clone(&self.all), Arc::clone(&self.clocks[place]));
        all.history.note(format_args!("{person} logs out at the provider"));
        let ends_at = clock.now().plus(Duration::from_hours(24));
        let token =
            all.provider.scripted.logout_token(&format!("logout-{id}"), person, "", ends_at);
        let mut is_again = false;
        for place in [place, (place + 1) % PLACES, place] {
            let logout = all.promises.logging_out(person, Attempt::begin(place));
            let request = Request::post("/auth/logout")
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from(format!("logout_token={token}")))
                .unwrap();
            let answer = Answer::to(&all.machines[place].app(), request).await;
            let heard = match answer.status.as_u16() {
                200 => Heard::Yes(()),
                // The one before was taken, and its answer was lost.
                400 if is_again => Heard::Yes(()),
                400 => {
                    all.promises.broken("a logout is not believed".to_owned());
                    Heard::Nothing
                }
                _ => Heard::Nothing,
            };
            all.promises.logged_out(logout, place, &heard);
            if heard == Heard::Yes(()) {
                return;
            }
            is_again = true;
        }
    }

    /// Nothing goes wrong any more: what was promised is there, and what was ended is gone.
    async fn all_is_well(mut self, mut clients: Vec<Client>) {
        let all = Arc::clone(&self.all);
        all.history.note("all is well from now on");
        self.store_weather.calm();
        self.upstream.weather.calm();
        all.provider.weather.calm();
        sleep(DEAD_MAX + Duration::from_secs(30)).await;
        all.provider.scripted.set_fault(None);
        for client in &mut clients {
            client.refresh_all().await;
        }
        clients[0].settle().await;
        for client in &mut clients {
            client.begin_anew().await;
        }
        // Whoever was asked about by an instance that is gone is asked about again.
        sleep(RECHECK * 2 + sekisho::authorization_server::LEASE).await;
        for client in &mut clients {
            client.refresh_all().await;
        }
        for person in PEOPLE {
            self.log_out(0, person).await;
        }
        sleep(Duration::from_secs(2)).await;
        clients[0].settle().await;
        self.nothing_is_left().await;
    }

    /// Everything was ended: nothing is kept for anybody.
    async fn nothing_is_left(&self) {
        sleep(ACCESS_TTL + Duration::from_mins(2)).await;
        let grants = self.store.list_grants(&GrantsOf::Everyone, None).await.unwrap();
        let (connections, _) = self.upstream.is_used();
        if !grants.is_empty() {
            self.all
                .promises
                .broken(format!("all was ended, and {} grants are left", grants.len()));
        }
        if connections > 0 {
            let what =
                format!("nobody calls, and {connections} connections to the server are left");
            self.all.promises.broken(what);
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// A task that panics is silent: nobody waits for most of them.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}
