//! Listening sockets, and sharing addresses with other processes.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::StartError;

/// Connections that the kernel queues for each socket.
const BACKLOG: i32 = 4096;

/// The processes that may listen on our addresses as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// None: an address in use stops the start.
    None,
    /// A gateway that this process replaces, at once or gradually.
    Predecessor,
    /// A gateway that owns the state file. It keeps its callers until it leaves.
    Owner,
}

/// The sockets on one address, one for each worker.
pub(super) struct Sockets {
    pub(super) address: SocketAddr,
    pub(super) listeners: Vec<StdListener>,
    pub(super) origin: SocketOrigin,
}

/// The origin of sockets, which decides how they begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketOrigin {
    /// Created by this process and listening from the start.
    Own,
    /// Created by this process, but not listening before [`super::ReservedListeners::open`].
    Reserved,
    /// Passed on by the service manager, which keeps them listening after the process has ended.
    Inherited,
}

impl Sockets {
    /// Binds one socket for each worker. For port 0 the first socket determines the port of the others.
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

    /// Clones the service manager's socket for each worker: all of them accept from the same queue.
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

/// An address that the owner does not listen on can be used at once.
fn first_try(neighbours: Neighbours) -> Neighbours {
    match neighbours {
        Neighbours::Owner => Neighbours::None,
        other => other,
    }
}

/// Opens one listening socket. Other sockets of this process can share its address.
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

/// Listens before it allows sharing the address. The kernel compares a new listener with those that listen by then, so
/// of two processes that start together one fails.
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

/// Binds a socket that can share its address and does not listen yet.
fn reserve(address: SocketAddr) -> io::Result<StdListener> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes a reserved socket listen.
pub(super) fn start_listening(socket: &StdListener) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
