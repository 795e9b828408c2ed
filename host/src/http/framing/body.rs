//! Where the body of a request ends.

/// The rest of a body.
pub struct Body(Rest);

/// A chunk is smaller, in bytes.
const SIZE_END: u64 = 1 << 63;

/// Where it is between its bytes.
#[derive(Clone, Copy)]
enum Rest {
    /// So many bytes.
    Length(u64),
    /// Chunks (RFC 9112, section 7.1), the next byte being one of this kind.
    Chunks(Chunks),
}

#[derive(Clone, Copy)]
enum Chunks {
    /// Of the size of a chunk, of which there are so many digits, and so far it is this.
    Size { digits: u32, size: u64 },
    /// Of an extension, behind the size.
    Extension { size: u64 },
    /// The line feed behind the size.
    SizeEnd { size: u64 },
    /// Of the data.
    Data { left: u64 },
    /// CR behind the data.
    DataEnd,
    /// LF behind that.
    NextSize,
    /// The first of a line behind the last chunk.
    Trailer,
    /// Another one of such a line.
    TrailerRest,
    /// The line feed at its end.
    TrailerEnd,
    /// The last of all.
    LastEnd,
    /// None.
    Nothing,
}

/// Whether a body has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// More is to come.
    NotYet,
    /// With the last byte that was taken.
    Reached,
    /// It is not encoded as it should be, so nobody knows.
    Unknown,
}

impl Body {
    /// A body of `bytes` bytes.
    pub fn of_length(bytes: u64) -> Self {
        Self(Rest::Length(bytes))
    }

    /// A body in chunks.
    pub fn chunked() -> Self {
        Self(Rest::Chunks(Chunks::Size { digits: 0, size: 0 }))
    }

    /// How many of `bytes` belong to it, and whether it ends there.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, End) {
        match &mut self.0 {
            Rest::Length(left) => {
                let taken = length_within(bytes, *left);
                *left -= taken as u64;
                (taken, if *left == 0 { End::Reached } else { End::NotYet })
            }
            Rest::Chunks(next) => take_chunks(next, bytes),
        }
    }
}

fn length_within(bytes: &[u8], max: u64) -> usize {
    usize::try_from(max).map_or(bytes.len(), |max| max.min(bytes.len()))
}

fn take_chunks(next: &mut Chunks, bytes: &[u8]) -> (usize, End) {
    let mut taken = 0;
    while let Some(&byte) = bytes.get(taken) {
        if let Chunks::Data { left } = *next {
            let data = length_within(&bytes[taken..], left);
            taken += data;
            let left = left - data as u64;
            *next = if left == 0 { Chunks::DataEnd } else { Chunks::Data { left } };
            continue;
        }
        match next.after(byte) {
            Some(Chunks::Nothing) => return (taken + 1, End::Reached),
            Some(after) => *next = after,
            None => return (taken, End::Unknown),
        }
        taken += 1;
    }
    (taken, End::NotYet)
}

impl Chunks {
    /// What comes after `byte`, which is none of the data; none where it can't be.
    fn after(self, byte: u8) -> Option<Self> {
        let is_text = byte == b'\t' || !byte.is_ascii_control();
        Some(match (self, byte) {
            (Self::Size { digits: 1.., size }, b'\r') | (Self::Extension { size }, b'\r') => {
                Self::SizeEnd { size }
            }
            (Self::Size { digits: 1.., size }, b';' | b' ' | b'\t') => Self::Extension { size },
            (Self::Size { digits, size }, _) => {
                let digit = char::from(byte).to_digit(16)?;
                let size = size
                    .checked_mul(16)
                    .filter(|size| *size < SIZE_END)?
                    .checked_add(digit.into())?;
                Self::Size { digits: digits.checked_add(1)?, size }
            }
            (Self::Extension { .. } | Self::TrailerRest, _) if is_text => self,
            (Self::SizeEnd { size: 0 }, b'\n') | (Self::TrailerEnd, b'\n') => Self::Trailer,
            (Self::SizeEnd { size: left }, b'\n') => Self::Data { left },
            (Self::DataEnd, b'\r') => Self::NextSize,
            (Self::NextSize, b'\n') => Self::Size { digits: 0, size: 0 },
            (Self::Trailer, b'\r') => Self::LastEnd,
            (Self::Trailer, _) if is_text => Self::TrailerRest,
            (Self::TrailerRest, b'\r') => Self::TrailerEnd,
            (Self::LastEnd, b'\n') => Self::Nothing,
            _ => return None,
        })
    }
}
