//! What was used under one configuration: cached series of metrics, the last use of every token, and the calls to every
//! vendor host.
//!
//! Memory grows with the callers, and with the calls that were made; never with callers times tenants.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::host_history::HostHistory;
use super::metrics::Series;
use crate::operation::OperationId;
use crate::tenant::{Directory, OriginId};

/// The telemetry state of one configuration: cached metric series, the last use of every token, and the calls to every
/// vendor host.
pub struct Usage {
    /// By caller; a caller gets its places at its first call.
    series: Vec<OnceLock<Box<[Place]>>>,
    /// Unix time in seconds by caller and token; zero: never. Shared with other configurations that have the same
    /// token.
    last_use: Vec<Vec<Arc<AtomicU64>>>,
    /// By the position of the base URL. Shared with other configurations that have the same base URL.
    hosts: Vec<Arc<HostHistory>>,
}

/// The series of a caller for one of its own tenants: a list of the operations that it used, the first one first. It is
/// short, and nothing in it ever moves, so that it is read without a lock.
type Place = OnceLock<Box<UsedOperation>>;

struct UsedOperation {
    operation: OperationId,
    series: Series,
    next: Place,
}

impl Usage {
    /// Creates the state for every caller of a directory. Tokens that were in the previous configuration keep their last
    /// use, and base URLs their calls.
    pub fn new(directory: &Directory, previous: Option<(&Self, &Directory)>) -> Self {
        let tokens = |count: usize| (0..count).map(|_| Arc::default()).collect();
        let mut last_use: Vec<Vec<_>> =
            directory.callers.iter().map(|caller| tokens(caller.token_names().len())).collect();
        for (digest, caller, token) in directory.tokens() {
            let known = previous.and_then(|(usage, directory)| {
                let (caller, token) = directory.token_owner(digest)?;
                Some(&usage.last_use[caller][token])
            });
            if let Some(known) = known {
                last_use[caller][token] = Arc::clone(known);
            }
        }
        for (name, caller, token) in directory.certificates() {
            let known = previous.and_then(|(usage, directory)| {
                let (caller, token) = directory.certificate_named(name)?;
                Some(&usage.last_use[caller][token])
            });
            if let Some(known) = known {
                last_use[caller][token] = Arc::clone(known);
            }
        }
        let known = |url| {
            let (usage, directory) = previous?;
            let place = directory.origins.iter().position(|known| known == url)?;
            Some(Arc::clone(&usage.hosts[place]))
        };
        Self {
            series: directory.callers.iter().map(|_| OnceLock::new()).collect(),
            last_use,
            hosts: directory.origins.iter().map(|url| known(url).unwrap_or_default()).collect(),
        }
    }

    /// The calls to one of the vendor's base URLs.
    pub fn host(&self, origin: OriginId) -> &HostHistory {
        &self.hosts[origin.0]
    }

    /// The series of a caller, one of its tenants and an operation, made at its first use. `directory` is the one that
    /// the state was created for.
    pub(super) fn series(
        &self,
        directory: &Directory,
        (caller, tenant): (usize, usize),
        operation: OperationId,
    ) -> Option<&Series> {
        let caller_of = &directory.callers[caller];
        let places = self.series[caller].get_or_init(|| caller_of.tenants().map(|_| Place::new()).collect());
        let mut place = &places[caller_of.place_of(tenant)?];
        loop {
            let used = place.get_or_init(|| {
                Box::new(UsedOperation { operation, series: Series::default(), next: Place::new() })
            });
            if used.operation == operation {
                return Some(&used.series);
            }
            place = &used.next;
        }
    }

    /// Records that a token was accepted so many seconds after 1970.
    pub fn token_used(&self, caller: usize, token: usize, unix_seconds: u64) {
        let last = &self.last_use[caller][token];
        // Most calls come within the same second as the one before; reading only keeps the cache line shared between
        // cores.
        if last.load(Ordering::Relaxed) != unix_seconds {
            last.store(unix_seconds, Ordering::Relaxed);
        }
    }

    /// The time at which a token was last accepted, in seconds since 1970.
    pub fn last_use(&self, caller: usize, token: usize) -> Option<u64> {
        Some(self.last_use[caller][token].load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }
}
