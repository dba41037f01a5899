//! What the page tells of the vendor's hosts.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::active_config::ActiveConfig;
use crate::operation::Host;
use crate::telemetry::history::{Latencies, MINUTES};
use crate::telemetry::host_history::{HostCalls, HostHistory};
use crate::tenant::OriginId;
use crate::upstream::{CircuitState, UpstreamOrigin};

/// A base URL of the vendor.
#[derive(Serialize)]
pub(super) struct HostReport {
    pub(super) circuit: &'static str,
    /// The keys of `vendor` in the configuration that have this base URL.
    pub(super) serves: Vec<&'static str>,
    /// The present minute and the one before it: just after a minute began, that one alone would be empty.
    pub(super) last_minute: HostCalls,
    /// The present minute and the four before it.
    pub(super) last_five_minutes: HostCalls,
    pub(super) last_hour: HostHour,
    pub(super) last_error: Option<ErrorReport>,
    /// The certificate of the last new connection.
    pub(super) certificate: Option<CertificateEnd>,
}

/// The last hour of a host.
#[derive(Serialize)]
pub(super) struct HostHour {
    #[serde(flatten)]
    pub(super) counts: HostCalls,
    pub(super) p50_ms: Option<u32>,
    pub(super) p99_ms: Option<u32>,
}

/// The last error of a host.
#[derive(Serialize)]
pub(super) struct ErrorReport {
    pub(super) time: String,
    pub(super) cause: String,
}

/// The end of a certificate.
#[derive(Serialize)]
pub(super) struct CertificateEnd {
    pub(super) not_after: String,
    pub(super) days_left: i64,
}

impl CertificateEnd {
    /// The end at this second since 1970, as seen at `now`.
    pub(super) fn of(seconds: i64, now: SystemTime) -> Self {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Self {
            not_after: humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string(),
            days_left: seconds.saturating_sub_unsigned(now).div_euclid(24 * 3600),
        }
    }
}

/// All hosts of a configuration, by host and port.
pub(super) fn hosts(active: &ActiveConfig, now: SystemTime) -> BTreeMap<String, HostReport> {
    let origins = active.connector.origins().iter().enumerate().zip(active.connector.circuit_states());
    let report = |((place, origin), (host, circuit)): ((usize, &UpstreamOrigin), (String, CircuitState))| {
        let history = active.usage.host(OriginId(place));
        let report = HostReport {
            circuit: circuit.as_str(),
            serves: serves(active, OriginId(place)),
            last_minute: history.last_calls(now, 2),
            last_five_minutes: history.last_calls(now, 5),
            last_hour: last_hour(history, now),
            last_error: history.last_error().map(|error| ErrorReport {
                time: humantime::format_rfc3339_seconds(error.time).to_string(),
                cause: error.cause,
            }),
            certificate: origin.certificate_end_seconds().map(|seconds| CertificateEnd::of(seconds, now)),
        };
        (host, report)
    };
    origins.map(report).collect()
}

/// The times of all hosts together, minute by minute.
pub(super) fn latencies(active: &ActiveConfig, now: SystemTime) -> [Latencies; MINUTES] {
    let mut hour = [Latencies::default(); MINUTES];
    for place in 0..active.connector.origins().len() {
        let minutes = active.usage.host(OriginId(place)).latencies(now);
        hour.iter_mut().zip(minutes).for_each(|(sum, minute)| *sum += minute);
    }
    hour
}

fn last_hour(history: &HostHistory, now: SystemTime) -> HostHour {
    let mut all = Latencies::default();
    history.latencies(now).into_iter().for_each(|minute| all += minute);
    HostHour { counts: history.last_calls(now, MINUTES), p50_ms: all.part_ms(50), p99_ms: all.part_ms(99) }
}

fn serves(active: &ActiveConfig, origin: OriginId) -> Vec<&'static str> {
    let tenants = &active.directory.tenants;
    let is_used = |host: &Host| tenants.iter().any(|tenant| tenant.origin(*host) == Some(origin));
    Host::ALL.into_iter().filter(is_used).map(Host::as_str).collect()
}
