//! The end of a connection whose client is still sending.
//!
//! A socket that is closed before all that has come was read resets the connection, and then the client may lose the answer
//! that says why (RFC 9112, section 9.6). So the answer is ended first, and what still comes is read and dropped.

use std::{
    cell::Cell,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a client may go on sending after the answer that ends its connection.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// How much of it is read at a time, in bytes.
const DROPPED_BYTES: usize = 16 * 1024;

/// Whether a client may still be sending what nobody will read.
#[derive(Clone, Default)]
pub struct Unread(Rc<Cell<bool>>);

impl Unread {
    /// Something came that nobody will read.
    pub fn comes(&self) {
        self.0.set(true);
    }

    /// A request, which `has_body` or not, was answered with `status`: one that was refused may still be on its way.
    pub fn answered(&self, has_body: bool, status: StatusCode) {
        self.0.set(has_body && status.is_client_error());
    }
}

/// A connection that is not reset while its client is sending.
pub struct Lingering<S> {
    stream: S,
    unread: Unread,
    /// When it has lingered long enough.
    end: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    /// Notes in `unread` when bytes come, and looks there at the end.
    pub fn new(stream: S, unread: Unread) -> Self {
        Self { stream, unread, end: None }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    fn poll_drop_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(LINGER_TIME_MAX)));
        while end.as_mut().poll(cx).is_pending() {
            let mut bytes = [MaybeUninit::uninit(); DROPPED_BYTES];
            let mut dropped = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut dropped))?;
            if dropped.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.unread.comes();
        }
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.unread.0.get() { self.poll_drop_all(cx) } else { Poll::Ready(Ok(())) }
    }
}
