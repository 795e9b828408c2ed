//! Mistakes in how the program was started.

use std::fmt;

/// A mistake of the user, in one sentence: what, where, and what to do. Exit status 2.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl UsageError {
    /// `what` has no member `name`; `known` lists those there are, and the nearest is suggested.
    pub fn unknown(what: &str, name: &str, known: &[&str]) -> Self {
        let nearest = known
            .iter()
            .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
            .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        let suggestion =
            nearest.map_or(String::new(), |(_, name)| format!(" (did you mean \"{name}\"?)"));
        Self(format!("unknown {what} \"{name}\"{suggestion}; known are: {}", known.join(", ")))
    }
}

/// Names less alike than this are not worth a suggestion (Jaro-Winkler similarity, 0 to 1).
const LIKENESS_MIN: f64 = 0.75;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_gets_the_known_ones_and_the_nearest() {
        let known = ["shared-memory-atomic", "disk-flock"];
        let message = |name| UsageError::unknown("plugin", name, &known).to_string();
        assert_eq!(
            message("shared-memory-atomik"),
            "unknown plugin \"shared-memory-atomik\" (did you mean \"shared-memory-atomic\"?); \
             known are: shared-memory-atomic, disk-flock"
        );
        assert!(!message("xyz").contains("did you mean"));
    }
}
