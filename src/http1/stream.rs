//! Streams to callers, and how they are closed.

use tokio::io::{AsyncRead, AsyncWrite};

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
