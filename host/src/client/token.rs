//! The secret of an admin listener.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::Read,
    path::Path,
};

use anyhow::{Context, ensure};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::regular_file;

/// Fewest and most bytes of a token: it should not be guessed, and must fit into the head of a request.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=4096;

/// Bytes of chance in a token that a host makes.
const RANDOM_BYTES: usize = 32;

/// What requests to an admin listener must bring, where it wants something. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token that nobody can guess, in hexadecimal digits.
    ///
    /// # Errors
    ///
    /// When the operating system has no random numbers.
    pub(crate) fn random() -> anyhow::Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        let got = getrandom(&mut bytes, GetRandomFlags::empty());
        ensure!(
            got == Ok(RANDOM_BYTES),
            "a token can't be made, because the operating system has no random numbers"
        );
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Reads a token from the file that somebody has named; white space around it is not part of it.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or holds what can't be a token.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        // Where secrets are mounted, such as by Kubernetes, they are links.
        let found = fs::canonicalize(path);
        let file = found.and_then(|it| regular_file::open(&it, OpenOptions::new().read(true)));
        let file = file.with_context(|| format!("can't read a token from {}", path.display()))?;
        Self::read_from(file, path)
    }

    /// As [`Self::read`], from a file that is open.
    ///
    /// # Errors
    ///
    /// As for [`Self::read`].
    pub(super) fn read_from(file: File, path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut text = String::new();
        file.take(*TOKEN_BYTES.end() as u64 + 1)
            .read_to_string(&mut text)
            .with_context(|| format!("can't read a token from {shown}"))?;
        let token = text.trim();
        ensure!(
            TOKEN_BYTES.contains(&text.len())
                && TOKEN_BYTES.contains(&token.len())
                && token.bytes().all(|it| it.is_ascii_graphic()),
            "{shown} holds no token: it is one line of {} to {} visible ASCII characters",
            TOKEN_BYTES.start(),
            TOKEN_BYTES.end()
        );
        Ok(Self(token.to_owned()))
    }

    /// As [`Self::read`], for the setting `--admin-token-file`; none when the path is empty.
    ///
    /// # Errors
    ///
    /// As for [`Self::read`].
    pub fn read_if_given(path: &Path) -> anyhow::Result<Option<Self>> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        Self::read(path).map(Some).context("--admin-token-file")
    }

    /// The text, for the one who is to be convinced.
    pub(crate) fn reveal(&self) -> &str {
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_one_line_of_visible_ascii_and_anything_else_is_refused(
            content in prop_oneof![
                "[ \t\n]{0,2}[!-~]{14,18}[ \n\r]{0,3}",
                "[!-~é ]{14,20}",
                (4090..4100_usize).prop_map(|length| "x".repeat(length)),
            ],
            byte in prop::option::weighted(0.2, any::<u8>()),
        ) {
            let mut content = content.into_bytes();
            content.extend(byte);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &content).unwrap();
            let expected = std::str::from_utf8(&content).ok().map(str::trim).filter(|token| {
                let is_visible = token.chars().all(|c| ('!'..='~').contains(&c));
                is_visible && 16 <= token.len() && content.len() <= 4096
            });
            match Token::read(file.path()) {
                Ok(token) => prop_assert_eq!(Some(token.reveal()), expected),
                Err(error) => {
                    let message = format!("{error:#}");
                    prop_assert_eq!(expected, None, "{}", &message);
                    prop_assert!(message.contains(file.path().to_str().unwrap()), "{}", message);
                }
            }
        }
    }
}
