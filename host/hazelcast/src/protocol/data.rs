//! Keys and numbers as Hazelcast serializes them, and the partition that a key belongs to.
//!
//! Serialized data is a partition hash (0, since we choose none), a type, and the value, all big-endian.

use bytes::Buf;

use crate::Error;

const INTEGER: i32 = -7;
const LONG: i32 = -8;
const STRING: i32 = -11;

/// Bytes before the value: partition hash and type.
const HEADER_BYTES: usize = 8;

/// What the hash of a key begins with.
const HASH_SEED: u32 = 0x0100_0193;

/// A number in a map. Java tells the two kinds apart: they are never equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A Java `Integer`, as some clients write it. It stays one while it fits, because what they compare includes the kind.
    Integer(i32),
    /// A Java `Long`, as we store what is new.
    Long(i64),
}

impl Number {
    /// Its value, of whichever kind it is.
    pub fn value(self) -> i64 {
        match self {
            Self::Integer(value) => value.into(),
            Self::Long(value) => value,
        }
    }

    /// `value`, of the same kind as this; a `Long` where it is too wide for an `Integer`.
    pub fn with(self, value: i64) -> Self {
        match (self, i32::try_from(value)) {
            (Self::Integer(_), Ok(value)) => Self::Integer(value),
            _ => Self::Long(value),
        }
    }

    pub(crate) fn to_data(self) -> Vec<u8> {
        match self {
            Self::Integer(value) => data(INTEGER, &value.to_be_bytes()),
            Self::Long(value) => data(LONG, &value.to_be_bytes()),
        }
    }

    pub(crate) fn from_data(mut data: &[u8]) -> Result<Self, Error> {
        if data.len() < HEADER_BYTES {
            return Err(Error::Refused("what is stored is no value of Hazelcast".into()));
        }
        let _hash = data.get_i32();
        match (data.get_i32(), data.len()) {
            (INTEGER, 4) => Ok(Self::Integer(data.get_i32())),
            (LONG, 8) => Ok(Self::Long(data.get_i64())),
            (other, _) => Err(Error::Refused(format!(
                "what is stored is neither an Integer nor a Long, but of Hazelcast's type {other}"
            ))),
        }
    }
}

/// A text as a key.
pub fn key(text: &str) -> Vec<u8> {
    let length = i32::try_from(text.len()).expect("keys are short");
    data(STRING, &[&length.to_be_bytes(), text.as_bytes()].concat())
}

/// The text that a key is; none where it is anything else.
pub fn text(mut key: &[u8]) -> Option<String> {
    let (_hash, kind) = (key.try_get_i32().ok()?, key.try_get_i32().ok()?);
    let length = key.try_get_i32().ok()?;
    let is_text = kind == STRING && usize::try_from(length).is_ok_and(|length| length == key.len());
    is_text.then(|| String::from_utf8(key.to_vec()).ok()).flatten()
}

fn data(kind: i32, value: &[u8]) -> Vec<u8> {
    [&[0; 4], &kind.to_be_bytes()[..], value].concat()
}

/// The partition of a key among `count`, which is at least 1.
pub fn partition(key: &[u8], count: i32) -> i32 {
    match murmur3(key.get(HEADER_BYTES..).unwrap_or_default()).cast_signed() {
        i32::MIN => 0,
        hash => hash.abs() % count,
    }
}

/// MurmurHash3, x86, 32 bits. <https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp>
fn murmur3(bytes: &[u8]) -> u32 {
    let mix =
        |block: u32| block.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593);
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = blocks.iter().fold(HASH_SEED, |hash, block| {
        let mixed = (hash ^ mix(u32::from_le_bytes(*block))).rotate_left(13);
        mixed.wrapping_mul(5).wrapping_add(0xE654_6B64)
    });
    let tail = tail.iter().rev().fold(0, |block, byte| block << 8 | u32::from(*byte));
    hash ^= mix(tail);
    // The length of a key fits: it was checked when the key was serialized.
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_the_partition_that_other_clients_look_in() {
        for (text, expected) in [
            ("counter", 3),
            ("a", 73),
            ("", 11),
            ("k1", 21),
            ("counter-0", 102),
            ("counter-1", 265),
            ("counter-2", 245),
            ("user:42", 14),
            ("h\u{e9}\u{e9}", 46),
            ("abcdefgh", 200),
            ("hot", 99),
        ] {
            assert_eq!(partition(&key(text), 271), expected, "{text}");
        }
        for (number, expected) in [(0, 109), (1, 110), (42, 145)] {
            assert_eq!(partition(&Number::Long(number).to_data(), 271), expected, "{number}");
        }
    }

    #[test]
    fn both_kinds_of_numbers_are_read_as_they_were_written() {
        for number in [
            Number::Long(5),
            Number::Long(i64::MIN),
            Number::Long(i64::MAX),
            Number::Integer(5),
            Number::Integer(i32::MIN),
        ] {
            assert_eq!(Number::from_data(&number.to_data()), Ok(number));
        }
        assert_eq!(Number::Long(5).to_data(), *b"\0\0\0\0\xff\xff\xff\xf8\0\0\0\0\0\0\0\x05");
    }

    #[test]
    fn an_integer_stays_one_while_it_fits_and_a_long_always_does() {
        for (value, integer) in [
            (0, Number::Integer(0)),
            (i32::MAX.into(), Number::Integer(i32::MAX)),
            (i32::MIN.into(), Number::Integer(i32::MIN)),
            (1 << 31, Number::Long(1 << 31)),
            (i64::from(i32::MIN) - 1, Number::Long(i64::from(i32::MIN) - 1)),
        ] {
            assert_eq!(Number::Integer(5).with(value), integer);
            assert_eq!(Number::Long(5).with(value), Number::Long(value));
        }
    }

    #[test]
    fn a_text_is_read_as_it_was_written_and_what_is_none_is_not() {
        for written in ["", "a", "h\u{e9}\u{e9}", "\0"] {
            assert_eq!(text(&key(written)).as_deref(), Some(written));
        }
        let mut too_long = key("ab");
        too_long.push(b'c');
        let not_utf8 = data(STRING, b"\0\0\0\x01\xff");
        let negative = data(STRING, b"\xff\xff\xff\xff");
        for data in [&b""[..], &key("ab")[..13], &too_long, &not_utf8, &negative] {
            assert_eq!(text(data), None, "{data:?}");
        }
        assert_eq!(text(&Number::Long(1).to_data()), None);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let mut too_long = Number::Long(1).to_data();
        too_long.push(0);
        for data in
            [&b""[..], b"\0\0\0\0\xff\xff\xff", b"\0\0\0\0\xff\xff\xff\xf8", &key("5"), &too_long]
        {
            assert!(matches!(Number::from_data(data), Err(Error::Refused(_))), "{data:?}");
        }
    }
}
