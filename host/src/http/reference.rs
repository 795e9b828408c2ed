//! What a request means, written from the README's description and from none of the host's parsers, and a counter that
//! notes what it is asked for: tests compare the two.

use std::sync::{Arc, Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Counter;
use crate::{
    bindings::optional::exports::tally::counter::entries::Page,
    keys::{DEFAULT_KEY, KEY_BYTES_MAX, SCRATCH_KEY},
    plugin::call::{CallError, Operation},
};

/// What a counter is asked for, and which.
pub type Call = (Operation, String);

/// What a whole request asks a counter for; none if it is to be refused, or asks none.
pub fn meaning(method: &str, path: &str, query: &str, body: &[u8]) -> Option<Call> {
    let (what, key) = match path {
        "/inc" | "/reset" => (&path[1..], None),
        "/count" => ("", None),
        _ => match path.strip_prefix("/counters/")?.split_once('/') {
            None => ("", path.strip_prefix("/counters/")),
            Some((key, what @ ("inc" | "reset"))) => (what, Some(key)),
            Some(_) => return None,
        },
    };
    let takes_addition = what == "inc" && key.is_some();
    if !takes_addition && !query.is_empty() {
        return None;
    }
    let by = [by_in_query(query)?, by_in_body(body)?].concat();
    let key = key.map_or(Some(DEFAULT_KEY.to_owned()), key_of)?;
    let operation = match (method, what) {
        ("POST", "inc") => Operation::Increment(by.first().copied().unwrap_or(1)),
        ("POST", "reset") => Operation::Reset,
        ("GET", "") => Operation::Get,
        _ => return None,
    };
    (by.len() <= usize::from(takes_addition)).then_some((operation, key))
}

/// The key that became `encoded`; none where that is none.
pub fn key_of(encoded: &str) -> Option<String> {
    let key = String::from_utf8(decoded(encoded)?).ok()?;
    let is_key = (1..=KEY_BYTES_MAX).contains(&key.len()) && key != SCRATCH_KEY;
    is_key.then_some(key)
}

/// `text` in which each byte that is no letter or digit is percent-encoded.
pub fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02x}"),
    };
    text.bytes().map(encode).collect()
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (code, after) = after.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push((digit(code[0])? * 16 + digit(code[1])?) as u8);
        rest = after;
    }
    Some(bytes)
}

/// All values of "by"; none if anything else is there.
fn by_in_query(query: &str) -> Option<Vec<i64>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| by(part.split_once('=')?)).collect()
}

fn by((name, value): (&str, &str)) -> Option<i64> {
    let text = |encoded: &str| String::from_utf8(decoded(&encoded.replace('+', " "))?).ok();
    (text(name)? == "by").then(|| text(value)?.parse().ok())?
}

/// As [`by_in_query`].
fn by_in_body(body: &[u8]) -> Option<Vec<i64>> {
    if body.is_empty() {
        return Some(Vec::new());
    }
    let Fields(fields) = serde_json::from_slice(body).ok()?;
    let by = fields.iter().map(|(name, value)| value.as_i64().filter(|_| name == "by"));
    by.collect()
}

/// The fields of a JSON object, as often as they stand there.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A counter that answers each call with how many there were, and notes them.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Call>>>);

impl Recorder {
    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Counter for Recorder {
    async fn call(&self, operation: Operation, key: &str) -> Result<i64, CallError> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push((operation, key.to_owned()));
        Ok(calls.len() as i64)
    }

    async fn list(&self, _: Option<String>, _: u32) -> Result<Page, CallError> {
        Ok(Page { entries: Vec::new(), next: None })
    }

    async fn look(&self) -> Result<i64, String> {
        Ok(0)
    }

    fn plugin(&self) -> String {
        "recorder".into()
    }

    fn is_held_back(&self) -> bool {
        false
    }

    fn is_stopping(&self) -> bool {
        false
    }
}
