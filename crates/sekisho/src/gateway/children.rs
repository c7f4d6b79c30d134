//! Who talks to which process: one for each person, session or kind of client, started when the
//! first call comes, and again, ever later, when it keeps ending.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_protocol::mcp::{INTERNAL_ERROR, McpError};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::GatewayLimits;
use super::upstream::{StdioCommand, Upstream, capabilities_for_upstream};
use crate::mcp::{Changes, Context};

/// A process that ends within this time after its start counts as one that cannot stay.
const STEADY: Duration = Duration::from_mins(1);
/// How long after its start such a process is started again, at first; twice as long each time.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

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

/// Whose process it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owner {
    whose: Whose,
    /// Whose share of processes it counts to; nobody's where all share one.
    person: Option<(String, String)>,
    capabilities: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Everybodys,
    Persons { issuer: String, subject: String },
    Sessions(String),
}

/// The processes of one command.
#[derive(Debug)]
pub(super) struct Children {
    recipe: Arc<Recipe>,
    per: Per,
    places: Mutex<HashMap<Owner, Arc<Place>>>,
}

/// How a process is started, and what it may take.
#[derive(Debug)]
struct Recipe {
    command: StdioCommand,
    per: Per,
    limits: GatewayLimits,
    changes: Changes,
    stopping: CancellationToken,
    tasks: TaskTracker,
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
}

impl Children {
    pub(super) fn new(
        command: StdioCommand,
        per: Per,
        limits: GatewayLimits,
        changes: Changes,
        stopping: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let recipe = Recipe { command, per, limits, changes, stopping, tasks };
        Self { recipe: Arc::new(recipe), per, places: Mutex::default() }
    }

    /// The process of this caller, started if it does not run. A start goes on when its caller
    /// gives up, so that the next one finds it further.
    pub(super) async fn of(&self, context: &Context) -> Result<Arc<Upstream>, McpError> {
        let capabilities = self.capabilities(context);
        let place = self.place(self.owner(context, &capabilities))?;
        let mut running = Arc::clone(&place.running).lock_owned().await;
        if let Some(upstream) = running.alive() {
            return Ok(upstream);
        }
        if self.recipe.stopping.is_cancelled() {
            return Err(McpError::new(INTERNAL_ERROR, "the server is stopping"));
        }
        running.pause(Instant::now())?;
        let recipe = Arc::clone(&self.recipe);
        let started = self.recipe.tasks.spawn(async move {
            let (upstream, stop) = recipe.start(&capabilities).await?;
            running.upstream = Some(Arc::clone(&upstream));
            running.stop = Some(stop);
            Ok(upstream)
        });
        started.await.map_err(|_| McpError::internal())?
    }

    /// The process of this caller, if it runs.
    pub(super) async fn running(&self, context: &Context) -> Option<Arc<Upstream>> {
        let owner = self.owner(context, &self.capabilities(context));
        let place = self.lock().get(&owner).cloned()?;
        let running = place.running.lock().await;
        running.alive()
    }

    /// What the server hears that its client can do. One that all share is never told that anybody
    /// can be asked: nothing says whose question it would be.
    fn capabilities(&self, context: &Context) -> Box<RawValue> {
        match self.per {
            Per::Process => RawValue::from_string("{}".to_owned()).unwrap_or_default(),
            Per::User | Per::Session => capabilities_for_upstream(context),
        }
    }

    fn owner(&self, context: &Context, capabilities: &RawValue) -> Owner {
        let person = || {
            context.principal().map_or(Whose::Everybodys, |principal| Whose::Persons {
                issuer: principal.identity.issuer.clone(),
                subject: principal.identity.subject.clone(),
            })
        };
        let whose = match self.per {
            Per::Process => Whose::Everybodys,
            Per::User => person(),
            Per::Session => context.session_id().map_or_else(person, Whose::Sessions),
        };
        let person = match self.per {
            Per::Process => None,
            Per::User | Per::Session => context.principal().map(|principal| {
                let identity = &principal.identity;
                (identity.issuer.clone(), identity.subject.clone())
            }),
        };
        Owner { whose, person, capabilities: capabilities.get().into() }
    }

    /// The owner's place; a new one takes the place of the one at rest for longest if there are too
    /// many.
    fn place(&self, owner: Owner) -> Result<Arc<Place>, McpError> {
        let mut places = self.lock();
        if let Some(place) = places.get(&owner) {
            return Ok(Arc::clone(place));
        }
        let limits = &self.recipe.limits;
        if places.len() >= limits.children_per_person_max {
            places.retain(|_, place| !place.is_empty());
        }
        // First within a person's own share, so that nobody's many clients end what is another's.
        let is_own = |other: &Owner| other.person.is_some() && other.person == owner.person;
        if places.keys().filter(|other| is_own(other)).count() >= limits.children_per_person_max {
            make_room(&mut places, is_own)?;
        }
        if places.len() >= limits.children_max {
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
    /// A process that has shaken hands, and what ends it.
    async fn start(
        &self,
        capabilities: &RawValue,
    ) -> Result<(Arc<Upstream>, CancellationToken), McpError> {
        let process = self.command.start(&self.limits, &self.changes, self.per).map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, command = ?self.command, "the server behind us does not start");
            McpError::new(INTERNAL_ERROR, "the server behind this one does not start")
        })?;
        let stop = self.stopping.child_token();
        let greeting = Upstream::greet(Arc::clone(process.connection()), capabilities);
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(self.limits.start_wait, greeting) => greeted,
            () = stop.cancelled() => Ok(Err(McpError::new(INTERNAL_ERROR, "the server is stopping"))),
        };
        let greeted = greeted.unwrap_or_else(|_| Err(slow_start())).map(Arc::new);
        let needed = greeted.as_ref().ok().cloned();
        self.tasks.spawn(process.watch(needed, self.limits.idle, stop.clone()));
        Ok((greeted?, stop))
    }
}

impl Place {
    /// Whether nothing runs here, and nobody waits for it to start.
    fn is_empty(&self) -> bool {
        self.running.try_lock().is_ok_and(|running| running.alive().is_none())
    }

    /// Since when nobody has needed what runs here.
    fn at_rest_since(&self) -> Option<Instant> {
        let running = self.running.try_lock().ok()?;
        let upstream = running.alive().filter(|upstream| upstream.is_at_rest())?;
        Some(upstream.connection().used_at())
    }

    fn stop(&self) {
        if let Some(stop) = self.running.try_lock().ok().and_then(|running| running.stop.clone()) {
            stop.cancel();
        }
    }
}

impl Running {
    fn alive(&self) -> Option<Arc<Upstream>> {
        self.upstream.clone().filter(|upstream| !upstream.connection().closed().is_cancelled())
    }

    /// Counts a start; a process that does not stay is started ever less often.
    fn pause(&mut self, now: Instant) -> Result<(), McpError> {
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
