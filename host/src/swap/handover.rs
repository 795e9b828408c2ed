//! What becomes of the counts, and of what the journal says, when one plugin takes the place of another.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{
    carry::Carry,
    choice::{self, Plan},
    error::SwapError,
    holdings::{Counters, Deadline, Holdings, LOOK_TIME_MAX},
    journal::{Journal, Serving, Turn},
    probe,
    settings::OnStorageChange,
};
use crate::plugin::{generation::Trigger, pool::Pool};

/// What a host that is killed before it has looked says of what it left.
const NOT_LOOKED: &str = "the host ended before it had looked";

/// How long it may take at least in a forced swap, when the calls before have used up its pause.
pub const FORCED_TIME_MIN: Duration = Duration::from_secs(2);

/// The counts on their way from one plugin to another.
pub struct Handover {
    plan: Plan,
    old: Rc<Pool>,
    new: Rc<Pool>,
    trigger: Trigger,
    way: Way,
    /// Whether the new plugin did well when it was tried. By force it is tried again when the calls were broken
    /// off, for which it may have waited: one of them may hold a lock.
    is_tried: bool,
    /// How long looking at what was left may take.
    look_time_max: Duration,
}

enum Way {
    Carry(Carry),
    Remember(Turn),
    /// Why it can't be remembered. Within one storage no count is at risk.
    Forget(String),
}

/// What is asked of a handover.
pub struct Wish {
    /// What becomes of the counts where the storage changes.
    pub counts: Option<OnStorageChange>,
    /// Whether counts that are in the new storage already are given up.
    pub overwrite: bool,
    /// Whether it must not wait for what may never end.
    pub force: bool,
    /// What asks for it.
    pub trigger: Trigger,
}

impl Handover {
    /// Checks that the plugin of `new`, which will be `to`, may take the place of the one of `old`, which is
    /// `from`.
    ///
    /// # Errors
    ///
    /// Why not; nothing was changed.
    pub async fn prepare(
        (old, from): (Rc<Pool>, Serving),
        (new, to): (Rc<Pool>, Serving),
        journal: &Arc<Journal>,
        wish: Wish,
    ) -> Result<Self, SwapError> {
        let Wish { counts, overwrite, force, trigger } = wish;
        let plan = Plan::make(&old, &new, counts, trigger).await?;
        if force && plan == Plan::Carry {
            check_listing(&old).await?;
        }
        // A host may begin while its storage is out of reach.
        let tried = if trigger == Trigger::Start { Ok(()) } else { probe::probe(&new).await };
        if !force {
            tried.clone()?;
        }
        if plan != Plan::Keep {
            journal.check_writable().map_err(SwapError::Refused)?;
        }
        let way = match (plan, journal.turn(from, to)) {
            (Plan::Keep, turn) => turn.map_or_else(Way::Forget, Way::Remember),
            // What can't be read says where other counts are, and must not be written over.
            (_, Err(why)) => return Err(SwapError::Refused(why)),
            (Plan::Carry, Ok(turn)) => {
                Way::Carry(Carry::prepare(old.clone(), new.clone(), turn, overwrite).await?)
            }
            (Plan::None | Plan::Leave, Ok(turn)) => Way::Remember(turn),
        };
        let look_time_max = if force { FORCED_TIME_MIN } else { LOOK_TIME_MAX };
        Ok(Self { plan, old, new, trigger, way, look_time_max, is_tried: tried.is_ok() })
    }

    /// Whether the counts stay in the storage in which they are, so that they can be counted on meanwhile.
    pub fn keeps(&self) -> bool {
        self.plan == Plan::Keep
    }

    /// Whether the new plugin need not be tried again.
    pub fn is_tried(&self) -> bool {
        self.is_tried
    }

    /// Tries the new plugin again, if that is needed, and makes room for the counts, which was not done then.
    ///
    /// # Errors
    ///
    /// Why it can't serve.
    pub async fn try_again(&self) -> Result<(), SwapError> {
        if self.is_tried {
            return Ok(());
        }
        probe::probe(&self.new).await?;
        self.give_up_counts().await
    }

    /// Makes room in the new storage where its counts may be given up, and the new plugin did well.
    ///
    /// # Errors
    ///
    /// Why it could not.
    pub async fn make_room(&self) -> Result<(), SwapError> {
        if self.is_tried { self.give_up_counts().await } else { Ok(()) }
    }

    async fn give_up_counts(&self) -> Result<(), SwapError> {
        match &self.way {
            Way::Carry(carry) => carry.make_room().await.map_err(SwapError::Refused),
            Way::Remember(_) | Way::Forget(_) => Ok(()),
        }
    }

    /// What a swap that is not made has changed, in words.
    pub fn changed(&self) -> String {
        let gone = match &self.way {
            Way::Carry(carry) => carry.given_up(),
            Way::Remember(_) | Way::Forget(_) => None,
        };
        gone.map_or_else(
            || "nothing was changed".into(),
            |gone| format!("nothing was swapped, and {gone}"),
        )
    }

    /// Makes the new storage the one where the counts are. No call may be under way on either plugin. When this
    /// returns, a host that is killed goes on with the new plugin.
    ///
    /// # Errors
    ///
    /// Why it could not; what was done is to be taken back by [`Self::undo`].
    pub async fn make(&self, deadline: &Deadline) -> Result<Option<Counters>, SwapError> {
        let turn = match &self.way {
            Way::Carry(carry) => {
                return carry.copy(deadline).await.map(Some).map_err(SwapError::Refused);
            }
            Way::Remember(turn) => turn,
            Way::Forget(_) => return Ok(None),
        };
        let storage = self.old.plugin().protocol().storage.0.clone();
        let left = match self.plan {
            Plan::Keep | Plan::Carry => return Ok(None),
            Plan::None => {
                // Some may have come since it was looked.
                let held = Holdings::look(&self.old, deadline.left()).await;
                if !held.are_none() {
                    return Err(choice::refusal(&held, &self.new, self.trigger));
                }
                None
            }
            Plan::Leave => Some(Holdings { storage, counters: Err(NOT_LOOKED.into()) }),
        };
        turn.served(left.as_ref()).map_err(SwapError::Refused)?;
        Ok(None)
    }

    /// Takes back what was done before the swap was given up.
    pub async fn undo(self) {
        match self.way {
            Way::Carry(carry) => carry.undo().await,
            Way::Remember(turn) => {
                if let Err(why) = turn.undone() {
                    tracing::warn!("after a restart another plugin would serve: {why}");
                }
            }
            Way::Forget(_) => {}
        }
    }

    /// Does what is left to do once the new plugin serves, and says what was left in the old storage.
    pub async fn finish(self) -> Option<Holdings> {
        let mut left = None;
        let remembered = match self.way {
            Way::Carry(carry) => {
                carry.finish().await;
                return None;
            }
            Way::Forget(why) => Err(why),
            Way::Remember(_) if self.plan == Plan::None => return None,
            Way::Remember(turn) => {
                if self.plan == Plan::Leave {
                    let held = Holdings::look(&self.old, self.look_time_max).await;
                    left = Some(held).filter(|held| !held.are_none());
                }
                turn.served(left.as_ref())
            }
        };
        if let Err(why) = remembered {
            tracing::warn!("this swap was made, and is not remembered as it was made: {why}");
        }
        left
    }
}

/// Refuses a carry from a plugin that does not list its counters in time, before a call is broken off for it.
async fn check_listing(old: &Rc<Pool>) -> Result<(), SwapError> {
    let held = Holdings::look(old, LOOK_TIME_MAX).await;
    match &held.counters {
        Ok(_) => Ok(()),
        Err(_) => Err(SwapError::Refused(format!(
            "{held}, so they can't be carried: say --leave-counts (\"leave_counts\":true) to leave there what there is"
        ))),
    }
}
