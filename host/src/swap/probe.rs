//! Calls a plugin before it is published.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::request::SwapError;
use crate::plugin::{SCRATCH_KEY, call::Operation, loader::Plugin, pool::Pool};

/// How long the plugin may take for all calls on it.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Has a fresh instance increment, read and reset the scratch counter.
///
/// The values are not compared: another host may be trying a plugin on the same storage.
pub async fn probe(plugin: &Arc<Plugin>) -> Result<(), SwapError> {
    plugin.check_grants().map_err(|error| SwapError::Refused(format!("{error:#}")))?;
    let pool = Pool::new(plugin.clone());
    let calls = async {
        for (operation, name) in [
            (Operation::Increment(1), "increment"),
            (Operation::Get, "get"),
            (Operation::Reset, "reset"),
        ] {
            pool.call(operation, SCRATCH_KEY).await.map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    };
    let outcome = timeout(PROBE_TIME_MAX, calls).await;
    outcome.unwrap_or_else(|_| Err(format!("no answer within {PROBE_TIME_MAX:?}"))).map_err(|why| {
        let name = plugin.name();
        SwapError::Refused(format!(
            "the plugin {name} failed when it was tried on the counter {SCRATCH_KEY}: {why}"
        ))
    })
}
