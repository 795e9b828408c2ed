//! The plugin's own settings.

use alloc::format;
use core::str::FromStr;

use crate::{Error, wasi::config::store};

/// The value of a setting; none where it is not set.
///
/// # Errors
///
/// [`Error::Other`] when the value is not `what`.
pub fn setting<T: FromStr>(key: &str, what: &str) -> Result<Option<T>, Error> {
    let Some(value) = store::get(key)? else {
        return Ok(None);
    };
    let parsed = value.parse().map_err(|_| {
        Error::Other(format!("the setting \"{key}\" is \"{value}\": set it to {what}"))
    })?;
    Ok(Some(parsed))
}
