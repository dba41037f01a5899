//! What carries TLS: a TCP stream whose bytes are counted until hands are shaken.
//!
//! rustls keeps a message of the handshake until it is whole, up to 64 KiB. Whoever sends one is a stranger still.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::stream::{CallerStream, Closing};

use crate::body_reader::{Counted, MemoryLimit};

/// Honest handshakes are shorter, also those with a client's certificates.
const BYTES_FREE: usize = 8 * 1024;
/// What longer ones may keep: the longest message, and the record that it ends in.
const BYTES_MAX: usize = (64 + 16) * 1024;

/// A TCP stream below TLS.
pub(super) struct Carrier {
    stream: TcpStream,
    handshake: Option<HandshakeResult>,
}

/// What came of a handshake.
struct HandshakeResult {
    bytes: usize,
    heads: Arc<MemoryLimit>,
    room: Option<Counted>,
}

impl Carrier {
    /// One on which a handshake begins; a long one counts towards this memory.
    pub(super) fn new(stream: TcpStream, heads: &Arc<MemoryLimit>) -> Self {
        let handshake = HandshakeResult { bytes: 0, heads: Arc::clone(heads), room: None };
        Self { stream, handshake: Some(handshake) }
    }

    /// Who is at the other end, if that is still to be told.
    pub(super) fn peer_addr(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Hands are shaken.
    pub(super) fn shaken(&mut self) {
        self.handshake = None;
    }
}

impl HandshakeResult {
    /// More bytes of it came; whether they have room.
    fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        if self.bytes > BYTES_FREE && self.room.is_none() {
            self.room = MemoryLimit::count(&self.heads, BYTES_MAX);
        }
        self.bytes <= BYTES_FREE || (self.bytes <= BYTES_MAX && self.room.is_some())
    }
}

impl CallerStream for Carrier {
    fn close_by(&self, closing: Closing) {
        self.stream.close_by(closing);
    }

    fn was_reset(&self) -> bool {
        self.stream.was_reset()
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let has_room = self.handshake.as_mut().is_none_or(|shake| shake.grow(buffer.filled().len() - before));
        Poll::Ready(if has_room { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) })
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
