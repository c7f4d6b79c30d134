//! How we stop: at the first SIGTERM or SIGINT in order, at the second at once.
//!
//! ```text
//! signal ─▶ /readyz says 503, streams end ─▶ (SIGTERM: a moment for load balancers to see it)
//!        ─▶ no new connections, calls are finished ─▶ exit 0, after DRAIN at the latest
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum_server::Handle;
use tokio_util::sync::CancellationToken;

/// How long what is being worked on may take to finish.
const DRAIN: Duration = Duration::from_secs(8);
/// How long we go on accepting after SIGTERM, so that whoever asks `/readyz` hears that we stop.
const LAST_CALLS: Duration = Duration::from_millis(500);

/// Waits for signals and acts on them; to be spawned.
///
/// # Errors
/// When signals cannot be listened for.
#[cfg(unix)]
pub(crate) fn signals(
    handle: Handle<SocketAddr>,
    stopping: CancellationToken,
) -> io::Result<impl Future<Output = ()> + Send> {
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
        stop(&handle, &stopping, last_calls, again).await;
    })
}

/// Waits for Ctrl-C and acts on it; to be spawned.
///
/// # Errors
/// Never here; where there are signals they may be refused.
#[cfg(not(unix))]
pub(crate) fn signals(
    handle: Handle<SocketAddr>,
    stopping: CancellationToken,
) -> io::Result<impl Future<Output = ()> + Send> {
    Ok(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            let again = async {
                drop(tokio::signal::ctrl_c().await);
            };
            stop(&handle, &stopping, Duration::ZERO, again).await;
        }
    })
}

async fn stop(
    handle: &Handle<SocketAddr>,
    stopping: &CancellationToken,
    last_calls: Duration,
    again: impl Future<Output = ()>,
) {
    tracing::info!("stopping: finishing what is being worked on, a second signal ends at once");
    stopping.cancel();
    tokio::pin!(again);
    tokio::select! {
        () = tokio::time::sleep(last_calls) => {}
        () = &mut again => exit_at_once(),
    }
    handle.graceful_shutdown(Some(DRAIN));
    again.await;
    exit_at_once();
}

#[expect(clippy::exit, reason = "a second signal means now; the store survives it by design")]
fn exit_at_once() {
    std::process::exit(1);
}
