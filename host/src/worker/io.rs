//! The bytes of a connection: their coming is noted, and what hyper refuses by itself gets a body.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    str,
    task::{Context, Poll, ready},
};

use axum::http::StatusCode;
use rustix::io::ioctl_fionread;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::progress::Progress;
use crate::http::{
    lingering::{Lingering, Unread},
    problem::Problem,
};

/// A client's connection.
pub struct ClientIo {
    stream: Lingering<TcpStream>,
    progress: Rc<Progress>,
    /// What is to be written before anything else.
    pending: Vec<u8>,
}

impl ClientIo {
    /// Tells `progress` and `unread` when bytes arrive.
    pub fn new(stream: TcpStream, progress: Rc<Progress>, unread: Unread) -> Self {
        Self { stream: Lingering::new(stream, unread), progress, pending: Vec::new() }
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))?;
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        self.progress.reads(|| {
            // Where that can't be asked the connection is broken.
            ioctl_fionread(self.stream.get_ref()).map_or(0, |bytes| bytes as usize)
        });
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        match buf.filled().len() - before {
            0 if outcome.is_pending() => self.progress.awaits_bytes(),
            0 => {}
            bytes => self.progress.received(bytes),
        }
        outcome
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        if let Some(status) = refused_without_body(bytes) {
            self.pending = Problem::unreadable(status).to_message();
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The status of an answer that hyper gave to a head it could not read: a client error without a
/// body, where every answer of ours has one.
fn refused_without_body(bytes: &[u8]) -> Option<StatusCode> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?.first_chunk::<2>()?;
    let head = str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let empty = head.split("\r\n").any(|line| line.eq_ignore_ascii_case("content-length: 0"));
    let status = str::from_utf8(status).ok()?.parse::<u16>().ok()?;
    empty.then(|| StatusCode::from_u16(400 + status).ok()).flatten()
}
