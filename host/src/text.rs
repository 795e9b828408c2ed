//! Texts of plugins, which may have any length and hold anything, as answers and the log may have them.

/// Bytes that are kept of what a plugin says: of an error, or of why it broke off.
pub const SAID_BYTES_MAX: usize = 1024;

/// Bytes that are kept of why a component can't be used, which may list what it imports.
pub const REFUSAL_BYTES_MAX: usize = 8 * 1024;

/// What stands where the rest of a text was.
pub const CUT: &str = " … (cut)";

/// `text` on one line, and not longer than `bytes_max` and the mark that says that it was.
pub fn bounded(mut text: String, bytes_max: usize) -> String {
    if !text.chars().any(breaks_lines) && text.len() <= bytes_max {
        return text;
    }
    let mut line = String::new();
    for char in text.drain(..) {
        let begin = line.len();
        if breaks_lines(char) {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
        if bytes_max < line.len() {
            line.truncate(begin);
            line.push_str(CUT);
            break;
        }
    }
    line
}

/// Whether a reader of the log could take what follows for another line, or for a command to its terminal.
fn breaks_lines(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters_with_a_mark_and_stays_on_one_line() {
        for (text, kept) in [
            ("", ""),
            ("12345678", "12345678"),
            ("123456789", "12345678 … (cut)"),
            ("1234567ä", "1234567 … (cut)"),
            ("a\nb\x1b", "a\\nb … (cut)"),
            ("\"q\" 'r'", "\"q\" 'r'"),
            ("a\u{2028}", "a … (cut)"),
        ] {
            assert_eq!(bounded(text.to_owned(), 8), kept, "{text:?}");
        }
    }
}
