//! The soak: everything that clients and operators do, mixed, at a modest rate for a long time, with
//! many streams open. It fails if memory is not flat, or if anything came otherwise than it had to
//! and nothing that this script did is the cause.
//!
//! ```text
//! this driver ─▶ the program, SQLite ─┬─ fortune, built in
//!                                     ├─ a server at a URL, in this driver
//!                                     └─ a command for each person, killed now and then
//! ```

mod calls;
mod causes;
mod crowd;
mod held;
mod signing;
mod tally;
mod watch;
mod wrong;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use self::crowd::{Holder, Site};
use self::tally::{Cause, Tally};
use crate::gateway::behind;
use crate::server::{self, Server};
use crate::target::{self, RAISED_LIMITS};
use crate::{Arguments, Result, procfs};

const PEOPLE: usize = 10;
/// Clients that registered before: the store is larger than what `SQLite` keeps of it in memory, which
/// would otherwise grow with it for an hour.
const CLIENTS_BEFORE: usize = 5_000;
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// So many lives of a token it lasts, so that tokens end, and rows are swept, several times before
/// memory is looked at.
const ACCESS_TOKEN_LIVES: u32 = 20;
const REFRESH_TOKEN_LIVES: u32 = 12;
const BODY_BYTES_MAX: usize = 65_536;
/// How long calls and streams of a command that was killed may come otherwise.
const KILLED_FOR: Duration = Duration::from_secs(15);
const MACHINE: &str = "machine";
const MACHINE_SECRET: &str = "a-secret-that-guards-nothing-but-a-benchmark";
/// What the settings have and have not, by turns.
const RULE_BY_TURNS: &str =
    "\n[[rule]]\nname = \"by-turns\"\ntools = [\"no-such-tool\"]\ndeny = \"true\"\n";

/// What all that happens needs to know.
#[derive(Debug)]
struct Soak {
    address: SocketAddr,
    pid: u32,
    folder: PathBuf,
    /// How long all of it lasts.
    whole: Duration,
    tally: Tally,
    /// Streams that are open now.
    open: AtomicU64,
    /// Sign-ins that were begun.
    sign_ins: AtomicU32,
    killed_at: Mutex<Option<Instant>>,
}

impl Soak {
    fn access_token_ttl(&self) -> Duration {
        self.whole / ACCESS_TOKEN_LIVES
    }

    fn a_command_is_killed(&self) {
        *self.killed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a command was killed lately, and this person speaks to one.
    fn command_was_killed(&self, holder: &Holder) -> bool {
        let killed_at = *self.killed_at.lock().unwrap_or_else(PoisonError::into_inner);
        holder.site == Site::Command && killed_at.is_some_and(|at| at.elapsed() < KILLED_FOR)
    }

    /// As the result says it, of which the killed command may be the cause.
    fn add(&self, kind: &'static str, holder: &Holder, result: Result<()>) {
        if result.is_err() && self.command_was_killed(holder) {
            self.tally.caused(kind, Cause::CommandKilled);
        } else {
            self.tally.add(kind, result);
        }
    }
}

/// Runs it for as many minutes as it is told.
pub(crate) async fn measure(arguments: &Arguments, folder: &Path) -> Result<String> {
    let program = arguments.sekisho.as_ref().ok_or("the soak needs --sekisho")?.canonicalize()?;
    let child = arguments.peers.canonicalize()?.join("soak_child");
    let whole = Duration::from_secs(60 * arguments.minutes);
    // Until then caches fill, and the allocator finds its size.
    let warm_up = whole / 2;

    let behind = behind::listen().await?;
    let address = target::write_settings(folder, &settings(whole, behind, &child))?;
    for number in 0..PEOPLE {
        target::add_user(&program, folder, &person(number))?;
    }
    let mut command = Command::new(&program);
    command.arg("serve");
    let server = Server::spawn(command, address, folder)?;
    let soak = Arc::new(Soak {
        address,
        pid: server.pid(),
        folder: folder.to_owned(),
        whole,
        tally: Tally::new(),
        open: AtomicU64::new(0),
        sign_ins: AtomicU32::new(1),
        killed_at: Mutex::default(),
    });

    signing::register(&soak, CLIENTS_BEFORE).await?;
    let tasks = start(&soak, &program, arguments.streams).await?;
    let began_at = Instant::now();
    let mut samples = Vec::new();
    let mut table = std::fs::File::create(arguments.out.join("soak.csv"))?;
    table.write_all(watch::Sample::HEAD.as_bytes())?;
    while began_at.elapsed() < whole {
        let streams = soak.open.load(Ordering::Relaxed);
        let sample = watch::sample(soak.pid, folder, began_at, streams).await?;
        table.write_all(sample.line().as_bytes())?;
        samples.push(sample);
    }
    let elapsed = began_at.elapsed();
    let used = procfs::processor_time(soak.pid)?;
    drop(tasks);

    let log = server::log(folder)?;
    std::fs::write(arguments.out.join("soak.log"), &log)?;
    for line in log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")) {
        soak.tally.uncaused("line of the log", line);
    }
    let seen = watch::seen(&samples, warm_up)?;
    let mut text = format!("### A soak of {} minutes\n\n", arguments.minutes);
    text += &soak.tally.markdown(elapsed)?;
    text += &seen.text;
    writeln!(
        text,
        "The server used {:.0} % of a core, this driver {:.0} %.\n",
        100.0 * used.as_secs_f64() / elapsed.as_secs_f64(),
        100.0 * procfs::processor_time(std::process::id())?.as_secs_f64() / elapsed.as_secs_f64(),
    )?;
    // Also what failed is shown.
    std::fs::write(arguments.out.join("soak.md"), &text)?;
    let failed = match soak.tally.uncaused_in_all() {
        0 if seen.is_flat => return Ok(text),
        0 => "memory is not flat".to_owned(),
        count => format!("{count} times something came otherwise without a cause"),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Err(failed.into())
}

fn person(number: usize) -> String {
    format!("{}{}", target::USERNAME, number % PEOPLE)
}

fn settings(whole: Duration, behind: SocketAddr, child: &Path) -> String {
    let child = child.display();
    let [access, refresh] =
        [whole / ACCESS_TOKEN_LIVES, whole / REFRESH_TOKEN_LIVES].map(|ttl| ttl.as_secs());
    format!(
        r#"{RAISED_LIMITS}
session_idle = "2m"
body_bytes_max = {BODY_BYTES_MAX}

[authorization]
access_token_ttl = "{access}s"
refresh_token_ttl = "{refresh}s"

[[server]]
name = "fortune"
path = "/"
upstream = {{ builtin = "fortune" }}

[[server]]
name = "remote"
upstream = {{ url = "http://{behind}/old/mcp" }}

[[server]]
name = "command"
upstream = {{ command = ["{child}"] }}

[[client]]
id = "{MACHINE}"
secret = "{MACHINE_SECRET}"
grant_types = ["client_credentials"]
scopes = ["fortune"]

[[rule]]
name = "everything"
allow = "true"
"#
    )
}

/// Logs everybody in, and begins everything; it ends when what is given is dropped.
async fn start(soak: &Arc<Soak>, program: &Path, streams: usize) -> Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let mut holders: [Vec<Arc<Holder>>; 3] = [const { Vec::new() }; 3];
    for (at, (site, of_site)) in Site::ALL.into_iter().zip(&mut holders).enumerate() {
        for number in 0..PEOPLE {
            let holder = Holder::sign_in(soak, &person(number), site).await?;
            let holder = Arc::new(holder);
            // Spread over the time between two refreshes.
            let turn = u32::try_from(Site::ALL.len() * number + at)?;
            let first_after = soak.access_token_ttl() / 120 * turn;
            tasks.spawn(crowd::keep_fresh(Arc::clone(soak), Arc::clone(&holder), first_after));
            of_site.push(holder);
        }
    }
    let [built_in, remote, command] = &holders;
    let of = |holders: &[Arc<Holder>], number: usize| -> Result<Arc<Holder>> {
        Ok(Arc::clone(holders.get(number % PEOPLE).ok_or("nobody is there")?))
    };
    for number in 0..streams {
        // In ten: four, one and one; two; two.
        let (holders, kind) = match number / PEOPLE % 10 {
            0..=3 => (built_in, held::Kind::Session),
            4 => (remote, held::Kind::Session),
            5 => (command, held::Kind::Session),
            6..=7 => (built_in, held::Kind::HttpSse),
            _ => (command, held::Kind::Listen),
        };
        tasks.spawn(held::hold(Arc::clone(soak), of(holders, number)?, kind, number));
    }
    for number in 0..PEOPLE {
        for (holders, every) in [(built_in, 250), (remote, 500), (command, 500)] {
            let every = Duration::from_millis(every);
            let (one, other) = (of(holders, number)?, of(holders, number)?);
            tasks.spawn(calls::in_sessions(Arc::clone(soak), one, every));
            tasks.spawn(calls::stateless(Arc::clone(soak), other, every * 2));
        }
        let every = Duration::from_secs(2);
        tasks.spawn(calls::over_http_sse(Arc::clone(soak), of(built_in, number)?, every));
    }
    tasks.spawn(signing::people(Arc::clone(soak), Duration::from_secs(2)));
    tasks.spawn(signing::machine(Arc::clone(soak), Duration::from_secs(2)));
    tasks.spawn(wrong::refused(Arc::clone(soak), of(built_in, 0)?, Duration::from_millis(200)));
    let (remote, command) = (of(remote, 1)?, of(command, 1)?);
    tasks.spawn(wrong::hanging_up(Arc::clone(soak), remote, command, Duration::from_millis(500)));
    tasks.spawn(causes::reload(Arc::clone(soak)));
    tasks.spawn(causes::rotate(Arc::clone(soak), program.to_owned()));
    tasks.spawn(causes::kill_commands(Arc::clone(soak)));
    Ok(tasks)
}
