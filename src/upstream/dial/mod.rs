//! TCP to a host of which some addresses may be silent: Happy Eyeballs (RFC 8305).
//!
//! hyper-util's connector races the two families against each other but tries the addresses of one family after one
//! another, each for its share of the time to connect: with one silent IPv4 address of two, every other connection
//! would take half of that.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::connect::ConnectorError;
use crate::config::BaseUrl;
use crate::lock::lock;

/// From one attempt to the next while nothing happens (RFC 8305, 5). Less where `connect_timeout` would be over before
/// every address had its turn.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of a name that are looked at, of each family and together.
const ADDRESSES_MAX: usize = 16;
/// How long an address that did not do is tried after the others (RFC 6555, 4.2).
const AVOIDED_FOR: Duration = Duration::from_mins(10);

/// Opens a TCP connection within about `timeout`, which the caller keeps. The address is on trial until all that
/// belongs to a connection went well on it.
pub(super) async fn dial<'m>(
    url: &BaseUrl,
    memory: &'m FailedAddresses,
    timeout: Duration,
) -> Result<(TcpStream, Trial<'m>), ConnectorError> {
    let found =
        tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(ConnectorError::Resolve)?;
    let addresses = memory.sort(in_turns(found), Instant::now());
    let delay = delay_for(timeout, addresses.len());
    let winner = race(&addresses, delay, TcpStream::connect).await.map_err(ConnectorError::Connect)?;
    let trial = Trial { memory, address: winner.address, is_good: false };
    for address in winner.passed {
        memory.avoid(address, Instant::now());
    }
    winner.stream.set_nodelay(true).map_err(ConnectorError::Connect)?;
    Ok((winner.stream, trial))
}

/// Each address once, the families in turns, beginning with the resolver's first choice (RFC 8305, 4).
fn in_turns(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut families = [Vec::new(), Vec::new()];
    let mut first_choice = None;
    for address in found {
        let family = usize::from(address.is_ipv6());
        first_choice.get_or_insert(family);
        if families[family].len() < ADDRESSES_MAX && !families[family].contains(&address) {
            families[family].push(address);
        }
    }
    families.rotate_left(first_choice.unwrap_or(0));
    let turns = (0..ADDRESSES_MAX).flat_map(|turn| families.each_ref().map(|family| family.get(turn)));
    turns.flatten().copied().take(ADDRESSES_MAX).collect()
}

/// From one attempt to the next, so that the last address has some time left too.
fn delay_for(timeout: Duration, addresses: usize) -> Duration {
    ATTEMPT_DELAY.min(timeout / u32::try_from(addresses + 1).unwrap_or(u32::MAX))
}

/// The first connection that stood.
struct FirstConnected<T> {
    stream: T,
    address: SocketAddr,
    /// Those that were tried before it and did not do, or not in time.
    passed: Vec<SocketAddr>,
}

/// Tries one address after the other without giving the ones before up: the next begins when one failed, or when
/// nothing happened for `delay`. What did not win is dropped.
async fn race<T, F>(
    addresses: &[SocketAddr],
    delay: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<FirstConnected<T>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut failures = Vec::new();
    let mut attempts = FuturesUnordered::new();
    let mut begun = 0;
    loop {
        if let Some(&address) = addresses.get(begun) {
            let attempt = connect(address);
            attempts.push(async move { (address, attempt.await) });
            begun += 1;
        } else if attempts.is_empty() {
            return Err(UnreachableAddresses::error(failures));
        }
        let patience = async {
            match addresses.get(begun) {
                Some(_) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Attempts first: one that stands is never left for a new one.
            biased;
            Some((address, outcome)) = attempts.next() => match outcome {
                Ok(stream) => {
                    let passed = addresses.iter().copied().take_while(|passed| *passed != address).collect();
                    return Ok(FirstConnected { stream, address, passed });
                }
                Err(error) => failures.push((address, error)),
            },
            () = patience => {}
        }
    }
}

/// Every address that was tried, and what became of it.
#[derive(Debug)]
struct UnreachableAddresses(Vec<(SocketAddr, io::Error)>);

impl UnreachableAddresses {
    /// An error of the kind of the first one.
    fn error(failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
        let kind = failures.first().map_or(io::ErrorKind::NotFound, |(_, error)| error.kind());
        io::Error::new(kind, Self(failures))
    }
}

impl fmt::Display for UnreachableAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the name has no address");
        }
        for (number, (address, error)) in self.0.iter().enumerate() {
            let separator = if number > 0 { "; " } else { "" };
            write!(f, "{separator}{address}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnreachableAddresses {}

/// The addresses of a host that did not do lately. They are not given up, only tried last.
#[derive(Default)]
pub(super) struct FailedAddresses(Mutex<Vec<(SocketAddr, Instant)>>);

impl FailedAddresses {
    /// Those that did not do after the others, the latest of them last.
    fn sort(&self, mut addresses: Vec<SocketAddr>, now: Instant) -> Vec<SocketAddr> {
        let mut avoided = self.lock();
        avoided.retain(|(_, since)| now.saturating_duration_since(*since) < AVOIDED_FOR);
        let since = |address: &SocketAddr| {
            avoided.iter().find(|(known, _)| known == address).map(|(_, since)| *since)
        };
        addresses.sort_by_key(since);
        addresses
    }

    fn avoid(&self, address: SocketAddr, now: Instant) {
        let mut avoided = self.lock();
        avoided.retain(|(known, _)| *known != address);
        // A name that leads to ever new addresses fills no memory.
        if avoided.len() == ADDRESSES_MAX {
            avoided.remove(0);
        }
        avoided.push((address, now));
    }

    fn forgive(&self, address: SocketAddr) {
        self.lock().retain(|(known, _)| *known != address);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(SocketAddr, Instant)>> {
        lock(&self.0)
    }
}

/// A connection that is not ready yet. Dropped before it is, it speaks against its address: a proxy or a vendor may
/// accept connections and never say a word, or show another's certificate.
#[must_use]
pub(super) struct Trial<'m> {
    memory: &'m FailedAddresses,
    address: SocketAddr,
    is_good: bool,
}

impl Trial<'_> {
    /// The connection can be used.
    pub(super) fn passed(mut self) {
        self.is_good = true;
        self.memory.forgive(self.address);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.is_good {
            self.memory.avoid(self.address, Instant::now());
        }
    }
}
