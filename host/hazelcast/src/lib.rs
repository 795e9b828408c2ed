//! A client of Hazelcast 5 that can do what counting needs: numbers in maps, locks of keys, atomic longs, and nothing else.
//!
//! It speaks the Open Binary Client Protocol on one connection to each member, on which all calls of the client are under
//! way at once. A call goes to the member that owns its key. Where that member is gone another one passes it on, and the
//! client comes back to it by itself.
//!
//! No call is made twice where that could count twice: if the connection breaks while a change may be under way, the
//! caller is told [`Error::OutcomeUnknown`].
//!
//! ```no_run
//! use std::time::Duration;
//! use tally_hazelcast::{Client, Error, Settings};
//!
//! # async fn count() -> Result<(), Error> {
//! let client = Client::new(Settings {
//!     members: vec!["127.0.0.1:5701".into()],
//!     cluster_name: "dev".into(),
//!     invocation_time_max: Duration::from_secs(2),
//!     cp_group_wait_max: Duration::from_secs(30),
//!     calls_max: 1024,
//! });
//! let value = client.add_and_get("counter", 1).await?;
//! # Ok(())
//! # }
//! ```

mod atomic_long;
mod client;
mod cluster;
mod connection;
mod error;
mod group;
mod invocation;
mod listing;
mod lock;
mod map;
mod membership;
mod pace;
mod protocol;
mod settings;

pub use client::Client;
pub use error::Error;
pub use listing::Partition;
pub use lock::Lock;
pub use protocol::data::Number;
pub use settings::Settings;
