//! Swaps of the server's plugin while the load runs.
//!
//! * `flags`: what was typed, and what it means.
//! * `swapper`: asks for one swap after the other, on the run's own clock.
//! * [`windows`]: how slow calls were near a swap, and far from any.
//! * [`report`]: what is known of the swaps after the run.

use std::time::Duration;

use tally_host::client::Endpoint;
pub use tally_host::client::Token;

pub(crate) mod flags;
pub mod report;
pub(crate) mod swapper;
pub mod windows;

/// Which swaps to make while a load runs.
///
/// The first one is due one interval after the clients were released, and there is only one at a time: where one takes
/// longer than the interval, the next one follows at once and is counted as late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swaps {
    /// The server's admin listener.
    pub admin: Endpoint,
    /// What the admin listener wants to see before it obeys.
    pub token: Option<Token>,
    /// From the begin of one swap to the begin of the next.
    pub every: Duration,
    /// The plugins that are swapped in, in turn and over and over: names or paths as the server knows them.
    pub between: Vec<String>,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_token_is_one_line_of_a_file_and_is_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let read = |text: &str| {
            fs::write(&path, text).expect("a file");
            Token::read(&path)
        };
        let token = read("s3cret\n").expect("a token");
        assert_eq!((token.reveal(), format!("{token:?}").as_str()), ("s3cret", "hidden"));
        for bad in ["", "\n", "two words", "two\nlines", "é", &"x".repeat(5_000)] {
            let error = read(bad).expect_err(bad).to_string();
            assert!(error.contains("no token") && !error.contains("words"), "{error}");
        }
        let error = Token::read(&folder.path().join("none")).expect_err("no file");
        assert!(format!("{error:#}").contains("cannot read a token from"), "{error:#}");
    }
}
