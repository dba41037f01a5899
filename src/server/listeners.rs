//! The configured listeners, from binding to serving.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use tokio::sync::watch;

use super::bind::{self, Neighbours, SocketOrigin, Sockets};
use super::inherited::Inherited;
use super::tls::{CallerTls, Certificates, Handshakes};
use super::{ShutdownStage, StartError};
use crate::config::Listener;

struct Bound {
    sockets: Sockets,
    setup: ConnectionSetup,
}

/// The way in which connections of a listener begin.
#[derive(Clone)]
pub(super) struct ConnectionSetup {
    pub(super) tls: Option<Arc<CallerTls>>,
    /// Whether a proxy sends the client's address first.
    pub(super) proxy_protocol: bool,
}

/// The listeners, bound but not served yet.
pub struct Listeners(Vec<Bound>);

impl Listeners {
    /// Binds every listener once for each worker, except those with an inherited socket. `certificates` are those of
    /// the same listeners.
    pub fn bind(
        listeners: &[Listener],
        certificates: Certificates,
        (inherited, neighbours, workers): (&mut Inherited, Neighbours, usize),
    ) -> Result<Self, StartError> {
        let bind = |(listener, acceptor): (&Listener, Option<_>)| {
            let sockets = match inherited.take(listener.address) {
                Some(socket) => Sockets::inherited(listener.address, socket, workers)?,
                None => Sockets::bind(listener.address, neighbours, workers)?,
            };
            let tls = acceptor.map(|acceptor| Arc::new(CallerTls::new(sockets.address, acceptor)));
            let setup = ConnectionSetup { tls, proxy_protocol: listener.proxy_protocol };
            Ok(Bound { sockets, setup })
        };
        listeners.iter().zip(certificates.into_acceptors()).map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// The TLS of these listeners, which are configured in the same order.
    pub fn handshakes(&self, configured: &[Listener]) -> Handshakes {
        let pairs = configured.iter().zip(&self.0);
        Handshakes::of(pairs.map(|(listener, bound)| (listener.address, bound.setup.tls.clone())))
    }

    /// The addresses, with the ports that were actually bound.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().map(|bound| bound.sockets.address)
    }

    /// The addresses on which the process does not listen before [`ReservedListeners::open`].
    pub fn reserved(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let reserved = self.0.iter().filter(|bound| bound.sockets.origin == SocketOrigin::Reserved);
        reserved.map(|bound| bound.sockets.address)
    }

    /// Whether some sockets continue to listen after the process has ended.
    pub(super) fn are_inherited(&self) -> bool {
        self.0.iter().any(|bound| bound.sockets.origin == SocketOrigin::Inherited)
    }

    /// The reserved sockets, to be opened later.
    pub(super) fn reserved_listeners(
        &self,
        stage: watch::Sender<ShutdownStage>,
    ) -> io::Result<ReservedListeners> {
        let reserved = self.0.iter().filter(|bound| bound.sockets.origin == SocketOrigin::Reserved);
        let sockets = reserved.flat_map(|bound| &bound.sockets.listeners).map(StdListener::try_clone);
        Ok(ReservedListeners {
            addresses: self.reserved().collect(),
            reserved: sockets.collect::<Result<_, _>>()?,
            stage,
        })
    }

    /// Distributes the sockets to this many workers.
    pub(super) fn into_ports(self, workers: usize) -> Vec<Vec<Port>> {
        let mut ports: Vec<Vec<Port>> = (0..workers).map(|_| Vec::new()).collect();
        for Bound { sockets: Sockets { listeners, origin, .. }, setup } in self.0 {
            for (own, socket) in ports.iter_mut().zip(listeners) {
                own.push(Port { socket, origin, setup: setup.clone() });
            }
        }
        ports
    }
}

/// The reserved addresses, on which another process still listens.
pub struct ReservedListeners {
    addresses: Vec<SocketAddr>,
    reserved: Vec<StdListener>,
    stage: watch::Sender<ShutdownStage>,
}

impl ReservedListeners {
    /// Starts to listen on the reserved addresses.
    pub fn open(self) {
        for socket in &self.reserved {
            if let Err(error) = bind::start_listening(socket) {
                tracing::error!(address = ?socket.local_addr(), %error, "a reserved address cannot be listened on");
            }
        }
        self.addresses.iter().for_each(|address| tracing::info!(%address, "listening"));
        self.stage.send_if_modified(|stage| {
            let is_unreserved_only = *stage == ShutdownStage::ServeUnreserved;
            if is_unreserved_only {
                *stage = ShutdownStage::Serve;
            }
            is_unreserved_only
        });
    }
}

/// A worker's own socket of a listener.
pub(super) struct Port {
    pub(super) socket: StdListener,
    pub(super) origin: SocketOrigin,
    pub(super) setup: ConnectionSetup,
}
