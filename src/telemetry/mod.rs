//! Telemetry: metrics, the access log, the audit log, the process log, spans and the last refusals.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod access;
mod access_line;
mod attempt;
pub mod audit;
mod audit_line;
mod budget_gauges;
mod gone_series;
pub mod history;
pub mod host_history;
mod json_text;
pub mod log;
pub mod log_writer;
pub mod metrics;
mod outcomes;
pub mod recent;
mod record;
pub mod spans;
pub mod sparing;
pub mod tls_metrics;
mod trace_id;
mod usage;
pub mod vendor_clock;
mod vendor_note;

use std::sync::Arc;

pub use attempt::{AttemptFailures, AttemptLabels};
pub use audit_line::AuditedCall;
pub use record::{Record, RequestOrigin};
pub use trace_id::{TraceId, TraceParent};
pub use usage::Usage;
pub use vendor_note::VendorNote;

use log_writer::Lane;
use metrics::Metrics;
use recent::RecentRefusals;
use spans::Spans;
use vendor_clock::VendorClock;

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
    /// The spans of the process, if requests are traced.
    pub spans: Option<Arc<Spans>>,
}
