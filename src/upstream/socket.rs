//! The byte stream of a connection to the vendor: TCP, or TLS over it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::http1::client::{ServerStream, is_silent};

/// A stream with or without TLS.
pub(super) enum UpstreamStream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl UpstreamStream {
    /// The address of the other end of the TCP connection.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.socket().address
    }

    /// Makes the drop close the connection with a reset.
    pub(super) fn reset(&self) {
        let _ = self.socket().stream.set_zero_linger();
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// With TLS too, the bytes that TCP has accepted are counted. Bytes it has not accepted cannot have reached the vendor.
impl ServerStream for UpstreamStream {
    fn written(&self) -> u64 {
        self.socket().written
    }

    fn is_silent(&mut self) -> bool {
        match self {
            // A socket can be asked without a waker, which takes a third of the time. TLS may hold something back above it.
            Self::Plain(socket) => {
                let read = socket.stream.try_read(&mut [0]);
                read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => is_silent(stream.as_mut()),
        }
    }
}

/// A TCP stream that counts the bytes written to it.
pub(super) struct Socket {
    stream: TcpStream,
    address: Option<SocketAddr>,
    written: u64,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { address: stream.peer_addr().ok(), stream, written: 0 }
    }

    /// The address of the other end.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    fn count(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &outcome {
            self.written += *bytes as u64;
        }
        outcome
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(outcome)
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
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.count(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Passes a call on to the stream inside.
macro_rules! either {
    ($stream:expr, $name:ident $(, $argument:expr)*) => {
        match $stream.get_mut() {
            UpstreamStream::Plain(stream) => Pin::new(stream).$name($($argument),*),
            UpstreamStream::Tls(stream) => Pin::new(stream.as_mut()).$name($($argument),*),
        }
    };
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read, cx, buffer)
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, poll_write, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored, cx, bytes)
    }
}
