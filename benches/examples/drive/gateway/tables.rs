//! From turns to tables, each figure beside nginx's, or the pipes', of the same round.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::pipes;
use super::ways::{DIRECT, Form, NGINX};
use crate::Result;
use crate::calls::Turn;
use crate::plot::{Plot, grouped};
use crate::report::{Spread, micros};

/// Connections of the picture.
const AT_ONCE: usize = 32;

/// Everybody's turns of one row, in the order of the rounds.
type Row = Vec<(&'static str, Vec<Turn>)>;

fn add(row: &mut Row, name: &'static str, turn: Turn) {
    match row.iter_mut().find(|(known, _)| *known == name) {
        Some((_, turns)) => turns.push(turn),
        None => row.push((name, vec![turn])),
    }
}

fn turns_of<'a>(row: &'a Row, name: &str) -> &'a [Turn] {
    row.iter().find(|(known, _)| *known == name).map_or(&[], |(_, turns)| turns)
}

fn spread(turns: &[Turn], figure: fn(&Turn) -> f64) -> Spread {
    Spread::of(turns.iter().map(figure))
}

fn ratio(turns: &[Turn], others: &[Turn], figure: fn(&Turn) -> f64) -> Spread {
    Spread::of(turns.iter().zip(others).map(|(own, other)| figure(own) / figure(other)))
}

/// Calls through whoever stands between.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<(Form, usize), Row>);

impl Calls {
    pub(super) fn add(&mut self, form: Form, connections: usize, way: &'static str, turn: Turn) {
        add(self.0.entry((form, connections)).or_default(), way, turn);
    }

    pub(super) fn markdown(&self) -> Result<String> {
        let mut text = String::new();
        for form in Form::ALL {
            let title = match form {
                Form::Session => "A call through a gateway, in a session",
                Form::Stateless => "A call through a gateway, in the 2026-07-28 form",
            };
            writeln!(text, "### {title}\n")?;
            writeln!(
                text,
                "| connections | in front | answers/s | of nginx | p50 | added | of nginx's | p99 | \
                 processor time/answer | of nginx | on its core |"
            )?;
            writeln!(text, "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
            for ((_, connections), row) in self.0.iter().filter(|((of, _), _)| *of == form) {
                write_row(&mut text, *connections, row)?;
            }
            writeln!(text)?;
        }
        Ok(text)
    }

    /// Everybody's rate.
    pub(super) fn plot(&self, form: Form) -> Plot {
        let (name, how) = match form {
            Form::Session => ("gateway", "in a session"),
            Form::Stateless => ("gateway-2026", "in the 2026-07-28 form"),
        };
        let row = self.0.get(&(form, AT_ONCE)).map(Vec::as_slice).unwrap_or_default();
        let rates =
            row.iter().map(|(name, turns)| (*name, spread(turns, |turn| turn.per_second).median));
        let title =
            format!("Answers through a gateway, {how}, {AT_ONCE} connections (more is better)");
        Plot::new(name, title, rates, |value| format!("{}/s", grouped(value)))
    }
}

fn write_row(text: &mut String, connections: usize, row: &Row) -> Result<()> {
    let (direct, nginx) = (turns_of(row, DIRECT), turns_of(row, NGINX));
    for (name, turns) in row {
        let added = |of: &[Turn]| -> Vec<f64> {
            of.iter().zip(direct).map(|(own, none)| micros(own.p50) - micros(none.p50)).collect()
        };
        let (own, theirs) = (added(turns), added(nginx));
        let of_theirs = own.iter().zip(&theirs).map(|(own, theirs)| own / theirs);
        write!(
            text,
            "| {connections} | {name} | {} | {} | {} |",
            spread(turns, |turn| turn.per_second).show(0, ""),
            ratio(turns, nginx, |turn| turn.per_second).show(2, ""),
            spread(turns, |turn| micros(turn.p50)).show(0, " µs"),
        )?;
        let p99 = spread(turns, |turn| micros(turn.p99)).show(0, " µs");
        // Where nobody stands between, nothing is added, and the driver is all there is.
        if *name == DIRECT {
            writeln!(text, " | | {p99} | | | |")?;
            continue;
        }
        writeln!(
            text,
            " {} | {} | {p99} | {} | {} | {} |",
            Spread::of(own.iter().copied()).show(0, " µs"),
            Spread::of(of_theirs).show(2, ""),
            spread(turns, |turn| micros(turn.cost)).show(1, " µs"),
            ratio(turns, nginx, |turn| micros(turn.cost)).show(2, ""),
            spread(turns, |turn| turn.server_share).show_percent(),
        )?;
    }
    Ok(())
}

/// Calls of a command.
#[derive(Debug, Default)]
pub(super) struct Pipes(BTreeMap<(&'static str, usize), Row>);

impl Pipes {
    pub(super) fn add(
        &mut self,
        command: &'static str,
        at_once: usize,
        way: &'static str,
        turn: Turn,
    ) {
        add(self.0.entry((command, at_once)).or_default(), way, turn);
    }

    pub(super) fn markdown(&self) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "### Calls of a command\n")?;
        writeln!(
            text,
            "| command | at once | by | answers/s | of its pipes | p50 | p99 | processor time/answer |"
        )?;
        writeln!(text, "|---|--:|---|--:|--:|--:|--:|--:|")?;
        for ((command, at_once), row) in &self.0 {
            let direct = turns_of(row, pipes::DIRECT);
            for (name, turns) in row {
                writeln!(
                    text,
                    "| {command} | {at_once} | {name} | {} | {} | {} | {} | {} |",
                    spread(turns, |turn| turn.per_second).show(0, ""),
                    ratio(turns, direct, |turn| turn.per_second).show(2, ""),
                    spread(turns, |turn| micros(turn.p50)).show(0, " µs"),
                    spread(turns, |turn| micros(turn.p99)).show(0, " µs"),
                    spread(turns, |turn| micros(turn.cost)).show(1, " µs"),
                )?;
            }
        }
        writeln!(text)?;
        writeln!(
            text,
            "Processor time is the command's own in the row of its pipes, and sekisho's in the other.\n"
        )?;
        Ok(text)
    }
}
