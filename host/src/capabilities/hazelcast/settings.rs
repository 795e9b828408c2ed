//! Which cluster is lent, what of it, and within which limits.

use std::{net::Ipv6Addr, time::Duration};

use clap::{Args, value_parser};

use crate::keys::{self, DEFAULT_KEY};

/// Members that may be named.
const MEMBERS_MAX: usize = 32;

/// Longest name of a cluster, a map or an atomic number, in characters.
const NAME_CHARS_MAX: usize = 64;

/// The Hazelcast cluster, what counters are called there, and the limits on its use.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Hazelcast")]
pub struct HazelcastSettings {
    /// Members of the cluster, as HOST:PORT[,HOST:PORT…] (1 to 32), from which all others are found.
    #[arg(long, env, value_name = "MEMBERS", value_delimiter = ',', default_value = "127.0.0.1:5701,127.0.0.1:5702,127.0.0.1:5703", value_parser = parse_member)]
    pub hz_cluster_members: Vec<String>,

    /// Name of the cluster.
    #[arg(long, env, value_name = "NAME", default_value = "dev", value_parser = parse_name)]
    pub hz_cluster_name: String,

    /// Map (IMap) in which the counters are.
    #[arg(long, env, value_name = "NAME", default_value = "counter-map", value_parser = parse_name)]
    pub hz_map_name: String,

    /// Key of the default counter in that map; other counters lie under their own keys.
    #[arg(long, env, value_name = "KEY", default_value = DEFAULT_KEY, value_parser = parse_key)]
    pub hz_counter_key: String,

    /// Atomic number (IAtomicLong) of the default counter; another counter's is called NAME:KEY.
    #[arg(long, env, value_name = "NAME", default_value = "counter", value_parser = parse_atomic_long_name)]
    pub hz_atomic_long_name: String,

    /// Time after which a lock of a plugin ends by itself, in ms (100 to 600000); at least
    /// twice --hz-invocation-time-max.
    #[arg(long, env, value_name = "MS", default_value_t = 10_000, value_parser = value_parser!(u32).range(100..=600_000))]
    pub hz_lock_lease: u32,

    /// Time that the cluster may take to answer, all tries included, in ms (10 to 60000).
    #[arg(long, env, value_name = "MS", default_value_t = 2_000, value_parser = value_parser!(u32).range(10..=60_000))]
    pub hz_invocation_time_max: u32,

    /// Time that the CP group of the atomic numbers may take to answer before anything is written to
    /// it, in ms (100 to 600000): a new one elects a leader first. Writes that come meanwhile are refused.
    #[arg(long, env, global = true, value_name = "MS", default_value_t = 30_000, value_parser = value_parser!(u32).range(100..=600_000))]
    pub hz_cp_group_wait_max: u32,

    /// Calls of the cluster that one worker has under way at once, each lock that it holds being
    /// one (1 to 100000); more are refused.
    #[arg(long, env, value_name = "COUNT", default_value_t = 1_024, value_parser = value_parser!(u32).range(1..=100_000))]
    pub hz_calls_max: u32,
}

impl HazelcastSettings {
    /// What can only be judged of several settings together.
    ///
    /// # Errors
    ///
    /// One sentence that names the settings and says what to do.
    pub fn check(&self) -> Result<(), String> {
        let (lease, call) = (self.hz_lock_lease, self.hz_invocation_time_max);
        if lease / 2 < call {
            return Err(format!(
                "a lock that ends after {lease} ms (--hz-lock-lease) leaves no time for a read and a write under it, \
                 which may take {call} ms each (--hz-invocation-time-max): raise the one or lower the other"
            ));
        }
        let members = self.hz_cluster_members.len();
        if !(1..=MEMBERS_MAX).contains(&members) {
            return Err(format!(
                "--hz-cluster-members names {members} members: name 1 to {MEMBERS_MAX}, from which the others are found"
            ));
        }
        Ok(())
    }

    /// As the client wants them.
    pub fn cluster(&self) -> tally_hazelcast::Settings {
        tally_hazelcast::Settings {
            members: self.hz_cluster_members.clone(),
            cluster_name: self.hz_cluster_name.clone(),
            invocation_time_max: self.invocation_time_max(),
            cp_group_wait_max: Duration::from_millis(self.hz_cp_group_wait_max.into()),
            calls_max: self.hz_calls_max as usize,
        }
    }

    /// Which map it is, in words; two that hold the default counter under different keys differ.
    pub fn map_place(&self) -> String {
        let (map, key) = (&self.hz_map_name, &self.hz_counter_key);
        let place = format!("the map {map} of {}", self.cluster().place());
        if key == DEFAULT_KEY {
            return place;
        }
        format!("{place}, with the counter {DEFAULT_KEY} under the key {key}")
    }

    /// Which atomic numbers they are, in words.
    pub fn atomic_longs_place(&self) -> String {
        format!("the atomic longs {} of {}", self.hz_atomic_long_name, self.cluster().place())
    }

    /// [`Self::hz_lock_lease`] as a duration.
    pub fn lock_lease(&self) -> Duration {
        Duration::from_millis(self.hz_lock_lease.into())
    }

    /// [`Self::hz_invocation_time_max`] as a duration.
    pub fn invocation_time_max(&self) -> Duration {
        Duration::from_millis(self.hz_invocation_time_max.into())
    }
}

/// `HOST:PORT`, where an IPv6 address stands in brackets.
fn parse_member(text: &str) -> Result<String, String> {
    const FORM: &str = "a member is written HOST:PORT, with a port from 1 to 65535";
    let member = text.trim();
    let (host, port) = member.rsplit_once(':').ok_or(FORM)?;
    let good_port = port.parse::<u16>().is_ok_and(|port| port != 0) && !port.starts_with('+');
    let good_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let valid = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !host.is_empty() && host.chars().all(valid)
        }
    };
    if !good_port || !good_host {
        return Err(FORM.into());
    }
    Ok(member.to_owned())
}

fn parse_name(name: &str) -> Result<String, String> {
    let long = NAME_CHARS_MAX < name.chars().count();
    if name.is_empty() || long || name.trim() != name || name.contains(char::is_control) {
        return Err(format!(
            "a name has 1 to {NAME_CHARS_MAX} characters, no control characters, and no space at its ends"
        ));
    }
    Ok(name.to_owned())
}

/// The part behind an `@` would be the name of a CP group.
fn parse_atomic_long_name(name: &str) -> Result<String, String> {
    if name.contains('@') {
        return Err(
            "it must not contain \"@\", behind which Hazelcast expects the name of a CP group"
                .into(),
        );
    }
    parse_name(name)
}

fn parse_key(key: &str) -> Result<String, String> {
    keys::check(key).map(|()| key.to_owned())
}
