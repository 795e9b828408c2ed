//! A running host: the chosen plugin, its workers, the control thread, and the other plugins made ready.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    thread,
    time::SystemTime,
};

use anyhow::Context;
use tokio::sync::{Semaphore, watch};

use crate::{
    admin::{
        Admin,
        listener::{AdminAddress, AdminListener},
        places::CONNECTIONS_MAX,
    },
    config::Config,
    control::{Control, Work},
    directories, http,
    metrics::Metrics,
    plugin::{
        catalog::Catalog,
        compiler::Compiler,
        dispatch::{Dispatcher, Threads},
        engine,
        generation::{Generation, Trigger},
        setup::{self, Defaults, Setup},
    },
    readiness::NOT_ASKED,
    shutdown::Stopping,
    swap::{
        Swapper,
        candidate::{Candidates, Compilers},
        journal::Journal,
        request::SwapHandle,
        start::{self, Beginning},
        status::Status,
    },
    worker::{
        Served,
        counter::PluginCounter,
        files,
        server::{self, Server},
    },
};

/// A host that serves.
pub struct Host {
    server: Server,
    control: Control,
    admin: Option<AdminAddress>,
    dashboard: Option<String>,
    swaps: SwapHandle,
    status: Arc<Status>,
    serving: String,
    stopping: Stopping,
}

impl Host {
    /// Starts serving with the chosen plugin; the others are loaded in the background. All are compiled by `compiler`.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong with the settings, or what is in the way. Nothing has
    /// been served then.
    pub fn start(config: &Config, compiler: Compiler) -> anyhow::Result<Self> {
        // Wrong settings are refused before anything is listened on.
        let workers = config.workers.map_or_else(server::cores, usize::from);
        let server_limits = files::fit(&config.server_limits, workers, CONNECTIONS_MAX)?;
        setup::choose(&Catalog::of(&config.plugins)?, &config.plugins)?;
        let state_dir = directories::of_state(config.swaps.state_dir.as_deref());
        let listener = bind(&config.host, config.port)?;
        let admin_listener = AdminListener::bind(
            &config.admin,
            usize::try_from(config.plugin_limits.file_bytes_max())?,
            state_dir.as_deref(),
        )?;
        let port = listener.local_addr()?.port();
        let defaults = Defaults::of_port(port, state_dir.as_deref());
        // A port that is a free one says nothing of the host.
        let resumes = config.port != 0;
        let shared = config.plugins.shared_memory_name.as_ref().filter(|_| !resumes);
        let name = shared.map_or_else(
            || defaults.region_name.clone(),
            // Another host may be called like the region, and must not follow this one.
            |region| format!("shared-{region}"),
        );
        let journal = Arc::new(Journal::new(state_dir.as_deref(), &name, resumes));
        let engine = engine::new()?;
        let (plugins, limits) = (&config.plugins, &config.plugin_limits);
        let setup = Arc::new(Setup::new(
            &engine,
            compiler,
            plugins,
            limits,
            defaults.clone(),
            workers,
            None,
        ));
        let beginning = start::begin(&setup, &journal, &config.swaps)?;
        let serving = beginning.describe();
        let Beginning { plugin, chosen, .. } = beginning;

        let (threads, mut seats) = Threads::new(&plugin, workers + 1);
        let control_seat = seats.pop().expect("there is one more than workers");
        let status = Arc::new(Status::new(Arc::new(Generation {
            number: 1,
            read: setup.clone(),
            chosen,
            plugin,
            setup: setup.clone(),
            since: SystemTime::now(),
            trigger: Trigger::Start,
            carried: false,
        })));
        let (stopping, metrics) = (Stopping::default(), Metrics::new(Some(status.clone())));
        let (looked, last_look) = watch::channel(Err(NOT_ASKED.to_owned()));
        let make_served = seats.into_iter().map(|seat| {
            let (stopping, metrics) = (stopping.clone(), metrics.of_worker());
            move || {
                let metrics = Rc::new(metrics);
                let dispatcher = Dispatcher::start(seat);
                let counter = PluginCounter::new(dispatcher, stopping, metrics.clone());
                Served { router: http::router(counter), metrics }
            }
        });
        let server = Server::start(listener, &server_limits, make_served.collect())?;
        let compilers = Compilers::new(Semaphore::new(1));
        let candidates = Candidates::new(engine, compiler, defaults, workers, compilers.clone());
        let (swaps, requests) = SwapHandle::new();
        let admin = Admin {
            swaps: swaps.clone(),
            status: status.clone(),
            journal: journal.clone(),
            metrics,
            looked: last_look,
            threads: workers + 1,
            compilers,
            stopping: stopping.clone(),
        };
        let address = admin_listener.as_ref().map(|listener| listener.address().clone());
        let dashboard = admin_listener.as_ref().and_then(AdminListener::dashboard);
        let control = Control::start(Work {
            seat: control_seat,
            make_swapper: {
                let (settings, status) = (config.swaps.clone(), status.clone());
                move |dispatcher| Swapper {
                    settings,
                    candidates,
                    threads,
                    dispatcher,
                    status,
                    journal,
                }
            },
            swaps: (swaps.clone(), requests),
            status: status.clone(),
            tick_interval: config.swaps.tick_interval(),
            admin: admin_listener.map(|listener| (listener, admin)),
            looked,
        })?;
        thread::Builder::new()
            .name("loader".into())
            .spawn(move || setup.load_all())
            .context("can't start the thread that loads plugins")?;
        Ok(Self { server, control, admin: address, dashboard, swaps, status, serving, stopping })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where the admin listener listens.
    pub fn admin(&self) -> Option<&AdminAddress> {
        self.admin.as_ref()
    }

    /// Where a browser opens the dashboard, with the token that the host has made, if it has made one.
    pub fn dashboard(&self) -> Option<&str> {
        self.dashboard.as_deref()
    }

    /// The plugin that serves.
    pub fn plugin(&self) -> String {
        self.status.active().plugin.name().to_owned()
    }

    /// What it began to serve with, in words: the plugin, and why it is another than the settings choose.
    pub fn serving(&self) -> &str {
        &self.serving
    }

    /// By which swaps are asked for.
    pub fn swaps(&self) -> &SwapHandle {
        &self.swaps
    }

    /// By which it is told that it will have to stop: from then on it is not ready.
    pub fn stopping(&self) -> &Stopping {
        &self.stopping
    }

    /// Answers what has been received, then stops.
    pub fn drain(self) {
        self.stopping.begin();
        self.server.drain();
        self.control.stop();
    }
}

fn bind(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((host, port)).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {port} on {host} is in use: stop the program that listens there, or set --port"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {port} on {host} may not be used by this user: set --port")
        }
        _ => anyhow::anyhow!("can't listen on {host}, port {port}: {error}; set --host or --port"),
    })
}
