//! The TLS handshake of one connection, and what is told of one that fails.

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

/// How a handshake can fail: the label of its metric, and what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HandshakeFault {
    /// The client said too little for too long.
    Late,
    /// It was long, and there is no memory for another long one.
    NoRoom,
    /// It went away without a word, as a balancer's probe does.
    Closed,
    /// What came is no TLS.
    NotTls,
    /// No version, suite or protocol in common.
    Incompatible,
    /// The client told why: it does not trust our certificate, mostly.
    Alert,
    /// Its own certificate is not good.
    ClientCertificate,
    /// Something else was wrong with what it sent.
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

/// Handshakes of one listener.
pub(super) struct Handshake<'h> {
    pub(super) listener: &'h str,
    pub(super) failures: &'h HandshakeFailures,
    pub(super) limit: Duration,
}

impl Handshake<'_> {
    /// Shakes hands. `None` if that failed, which is counted and told.
    pub(super) async fn run(
        &self,
        acceptor: &TlsAcceptor,
        stream: Carrier,
        metrics: &TlsMetrics,
    ) -> Option<TlsStream<Carrier>> {
        let peer = stream.peer_addr();
        let (kind, why) = match timeout(self.limit, acceptor.accept(stream)).await {
            Ok(Ok(mut stream)) => {
                stream.get_mut().0.shaken();
                return Some(stream);
            }
            Ok(Err(error)) => (HandshakeFault::of(&error), error),
            Err(_) => (HandshakeFault::Late, io::ErrorKind::TimedOut.into()),
        };
        metrics.handshake_failed(self.listener, kind.as_str());
        if let Some(suppressed) = self.failures.admit(kind, Instant::now()) {
            self.tell(kind, &why, peer, suppressed);
        }
        None
    }

    fn tell(&self, kind: HandshakeFault, why: &io::Error, peer: Option<SocketAddr>, suppressed: u64) {
        let (listener, kind_word) = (self.listener, kind.as_str());
        let peer = peer.map(|peer| peer.ip().to_string());
        // Probes of balancers come for ever and mean nothing.
        if kind == HandshakeFault::Closed {
            tracing::debug!(listener, kind = kind_word, peer, error = %why, suppressed, "a TLS handshake failed");
        } else {
            tracing::warn!(listener, kind = kind_word, peer, error = %why, suppressed, "a TLS handshake failed");
        }
    }
}

/// Knows when failures of each kind were last told of.
pub(super) type HandshakeFailures = Sparing<HandshakeFault>;
