//! What counters are called in the cluster. Nothing else can be named, so nothing else is reached.

use std::fmt::Write as _;

use super::HazelcastSettings;
use crate::{
    bindings::tally::hazelcast::types::{Error, Fault},
    keys::{self, DEFAULT_KEY},
};

/// The names that one set of settings leads to.
#[derive(Clone, Debug)]
pub struct Names {
    map: String,
    counter_key: String,
    atomic_long: String,
}

impl Names {
    /// The names of `settings`.
    pub fn new(settings: &HazelcastSettings) -> Self {
        Self {
            map: settings.hz_map_name.clone(),
            counter_key: settings.hz_counter_key.clone(),
            atomic_long: settings.hz_atomic_long_name.clone(),
        }
    }

    /// The map.
    pub fn map(&self) -> &str {
        &self.map
    }

    /// Under which key of the map the counter `key` lies: under its own, but for the default counter.
    ///
    /// # Errors
    ///
    /// `invalid-key` where that would be the default counter's, or the key is no counter's.
    pub fn map_key<'a>(&'a self, key: &'a str) -> Result<&'a str, Error> {
        check(key)?;
        if key == DEFAULT_KEY {
            return Ok(&self.counter_key);
        }
        if key == self.counter_key {
            return Err(Error::new(
                Fault::InvalidKey,
                format!(
                    "\"{key}\" is the key of the counter \"{DEFAULT_KEY}\" in the map \"{}\" (--hz-counter-key): \
                     use \"{DEFAULT_KEY}\", or another key",
                    self.map
                ),
            ));
        }
        Ok(key)
    }

    /// The counter that lies under `key` of the map; none where none does.
    pub fn counter<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        let counter = if key == self.counter_key { DEFAULT_KEY } else { key };
        self.map_key(counter).is_ok_and(|its| its == key).then_some(counter)
    }

    /// The atomic number of the default counter.
    pub fn default_atomic_long(&self) -> &str {
        &self.atomic_long
    }

    /// The atomic number of the counter `key`: the one that the settings name for the default
    /// counter, and `NAME:KEY` for any other. Behind an `@` the cluster expects the name of a CP
    /// group, so in a key it is percent-encoded.
    ///
    /// # Errors
    ///
    /// `invalid-key` where the key is no counter's.
    pub fn atomic_long(&self, key: &str) -> Result<String, Error> {
        check(key)?;
        let mut name = self.atomic_long.clone();
        if key != DEFAULT_KEY {
            name.push(':');
            for c in key.chars() {
                match c {
                    '@' | '%' => {
                        write!(name, "%{:02X}", u32::from(c)).expect("writing to a string")
                    }
                    c => name.push(c),
                }
            }
        }
        Ok(name)
    }
}

fn check(key: &str) -> Result<(), Error> {
    keys::check(key).map_err(|why| Error::new(Fault::InvalidKey, why))
}
