//! The listeners of the configuration, from being bound to being served.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use tokio::sync::watch;

use super::bind::{self, Neighbours, SocketOrigin, Sockets};
use super::inherited::Inherited;
use super::tls::CallerTls;
use super::{Certificates, ShutdownStage, StartError};
use crate::config::Listener;

/// One listener, bound.
struct Bound {
    sockets: Sockets,
    manner: Manner,
}

/// How connections of a listener begin.
#[derive(Clone)]
pub(super) struct Manner {
    pub(super) tls: Option<Arc<CallerTls>>,
    /// A proxy says first whom it speaks for.
    pub(super) proxy_protocol: bool,
}

/// The listeners, bound but not yet served.
pub struct Listeners(Vec<Bound>);

impl Listeners {
    /// Binds every listener once for each worker, but for those whose socket was passed on to us. The certificates
    /// are those of the same listeners.
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
            let manner = Manner { tls, proxy_protocol: listener.proxy_protocol };
            Ok(Bound { sockets, manner })
        };
        listeners.iter().zip(certificates.into_acceptors()).map(bind).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn tls(&self) -> impl Iterator<Item = Option<&Arc<CallerTls>>> {
        self.0.iter().map(|bound| bound.manner.tls.as_ref())
    }

    /// Addresses as bound.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().map(|bound| bound.sockets.address)
    }

    /// Addresses on which it does not listen before [`Doors::open`].
    pub fn reserved(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let reserved = self.0.iter().filter(|bound| bound.sockets.origin == SocketOrigin::Reserved);
        reserved.map(|bound| bound.sockets.address)
    }

    /// Whether sockets of ours go on listening when we have ended.
    pub(super) fn are_inherited(&self) -> bool {
        self.0.iter().any(|bound| bound.sockets.origin == SocketOrigin::Inherited)
    }

    /// What is to be opened later.
    pub(super) fn doors(&self, stage: watch::Sender<ShutdownStage>) -> io::Result<Doors> {
        let reserved = self.0.iter().filter(|bound| bound.sockets.origin == SocketOrigin::Reserved);
        let sockets = reserved.flat_map(|bound| &bound.sockets.listeners).map(StdListener::try_clone);
        Ok(Doors {
            addresses: self.reserved().collect(),
            reserved: sockets.collect::<Result<_, _>>()?,
            stage,
        })
    }

    /// The sockets of each of so many workers.
    pub(super) fn into_ports(self, workers: usize) -> Vec<Vec<Port>> {
        let mut ports: Vec<Vec<Port>> = (0..workers).map(|_| Vec::new()).collect();
        for Bound { sockets: Sockets { listeners, origin, .. }, manner } in self.0 {
            for (own, socket) in ports.iter_mut().zip(listeners) {
                own.push(Port { socket, origin, manner: manner.clone() });
            }
        }
        ports
    }
}

/// The addresses that another process still listens on.
pub struct Doors {
    addresses: Vec<SocketAddr>,
    reserved: Vec<StdListener>,
    stage: watch::Sender<ShutdownStage>,
}

impl Doors {
    /// Takes callers on them from here on.
    pub fn open(self) {
        for socket in &self.reserved {
            if let Err(error) = bind::start_listening(socket) {
                tracing::error!(address = ?socket.local_addr(), %error, "a reserved address cannot be listened on");
            }
        }
        self.addresses.iter().for_each(|address| tracing::info!(%address, "listening"));
        self.stage.send_if_modified(|stage| {
            let stands = *stage == ShutdownStage::Stand;
            if stands {
                *stage = ShutdownStage::Serve;
            }
            stands
        });
    }
}

/// A worker's own socket of a listener.
pub(super) struct Port {
    pub(super) socket: StdListener,
    pub(super) origin: SocketOrigin,
    pub(super) manner: Manner,
}
