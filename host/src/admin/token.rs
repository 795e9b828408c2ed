//! The token that admin requests must bring, where there is one.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

/// Fewest characters of a token.
const TOKEN_CHARS_MIN: usize = 16;

/// The token in the file at `path`, blanks around it left out; none when the path is empty.
///
/// # Errors
///
/// When the file can't be read, or its token is too short.
pub fn from_file(path: &Path) -> anyhow::Result<Option<String>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let shown = path.display();
    let text = fs::read_to_string(path)
        .with_context(|| format!("can't read the admin token in {shown}"))?;
    let token = text.trim();
    ensure!(
        token.chars().count() >= TOKEN_CHARS_MIN,
        "the admin token in {shown} is too short: use at least {TOKEN_CHARS_MIN} characters"
    );
    Ok(Some(token.to_owned()))
}
