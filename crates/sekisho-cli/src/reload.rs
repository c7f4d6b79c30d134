//! Turns to other settings while we run: at SIGHUP, and when a file has changed that they come from.
//!
//! ```text
//! SIGHUP ─────────────────────┐
//! another text, seen twice ───┴─▶ read ─▶ understood ─▶ built ─▶ answers ─▶ the former one ends in order
//!                                  └──────────┴───────────┴─▶ one sentence, and the former one goes on
//! ```
//!
//! All or nothing: with a file that asks for anything that takes a restart, nothing of it is used. So what
//! runs is always what somebody wrote, whole ([why](../../../docs/decisions/0035-reload.md)).

use std::sync::Arc;
use std::time::Duration;

use sekisho::protocol::SecretHash;
use tokio::time::{MissedTickBehavior, interval};

use crate::application::Application;
use crate::config::{Config, Flags, needing_restart};
use crate::current::Current;
use crate::outcome::Failure;
use crate::service_manager;
use crate::standing::Standing;
use crate::telemetry::on_one_line;

/// How often the files are looked at. What changes is used when it was the same twice in a row, so that
/// no half of a file is.
const FILES_READ_EVERY: Duration = Duration::from_millis(500);

/// Where the settings come from, again and again.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) flags: Flags,
    pub(crate) load: fn(&Flags) -> Result<Config, Failure>,
    pub(crate) fingerprint: fn(&Flags) -> SecretHash,
}

/// Follows the settings for as long as it is polled.
pub(crate) async fn follow(
    settings: Settings,
    current: Current,
    standing: Arc<Standing>,
    mut hangups: Hangups,
) {
    let mut seen = held(&settings).await;
    let mut pending = None;
    let mut look = interval(FILES_READ_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_asked_for = tokio::select! {
            () = hangups.next() => true,
            _ = look.tick() => false,
        };
        let held = held(&settings).await;
        let is_settled = pending.replace(held) == Some(held);
        if !is_asked_for && (held == seen || !is_settled) {
            continue;
        }
        seen = held;
        service_manager::reloading();
        let outcome = match turn(&settings, &current, &standing).await {
            Ok(()) => {
                let outcome = "the settings were read again and are used from now on".to_owned();
                tracing::info!("{outcome}");
                outcome
            }
            Err(problem) => {
                let outcome = format!("the settings at hand go on: {problem}");
                tracing::error!("{outcome}");
                outcome
            }
        };
        service_manager::ready(&on_one_line(&outcome));
    }
}

/// From the files to what answers requests, or not at all.
async fn turn(settings: &Settings, current: &Current, standing: &Standing) -> Result<(), Failure> {
    let Settings { flags, load, .. } = settings.clone();
    let config = tokio::task::spawn_blocking(move || load(&flags)).await;
    let config = config.map_err(|error| Failure::because(&error))??;
    let former = current.now();
    let names = needing_restart(&former.config, &config);
    if !names.is_empty() {
        let names = names.join(", ");
        return Err(Failure::Run(format!("restart to change: {names}; nothing else is changed")));
    }
    let application = Application::build(config, standing, Some(&former)).await?;
    current.replace(application).begin(standing, Some(&former));
    Ok(())
}

async fn held(settings: &Settings) -> Option<SecretHash> {
    let Settings { flags, fingerprint, .. } = settings.clone();
    tokio::task::spawn_blocking(move || fingerprint(&flags)).await.ok()
}

/// The times that somebody asks for it.
pub(crate) struct Hangups(#[cfg(unix)] tokio::signal::unix::Signal);

impl Hangups {
    /// From now on the signal does not end us any more.
    ///
    /// # Errors
    /// When signals cannot be listened for.
    pub(crate) fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        return tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).map(Self);
        #[cfg(not(unix))]
        Ok(Self())
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.0.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}
