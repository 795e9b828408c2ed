//! The flags of swaps, and what they mean.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args};
use tally_host::client::Endpoint;

use super::Swaps;
use crate::options::{TargetOptions, typed, unless_unset};

/// Shortest interval between two swaps.
const SWAP_EVERY_MIN: Duration = Duration::from_millis(10);

/// Longest interval between two swaps.
const SWAP_EVERY_MAX: Duration = Duration::from_secs(3_600);

/// Where a host's admin listener is unless it was told otherwise.
const ADMIN_DEFAULT: &str = "http://127.0.0.1:8081";

/// Swaps, as typed. An empty variable counts as one that is not set, so the values are read later than clap would.
#[derive(Clone, Debug, Args)]
pub struct SwapFlags {
    /// Swap the server's plugin at this interval while the load runs; a run without a swap in its traffic does not pass [units: ms, s; range: 10ms to 3600s]
    #[arg(long, env = "SWAP_EVERY", value_name = "TIME")]
    pub swap_every: Option<String>,

    /// Plugins to swap in, in turn: two or more names or paths as the server knows them, with commas between
    #[arg(long, env = "SWAP_BETWEEN", value_name = "A,B[,…]")]
    pub swap_between: Option<String>,

    /// Admin listener of the server that is to swap: http://HOST:PORT or unix:PATH [default: http://127.0.0.1:8081]
    #[arg(long, env = "ADMIN", value_name = "URL")]
    pub admin: Option<String>,

    /// File with the token of the admin listener [default: the one that the server has made in its --state-dir]
    #[arg(long, env = "ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<OsString>,

    /// State directory of the server, if it was started with another than its user's own
    #[arg(long, env = "STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<OsString>,
}

/// The swaps that the flags ask for; the error is a sentence.
pub(crate) fn choose(
    flags: SwapFlags,
    target: &TargetOptions,
    matches: &ArgMatches,
) -> Result<Option<Swaps>, String> {
    let every = unless_unset(flags.swap_every, "swap_every", matches);
    let between = unless_unset(flags.swap_between, "swap_between", matches);
    let (every, between) = match (every, between) {
        (Some(every), Some(between)) => (parse_every(&every)?, parse_between(&between)?),
        (Some(_), None) => {
            return Err("--swap-every needs --swap-between, which says between what".to_owned());
        }
        (None, Some(_)) => {
            return Err("--swap-between needs --swap-every, which says how often".to_owned());
        }
        (None, None) => {
            let mut others = ["admin", "admin_token_file", "state_dir"].into_iter();
            return match others.find(|it| typed(matches, it)) {
                None => Ok(None),
                Some(flag) => Err(format!(
                    "--{} is only for swaps, so it needs --swap-every and --swap-between",
                    flag.replace('_', "-")
                )),
            };
        }
    };
    if !matches!(target, TargetOptions::Web { .. }) {
        return Err(
            "--swap-every swaps the plugin of a server, so it cannot go with a plugin in this process"
                .to_owned(),
        );
    }
    let admin = unless_unset(flags.admin, "admin", matches);
    let admin = Endpoint::parse(admin.as_deref().unwrap_or(ADMIN_DEFAULT))
        .map_err(|err| format!("--admin: {err}"))?;
    let token_file = unless_unset(flags.admin_token_file, "admin_token_file", matches);
    let state_dir = unless_unset(flags.state_dir, "state_dir", matches).map(PathBuf::from);
    let (admin, token) = admin
        .with_token(&PathBuf::from(token_file.unwrap_or_default()), state_dir.as_deref())
        .map_err(|err| format!("{err:#}"))?;
    Ok(Some(Swaps { admin, token, every, between }))
}

fn parse_every(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
    let every = match (digits.parse(), &text[digits.len()..]) {
        (Ok(number), "ms") => Some(Duration::from_millis(number)),
        (Ok(number), "s") => Some(Duration::from_secs(number)),
        _ => None,
    };
    match every {
        None => Err(format!(
            "`{text}` is not a time: --swap-every takes a whole number with its unit, like 100ms or 2s"
        )),
        Some(every) if !(SWAP_EVERY_MIN..=SWAP_EVERY_MAX).contains(&every) => Err(format!(
            "--swap-every is {text}, but may be {} ms to {} s",
            SWAP_EVERY_MIN.as_millis(),
            SWAP_EVERY_MAX.as_secs()
        )),
        Some(every) => Ok(every),
    }
}

fn parse_between(text: &str) -> Result<Vec<String>, String> {
    let plugins: Vec<_> = text.split(',').map(|it| it.trim().to_owned()).collect();
    if plugins.len() < 2 || plugins.iter().any(String::is_empty) {
        return Err(format!(
            "`{text}` is not a list of plugins: --swap-between takes two or more names or paths, with commas between"
        ));
    }
    Ok(plugins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit_and_a_range() {
        let ms = Duration::from_millis;
        let cases =
            [("10ms", ms(10)), ("100ms", ms(100)), ("2s", ms(2_000)), ("3600s", ms(3_600_000))];
        for (text, every) in cases {
            assert_eq!(parse_every(text), Ok(every), "{text}");
        }
        for text in
            ["", "100", "ms", "0.5s", "-1s", "1 s", "1m", "1h", "99999999999999999999s", "1é"]
        {
            let error = parse_every(text).expect_err(text);
            assert!(error.contains("is not a time"), "{error}");
        }
        for text in ["0ms", "9ms", "0s", "3601s", "3600001ms", "18446744073709551615s"] {
            let error = parse_every(text).expect_err(text);
            assert!(error.contains("may be 10 ms to 3600 s"), "{error}");
        }
    }

    #[test]
    fn a_list_has_at_least_two_entries_which_may_be_the_same() {
        let list = |text| parse_between(text).expect("a list");
        assert_eq!(list("a,./b.wasm, c"), ["a", "./b.wasm", "c"]);
        assert_eq!(list("a,a"), ["a", "a"]);
        for text in ["", "a", "a,", ",a", "a,,b"] {
            assert!(parse_between(text).is_err(), "{text}");
        }
    }
}
