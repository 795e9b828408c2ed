//! The content of a counter file: one decimal number, padded with spaces to a fixed width.
//!
//! The width never changes, so a new value overwrites exactly the bytes of the old one. They lie in
//! the file's first disk sector and go out in one write: whenever the process or the power ends,
//! the file holds the old value or the new one, and never a mixture or nothing.

use alloc::{format, string::String};

/// The longest number: the sign and 19 digits of the smallest 64-bit value.
const DIGITS: usize = 20;

/// Bytes in a record: the number, padded on the right, and a line feed.
pub const RECORD_BYTES: usize = DIGITS + 1;

/// The longest file that is looked at; a hand-made one may have blanks around its number.
pub const FILE_BYTES_MAX: usize = 64;

/// How much of a refused file is quoted, in bytes.
const QUOTE_BYTES_MAX: usize = 48;

/// The end of a record whose value, or whose file's name, may not be on the disk although it should.
pub const MARK: &[u8] = b" ";

/// The record that holds `value`.
pub fn format(value: i64) -> String {
    format!("{value:<DIGITS$}\n")
}

/// The record that holds `value`, with the [`MARK`] at its end. To anybody else it is the same number.
pub fn marked(value: i64) -> String {
    format!("{value:<RECORD_BYTES$}")
}

/// What overwrites a content of `len` bytes so that the file holds `value`.
pub fn of_length(value: i64, len: usize) -> String {
    format!("{:<len$}", format(value))
}

/// Whether this is all of a record, and not the beginning of a number that somebody put there by hand.
pub fn is_whole(content: &[u8]) -> bool {
    content.len() == RECORD_BYTES && content.ends_with(b"\n") && parse(content).is_ok()
}

/// Whether this is a record with the [`MARK`].
pub fn is_marked(content: &[u8]) -> bool {
    content.len() == RECORD_BYTES && content.ends_with(MARK)
}

/// The value in the content of a file: an optional minus sign and digits, blanks around them allowed.
///
/// # Errors
///
/// The content itself, quoted, when it is anything else.
pub fn parse(content: &[u8]) -> Result<i64, String> {
    let digits = content.trim_ascii();
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let number = core::str::from_utf8(digits).ok();
    number
        .filter(|_| content.len() <= FILE_BYTES_MAX && unsigned.iter().all(u8::is_ascii_digit))
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| quote(content))
}

fn quote(content: &[u8]) -> String {
    let shown = &content[..content.len().min(QUOTE_BYTES_MAX)];
    let rest = if shown.len() < content.len() { "…" } else { "" };
    format!("\"{}{rest}\"", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_understood_with_blanks_around_it() {
        for (content, value) in [
            ("42", 42),
            ("42\n", 42),
            ("-7                  \n", -7),
            ("                  42\r\n", 42),
            ("00000000000000000042", 42),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse(content.as_bytes()), Ok(value), "{content:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_content() {
        for (content, quoted) in [
            (&b""[..], r#""""#),
            (b"\n", r#""\n""#),
            (b"abc", r#""abc""#),
            (b"+42", r#""+42""#),
            (b"-", r#""-""#),
            (b"--1", r#""--1""#),
            (b"4 2", r#""4 2""#),
            (b"42\0", r#""42\x00""#),
            (b"\xff", r#""\xff""#),
            (b"9223372036854775808", r#""9223372036854775808""#),
            (&[b'1'; 40], r#""1111111111111111111111111111111111111111""#),
            (&[b' '; 65], "\"                                                …\""),
        ] {
            assert_eq!(parse(content), Err(quoted.into()));
        }
    }

    proptest! {
        #[test]
        fn every_value_reads_back_from_a_record_of_fixed_width(value: i64) {
            let record = format(value);
            prop_assert_eq!(record.len(), RECORD_BYTES);
            prop_assert_eq!(parse(record.as_bytes()), Ok(value));
            prop_assert!(is_whole(record.as_bytes()) && !is_marked(record.as_bytes()));
        }

        #[test]
        fn a_mark_changes_one_byte_and_no_value(value: i64) {
            let (record, marked) = (format(value), marked(value));
            prop_assert_eq!(&record[..DIGITS], &marked[..DIGITS]);
            prop_assert_eq!(marked.len(), RECORD_BYTES);
            prop_assert_eq!(parse(marked.as_bytes()), Ok(value));
            prop_assert!(is_marked(marked.as_bytes()) && !is_whole(marked.as_bytes()));
        }

        #[test]
        fn a_record_overwrites_all_of_what_was_there(value: i64, len in 0..=FILE_BYTES_MAX) {
            let record = of_length(value, len);
            prop_assert_eq!(record.len(), len.max(RECORD_BYTES));
            prop_assert_eq!(parse(record.as_bytes()), Ok(value));
        }

        #[test]
        fn no_beginning_of_a_record_is_whole(value: i64, len in 0..RECORD_BYTES) {
            prop_assert!(!is_whole(&format(value).as_bytes()[..len]));
        }

        #[test]
        fn no_content_panics_and_what_is_accepted_is_a_number(content in prop_oneof![
            any::<Vec<u8>>(),
            "[ \t\r\n]{0,3}[-+]{0,2}[0-9]{0,21}[ \n\0a]{0,3}".prop_map(String::into_bytes),
        ]) {
            let number = core::str::from_utf8(&content).ok().map(str::trim_ascii);
            let number = number.filter(|text| !text.starts_with('+') && content.len() <= FILE_BYTES_MAX);
            let expected = number.and_then(|text| text.parse::<i128>().ok()?.try_into().ok());
            prop_assert_eq!(parse(&content).ok(), expected);
        }
    }
}
