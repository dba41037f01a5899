//! Telemetry: metrics, the access log, the audit log, the process log and the last refusals.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod access;
mod access_line;
mod attempt;
pub mod audit;
mod audit_line;
mod budget_gauges;
mod json_text;
pub mod log;
pub mod log_writer;
pub mod metrics;
pub mod recent;
mod record;
pub mod sparing;
pub mod tls_metrics;
mod trace_id;
pub mod vendor_clock;
mod vendor_note;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

pub use attempt::{AttemptFailures, AttemptLabels};
pub use audit_line::AuditedCall;
pub use record::{Record, RequestOrigin};
pub use trace_id::TraceId;
pub use vendor_note::VendorNote;

use log_writer::Lane;
use metrics::{Metrics, Series};
use recent::RecentRefusals;
use vendor_clock::VendorClock;

use crate::operation::OPERATIONS;
use crate::tenant::Directory;

/// Telemetry of one worker: the shared metrics, and its own lanes of the logs.
pub struct Telemetry {
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// The last refusals of the process.
    pub recent: Arc<RecentRefusals>,
    /// Limits the log lines about failed attempts.
    pub failures: Arc<AttemptFailures>,
    /// Schedules the comparisons of the vendor's clock with ours.
    pub vendor_clock: Arc<VendorClock>,
    /// The worker's lane of the access log.
    pub lane: Arc<Lane>,
    /// The worker's lane of the audit log, if there is one.
    pub audit: Option<Arc<Lane>>,
}

/// The telemetry state of one configuration: cached metric series and the last use of every token.
pub struct Usage {
    /// By caller and tenant, then by operation; filled on first use.
    series: Vec<Vec<std::sync::OnceLock<Box<[Series]>>>>,
    /// Unix time in seconds by caller and token; zero: never. Shared with other configurations that have the same
    /// token.
    last_use: Vec<Vec<Arc<AtomicU64>>>,
}

impl Usage {
    /// Creates the state for every caller and tenant of a directory. Tokens that were in the previous configuration
    /// keep their last use.
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

    /// Records that a token was accepted.
    pub fn token_used(&self, caller: usize, token: usize, now: SystemTime) {
        let unix_seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
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
