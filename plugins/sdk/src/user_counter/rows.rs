//! In which row of the table a counter is.

use alloc::{
    format,
    string::{String, ToString},
};

use crate::{DEFAULT_KEY, Error, setting};

/// Rows are called like their counters, but for the default counter's.
pub struct Rows {
    default: String,
}

impl Rows {
    /// As `--db-counter-key` says, which the host hands on as a setting of the plugin.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Other`].
    pub fn of_settings() -> Result<Self, Error> {
        let default = setting("counter-key", "a key")?;
        let missing = || Error::Other("the host does not say which row is the default".to_string());
        Ok(Self { default: default.ok_or_else(missing)? })
    }

    /// The `user_id` of the counter `key`, as a text.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] where that would be the default counter's.
    pub fn row<'a>(&'a self, key: &'a str) -> Result<&'a str, Error> {
        if key == DEFAULT_KEY {
            return Ok(&self.default);
        }
        if key == self.default {
            return Err(Error::InvalidKey(format!(
                "the row \"{key}\" of the table user_counter is that of the counter \"{DEFAULT_KEY}\" \
                 (--db-counter-key): use \"{DEFAULT_KEY}\", or another key"
            )));
        }
        Ok(key)
    }

    /// The counter in the row `user_id`; none where none is.
    pub fn key<'a>(&'a self, user_id: &'a str) -> Option<&'a str> {
        let key = if user_id == self.default { DEFAULT_KEY } else { user_id };
        self.row(key).is_ok_and(|its| its == user_id).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_one_row_and_each_row_at_most_one_counter() {
        for (default, counters) in [
            ("1", [("count", Ok("1")), ("1", Err(())), ("a", Ok("a"))]),
            ("count", [("count", Ok("count")), ("1", Ok("1")), ("a", Ok("a"))]),
        ] {
            let rows = Rows { default: default.into() };
            for (key, row) in counters {
                assert_eq!(rows.row(key).map_err(drop), row, "{default} {key}");
                if let Ok(row) = row {
                    assert_eq!(rows.key(row), Some(key), "{default} {row}");
                }
            }
        }
        assert_eq!(Rows { default: "1".into() }.key("count"), None, "nothing is counted there");
    }
}
