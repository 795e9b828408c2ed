//! What the host can lend to a plugin. Each capability stands for some interfaces; a plugin gets
//! those that it imports and was granted, and nothing else.

pub mod directory;
pub mod file_lock;
pub mod hazelcast;
pub mod lock_times;
pub mod log;
pub mod os_error;
mod ownership;
pub mod panic;
pub mod shared_memory;
pub mod sql;
mod standard;

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc, time::Duration};

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_io::IoView;

use directory::LazyDirectory;
use file_lock::{FileLockCtx, FileLockCtxView, LockScope};
use hazelcast::{AtomicLongs, Hazelcast, Map, MapView};
use lock_times::LockTimes;
use log::{LogStream, PluginLog};
use panic::LastWords;
use shared_memory::{LazyRegion, SharedMemoryCtx};
use sql::{Connections, Database, SqlCtx, SqlCtxView};

/// The most random bytes that one call hands to a plugin.
const RANDOM_BYTES_MAX: u64 = 4096;

/// The most locks, guards, files and streams that one instance has open at a time.
const RESOURCES_MAX: usize = 1024;

/// Something that the host lends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Named 64-bit cells in memory that processes share.
    SharedMemory,
    /// Locks across calls and processes.
    FileLock,
    /// A SQL database.
    Sql,
    /// A distributed map of a Hazelcast cluster, and its locks.
    HazelcastMap,
    /// Atomic numbers of a Hazelcast cluster.
    HazelcastAtomicLong,
    /// The files in one directory.
    Files,
    /// The time of day, a monotonic clock, timers.
    Clocks,
    /// The plugin's settings.
    Config,
    /// Lines in the host's log, through standard output and error.
    Log,
    /// An empty environment, random numbers and an exit, as languages' runtimes ask for.
    Environment,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SharedMemory,
        Self::FileLock,
        Self::Sql,
        Self::HazelcastMap,
        Self::HazelcastAtomicLong,
        Self::Files,
        Self::Clocks,
        Self::Config,
        Self::Log,
        Self::Environment,
    ];

    /// The name by which it is granted.
    pub fn name(self) -> &'static str {
        match self {
            Self::SharedMemory => "shared-memory",
            Self::FileLock => "file-lock",
            Self::Sql => "sql",
            Self::HazelcastMap => "hazelcast-map",
            Self::HazelcastAtomicLong => "hazelcast-atomic-long",
            Self::Files => "files",
            Self::Clocks => "clocks",
            Self::Config => "config",
            Self::Log => "log",
            Self::Environment => "environment",
        }
    }

    /// The capability that `interface` (`namespace:package/name@version`) belongs to.
    pub fn of_interface(interface: &str) -> Option<Self> {
        let name = interface.split('@').next().unwrap_or_default();
        Some(match name.split_once('/')? {
            ("tally:shared-memory", _) => Self::SharedMemory,
            ("tally:file-lock", _) => Self::FileLock,
            ("tally:sql", _) => Self::Sql,
            ("tally:hazelcast", "map") => Self::HazelcastMap,
            ("tally:hazelcast", "atomic-long") => Self::HazelcastAtomicLong,
            ("wasi:filesystem", _) => Self::Files,
            ("wasi:clocks", _) => Self::Clocks,
            ("wasi:config", _) => Self::Config,
            ("wasi:cli", "environment" | "exit") | ("wasi:random", _) => Self::Environment,
            ("wasi:cli", _) => Self::Log,
            _ => return None,
        })
    }

    /// Whether some of its functions wait for something else than the processor.
    pub fn waits(self) -> bool {
        match self {
            Self::FileLock
            | Self::Sql
            | Self::HazelcastMap
            | Self::HazelcastAtomicLong
            | Self::Files
            | Self::Clocks
            | Self::Log => true,
            Self::SharedMemory | Self::Config | Self::Environment => false,
        }
    }

    fn link<T: LentView>(self, linker: &mut Linker<T>) -> wasmtime::Result<()> {
        match self {
            Self::SharedMemory => {
                shared_memory::add_to_linker(linker, |state| state.lent().shared_memory())
            }
            Self::FileLock => file_lock::add_to_linker(linker, |state| state.lent().file_lock()),
            Self::Sql => sql::add_to_linker(linker, |state| state.lent().sql()),
            Self::HazelcastMap => {
                hazelcast::add_map_to_linker(linker, |state| state.lent().hazelcast_map())
            }
            Self::HazelcastAtomicLong => {
                hazelcast::add_atomic_longs_to_linker(linker, |state| state.lent().atomic_longs())
            }
            Self::Files => standard::link_files(linker),
            Self::Clocks => standard::link_clocks(linker),
            Self::Config => wasmtime_wasi_config::add_to_linker(linker, |state| {
                WasiConfig::new(&state.lent().config)
            }),
            Self::Log => standard::link_output(linker),
            Self::Environment => standard::link_environment(linker),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|capability| capability.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no capability \"{name}\"; there are {known}")
        })
    }
}

/// Links the interfaces of `capabilities`, and those that need no grant because they reach nothing by
/// themselves: WASI's streams and polling, and the report of a panic.
///
/// # Errors
///
/// When one of them is linked already.
pub fn link<T: LentView>(
    capabilities: &BTreeSet<Capability>,
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    panic::add_to_linker(linker, |state| &mut state.lent().last_words)?;
    capabilities.iter().try_for_each(|capability| capability.link(linker))
}

/// What one plugin was granted, and with which settings. All its instances share it.
pub struct Grants {
    /// The capabilities to link.
    pub capabilities: BTreeSet<Capability>,
    /// The region that `shared-memory` lends.
    pub region: Option<Arc<LazyRegion>>,
    /// The locks that `file-lock` lends, the longest wait for one, and where waits are noted.
    pub locks: Option<(Arc<LockScope>, Duration, LockTimes)>,
    /// The database that `sql` lends.
    pub database: Option<Arc<Database>>,
    /// What `hazelcast-map` and `hazelcast-atomic-long` lend of a cluster.
    pub hazelcast: Option<Hazelcast>,
    /// The directory that `files` lends.
    pub directory: Option<LazyDirectory>,
    /// The settings that `config` lends.
    pub settings: Vec<(String, String)>,
    /// Where the output of `log` goes.
    pub log: Arc<PluginLog>,
}

impl Grants {
    /// What the instances on one thread share. Nothing is connected yet.
    ///
    /// The connections are those of `before` where it has some of the same database or cluster, so that
    /// two plugins that overlap during a swap do not need twice as many.
    pub fn on_thread(&self, before: Option<&OnThread>) -> OnThread {
        let sql = self.database.as_ref().map(|database| {
            let known = before.and_then(|before| before.sql.as_ref());
            let same = known.filter(|(known, _)| Arc::ptr_eq(known, database));
            same.cloned().unwrap_or_else(|| (database.clone(), database.connections()))
        });
        let hazelcast = self.hazelcast.as_ref().map(|hazelcast| {
            hazelcast.connections(before.and_then(|before| before.hazelcast.as_ref()))
        });
        OnThread { sql, hazelcast }
    }

    /// Asks the storage, where it can say so soon, whether it has what the plugin needs. This waits, so
    /// it belongs on a thread that serves nobody.
    ///
    /// # Errors
    ///
    /// What is missing. That the storage can't be reached is none.
    pub fn check_storage(&self) -> anyhow::Result<()> {
        match &self.hazelcast {
            Some(cluster) if self.capabilities.contains(&Capability::HazelcastAtomicLong) => {
                cluster.check_cp().map_err(anyhow::Error::msg)
            }
            _ => Ok(()),
        }
    }

    /// Waits, on the thread to which `shared` belongs, until the storage can be written to, where that
    /// takes its time at first.
    ///
    /// # Errors
    ///
    /// Why it can't be.
    pub async fn wait_for_storage(&self, shared: &OnThread) -> anyhow::Result<()> {
        match (&self.hazelcast, &shared.hazelcast) {
            (Some(cluster), Some(connections))
                if self.capabilities.contains(&Capability::HazelcastAtomicLong) =>
            {
                Ok(cluster.wait_for_cp_group(connections).await?)
            }
            _ => Ok(()),
        }
    }

    /// What one new instance is lent on the thread to which `shared` belongs.
    ///
    /// # Errors
    ///
    /// When the granted region or directory can't be opened.
    pub fn lend(&self, shared: &OnThread) -> anyhow::Result<Lent> {
        let mut wasi = WasiCtx::builder();
        wasi.max_random_size(RANDOM_BYTES_MAX)
            .stdout(LogStream::new(self.log.clone(), "stdout"))
            .stderr(LogStream::new(self.log.clone(), "stderr"));
        if let Some(directory) = &self.directory {
            let directory = directory.get()?;
            wasi.preopened_dir(directory, directory.to_string_lossy(), FsPerms::ReadWrite)?;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let region = self.region.as_ref().map(|region| region.get()).transpose()?;
        let locks = self.locks.clone();
        let hazelcast = |capability| {
            let lent = self.hazelcast.as_ref().filter(|_| self.capabilities.contains(&capability));
            lent.zip(shared.hazelcast.as_ref())
        };
        Ok(Lent {
            table,
            last_words: LastWords::default(),
            wasi: wasi.build(),
            config: self.settings.iter().cloned().collect(),
            shared_memory: region.map(SharedMemoryCtx::new),
            file_lock: locks
                .map(|(scope, wait_max, times)| FileLockCtx::new(scope, wait_max, times)),
            sql: shared.sql.clone().map(|(_, connections)| SqlCtx::new(connections)),
            hazelcast_map: hazelcast(Capability::HazelcastMap).map(|(lent, to)| lent.map(to)),
            atomic_longs: hazelcast(Capability::HazelcastAtomicLong)
                .map(|(lent, to)| lent.atomic_longs(to)),
        })
    }
}

/// What belongs to a thread's event loop, and so is shared by the instances on that thread only.
pub struct OnThread {
    /// Connections, and the database that they are to.
    sql: Option<(Arc<Database>, Connections)>,
    hazelcast: Option<hazelcast::Connections>,
}

/// What one instance was lent. Dropping it gives everything back: locks are released, files closed.
pub struct Lent {
    /// Why it says that it breaks off.
    pub last_words: LastWords,
    table: ResourceTable,
    wasi: WasiCtx,
    config: WasiConfigVariables,
    shared_memory: Option<SharedMemoryCtx>,
    file_lock: Option<FileLockCtx>,
    sql: Option<SqlCtx>,
    hazelcast_map: Option<Map>,
    atomic_longs: Option<AtomicLongs>,
}

/// Why the `expect`s below hold: `Grants` links a capability and lends it, or does neither.
const GRANTED: &str = "a capability that is linked was lent";

impl Lent {
    fn shared_memory(&mut self) -> &mut SharedMemoryCtx {
        self.shared_memory.as_mut().expect(GRANTED)
    }

    fn file_lock(&mut self) -> FileLockCtxView<'_> {
        let ctx = self.file_lock.as_mut().expect(GRANTED);
        FileLockCtxView { ctx, table: &mut self.table }
    }

    fn sql(&mut self) -> SqlCtxView<'_> {
        let ctx = self.sql.as_mut().expect(GRANTED);
        SqlCtxView { ctx, table: &mut self.table }
    }

    fn hazelcast_map(&mut self) -> MapView<'_> {
        let map = self.hazelcast_map.as_mut().expect(GRANTED);
        MapView { map, table: &mut self.table }
    }

    fn atomic_longs(&mut self) -> &mut AtomicLongs {
        self.atomic_longs.as_mut().expect(GRANTED)
    }

    /// What the instance has begun, has not ended, and may not take from one call into the next.
    pub fn unfinished(&self) -> Option<Unfinished> {
        if self.sql.as_ref().is_some_and(SqlCtx::in_transaction) {
            Some(Unfinished::Transaction)
        } else if self.hazelcast_map.as_ref().is_some_and(Map::holds_lock)
            || self.file_lock.as_ref().is_some_and(FileLockCtx::holds_lock)
        {
            Some(Unfinished::Lock)
        } else {
            None
        }
    }

    /// As WASI's implementation wants to see it.
    pub fn wasi(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }

    /// The owner of the instance's resources.
    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

/// What must not outlive the call in which it was begun: others would wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// A transaction of a database. It is rolled back with the instance.
    Transaction,
    /// A lock of a cluster, or of a file. It is released with the instance.
    Lock,
}

/// The state of a store whose guest was lent capabilities.
pub trait LentView: WasiView + IoView + 'static {
    /// The capabilities.
    fn lent(&mut self) -> &mut Lent;
}
