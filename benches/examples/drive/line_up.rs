//! Who takes part in calls: the program, what cannot be beaten, and the servers that others would build
//! or have built, each with a token, its sessions, and what is asked of it.

use std::path::Path;
use std::time::Duration;

use crate::load;
use crate::peers::Peer;
use crate::report::{Report, Stood};
use crate::server::Server;
use crate::target::{self, Answers, Scenario, Target};
use crate::{Arguments, Result, procfs};

/// How often a server is started to see how soon it answers.
const STARTS: usize = 7;
const STARTS_OF_OTHERS: usize = 3;
const IDLE: Duration = Duration::from_secs(2);
/// More would say nothing more of those that have long been at their end.
const CONNECTIONS_OF_OTHERS_MAX: usize = 32;
/// Every server of others has two ways: as few things on as it allows, and as it is without a setting.
const OTHERS: [(Peer, [(&str, &str); 2]); 3] = [
    (Peer::FastMcp, [("FastMCP, JSON", "json"), ("FastMCP, sessions", "sessions")]),
    (
        Peer::TypeScript,
        [("TypeScript SDK, JSON", "json"), ("TypeScript SDK, sessions", "sessions")],
    ),
    (Peer::Go, [("Go SDK, JSON", "json"), ("Go SDK, sessions", "sessions")]),
];

/// Starts everybody, with one session or more each.
pub(crate) async fn start_all(
    arguments: &Arguments,
    folder: &Path,
    report: &mut Report,
) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    let mut answers = Answers::default();
    if let Some(program) = &arguments.sekisho {
        let program = program.canonicalize()?;
        time_starts(&program, folder, report).await?;
        let mut sekisho =
            target::start_sekisho(&program, &folder.join("measured"), "sekisho").await?;
        sekisho.standing.first_answers = report.later_starts_ms();
        sekisho.begin_sessions(arguments.sessions).await?;
        answers = Answers::of(&sekisho).await?;
        targets.push(sekisho);
    }
    let peers = arguments.peers.canonicalize()?;
    targets.push(target::start_bare(&peers.join("bare"), Some(answers), &folder.join("bare"))?);
    for (name, mode) in [("rmcp, JSON", "json"), ("rmcp, sessions", "session")] {
        let program = peers.join("rmcp_peer");
        let start = || target::start_rmcp(&program, name, mode, &folder.join(mode));
        targets.push(started(arguments, start).await?);
    }
    for (peer, ways) in OTHERS {
        match peer.find(&arguments.checkout) {
            Ok(installed) => {
                for (name, way) in ways {
                    let folder = folder.join(name);
                    let start = || target::start_peer(&installed, name, way, &folder);
                    let mut target = started(arguments, start).await?;
                    target.connections_max = CONNECTIONS_OF_OTHERS_MAX;
                    target.scenarios = scenarios(&target, way).await?;
                    targets.push(target);
                }
            }
            Err(absent) => report.absent.push(absent),
        }
    }
    tokio::time::sleep(IDLE).await;
    for target in &targets {
        let idle_kib = procfs::resident_kib(target.server.pid())?.0;
        let expected = Scenario::Call.expected();
        let request = target.request(Scenario::Call, 0);
        let (_, answer) = load::once(target.server.address, request, expected).await?;
        let (name, standing) = (target.name, target.standing.clone());
        report.servers.push(Stood { name, standing, idle_kib, peak_kib: 0, answer });
    }
    Ok(targets)
}

/// Starts a server a few times; keeps the last, with its sessions.
async fn started(arguments: &Arguments, start: impl Fn() -> Result<Target>) -> Result<Target> {
    let mut first_answers = Vec::new();
    for _ in 1..STARTS_OF_OTHERS {
        first_answers.push(start()?.server.first_answer_ms());
    }
    let mut target = start()?;
    target.standing.first_answers.extend(first_answers);
    target.begin_sessions(arguments.sessions).await?;
    Ok(target)
}

/// A refusal does not depend on the way, and the newer form has no sessions.
async fn scenarios(target: &Target, way: &str) -> Result<Vec<Scenario>> {
    let mut scenarios = vec![Scenario::Call];
    if way == "json" {
        scenarios.extend([Scenario::NoToken, Scenario::UnknownToken]);
        if target.speaks_stateless().await? {
            scenarios.push(Scenario::StatelessCall);
        }
    }
    Ok(scenarios)
}

/// How soon the program answers after its start, and what it holds when nobody asks.
async fn time_starts(program: &Path, folder: &Path, report: &mut Report) -> Result<()> {
    for start in 0..STARTS {
        let folder = folder.join(format!("start-{start}"));
        let address = target::write_settings(&folder, "")?;
        for is_first in [true, false] {
            // The first answer comes before the account is made; the next start shall find it.
            let server = Server::start_and_listen(program, address, &folder).await?;
            report.add_start(is_first, server.first_answer_after);
            if start == 0 {
                tokio::time::sleep(IDLE).await;
                report.add_idle(is_first, procfs::resident_kib(server.pid())?.0);
            }
        }
    }
    Ok(())
}
