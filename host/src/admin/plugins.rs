//! The plugins: what is known of them, and uploads.

use std::{io, path::PathBuf, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::PathRejection},
};
use serde::Serialize;
use tokio::{task, time::timeout};

use super::Shared;
use crate::{
    http::problem::Problem,
    plugin::{
        catalog::{KnownPlugin, Source},
        generation::Generation,
        loader::Plugin,
        setup::Setup,
        storage::Storage,
    },
    swap::{candidate, error::SwapError, journal},
    utc::unix_ms,
    whole_file,
};

/// What the paths of uploads begin with.
pub const UPLOAD_PATH: &str = "/admin/plugins/";

/// Longest name of an uploaded plugin, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Failed attempts that are shown.
const FAILURES_MAX: usize = 16;

#[derive(Serialize)]
pub struct Overview {
    active: GenerationShown,
    previous: Option<GenerationShown>,
    ready: bool,
    why_not_ready: Option<String>,
    swaps: u64,
    plugins: Vec<PluginShown>,
    failures: Vec<Failure>,
    carry: Option<CarryShown>,
    left: Option<journal::Left>,
}

#[derive(Serialize)]
struct GenerationShown {
    generation: u64,
    plugin: String,
    digest: String,
    storage: String,
    since_unix_ms: u64,
    trigger: &'static str,
}

#[derive(Serialize)]
struct PluginShown {
    name: String,
    source: String,
    storage: String,
    method: String,
    guarantee: String,
    state: &'static str,
    reason: Option<String>,
    storage_answered: bool,
    digest: Option<String>,
    imports: Vec<String>,
    granted: Vec<&'static str>,
    exports: Vec<&'static str>,
    calls: u64,
    traps: u64,
    swaps: u64,
    instances: usize,
    instances_max: usize,
    memory_bytes: usize,
    memory_bytes_max: usize,
}

#[derive(Serialize)]
struct Failure {
    at_unix_ms: u64,
    plugin: String,
    trigger: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct CarryShown {
    from: String,
    to: String,
    state: journal::State,
    counts_in: String,
    at_unix_ms: u64,
}

/// `GET /admin/plugins`
pub async fn list(State(shared): State<Shared>) -> Result<Json<Overview>, Problem> {
    let admin = &shared.admin;
    let status = &admin.status;
    let active = status.active();
    let catalog = active.setup.catalog().map_err(|error| SwapError::Refused(error.0))?;
    let mut known = catalog.plugins().to_vec();
    // It may have been chosen by its path, or its file may be gone.
    if known.iter().all(|known| known.source != *active.plugin.source()) {
        known.push(active.plugin.known().clone());
    }
    // The plugins of one storage reach it alike.
    let loaded = [active.setup.registry().ready(), vec![active.plugin.clone()]].concat();
    let answered = loaded.iter().filter(|plugin| plugin.usage().storage_has_answered());
    let answered: Vec<&Storage> = answered.map(|plugin| &plugin.protocol().storage).collect();
    let plugins = known.iter().map(|known| shown(&shared, &active, known, &answered)).collect();
    let attempts = status.attempts();
    let failed = attempts.iter().rev().filter_map(|attempt| {
        let reason = attempt.outcome.as_ref().err()?.to_string();
        Some(Failure {
            at_unix_ms: unix_ms(attempt.at),
            plugin: attempt.plugin.clone(),
            trigger: attempt.trigger.name(),
            reason,
        })
    });
    let why_not_ready = admin.why_not_ready();
    let remembered = admin.journal.last().ok().flatten();
    let (carry, left) = remembered.map_or((None, None), |record| (record.carry, record.left));
    Ok(Json(Overview {
        active: generation_shown(&active),
        previous: status.previous().as_deref().map(generation_shown),
        ready: why_not_ready.is_none(),
        why_not_ready,
        swaps: status.counts().0,
        plugins,
        failures: failed.take(FAILURES_MAX).collect(),
        carry: carry.map(|last| CarryShown {
            counts_in: last.counts_in().to_owned(),
            from: last.from,
            to: last.to,
            state: last.state,
            at_unix_ms: last.at_unix_ms,
        }),
        left,
    }))
}

fn generation_shown(generation: &Generation) -> GenerationShown {
    GenerationShown {
        generation: generation.number,
        plugin: generation.plugin.name().to_owned(),
        digest: generation.plugin.digest().to_owned(),
        storage: generation.plugin.protocol().storage.to_string(),
        since_unix_ms: unix_ms(generation.since),
        trigger: generation.trigger.name(),
    }
}

fn shown(
    shared: &Shared,
    active: &Generation,
    known: &KnownPlugin,
    answered: &[&Storage],
) -> PluginShown {
    // What serves may come from an earlier build than what is in the registry.
    let serves = (active.plugin.source() == &known.source).then(|| active.plugin.clone());
    let loaded = serves.map(Ok).or_else(|| active.setup.registry().get(&known.name));
    let (state, reason) = match &loaded {
        Some(Ok(_)) => ("ready", None),
        Some(Err(reason)) => ("refused", Some(reason.clone())),
        None => ("loading", None),
    };
    let plugin: Option<&Plugin> = loaded.as_ref().and_then(|loaded| loaded.as_deref().ok());
    let (source, storage, method, guarantee) = match &known.source {
        Source::Bundled(bundled) => {
            ("bundled".to_owned(), bundled.storage, bundled.method, bundled.guarantee)
        }
        Source::File(path) => {
            (path.display().to_string(), "not stated", "not stated", "not stated")
        }
    };
    let (calls, traps) = shared.admin.metrics.of_plugin(&known.name);
    let per_thread = active.setup.settings().1.instances_per_worker_max as usize;
    PluginShown {
        name: known.name.clone(),
        source,
        storage: storage.to_owned(),
        method: method.to_owned(),
        guarantee: guarantee.to_owned(),
        state,
        reason,
        storage_answered: plugin
            .is_some_and(|plugin| answered.contains(&&plugin.protocol().storage)),
        digest: plugin.map(|plugin| plugin.digest().to_owned()),
        imports: plugin.map_or_else(Vec::new, |plugin| plugin.imports().to_vec()),
        granted: plugin.map_or_else(Vec::new, |plugin| {
            plugin.grants().capabilities.iter().map(|granted| granted.name()).collect()
        }),
        exports: plugin.map_or_else(Vec::new, |plugin| plugin.exports().names()),
        calls,
        traps,
        swaps: shared.admin.status.swaps_to(&known.name),
        instances: plugin.map_or(0, |plugin| plugin.usage().instances()),
        instances_max: per_thread * shared.admin.threads,
        memory_bytes: plugin.map_or(0, |plugin| plugin.usage().memory_bytes_max()),
        memory_bytes_max: active.setup.settings().1.memory_bytes_max(),
    }
}

#[derive(Serialize)]
pub struct Uploaded {
    plugin: String,
    digest: String,
    bytes: usize,
}

/// `PUT /admin/plugins/{name}`: checks a component and puts it into the plugin directory.
pub async fn upload(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
    wasm: Bytes,
) -> Result<Json<Uploaded>, Problem> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = name.ok().map(|Path(name)| name);
    let name =
        name.filter(|name| (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(valid));
    let name = name.ok_or_else(|| {
        Problem::bad_request(format!(
            "the name of a plugin has 1 to {NAME_CHARS_MAX} letters, digits, \"_\" or \"-\""
        ))
    })?;
    let setup = shared.admin.status.active().setup.clone();
    let compiler = candidate::compiler(&shared.admin.compilers)?;
    let time_max = candidate::check_time_max(&setup);
    let checking = task::spawn_blocking(move || {
        let _compiler = compiler;
        check(&setup, name, &wasm).map(|(path, uploaded)| (path, uploaded, wasm))
    });
    let checked = match timeout(time_max, checking).await {
        Ok(checked) => {
            checked.map_err(|panic| SwapError::Refused(format!("it broke off: {panic}")))
        }
        Err(_) => Err(SwapError::Refused(format!("it was not checked within {time_max:?}"))),
    };
    let (path, uploaded, wasm) = checked??;
    let writing = task::spawn_blocking(move || whole_file::replace(&path, &wasm));
    let written = writing.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    written.map_err(|error| {
        let name = &uploaded.plugin;
        SwapError::Refused(format!("can't write the plugin {name} into its directory: {error}"))
    })?;
    Ok(Json(uploaded))
}

fn check(setup: &Arc<Setup>, name: String, wasm: &[u8]) -> Result<(PathBuf, Uploaded), SwapError> {
    let Some(directory) = setup.settings().0.plugin_dir.as_deref() else {
        return Err(SwapError::BadRequest(
            "there is no directory for plugins: start the host with --plugin-dir".into(),
        ));
    };
    let catalog = setup.catalog().map_err(|error| SwapError::Refused(error.0))?;
    let path = directory.join(format!("{name}.wasm"));
    let source = Source::File(path.clone());
    if catalog.named(&name).is_some_and(|known| known.source != source) {
        return Err(SwapError::Refused(format!("there is another plugin {name} already")));
    }
    let known = KnownPlugin { name: name.clone(), source };
    let inspected = setup
        .loader()
        .inspect_wasm(&known, wasm)
        .map_err(|error| SwapError::Refused(format!("the plugin {name} was refused: {error:#}")))?;
    Ok((path, Uploaded { plugin: name, digest: inspected.digest, bytes: wasm.len() }))
}
