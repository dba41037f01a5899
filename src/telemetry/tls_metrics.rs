//! Metrics of the listeners with TLS.

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec};

/// The expiry of the certificates in use, and the number of failed handshakes.
pub struct TlsMetrics {
    not_after: IntGaugeVec,
    failures: IntCounterVec,
}

impl TlsMetrics {
    /// Registers the metrics by functions that take a name, a help text and labels.
    pub(super) fn new(
        counter: impl Fn(&str, &str, &[&str]) -> IntCounterVec,
        gauges: impl Fn(&str, &str, &[&str]) -> IntGaugeVec,
    ) -> Self {
        Self {
            not_after: gauges(
                "certificate_not_after_seconds",
                "Unix time of the last second of a listener's certificate.",
                &["listener", "name"],
            ),
            failures: counter(
                "tls_handshake_failures_total",
                "TLS handshakes that failed.",
                &["listener", "kind"],
            ),
        }
    }

    /// Updates the expiry of the certificates in use, given as listener, name and last second.
    pub fn certificates<'c>(&self, in_use: impl IntoIterator<Item = (&'c str, &'c str, i64)>) {
        self.not_after.reset();
        for (listener, name, seconds) in in_use {
            let gauge = self.not_after.with_label_values(&[listener, name]);
            // Of two certificates for the same name with different kinds of keys, the one that expires first is shown.
            let known = gauge.get();
            gauge.set(if known == 0 { seconds } else { known.min(seconds) });
        }
    }

    /// The certificates in use, as listener, name and last second in Unix time.
    pub fn in_use(&self) -> Vec<(String, String, i64)> {
        let families = self.not_after.collect();
        let metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        let certificate = |metric: &prometheus::proto::Metric| {
            let label = |name: &str| {
                let found = metric.get_label().iter().find(|label| label.name() == name);
                found.map(|label| label.value().to_owned()).unwrap_or_default()
            };
            // A gauge of whole numbers, which a float holds exactly.
            #[expect(clippy::cast_possible_truncation, reason = "seconds are far below 2^53")]
            let seconds = metric.get_gauge().get_value() as i64;
            (label("listener"), label("name"), seconds)
        };
        metrics.map(certificate).collect()
    }

    /// Records a failed handshake.
    pub fn handshake_failed(&self, listener: &str, kind: &str) {
        self.failures.with_label_values(&[listener, kind]).inc();
    }
}
