//! Swaps that are asked for, and what came of them.

use std::{path::Path, time::Duration};

use axum::{Json, body::Bytes, extract::State};
use serde::{Deserialize, Serialize};

use super::{Shared, events::micros};
use crate::{
    http::{input, problem::Problem},
    plugin::generation::Trigger,
    swap::{
        fence::Forced,
        holdings::{Counters, Holdings},
        request::{Change, Done, Swapped, Terms},
        settings::{OnStorageChange, PAUSE_MS_RANGE},
    },
};

/// What to swap to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    plugin: String,
    #[serde(default, deserialize_with = "input::given")]
    carry: Option<bool>,
    #[serde(default)]
    leave_counts: bool,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    force: bool,
    #[serde(default, deserialize_with = "input::given")]
    swap_pause_max_ms: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    #[serde(default, deserialize_with = "input::given")]
    carry: Option<bool>,
    #[serde(default)]
    leave_counts: bool,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    force: bool,
    #[serde(default, deserialize_with = "input::given")]
    swap_pause_max_ms: Option<i64>,
}

impl Back {
    fn terms(&self, back: bool) -> Result<Terms, Problem> {
        let counts = match (self.carry.unwrap_or_default(), self.leave_counts) {
            (true, true) => {
                return Err(Problem::bad_request(
                    "\"carry\" takes the counts along and \"leave_counts\" does not: say one of them".into(),
                ));
            }
            (true, false) => Some(OnStorageChange::Carry),
            (false, true) => Some(OnStorageChange::Leave),
            (false, false) => None,
        };
        let pause_max = self.swap_pause_max_ms.map(|ms| {
            let given = Some(ms).filter(|ms| PAUSE_MS_RANGE.contains(ms));
            given.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis).ok_or_else(|| {
                let (least, most) = (PAUSE_MS_RANGE.start(), PAUSE_MS_RANGE.end());
                Problem::bad_request(format!(
                    "\"swap_pause_max_ms\" is a whole number from {least} to {most}, and {ms} is not"
                ))
            })
        });
        let carries_back = back && self.carry != Some(false);
        Ok(Terms {
            counts,
            carries_back,
            overwrite: self.overwrite,
            force: self.force,
            pause_max: pause_max.transpose()?,
        })
    }
}

#[derive(Serialize)]
pub struct SwapShown {
    generation: u64,
    plugin: String,
    fenced: bool,
    paused_us: u64,
    drained_us: u64,
    carried: Option<CarriedShown>,
    left: Option<LeftShown>,
    #[serde(flatten)]
    forced: ForcedShown,
}

/// What force has cost.
#[derive(Serialize)]
pub struct ForcedShown {
    broken_off: usize,
    lost: Option<String>,
}

impl From<Option<&Forced>> for ForcedShown {
    fn from(forced: Option<&Forced>) -> Self {
        let Forced { broken_off, lost } = forced.cloned().unwrap_or_default();
        Self { broken_off, lost }
    }
}

/// Counts that were carried.
#[derive(Serialize)]
pub struct CarriedShown {
    keys: u64,
    /// A text, because it may be more than JSON's readers can hold in a number.
    total: String,
}

impl From<Counters> for CarriedShown {
    fn from(carried: Counters) -> Self {
        Self { keys: carried.keys, total: carried.total.to_string() }
    }
}

/// Counts that were left.
#[derive(Serialize)]
pub struct LeftShown {
    storage: String,
    keys: Option<u64>,
    total: Option<String>,
    why_unknown: Option<String>,
}

impl From<&Holdings> for LeftShown {
    fn from(left: &Holdings) -> Self {
        let counters = left.counters.as_ref();
        Self {
            storage: left.storage.clone(),
            keys: counters.ok().map(|counters| counters.keys),
            total: counters.ok().map(|counters| counters.total.to_string()),
            why_unknown: counters.err().cloned(),
        }
    }
}

/// `PUT /admin/plugin`
pub async fn swap(State(shared): State<Shared>, body: Bytes) -> Result<Json<SwapShown>, Problem> {
    let wanted: Wanted = input::object(&body).map_err(|error| {
        Problem::bad_request(format!(
            "the body must be {{\"plugin\":\"NAME\"}}, and may hold \"carry\":true or \"leave_counts\":true: {error}"
        ))
    })?;
    let path = Path::new(&wanted.plugin);
    let is_path = wanted.plugin.contains('/') || path.extension().is_some();
    // What a relative path means depends on where the host was started, and one that goes up may hide it.
    let plain = path.components().all(|part| part != std::path::Component::ParentDir);
    if is_path && !(path.is_absolute() && plain) {
        return Err(Problem::bad_request(
            "a plugin is a name, or an absolute path without \"..\"".into(),
        ));
    }
    let Wanted { plugin, carry, leave_counts, overwrite, force, swap_pause_max_ms } = wanted;
    let terms = Back { carry, leave_counts, overwrite, force, swap_pause_max_ms }.terms(false)?;
    make(&shared, Change::Plugin(plugin), terms, Trigger::Api).await
}

/// `POST /admin/rollback`
pub async fn rollback(
    State(shared): State<Shared>,
    body: Bytes,
) -> Result<Json<SwapShown>, Problem> {
    let back: Back = input::object(&body).map_err(|error| {
        Problem::bad_request(format!(
            "the body may be {{\"carry\":true}} or {{\"leave_counts\":true}}, or empty: {error}"
        ))
    })?;
    make(&shared, Change::Rollback, back.terms(true)?, Trigger::Rollback).await
}

async fn make(
    shared: &Shared,
    change: Change,
    terms: Terms,
    trigger: Trigger,
) -> Result<Json<SwapShown>, Problem> {
    match shared.admin.swaps.swap(change, terms, trigger).await? {
        Done::Swapped(swapped) => Ok(Json(swap_shown(*swapped))),
        Done::Unchanged => Err(Problem::bad_request("there is nothing to change".into())),
    }
}

fn swap_shown(swapped: Swapped) -> SwapShown {
    SwapShown {
        generation: swapped.generation,
        plugin: swapped.plugin,
        fenced: swapped.fenced,
        paused_us: micros(swapped.paused),
        drained_us: micros(swapped.drained),
        carried: swapped.carried.map(CarriedShown::from),
        left: swapped.left.as_ref().map(LeftShown::from),
        forced: swapped.forced.as_ref().into(),
    }
}
