//! The streams that callers come on.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::http1::stream::{CallerStream, Closing};

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
