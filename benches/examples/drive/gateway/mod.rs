//! What it costs to stand between a client and a server: calls through the program, through nginx and
//! through a bare proxy, beside calls to the server itself; streams held open; and a command spoken to
//! by its pipes.
//!
//! ```text
//! core 0:  sekisho │ nginx │ bare proxy │ a command       one of them busy at a time
//! core 1:  this driver, the client and the server behind them all in one
//! ```
//!
//! So the server behind costs the same whoever is in front of it, and nothing of the core that is measured.

pub(crate) mod behind;
mod open;
mod pipes;
mod tables;
mod ways;

use std::path::Path;
use std::time::Duration;

use self::tables::Calls;
use self::ways::Form;
use crate::calls::{FOREIGN_SHARE_MAX, observe};
use crate::load::{self, Slice};
use crate::target::Scenario;
use crate::{Arguments, Chapter, Result};

/// Measures calls, streams and pipes, one after the other.
pub(crate) async fn measure(arguments: &Arguments, folder: &Path) -> Result<Chapter> {
    let behind = behind::listen().await?;
    let mut chapter = calls(arguments, &folder.join("calls"), behind).await?;
    chapter.tables += &pipes::measure(arguments, &folder.join("pipes")).await?;
    chapter.tables += &open::measure(arguments, &folder.join("open"), behind).await?;
    Ok(chapter)
}

async fn calls(
    arguments: &Arguments,
    folder: &Path,
    behind: std::net::SocketAddr,
) -> Result<Chapter> {
    let ways = ways::start_all(arguments, folder, behind).await?;
    let counted = Duration::from_secs_f64(arguments.seconds);
    let slice = Slice { warm_up: counted / 5, counted };
    let mut patience = Duration::from_secs_f64(arguments.patience);
    let mut seen = Calls::default();
    let expected = Scenario::Call.expected();
    for round in 0..arguments.rounds {
        for form in Form::ALL {
            for &connections in &arguments.concurrency {
                for turn in 0..ways.len() {
                    let Some(way) = ways.get((round + turn) % ways.len()) else { continue };
                    if !way.takes_part_in(form) {
                        continue;
                    }
                    let turn = loop {
                        let requests = (0..connections).map(|at| way.request(form, at)).collect();
                        let pushed = load::push(way.address, requests, expected, slice);
                        let turn = observe(way.pid(), slice, pushed).await.map_err(|error| {
                            format!("{}, {form:?}, {connections}: {error}", way.name)
                        })?;
                        if turn.foreign_share <= FOREIGN_SHARE_MAX || patience.is_zero() {
                            break turn;
                        }
                        patience = patience.saturating_sub(slice.warm_up + slice.counted);
                    };
                    seen.add(form, connections, way.name, turn);
                }
            }
        }
    }
    Ok(Chapter { tables: seen.markdown()?, plots: Form::ALL.map(|form| seen.plot(form)).into() })
}
