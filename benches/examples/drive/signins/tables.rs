//! Sign-ins as tables and pictures: the rates, each beside minimal's of the same round, and what the
//! servers take before and after.

use std::fmt::Write as _;

use super::{CONNECTIONS, LEAST, Signer, Step, Turn};
use crate::plot::{Plot, grouped};
use crate::report::{Spread, mebibytes, micros};
use crate::{Result, procfs};

/// The turns of one step: for each count of connections, everybody's.
pub(super) type Seen = Vec<Vec<Vec<Turn>>>;

pub(super) fn rates(step: Step, signers: &[Signer], seen: &Seen) -> Result<String> {
    let title = match step {
        Step::SignIn => "Whole sign-ins",
        Step::Refresh => "Refreshes",
    };
    let mut text = format!("### {title}\n\n");
    writeln!(
        text,
        "| at once | server | a second | of minimal | p50 | p99 | processor time each | of minimal \
         | server on its core | driver and provider on theirs |"
    )?;
    writeln!(text, "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for (connections, turns) in CONNECTIONS.iter().zip(seen) {
        write_rows(&mut text, *connections, signers, turns)?;
    }
    writeln!(text)?;
    Ok(text)
}

fn write_rows(
    text: &mut String,
    connections: usize,
    signers: &[Signer],
    turns: &[Vec<Turn>],
) -> Result<()> {
    let minimal = signers.iter().zip(turns).find(|(signer, _)| signer.name == LEAST);
    let minimal = minimal.map(|(_, turns)| turns.as_slice()).unwrap_or_default();
    for (signer, turns) in signers.iter().zip(turns) {
        let of = |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure));
        let of_minimal = |figure: fn(&Turn) -> f64| {
            Spread::of(turns.iter().zip(minimal).map(|(own, least)| figure(own) / figure(least)))
        };
        writeln!(
            text,
            "| {connections} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            signer.name,
            of(|turn| turn.per_second).show(0, ""),
            of_minimal(|turn| turn.per_second).show(3, ""),
            of(|turn| micros(turn.p50)).show(0, " µs"),
            of(|turn| micros(turn.p99)).show(0, " µs"),
            of(|turn| micros(turn.cost)).show(0, " µs"),
            of_minimal(|turn| micros(turn.cost)).show(2, ""),
            of(|turn| turn.server_share).show_percent(),
            of(|turn| turn.load_share).show_percent(),
        )?;
    }
    Ok(())
}

/// What each takes; asked for after all the turns.
pub(super) fn servers(signers: &[Signer], absent: &[String]) -> Result<String> {
    let mut text = "### Authorization servers, beside each other\n\n".to_owned();
    for absent in absent {
        writeln!(text, "{absent}.\n")?;
    }
    writeln!(
        text,
        "| server | first answer | at rest | at its peak | on the disk | and needs | what it knows is kept in |"
    )?;
    writeln!(text, "|---|--:|--:|--:|--:|---|---|")?;
    for Signer { name, server, standing, idle_kib, keeps, .. } in signers {
        writeln!(
            text,
            "| {name} | {:.0} ms | {} | {} | {} | {} | {keeps} |",
            server.first_answer_ms(),
            mebibytes(*idle_kib),
            mebibytes(procfs::resident_kib(server.pid())?.1),
            mebibytes(standing.disk_kib),
            standing.needs,
        )?;
    }
    writeln!(text)?;
    Ok(text)
}

/// Everybody's rate with the most connections.
pub(super) fn plot(step: Step, signers: &[Signer], seen: &Seen) -> Plot {
    let (name, what) = match step {
        Step::SignIn => ("sign-ins", "Whole sign-ins"),
        Step::Refresh => ("refreshes", "Refreshes"),
    };
    let at_once = CONNECTIONS.last().copied().unwrap_or_default();
    let turns = seen.last().map(Vec::as_slice).unwrap_or_default();
    let figures = signers.iter().zip(turns).map(|(signer, turns)| {
        (signer.name, Spread::of(turns.iter().map(|turn| turn.per_second)).median)
    });
    let title = format!("{what}, {at_once} at once (more is better)");
    Plot::new(name, title, figures, |value| format!("{}/s", grouped(value)))
}
