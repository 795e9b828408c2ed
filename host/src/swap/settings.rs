//! How a swap is made.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, value_parser};

/// What [`SwapSettings::swap_pause_max`] may be.
pub const PAUSE_MS_RANGE: RangeInclusive<i64> = 10..=600_000;

/// What becomes of the counts where a swap changes the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnStorageChange {
    /// They go along.
    Carry,
    /// They stay in the old storage, and the counters are those of the new one.
    Leave,
}

/// Whether a host goes on where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Resume {
    /// With what was swapped to, where the counts are.
    On,
    /// As the settings say.
    Off,
}

/// Limits on swaps, and what they remember. Each is a setting.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Swaps")]
pub struct SwapSettings {
    /// Time that calls may be held back by a swap, in ms (10 to 600000).
    ///
    /// Calls are held back where the old plugin and the new one may not count at the same moment, and
    /// while counts are carried. When it is over, the swap is undone and the old plugin goes on.
    #[arg(long, env, value_name = "MS", default_value_t = 5_000, value_parser = value_parser!(u32).range(PAUSE_MS_RANGE))]
    pub swap_pause_max: u32,

    /// Time that a swap waits for calls which began on the old plugin, in ms (0 to 600000).
    ///
    /// Those that take longer end in their own time; the old plugin's locks and connections are given up with the last.
    #[arg(long, env, value_name = "MS", default_value_t = 10_000, value_parser = value_parser!(u32).range(0..=600_000))]
    pub swap_drain_max: u32,

    /// Time between two calls of the function tick, of plugins that export it, in ms (10 to 3600000).
    #[arg(long, env, value_name = "MS", default_value_t = 5_000, value_parser = value_parser!(u32).range(10..=3_600_000))]
    pub tick_interval: u32,

    /// What becomes of the counts where changed settings, at a reload or a start, choose another storage and the
    /// old one holds some: carry or leave [default: the settings are refused].
    ///
    /// A reload always compares. A start compares the settings only with what the last swap has recorded: a host
    /// that was never swapped has no record, and starts with whatever storage its settings name.
    #[arg(long, env, value_name = "HOW", hide_possible_values = true)]
    pub on_storage_change: Option<OnStorageChange>,

    /// Whether a host goes on with what was swapped to before it ended: on or off.
    ///
    /// Off begins as the settings say and forgets the rest. What is remembered belongs to a port: a host on a
    /// free one (--port 0) goes on with nothing, and only says where counts were carried to.
    #[arg(
        long,
        env,
        value_name = "HOW",
        value_enum,
        default_value = "on",
        hide_possible_values = true
    )]
    pub resume: Resume,

    /// Directory in which the host remembers what was swapped to and where the counts are
    /// [default: tally in the user's state directory].
    #[arg(long, env, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

impl SwapSettings {
    /// [`Self::swap_pause_max`] as a duration.
    pub fn pause_max(&self) -> Duration {
        Duration::from_millis(self.swap_pause_max.into())
    }

    /// [`Self::swap_drain_max`] as a duration.
    pub fn drain_max(&self) -> Duration {
        Duration::from_millis(self.swap_drain_max.into())
    }

    /// [`Self::tick_interval`] as a duration.
    pub fn tick_interval(&self) -> Duration {
        Duration::from_millis(self.tick_interval.into())
    }
}
