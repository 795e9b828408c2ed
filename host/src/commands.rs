//! The commands that speak to a host that serves: `tally swap`, `tally rollback`, `tally health`.

use std::{
    io::{self, Write},
    path::{Path, absolute},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    admin::settings::reachable,
    client::{Answer, ClientError, Endpoint},
    config::{Cli, Config, Rollback, Swap},
    swap::holdings::Counters,
};

/// How long a swap may take. Compiling, looking through storages, holding calls back and draining have bounds of
/// their own, and this is beyond the sum of their defaults.
const SWAP_TIME_MAX: Duration = Duration::from_secs(180);

/// How long the host may take to say whether it is ready.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(3);

/// Exit status when the host did not do it, or is not ready.
const NOT_DONE: u8 = 1;

/// `tally swap`
///
/// # Errors
///
/// When the settings do not say where the host is, or it does not answer.
pub fn swap(cli: &Cli, swap: &Swap) -> anyhow::Result<ExitCode> {
    let to = match Path::new(&swap.to) {
        // The host's working directory may be another.
        path if path.extension().is_some_and(|extension| extension == "wasm") => {
            absolute(path)?.to_string_lossy().into_owned()
        }
        _ => swap.to.clone(),
    };
    let mut body = terms(&swap.rollback);
    body["plugin"] = to.into();
    ask(cli, &swap.rollback, Method::PUT, "/admin/plugin", &body)
}

/// `tally rollback`
///
/// # Errors
///
/// As for [`swap`].
pub fn rollback(cli: &Cli, rollback: &Rollback) -> anyhow::Result<ExitCode> {
    ask(cli, rollback, Method::POST, "/admin/rollback", &terms(rollback))
}

/// What is said of the counts and the pause: nothing, if nothing was said.
fn terms(rollback: &Rollback) -> Value {
    let mut body =
        json!({ "overwrite": rollback.overwrite, "leave_counts": rollback.leave_counts });
    if rollback.carry {
        body["carry"] = true.into();
    }
    if let Some(ms) = rollback.swap_pause_max {
        body["swap_pause_max_ms"] = ms.into();
    }
    body
}

fn ask(
    cli: &Cli,
    rollback: &Rollback,
    method: Method,
    path: &str,
    body: &Value,
) -> anyhow::Result<ExitCode> {
    let admin = cli.admin()?;
    let token = cli.config.admin.token()?;
    let pause_max = Duration::from_millis(rollback.swap_pause_max.unwrap_or_default().into());
    let time_max = SWAP_TIME_MAX + pause_max;
    let answer = wait_for(admin.request(method, path, Some(body), token.as_ref(), time_max))?;
    if answer.status != 200 {
        eprintln!("tally: not swapped: {}", answer.detail().unwrap_or_else(|| answer.reason()));
        return Ok(ExitCode::from(NOT_DONE));
    }
    let swapped: Value =
        serde_json::from_str(&answer.body).context("the host's answer is not JSON")?;
    let (plugin, generation) = (&swapped["plugin"], &swapped["generation"]);
    let plugin = plugin.as_str().unwrap_or_default();
    let mut text = format!("tally: generation {generation} serves with {plugin}");
    if swapped["fenced"] == true {
        text += &format!("; calls were held back for {} µs", swapped["paused_us"]);
    }
    if let Some(carried) = counters(&swapped["carried"]) {
        text += &format!("; carried {carried}");
    }
    let left = &swapped["left"];
    if let Some(storage) = left["storage"].as_str() {
        text += &match (counters(left), left["why_unknown"].as_str()) {
            (Some(left), _) => format!("; left {left} in {storage}"),
            (None, why) => format!(
                "; what was left in {storage} is not known ({})",
                why.unwrap_or("the host does not say why")
            ),
        };
    }
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// Counters that the host's answer tells of.
fn counters(told: &Value) -> Option<Counters> {
    let total = told["total"].as_str()?.parse().ok()?;
    Some(Counters { keys: told["keys"].as_u64()?, total })
}

/// `tally health`
///
/// # Errors
///
/// When the settings do not say where the host is.
pub fn health(cli: &Cli) -> anyhow::Result<ExitCode> {
    let why_not = if cli.names_admin { ask_admin_health(cli)? } else { ask_health(&cli.config)? };
    Ok(match why_not {
        None => ExitCode::SUCCESS,
        Some(why) => {
            eprintln!("tally: {why}");
            ExitCode::from(NOT_DONE)
        }
    })
}

/// Why the main listener is not ready, or does not answer.
fn ask_health(config: &Config) -> anyhow::Result<Option<String>> {
    if config.port == 0 {
        bail!("port 0 says not where the host listens: set --port");
    }
    let endpoint = format!("http://{}:{}", reachable(&config.host), config.port);
    let endpoint = Endpoint::parse(&endpoint).map_err(|why| anyhow::anyhow!(why))?;
    let asked = endpoint.request(Method::GET, "/readyz", None, None, HEALTH_TIME_MAX);
    Ok(match wait_for(asked) {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(answer.detail().unwrap_or_else(|| answer.reason())),
        Err(error) => Some(match error.downcast_ref() {
            // It is no admin listener to advise about.
            Some(ClientError::NotSent(_)) => format!(
                "nothing answers at {endpoint}: start the host, or set --host and --port, or --config"
            ),
            _ => format!("{error:#}"),
        }),
    })
}

/// What the admin listener says of it.
fn ask_admin_health(cli: &Cli) -> anyhow::Result<Option<String>> {
    let admin = cli.admin()?;
    let token = cli.config.admin.token()?;
    let asked = admin.request(Method::GET, "/admin/plugins", None, token.as_ref(), HEALTH_TIME_MAX);
    let answer = match wait_for(asked) {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => return Ok(Some(answer.detail().unwrap_or_else(|| answer.reason()))),
        Err(error) => return Ok(Some(format!("{error:#}"))),
    };
    let overview: Value =
        serde_json::from_str(&answer.body).context("the host's answer is not JSON")?;
    let why =
        overview["why_not_ready"].as_str().unwrap_or("the host does not say that it is ready");
    Ok((overview["ready"] != true).then(|| why.to_owned()))
}

fn wait_for(asked: impl Future<Output = Result<Answer, ClientError>>) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(asked)?)
}
