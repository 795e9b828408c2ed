//! The limits that keep a plugin from harming anybody but its own caller.

use std::time::Duration;

use clap::Args;

/// Limits on plugins. Each is a setting.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Limits on plugins")]
pub struct PluginLimits {
    /// Linear memory of one plugin instance, in MiB (1 to 4096).
    ///
    /// It also bounds how long one bulk memory instruction can hold a worker: about 0.6 ms per MiB.
    #[arg(long, env, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub plugin_memory_max: u32,

    /// Time that one call may compute, in ms (5 to 60000); in steps of 5 ms.
    ///
    /// The functions list, put and tick may compute for 100 times as long. Above 50, calls of plugins that never wait
    /// cost some 0.1 µs more, so that they can be suspended.
    #[arg(long, env, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(5..=60_000))]
    pub call_cpu_max: u32,

    /// Time that one call may take in all, waiting included, in ms (10 to 600000).
    ///
    /// When it is over the caller is told that the outcome is unknown; the call goes on, so that it
    /// is not cut off between two steps, for at most ten times as long.
    #[arg(long, env, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=600_000))]
    pub call_time_max: u32,

    /// Functions of the host that one call may call (1 to 1000000).
    ///
    /// The functions list, put and tick may call 100 times as many. Not counted for plugins whose calls never wait,
    /// because their computing time bounds the number.
    #[arg(long, env, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub host_calls_max: u32,

    /// Instances of the plugin that one worker keeps, and so its calls at a time (1 to 1024).
    #[arg(long, env, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub instances_per_worker_max: u32,

    /// Calls that wait for an instance on one worker (0 to 1000000); more are refused with 503.
    #[arg(long, env, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub queued_calls_per_worker_max: u32,

    /// Size of a plugin file, in MiB (1 to 1024).
    #[arg(long, env, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub plugin_file_max: u32,

    /// Time that the compiler may take for a plugin, in ms (100 to 600000).
    #[arg(long, env, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(100..=600_000))]
    pub compile_time_max: u32,

    /// Memory that the compiler may take for a plugin, in MiB (64 to 65536).
    ///
    /// At most two plugins are compiled at a time, each in a process of its own: one that was asked for and one in the
    /// background.
    #[arg(long, env, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=65_536))]
    pub compile_memory_max: u32,

    /// Longest wait of a plugin for a lock, in ms (0 to 600000).
    #[arg(long, env, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(0..=600_000))]
    pub lock_wait_max: u32,

    /// Lines per second that one plugin can write to the log (0 to 100000).
    #[arg(long, env, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub log_lines_per_second_max: u32,
}

impl PluginLimits {
    /// [`Self::plugin_memory_max`] in bytes.
    pub fn memory_bytes_max(&self) -> usize {
        self.plugin_memory_max as usize * 1024 * 1024
    }

    /// [`Self::plugin_file_max`] in bytes.
    pub fn file_bytes_max(&self) -> u64 {
        u64::from(self.plugin_file_max) * 1024 * 1024
    }

    /// [`Self::compile_time_max`] as a duration.
    pub fn compile_time(&self) -> Duration {
        Duration::from_millis(self.compile_time_max.into())
    }

    /// [`Self::compile_memory_max`] in bytes.
    pub fn compile_memory_bytes(&self) -> u64 {
        u64::from(self.compile_memory_max) * 1024 * 1024
    }

    /// [`Self::call_cpu_max`] as a duration.
    pub fn call_cpu(&self) -> Duration {
        Duration::from_millis(self.call_cpu_max.into())
    }

    /// [`Self::call_time_max`] as a duration.
    pub fn call_time(&self) -> Duration {
        Duration::from_millis(self.call_time_max.into())
    }

    /// [`Self::lock_wait_max`] as a duration.
    pub fn lock_wait(&self) -> Duration {
        Duration::from_millis(self.lock_wait_max.into())
    }
}
