//! Whole sign-ins and refreshes: the program with its store on a disk and in memory, beside the least that
//! can answer the same requests from memory, and beside the authorization servers of others, each by its
//! own pages. The program and the least send people on to an identity provider that runs in this driver,
//! on the load's core; the others log people in themselves.

mod keycloak;
mod person;
mod site;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sekisho::clock::SystemClock;
use testkit::FakeIdentityProvider;
use testkit::identity_provider::{CLIENT_ID, CLIENT_SECRET};
use tokio::task::JoinSet;

use self::person::{Pages, Person};
use crate::calls::Used;
use crate::load;
use crate::peers::{Peer, Standing};
use crate::server::{self, Server};
use crate::target::{self, RAISED_LIMITS};
use crate::{Arguments, Chapter, Result, procfs};

/// As the program has it by default.
const SQLITE: &str = "sqlite:sekisho.db";
/// How many sign in or refresh at once.
const CONNECTIONS: [usize; 2] = [1, 32];
/// The name of whoever the others are compared with.
const LEAST: &str = "minimal, in memory";
const IDLE: Duration = Duration::from_secs(2);
/// Seconds of sign-ins before anything counts: some become faster by it, Keycloak by ten times.
const WARM_UP: f64 = 1.0;
const WARM_UP_OF_KEYCLOAK: f64 = 20.0;

/// A server that signs people in.
struct Signer {
    name: &'static str,
    pages: Pages,
    server: Server,
    standing: Standing,
    idle_kib: u64,
    /// Where what it knows is.
    keeps: &'static str,
    /// Sets people apart, so that no two servers see the same at the same time.
    people: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    SignIn,
    Refresh,
}

/// One turn of one server.
struct Turn {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cost: Duration,
    server_share: f64,
    load_share: f64,
}

/// Measures sign-ins and refreshes, round by round.
pub(crate) async fn measure(arguments: &Arguments, folder: &Path) -> Result<Chapter> {
    let provider = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    let mut absent = Vec::new();
    let mut signers = start_all(arguments, &provider, folder, &mut absent).await?;
    tokio::time::sleep(IDLE).await;
    for signer in &mut signers {
        signer.idle_kib = procfs::resident_kib(signer.server.pid())?.0;
    }
    let most = CONNECTIONS.into_iter().max().unwrap_or(1);
    for signer in &signers {
        let seconds = match signer.pages {
            Pages::Ours | Pages::NodeOidcProvider => WARM_UP,
            Pages::Keycloak => WARM_UP_OF_KEYCLOAK,
        };
        for step in [Step::SignIn, Step::Refresh] {
            take_turn(signer, &provider, step, most, seconds / 2.0).await?;
        }
    }
    let mut chapter = Chapter::default();
    for step in [Step::SignIn, Step::Refresh] {
        let mut seen = Vec::new();
        for connections in CONNECTIONS {
            let mut turns: Vec<Vec<Turn>> = signers.iter().map(|_| Vec::new()).collect();
            for round in 0..arguments.rounds {
                for at in 0..signers.len() {
                    let at = (round + at) % signers.len();
                    let (Some(signer), Some(turns)) = (signers.get(at), turns.get_mut(at)) else {
                        continue;
                    };
                    let turn = take_turn(signer, &provider, step, connections, arguments.seconds);
                    turns.push(turn.await?);
                }
            }
            seen.push(turns);
        }
        chapter.tables += &tables::rates(step, &signers, &seen)?;
        chapter.plots.push(tables::plot(step, &signers, &seen));
    }
    chapter.tables.insert_str(0, &tables::servers(&signers, &absent)?);
    Ok(chapter)
}

async fn start_all(
    arguments: &Arguments,
    provider: &FakeIdentityProvider,
    folder: &Path,
    absent: &mut Vec<String>,
) -> Result<Vec<Signer>> {
    let mut signers = Vec::new();
    if let Some(program) = &arguments.sekisho {
        let program = program.canonicalize()?;
        for (name, store, keeps) in [
            ("sekisho, SQLite", SQLITE, "SQLite, on the disk"),
            ("sekisho, in memory", "memory:", "memory"),
        ] {
            let folder = folder.join(name);
            let server = start_sekisho(&program, provider, &folder, store)?;
            let standing = Standing::of_program(&program, &server)?;
            signers.push(Signer::new(name, Pages::Ours, server, standing, keeps));
        }
    }
    let minimal = arguments.peers.canonicalize()?.join("minimal");
    let server = start_minimal(&minimal, provider, &folder.join("minimal"))?;
    let standing = Standing::of_program(&minimal, &server)?;
    signers.push(Signer::new(LEAST, Pages::Ours, server, standing, "memory"));
    match Peer::NodeOidcProvider.find(&arguments.checkout) {
        Ok(installed) => {
            let address = server::free_address()?;
            let port = address.port().to_string();
            let name = Peer::NodeOidcProvider.name();
            let server = installed.start(&[&port], address, &folder.join(name))?;
            let standing = installed.standing(&server);
            let keeps = "memory, the last 1,000 things";
            signers.push(Signer::new(name, Pages::NodeOidcProvider, server, standing, keeps));
        }
        Err(reason) => absent.push(reason),
    }
    match keycloak::start(arguments, &folder.join("keycloak")).await? {
        Ok((installed, server)) => {
            let (name, standing) = (Peer::Keycloak.name(), installed.standing(&server));
            let keeps = "H2, on the disk";
            signers.push(Signer::new(name, Pages::Keycloak, server, standing, keeps));
        }
        Err(reason) => absent.push(reason),
    }
    Ok(signers)
}

impl Signer {
    fn new(
        name: &'static str,
        pages: Pages,
        server: Server,
        standing: Standing,
        keeps: &'static str,
    ) -> Self {
        let (idle_kib, people) = (0, AtomicU64::new(0));
        Self { name, pages, server, standing, idle_kib, keeps, people }
    }
}

fn start_sekisho(
    program: &Path,
    provider: &FakeIdentityProvider,
    folder: &Path,
    store: &str,
) -> Result<Server> {
    let more = format!(
        "store = \"{store}\"\n{RAISED_LIMITS}\n[identity]\nprovider = \"oidc\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n\
         client_secret = \"{CLIENT_SECRET}\"\n",
        provider.issuer()
    );
    let address = target::write_settings(folder, &more)?;
    Server::start(program, &["serve"], address, folder)
}

fn start_minimal(program: &Path, provider: &FakeIdentityProvider, folder: &Path) -> Result<Server> {
    std::fs::create_dir_all(folder)?;
    let address = server::free_address()?;
    let listen = address.to_string();
    let options = [
        ["--listen", &listen],
        ["--provider", provider.issuer()],
        ["--client-id", CLIENT_ID],
        ["--client-secret", CLIENT_SECRET],
    ];
    Server::start(program, options.as_flattened(), address, folder)
}

async fn take_turn(
    signer: &Signer,
    provider: &FakeIdentityProvider,
    step: Step,
    connections: usize,
    seconds: f64,
) -> Result<Turn> {
    let turn = turn(signer, provider, step, connections, seconds).await;
    turn.map_err(|error| format!("{}, {step:?}, {connections}: {error}", signer.name).into())
}

async fn turn(
    signer: &Signer,
    provider: &FakeIdentityProvider,
    step: Step,
    connections: usize,
    seconds: f64,
) -> Result<Turn> {
    let mut people = Vec::with_capacity(connections);
    for _ in 0..connections {
        let number = signer.people.fetch_add(1, Ordering::Relaxed);
        let (pages, address) = (signer.pages, signer.server.address);
        let mut person = Person::arrive(pages, address, provider.issuer(), number).await?;
        if step == Step::Refresh {
            person.sign_in().await?;
        }
        people.push(person);
    }
    let awake = tokio::spawn(load::stay_awake());
    let before = Used::now(signer.server.pid())?;
    let counted = Duration::from_secs_f64(seconds);
    let (began_at, mut work) = (Instant::now(), JoinSet::new());
    for mut person in people {
        work.spawn(async move {
            let mut latencies = Vec::new();
            while began_at.elapsed() < counted {
                let asked_at = Instant::now();
                match step {
                    Step::SignIn => person.sign_in().await?,
                    Step::Refresh => person.refresh().await?,
                }
                latencies.push(asked_at.elapsed());
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = work.join_next().await {
        latencies.extend(done??);
    }
    let took = began_at.elapsed().as_secs_f64();
    awake.abort();
    let used = Used::now(signer.server.pid())?.since(&before);
    latencies.sort_unstable();
    let quantile = |thousandth: usize| {
        latencies.get(latencies.len() * thousandth / 1000).copied().unwrap_or_default()
    };
    let count = u32::try_from(latencies.len())?.max(1);
    Ok(Turn {
        per_second: f64::from(count) / took,
        p50: quantile(500),
        p99: quantile(990),
        cost: used.by_server / count,
        server_share: used.server_share(),
        load_share: used.load_share(),
    })
}
