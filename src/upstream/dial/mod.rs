//! TCP connections to a host with several addresses, some of which may not answer: Happy Eyeballs (RFC 8305).
//!
//! hyper-util's connector races the two address families but tries the addresses of one family one after the other,
//! each with a share of the connect timeout. With one silent IPv4 address of two, every other connection would take
//! half of that timeout.

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

use super::connect_error::ConnectorError;
use crate::config::BaseUrl;
use crate::lock::lock;

/// Time between the starts of two attempts (RFC 8305, 5). Shorter if `connect_timeout` would otherwise end before every
/// address was tried.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The most addresses of a name that are used, of each family and in total.
const ADDRESSES_MAX: usize = 16;
/// Time for which a failed address is tried after the others (RFC 6555, 4.2).
const AVOIDED_FOR: Duration = Duration::from_mins(10);

/// Opens a TCP connection. `timeout` only determines the delays; the caller has to enforce it. The address counts as
/// failed until [`Trial::passed`] is called, after all steps of the connection succeeded.
pub(super) async fn dial<'m>(
    url: &BaseUrl,
    memory: &'m FailedAddresses,
    timeout: Duration,
) -> Result<(TcpStream, Trial<'m>), ConnectorError> {
    let found =
        tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(ConnectorError::Resolve)?;
    let addresses = memory.sort(alternate_families(found), Instant::now());
    let delay = delay_for(timeout, addresses.len());
    let winner = race(&addresses, delay, TcpStream::connect).await.map_err(ConnectorError::Connect)?;
    let trial = Trial { memory, address: winner.address, is_good: false };
    for address in winner.passed {
        memory.avoid(address, Instant::now());
    }
    winner.stream.set_nodelay(true).map_err(ConnectorError::Connect)?;
    Ok((winner.stream, trial))
}

/// The distinct addresses, alternating between the families, beginning with the family that the resolver returned first
/// (RFC 8305, 4).
fn alternate_families(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
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

/// The delay between two attempts that leaves some time for the last address.
fn delay_for(timeout: Duration, addresses: usize) -> Duration {
    ATTEMPT_DELAY.min(timeout / u32::try_from(addresses + 1).unwrap_or(u32::MAX))
}

/// The first connection that was established.
struct FirstConnected<T> {
    stream: T,
    address: SocketAddr,
    /// The addresses tried before it, which failed or were too slow.
    passed: Vec<SocketAddr>,
}

/// Tries the addresses one after the other and keeps earlier attempts running: the next one starts when one failed, or
/// after `delay`. The losing attempts are dropped.
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
        let next_start = async {
            match addresses.get(begun) {
                Some(_) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Biased towards attempts, so that an established connection is always preferred to a new attempt.
            biased;
            Some((address, outcome)) = attempts.next() => match outcome {
                Ok(stream) => {
                    let passed = addresses.iter().copied().take_while(|passed| *passed != address).collect();
                    return Ok(FirstConnected { stream, address, passed });
                }
                Err(error) => failures.push((address, error)),
            },
            () = next_start => {}
        }
    }
}

/// The addresses that were tried, and their errors.
#[derive(Debug)]
struct UnreachableAddresses(Vec<(SocketAddr, io::Error)>);

impl UnreachableAddresses {
    /// An error with the kind of the first failure.
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

/// Addresses of a host that failed recently. They are still tried, but last.
#[derive(Default)]
pub(super) struct FailedAddresses(Mutex<Vec<(SocketAddr, Instant)>>);

impl FailedAddresses {
    /// Puts failed addresses after the others, the one that failed last at the end.
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
        // Bounded, because a name can resolve to ever new addresses.
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

/// A connection whose setup is not complete. Dropping it before that marks its address as failed: a proxy or vendor may
/// accept connections and then never answer, or present a wrong certificate.
#[must_use]
pub(super) struct Trial<'m> {
    memory: &'m FailedAddresses,
    address: SocketAddr,
    is_good: bool,
}

impl Trial<'_> {
    /// Records that the connection can be used.
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
