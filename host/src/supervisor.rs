//! Tells systemd, if it asks, how the host is: `Type=notify-reload` (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET` in the environment nobody asks, and nothing is sent.

use sd_notify::NotifyState;

/// It serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its settings anew; systemd waits for [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("can't tell the supervisor about the reload: {error}"),
    }
}

/// It ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("can't tell the supervisor: {error}");
    }
}
