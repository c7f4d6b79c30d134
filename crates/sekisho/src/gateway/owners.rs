//! Who talks to whom: a conversation for each person, session or kind of client, with a process of its
//! own or with a server at a URL. It is begun when the first call comes, and again, ever later,
//! when it keeps ending.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_protocol::mcp::{INTERNAL_ERROR, McpError};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::complaints::Complaints;
use super::credential;
use super::limits::GatewayLimits;
use super::measured::Measured;
use super::upstream::{
    self, Carrier, Client, GuardedServer, RemoteServer, StdioCommand, Upstream,
    capabilities_for_upstream, no_capabilities,
};
use crate::mcp::{Changes, Context, Whose};
use crate::measure::{Limit, Places};
use crate::principal::{Person, Principal};

/// A process that ends within this time after its start counts as one that cannot stay.
const STEADY: Duration = Duration::from_mins(1);
/// How long after its start such a process is started again, at first; twice as long each time.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often somebody looks whether a conversation is still needed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who shares a process. Clients that can be asked different things never do: the server hears
/// of one client and behaves accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Per {
    /// Each person has their own.
    #[default]
    User,
    /// Each session has its own; where there are no sessions (2026-07-28), each person.
    Session,
    /// All share one: for a server that keeps nothing of one caller that another must not see.
    Process,
}

/// Whose conversation it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    whose: Whose,
    /// Whose share it counts to; nobody's where all share one.
    person: Option<Person>,
    capabilities: Cow<'static, str>,
    told: Variables,
}

impl Hash for Owner {
    /// Looked for with each call: owners that differ in the rest alone are few.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.whose.hash(state);
    }
}

/// What a process hears of its caller, by its environment.
pub(super) type Variables = Vec<(OsString, OsString)>;

/// All conversations with one server.
#[derive(Debug)]
pub(super) struct Owners {
    recipe: Arc<Recipe>,
    per: Per,
    places: Mutex<HashMap<Owner, Arc<Place>>>,
    /// Of callers that cannot be introduced.
    unintroduced: Complaints,
}

/// How a conversation is begun, and what it may take.
#[derive(Debug)]
struct Recipe {
    server: Reached,
    per: Per,
    limits: GatewayLimits,
    changes: Changes,
    /// Places for those that run, and for those that are ending.
    room: Arc<Semaphore>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    measured: Arc<Measured>,
    _places: Places,
}

/// A server, and what all conversations with it share.
#[derive(Debug)]
enum Reached {
    Command(StdioCommand),
    Remote { server: RemoteServer, client: Result<Client, reqwest::Error> },
}

impl Reached {
    /// Makes sure that the server can be told who calls, before it is asked anything.
    async fn introduce(
        &self,
        caller: Option<&Arc<Principal>>,
    ) -> Result<Variables, credential::NotIntroduced> {
        if let Self::Remote { server, .. } = self {
            server.introduction().headers(caller).await?;
        }
        self.variables(caller)
    }

    fn variables(
        &self,
        caller: Option<&Arc<Principal>>,
    ) -> Result<Variables, credential::NotIntroduced> {
        match self {
            Self::Command(command) => credential::variables(&command.told, caller),
            Self::Remote { .. } => Ok(Variables::new()),
        }
    }
}

/// For whom a conversation is begun.
struct Beginning<'a> {
    changes: &'a Changes,
    capabilities: &'a RawValue,
    caller: Option<Arc<Principal>>,
    told: Variables,
}

/// Whose process it is was found for a request.
struct Found {
    by: Arc<Recipe>,
    upstream: Arc<Upstream>,
}

/// Where one owner's process runs, ran or will run. One caller starts it, the others wait.
#[derive(Debug)]
struct Place {
    running: Arc<tokio::sync::Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    upstream: Option<Arc<Upstream>>,
    /// Ends the process that runs.
    stop: Option<CancellationToken>,
    started_at: Option<Instant>,
    /// How often in a row it did not stay.
    failures: u32,
    /// It was forgotten by its server, and that counts once as no failure.
    is_excused: bool,
}

impl Owners {
    pub(super) fn new(
        server: GuardedServer,
        per: Per,
        limits: GatewayLimits,
        changes: Changes,
        (stopping, tasks): (CancellationToken, TaskTracker),
        measured: Arc<Measured>,
    ) -> Self {
        // Nobody is introduced as somebody else.
        let is_introduced = match &server {
            GuardedServer::Command(command) => !command.told.is_empty(),
            GuardedServer::Remote(server) => server.introduction().is_made(),
        };
        let per = if is_introduced && per == Per::Process { Per::User } else { per };
        let server = match server {
            GuardedServer::Command(command) => Reached::Command(command),
            GuardedServer::Remote(server) => {
                if server.is_plain_beyond_loopback() {
                    tracing::warn!(
                        ?server,
                        "whoever is on the way to the server behind us can read all that is said: \
                         give it https"
                    );
                }
                let client = server.client(&limits);
                Reached::Remote { server, client }
            }
        };
        let room = Arc::new(Semaphore::new(limits.upstreams_max.min(Semaphore::MAX_PERMITS)));
        let places = Limit::Upstreams.has(limits.upstreams_max);
        let recipe = Recipe {
            server,
            per,
            limits,
            changes,
            room,
            stopping,
            tasks,
            measured,
            _places: places,
        };
        let unintroduced = Complaints::default();
        Self { recipe: Arc::new(recipe), per, places: Mutex::default(), unintroduced }
    }

    /// The process of this caller, started if it does not run. A start goes on when its caller
    /// gives up, so that the next one finds it further.
    pub(super) async fn of(&self, context: &Context) -> Result<Arc<Upstream>, McpError> {
        if let Some(found) = context.found::<Found>()
            && Arc::ptr_eq(&found.by, &self.recipe)
            && found.upstream.connection().is_usable()
        {
            return Ok(Arc::clone(&found.upstream));
        }
        let upstream = self.look_for(context).await?;
        let found = Found { by: Arc::clone(&self.recipe), upstream: Arc::clone(&upstream) };
        context.keep_found(Arc::new(found));
        Ok(upstream)
    }

    async fn look_for(&self, context: &Context) -> Result<Arc<Upstream>, McpError> {
        let capabilities = self.capabilities(context);
        let caller = context.principal();
        let told = self.recipe.server.introduce(caller).await.map_err(|reason| {
            if let Some(times) = self.unintroduced.is_due() {
                tracing::warn!(
                    %reason, times,
                    "the server behind us is not asked, as it cannot be told who calls"
                );
            }
            reason.to_mcp_error()
        })?;
        let owner = self.owner(context, capabilities.clone(), told.clone());
        let whose = owner.whose.clone();
        let place = self.place(owner)?;
        let mut running = Arc::clone(&place.running).lock_owned().await;
        if let Some(upstream) = running.alive() {
            upstream.connection().speak_for(caller);
            return Ok(upstream);
        }
        if self.recipe.stopping.is_cancelled() {
            return Err(McpError::new(INTERNAL_ERROR, "the server is stopping"));
        }
        running.pause(Instant::now())?;
        let recipe = Arc::clone(&self.recipe);
        let changes = recipe.changes.of(whose);
        let before = running.upstream.clone();
        let caller = caller.cloned();
        let started = self.recipe.tasks.spawn(async move {
            let beginning =
                Beginning { changes: &changes, capabilities: &capabilities, caller, told };
            let begun = recipe.begin(beginning, before).await;
            recipe.measured.begun(&begun);
            let (upstream, stop) = begun?;
            running.upstream = Some(Arc::clone(&upstream));
            running.stop = Some(stop);
            running.is_excused = false;
            Ok(upstream)
        });
        started.await.map_err(|_| McpError::internal())?
    }

    /// The process of this caller, if it runs.
    pub(super) async fn running(&self, context: &Context) -> Option<Arc<Upstream>> {
        let told = self.recipe.server.variables(context.principal()).ok()?;
        let owner = self.owner(context, self.capabilities(context), told);
        let place = self.lock().get(&owner).cloned()?;
        let running = place.running.lock().await;
        let upstream = running.alive()?;
        upstream.connection().speak_for(context.principal());
        Some(upstream)
    }

    /// What the server hears that its client can do. One that all share is never told that anybody
    /// can be asked: nothing says whose question it would be.
    fn capabilities(&self, context: &Context) -> Cow<'static, RawValue> {
        match self.per {
            Per::Process => no_capabilities(),
            Per::User | Per::Session => capabilities_for_upstream(context),
        }
    }

    fn owner(
        &self,
        context: &Context,
        capabilities: Cow<'static, RawValue>,
        told: Variables,
    ) -> Owner {
        let capabilities = match capabilities {
            Cow::Borrowed(known) => Cow::Borrowed(known.get()),
            Cow::Owned(said) => Cow::Owned(said.get().to_owned()),
        };
        let person = match self.per {
            Per::Process => None,
            Per::User | Per::Session => context.principal().map(Principal::person),
        };
        let persons = || person.clone().map_or(Whose::Everybodys, Whose::Persons);
        let whose = match self.per {
            Per::Process | Per::User => persons(),
            Per::Session => context.session_id().map_or_else(persons, Whose::Sessions),
        };
        Owner { whose, person, capabilities, told }
    }

    /// The owner's place; a new one takes the place of the one at rest for longest if there are too
    /// many.
    fn place(&self, owner: Owner) -> Result<Arc<Place>, McpError> {
        let mut places = self.lock();
        if let Some(place) = places.get(&owner) {
            return Ok(Arc::clone(place));
        }
        let limits = &self.recipe.limits;
        if places.len() >= limits.upstreams_per_person_max {
            places.retain(|_, place| !is_unused(place));
        }
        // First within a person's own share, so that nobody's many clients end what is another's.
        let is_own = |other: &Owner| other.person.is_some() && other.person == owner.person;
        if places.keys().filter(|other| is_own(other)).count() >= limits.upstreams_per_person_max {
            make_room(&mut places, is_own)?;
        }
        if places.len() >= limits.upstreams_max {
            make_room(&mut places, |_| true)?;
        }
        let place = Arc::new(Place { running: Arc::default() });
        places.insert(owner, Arc::clone(&place));
        Ok(place)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Arc<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing runs there, and nobody was given the place to start something: whoever was would
/// start it where nobody finds it any more.
fn is_unused(place: &Arc<Place>) -> bool {
    // Given out under the same lock only.
    Arc::strong_count(place) == 1 && place.is_empty()
}

/// Ends what is at rest for longest among those that may go.
fn make_room(
    places: &mut HashMap<Owner, Arc<Place>>,
    may_go: impl Fn(&Owner) -> bool,
) -> Result<(), McpError> {
    let at_rest = places
        .iter()
        .filter(|(owner, _)| may_go(owner))
        .filter_map(|(owner, place)| Some((place.at_rest_since()?, owner.clone())));
    let Some((_, longest)) = at_rest.min_by_key(|(since, _)| *since) else {
        Limit::Upstreams.turn_away();
        tracing::warn!("all servers behind us are busy: a caller is turned away");
        return Err(McpError::new(
            INTERNAL_ERROR,
            "the server behind this one is in use too often: try again later",
        ));
    };
    if let Some(place) = places.remove(&longest) {
        place.stop();
    }
    Ok(())
}

impl Recipe {
    /// A conversation that was begun, and what ends it.
    async fn begin(
        &self,
        beginning: Beginning<'_>,
        before: Option<Arc<Upstream>>,
    ) -> Result<(Arc<Upstream>, CancellationToken), McpError> {
        let stop = self.stopping.child_token();
        let begun = async {
            // What is ending counts too, until it has ended.
            let room = Arc::clone(&self.room).acquire_owned().await;
            let room = room.map_err(|_| McpError::internal())?;
            let (carrier, mut upstream, room) = match &self.server {
                Reached::Command(command) => self.start(command, &beginning, room).await?,
                Reached::Remote { server, client } => {
                    let client = client.as_ref().map_err(|error| {
                        let error = error as &dyn std::error::Error;
                        tracing::error!(
                            error,
                            "there can be no TLS on this machine: install its certificates \
                             (ca-certificates), or set upstream.ca_file"
                        );
                        McpError::new(
                            INTERNAL_ERROR,
                            "the server behind this one cannot be reached",
                        )
                    })?;
                    let (limits, per) = (&self.limits, self.per);
                    let Beginning { changes, capabilities, caller, told: _ } = &beginning;
                    let whom = caller.as_ref();
                    let (carrier, upstream) =
                        upstream::reach((server, client), limits, changes, per, whom, capabilities)
                            .await?;
                    (carrier, upstream, room)
                }
            };
            let mut ending = Ending { carrier: Some((carrier, room)), tasks: &self.tasks };
            if let Some(before) = before {
                upstream.go_on_with(&before).await;
            }
            let (carrier, room) = ending.carrier.take().ok_or_else(McpError::internal)?;
            Ok((carrier, upstream, room))
        };
        let begun = tokio::select! {
            begun = tokio::time::timeout(self.limits.start_wait, begun) => begun,
            () = stop.cancelled() => Ok(Err(McpError::new(INTERNAL_ERROR, "the server is stopping"))),
        };
        let (carrier, upstream, room) = begun.unwrap_or_else(|_| Err(slow_start()))?;
        let upstream = Arc::new(upstream);
        let watched = watch(carrier, Arc::clone(&upstream), self.limits.idle, stop.clone());
        let counted = (Limit::Upstreams.take(), self.measured.conversation());
        self.tasks.spawn(async move {
            watched.await;
            drop((room, counted));
        });
        Ok((upstream, stop))
    }

    /// A process that was greeted.
    async fn start(
        &self,
        command: &StdioCommand,
        beginning: &Beginning<'_>,
        room: OwnedSemaphorePermit,
    ) -> Result<(Carrier, Upstream, OwnedSemaphorePermit), McpError> {
        let Beginning { changes, capabilities, told, caller: _ } = beginning;
        let carrier =
            upstream::start(command, told, &self.limits, changes, self.per).map_err(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, ?command, "the server behind us does not start");
                McpError::new(INTERNAL_ERROR, "the server behind this one does not start")
            })?;
        let connection = Arc::clone(carrier.connection());
        let mut ending = Ending { carrier: Some((carrier, room)), tasks: &self.tasks };
        let upstream = Upstream::greet_command(&connection, capabilities).await?;
        let (carrier, room) = ending.carrier.take().ok_or_else(McpError::internal)?;
        Ok((carrier, upstream, room))
    }
}

/// What may be given up before it is begun: then it is ended as all are.
struct Ending<'a> {
    carrier: Option<(Carrier, OwnedSemaphorePermit)>,
    tasks: &'a TaskTracker,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some((carrier, room)) = self.carrier.take() {
            self.tasks.spawn(async move {
                carrier.stop().await;
                drop(room);
            });
        }
    }
}

/// Stays with a conversation until it has ended: by itself, because nobody needs it for `idle`, or
/// because of `stopping`.
async fn watch(
    mut carrier: Carrier,
    upstream: Arc<Upstream>,
    idle: Duration,
    stopping: CancellationToken,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let connection = Arc::clone(carrier.connection());
    let mut is_needed = true;
    while is_needed {
        tokio::select! {
            () = carrier.ended() => is_needed = false,
            () = stopping.cancelled() => is_needed = false,
            () = connection.closed().cancelled() => is_needed = false,
            _ = look.tick() => {
                let is_idle = upstream.at_rest_since().is_some_and(|since| since.elapsed() >= idle);
                is_needed = !is_idle && !upstream.is_spent();
            }
        }
    }
    carrier.stop().await;
}

impl Place {
    /// Whether nothing runs here, and nobody waits for it to start.
    fn is_empty(&self) -> bool {
        self.running.try_lock().is_ok_and(|running| running.alive().is_none())
    }

    /// Since when nobody has needed what runs here.
    fn at_rest_since(&self) -> Option<Instant> {
        let running = self.running.try_lock().ok()?;
        running.alive()?.at_rest_since()
    }

    fn stop(&self) {
        if let Some(stop) = self.running.try_lock().ok().and_then(|running| running.stop.clone()) {
            stop.cancel();
        }
    }
}

impl Running {
    fn alive(&self) -> Option<Arc<Upstream>> {
        self.upstream.clone().filter(|upstream| upstream.connection().is_usable())
    }

    /// Counts a start; a process that does not stay is started ever less often.
    fn pause(&mut self, now: Instant) -> Result<(), McpError> {
        let before = self.upstream.as_ref().map(|upstream| upstream.connection());
        let is_forgotten = before.is_some_and(|it| it.is_forgotten() && it.has_served());
        if is_forgotten && !std::mem::replace(&mut self.is_excused, true) {
            // It was good for something, and its server has merely begun anew.
            (self.started_at, self.failures) = (None, 0);
        }
        if let Some(started_at) = self.started_at {
            if now.duration_since(started_at) >= STEADY {
                self.failures = 0;
            }
            let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
            let left = (started_at + pause).saturating_duration_since(now);
            if !left.is_zero() {
                return Err(McpError::new(
                    INTERNAL_ERROR,
                    format!(
                        "the server behind this one keeps ending: try again in {} s",
                        left.as_secs() + 1
                    ),
                ));
            }
        }
        self.started_at = Some(now);
        self.failures += 1;
        Ok(())
    }
}

fn slow_start() -> McpError {
    tracing::error!("the server behind us does not answer initialize");
    McpError::new(INTERNAL_ERROR, "the server behind this one does not answer")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn owners(limits: GatewayLimits) -> Owners {
        let command = StdioCommand {
            program: "true".into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            told: Vec::new(),
            folder: None,
            attendant: Vec::new(),
        };
        let until = (CancellationToken::new(), TaskTracker::new());
        let (changes, measured) = (Changes::default(), Arc::new(Measured::new(None)));
        Owners::new(command.into(), Per::Session, limits, changes, until, measured)
    }

    fn owner(session: &str) -> Owner {
        let whose = Whose::Sessions(session.to_owned());
        Owner { whose, person: None, capabilities: "{}".into(), told: Variables::new() }
    }

    #[test]
    fn a_place_where_somebody_is_about_to_start_something_is_not_forgotten() {
        let limits = GatewayLimits { upstreams_per_person_max: 1, ..GatewayLimits::default() };
        let owners = owners(limits);
        let about_to_start = owners.place(owner("a")).unwrap();
        owners.place(owner("b")).unwrap();
        owners.place(owner("c")).unwrap();
        assert!(Arc::ptr_eq(&about_to_start, &owners.place(owner("a")).unwrap()));
        assert!(!owners.lock().contains_key(&owner("b")), "a place that nobody uses is kept");
    }
}
