//! Measures the program beside its peers: starts each on one core, pushes from another, takes turns
//! in short slices, and writes tables of medians with their spread. Changes nothing outside its
//! own temporary folder and the folder it is told to write to.
//!
//! ```text
//! core 0:  sekisho │ bare │ rmcp, JSON │ rmcp, sessions      all up, one of them busy at a time
//! core 1:  this driver
//! ```

mod load;
mod login;
mod procfs;
mod report;
mod server;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use load::Slice;
use report::Report;
use target::{Scenario, Target};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The core all servers are pinned to.
const SERVER_CORE: usize = 0;
/// The core this driver is to be pinned to by whoever starts it.
const LOAD_CORE: usize = 1;
/// Share of either core that others may take before a turn is disturbed.
const FOREIGN_SHARE_MAX: f64 = 0.10;

/// What to measure, and for how long.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program; without it only the peers are measured.
    #[arg(long)]
    sekisho: Option<PathBuf>,
    /// Folder with the built peers.
    #[arg(long)]
    peers: PathBuf,
    /// Folder for the tables.
    #[arg(long)]
    out: PathBuf,
    /// How often each server has its turn in each row.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Counted seconds of a turn.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Connections at once.
    #[arg(long, value_delimiter = ',', default_value = "1,32,256")]
    concurrency: Vec<usize>,
    /// Seconds that may be spent, over all, on repeating turns that something else disturbed.
    #[arg(long, default_value_t = 0.0)]
    patience: f64,
    /// MCP sessions that the connections share.
    #[arg(long, default_value_t = 8)]
    sessions: usize,
}

/// What one turn of one server showed.
#[derive(Debug, Clone, Copy)]
struct Turn {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Processor time of the server for one answer.
    cost: Duration,
    /// Share of the turn in which the server was on its core.
    server_share: f64,
    /// Share of the turn in which the driver was on its core.
    load_share: f64,
    /// Share of the turn in which something else was on the server's or the driver's core,
    /// whichever is more.
    foreign_share: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.out)?;
    let folder = tempfile::tempdir()?;
    let mut report = Report::default();
    let targets = target::start_all(&arguments, folder.path(), &mut report).await?;
    let warm_up = Duration::from_secs_f64(arguments.seconds * 0.2);
    let slice = Slice { warm_up, counted: Duration::from_secs_f64(arguments.seconds) };
    let mut patience = Duration::from_secs_f64(arguments.patience);
    for round in 0..arguments.rounds {
        for scenario in Scenario::ALL {
            for &connections in &arguments.concurrency {
                // Every round begins with another server, so that none is always the one
                // that runs on a core just heated by the same neighbour.
                for turn in 0..targets.len() {
                    let Some(target) = targets.get((round + turn) % targets.len()) else {
                        continue;
                    };
                    if target.takes_part_in(scenario) {
                        let turn = loop {
                            let turn = measure(target, scenario, connections, slice).await?;
                            if turn.foreign_share <= FOREIGN_SHARE_MAX || patience.is_zero() {
                                break turn;
                            }
                            patience = patience.saturating_sub(slice.warm_up + slice.counted);
                            report.repeated_turns += 1;
                        };
                        report.add_turn(scenario, connections, target.name, turn);
                    }
                }
            }
        }
    }
    for target in &targets {
        report.add_peak_memory(target.name, procfs::resident_kib(target.server.pid())?.1);
    }
    report.write(&arguments.out)
}

async fn measure(
    target: &Target,
    scenario: Scenario,
    connections: usize,
    slice: Slice,
) -> Result<Turn> {
    let before = Used::now(target)?;
    let templates = (0..connections).map(|at| target.request(scenario, at)).collect();
    let outcome = load::push(target.server.address, templates, scenario.expected(), slice)
        .await
        .map_err(|error| format!("{}, {scenario:?}, {connections}: {error}", target.name))?;
    let used = Used::now(target)?.since(&before);
    let took = used.at.as_secs_f64();
    let quantile = |thousandth: usize| {
        outcome.latencies.get(outcome.answers * thousandth / 1000).copied().unwrap_or_default()
    };
    Ok(Turn {
        per_second: f64::from(u32::try_from(outcome.answers)?) / slice.counted.as_secs_f64(),
        p50: quantile(500),
        p99: quantile(990),
        cost: used.by_server / u32::try_from(outcome.answers_in_all)?.max(1),
        server_share: used.by_server.as_secs_f64() / took,
        load_share: used.by_driver.as_secs_f64() / took,
        foreign_share: used.by_others().as_secs_f64() / took,
    })
}

/// What was used of both cores.
struct Used {
    at: Duration,
    by_server: Duration,
    by_driver: Duration,
    of_server_core: Duration,
    of_load_core: Duration,
}

impl Used {
    /// Since the start of the processes and the machine.
    fn now(target: &Target) -> Result<Self> {
        Ok(Self {
            at: procfs::uptime()?,
            by_server: procfs::processor_time(target.server.pid())?,
            by_driver: procfs::processor_time(std::process::id())?,
            of_server_core: procfs::busy_time(SERVER_CORE)?,
            of_load_core: procfs::busy_time(LOAD_CORE)?,
        })
    }

    fn since(self, before: &Self) -> Self {
        Self {
            at: self.at.saturating_sub(before.at),
            by_server: self.by_server.saturating_sub(before.by_server),
            by_driver: self.by_driver.saturating_sub(before.by_driver),
            of_server_core: self.of_server_core.saturating_sub(before.of_server_core),
            of_load_core: self.of_load_core.saturating_sub(before.of_load_core),
        }
    }

    /// The larger of what others used of the two cores.
    fn by_others(&self) -> Duration {
        let beside_server = self.of_server_core.saturating_sub(self.by_server);
        let beside_driver = self.of_load_core.saturating_sub(self.by_driver);
        beside_server.max(beside_driver)
    }
}
