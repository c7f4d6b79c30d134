//! Measures the program beside its peers: starts each on one core, pushes from another, and writes
//! tables. Changes nothing outside its own temporary folder and the folder it is told to write to.
//!
//! ```text
//! core 0:  sekisho │ bare │ rmcp, JSON │ …      one of them busy at a time
//! core 1:  this driver
//! ```

mod calls;
mod gateway;
mod line_up;
mod load;
mod login;
mod overview;
mod peers;
mod plot;
mod procfs;
mod report;
mod server;
mod signins;
mod soak;
mod streams;
mod target;
mod tokens;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The core all servers are pinned to.
const SERVER_CORE: usize = 0;
/// The core this driver is to be pinned to by whoever starts it.
const LOAD_CORE: usize = 1;
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
    /// Folder for the pictures; the one for the tables without it.
    #[arg(long)]
    plots: Option<PathBuf>,
    /// The checkout below which `e2e/install` put other people's servers.
    #[arg(long, default_value = ".")]
    checkout: PathBuf,
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
    /// Streams that are open at once.
    #[arg(long, default_value_t = 5_000)]
    streams: usize,
    /// Streams that are opened and closed in all, as many at once as above.
    #[arg(long, default_value_t = 20_000)]
    streams_in_all: usize,
    /// Seconds that a server has to give memory back.
    #[arg(long, default_value_t = 60)]
    give_back: u64,
    /// Live grants in the store that is looked into.
    #[arg(long, default_value_t = 1_000_000)]
    tokens: usize,
    /// Minutes of the soak.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// What to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "calls,streams,signins,tokens,gateway"
    )]
    parts: Vec<Part>,
}

/// What a part tells: tables, and pictures of some of them.
#[derive(Debug, Default)]
struct Chapter {
    tables: String,
    plots: Vec<plot::Plot>,
}

impl From<String> for Chapter {
    fn from(tables: String) -> Self {
        Self { tables, plots: Vec::new() }
    }
}

/// A part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Calls and refusals, answers a second.
    Calls,
    /// Open streams of events.
    Streams,
    /// Sign-ins and refreshes.
    Signins,
    /// A store with many live tokens.
    Tokens,
    /// Somebody else's server, through us and through others.
    Gateway,
    /// Everything mixed for a long time, and whether memory is flat.
    Soak,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.out)?;
    // Not where temporary files are: that may be memory, and stores shall be on a disk.
    let folder = tempfile::tempdir_in(&arguments.out)?;
    let mut text = String::new();
    for part in &arguments.parts {
        let folder = folder.path().join(format!("{part:?}"));
        std::fs::create_dir(&folder)?;
        let Chapter { tables, plots } = match part {
            Part::Calls => calls::measure(&arguments, &folder).await?,
            Part::Streams => streams::measure(&arguments, &folder).await?,
            Part::Signins => signins::measure(&arguments, &folder).await?,
            Part::Tokens => tokens::measure(&arguments, &folder).await?.into(),
            Part::Gateway => gateway::measure(&arguments, &folder).await?,
            Part::Soak => soak::measure(&arguments, &folder).await?.into(),
        };
        std::io::stdout().write_all(tables.as_bytes())?;
        text.push_str(&tables);
        for plot in plots {
            plot.write(arguments.plots.as_ref().unwrap_or(&arguments.out))?;
        }
    }
    Ok(std::fs::write(arguments.out.join("report.md"), text)?)
}
