//! Listening sockets that the service manager made and passes on, by `sd_listen_fds(3)`. They outlive the process:
//! who connects while it restarts waits in their queue.

use std::net::{SocketAddr, TcpListener as StdListener};

use listenfd::ListenFd;

use super::StartError;

/// The sockets that are not taken yet.
#[derive(Default)]
pub struct Inherited(Vec<(SocketAddr, StdListener)>);

impl Inherited {
    /// Those that were passed to this process. Changes the environment: to be called before there are threads.
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

    /// The socket on exactly this address, if there is one.
    pub fn take(&mut self, address: SocketAddr) -> Option<StdListener> {
        let place = self.0.iter().position(|(known, _)| *known == address)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Callers of a socket that nobody took would wait for ever.
    pub fn all_taken(&self) -> Result<(), StartError> {
        self.0.first().map_or(Ok(()), |(address, _)| Err(StartError::NotAsked(*address)))
    }
}
