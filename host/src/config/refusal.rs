//! What clap refuses, in one sentence.

use std::{
    env,
    ffi::{OsStr, OsString},
};

use clap::{Arg, Command, CommandFactory, builder::ValueParser};

use super::{Cli, CliError, origins};
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
            (ErrorKind::InvalidUtf8, ..) if let Some(origin) = origin_of_not_utf8(args) => {
                format!("the value of {origin} is not UTF-8")
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
    let command = Cli::command();
    let name = flag.trim_start_matches('-');
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name));
    if args.iter().any(|arg| is_flag(arg, flag)) {
        return flag.to_owned();
    }
    let of_variable = |arg: &&Arg| arg.get_env().and_then(env::var_os).is_some();
    arg.filter(of_variable).and_then(origins::variable).unwrap_or_else(|| origins::entry(name))
}

/// Whether `arg` is `flag`, alone or with its value.
fn is_flag(arg: &OsStr, flag: &str) -> bool {
    let arg = arg.to_string_lossy();
    arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// The flag or variable whose value is not UTF-8, where that is wanted: paths may be anything.
fn origin_of_not_utf8(args: &[OsString]) -> Option<String> {
    let is_not = |value: &OsStr| value.to_str().is_none();
    let command = Cli::command();
    let all = command.get_subcommands().flat_map(Command::get_arguments);
    let texts: Vec<&Arg> =
        command.get_arguments().chain(all).filter(|arg| wants_utf8(arg)).collect();
    let flag = texts.iter().filter_map(|arg| arg.get_long()).map(|name| format!("--{name}")).find(
        |flag| {
            let behind = args.windows(2).any(|pair| is_flag(&pair[0], flag) && is_not(&pair[1]));
            behind || args.iter().any(|arg| is_flag(arg, flag) && is_not(arg))
        },
    );
    let variable =
        |arg: &&&Arg| arg.get_env().and_then(env::var_os).is_some_and(|value| is_not(&value));
    flag.or_else(|| texts.iter().find(variable).and_then(|arg| origins::variable(arg)))
}

fn wants_utf8(arg: &Arg) -> bool {
    let given = arg.get_value_parser().type_id();
    [ValueParser::path_buf(), ValueParser::os_string()].iter().all(|any| any.type_id() != given)
}
