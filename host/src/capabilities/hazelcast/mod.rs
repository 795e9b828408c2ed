//! Capabilities `hazelcast-map` and `hazelcast-atomic-long`: one map, and some atomic numbers, of one
//! Hazelcast cluster.

mod atomic_longs;
mod fault;
mod host;
mod lease;
mod listing;
mod map;
mod names;
mod settings;
#[cfg(test)]
mod tests;

use std::{io, panic::resume_unwind, thread, time::Duration};

use tally_hazelcast::Client;
use tokio::{runtime, time::timeout};
use wasmtime::component::{HasData, Linker, ResourceTable};

pub use atomic_longs::AtomicLongs;
pub use map::Map;
pub use settings::HazelcastSettings;

use super::lock_times::LockTimes;
use lease::Lease;
use names::Names;

/// How long the host looks, before it starts, whether the cluster has atomic numbers.
const CP_CHECK_TIME_MAX: Duration = Duration::from_secs(3);

/// What one plugin was granted of a cluster. Nothing is connected until something is asked.
pub struct Hazelcast {
    cluster: tally_hazelcast::Settings,
    names: Names,
    lease: Lease,
    times: LockTimes,
}

impl Hazelcast {
    /// What `settings` name. A lock is waited for no longer than `lock_wait_max`, and waits are noted
    /// in `times`.
    pub fn new(settings: &HazelcastSettings, lock_wait_max: Duration, times: LockTimes) -> Self {
        Self {
            cluster: settings.cluster(),
            names: Names::new(settings),
            lease: Lease::new(settings, lock_wait_max),
            times,
        }
    }

    /// Connections for the calling thread, whose event loop they belong to: those of `before` if
    /// they lead to the same cluster within the same bounds.
    pub fn connections(&self, before: Option<&Connections>) -> Connections {
        let same = before.filter(|before| before.cluster == self.cluster);
        same.cloned().unwrap_or_else(|| Connections {
            cluster: self.cluster.clone(),
            client: Client::new(self.cluster.clone()),
        })
    }

    /// The map, for one instance.
    pub fn map(&self, connections: &Connections) -> Map {
        let client = connections.client.clone();
        Map::new(client, self.names.clone(), self.lease, self.times.clone())
    }

    /// The atomic numbers, for one instance.
    pub fn atomic_longs(&self, connections: &Connections) -> AtomicLongs {
        AtomicLongs::new(connections.client.clone(), self.names.clone())
    }

    /// Waits until the cluster has atomic numbers that can be written to, for up to
    /// `--hz-cp-group-wait-max`.
    ///
    /// # Errors
    ///
    /// Why it has none.
    pub async fn wait_for_cp_group(
        &self,
        connections: &Connections,
    ) -> Result<(), tally_hazelcast::Error> {
        connections.client.wait_for_group(self.names.default_atomic_long()).await
    }

    /// Asks the cluster, for up to 3 s, whether it has atomic numbers. One that can't be reached may
    /// have them. This waits, so it belongs on a thread that serves nobody.
    ///
    /// # Errors
    ///
    /// What the cluster lacks, when it says so.
    pub fn check_cp(&self) -> Result<(), String> {
        let client = Client::new(self.cluster.clone());
        let ask = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            io::Result::Ok(runtime.block_on(async {
                // One that does not answer in time may have them, too.
                timeout(CP_CHECK_TIME_MAX, client.check_cp()).await.unwrap_or(Ok(()))
            }))
        };
        // On a thread of its own, because the caller's may have an event loop already.
        let answer = thread::spawn(ask).join().unwrap_or_else(|panic| resume_unwind(panic));
        match answer.map_err(|error| error.to_string())? {
            Err(tally_hazelcast::Error::Refused(why)) => Err(why),
            _ => Ok(()),
        }
    }
}

/// The connections of one thread, and the cluster that they are to. Cloning them is cheap and opens
/// none.
#[derive(Clone)]
pub struct Connections {
    cluster: tally_hazelcast::Settings,
    client: Client,
}

/// What a plugin holds of the one lock that its instance may have. The lock itself is in [`Map`],
/// where a write looks for it.
pub struct LockHandle;

/// The map together with the table that owns the handle of its lock.
pub struct MapView<'a> {
    pub(crate) map: &'a mut Map,
    pub(crate) table: &'a mut ResourceTable,
}

struct HasMap;

impl HasData for HasMap {
    type Data<'a> = MapView<'a>;
}

struct HasAtomicLongs;

impl HasData for HasAtomicLongs {
    type Data<'a> = &'a mut AtomicLongs;
}

/// Links the map's interface; `get` finds the map in the store's state.
///
/// # Errors
///
/// When the interface is linked already.
pub fn add_map_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> MapView<'_>,
) -> wasmtime::Result<()> {
    crate::bindings::tally::hazelcast::map::add_to_linker::<T, HasMap>(linker, get)
}

/// Links the interface of atomic numbers; `get` finds them in the store's state.
///
/// # Errors
///
/// When the interface is linked already.
pub fn add_atomic_longs_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> &mut AtomicLongs,
) -> wasmtime::Result<()> {
    crate::bindings::tally::hazelcast::atomic_long::add_to_linker::<T, HasAtomicLongs>(linker, get)
}
