//! Where a plugin keeps its counters, and beside which others it may count.

use std::fmt;

/// Where counters are, in words. Plugins with equal storages count on the same counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage(pub String);

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What decides whether two plugins may serve at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Where it keeps its counters.
    pub storage: Storage,
    /// What keeps its callers apart; none where nothing does, or nobody knows.
    pub locks: Option<&'static str>,
}

impl Protocol {
    /// Whether calls of one exclude calls of the other, so that both may be under way at once.
    ///
    /// On different storages they would count in two places at the same moment, and under different
    /// locks, or none, one would overwrite what the other has just written.
    pub fn may_overlap(&self, other: &Self) -> bool {
        self.locks.is_some() && self == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(storage: &str, locks: Option<&'static str>) -> Protocol {
        Protocol { storage: Storage(storage.into()), locks }
    }

    #[test]
    fn only_plugins_that_exclude_each_other_on_one_storage_may_overlap() {
        let (memory, disk) = ("memory", "disk");
        for (one, other, may) in [
            (protocol(memory, Some("atomic")), protocol(memory, Some("atomic")), true),
            (protocol(memory, Some("atomic")), protocol(memory, Some("file lock")), false),
            (protocol(memory, Some("file lock")), protocol(disk, Some("file lock")), false),
            (protocol(memory, Some("atomic")), protocol(memory, None), false),
            // Two of which nothing is known may still use different locks.
            (protocol(memory, None), protocol(memory, None), false),
        ] {
            assert_eq!(one.may_overlap(&other), may, "{one:?}, {other:?}");
            assert_eq!(other.may_overlap(&one), may, "{other:?}, {one:?}");
        }
    }
}
