//! How we stop: at the first SIGTERM or SIGINT in order, at the second at once.
//!
//! ```text
//! signal ─▶ /readyz says 503, no session begins, streams end ─▶ (SIGTERM: a moment for load balancers)
//!        ─▶ nobody comes in ─▶ calls are finished ─▶ exit 0, after `drain` at the latest
//! ```

use std::io;
use std::time::Duration;

use axum_server::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::current::Current;
use crate::door::{Bolt, Peer};
use crate::service_manager;

/// How long we go on accepting after SIGTERM, so that whoever asks `/readyz` hears that we stop.
const LAST_CALLS: Duration = Duration::from_millis(500);
/// How long who has just come in has to say the first word.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// What a signal stops.
pub(crate) struct Stopped {
    pub(crate) handle: Handle<Peer>,
    pub(crate) current: Current,
    /// Everybody hears that all ends.
    pub(crate) stopping: CancellationToken,
    /// Nobody is let in any more.
    pub(crate) bolt: Bolt,
}

/// Waits for signals and acts on them; to be spawned.
///
/// # Errors
/// When signals cannot be listened for.
#[cfg(unix)]
pub(crate) fn signals(stopped: Stopped) -> io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let last_calls = tokio::select! {
            _ = terminate.recv() => LAST_CALLS,
            // Somebody sits at the terminal and waits.
            _ = interrupt.recv() => Duration::ZERO,
        };
        let again = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        stop(&stopped, last_calls, again).await;
    })
}

/// Waits for Ctrl-C and acts on it; to be spawned.
///
/// # Errors
/// Never here; where there are signals they may be refused.
#[cfg(not(unix))]
pub(crate) fn signals(stopped: Stopped) -> io::Result<impl Future<Output = ()> + Send> {
    Ok(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            let again = async {
                drop(tokio::signal::ctrl_c().await);
            };
            stop(&stopped, Duration::ZERO, again).await;
        }
    })
}

async fn stop(stopped: &Stopped, last_calls: Duration, again: impl Future<Output = ()>) {
    let Stopped { handle, current, stopping, bolt } = stopped;
    tracing::info!("stopping: finishing what is being worked on, a second signal ends at once");
    service_manager::stopping();
    current.leave();
    stopping.cancel();
    let in_order = async {
        sleep(last_calls).await;
        bolt.close().await;
        if handle.connection_count() > 0 {
            sleep(FIRST_WORD).await;
        }
        handle.graceful_shutdown(Some(current.now().config.drain));
        // The program ends when it is through.
        std::future::pending().await
    };
    tokio::select! {
        () = in_order => {}
        () = again => exit_at_once(),
    }
}

#[expect(clippy::exit, reason = "a second signal means now; the store survives it by design")]
fn exit_at_once() {
    std::process::exit(1);
}
