//! Memory of streams that are held open through whoever stands between: calls whose answer is a stream,
//! which is one connection on either side, and streams that wait for news, which share what is behind.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;

use super::behind::{STAYING_TOOL, STAYING_WORD};
use super::ways::{BARE, NGINX, begin_sessions, start_bare, start_nginx};
use crate::load::Connection;
use crate::report::mebibytes;
use crate::target::{self, Wire};
use crate::{Arguments, Result, procfs};

/// Calls of one session that are open at once: as many as the program lets it have as streams.
const CALLS_PER_SESSION: usize = 16;
/// Sessions of one person, whose calls all go through one conversation: as many as that carries.
const SESSIONS_PER_PERSON: usize = 16;
/// Streams that are opened at the same time.
const BATCH: usize = 250;
/// How long nothing happens before memory is looked at.
const SETTLE: Duration = Duration::from_secs(4);

/// What came of it.
struct Seen {
    name: &'static str,
    what: &'static str,
    idle_kib: u64,
    open_kib: u64,
}

/// A way to open a stream: by whom it is asked for, and in which session.
type Opener = (Wire, String);

/// Measures everybody, one after the other.
pub(super) async fn measure(
    arguments: &Arguments,
    folder: &Path,
    behind: SocketAddr,
) -> Result<String> {
    let count = arguments.streams;
    let mut seen = Vec::new();
    if let Some(program) = &arguments.sekisho {
        let program = program.canonicalize()?;
        let upstream = format!("{{ url = \"http://{behind}/old/mcp\" }}");
        for (kind, what) in [(Kind::Call, "calls"), (Kind::Listening, "`GET /mcp`")] {
            let folder = folder.join(format!("{kind:?}"));
            let (per_session, sessions) = match kind {
                Kind::Call => (CALLS_PER_SESSION, SESSIONS_PER_PERSON),
                // Each has a session of its own, and one person may have many.
                Kind::Listening => (1, count),
            };
            let people = count.div_ceil(per_session * sessions);
            let started = target::start_gateway(&program, &folder, &upstream, people).await?;
            let (server, tokens) = started;
            let mut openers = Vec::new();
            let idle_kib = settled(server.pid()).await?;
            for token in tokens {
                for session in begin_sessions(server.address, &token, sessions).await? {
                    for _ in 0..per_session {
                        let wire = Wire::new(server.address, token.clone());
                        openers.push((wire, session.clone()));
                    }
                }
            }
            openers.truncate(count);
            let streams = open(server.address, openers, kind).await?;
            let open_kib = settled(server.pid()).await?;
            drop(streams);
            seen.push(Seen { name: "sekisho", what, idle_kib, open_kib });
        }
    }
    for name in [NGINX, BARE] {
        let folder = folder.join(name.replace(' ', "-"));
        let way = if name == NGINX {
            start_nginx(&folder, behind)?
        } else {
            start_bare(arguments, &folder, behind)?
        };
        let idle_kib = settled(way.pid()).await?;
        let opener = || (Wire::new(way.address, String::new()), String::new());
        let openers = (0..count).map(|_| opener()).collect();
        let streams = open(way.address, openers, Kind::Call).await?;
        let open_kib = settled(way.pid()).await?;
        drop(streams);
        seen.push(Seen { name, what: "calls", idle_kib, open_kib });
    }
    write(count, &seen)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `tools/call` whose answer is a stream that says one thing.
    Call,
    /// `GET /mcp` of a session.
    Listening,
}

async fn open(address: SocketAddr, openers: Vec<Opener>, kind: Kind) -> Result<Vec<Connection>> {
    let mut streams = Vec::with_capacity(openers.len());
    let mut openers = openers.into_iter().enumerate();
    loop {
        let mut batch = JoinSet::new();
        for (at, (wire, session)) in openers.by_ref().take(BATCH) {
            batch.spawn(async move {
                let (request, marker): (_, &[u8]) = match kind {
                    Kind::Call => (wire.call_in(&session, STAYING_TOOL, at), STAYING_WORD),
                    Kind::Listening => (wire.get("/mcp", Some(&session)), b"data:"),
                };
                let mut connection = Connection::open(address).await?;
                connection.ask_until(&request, marker).await?;
                Result::Ok(connection)
            });
        }
        if batch.is_empty() {
            return Ok(streams);
        }
        while let Some(opened) = batch.join_next().await {
            streams.push(opened??);
        }
    }
}

async fn settled(pid: u32) -> Result<u64> {
    tokio::time::sleep(SETTLE).await;
    Ok(procfs::resident_kib(pid)?.0)
}

fn write(count: usize, seen: &[Seen]) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "### {count} streams open through a gateway\n")?;
    writeln!(text, "| in front | streams | idle | with {count} | each |")?;
    writeln!(text, "|---|---|--:|--:|--:|")?;
    let count = f64::from(u32::try_from(count)?);
    for Seen { name, what, idle_kib, open_kib } in seen {
        let grown = f64::from(u32::try_from(open_kib.saturating_sub(*idle_kib))?);
        let (idle, open) = (mebibytes(*idle_kib), mebibytes(*open_kib));
        writeln!(text, "| {name} | {what} | {idle} | {open} | **{:.1}** KiB |", grown / count)?;
    }
    writeln!(text)?;
    Ok(text)
}
