//! Where a cluster is, and the bounds on its use.

use std::time::Duration;

/// Which cluster to use, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Addresses (`host:port`) of some members. The others are found through these.
    pub members: Vec<String>,
    /// The cluster's name, which keeps clients from talking to another one by accident.
    pub cluster_name: String,
    /// How long one call may take, the tries that it needs included.
    pub invocation_time_max: Duration,
    /// Calls under way and locks held at the same time; one more is refused as unavailable.
    pub calls_max: usize,
}

impl Settings {
    /// Which cluster it is, in words.
    pub fn place(&self) -> String {
        format!("the Hazelcast cluster {} at {}", self.cluster_name, self.members.join(", "))
    }
}
