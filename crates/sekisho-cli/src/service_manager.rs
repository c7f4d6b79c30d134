//! What a service manager hears of us, if one started us that wants to (systemd, `sd_notify`): that we are
//! ready, read our settings again, stop, and are alive.

#[cfg(unix)]
use sd_notify::NotifyState;

/// We answer, by these settings; what there is to say of them.
pub(crate) fn ready(status: &str) {
    #[cfg(unix)]
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    #[cfg(not(unix))]
    let _ = status;
}

/// We read our settings again, until we are [`ready`].
pub(crate) fn reloading() {
    #[cfg(unix)]
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// We finish what is being worked on.
pub(crate) fn stopping() {
    #[cfg(unix)]
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is being worked on")]);
}

/// Says that we are alive, twice as often as is asked for, for as long as it is polled: whoever hears
/// nothing starts us anew.
pub(crate) async fn heartbeat() {
    #[cfg(unix)]
    if let Some(most) = sd_notify::watchdog_enabled() {
        let mut turn = tokio::time::interval(most / 2);
        loop {
            turn.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    }
}

#[cfg(unix)]
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the service manager cannot be told");
    }
}
