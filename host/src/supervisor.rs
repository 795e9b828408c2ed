//! Tells systemd, if it asks, how the host is (sd_notify(3)): for `Type=notify`, and for `Type=notify-reload` of systemd 253
//! and newer, which wants to know the time at which a reload began.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody asks, and nothing is sent.

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

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

/// Says again and again that the thread which runs this still works, twice in the time after which systemd takes it
/// for hung (`WatchdogSec=`). Ends at once where there is none.
pub async fn stay_alive() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
    else {
        return;
    };
    let mut interval = interval(patience / 2);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("can't tell the supervisor: {error}");
    }
}
