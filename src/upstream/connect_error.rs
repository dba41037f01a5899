//! The error of opening a connection to the vendor.

use std::io;
use std::net::SocketAddr;

use super::proxy::ProxyError;

/// The reason why there is no connection. No byte of a request was written.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The host name has no address.
    #[error("the host name does not resolve")]
    Resolve(#[source] io::Error),
    /// No TCP connection was established.
    #[error("the connection was refused or failed")]
    Connect(#[source] io::Error),
    /// The proxy gave no tunnel.
    #[error("there is no tunnel to the vendor")]
    Proxy(#[from] ProxyError),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Tls {
        /// The other end of the handshake: the vendor, or the proxy in front of it.
        address: Option<SocketAddr>,
        /// The error of the TLS library or the socket.
        #[source]
        source: io::Error,
    },
    /// `connect_timeout`, or the call's deadline before it, expired.
    #[error("no connection in time")]
    TimedOut,
}

impl ConnectorError {
    /// The value of the `kind` label in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::Proxy(_) => "proxy",
            Self::Tls { .. } => "tls",
            Self::TimedOut => "connect-timeout",
        }
    }

    /// The address that failed, if it is a single one; otherwise the error's sources name the addresses.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tls { address, .. } => *address,
            Self::Resolve(_) | Self::Connect(_) | Self::Proxy(_) | Self::TimedOut => None,
        }
    }
}
