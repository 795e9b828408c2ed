//! The configuration file.

use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};

use super::origins;
use crate::{error::UsageError, regular_file};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The values of each entry, by its name, which is that of a flag.
type Entries = HashMap<String, Values>;

/// The values of one entry.
struct Values {
    texts: Vec<String>,
    is_list: bool,
}

/// `command` with the entries of the file that `args` or the environment name as its defaults, and the names of these.
///
/// # Errors
///
/// What is wrong with the file, or with the name of an entry. Values are checked with those of the command line.
pub fn with_defaults(
    mut command: Command,
    args: &[OsString],
) -> Result<(Command, Vec<String>), UsageError> {
    let Some((path, origin)) = path(args) else { return Ok((command, Vec::new())) };
    let entries = read(&path, origin)?;
    for (flag, values) in &entries {
        command = with_default(command, flag, values)?;
    }
    Ok((command, entries.into_keys().collect()))
}

/// The path, and what named it. Looked up before anything else is understood. Of two files the one behind the command's name wins, as of all flags that
/// may stand on both sides of it.
fn path(args: &[OsString]) -> Option<(PathBuf, &'static str)> {
    let mut args = args.iter().skip(1);
    let mut last = None;
    while let Some(arg) = args.next() {
        let arg = arg.to_string_lossy();
        if arg == "--config" {
            last = args.next().map(PathBuf::from);
        } else if let Some(path) = arg.strip_prefix("--config=") {
            last = Some(path.into());
        }
    }
    let variable = || Some((env::var_os("CONFIG")?.into(), "the environment variable CONFIG"));
    last.map(|path| (path, "--config")).or_else(variable)
}

fn read(path: &Path, origin: &str) -> Result<Entries, UsageError> {
    let shown = format!("\"{}\" ({origin})", path.display());
    let read = regular_file::read(path, FILE_BYTES_MAX);
    let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    let text = text.map_err(|error| {
        UsageError(format!("can't read the configuration file {shown}: {error}"))
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        UsageError(format!("the configuration file {shown} is not TOML: {}", error.message()))
    })?;
    let mut entries = Entries::new();
    for (name, value) in table {
        let is_list = value.is_array();
        let texts = match value {
            toml::Value::Array(values) => values.iter().map(scalar).collect(),
            value => scalar(&value).map(|value| vec![value]),
        };
        let texts = texts.ok_or_else(|| {
            let what = "is neither a text, a number, nor a list of these";
            UsageError(format!("the entry \"{name}\" in the configuration file {shown} {what}"))
        })?;
        entries.insert(name, Values { texts, is_list });
    }
    Ok(entries)
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn with_default(mut command: Command, flag: &str, values: &Values) -> Result<Command, UsageError> {
    let known: Vec<(&str, &Arg)> = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg)))
        .filter(|(long, _)| !matches!(*long, "config" | "admin" | "help" | "version"))
        .collect();
    let Some((_, arg)) = known.iter().find(|(long, _)| *long == flag) else {
        let names: Vec<&str> = known.iter().map(|(long, _)| *long).collect();
        return Err(UsageError::unknown("entry in the configuration file", flag, &names));
    };
    if values.is_list && !matches!(arg.get_action(), ArgAction::Append) {
        let entry = origins::entry(flag);
        return Err(UsageError(format!("{entry} is a list, where one value is wanted")));
    }
    let id = arg.get_id().to_string();
    command = command.mut_arg(id, |arg| arg.default_values(values.texts.clone()));
    Ok(command)
}
