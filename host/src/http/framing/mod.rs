//! Requests as bytes, before hyper sees them: only those whose head is well-formed and whose end is beyond doubt.
//!
//! hyper takes what two programs may read differently: a lone line feed as the end of a line, codings beside `chunked`,
//! a length beside them. A proxy in front of the host that reads it otherwise would take the rest of one request for the
//! next. So such a request is refused here, and is the last of its connection.
//!
//! Mostly a request comes in one piece. It is then looked at where hyper has it read to, and nothing is copied.

mod body;
mod head;
mod host;
mod scan;
mod target;

#[cfg(test)]
mod tests;

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::{
    body::{Body, End},
    scan::Scan,
};
use super::{lingering::Unread, problem::Problem};

/// How much is read at a time while a head comes in pieces, in bytes.
const PIECE_BYTES: usize = 4096;

/// A connection on which hyper finds well-formed requests only. Instead of another one it finds the end of the connection,
/// and what it answers to those before is followed by the reason.
pub struct Checked<S, R> {
    stream: S,
    /// Told when the client may still be sending what nobody will read.
    unread: Unread,
    /// Told with which status a request was refused.
    refused: R,
    head_bytes_max: usize,
    next: Next,
    /// A head that comes in pieces, with what came behind it.
    held: Vec<u8>,
    /// How many bytes of `held` hyper may have.
    passable: usize,
    /// The last answer, of which hyper knows nothing.
    farewell: Vec<u8>,
    /// Whether answers wait to be written. At the end of the connection hyper would drop them.
    writes_wait: bool,
    /// Who waits for the end of the connection until they are written.
    reader: Option<Waker>,
}

/// What the next bytes are.
enum Next {
    Head(Scan),
    Body(Body),
    /// Nobody's. The last answer is to be the one in here; there is none where hyper gives it.
    Nothing(Option<Farewell>),
}

/// A refusal that is the last answer.
struct Farewell {
    status: StatusCode,
    message: Vec<u8>,
}

impl<S, R: Fn(StatusCode)> Checked<S, R> {
    /// `stream` with heads of at most `head_bytes_max` bytes. `unread` belongs to the
    /// [`Lingering`](super::lingering::Lingering) below.
    pub fn new(stream: S, head_bytes_max: usize, unread: Unread, refused: R) -> Self {
        Self {
            stream,
            unread,
            refused,
            head_bytes_max,
            next: Next::Head(Scan::default()),
            held: Vec::new(),
            passable: 0,
            farewell: Vec::new(),
            writes_wait: false,
            reader: None,
        }
    }

    /// How many of the first of `bytes` hyper may have. The others begin a head, or are nobody's.
    fn check(&mut self, bytes: &mut [u8]) -> usize {
        let mut passed = 0;
        loop {
            let rest = &mut bytes[passed..];
            self.next = match &mut self.next {
                Next::Nothing(_) => return passed,
                Next::Head(scan) => match checked_head(scan, rest, self.head_bytes_max) {
                    Ok(None) => return passed,
                    Ok(Some((length, body))) => {
                        passed += length;
                        Next::Body(body)
                    }
                    Err(problem) => {
                        // An answer to HEAD has no body (RFC 9110, section 9.3.2).
                        let has_body = !rest.trim_ascii_start().starts_with(b"HEAD ");
                        let (status, message) = (problem.status(), problem.to_message(has_body));
                        Next::Nothing(Some(Farewell { status, message }))
                    }
                },
                Next::Body(body) => {
                    let (taken, end) = body.take(rest);
                    passed += taken;
                    match end {
                        End::NotYet => return passed,
                        End::Reached => Next::Head(Scan::default()),
                        End::Unknown => Next::Nothing(None),
                    }
                }
            };
        }
    }

    /// What was read to behind the first `before` bytes of `buf`: hyper gets what it may have now.
    fn checked_in_place(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let read = &mut buf.filled_mut()[before..];
        let passed = self.check(read);
        if let Next::Head(_) = self.next {
            self.held.extend_from_slice(&read[passed..]);
        }
        buf.set_filled(before + passed);
    }

    fn pass(&mut self, buf: &mut ReadBuf<'_>) {
        let passed = self.passable.min(buf.remaining());
        buf.put_slice(&self.held[..passed]);
        self.held.drain(..passed);
        self.passable -= passed;
        if self.passable == 0 && !matches!(self.next, Next::Head(_)) || self.held.is_empty() {
            // An idle connection needs no memory.
            self.held = Vec::new();
        }
    }

    /// The end of the connection, as soon as all answers are written.
    fn poll_end(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if self.writes_wait {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Next::Nothing(farewell) = &mut self.next
            && let Some(Farewell { status, message }) = farewell.take()
        {
            (self.refused)(status);
            self.farewell = message;
            self.unread.comes();
        }
        Poll::Ready(Ok(()))
    }
}

/// The length of the head that `bytes` begin with, and what follows it; none while it is not whole.
fn checked_head(
    scan: &mut Scan,
    bytes: &mut [u8],
    bytes_max: usize,
) -> Result<Option<(usize, Body)>, Problem> {
    let Some(head) = scan.head(bytes, bytes_max)? else { return Ok(None) };
    let end = head.end;
    Ok(Some((end, head::check(&mut bytes[head])?)))
}

impl<S: AsyncRead + Unpin, R: Fn(StatusCode) + Unpin> AsyncRead for Checked<S, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if 0 < this.passable {
                this.pass(buf);
                return Poll::Ready(Ok(()));
            }
            if let Next::Nothing(_) = this.next {
                return this.poll_end(cx);
            }
            let read = if this.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                let read = buf.filled().len() - before;
                this.checked_in_place(buf, before);
                if before < buf.filled().len() {
                    return Poll::Ready(Ok(()));
                }
                read
            } else {
                let mut piece = [0; PIECE_BYTES];
                let mut piece = ReadBuf::new(&mut piece);
                ready!(Pin::new(&mut this.stream).poll_read(cx, &mut piece))?;
                let mut held = mem::take(&mut this.held);
                held.extend_from_slice(piece.filled());
                this.passable = this.check(&mut held);
                this.held = held;
                piece.filled().len()
            };
            if read == 0 {
                // The client has ended, maybe within a head, which is then as if it had never come.
                this.next = Next::Nothing(None);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin, R: Unpin> AsyncWrite for Checked<S, R> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.writes_wait = outcome.is_pending();
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.farewell.is_empty() {
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.farewell))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.farewell.drain(..written);
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
