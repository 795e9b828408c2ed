//! What a Tally plugin is written with.
//!
//! A plugin implements [`Counter`] on a type without fields and hands it to [`export!`]:
//!
//! ```
//! #![cfg_attr(target_arch = "wasm32", no_std)]
//! use tally_plugin::{Counter, Error, String, cells, export};
//!
//! struct Atomic;
//!
//! impl Counter for Atomic {
//!     fn increment(key: String, delta: i64) -> Result<i64, Error> {
//!         Ok(cells::add(&key, delta)?)
//!     }
//!     fn get(key: String) -> Result<i64, Error> {
//!         Ok(cells::load(&key)?)
//!     }
//!     fn reset(key: String) -> Result<(), Error> {
//!         Ok(cells::store(&key, 0)?)
//!     }
//! }
//!
//! export!(Atomic);
//! ```
//!
//! A plugin that can list its counters implements [`Entries`] too, and one that has work at an interval [`Periodic`];
//! [`export_entries!`] and [`export_periodic!`] export them.
//!
//! The compiled component imports exactly the interfaces whose functions it calls,
//! and those are the grants it needs. That is why plugins do without `std`: it would import
//! a dozen WASI interfaces that no counter uses. Allocation and panics work as usual;
//! a panic is a trap, which costs the caller an error and nobody else anything, and its message is in the host's log.
//!
//! A plugin that needs `std` switches the feature `runtime` off, because `std` has an allocator and a panic handler of
//! its own.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

pub mod cell_entries;
mod error;
pub mod map_counter;
mod retry;
#[cfg(all(target_arch = "wasm32", feature = "runtime"))]
mod runtime;
mod settings;
pub mod user_counter;

/// The bindings of `wit/world.wit`, worlds `plugin`, `entries` and `periodic`, as generated.
#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "tally_plugin::bindings",
    });

    /// World `entries`. A world of its own, because a component must have all the exports of a world.
    pub mod entries {
        wit_bindgen::generate!({
            path: "../../wit",
            world: "entries",
            generate_all,
            pub_export_macro: true,
            default_bindings_module: "tally_plugin::bindings::entries",
        });
    }

    /// World `periodic`.
    pub mod periodic {
        wit_bindgen::generate!({
            path: "../../wit",
            world: "periodic",
            generate_all,
            pub_export_macro: true,
            default_bindings_module: "tally_plugin::bindings::periodic",
        });
    }
}

pub use alloc::{boxed::Box, format, string::String, vec::Vec};

/// Optional: `list` and `put`, see `wit/deps/tally-counter@1.0.0`; and their types.
pub use bindings::entries::exports::tally::counter::entries::{self, Guest as Entries};
/// Why a call failed; see `wit/deps/tally-counter@1.0.0`.
pub use bindings::exports::tally::counter::counter::Error;
/// The contract: `increment`, `get` and `reset`.
pub use bindings::exports::tally::counter::counter::Guest as Counter;
/// Optional: `tick`, which the host calls at an interval.
pub use bindings::periodic::exports::tally::counter::periodic::Guest as Periodic;
/// Capability `file-lock`: locks on files.
pub use bindings::tally::file_lock::locks;
/// Capability `hazelcast-atomic-long`: atomic numbers of a Hazelcast cluster.
pub use bindings::tally::hazelcast::atomic_long;
/// Capability `hazelcast-map`: a distributed map of a Hazelcast cluster, and its locks.
pub use bindings::tally::hazelcast::map;
/// What the functions of [`map`] and [`atomic_long`] raise.
pub use bindings::tally::hazelcast::types as hazelcast;
/// Capability `shared-memory`: 64-bit cells in memory that processes share.
pub use bindings::tally::shared_memory::cells;
/// Capability `sql`: statements and transactions on one database.
pub use bindings::tally::sql::database;
/// Capabilities `clocks`, `config`, `files` and `log`, as WASI defines them.
pub use bindings::wasi;
pub use error::file_error;
pub use retry::{RetryBudget, WAIT_MAX, retry};
pub use settings::setting;

/// The key of the default counter, the one behind `POST /inc`.
pub const DEFAULT_KEY: &str = "count";

/// Makes a type that implements [`Counter`] the component's export.
///
/// Off WebAssembly, where plugins are compiled for their unit tests only, it exports nothing.
#[macro_export]
macro_rules! export {
    ($counter:ident) => {
        $crate::export_as!($counter, Counter, $crate::bindings);
    };
}

/// Makes a type that implements [`Entries`] another export, beside [`export!`].
#[macro_export]
macro_rules! export_entries {
    ($entries:ident) => {
        $crate::export_as!($entries, Entries, $crate::bindings::entries);
    };
}

/// Makes a type that implements [`Periodic`] another export, beside [`export!`].
#[macro_export]
macro_rules! export_periodic {
    ($periodic:ident) => {
        $crate::export_as!($periodic, Periodic, $crate::bindings::periodic);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! export_as {
    ($exported:ident, $interface:ident, $($bindings:tt)*) => {
        #[cfg(target_arch = "wasm32")]
        $($bindings)*::export!($exported with_types_in $($bindings)*);
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_implemented<T: $crate::$interface>() {}
            is_implemented::<$exported>();
        };
    };
}
