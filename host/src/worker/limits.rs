//! The limits that keep a client from harming the others.

use std::time::Duration;

use clap::Args;

/// Limits on clients. Each is a setting.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Limits on clients")]
pub struct ServerLimits {
    /// Open connections in all (1 to 1000000); more wait to be accepted.
    ///
    /// Never more than the process may have files open, less some for its own use. A host for which that leaves less
    /// than 64, and less than this, does not start.
    #[arg(long, env, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_max: u32,

    /// Size of a request's head, in bytes (8192 to 65536).
    #[arg(long, env, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(8192..=65_536))]
    pub request_head_max: u32,

    /// Size of a request's body, in bytes (0 to 1048576).
    #[arg(long, env, value_name = "BYTES", default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub request_body_max: u32,

    /// Time for a request's head to arrive, from its first byte or from the connection, in ms
    /// (100 to 600000).
    #[arg(long, env, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=600_000))]
    pub head_time_max: u32,

    /// Time for a request's body to arrive, in ms (100 to 600000).
    #[arg(long, env, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=600_000))]
    pub body_time_max: u32,

    /// Time that a connection may be idle between two requests, and that a client may take to
    /// receive an answer, in ms (100 to 3600000).
    #[arg(long, env, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(100..=3_600_000))]
    pub idle_time_max: u32,

    /// Time between a signal to stop, when GET /readyz begins to say so, and the end of accepting
    /// connections, in ms (0 to 600000): for load balancers that take a while to notice.
    #[arg(long, env, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=600_000))]
    pub drain_delay: u32,

    /// Time for requests to be answered after a signal to stop, in ms (0 to 600000), and once more
    /// for calls to end whose clients have left.
    #[arg(long, env, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=600_000))]
    pub drain_time_max: u32,
}

impl ServerLimits {
    /// [`Self::head_time_max`] as a duration.
    pub fn head_time(&self) -> Duration {
        Duration::from_millis(self.head_time_max.into())
    }

    /// [`Self::body_time_max`] as a duration.
    pub fn body_time(&self) -> Duration {
        Duration::from_millis(self.body_time_max.into())
    }

    /// [`Self::idle_time_max`] as a duration.
    pub fn idle_time(&self) -> Duration {
        Duration::from_millis(self.idle_time_max.into())
    }

    /// [`Self::drain_delay`] as a duration.
    pub fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay.into())
    }

    /// [`Self::drain_time_max`] as a duration.
    pub fn drain_time(&self) -> Duration {
        Duration::from_millis(self.drain_time_max.into())
    }
}
