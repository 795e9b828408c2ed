//! What a swap does with the counts: whoever asks must say it where the storage changes and the old one
//! holds some.

use std::rc::Rc;

use super::{
    error::SwapError,
    holdings::{Holdings, LOOK_TIME_MAX},
    settings::OnStorageChange,
};
use crate::plugin::{generation::Trigger, pool::Pool};

/// What a swap does with the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// They stay where they are, and the new plugin counts on with them.
    Keep,
    /// There are none. That has to be seen again when nobody counts any more.
    None,
    /// They move to the new storage.
    Carry,
    /// They stay in the old storage.
    Leave,
}

impl Plan {
    /// For a swap from `old` to `new`, of which `counts` was said.
    ///
    /// # Errors
    ///
    /// [`SwapError::CarryOrLeave`].
    pub async fn make(
        old: &Rc<Pool>,
        new: &Rc<Pool>,
        counts: Option<OnStorageChange>,
        trigger: Trigger,
    ) -> Result<Self, SwapError> {
        // A setting says it for whatever may come, and who asks for one swap says it of that one.
        let by_setting = matches!(trigger, Trigger::Start | Trigger::Reload);
        let same = old.plugin().protocol().storage == new.plugin().protocol().storage;
        match counts {
            Some(OnStorageChange::Carry) if !by_setting => return Ok(Self::Carry),
            _ if same => return Ok(Self::Keep),
            Some(OnStorageChange::Leave) => return Ok(Self::Leave),
            _ => {}
        }
        let held = Holdings::look(old, LOOK_TIME_MAX).await;
        if held.are_none() {
            Ok(Self::None)
        } else if counts.is_some() {
            Ok(Self::Carry)
        } else {
            Err(refusal(&held, new, trigger))
        }
    }
}

/// What to say where `held` would be left and nobody has said so.
pub fn refusal(held: &Holdings, new: &Rc<Pool>, trigger: Trigger) -> SwapError {
    let [carry, leave] = match trigger {
        Trigger::Start | Trigger::Reload => {
            ["--on-storage-change carry", "--on-storage-change leave"]
        }
        Trigger::Api | Trigger::Rollback | Trigger::Directory => {
            ["--carry (\"carry\":true)", "--leave-counts (\"leave_counts\":true)"]
        }
    };
    let (name, storage) = (new.plugin().name(), &new.plugin().protocol().storage);
    let cant = match &held.counters {
        Err(_) => Some(String::new()),
        Ok(_) if !new.plugin().exports().lists() => {
            Some(format!("the plugin {name} can't list its counters, and "))
        }
        Ok(_) => None,
    };
    let resume = match trigger {
        Trigger::Start => ", or --resume off to begin as the settings say",
        _ => "",
    };
    SwapError::CarryOrLeave(match cant {
        None => format!(
            "{held}, but {name} counts in {storage}: say {carry} to take them along, or {leave} to leave them there{resume}"
        ),
        Some(why) => format!(
            "{held}, but {name} counts in {storage}: {why}{carry} can't take them along, so say {leave} to leave \
             there what there is{resume}"
        ),
    })
}
