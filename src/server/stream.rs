//! Streams to callers and the ways to close them.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A stream to a caller.
pub trait CallerStream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Sets the way in which the stream is closed when it is dropped.
    fn close_by(&self, closing: Closing);

    /// Whether the caller reset the connection, also after its end of stream, where reading does not report it.
    fn was_reset(&self) -> bool;
}

/// The way a stream ends for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// An end of stream, after everything that was written.
    Orderly,
    /// A reset of the connection.
    ByReset,
}

impl CallerStream for TcpStream {
    fn close_by(&self, closing: Closing) {
        let linger = (closing == Closing::ByReset).then_some(Duration::ZERO);
        if let Err(error) = SockRef::from(self).set_linger(linger) {
            tracing::debug!(%error, "the way a connection closes could not be set");
        }
    }

    fn was_reset(&self) -> bool {
        matches!(self.take_error(), Ok(Some(_)))
    }
}

impl<S: CallerStream> CallerStream for TlsStream<S> {
    fn close_by(&self, closing: Closing) {
        self.get_ref().0.close_by(closing);
    }

    fn was_reset(&self) -> bool {
        self.get_ref().0.was_reset()
    }
}

/// An in-memory stream for tests and fuzzers, on which there are no resets.
impl CallerStream for DuplexStream {
    fn close_by(&self, _: Closing) {}

    fn was_reset(&self) -> bool {
        false
    }
}
