//! From turns to tables: medians, the smallest and largest value beside them, and ratios taken
//! within one round, so that what disturbed both does not count.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::Result;
use crate::calls::Turn;
use crate::peers::Standing;
use crate::target::{Scenario, is_json};

pub(crate) const LIMIT: &str = "bare";

/// The servers of one row, each with its turns in the order of the rounds.
type Row = Vec<(&'static str, Vec<Turn>)>;

/// A server beside what was asked of it.
#[derive(Debug)]
pub(crate) struct Stood {
    pub name: &'static str,
    pub standing: Standing,
    pub idle_kib: u64,
    pub peak_kib: u64,
    pub answer: String,
}

/// All that was seen.
#[derive(Debug, Default)]
pub(crate) struct Report {
    turns: BTreeMap<(Scenario, usize), Row>,
    /// The servers, in the order of their start.
    pub servers: Vec<Stood>,
    /// Why somebody is not among them.
    pub absent: Vec<String>,
    first_starts: Vec<Duration>,
    later_starts: Vec<Duration>,
    idle_kib: Vec<(&'static str, u64)>,
    /// Turns that were measured again because something else disturbed them.
    pub repeated_turns: u32,
}

impl Report {
    pub(crate) fn add_turn(
        &mut self,
        scenario: Scenario,
        connections: usize,
        name: &'static str,
        turn: Turn,
    ) {
        let row = self.turns.entry((scenario, connections)).or_default();
        match row.iter_mut().find(|(known, _)| *known == name) {
            Some((_, turns)) => turns.push(turn),
            None => row.push((name, vec![turn])),
        }
    }

    pub(crate) fn add_peak_memory(&mut self, name: &'static str, kib: u64) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.name == name) {
            server.peak_kib = kib;
        }
    }

    /// The turns of one server, and those of the limit in the same rounds.
    pub(crate) fn turns_beside_limit(
        &self,
        scenario: Scenario,
        connections: usize,
        name: &str,
    ) -> (&[Turn], &[Turn]) {
        let row = self.turns.get(&(scenario, connections));
        let of = |name: &str| {
            let found = row.and_then(|row| row.iter().find(|(known, _)| *known == name));
            found.map(|(_, turns)| turns.as_slice()).unwrap_or_default()
        };
        (of(name), of(LIMIT))
    }

    pub(crate) fn add_start(&mut self, is_first: bool, after: Duration) {
        if is_first { self.first_starts.push(after) } else { self.later_starts.push(after) }
    }

    /// Starts of the program after the first in a folder.
    pub(crate) fn later_starts_ms(&self) -> Vec<f64> {
        self.later_starts.iter().map(|start| micros(*start) / 1000.0).collect()
    }

    /// Memory of the program two seconds after its start, before any request but one.
    pub(crate) fn add_idle(&mut self, is_first: bool, kib: u64) {
        let when = if is_first { "first start" } else { "later start" };
        self.idle_kib.push((when, kib));
    }

    /// All tables.
    pub(crate) fn markdown(&self) -> Result<String> {
        let mut text = String::new();
        for scenario in Scenario::ALL {
            let title = match scenario {
                Scenario::Call => "`tools/call fortune`, valid token",
                Scenario::StatelessCall => "the same call in the 2026-07-28 form",
                Scenario::NoToken => "401: no token",
                Scenario::UnknownToken => "401: an unknown token, another in each request",
            };
            writeln!(text, "### {title}\n")?;
            writeln!(
                text,
                "| connections | server | answers/s | of bare | p50 | p99 | p99 of bare | processor time/answer | of bare |"
            )?;
            writeln!(text, "|--:|---|--:|--:|--:|--:|--:|--:|--:|")?;
            for ((_, connections), row) in self.turns.iter().filter(|(key, _)| key.0 == scenario) {
                Self::write_row(&mut text, *connections, row)?;
            }
            writeln!(text)?;
        }
        self.write_eras(&mut text)?;
        self.write_servers(&mut text)?;
        self.write_conditions(&mut text)?;
        Ok(text)
    }

    fn write_row(text: &mut String, connections: usize, row: &Row) -> Result<()> {
        let limit = row.iter().find(|(name, _)| *name == LIMIT);
        let limit = limit.map(|(_, turns)| turns.as_slice()).unwrap_or_default();
        for (name, turns) in row {
            let of_limit = |figure: fn(&Turn) -> f64| {
                Spread::of(turns.iter().zip(limit).map(|(own, bare)| figure(own) / figure(bare)))
            };
            let of = |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure));
            writeln!(
                text,
                "| {connections} | {name} | {} | {} | {} | {} | {} | {} | {} |",
                of(|turn| turn.per_second).show(0, ""),
                of_limit(|turn| turn.per_second).show(2, ""),
                of(|turn| micros(turn.p50)).show(0, " µs"),
                of(|turn| micros(turn.p99)).show(0, " µs"),
                of_limit(|turn| micros(turn.p99)).show(2, ""),
                of(|turn| micros(turn.cost)).show(1, " µs"),
                of_limit(|turn| micros(turn.cost)).show(2, ""),
            )?;
        }
        Ok(())
    }

    /// The program's own two ways to be called, within the same round.
    fn write_eras(&self, text: &mut String) -> Result<()> {
        writeln!(text, "### The 2026-07-28 form, of the older one\n")?;
        writeln!(text, "| connections | answers/s | processor time/answer |")?;
        writeln!(text, "|--:|--:|--:|")?;
        for ((_, connections), row) in
            self.turns.iter().filter(|(key, _)| key.0 == Scenario::StatelessCall)
        {
            let older = self.turns.get(&(Scenario::Call, *connections));
            let of_program = |row: &Row| {
                row.iter().find(|(name, _)| *name == "sekisho").map(|(_, turns)| turns.clone())
            };
            let (Some(newer), Some(older)) = (of_program(row), older.and_then(of_program)) else {
                continue;
            };
            let ratio = |figure: fn(&Turn) -> f64| {
                Spread::of(newer.iter().zip(&older).map(|(new, old)| figure(new) / figure(old)))
            };
            writeln!(
                text,
                "| {connections} | {} | {} |",
                ratio(|turn| turn.per_second).show(2, ""),
                ratio(|turn| micros(turn.cost)).show(2, ""),
            )?;
        }
        Ok(writeln!(text)?)
    }

    fn write_servers(&self, text: &mut String) -> Result<()> {
        writeln!(text, "### Answers\n")?;
        writeln!(text, "| server | an answer |")?;
        writeln!(text, "|---|---|")?;
        for Stood { name, answer, .. } in &self.servers {
            let kind = if is_json(answer) { "JSON" } else { "event stream" };
            writeln!(text, "| {name} | {} bytes, {kind} |", answer.len())?;
        }
        writeln!(text)?;
        if self.first_starts.is_empty() {
            return Ok(());
        }
        writeln!(text, "### The program alone\n")?;
        writeln!(text, "| figure | value |")?;
        writeln!(text, "|---|--:|")?;
        for (what, starts) in [
            ("first answer, first start (makes store, key and account)", &self.first_starts),
            ("first answer, later starts", &self.later_starts),
        ] {
            let spread = Spread::of(starts.iter().map(|start| micros(*start) / 1000.0));
            writeln!(text, "| {what} | {} |", spread.show(1, " ms"))?;
        }
        for (when, kib) in &self.idle_kib {
            writeln!(text, "| memory, idle, {when} | {} |", mebibytes(*kib))?;
        }
        writeln!(text)?;
        Ok(())
    }

    /// How far the figures can be trusted.
    fn write_conditions(&self, text: &mut String) -> Result<()> {
        writeln!(text, "### Conditions\n")?;
        writeln!(
            text,
            "Turns repeated because something disturbed them: {}\n",
            self.repeated_turns
        )?;
        writeln!(
            text,
            "| | connections | server | server on its core | driver on its core | others on either core |"
        )?;
        writeln!(text, "|---|--:|---|--:|--:|--:|")?;
        for ((scenario, connections), row) in &self.turns {
            for (name, turns) in row {
                let of =
                    |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure)).show_percent();
                writeln!(
                    text,
                    "| {scenario:?} | {connections} | {name} | {} | {} | {} |",
                    of(|turn| turn.server_share),
                    of(|turn| turn.load_share),
                    of(|turn| turn.foreign_share),
                )?;
            }
        }
        Ok(())
    }
}

/// The middle of some figures, with the smallest and the largest.
pub(crate) struct Spread {
    pub median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Self { median, min: at(0), max: at(last) }
    }

    pub(crate) fn show(&self, decimals: usize, unit: &str) -> String {
        let Self { median, min, max } = self;
        format!("**{median:.decimals$}**{unit} ({min:.decimals$}–{max:.decimals$})")
    }

    pub(crate) fn show_percent(&self) -> String {
        let Self { median, min, max } = self;
        format!("{:.0} % ({:.0}–{:.0})", median * 100.0, min * 100.0, max * 100.0)
    }
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub(crate) fn mebibytes(kib: u64) -> String {
    let tenths = (kib * 10 + 512) / 1024;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
