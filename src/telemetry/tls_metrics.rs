//! What metrics tell of the listeners with TLS.

use prometheus::{IntCounterVec, IntGaugeVec};

/// Certificates in use, and handshakes that failed.
pub struct TlsMetrics {
    not_after: IntGaugeVec,
    failures: IntCounterVec,
}

impl TlsMetrics {
    /// Takes what registers a family of counters or gauges by name, help and labels.
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

    /// The certificates that are in use now: listener, name and last second.
    pub fn certificates<'c>(&self, in_use: impl IntoIterator<Item = (&'c str, &'c str, i64)>) {
        self.not_after.reset();
        for (listener, name, seconds) in in_use {
            let gauge = self.not_after.with_label_values(&[listener, name]);
            // Two of one name, of two kinds of keys: the one that ends first is the one to look at.
            let known = gauge.get();
            gauge.set(if known == 0 { seconds } else { known.min(seconds) });
        }
    }

    /// A handshake failed.
    pub fn handshake_failed(&self, listener: &str, kind: &str) {
        self.failures.with_label_values(&[listener, kind]).inc();
    }
}
