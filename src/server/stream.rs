//! Streams to callers, and how they are closed.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A stream to a caller.
pub trait CallerStream: AsyncRead + AsyncWrite + Unpin + Send {
    /// How it is closed from now on when it is dropped.
    fn close_by(&self, closing: Closing);

    /// Whether a reset came, also one behind an end, which reading does not tell.
    fn was_reset(&self) -> bool;
}

/// What a caller sees of the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// An end, behind all that was written.
    Orderly,
    /// A reset.
    ByReset,
}

impl CallerStream for TcpStream {
    fn close_by(&self, closing: Closing) {
        let linger = (closing == Closing::ByReset).then_some(Duration::ZERO);
        if let Err(error) = SockRef::from(self).set_linger(linger) {
            tracing::debug!(%error, "how a connection is closed could not be set");
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

/// In memory, for tests and fuzzers: there is no reset to be seen.
impl CallerStream for DuplexStream {
    fn close_by(&self, _: Closing) {}

    fn was_reset(&self) -> bool {
        false
    }
}
