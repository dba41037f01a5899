//! Listening sockets that the service manager created and passes on (`sd_listen_fds(3)`). They outlive the process:
//! clients that connect while it restarts wait in their queues.

use std::net::{SocketAddr, TcpListener as StdListener};

use listenfd::ListenFd;

use super::StartError;

/// The inherited sockets that are not taken yet.
#[derive(Default)]
pub struct Inherited(Vec<(SocketAddr, StdListener)>);

impl Inherited {
    /// Takes the sockets that were passed to this process. Changes the environment, so it must be called before there
    /// are threads.
    pub fn from_environment() -> Result<Self, StartError> {
        let mut passed = ListenFd::from_env();
        let taken = (0..passed.len()).filter_map(|place| passed.take_tcp_listener(place).transpose());
        let known = taken.map(|taken| {
            let listener = taken?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        known.collect::<Result<_, _>>().map(Self).map_err(StartError::Inherited)
    }

    /// Takes the socket on exactly this address, if there is one.
    pub fn take(&mut self, address: SocketAddr) -> Option<StdListener> {
        let place = self.0.iter().position(|(known, _)| *known == address)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Checks that every socket was taken: callers of an unused one would wait forever.
    pub fn all_taken(&self) -> Result<(), StartError> {
        self.0.first().map_or(Ok(()), |(address, _)| Err(StartError::NotAsked(*address)))
    }
}
