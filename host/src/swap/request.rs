//! What is asked of a swap, and how it ends.

use std::{fmt, path::PathBuf, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{
    error::SwapError,
    fence::Forced,
    holdings::{Counters, Holdings},
    settings::OnStorageChange,
};
use crate::{
    config::{Config, PluginSettings},
    plugin::{
        generation::{Generation, Trigger},
        limits::PluginLimits,
    },
};

/// Swaps that wait for the one under way.
const WAITING_MAX: usize = 8;

/// What is to become of the active plugin.
pub enum Change {
    /// The plugin of this name, or in the file at this path, takes its place.
    Plugin(String),
    /// The generation before takes its place.
    Rollback,
    /// It is chosen anew, by these settings.
    Settings(Box<(PluginSettings, PluginLimits)>),
    /// The file at this path is new or has changed; its plugin takes the place only of itself.
    File(PathBuf),
}

impl Change {
    /// The plugins as `config` wants them.
    pub fn settings(config: &Config) -> Self {
        Self::Settings(Box::new((config.plugins.clone(), config.plugin_limits.clone())))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin(choice) => f.write_str(choice),
            Self::Rollback => f.write_str("the generation before"),
            Self::Settings(settings) => {
                f.write_str(settings.0.plugin.as_deref().unwrap_or("what the settings choose"))
            }
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The terms on which a swap is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// What becomes of the counts where the storage changes. If nothing was said, a storage that holds some is
    /// not left.
    pub counts: Option<OnStorageChange>,
    /// Whether what a carry has brought goes back without a word.
    pub carries_back: bool,
    /// Whether counts that are in the new storage already are given up.
    pub overwrite: bool,
    /// Whether calls that do not end are broken off, and the last work of the old plugin may fail.
    pub force: bool,
    /// How long calls may be held back; if nothing was said, as the settings have it.
    pub pause_max: Option<Duration>,
}

impl Terms {
    /// What becomes of the counts when `active` serves.
    pub fn counts_after(&self, active: &Generation) -> Option<OnStorageChange> {
        let back = self.carries_back && active.carried;
        self.counts.or(back.then_some(OnStorageChange::Carry))
    }
}

/// One request for a swap.
pub struct Request {
    pub(super) change: Change,
    pub(super) terms: Terms,
    pub(super) trigger: Trigger,
    pub(super) reply: oneshot::Sender<Result<Done, SwapError>>,
}

/// What became of a request that was granted.
#[derive(Clone, Debug)]
pub enum Done {
    /// Another generation serves.
    Swapped(Box<Swapped>),
    /// There was nothing to change.
    Unchanged,
}

/// A swap that was made.
#[derive(Clone, Debug)]
pub struct Swapped {
    /// The generation that serves now.
    pub generation: u64,
    /// Its plugin.
    pub plugin: String,
    /// Whether calls were held back until those of the old generation had ended.
    pub fenced: bool,
    /// For how long.
    pub paused: Duration,
    /// How long the calls of the old generation took to end after the new one was published.
    pub drained: Duration,
    /// What was carried.
    pub carried: Option<Counters>,
    /// What was left in the old storage; none if that is surely nothing.
    pub left: Option<Holdings>,
    /// What force has cost, where it was asked for.
    pub forced: Option<Forced>,
}

/// By which swaps are asked for, from any thread.
#[derive(Clone)]
pub struct SwapHandle(mpsc::Sender<Request>);

/// The other end.
pub type Requests = mpsc::Receiver<Request>;

impl SwapHandle {
    /// A handle, and the other end.
    pub fn new() -> (Self, Requests) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        (Self(sender), requests)
    }

    /// Makes a swap, if not too many others are waited for.
    ///
    /// Once asked for it is made, whether or not this future lives on.
    ///
    /// # Errors
    ///
    /// Why it was not made.
    pub async fn swap(
        &self,
        change: Change,
        terms: Terms,
        trigger: Trigger,
    ) -> Result<Done, SwapError> {
        let (reply, outcome) = oneshot::channel();
        let request = Request { change, terms, trigger, reply };
        self.0.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SwapError::Busy,
            mpsc::error::TrySendError::Closed(_) => SwapError::Stopping,
        })?;
        outcome.await.unwrap_or(Err(SwapError::Stopping))
    }

    /// Makes a swap that nobody would ask for again, when it is its turn.
    ///
    /// # Errors
    ///
    /// Why it was not made.
    pub async fn swap_in_turn(
        &self,
        change: Change,
        terms: Terms,
        trigger: Trigger,
    ) -> Result<Done, SwapError> {
        let (reply, outcome) = oneshot::channel();
        let request = Request { change, terms, trigger, reply };
        self.0.send(request).await.map_err(|_| SwapError::Stopping)?;
        outcome.await.unwrap_or(Err(SwapError::Stopping))
    }
}
