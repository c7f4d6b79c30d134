//! What an open, authenticated stream of events costs: memory for each, the 401 of others beside
//! them, how they end at SIGTERM, and what is given back when they are gone. All that one person
//! has, one stream a session where there are sessions; `[limits]` are raised for it.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::load::{self, Connection, Slice};
use crate::peers::Peer;
use crate::plot::Plot;
use crate::report::{mebibytes, micros};
use crate::target::{self, Scenario, Target};
use crate::{Arguments, Chapter, Result, procfs};

/// Streams of a server of others: each costs what it costs, and some open them slowly.
const STREAMS_OF_OTHERS_MAX: usize = 1_000;
/// Streams that are opened at the same time.
const BATCH: usize = 250;
/// How long nothing happens before memory is looked at.
const SETTLE: Duration = Duration::from_secs(4);
/// Memory of so many times the idle one counts as given back, and is not waited for any longer.
const GIVEN_BACK: f64 = 1.5;
/// How long all may take to end, before it counts as never.
const END_MAX: Duration = Duration::from_secs(10);

/// How a stream is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `GET /mcp` of a session of 2025-11-25.
    Session,
    /// `GET /sse`.
    HttpSse,
    /// `subscriptions/listen` of 2026-07-28.
    Listen,
    /// `GET /mcp` of `bare`.
    Bare,
    /// `GET /mcp` of a session of a server of others, which may say nothing until it has news.
    Other,
}

/// An open stream, and the session it is the only one of.
#[derive(Debug)]
struct Stream {
    connection: Connection,
    session: Option<String>,
}

/// What came of it.
#[derive(Debug)]
struct Seen {
    name: &'static str,
    count: usize,
    idle_kib: u64,
    open_kib: u64,
    alone: Latency,
    beside: Latency,
    gone: Option<(Closed, Ended)>,
}

#[derive(Debug)]
struct Latency {
    p50: Duration,
    p99: Duration,
}

#[derive(Debug)]
struct Closed {
    kib: u64,
    after: Duration,
}

#[derive(Debug)]
struct Ended {
    within: Duration,
    clean: usize,
}

/// Measures all kinds, one after the other.
pub(crate) async fn measure(arguments: &Arguments, folder: &Path) -> Result<Chapter> {
    let mut seen = Vec::new();
    if let Some(program) = &arguments.sekisho {
        let program = program.canonicalize()?;
        for (kind, name) in [(Kind::Session, "`GET /mcp`"), (Kind::HttpSse, "`GET /sse`")] {
            let folder = folder.join(format!("{kind:?}"));
            let target = target::start_sekisho(&program, &folder, name).await?;
            seen.push(measure_kind(arguments, kind, target).await?);
        }
    }
    let peers = arguments.peers.canonicalize()?;
    let target = target::start_listening(&peers.join("listening"), &folder.join("listening"))?;
    seen.push(measure_kind(arguments, Kind::Listen, target).await?);
    let bare = target::start_bare(&peers.join("bare"), None, &folder.join("bare-streams"))?;
    seen.push(measure_kind(arguments, Kind::Bare, bare).await?);
    let rmcp = peers.join("rmcp_peer");
    let rmcp = target::start_rmcp(&rmcp, "rmcp", "session", &folder.join("rmcp"))?;
    seen.push(measure_kind(arguments, Kind::Other, rmcp).await?);
    let mut absent = Vec::new();
    for peer in [Peer::FastMcp, Peer::TypeScript, Peer::Go] {
        match peer.find(&arguments.checkout) {
            Ok(installed) => {
                let folder = folder.join(peer.name());
                let target = target::start_peer(&installed, peer.name(), "sessions", &folder)?;
                seen.push(measure_kind(arguments, Kind::Other, target).await?);
            }
            Err(reason) => absent.push(reason),
        }
    }
    let each = seen.iter().map(|seen| (seen.name, seen.each_kib()));
    let title = "Memory of an open stream (less is better)";
    let plot = Plot::new("streams", title, each, |kib| format!("{kib:.1} KiB"));
    Ok(Chapter { tables: write(arguments, &seen, &absent)?, plots: vec![plot] })
}

impl Seen {
    /// What an open stream has added.
    fn each_kib(&self) -> f64 {
        ratio(self.open_kib.saturating_sub(self.idle_kib), u64::try_from(self.count).unwrap_or(1))
    }
}

async fn measure_kind(arguments: &Arguments, kind: Kind, target: Target) -> Result<Seen> {
    let failed = |error: Box<dyn Error + Send + Sync>| format!("streams of {kind:?}: {error}");
    let pid = target.server.pid();
    tokio::time::sleep(SETTLE).await;
    let idle_kib = procfs::resident_kib(pid)?.0;
    let alone = refused(arguments, &target).await?;
    let count = match kind {
        Kind::Other => arguments.streams.min(STREAMS_OF_OTHERS_MAX),
        Kind::Session | Kind::HttpSse | Kind::Listen | Kind::Bare => arguments.streams,
    };
    let mut streams = open(&target, kind, count).await.map_err(failed)?;
    tokio::time::sleep(SETTLE).await;
    if kind == Kind::Other && !streams.iter_mut().all(|stream| stream.connection.is_held_open()) {
        return Err(failed("not all are held open".into()).into());
    }
    let open_kib = procfs::resident_kib(pid)?.0;
    let beside = refused(arguments, &target).await?;
    let name = target.name;
    // What `bare` keeps is known, and it knows no signals; what others do with theirs is theirs.
    if matches!(kind, Kind::Bare | Kind::Other) {
        return Ok(Seen { name, count, idle_kib, open_kib, alone, beside, gone: None });
    }
    for opened in (0..arguments.streams_in_all).step_by(arguments.streams) {
        if opened > 0 {
            streams = open(&target, kind, arguments.streams).await.map_err(failed)?;
        }
        close(&target, std::mem::take(&mut streams)).await.map_err(failed)?;
    }
    let closed = given_back(pid, idle_kib, Duration::from_secs(arguments.give_back)).await?;
    let streams = open(&target, kind, arguments.streams).await.map_err(failed)?;
    let ended = end(&target, kind, streams).await?;
    Ok(Seen { name, count, idle_kib, open_kib, alone, beside, gone: Some((closed, ended)) })
}

/// The latency of a 401 on one connection.
async fn refused(arguments: &Arguments, target: &Target) -> Result<Latency> {
    let counted = Duration::from_secs_f64(arguments.seconds * 2.0);
    let slice = Slice { warm_up: counted / 5, counted };
    let (scenario, address) = (Scenario::NoToken, target.server.address);
    let templates = vec![target.request(scenario, 0)];
    let outcome = load::push(address, templates, scenario.expected(), slice).await?;
    let quantile = |thousandth: usize| {
        outcome.latencies.get(outcome.answers * thousandth / 1000).copied().unwrap_or_default()
    };
    Ok(Latency { p50: quantile(500), p99: quantile(990) })
}

async fn open(target: &Target, kind: Kind, count: usize) -> Result<Vec<Stream>> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let mut batch = JoinSet::new();
        for _ in 0..BATCH.min(count - streams.len()) {
            batch.spawn(open_one(target.server.address, target.wire(), kind));
        }
        while let Some(opened) = batch.join_next().await {
            streams.push(opened??);
        }
    }
    Ok(streams)
}

async fn open_one(address: std::net::SocketAddr, wire: target::Wire, kind: Kind) -> Result<Stream> {
    let mut session = None;
    if matches!(kind, Kind::Session | Kind::Other) {
        let mut connection = Connection::open(address).await?;
        let begun = connection.ask(&wire.initialize()).await?;
        let id = load::header(&begun.head, "mcp-session-id").ok_or("no session")?.to_owned();
        connection.ask(&wire.initialized(&id)).await?;
        session = Some(id);
    }
    let (request, marker): (_, &[u8]) = match kind {
        Kind::Session | Kind::Bare => (wire.get("/mcp", session.as_deref()), b"data:"),
        Kind::HttpSse => (wire.get("/sse", None), b"event: endpoint"),
        Kind::Listen => (wire.listen(), b"subscriptions/acknowledged"),
        Kind::Other => (wire.get("/mcp", session.as_deref()), b""),
    };
    let mut connection = Connection::open(address).await?;
    if kind == Kind::Other {
        connection.ask_without_waiting(&request).await?;
        return Ok(Stream { connection, session });
    }
    connection.ask_until(&request, marker).await?;
    Ok(Stream { connection, session })
}

/// As clients close: the session is ended where there is one, then the connection.
async fn close(target: &Target, streams: Vec<Stream>) -> Result<()> {
    let mut connection = Connection::open(target.server.address).await?;
    for session in streams.iter().filter_map(|stream| stream.session.as_deref()) {
        connection.ask(&target.wire().delete(session)).await?;
    }
    drop(streams);
    Ok(())
}

/// Waits until nearly all memory is given back, or the time for it is over.
async fn given_back(pid: u32, idle_kib: u64, most: Duration) -> Result<Closed> {
    let began_at = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (kib, after) = (procfs::resident_kib(pid)?.0, began_at.elapsed());
        if ratio(kib, idle_kib) <= GIVEN_BACK || after >= most {
            return Ok(Closed { kib, after });
        }
    }
}

/// SIGTERM, and what each stream's client sees of it.
async fn end(target: &Target, kind: Kind, streams: Vec<Stream>) -> Result<Ended> {
    let mut ends = JoinSet::new();
    for stream in streams {
        ends.spawn(async move {
            let end = stream.connection.end().await;
            (end, Instant::now())
        });
    }
    tokio::task::yield_now().await;
    let signalled_at = Instant::now();
    target.server.terminate()?;
    let mut ended = Ended { within: Duration::ZERO, clean: 0 };
    let all = async {
        while let Some(Ok((end, at))) = ends.join_next().await {
            ended.within = ended.within.max(at.saturating_duration_since(signalled_at));
            let is_clean = end.is_ok_and(|(body, is_whole)| {
                // The last event is whole, and a listener is told that there is no other.
                let last = body.trim_end_matches("\r\n0\r\n\r\n");
                let is_told = kind != Kind::Listen || last.contains("\"resultType\":\"complete\"");
                is_whole && is_told && last.ends_with("\n\n")
            });
            ended.clean += usize::from(is_clean);
        }
    };
    if tokio::time::timeout(END_MAX, all).await.is_err() {
        ended.within = END_MAX;
    }
    Ok(ended)
}

fn ratio(kib: u64, of_kib: u64) -> f64 {
    let float = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX));
    float(kib) / float(of_kib).max(1.0)
}

fn write(arguments: &Arguments, seen: &[Seen], absent: &[String]) -> Result<String> {
    let mut text = String::new();
    let (count, in_all) = (arguments.streams, arguments.streams_in_all);
    writeln!(text, "### {count} open streams\n")?;
    for absent in absent {
        writeln!(text, "{absent}.\n")?;
    }
    writeln!(
        text,
        "| stream | open | idle | with them | each | 401 alone, p50 / p99 | 401 beside them | \
         after {in_all} | of idle | after | at SIGTERM all ended within | cleanly |"
    )?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for seen in seen {
        let each = seen.each_kib();
        write!(
            text,
            "| {} | {} | {} | {} | **{each:.1}** KiB | {:.0} / {:.0} µs | {:.0} / {:.0} µs |",
            seen.name,
            seen.count,
            mebibytes(seen.idle_kib),
            mebibytes(seen.open_kib),
            micros(seen.alone.p50),
            micros(seen.alone.p99),
            micros(seen.beside.p50),
            micros(seen.beside.p99),
        )?;
        match &seen.gone {
            Some((Closed { kib, after }, Ended { within, clean })) => writeln!(
                text,
                " {} | **{:.2}** | {} s | {} ms | {clean} |",
                mebibytes(*kib),
                ratio(*kib, seen.idle_kib),
                after.as_secs(),
                within.as_millis(),
            )?,
            None => writeln!(text, " | | | | |")?,
        }
    }
    writeln!(text)?;
    Ok(text)
}
