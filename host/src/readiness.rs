//! Says in the log when the storage behind the plugin does not answer, why, and when it answers again.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    runtime,
    task::LocalSet,
    time::{sleep, timeout},
};

use crate::plugin::{
    DEFAULT_KEY,
    call::{CallError, Operation},
    loader::Plugin,
    pool::Pool,
};

/// How long the plugin may take to answer that it is ready.
const READY_TIME_MAX: Duration = Duration::from_secs(1);

/// Pause between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks after `plugin` on a thread of its own, which ends with the process.
///
/// A plugin whose calls never wait depends on nothing that could go away, and is not watched.
///
/// # Errors
///
/// When the thread or its event loop can't be made.
pub fn watch(plugin: Arc<Plugin>) -> io::Result<()> {
    if !plugin.waits() {
        return Ok(());
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new()
        .name("readiness".into())
        .spawn(move || LocalSet::new().block_on(&runtime, report_changes(plugin)))?;
    Ok(())
}

/// Why the plugin is not ready, judged by `get`, which asks it for the default counter; none if it is.
pub async fn why_not_ready(get: impl Future<Output = Result<i64, CallError>>) -> Option<String> {
    match timeout(READY_TIME_MAX, get).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("the plugin did not answer within {READY_TIME_MAX:?}")),
    }
}

async fn report_changes(plugin: Arc<Plugin>) {
    let name = plugin.name().to_owned();
    let pool = Pool::new(plugin);
    let mut ready = true;
    loop {
        let why_not = why_not_ready(pool.call(Operation::Get, DEFAULT_KEY)).await;
        match &why_not {
            Some(why) if ready => tracing::warn!(plugin = name, "not ready: {why}"),
            None if !ready => tracing::info!(plugin = name, "ready again"),
            _ => {}
        }
        ready = why_not.is_none();
        sleep(PERIOD).await;
    }
}
