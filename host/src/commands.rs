//! The commands that speak to a host that serves: `tally swap`, `tally rollback`, `tally health`.

use std::{
    io::{self, Write},
    net::IpAddr,
    path::{Path, absolute},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    client::{Answer, ClientError, Endpoint, Token},
    config::{Config, Rollback, Swap},
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
/// When the host does not answer, or refuses.
pub fn swap(config: &Config, swap: &Swap) -> anyhow::Result<ExitCode> {
    let to = match Path::new(&swap.to) {
        // The host's working directory may be another.
        path if path.extension().is_some_and(|extension| extension == "wasm") => {
            absolute(path)?.to_string_lossy().into_owned()
        }
        _ => swap.to.clone(),
    };
    let mut body = carry(&swap.rollback);
    body["plugin"] = to.into();
    ask(config, &swap.rollback.admin, Method::PUT, "/admin/plugin", &body)
}

/// `tally rollback`
///
/// # Errors
///
/// As for [`swap`].
pub fn rollback(config: &Config, rollback: &Rollback) -> anyhow::Result<ExitCode> {
    let body = carry(rollback);
    ask(config, &rollback.admin, Method::POST, "/admin/rollback", &body)
}

/// What is said of the counts: nothing, if nothing was said.
fn carry(rollback: &Rollback) -> Value {
    let mut body = json!({ "overwrite": rollback.overwrite });
    if rollback.carry {
        body["carry"] = true.into();
    }
    body
}

fn ask(
    config: &Config,
    admin: &Endpoint,
    method: Method,
    path: &str,
    body: &Value,
) -> anyhow::Result<ExitCode> {
    let token = Token::read_if_given(&config.admin.admin_token_file)?;
    let answer = wait_for(admin.request(method, path, Some(body), token.as_ref(), SWAP_TIME_MAX))?;
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
    if let Some(carried) = swapped["carried"].as_object() {
        let total = carried["total"].as_str().unwrap_or_default();
        text += &format!("; {} counters with a total of {total} were carried", carried["keys"]);
    }
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// `tally health`
///
/// # Errors
///
/// When the settings do not say where the host is.
pub fn health(config: &Config) -> anyhow::Result<ExitCode> {
    if config.port == 0 {
        bail!("port 0 says not where the host listens: set --port");
    }
    // What listens on all addresses answers on the loopback.
    let host = match config.host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() && address.is_ipv6() => "[::1]".to_owned(),
        Ok(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => config.host.clone(),
    };
    let endpoint = Endpoint::parse(&format!("http://{host}:{}", config.port))
        .map_err(|why| anyhow::anyhow!(why))?;
    let asked = endpoint.request(Method::GET, "/readyz", None, None, HEALTH_TIME_MAX);
    match wait_for(asked) {
        Ok(answer) if answer.status == 200 => return Ok(ExitCode::SUCCESS),
        Ok(answer) => eprintln!("tally: {}", answer.detail().unwrap_or_else(|| answer.reason())),
        Err(error) => match error.downcast_ref() {
            // It has no admin listener to advise about.
            Some(ClientError::NotSent(_)) => {
                eprintln!(
                    "tally: nothing answers at {endpoint}: start the host, or set --host and --port"
                );
            }
            _ => eprintln!("tally: {error:#}"),
        },
    }
    Ok(ExitCode::from(NOT_DONE))
}

fn wait_for(asked: impl Future<Output = Result<Answer, ClientError>>) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(asked)?)
}
