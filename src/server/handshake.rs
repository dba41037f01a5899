//! The TLS handshake of one connection, and the report of a failed one.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustls::Error;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::carrier::Carrier;

use crate::telemetry::sparing::Sparing;
use crate::telemetry::tls_metrics::TlsMetrics;

/// The reason why a handshake failed: a label in metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HandshakeFault {
    /// The client did not complete it in time.
    Late,
    /// It was long, and there is no memory for another long one.
    NoRoom,
    /// The client closed the connection, as the health check of a load balancer does.
    Closed,
    /// The bytes are not TLS.
    NotTls,
    /// The client and the listener have no version, cipher suite or protocol in common.
    Incompatible,
    /// The client sent an alert: most often it does not trust our certificate.
    Alert,
    /// The client's certificate is not valid.
    ClientCertificate,
    /// Something else was wrong with the client's messages.
    Other,
}

impl HandshakeFault {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "timeout",
            Self::NoRoom => "no-room",
            Self::Closed => "closed",
            Self::NotTls => "not-tls",
            Self::Incompatible => "incompatible",
            Self::Alert => "alert",
            Self::ClientCertificate => "client-certificate",
            Self::Other => "other",
        }
    }

    fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::OutOfMemory {
            return Self::NoRoom;
        }
        let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
            return Self::Closed;
        };
        match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::AlertReceived(_) => Self::Alert,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Self::ClientCertificate,
            _ => Self::Other,
        }
    }
}

/// Runs the handshakes of one listener.
pub(super) struct Handshake<'h> {
    pub(super) listener: &'h str,
    pub(super) failures: &'h HandshakeFailures,
    pub(super) limit: Duration,
}

impl Handshake<'_> {
    /// Performs the handshake; `None` if it failed, which is counted and logged.
    pub(super) async fn run(
        &self,
        acceptor: &TlsAcceptor,
        stream: Carrier,
        metrics: &TlsMetrics,
    ) -> Option<TlsStream<Carrier>> {
        let peer = stream.peer_addr();
        let (kind, error) = match timeout(self.limit, acceptor.accept(stream)).await {
            Ok(Ok(mut stream)) => {
                stream.get_mut().0.handshake_done();
                return Some(stream);
            }
            Ok(Err(error)) => (HandshakeFault::of(&error), error),
            Err(_) => (HandshakeFault::Late, io::ErrorKind::TimedOut.into()),
        };
        metrics.handshake_failed(self.listener, kind.as_str());
        if let Some(suppressed) = self.failures.admit(kind, Instant::now()) {
            self.log(kind, &error, peer, suppressed);
        }
        None
    }

    fn log(&self, kind: HandshakeFault, error: &io::Error, peer: Option<SocketAddr>, suppressed: u64) {
        let (listener, kind_word) = (self.listener, kind.as_str());
        let peer = peer.map(|peer| peer.ip().to_string());
        // Health checks of load balancers close the connection regularly, which is no fault.
        if kind == HandshakeFault::Closed {
            tracing::debug!(listener, kind = kind_word, peer, %error, suppressed, "a TLS handshake failed");
        } else {
            tracing::warn!(listener, kind = kind_word, peer, %error, suppressed, "a TLS handshake failed");
        }
    }
}

/// Limits the log lines about failed handshakes, by kind.
pub(super) type HandshakeFailures = Sparing<HandshakeFault>;
