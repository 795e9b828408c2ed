//! Why operations failed, counted per reason.

use std::collections::BTreeMap;

/// Distinct reasons that are counted by name; the rest share one line.
/// A server that puts a request number into each message must not fill the memory.
const REASONS_MAX: usize = 20;

/// The name under which reasons beyond the first [`REASONS_MAX`] are counted.
const OTHER_REASONS: &str = "other reasons";

/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 200;

/// How often each reason occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    counts: BTreeMap<String, u64>,
}

impl Reasons {
    /// Counts one occurrence of `reason`.
    pub fn add(&mut self, reason: &str) {
        self.add_many(reason, 1);
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Reasons) {
        for (reason, count) in &other.counts {
            self.add_many(reason, *count);
        }
    }

    /// How many occurrences were counted, over all reasons.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Every reason with its count, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(reason, count)| (reason.as_str(), *count))
    }

    fn add_many(&mut self, reason: &str, count: u64) {
        let reason = printable(reason);
        let known = self.counts.contains_key(&reason);
        let name = if known || self.counts.len() < REASONS_MAX {
            reason
        } else {
            OTHER_REASONS.to_owned()
        };
        *self.counts.entry(name).or_default() += count;
    }
}

/// Cuts a message that another program wrote to a bounded line without control characters,
/// which could otherwise rewrite the terminal it is printed on.
fn printable(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_beyond_the_bound_share_one_line_and_none_is_dropped() {
        let mut reasons = Reasons::default();
        for idx in 0..1_000 {
            reasons.add(&format!("request {idx} failed"));
        }
        reasons.add("request 0 failed");
        assert_eq!(reasons.total(), 1_001);
        assert_eq!(reasons.iter().count(), REASONS_MAX + 1);
        assert!(reasons.iter().any(|it| it == ("request 0 failed", 2)));
        assert!(reasons.iter().any(|it| it == (OTHER_REASONS, 980)));
    }

    #[test]
    fn a_hostile_reason_is_cut_and_cannot_write_to_the_terminal() {
        let mut reasons = Reasons::default();
        reasons.add(&format!("\x1b[2J{}\n", "x".repeat(10_000)));
        let (reason, _) = reasons.iter().next().expect("one reason");
        assert_eq!(reason.chars().count(), REASON_CHARS_MAX);
        assert!(!reason.contains(char::is_control));
    }
}
