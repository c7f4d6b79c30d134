//! Everybody on one page: medians of calls, refusals, start, memory and size, and pictures of them.

use std::fmt::Write as _;

use crate::Result;
use crate::calls::Turn;
use crate::plot::{Plot, grouped};
use crate::report::{LIMIT, Report, Spread, Stood, mebibytes};
use crate::target::Scenario;

const AT_ONCE: usize = 32;

/// A median of one server; `NaN` where it was not asked.
fn median(turns: &[Turn], figure: impl Fn(&Turn) -> f64) -> f64 {
    Spread::of(turns.iter().map(figure)).median
}

fn rate(report: &Report, name: &str, scenario: Scenario, at_once: usize) -> f64 {
    median(report.turns_beside_limit(scenario, at_once, name).0, |turn| turn.per_second)
}

/// The rate, and its share of the limit's in the same rounds.
fn rate_and_share(report: &Report, name: &str, scenario: Scenario, at_once: usize) -> String {
    let (turns, limit) = report.turns_beside_limit(scenario, at_once, name);
    if turns.is_empty() {
        return " | ".to_owned();
    }
    let shares = turns.iter().zip(limit).map(|(own, limit)| own.per_second / limit.per_second);
    let share = Spread::of(shares).median;
    format!(" {} | {share:.3} ", grouped(median(turns, |turn| turn.per_second)))
}

fn first_answer(server: &Stood) -> f64 {
    Spread::of(server.standing.first_answers.iter().copied()).median
}

/// One table of all.
pub(crate) fn markdown(report: &Report) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "### Servers, beside each other\n")?;
    for absent in &report.absent {
        writeln!(text, "{absent}.\n")?;
    }
    writeln!(
        text,
        "| server | calls/s, 1 at once | of {LIMIT} | {AT_ONCE} at once | of {LIMIT} | 401/s, {AT_ONCE} at once | of {LIMIT} \
         | first answer | at rest | at its peak | on the disk | and needs |"
    )?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|")?;
    for server in &report.servers {
        let name = server.name;
        writeln!(
            text,
            "| {name} |{}|{}|{}| {:.0} ms | {} | {} | {} | {} |",
            rate_and_share(report, name, Scenario::Call, 1),
            rate_and_share(report, name, Scenario::Call, AT_ONCE),
            rate_and_share(report, name, Scenario::NoToken, AT_ONCE),
            first_answer(server),
            mebibytes(server.idle_kib),
            mebibytes(server.peak_kib),
            mebibytes(server.standing.disk_kib),
            server.standing.needs,
        )?;
    }
    writeln!(text)?;
    Ok(text)
}

/// Pictures of the table's columns.
pub(crate) fn plots(report: &Report) -> Vec<Plot> {
    let names = || report.servers.iter().map(|server| server.name);
    let of = |figure: fn(&Stood) -> f64| {
        report.servers.iter().map(move |server| (server.name, figure(server)))
    };
    let a_second = |value: f64| format!("{}/s", grouped(value));
    let size = |kib: f64| format!("{:.1} MiB", kib / 1024.0);
    vec![
        Plot::new(
            "calls",
            format!("Answers to a tool call, {AT_ONCE} connections (more is better)"),
            names().map(|name| (name, rate(report, name, Scenario::Call, AT_ONCE))),
            a_second,
        ),
        Plot::new(
            "refusals",
            format!("Refusals of a call without a token, {AT_ONCE} connections (more is better)"),
            names().map(|name| (name, rate(report, name, Scenario::NoToken, AT_ONCE))),
            a_second,
        ),
        Plot::new(
            "start",
            "From the start to the first answer (less is better)",
            of(first_answer),
            |value| format!("{} ms", grouped(value)),
        ),
        Plot::new(
            "memory",
            "Memory at rest (less is better)",
            of(|server| kibibytes(server.idle_kib)),
            size,
        ),
        Plot::new(
            "size",
            "Size on the disk, without Python or Node (less is better)",
            of(|server| kibibytes(server.standing.disk_kib)),
            size,
        ),
    ]
}

pub(crate) fn kibibytes(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX))
}
