//! The Rust side of `wit/world.wit`, worlds `contract` and `optional`: the only `bindgen!` calls of the host.
//! What its items mean stands in the WIT files.

#![allow(missing_docs, unsafe_code, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "contract",
    imports: {
        "tally:file-lock/locks.[method]lock.acquire": async | trappable,
        "tally:sql/database.execute": async | trappable,
        "tally:sql/database.[static]transaction.begin": async | trappable,
        "tally:sql/database.[method]transaction.execute": async | trappable,
        "tally:sql/database.[static]transaction.commit": async | trappable,
        "tally:sql/database.[drop]transaction": async | trappable,
        "tally:hazelcast/map.get": async | trappable,
        "tally:hazelcast/map.put": async | trappable,
        "tally:hazelcast/map.put-if-absent": async | trappable,
        "tally:hazelcast/map.replace-if-same": async | trappable,
        "tally:hazelcast/map.list": async | trappable,
        "tally:hazelcast/map.[static]lock.acquire": async | trappable,
        "tally:hazelcast/map.[static]lock.release": async | trappable,
        "tally:hazelcast/atomic-long.add-and-get": async | trappable,
        "tally:hazelcast/atomic-long.get": async | trappable,
        "tally:hazelcast/atomic-long.compare-and-set": async | trappable,
        "tally:hazelcast/atomic-long.get-and-set": async | trappable,
        default: trappable,
    },
    with: {
        "tally:file-lock/locks.guard": crate::capabilities::file_lock::Guard,
        "tally:file-lock/locks.lock": crate::capabilities::file_lock::Lock,
        "tally:sql/database.transaction": crate::capabilities::sql::Transaction,
        "tally:hazelcast/map.lock": crate::capabilities::hazelcast::LockHandle,
    },
});

/// What a plugin may export beside the contract, and often does not.
pub mod optional {
    wasmtime::component::bindgen!({ path: "../wit", world: "optional" });
}

/// The interface that every plugin exports.
pub const COUNTER_INTERFACE: &str = "tally:counter/counter@1.0.0";

/// The interface of plugins that can list their counters.
pub const ENTRIES_INTERFACE: &str = "tally:counter/entries@1.0.0";

/// The interface of plugins that have work at an interval.
pub const PERIODIC_INTERFACE: &str = "tally:counter/periodic@1.0.0";

/// The interfaces of our own that plugins can import.
pub const OFFERED_INTERFACES: [&str; 7] = [
    "tally:shared-memory/cells@1.0.0",
    "tally:file-lock/locks@1.0.0",
    "tally:sql/database@1.0.0",
    "tally:hazelcast/map@1.0.0",
    "tally:hazelcast/atomic-long@1.0.0",
    "tally:hazelcast/types@1.0.0",
    "tally:panic/report@1.0.0",
];
