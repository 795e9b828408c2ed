//! What members answer, and what they tell by themselves.

use uuid::Uuid;

use super::{
    frame::{Malformed, Message},
    requests::{Pointer, RaftGroup},
};

/// Partitions that a cluster may have; 271 is the default.
const PARTITIONS_MAX: i32 = 100_000;

/// Members that a cluster may have.
const MEMBERS_MAX: usize = 1_000;

/// Who a member says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub member: Uuid,
    /// Another one after the whole cluster was started anew.
    pub cluster: Uuid,
    pub partitions: i32,
}

/// How a member answers to the attempt to log in.
#[derive(Debug, PartialEq, Eq)]
pub enum Welcome {
    Authenticated(Greeting),
    /// The cluster has another name, or wants a password.
    WrongCredentials,
    NotAllowed,
}

pub fn authentication(message: &Message) -> Result<Welcome, Malformed> {
    let mut fixed = message.fixed();
    let (status, member, _version) = (fixed.u8()?, fixed.uuid()?, fixed.u8()?);
    let (partitions, cluster) = (fixed.i32()?, fixed.uuid()?);
    match status {
        0 => {}
        1 => return Ok(Welcome::WrongCredentials),
        _ => return Ok(Welcome::NotAllowed),
    }
    let (Some(member), Some(cluster)) = (member, cluster) else {
        return Err(Malformed("the member or its cluster has no id"));
    };
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        return Err(Malformed("the number of partitions is impossible"));
    }
    Ok(Welcome::Authenticated(Greeting { member, cluster, partitions }))
}

/// What a member tells about its cluster.
#[derive(Debug, PartialEq, Eq)]
pub enum View {
    /// All members, with their addresses.
    Members(Vec<(Uuid, String)>),
    /// Who owns which partitions.
    Partitions(Vec<(Uuid, Vec<i32>)>),
    /// Something that we have no use for.
    Other,
}

/// A view, and its version, by which views of one kind are ordered.
pub fn view(message: &Message) -> Result<(i32, View), Malformed> {
    let view = match message.kind() {
        0x00_0302 => View::Members(members(message)?),
        0x00_0303 => View::Partitions(partitions(message)?),
        _ => return Ok((0, View::Other)),
    };
    Ok((message.fixed().i32()?, view))
}

fn members(message: &Message) -> Result<Vec<(Uuid, String)>, Malformed> {
    let mut frames = message.frames();
    let mut members = Vec::new();
    frames.begin()?;
    while !frames.at_end()? {
        if MEMBERS_MAX <= members.len() {
            return Err(Malformed("there are too many members"));
        }
        frames.begin()?;
        let member = frames.expect()?.fixed().uuid()?.ok_or(Malformed("a member has no id"))?;
        frames.begin()?;
        let port = frames.expect()?.fixed().i32()?;
        let host = frames.expect()?.text();
        // Address and member.
        frames.leave()?;
        frames.leave()?;
        // As it is written in an URL, for addresses of version 6.
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        members.push((member, format!("{host}:{port}")));
    }
    Ok(members)
}

fn partitions(message: &Message) -> Result<Vec<(Uuid, Vec<i32>)>, Malformed> {
    let mut frames = message.frames();
    let mut owned = Vec::new();
    frames.begin()?;
    while !frames.at_end()? {
        if MEMBERS_MAX <= owned.len() {
            return Err(Malformed("there are too many members"));
        }
        let mut fixed = frames.expect()?.fixed();
        let mut partitions = Vec::new();
        while !fixed.is_empty() {
            partitions.push(fixed.i32()?);
        }
        owned.push(partitions);
    }
    // The keys come after their values.
    let mut fixed = frames.expect()?.fixed();
    owned
        .into_iter()
        .map(|partitions| Ok((fixed.uuid()?.ok_or(Malformed("a member has no id"))?, partitions)))
        .collect()
}

/// The serialized value in the answer; none where there is none.
pub fn data(message: &Message) -> Result<Option<&[u8]>, Malformed> {
    Ok(message.frames().expect()?.nullable())
}

/// Some of a partition's entries.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched<'a> {
    /// Where the next ones are.
    pub pointers: Vec<Pointer>,
    /// Keys and values, serialized.
    pub entries: Vec<(&'a [u8], &'a [u8])>,
}

pub fn fetched(message: &Message) -> Result<Fetched<'_>, Malformed> {
    let mut frames = message.frames();
    let mut fixed = frames.expect()?.fixed();
    let mut pointers = Vec::new();
    while !fixed.is_empty() {
        pointers.push(Pointer { index: fixed.i32()?, size: fixed.i32()? });
    }
    if pointers.is_empty() {
        return Err(Malformed("it is not said where the next entries are"));
    }
    let mut entries = Vec::new();
    frames.begin()?;
    while !frames.at_end()? {
        let (key, value) = (frames.expect()?.nullable(), frames.expect()?.nullable());
        entries.push(key.zip(value).ok_or(Malformed("an entry has no key or no value"))?);
    }
    Ok(Fetched { pointers, entries })
}

pub fn raft_group(message: &Message) -> Result<RaftGroup, Malformed> {
    let mut frames = message.frames();
    frames.begin()?;
    let mut fixed = frames.expect()?.fixed();
    let (seed, id) = (fixed.i64()?, fixed.i64()?);
    Ok(RaftGroup { name: frames.expect()?.text(), seed, id })
}

/// How many members the CP Subsystem has: pairs of ids in one frame.
pub fn cp_members(message: &Message) -> Result<usize, Malformed> {
    let mut fixed = message.frames().expect()?.fixed();
    let mut members = 0;
    while !fixed.is_empty() {
        fixed.uuid()?;
        fixed.uuid()?;
        members += 1;
    }
    Ok(members)
}
