//! Calls a plugin before it is published.

use std::{rc::Rc, time::Duration};

use tokio::time::timeout;

use super::error::SwapError;
use crate::{
    bindings::exports::tally::counter::counter::Error as Refusal,
    keys::SCRATCH_KEY,
    panics::contained,
    plugin::{
        call::{CallError, Operation},
        pool::Pool,
    },
};

/// How long the plugin may take for all calls on it, and its storage before.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Has a fresh instance increment, read and reset the scratch counter.
///
/// The values are not compared: another host may be trying a plugin on the same storage.
pub async fn probe(pool: &Rc<Pool>) -> Result<(), SwapError> {
    // A plugin that never waits is called where this stands.
    let tried = contained(try_out(pool.clone())).await;
    tried.unwrap_or_else(|panicked| Err(refusal(pool, panicked)))
}

async fn try_out(pool: Rc<Pool>) -> Result<(), SwapError> {
    let plugin = pool.plugin();
    plugin.check_grants().map_err(|error| SwapError::Refused(format!("{error:#}")))?;
    let outcome = timeout(PROBE_TIME_MAX, call(&pool)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {PROBE_TIME_MAX:?}")));
    outcome.map_err(|why| refusal(&pool, &why))?;
    plugin.usage().note_storage_answered();
    Ok(())
}

async fn call(pool: &Rc<Pool>) -> Result<(), String> {
    pool.wait_for_storage().await.map_err(|error| error.to_string())?;
    for (operation, name) in [
        (Operation::Increment(1), "increment"),
        (Operation::Get, "get"),
        (Operation::Reset, "reset"),
    ] {
        match pool.call(operation, SCRATCH_KEY).await {
            // A storage for other keys has answered, too.
            Ok(_) | Err(CallError::Refused(Refusal::InvalidKey(_))) => {}
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Ok(())
}

fn refusal(pool: &Pool, why: &str) -> SwapError {
    let name = pool.plugin().name();
    SwapError::Refused(format!(
        "the plugin {name} failed when it was tried on the counter {SCRATCH_KEY}: {why}"
    ))
}
