//! The requests that we make: their types and parameters.
//!
//! Names and layouts are those of
//! <https://github.com/hazelcast/hazelcast-client-protocol/tree/master/protocol-definitions>.

use std::time::Duration;

use uuid::Uuid;

use super::{
    data::{self, Number},
    frame::{Request, Writer},
};

/// The version of the serialization that we use, the only one there is.
const SERIALIZATION_VERSION: u8 = 1;

/// A request that is about no partition.
pub const NO_PARTITION: i32 = -1;

/// Values do not expire.
const NO_TIME_TO_LIVE: i64 = -1;

/// The first on each connection. `client` is the same on all of them.
pub fn authentication(cluster_name: &str, client: Uuid) -> Request {
    let mut request = Writer::new(0x00_0100, NO_PARTITION);
    request.uuid(client).u8(SERIALIZATION_VERSION).frame(cluster_name.as_bytes());
    // User and password: none, which is what members without security want to see.
    request.null().null();
    let version = env!("CARGO_PKG_VERSION");
    request.frame(b"TLY").frame(version.as_bytes()).frame(b"tally").begin().end().finish()
}

/// Asks for events about members and partitions, from now on.
pub fn add_cluster_view_listener() -> Request {
    Writer::new(0x00_0300, NO_PARTITION).finish()
}

/// Asks for an answer, and nothing else.
pub fn ping() -> Request {
    Writer::new(0x00_0B00, NO_PARTITION).finish()
}

/// The members of the CP Subsystem.
pub fn cp_members() -> Request {
    Writer::new(0x20_1900, NO_PARTITION).finish()
}

/// One key of one map.
#[derive(Clone, Debug)]
pub struct Entry {
    map: String,
    key: Vec<u8>,
}

impl Entry {
    pub fn new(map: &str, key: &str) -> Self {
        Self { map: map.to_owned(), key: data::key(key) }
    }

    /// Among `count` partitions.
    pub fn partition(&self, count: i32) -> i32 {
        data::partition(&self.key, count)
    }

    fn request(&self, kind: i32, partition: i32, fixed: &[i64], values: &[Number]) -> Request {
        let mut request = Writer::new(kind, partition);
        for parameter in fixed {
            request.i64(*parameter);
        }
        request.frame(self.map.as_bytes()).frame(&self.key);
        for value in values {
            request.frame(&value.to_data());
        }
        request.finish()
    }
}

/// What is done to an entry. A thread is whoever may hold a lock.
#[derive(Clone, Copy, Debug)]
pub enum EntryCall {
    Get { thread: i64 },
    Set { thread: i64, value: Number },
    PutIfAbsent { thread: i64, value: Number },
    ReplaceIfSame { thread: i64, expected: Number, value: Number },
    TryLock { thread: i64, lease: Duration, wait_max: Duration, reference: i64 },
    Unlock { thread: i64, reference: i64 },
}

impl EntryCall {
    /// The request to do it to `entry`, which lies in `partition`.
    pub fn request(self, entry: &Entry, partition: i32) -> Request {
        let (kind, fixed, values): (i32, &[i64], &[Number]) = match self {
            Self::Get { thread } => (0x01_0200, &[thread], &[]),
            Self::Set { thread, value } => (0x01_0F00, &[thread, NO_TIME_TO_LIVE], &[value]),
            Self::PutIfAbsent { thread, value } => {
                (0x01_0E00, &[thread, NO_TIME_TO_LIVE], &[value])
            }
            Self::ReplaceIfSame { thread, expected, value } => {
                (0x01_0500, &[thread], &[expected, value])
            }
            Self::TryLock { thread, lease, wait_max, reference } => {
                (0x01_1100, &[thread, ms(lease), ms(wait_max), reference], &[])
            }
            Self::Unlock { thread, reference } => (0x01_1300, &[thread, reference], &[]),
        };
        entry.request(kind, partition, fixed, values)
    }
}

/// How far a partition's table was looked through, and how large that was: tables grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub index: i32,
    pub size: i32,
}

impl Pointer {
    /// Before the first entry of a partition.
    pub const BEGIN: Self = Self { index: i32::MAX, size: -1 };

    /// Whether there is nothing behind it.
    pub fn is_end(self) -> bool {
        self.index < 0
    }
}

/// Asks for about `count` entries of a partition.
pub fn fetch(map: &str, partition: i32, pointers: &[Pointer], count: i32) -> Request {
    let pairs = pointers.iter().flat_map(|pointer| [pointer.index, pointer.size]);
    let pairs: Vec<u8> = pairs.flat_map(i32::to_le_bytes).collect();
    let mut request = Writer::new(0x01_3800, partition);
    request.i32(count).frame(map.as_bytes()).frame(&pairs).finish()
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A group of CP members that agree on some objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftGroup {
    pub name: String,
    pub seed: i64,
    pub id: i64,
}

/// Asks for the group of an object, which is made if there is none.
pub fn create_cp_group(object: &str) -> Request {
    Writer::new(0x1E_0100, NO_PARTITION).frame(object.as_bytes()).finish()
}

/// What is done to an atomic long.
#[derive(Clone, Copy, Debug)]
pub enum AtomicLongCall {
    AddAndGet { delta: i64 },
    CompareAndSet { expected: i64, value: i64 },
    Get,
    GetAndSet { value: i64 },
}

impl AtomicLongCall {
    /// The request to do it to the one called `name` in `group`.
    pub fn request(self, group: &RaftGroup, name: &str) -> Request {
        let (kind, fixed): (i32, &[i64]) = match self {
            Self::AddAndGet { delta } => (0x09_0300, &[delta]),
            Self::CompareAndSet { expected, value } => (0x09_0400, &[expected, value]),
            Self::Get => (0x09_0500, &[]),
            Self::GetAndSet { value } => (0x09_0700, &[value]),
        };
        let mut request = Writer::new(kind, NO_PARTITION);
        for parameter in fixed {
            request.i64(*parameter);
        }
        request.begin().frame(&[group.seed.to_le_bytes(), group.id.to_le_bytes()].concat());
        request.frame(group.name.as_bytes()).end().frame(name.as_bytes()).finish()
    }
}
