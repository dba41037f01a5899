//! What operators see: metrics, the access line, the audit line, what happened lately.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod access;
mod access_line;
mod attempt;
pub mod audit;
mod audit_line;
mod budget_gauges;
pub mod log;
pub mod log_writer;
pub mod metrics;
pub mod recent;
mod record;
pub mod sparing;
pub mod tls_metrics;
mod trace_id;
pub mod vendor_clock;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

pub use attempt::{AttemptFailures, AttemptLabels};
pub use audit_line::AuditedCall;
pub use record::{Record, RequestOrigin, VendorNote};
pub use trace_id::TraceId;

use log_writer::Lane;
use metrics::{Metrics, Series};
use recent::RecentRefusals;
use vendor_clock::VendorClock;

use crate::operation::OPERATIONS;
use crate::tenant::Directory;

/// Telemetry as one worker uses it: shared metrics, its own lane of the access log.
pub struct Telemetry {
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// The process's last refusals.
    pub recent: Arc<RecentRefusals>,
    /// Which failures it told of lately.
    pub failures: Arc<AttemptFailures>,
    /// When the process compares the vendor's clock with its own.
    pub vendor_clock: Arc<VendorClock>,
    /// Where this worker's access lines go.
    pub lane: Arc<Lane>,
    /// Where its audit lines go, if there is an audit log.
    pub audit: Option<Arc<Lane>>,
}

/// Per-configuration state of telemetry: prepared series and the last use of every token.
pub struct Usage {
    /// By caller and tenant, then by operation; filled as calls come.
    series: Vec<Vec<std::sync::OnceLock<Box<[Series]>>>>,
    /// Unix time in seconds, by caller and token; zero: never. Shared with the configurations that have the token.
    last_use: Vec<Vec<Arc<AtomicU64>>>,
}

impl Usage {
    /// Room for every caller and tenant of a directory. Tokens of the one before keep their last use.
    pub fn new(directory: &Directory, previous: Option<(&Self, &Directory)>) -> Self {
        let series = || directory.tenants.iter().map(|_| std::sync::OnceLock::new()).collect();
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
        Self { series: directory.callers.iter().map(|_| series()).collect(), last_use }
    }

    fn series(&self, caller: usize, tenant: usize, operation: usize) -> &Series {
        let by_operation = self.series[caller][tenant]
            .get_or_init(|| OPERATIONS.iter().map(|_| Series::default()).collect());
        &by_operation[operation]
    }

    /// Notes that a token was good.
    pub fn token_used(&self, caller: usize, token: usize, now: SystemTime) {
        let unix_seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let last = &self.last_use[caller][token];
        // Most calls come within the second of the one before: reading alone keeps the line shared between cores.
        if last.load(Ordering::Relaxed) != unix_seconds {
            last.store(unix_seconds, Ordering::Relaxed);
        }
    }

    /// When a token was last good, in seconds since 1970.
    pub fn last_use(&self, caller: usize, token: usize) -> Option<u64> {
        Some(self.last_use[caller][token].load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }
}
