//! What clap refuses, in one sentence.

use std::{env, ffi::OsString};

use clap::CommandFactory;

use super::{Cli, CliError};
use crate::error::UsageError;

/// Clap's several lines as one sentence that says where the value came from.
pub fn of(error: clap::Error, args: &[OsString]) -> CliError {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return CliError::Information(error);
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let sentence =
        match (error.kind(), text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) {
            (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(arg), Some(value)) => {
                let flag = arg.split(' ').next().unwrap_or(arg);
                let why =
                    match (std::error::Error::source(&error), error.get(ContextKind::ValidValue)) {
                        (Some(source), _) => source.to_string(),
                        (None, Some(ContextValue::Strings(known))) if !value.is_empty() => {
                            format!("known are: {}", known.join(", "))
                        }
                        (None, _) => "a value is missing".to_owned(),
                    };
                let value =
                    if is_secret(flag) { "what was given" } else { &format!("\"{value}\"") };
                format!("{value} is no value for {}: {why}", origin(flag, args))
            }
            _ => {
                let rendered = error.to_string();
                let first = rendered.lines().next().unwrap_or_default();
                format!("{}; see tally --help", first.trim_start_matches("error: "))
            }
        };
    CliError::Usage(UsageError(sentence))
}

/// Whether the value of `flag` is never shown: it may be a secret, also where it is no value of that setting.
fn is_secret(flag: &str) -> bool {
    let name = flag.trim_start_matches('-');
    let command = Cli::command();
    let mut args = command.get_arguments();
    args.any(|arg| arg.get_long() == Some(name) && arg.is_hide_env_values_set())
}

/// Where the value of `flag` came from, by the order in which the places count.
fn origin(flag: &str, args: &[OsString]) -> String {
    let name = flag.trim_start_matches('-');
    let command = Cli::command();
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name));
    let variable = arg.and_then(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    let given = args.iter().any(|arg| {
        let arg = arg.to_string_lossy();
        arg == flag || arg.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
    });
    if given {
        flag.to_owned()
    } else if let Some(variable) = variable.filter(|variable| env::var_os(variable).is_some()) {
        format!("the environment variable {variable}")
    } else {
        format!("\"{name}\" in the configuration file")
    }
}
