//! Reads the settings anew while the host serves.

use std::ffi::OsString;

use crate::{
    config::{Cli, CliError, Config},
    plugin::generation::Trigger,
    swap::{
        request::{Change, Done, SwapHandle, Terms},
        settings::SwapSettings,
    },
};

/// Reads the settings anew, from where `args` say, and swaps to what they choose. How it went is told in the log.
///
/// Settings of plugins and storages take effect with the swap. The others are those that the host
/// `began` with, until it is started again.
pub async fn reload(began: &Config, args: &[OsString], swaps: &SwapHandle) {
    let config = match Cli::load(args) {
        Ok(cli) => cli.config,
        Err(CliError::Usage(error)) => {
            return tracing::warn!("the settings are wrong, and those of before go on: {error}");
        }
        // The host would not have started with these.
        Err(CliError::Information(_)) => return,
    };
    for (name, changed) in fixed(began, &config) {
        if changed {
            tracing::warn!("a change of {name} takes effect when the host is started again");
        }
    }
    let terms = Terms { counts: config.swaps.on_storage_change, ..Terms::default() };
    // An error, and a swap, are in the log already.
    if let Ok(Done::Unchanged) =
        swaps.swap_in_turn(Change::settings(&config), terms, Trigger::Reload).await
    {
        tracing::info!("the settings are those of before");
    }
}

/// The settings that can't change while the host serves, and whether they have.
fn fixed(began: &Config, now: &Config) -> [(&'static str, bool); 7] {
    // Each reload looks at this one.
    let on_storage_change = now.swaps.on_storage_change;
    let began_swaps = SwapSettings { on_storage_change, ..began.swaps.clone() };
    [
        ("--host", began.host != now.host),
        ("--port", began.port != now.port),
        ("--workers", began.workers != now.workers),
        ("the admin listener", began.admin != now.admin),
        ("swaps", began_swaps != now.swaps),
        ("the limits on clients", began.server_limits != now.server_limits),
        ("the log and traces", began.telemetry != now.telemetry),
    ]
}
