//! Listening sockets: one for every worker, all of a listener on one address.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};

use super::StartError;
use super::tls::{Certificates, Tls};
use crate::config::Listener;

/// Connections the kernel queues for us.
const BACKLOG: i32 = 4096;

/// Sockets of one listener, one for every worker, all on one address.
pub(super) struct Bound {
    address: SocketAddr,
    pub(super) sockets: Vec<StdListener>,
    pub(super) manner: Manner,
}

/// How connections of a listener begin.
#[derive(Clone)]
pub(super) struct Manner {
    pub(super) tls: Option<Arc<Tls>>,
    /// A proxy says first whom it speaks for.
    pub(super) proxy_protocol: bool,
}

/// The listeners, bound but not yet served.
pub struct Listeners(pub(super) Vec<Bound>);

impl Listeners {
    /// Binds every listener once for each worker. The certificates are those of the same listeners.
    pub fn bind(
        listeners: &[Listener],
        certificates: Certificates,
        workers: usize,
    ) -> Result<Self, StartError> {
        let bind = |(listener, acceptor): (&Listener, Option<_>)| {
            let first = listen(listener.address)?;
            let address = first
                .local_addr()
                .map_err(|source| StartError::Listen { address: listener.address, source })?;
            // The first socket settles the port where the configuration leaves it open.
            let others = (1..workers).map(|_| listen(address));
            let sockets = std::iter::once(Ok(first)).chain(others).collect::<Result<_, _>>()?;
            let tls = acceptor.map(|acceptor| Arc::new(Tls::new(address, acceptor)));
            let manner = Manner { tls, proxy_protocol: listener.proxy_protocol };
            Ok(Bound { address, sockets, manner })
        };
        listeners.iter().zip(certificates.into_acceptors()).map(bind).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn tls(&self) -> impl Iterator<Item = Option<&Arc<Tls>>> {
        self.0.iter().map(|bound| bound.manner.tls.as_ref())
    }

    /// Addresses as bound.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().map(|bound| bound.address)
    }
}

/// A listening socket whose port other sockets of ours share.
pub fn listen(address: SocketAddr) -> Result<StdListener, StartError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(SocketProtocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source| StartError::Listen { address, source })
}
