//! Says in the log when the storage behind the plugin does not answer, why, and when it answers again.

use std::{rc::Rc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    keys::DEFAULT_KEY,
    panics::contained,
    plugin::{
        call::{CallError, Operation},
        dispatch::Dispatcher,
    },
};

/// How long the plugin may take to answer that it is ready.
const READY_TIME_MAX: Duration = Duration::from_secs(1);

/// Pause between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Why a host that was asked to stop is not ready.
pub const STOPPING: &str = "the host is stopping";

/// Why a host is not ready before the first look.
pub const NOT_ASKED: &str = "the storage was not asked yet";

/// Why the plugin is not ready, judged by `get`, which asks it for the default counter, and by `room`, which asks whether its
/// storage has any; none if it is.
pub async fn why_not_ready(
    get: impl Future<Output = Result<i64, CallError>>,
    room: impl Future<Output = Result<(), String>>,
) -> Option<String> {
    value(get, room).await.err()
}

async fn value(
    get: impl Future<Output = Result<i64, CallError>>,
    room: impl Future<Output = Result<(), String>>,
) -> Result<i64, String> {
    let asked = async {
        let value = get.await.map_err(|error| error.to_string())?;
        room.await.map(|()| value)
    };
    let late = || format!("the plugin did not answer within {READY_TIME_MAX:?}");
    timeout(READY_TIME_MAX, asked).await.map_err(|_| late())?
}

/// Looks each second at the default counter of the active plugin, whichever that is, and tells
/// `looked` its value, or why there is none.
pub async fn report_changes(
    dispatcher: Rc<Dispatcher>,
    looked: watch::Sender<Result<i64, String>>,
) {
    // That a host is ready when it starts is no news.
    let mut was_ready = true;
    loop {
        if let Some(value) = look(dispatcher.clone()).await {
            note(&dispatcher, was_ready, &value);
            was_ready = value.is_ok();
            // Nobody may be looking.
            let _ = looked.send_replace(value);
        }
        sleep(PERIOD).await;
    }
}

/// The value, or why there is none; nothing while a swap holds calls back, which is no reason not to be ready.
async fn look(dispatcher: Rc<Dispatcher>) -> Option<Result<i64, String>> {
    let looking = async move {
        if dispatcher.holds_back() {
            return None;
        }
        let pool = dispatcher.pool();
        Some(value(dispatcher.call(Operation::Get, DEFAULT_KEY), pool.check_room()).await)
    };
    // A plugin that never waits is called where this stands.
    contained(looking).await.unwrap_or_else(|panicked| Some(Err(panicked.to_owned())))
}

/// Notes for the list of plugins that the storage answered, and in the log what is new.
fn note(dispatcher: &Dispatcher, was_ready: bool, value: &Result<i64, String>) {
    let pool = dispatcher.pool();
    let plugin = pool.plugin().name();
    if value.is_ok() {
        // If another plugin was published meanwhile, that one's storage answered when it was tried.
        pool.plugin().usage().note_storage_answered();
    }
    match value {
        Err(why) if was_ready => tracing::warn!(plugin, "not ready: {why}"),
        Ok(_) if !was_ready => tracing::info!(plugin, "ready again"),
        _ => {}
    }
}
