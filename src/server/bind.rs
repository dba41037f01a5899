//! Listening sockets, and who may listen beside us.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::StartError;

/// Connections the kernel queues for us.
const BACKLOG: i32 = 4096;

/// Who may listen on our addresses beside us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// Nobody: an address that is taken stops the start.
    None,
    /// A gateway whose place we take, now or over time.
    Predecessor,
    /// A gateway that has what we need to serve. Its callers are left to it until it leaves.
    Owner,
}

/// Sockets on one address, one for each worker.
pub(super) struct Sockets {
    pub(super) address: SocketAddr,
    pub(super) listeners: Vec<StdListener>,
    pub(super) origin: SocketOrigin,
}

/// Where sockets come from, which tells how they begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketOrigin {
    /// Made here, listening.
    Own,
    /// Made here, but not listening before [`super::Doors::open`].
    Reserved,
    /// The service manager's, which goes on listening when the process has ended.
    Inherited,
}

impl Sockets {
    /// A port left open is settled by the first.
    pub(super) fn bind(
        address: SocketAddr,
        neighbours: Neighbours,
        workers: usize,
    ) -> Result<Self, StartError> {
        let (first, origin) = match listen(address, first_try(neighbours)) {
            Err(StartError::AddressInUse(_)) if neighbours == Neighbours::Owner => {
                (reserve(address).map_err(|error| fault(address, error))?, SocketOrigin::Reserved)
            }
            listening => (listening?, SocketOrigin::Own),
        };
        let settled = first.local_addr().map_err(|error| fault(address, error))?;
        let open = if origin == SocketOrigin::Reserved { reserve } else { beside };
        let others = (1..workers).map(|_| open(settled).map_err(|error| fault(settled, error)));
        let listeners = std::iter::once(Ok(first)).chain(others).collect::<Result<_, _>>()?;
        Ok(Self { address: settled, listeners, origin })
    }

    /// The service manager's socket: all workers accept from its one queue.
    pub(super) fn inherited(
        address: SocketAddr,
        socket: StdListener,
        workers: usize,
    ) -> Result<Self, StartError> {
        let others = (1..workers).map(|_| socket.try_clone()).collect::<Result<Vec<_>, _>>();
        let mut listeners = others.map_err(|error| fault(address, error))?;
        listeners.push(socket);
        Ok(Self { address, listeners, origin: SocketOrigin::Inherited })
    }
}

/// An address that the owner does not have is ours at once.
fn first_try(neighbours: Neighbours) -> Neighbours {
    match neighbours {
        Neighbours::Owner => Neighbours::None,
        other => other,
    }
}

/// One listening socket, which others of ours can share its address with.
pub fn listen(address: SocketAddr, neighbours: Neighbours) -> Result<StdListener, StartError> {
    let opened = match neighbours {
        Neighbours::None => alone(address),
        Neighbours::Predecessor | Neighbours::Owner => beside(address),
    };
    opened.map_err(|error| fault(address, error))
}

fn fault(address: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse(address),
        _ => StartError::Listen { address, source },
    }
}

/// Listens first and shares after that: the kernel compares with everybody who listens by then, so that of two
/// processes that start at once one fails.
fn alone(address: SocketAddr) -> io::Result<StdListener> {
    let socket = open(address)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

fn beside(address: SocketAddr) -> io::Result<StdListener> {
    let socket = reserve(address)?;
    start_listening(&socket)?;
    Ok(socket)
}

/// Has its part of the address, and gets no connection yet.
fn reserve(address: SocketAddr) -> io::Result<StdListener> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes a reserved socket one that listens.
pub(super) fn start_listening(socket: &StdListener) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
