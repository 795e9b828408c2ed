//! Messages as frames, the way both sides write them.
//!
//! A message is one frame after another; the last one is marked. A frame is its length (i32), flags (u16) and content, all
//! little-endian. The first frame holds the type, the correlation id and all parameters of fixed size, the others hold the
//! rest. <https://github.com/hazelcast/hazelcast-client-protocol>

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use uuid::Uuid;

/// Bytes of one message that are accepted.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes before a frame's content.
const HEADER_BYTES: usize = 6;

const UNFRAGMENTED: u16 = 0xC000;
const IS_FINAL: u16 = 0x2000;
const BEGIN: u16 = 0x1000;
const END: u16 = 0x0800;
const IS_NULL: u16 = 0x0400;
const IS_EVENT: u16 = 0x0200;

/// Where parameters begin in the first frame of a request and of an event, and of a response.
const REQUEST_FIXED: usize = 16;
const RESPONSE_FIXED: usize = 13;

/// Where the correlation id is in a message's bytes.
const CORRELATION: usize = HEADER_BYTES + 4;

/// What is no message, or not the one that was expected. The connection it came on can't be understood any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::error::Error for Malformed {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the member sent what is no message: {}", self.0)
    }
}

/// A request, ready to be sent once it has a correlation id.
#[derive(Clone, Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// Its bytes, under this correlation id.
    pub fn write(&self, correlation: i64, to: &mut BytesMut) {
        to.extend_from_slice(&self.0[..CORRELATION]);
        to.extend_from_slice(&correlation.to_le_bytes());
        to.extend_from_slice(&self.0[CORRELATION + 8..]);
    }
}

/// Writes a request: first its parameters of fixed size, in the order of the protocol, then the others.
pub struct Writer {
    bytes: Vec<u8>,
    frame: usize,
}

impl Writer {
    /// A request of this type to the member that owns `partition` (-1 for those that are about none).
    pub fn new(kind: i32, partition: i32) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(128), frame: 0 };
        writer.open(UNFRAGMENTED);
        writer.i32(kind).i64(0).i32(partition);
        writer
    }

    fn open(&mut self, flags: u16) {
        self.frame = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&flags.to_le_bytes());
        self.close();
    }

    /// Puts the frame's length before it.
    fn close(&mut self) {
        let length = self.bytes.len() - self.frame;
        let length = i32::try_from(length).expect("names and keys are short");
        self.bytes[self.frame..self.frame + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn push(&mut self, content: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(content);
        self.close();
        self
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.push(&[value])
    }

    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.push(&value.to_le_bytes())
    }

    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.push(&value.to_le_bytes())
    }

    pub fn uuid(&mut self, value: Uuid) -> &mut Self {
        let (most, least) = value.as_u64_pair();
        self.u8(0).push(&most.to_le_bytes()).push(&least.to_le_bytes())
    }

    /// A parameter of variable size: a text, or serialized data.
    pub fn frame(&mut self, content: &[u8]) -> &mut Self {
        self.open(0);
        self.push(content)
    }

    pub fn null(&mut self) -> &mut Self {
        self.open(IS_NULL);
        self
    }

    pub fn begin(&mut self) -> &mut Self {
        self.open(BEGIN);
        self
    }

    pub fn end(&mut self) -> &mut Self {
        self.open(END);
        self
    }

    pub fn finish(&mut self) -> Request {
        self.bytes[self.frame + 5] |= IS_FINAL.to_le_bytes()[1];
        Request(std::mem::take(&mut self.bytes))
    }
}

/// Finds messages in what is received.
#[derive(Default)]
pub struct Decoder {
    /// Bytes of the next message whose frames are known to be whole.
    scanned: usize,
}

impl Decoder {
    /// The next message, if it is whole.
    ///
    /// # Errors
    ///
    /// Where the bytes are no message, or one that is too large or in fragments.
    pub fn next(&mut self, received: &mut BytesMut) -> Result<Option<Message>, Malformed> {
        loop {
            let Some((length, flags)) = header(&received[self.scanned..])? else {
                return Ok(None);
            };
            if self.scanned == 0 && flags & UNFRAGMENTED != UNFRAGMENTED {
                return Err(Malformed("it comes in fragments"));
            }
            let end = self.scanned + length;
            if MESSAGE_BYTES_MAX < end {
                return Err(Malformed("it has more than 4 MiB"));
            }
            if received.len() < end {
                return Ok(None);
            }
            self.scanned = end;
            if flags & IS_FINAL != 0 {
                self.scanned = 0;
                return Message::new(received.split_to(end).freeze()).map(Some);
            }
        }
    }
}

/// Length and flags of the frame at the beginning of `bytes`, if they are there.
fn header(bytes: &[u8]) -> Result<Option<(usize, u16)>, Malformed> {
    let mut header = bytes;
    if header.len() < HEADER_BYTES {
        return Ok(None);
    }
    let (length, flags) = (header.get_i32_le(), header.get_u16_le());
    match usize::try_from(length) {
        Ok(length) if (HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&length) => {
            Ok(Some((length, flags)))
        }
        _ => Err(Malformed("a frame has an impossible length")),
    }
}

/// A message that was received.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
}

impl Message {
    fn new(bytes: Bytes) -> Result<Self, Malformed> {
        let message = Self { bytes };
        if message.first().content.len() < RESPONSE_FIXED {
            return Err(Malformed("its first frame is too short"));
        }
        Ok(message)
    }

    fn first(&self) -> Frame<'_> {
        Frames { rest: &self.bytes }.next().expect("a message begins with a frame")
    }

    /// What kind of response or event it is.
    pub fn kind(&self) -> i32 {
        self.first().content.get_i32_le()
    }

    /// The request that it belongs to.
    pub fn correlation(&self) -> i64 {
        (&self.first().content[4..]).get_i64_le()
    }

    /// Whether it is an event, of which a request may have many, and no response.
    pub fn is_event(&self) -> bool {
        self.first().flags & IS_EVENT != 0
    }

    /// The parameters of fixed size.
    pub fn fixed(&self) -> Fixed<'_> {
        let begin = if self.is_event() { REQUEST_FIXED } else { RESPONSE_FIXED };
        Fixed(self.first().content.get(begin..).unwrap_or_default())
    }

    /// The frames of the other parameters.
    pub fn frames(&self) -> Frames<'_> {
        let mut frames = Frames { rest: &self.bytes };
        frames.next();
        frames
    }
}

/// Parameters of fixed size, one after the other.
pub struct Fixed<'a>(&'a [u8]);

impl Fixed<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) =
            self.0.split_first_chunk().ok_or(Malformed("a parameter is missing"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take::<1>()?[0])
    }

    pub fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.u8()? != 0)
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_le_bytes(self.take()?))
    }

    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.take()?))
    }

    /// None where it is null.
    pub fn uuid(&mut self) -> Result<Option<Uuid>, Malformed> {
        let is_null = self.bool()?;
        let (most, least) = (u64::from_le_bytes(self.take()?), u64::from_le_bytes(self.take()?));
        Ok((!is_null).then(|| Uuid::from_u64_pair(most, least)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One frame of a message.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    flags: u16,
    content: &'a [u8],
}

impl<'a> Frame<'a> {
    pub fn is_end(&self) -> bool {
        self.flags & END != 0
    }

    pub fn is_begin(&self) -> bool {
        self.flags & BEGIN != 0
    }

    /// The content; none where it is null.
    pub fn nullable(&self) -> Option<&'a [u8]> {
        (self.flags & IS_NULL == 0).then_some(self.content)
    }

    pub fn fixed(&self) -> Fixed<'a> {
        Fixed(self.content)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.content).into_owned()
    }
}

/// The frames of a message, in order.
#[derive(Clone, Copy)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// The next one, which the protocol says is there.
    ///
    /// # Errors
    ///
    /// Where the message ends instead.
    pub fn expect(&mut self) -> Result<Frame<'a>, Malformed> {
        self.next().ok_or(Malformed("a frame is missing"))
    }

    /// Enters a structure.
    ///
    /// # Errors
    ///
    /// Where none begins.
    pub fn begin(&mut self) -> Result<(), Malformed> {
        if self.expect()?.is_begin() { Ok(()) } else { Err(Malformed("a structure is missing")) }
    }

    /// Leaves the structure that was entered last, whatever else newer members have put into it.
    ///
    /// # Errors
    ///
    /// Where it has no end.
    pub fn leave(&mut self) -> Result<(), Malformed> {
        let mut depth = 1;
        while 0 < depth {
            let frame = self.expect()?;
            depth += i64::from(frame.is_begin()) - i64::from(frame.is_end());
        }
        Ok(())
    }

    /// Whether the structure that was entered last ends here; if so, it is left.
    pub fn at_end(&mut self) -> Result<bool, Malformed> {
        let mut ahead = *self;
        let is_end = ahead.expect()?.is_end();
        if is_end {
            *self = ahead;
        }
        Ok(is_end)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        // The decoder has checked each of them.
        let (length, flags) = header(self.rest).ok()??;
        let (frame, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Frame { flags, content: &frame[HEADER_BYTES..] })
    }
}
