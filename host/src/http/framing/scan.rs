//! Finds the end of a head, however it comes.

use std::ops::Range;

use super::Problem;

/// How far a head was looked at. Each byte is looked at once.
#[derive(Default)]
pub struct Scan {
    scanned: usize,
    /// Where the present line begins.
    line: usize,
    /// Where the head begins, behind the empty lines in front of it.
    start: usize,
}

impl Scan {
    /// Where in `bytes`, which have grown at their end since the last call, the head lies; none while it is not whole.
    ///
    /// # Errors
    ///
    /// When it is larger than `bytes_max`, or can't be one whatever follows.
    pub fn head(
        &mut self,
        bytes: &[u8],
        bytes_max: usize,
    ) -> Result<Option<Range<usize>>, Problem> {
        let mut is_after_return =
            self.scanned.checked_sub(1).is_some_and(|idx| bytes[idx] == b'\r');
        for (idx, &byte) in bytes.iter().enumerate().skip(self.scanned) {
            match byte {
                _ if idx == bytes_max => return Err(self.too_large()),
                b'\n' if is_after_return => {
                    let is_empty = idx == self.line + 1;
                    if is_empty && self.start < self.line {
                        return Ok(Some(self.start..idx + 1));
                    }
                    self.line = idx + 1;
                    if is_empty {
                        // A client may have sent one too many behind a body (RFC 9112, section 2.2).
                        self.start = self.line;
                    }
                }
                b'\n' => {
                    return Err(Problem::malformed(
                        "a line of the head ends with LF alone, and not with CRLF",
                    ));
                }
                _ if is_after_return => {
                    return Err(Problem::malformed("there is a CR in the head that no LF follows"));
                }
                b'\r' | b'\t' => {}
                byte if byte.is_ascii_control() => {
                    return Err(Problem::malformed("there is a control character in the head"));
                }
                _ => {}
            }
            is_after_return = byte == b'\r';
        }
        self.scanned = bytes.len();
        if bytes.len() < bytes_max { Ok(None) } else { Err(self.too_large()) }
    }

    fn too_large(&self) -> Problem {
        if self.line == self.start { Problem::uri_too_long() } else { Problem::head_too_large() }
    }
}
