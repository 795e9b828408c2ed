//! Swaps of the server's plugin while the load runs.
//!
//! * `flags`: what was typed, and what it means.
//! * `swapper`: asks for one swap after the other, on the run's own clock.
//! * [`windows`]: how slow calls were near a swap, and far from any.
//! * [`report`]: what is known of the swaps after the run.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tally_host::client::Endpoint;

pub(crate) mod flags;
pub mod report;
pub(crate) mod swapper;
pub mod windows;

/// Longest token that is read, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

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

/// The secret of an admin listener. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Reads a token from a file; white space around it is not part of it.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or holds what can't be a token.
    pub fn read(path: &Path) -> anyhow::Result<Token> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text))
            .with_context(|| format!("cannot read a token from `{}`", path.display()))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|it| it.is_ascii_graphic()) {
            bail!(
                "`{}` holds no token: it is one line of visible ASCII characters",
                path.display()
            );
        }
        if TOKEN_BYTES_MAX < text.len() as u64 {
            bail!(
                "`{}` has more than {TOKEN_BYTES_MAX} bytes, so it holds no token",
                path.display()
            );
        }
        Ok(Token(token.to_owned()))
    }

    fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
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
