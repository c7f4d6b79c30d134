//! Calls and refusals: all servers are up, take turns in short slices, and are compared within a
//! round.

use std::path::Path;
use std::time::Duration;

use crate::load::{self, Outcome, Slice};
use crate::report::Report;
use crate::target::{Scenario, Target};
use crate::{Arguments, Chapter, LOAD_CORE, Result, SERVER_CORE, line_up, overview, procfs};

/// Share of either core that others may take before a turn is disturbed.
pub(crate) const FOREIGN_SHARE_MAX: f64 = 0.10;
/// Everybody has so much to do before anything counts, since some become faster by it.
const WARM_UP: Slice = Slice { warm_up: Duration::ZERO, counted: Duration::from_millis(1_500) };
const WARM_UP_CONNECTIONS: usize = 32;

/// What one turn of one server showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Processor time of the server for one answer.
    pub cost: Duration,
    /// Share of the turn in which the server was on its core.
    pub server_share: f64,
    /// Share of the turn in which the driver was on its core.
    pub load_share: f64,
    /// Share of the turn in which something else was on the server's or the driver's core,
    /// whichever is more.
    pub foreign_share: f64,
}

/// Measures every scenario with every server, round by round.
pub(crate) async fn measure(arguments: &Arguments, folder: &Path) -> Result<Chapter> {
    let mut report = Report::default();
    let targets = line_up::start_all(arguments, folder, &mut report).await?;
    for target in &targets {
        for scenario in Scenario::ALL {
            if target.takes_part_in(scenario, WARM_UP_CONNECTIONS) {
                take_turn(target, scenario, WARM_UP_CONNECTIONS, WARM_UP).await?;
            }
        }
    }
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
                    if target.takes_part_in(scenario, connections) {
                        let turn = loop {
                            let turn = take_turn(target, scenario, connections, slice).await?;
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
    let tables = overview::markdown(&report)? + &report.markdown()?;
    Ok(Chapter { tables, plots: overview::plots(&report) })
}

async fn take_turn(
    target: &Target,
    scenario: Scenario,
    connections: usize,
    slice: Slice,
) -> Result<Turn> {
    let templates = (0..connections).map(|at| target.request(scenario, at)).collect();
    let pushed = load::push(target.server.address, templates, scenario.expected(), slice);
    let observed = observe(target.server.pid(), slice, pushed).await;
    observed
        .map_err(|error| format!("{}, {scenario:?}, {connections}: {error}", target.name).into())
}

/// Looks at a server and both cores while it is pushed.
pub(crate) async fn observe(
    server: u32,
    slice: Slice,
    pushed: impl Future<Output = Result<Outcome>>,
) -> Result<Turn> {
    let before = Used::now(server)?;
    let outcome = pushed.await?;
    let used = Used::now(server)?.since(&before);
    let quantile = |thousandth: usize| {
        outcome.latencies.get(outcome.answers * thousandth / 1000).copied().unwrap_or_default()
    };
    Ok(Turn {
        per_second: f64::from(u32::try_from(outcome.answers)?) / slice.counted.as_secs_f64(),
        p50: quantile(500),
        p99: quantile(990),
        cost: used.by_server / u32::try_from(outcome.answers_in_all)?.max(1),
        server_share: used.server_share(),
        load_share: used.load_share(),
        foreign_share: used.by_others().as_secs_f64() / used.at.as_secs_f64(),
    })
}

/// What was used of both cores.
pub(crate) struct Used {
    at: Duration,
    pub by_server: Duration,
    by_driver: Duration,
    of_server_core: Duration,
    of_load_core: Duration,
}

impl Used {
    /// Since the start of the processes and the machine.
    pub(crate) fn now(server: u32) -> Result<Self> {
        Ok(Self {
            at: procfs::uptime()?,
            by_server: procfs::processor_time(server)?,
            by_driver: procfs::processor_time(std::process::id())?,
            of_server_core: procfs::busy_time(SERVER_CORE)?,
            of_load_core: procfs::busy_time(LOAD_CORE)?,
        })
    }

    pub(crate) fn since(self, before: &Self) -> Self {
        Self {
            at: self.at.saturating_sub(before.at),
            by_server: self.by_server.saturating_sub(before.by_server),
            by_driver: self.by_driver.saturating_sub(before.by_driver),
            of_server_core: self.of_server_core.saturating_sub(before.of_server_core),
            of_load_core: self.of_load_core.saturating_sub(before.of_load_core),
        }
    }

    /// Share of the time in which the server was on its core.
    pub(crate) fn server_share(&self) -> f64 {
        self.by_server.as_secs_f64() / self.at.as_secs_f64()
    }

    /// Share of the time in which this driver was on its core.
    pub(crate) fn load_share(&self) -> f64 {
        self.by_driver.as_secs_f64() / self.at.as_secs_f64()
    }

    /// The larger of what others used of the two cores.
    fn by_others(&self) -> Duration {
        let beside_server = self.of_server_core.saturating_sub(self.by_server);
        let beside_driver = self.of_load_core.saturating_sub(self.by_driver);
        beside_server.max(beside_driver)
    }
}
