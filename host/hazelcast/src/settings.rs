//! Where a cluster is, and the bounds on its use.

use std::time::Duration;

/// Which cluster to use, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Addresses (`host:port`) of some members. The others are found through these.
    pub members: Vec<String>,
    /// The cluster's name, which keeps clients from talking to another one by accident.
    pub cluster_name: String,
    /// How long one call may take, the tries that it needs included. One to an atomic long may wait as long for the CP group
    /// before.
    pub invocation_time_max: Duration,
    /// How long the CP group of atomic longs may take to answer, before anything is written to it: a new one has to elect a
    /// leader.
    pub cp_group_wait_max: Duration,
    /// Calls under way and locks held at the same time; one more is refused as unavailable.
    pub calls_max: usize,
}

impl Settings {
    /// Which cluster it is, in words.
    pub fn place(&self) -> String {
        format!("the Hazelcast cluster {} at {}", self.cluster_name, self.members.join(", "))
    }
}
