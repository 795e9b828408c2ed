//! With which plugin a host begins: where its counts are, whatever the settings say.

use std::{sync::Arc, thread};

use anyhow::{Context, bail};
use tokio::{runtime, task::LocalSet};

use super::{
    handover::{Handover, Wish},
    holdings::{Deadline, Holdings},
    journal::{Journal, Record, Serving, State},
    settings::{OnStorageChange, Resume, SwapSettings},
};
use crate::{
    plugin::{
        catalog::{Catalog, KnownPlugin, Source},
        generation::{Choice, Trigger},
        loader::Plugin,
        pool::Pool,
        setup::Setup,
    },
    utc,
};

/// What a host begins with.
pub struct Beginning {
    /// The plugin that serves. It has what it needs.
    pub plugin: Arc<Plugin>,
    /// What the settings choose.
    pub chosen: Choice,
    /// Where these are not the same: since when, in ms since 1970.
    swapped_at_unix_ms: Option<u64>,
}

impl Beginning {
    /// The plugin, in words.
    pub fn describe(&self) -> String {
        let name = self.plugin.name();
        match self.swapped_at_unix_ms {
            None => name.to_owned(),
            Some(at) => {
                let (at, chosen) = (utc::format(at), &self.chosen.plugin);
                format!("{name} (swapped to on {at}; the settings say {chosen})")
            }
        }
    }
}

/// Finds what to begin with. Nothing is served before this returns, and this waits for storages, so it belongs
/// on a thread that serves nobody.
///
/// # Errors
///
/// A sentence that says what is in the way, and what to do. Nothing was changed then.
pub fn begin(
    setup: &Setup,
    journal: &Arc<Journal>,
    settings: &SwapSettings,
) -> anyhow::Result<Beginning> {
    let known = setup.chosen()?;
    let loaded = setup.load(&known);
    let plugin = match known.source {
        // Its own settings name themselves.
        Source::Bundled(_) => loaded?,
        Source::File(_) => loaded.context("--plugin")?,
    };
    let chosen = Choice::of(&plugin);
    let as_set = |plugin| Beginning { plugin, chosen: chosen.clone(), swapped_at_unix_ms: None };
    let Some(record) = journal.last()? else {
        check(&plugin)?;
        return Ok(as_set(plugin));
    };
    tell(&record);
    let was = &record.serving;
    if !journal.resumes || settings.resume == Resume::Off {
        check(&plugin)?;
        let counts_in = &was.serves.storage;
        if *counts_in != chosen.storage {
            let storage = &chosen.storage;
            tracing::warn!("this host serves from {storage}, and the counts are in {counts_in}");
        }
        if journal.resumes {
            journal.forget().map_err(anyhow::Error::msg)?;
        }
        return Ok(as_set(plugin));
    }
    let follows = chosen != was.chosen;
    if follows && chosen.storage == was.serves.storage {
        check(&plugin)?;
        let turn = journal.turn(was.clone(), Serving::from_now(chosen.clone(), chosen.clone()));
        if let Err(why) = turn.and_then(|turn| turn.served(None)) {
            tracing::warn!("that the settings have changed is not remembered: {why}");
        }
        return Ok(as_set(plugin));
    }
    let resumed = if was.serves == chosen { Ok(plugin.clone()) } else { load(setup, &was.serves) };
    let out_of_reach = match resumed {
        Ok(resumed) if resumed.protocol().storage.0 == was.serves.storage => {
            if follows {
                change(resumed, plugin.clone(), journal, was, settings)?;
                return Ok(as_set(plugin));
            }
            check(&resumed)?;
            let swapped = (was.serves != chosen).then_some(was.since_unix_ms);
            return Ok(Beginning { plugin: resumed, chosen, swapped_at_unix_ms: swapped });
        }
        Ok(resumed) => {
            let (name, storage) = (resumed.name(), &resumed.protocol().storage);
            format!("these settings lead {name} to {storage}")
        }
        Err(error) if follows => format!("{error:#}"),
        Err(error) => {
            let Choice { plugin, storage, .. } = &was.serves;
            return Err(error.context(format!(
                "this host was swapped to {plugin}, and its counts are in {storage}: see to it that it can be \
                 loaded again, or begin as the settings say with --resume off"
            )));
        }
    };
    check(&plugin)?;
    leave_unseen(&out_of_reach, &chosen, journal, was, settings)?;
    Ok(as_set(plugin))
}

/// Whether `plugin` may serve: what is remembered stays until that is known.
fn check(plugin: &Plugin) -> anyhow::Result<()> {
    plugin.check_grants()?;
    plugin.check_storage()
}

/// The plugin that served, with the settings of now.
fn load(setup: &Setup, serves: &Choice) -> anyhow::Result<Arc<Plugin>> {
    let plugin = setup.load(&find(&setup.catalog()?, serves)?)?;
    plugin.check_grants()?;
    Ok(plugin)
}

fn find(catalog: &Catalog, serves: &Choice) -> anyhow::Result<KnownPlugin> {
    let Some(file) = &serves.file else { return Ok(catalog.find(&serves.plugin)?) };
    Ok(catalog.find(&file.to_string_lossy())?)
}

/// Says in the log what became of the last carry.
fn tell(record: &Record) {
    let Some(carry) = &record.carry else { return };
    let (from, to, counts_in) = (&carry.from, &carry.to, carry.counts_in());
    match carry.state {
        State::Copying => tracing::warn!(
            "a carry from {from} to {to} was interrupted: the counts are in {counts_in}"
        ),
        State::Moved => tracing::warn!(
            "a carry from {from} to {to} was interrupted after the counts had moved: they are in {counts_in}"
        ),
        State::Cleared => tracing::info!("the last carry moved the counts from {from} to {to}"),
    }
}

/// Hands the counts over from the plugin that served to the one that is chosen now.
fn change(
    old: Arc<Plugin>,
    new: Arc<Plugin>,
    journal: &Arc<Journal>,
    was: &Serving,
    settings: &SwapSettings,
) -> anyhow::Result<()> {
    check(&new)?;
    // Pools belong to a thread, and this one's event loop is somebody else's.
    thread::scope(|scope| {
        let changing = thread::Builder::new().name("start".into()).spawn_scoped(scope, || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new()
                .block_on(&runtime, change_on_this_thread(old, new, journal, was, settings))
        })?;
        changing.join().unwrap_or_else(|_| bail!("the thread that hands the counts over panicked"))
    })
}

async fn change_on_this_thread(
    old: Arc<Plugin>,
    new: Arc<Plugin>,
    journal: &Arc<Journal>,
    was: &Serving,
    settings: &SwapSettings,
) -> anyhow::Result<()> {
    let chosen = Choice::of(&new);
    let (from, to) = (old.name().to_owned(), new.name().to_owned());
    let old = Pool::new(old);
    let new = Pool::after(new, &old);
    let to_serve = Serving::from_now(chosen.clone(), chosen);
    let wish = Wish {
        counts: settings.on_storage_change,
        overwrite: false,
        force: false,
        trigger: Trigger::Start,
    };
    let handover =
        Handover::prepare((old.clone(), was.clone()), (new, to_serve), journal, wish).await?;
    let pause_max = settings.pause_max();
    let missed = format!(
        "the counts could not be handed over from {from} to {to} within --swap-pause-max ({} ms), so nothing \
         was changed",
        pause_max.as_millis()
    );
    let deadline = Deadline::after(pause_max, missed);
    super::tick(&old).await.map_err(anyhow::Error::msg)?;
    let carried = match handover.make(&deadline).await {
        Ok(carried) => carried,
        Err(error) => {
            handover.undo().await;
            return Err(error.into());
        }
    };
    let left = handover.finish().await;
    super::log_begun(&from, &to, carried, left.as_ref());
    Ok(())
}

/// Leaves counts that these settings do not lead to, if that was said.
fn leave_unseen(
    why: &str,
    chosen: &Choice,
    journal: &Arc<Journal>,
    was: &Serving,
    settings: &SwapSettings,
) -> anyhow::Result<()> {
    let Choice { plugin, storage, .. } = &was.serves;
    if settings.on_storage_change != Some(OnStorageChange::Leave) {
        bail!(
            "the counts are in {storage}, where this host served with {plugin}, but {why}, and the settings choose {}, \
             which counts in {}: say --on-storage-change leave to leave them there, or --resume off to begin as \
             the settings say; --on-storage-change carry can take them along only where the settings lead to both",
            chosen.plugin,
            chosen.storage
        );
    }
    let left = Holdings { storage: storage.clone(), counters: Err(why.to_owned()) };
    let turn = journal.turn(was.clone(), Serving::from_now(chosen.clone(), chosen.clone()));
    turn.and_then(|turn| turn.served(Some(&left)))
        .map_err(anyhow::Error::msg)
        .context("what is left could not be remembered")?;
    super::log_begun(plugin, &chosen.plugin, None, Some(&left));
    Ok(())
}
