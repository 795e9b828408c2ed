//! The bytes of a connection, whose coming is noted.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use rustix::io::ioctl_fionread;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::progress::Progress;
use crate::http::lingering::{Lingering, Unread};

/// A client's connection.
pub struct ClientIo {
    stream: Lingering<TcpStream>,
    progress: Rc<Progress>,
}

impl ClientIo {
    /// Tells `progress` and `unread` when bytes arrive.
    pub fn new(stream: TcpStream, progress: Rc<Progress>, unread: Unread) -> Self {
        Self { stream: Lingering::new(stream, unread), progress }
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
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
