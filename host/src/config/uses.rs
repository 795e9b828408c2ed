//! Which settings each command uses. The others are refused there, instead of being ignored.

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use crate::error::UsageError;

/// The flags by which a command finds the admin listener of a host.
const ADMIN: [&str; 4] = ["admin", "admin-listen", "admin-token-file", "state-dir"];

/// What a plugin is listed by.
const PLUGINS: [&str; 10] = [
    "plugin",
    "plugin-dir",
    "grant",
    "plugin-config",
    "compile-cache",
    "compile-time-max",
    "compile-memory-max",
    "plugin-file-max",
    "plugin-memory-max",
    "log-format",
];

/// Whether the command called `command`, or serving, uses the setting whose flag is `flag`.
fn is_used(command: Option<&str>, flag: &str) -> bool {
    match command {
        None => flag != "admin",
        Some("plugins") => flag == "config" || PLUGINS.contains(&flag),
        Some("health") => matches!(flag, "config" | "host" | "port") || ADMIN.contains(&flag),
        Some(_) => flag == "config" || ADMIN.contains(&flag),
    }
}

/// `command` with all settings accepted before and after the name of each of its commands, whose help lists those that
/// it uses. The settings must have their defaults already.
pub fn spread(command: Command) -> Command {
    let own: Vec<String> = command
        .get_subcommands()
        .flat_map(|sub| sub.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)))
        .collect();
    // A command may have a flag of its own that is called like a setting.
    let is_shared = |arg: &Arg| !own.iter().any(|flag| Some(flag.as_str()) == arg.get_long());
    let command = command.mut_args(|arg| {
        let is_shared = is_shared(&arg);
        arg.global(is_shared)
    });
    let shared: Vec<Arg> = command.get_arguments().filter(|arg| is_shared(arg)).cloned().collect();
    command.mut_subcommands(|sub| {
        let name = sub.get_name().to_owned();
        let hidden = |arg: &Arg| !is_used(Some(&name), arg.get_long().unwrap_or_default());
        let settings: Vec<Arg> = shared.iter().map(|arg| arg.clone().hide(hidden(arg))).collect();
        sub.args(settings)
    })
}

/// Refuses flags that what was asked for does not use. Variables and entries of the file are the host's, so they may
/// be there.
///
/// # Errors
///
/// A sentence that says where the setting belongs.
pub fn check(command: &Command, matches: &ArgMatches) -> Result<(), UsageError> {
    let name = matches.subcommand_name();
    let unused = command.get_arguments().find_map(|arg| {
        let flag = arg.get_long()?;
        (is_typed(matches, arg.get_id().as_str()) && !is_used(name, flag)).then_some((arg, flag))
    });
    let Some((setting, flag)) = unused else { return Ok(()) };
    let has_own = |name| {
        let mut own = command.find_subcommand(name).into_iter().flat_map(Command::get_arguments);
        !setting.is_global_set() && own.any(|arg| arg.get_long() == Some(flag))
    };
    Err(UsageError(match name {
        None => format!(
            "--{flag} says where a command finds a host: set --admin-listen to say where this one listens"
        ),
        Some(name) if has_own(name) => {
            format!("--{flag} stands behind the name of its command: tally {name} --{flag}")
        }
        Some(name) => format!("tally {name} does not take --{flag}: {}", advice(name, flag)),
    }))
}

/// Where a setting belongs that is none of the command called `name`.
fn advice(name: &str, flag: &str) -> String {
    match (name, flag) {
        ("plugins", _) => "it lists plugins and serves none, so give it to the host".into(),
        ("health", _) => "it asks a host, which --port or --admin names".into(),
        (_, "host" | "port") => {
            "it asks the admin listener of a host, which --admin, --admin-listen or --config names"
                .into()
        }
        _ => format!(
            "that is for the host to know, so give it where the host is started, or as \"{flag}\" in the host's \
             configuration file, which it reads again on SIGHUP"
        ),
    }
}

/// Whether the setting called `id` was given as a flag.
pub fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}
