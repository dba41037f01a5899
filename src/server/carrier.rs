//! The TCP stream below TLS, which counts the bytes of the handshake.
//!
//! rustls buffers a handshake message of up to 64 KiB until it is complete, and the client is not authenticated at that
//! point.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::body_reader::{Counted, MemoryLimit};
use crate::http1::stream::{CallerStream, Closing};

/// Bytes that every handshake may have without being counted. Usual handshakes are shorter, also with client
/// certificates.
const BYTES_FREE: usize = 8 * 1024;
/// The memory counted for a longer handshake: the longest message, and the record that it ends in.
const BYTES_MAX: usize = (64 + 16) * 1024;

/// A TCP stream below TLS.
pub(super) struct Carrier {
    stream: TcpStream,
    handshake: Option<HandshakeProgress>,
}

/// The progress of a handshake.
struct HandshakeProgress {
    bytes: usize,
    heads: Arc<MemoryLimit>,
    room: Option<Counted>,
}

impl Carrier {
    /// Wraps a stream on which a handshake starts. A long handshake is counted in `heads`.
    pub(super) fn new(stream: TcpStream, heads: &Arc<MemoryLimit>) -> Self {
        let handshake = HandshakeProgress { bytes: 0, heads: Arc::clone(heads), room: None };
        Self { stream, handshake: Some(handshake) }
    }

    /// The address of the other end, unless the connection is gone.
    pub(super) fn peer_addr(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Ends the counting: the handshake is complete.
    pub(super) fn handshake_done(&mut self) {
        self.handshake = None;
    }
}

impl HandshakeProgress {
    /// Counts further bytes of the handshake; returns whether they are within the limits.
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
        let has_room =
            self.handshake.as_mut().is_none_or(|handshake| handshake.grow(buffer.filled().len() - before));
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
