//! What the script does to the server, each at its times: other settings while it runs, another key,
//! and the end of a command behind it. Of these the last alone may bring errors.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{RULE_BY_TURNS, Soak};
use crate::{Result, procfs, server};

const RELOADS: u32 = 20;
const KILLS: u32 = 15;
/// How long the program may take to use other settings, on a busy machine.
const RELOAD_WAIT_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const SAID_OF_A_RELOAD: &str = "the settings were read again and are used from now on";

/// Changes the settings by turns, and has them read again.
pub(super) async fn reload(soak: Arc<Soak>) {
    let Ok(settings) = std::fs::read_to_string(soak.folder.join("sekisho.toml")) else { return };
    for turn in 0.. {
        tokio::time::sleep(soak.whole / RELOADS).await;
        let more = if turn % 2 == 0 { RULE_BY_TURNS } else { "" };
        let done = reload_once(&soak, &format!("{settings}{more}")).await;
        soak.tally.add("settings changed while it runs", done);
    }
}

async fn reload_once(soak: &Soak, settings: &str) -> Result<()> {
    let said_before = said(&soak.folder)?;
    std::fs::write(soak.folder.join("sekisho.toml"), settings)?;
    server::signal(soak.pid, "-HUP")?;
    let began_at = Instant::now();
    while said(&soak.folder)? == said_before {
        if began_at.elapsed() > RELOAD_WAIT_MAX {
            return Err(format!("nothing was said of it in {RELOAD_WAIT_MAX:?}").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn said(folder: &Path) -> Result<usize> {
    Ok(server::log(folder)?.matches(SAID_OF_A_RELOAD).count())
}

/// Puts a new key in front of the old ones, once.
pub(super) async fn rotate(soak: Arc<Soak>, program: PathBuf) {
    tokio::time::sleep(soak.whole / 2).await;
    let rotated = async {
        let mut command = tokio::process::Command::new(&program);
        command.args(["key", "rotate"]).current_dir(&soak.folder).stdin(Stdio::null());
        let output = command.output().await?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    };
    soak.tally.add("key rotated", rotated.await);
}

/// Kills a command behind the program, each time another one.
pub(super) async fn kill_commands(soak: Arc<Soak>) {
    for turn in 0.. {
        tokio::time::sleep(soak.whole / KILLS).await;
        soak.tally.add("command killed", kill_one(&soak, turn));
    }
}

fn kill_one(soak: &Soak, turn: usize) -> Result<()> {
    // Each is the child of an attendant, which is the child of the program.
    let commands: Vec<u32> = procfs::children(soak.pid)?
        .into_iter()
        .flat_map(|attendant| procfs::children(attendant).unwrap_or_default())
        .collect();
    let count = commands.len().max(1);
    let command = commands.get(turn % count).ok_or("no command runs")?;
    soak.a_command_is_killed();
    server::signal(*command, "-KILL")
}
