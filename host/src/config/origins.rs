//! Where the value of each setting came from, so that a message about it names what the user has to change.

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

/// The settings that came from a variable or the file, as flags, and what to call them.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<(String, String)>);

impl Origins {
    /// Those in `matches`, of which the ones called like `entries` are in the configuration file.
    pub(super) fn of(command: &Command, matches: &ArgMatches, entries: &[String]) -> Self {
        let origin = |arg: &Arg| {
            let name = arg.get_long()?;
            let words = match matches.value_source(arg.get_id().as_str()) {
                Some(ValueSource::CommandLine) => return None,
                Some(ValueSource::EnvVariable) => variable(arg)?,
                // An empty list is none.
                _ if entries.iter().any(|entry| entry == name) => entry(name),
                _ => return None,
            };
            Some((format!("--{name}"), words))
        };
        Self(command.get_arguments().filter_map(origin).collect())
    }

    /// `message` with each setting called as the user wrote it: messages are made where only its flag is known.
    pub fn name_in(&self, message: &str) -> String {
        let is_of_flag = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let mut named = String::new();
        let mut rest = message;
        while let Some(start) = rest.find("--") {
            let length = rest[start..].find(|c| !is_of_flag(c)).unwrap_or(rest.len() - start);
            let flag = &rest[start..start + length];
            // A path may contain what looks like one.
            let is_in_word =
                rest[..start].ends_with(|c: char| !c.is_whitespace() && !"(\"".contains(c));
            let known = self.0.iter().find(|(known, _)| !is_in_word && known == flag);
            named.push_str(&rest[..start]);
            named.push_str(known.map_or(flag, |(_, words)| words));
            rest = &rest[start + length..];
        }
        named + rest
    }
}

/// What the variable of a setting is called in messages.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    Some(format!("the environment variable {}", arg.get_env()?.to_string_lossy()))
}

/// What an entry of the configuration file is called in messages.
pub(super) fn entry(name: &str) -> String {
    format!("\"{name}\" in the configuration file")
}

#[cfg(test)]
mod tests {
    use super::Origins;

    #[test]
    fn only_whole_flags_are_named() {
        let origins = Origins(vec![("--plugin".into(), "PLUGIN".into())]);
        for (message, named) in [
            ("--plugin", "PLUGIN"),
            (
                "a -- b--plugin, --plugin-dir (--plugin): c",
                "a -- b--plugin, --plugin-dir (PLUGIN): c",
            ),
            ("", ""),
            ("-", "-"),
            ("é --plugin é", "é PLUGIN é"),
            ("/srv/é--plugin/x: --plugin", "/srv/é--plugin/x: PLUGIN"),
        ] {
            assert_eq!(origins.name_in(message), named);
        }
    }
}
