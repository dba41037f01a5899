//! The metrics of the contract, in the `prometheus` crate's registry.
//!
//! Labels come from the configuration and the operation table only; a request cannot create a series.

use std::sync::OnceLock;
use std::time::Duration;

#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::budget_gauges::BudgetGauges;
use super::gone_series::Known;
use super::history::History;
pub use super::outcomes::{ReplayedBy, RuleOutcome};
use super::tls_metrics::TlsMetrics;
use crate::body::Rule;
use crate::operation::{BudgetName, OPERATIONS, OperationId};
use crate::tenant::Directory;
use crate::upstream::CircuitState;

/// The label value for something that is unknown because the request failed before it was determined.
pub const NONE: &str = "none";

/// Histogram buckets in seconds, from one millisecond to the deadline.
const BUCKETS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The codes that the vendor documents (`docs/vendor.md`, V54); any other is labelled `other`.
const CODES: [u32; 62] = [
    0, 10, 51, 1000, 1001, 1002, 1003, 1004, 1005, 1008, 1009, 1011, 1012, 1020, 1030, 1100, 1101, 1102,
    1103, 1104, 1105, 1112, 2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008, 3001, 3004, 3005, 4001, 4002,
    4003, 4004, 4005, 4006, 4007, 7000, 7001, 7002, 7004, 7008, 7013, 7015, 7030, 8000, 8100, 8101, 8104,
    8200, 8203, 8400, 8404, 21001, 21003, 23001, 23002, 23100, 27000,
];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: Vec<Histogram>,
    vendor_seconds: Vec<Histogram>,
    refusals: IntCounterVec,
    vendor_answers: IntCounterVec,
    vendor_failures: IntCounterVec,
    retries: IntCounterVec,
    replays: IntCounterVec,
    pushes_without_cid: IntCounterVec,
    vendor_circuit_open: IntGaugeVec,
    budgets: BudgetGauges,
    budget_wait_seconds: Vec<Histogram>,
    store_up: IntGaugeVec,
    reloads: IntCounterVec,
    last_reload_success: IntGauge,
    /// Metrics of the listeners with TLS.
    pub tls: TlsMetrics,
    /// Requests that are being served.
    pub in_flight: IntGauge,
    /// Open connections of callers.
    pub connections: IntGauge,
    /// Bytes of request bodies held in memory.
    pub body_memory: IntGauge,
    /// Bytes of unfinished request heads, and of answers that callers do not read.
    pub head_memory: IntGauge,
    /// Audit lines that were lost.
    pub audit_lost: IntCounter,
    /// Lines of the other logs that were lost.
    pub log_lost: IntCounter,
    /// Spans that the collector did not get.
    pub spans_lost: IntCounter,
    /// Calls that were refused because the state file could not be written.
    pub state_file_failures: IntCounter,
    /// Bodies that broke a rule, both refused ones, each of which saved a call, and those passed by a rule in `report`
    /// mode.
    calls_saved: IntCounterVec,
    bad_requests: IntCounterVec,
    /// The last hour by minutes, for the page of the admin listener.
    pub history: History,
}

/// Cached handles of a call's most common outcome, which avoid the lookup by labels.
#[derive(Default)]
pub struct Series(OnceLock<SeriesHandles>);

struct SeriesHandles {
    requests_200: IntCounter,
    vendor_200: IntCounter,
}

impl Metrics {
    /// Registers all metrics, with a counter of lost lines that no log shares.
    pub fn new() -> Self {
        Self::with_log(log_lost())
    }

    /// Registers all metrics, with the counter of lost lines that the process log and others share. The `expect`s are
    /// about the names and labels written here.
    #[expect(clippy::too_many_lines, reason = "a list: one metric after the other")]
    pub fn with_log(log_lost: IntCounter) -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(format!("jpush_gateway_{name}"), help), labels)
                .expect("a valid metric");
            registry.register(Box::new(vec.clone())).expect("registered once");
            vec
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(format!("jpush_gateway_{name}"), help), labels)
                .expect("a valid metric");
            registry.register(Box::new(vec.clone())).expect("registered once");
            vec
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("jpush_gateway_{name}"), help).expect("a valid metric");
            registry.register(Box::new(gauge.clone())).expect("registered once");
            gauge
        };
        let total = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("jpush_gateway_{name}"), help).expect("a valid metric");
            registry.register(Box::new(counter.clone())).expect("registered once");
            counter
        };
        let histogram_by = |name: &str, help: &str, label: &str, values: &[&str]| {
            let opts = HistogramOpts::new(format!("jpush_gateway_{name}"), help).buckets(BUCKETS.to_vec());
            let vec = HistogramVec::new(opts, &[label]).expect("a valid metric");
            registry.register(Box::new(vec.clone())).expect("registered once");
            values.iter().map(|value| vec.with_label_values(&[value])).collect::<Vec<_>>()
        };
        let operations: Vec<&str> = OPERATIONS.iter().map(|row| row.name).chain([NONE]).collect();
        let histograms = |name: &str, help: &str| histogram_by(name, help, "operation", &operations);
        registry.register(Box::new(log_lost.clone())).expect("registered once");
        // The process metrics come from /proc, which only Linux has.
        #[cfg(target_os = "linux")]
        registry.register(Box::new(ProcessCollector::for_self())).expect("registered once");
        gauges("build_info", "Version of the running program.", &["version", "revision"])
            .with_label_values(&[
                env!("CARGO_PKG_VERSION"),
                option_env!("JPUSH_GATEWAY_REVISION").unwrap_or("unknown"),
            ])
            .set(1);
        let reloads = counter("config_reloads_total", "Loads of the configuration by result.", &["result"]);
        reloads.with_label_values(&["success"]).inc();
        reloads.with_label_values(&["failure"]);
        let last_reload_success =
            gauge("config_last_reload_success", "Whether the last load of the configuration succeeded.");
        last_reload_success.set(1);
        Self {
            requests: counter(
                "requests_total",
                "Requests by operation, tenant, caller and status.",
                &["operation", "tenant", "caller", "status"],
            ),
            request_seconds: histograms(
                "request_duration_seconds",
                "Time from a request's head to its answer.",
            ),
            vendor_seconds: histograms(
                "vendor_duration_seconds",
                "Time from dispatch to the end of the vendor's answer.",
            ),
            refusals: counter(
                "refusals_total",
                "Answers made by the gateway itself.",
                &["reason", "operation", "tenant", "caller"],
            ),
            vendor_answers: counter(
                "vendor_answers_total",
                "Answers of the vendor by status and code.",
                &["operation", "tenant", "status", "code"],
            ),
            vendor_failures: counter(
                "vendor_failures_total",
                "Attempts that ended without an answer of the vendor.",
                &["operation", "kind"],
            ),
            retries: counter("retries_total", "Second attempts at the vendor.", &["operation"]),
            pushes_without_cid: counter(
                "pushes_without_cid_total",
                "Pushes sent without the cid they should have had, because none was available.",
                &["tenant"],
            ),
            replays: counter("replays_total", "Repeated calls that were not sent.", &["operation", "by"]),
            vendor_circuit_open: gauges(
                "vendor_circuit_open",
                "Whether calls to a vendor host are refused because it cannot be reached.",
                &["host"],
            ),
            budgets: BudgetGauges::new(gauges),
            budget_wait_seconds: histogram_by(
                "budget_wait_seconds",
                "Time spent queued for a budget.",
                "budget",
                &BudgetName::ALL.map(BudgetName::as_str),
            ),
            store_up: gauges("store_up", "Whether the store of shared budgets answers.", &[]),
            reloads,
            last_reload_success,
            history: History::default(),
            tls: TlsMetrics::new(counter, gauges),
            in_flight: gauge("in_flight_requests", "Requests being served."),
            connections: gauge("connections", "Open connections of callers."),
            body_memory: gauge("body_memory_bytes", "Bytes of request bodies held in memory."),
            head_memory: gauge("head_memory_bytes", "Bytes of unfinished heads and unread answers."),
            audit_lost: total("audit_lost_total", "Audit lines that were lost."),
            spans_lost: total("spans_lost_total", "Spans that the collector did not get."),
            state_file_failures: total(
                "state_file_failures_total",
                "Calls refused because the state file could not be written.",
            ),
            log_lost,
            bad_requests: counter("bad_requests_total", "Bytes that were no valid request.", &["kind"]),
            calls_saved: counter(
                "body_refusals_total",
                "Bodies that broke a rule, by rule and outcome.",
                &["rule", "outcome"],
            ),
            registry,
        }
    }

    /// Records the end of a request.
    pub fn request(&self, series: Option<&Series>, labels: Labels<'_>, status: u16, took: Duration) {
        if let (Some(series), 200) = (series, status) {
            self.handles(series, labels).requests_200.inc();
        } else {
            let status = itoa::Buffer::new().format(status).to_owned();
            self.requests
                .with_label_values(&[labels.operation_name(), labels.tenant, labels.caller, &status])
                .inc();
        }
        self.request_seconds[labels.index()].observe(took.as_secs_f64());
    }

    /// Records an answer made by the gateway itself.
    pub fn refusal(&self, labels: Labels<'_>, reason: &str) {
        self.refusals
            .with_label_values(&[reason, labels.operation_name(), labels.tenant, labels.caller])
            .inc();
    }

    /// Records an answer of the vendor.
    #[expect(clippy::too_many_arguments, reason = "labels and values of one observation")]
    pub fn vendor_answer(
        &self,
        series: Option<&Series>,
        labels: Labels<'_>,
        status: u16,
        code: Option<u32>,
        took: Duration,
    ) {
        if let (Some(series), 200, None | Some(0)) = (series, status, code) {
            self.handles(series, labels).vendor_200.inc();
        } else {
            let code = code.unwrap_or(0);
            let code = if CODES.contains(&code) { code.to_string() } else { String::from("other") };
            let status = itoa::Buffer::new().format(status).to_owned();
            self.vendor_answers
                .with_label_values(&[labels.operation_name(), labels.tenant, &status, &code])
                .inc();
        }
        self.vendor_seconds[labels.index()].observe(took.as_secs_f64());
    }

    /// Records an attempt that ended without an answer.
    pub fn vendor_failure(&self, operation: OperationId, kind: &str) {
        self.vendor_failures.with_label_values(&[operation.name, kind]).inc();
    }

    /// Records the time that a request waited for a budget, whether it was served or not.
    pub fn budget_wait(&self, budget: BudgetName, took: Duration) {
        self.budget_wait_seconds[budget.index()].observe(took.as_secs_f64());
    }

    /// Records a second attempt.
    pub fn retry(&self, operation: OperationId) {
        self.retries.with_label_values(&[operation.name]).inc();
    }

    /// Records whether the store of shared budgets answers. Without a store the series does not exist.
    pub fn store_up(&self, up: bool) {
        self.store_up.with_label_values::<&str>(&[]).set(up.into());
    }

    /// Records a repeated call that got the first call's answer.
    pub fn replay(&self, operation: OperationId, by: ReplayedBy) {
        self.replays.with_label_values(&[operation.name, by.as_str()]).inc();
    }

    /// Records a push that was sent without the cid it should have had.
    pub fn push_without_cid(&self, tenant: &str) {
        self.pushes_without_cid.with_label_values(&[tenant]).inc();
    }

    /// Records the result of loading the configuration.
    pub fn reloaded(&self, success: Result<(), ()>) {
        let result = if success.is_ok() { "success" } else { "failure" };
        self.reloads.with_label_values(&[result]).inc();
        self.last_reload_success.set(success.is_ok().into());
    }

    /// Removes the series of tenants and callers that are not in `directory`. A request of theirs that is still being
    /// served can add one again, until the next reload.
    pub fn keep_only(&self, directory: &Directory) {
        let known = Known::of(directory, NONE);
        for counters in [&self.requests, &self.refusals, &self.vendor_answers, &self.pushes_without_cid] {
            known.keep_only_in(counters);
        }
    }

    /// Records bytes on a connection that were not a valid request.
    pub fn bad_request(&self, kind: &str) {
        self.bad_requests.with_label_values(&[kind]).inc();
    }

    /// Records a body that broke a rule.
    pub fn body_rule(&self, rule: Rule, outcome: RuleOutcome) {
        self.calls_saved.with_label_values(&[rule.as_str(), outcome.as_str()]).inc();
    }

    fn handles<'s>(&self, series: &'s Series, labels: Labels<'_>) -> &'s SeriesHandles {
        series.0.get_or_init(|| {
            let (operation, tenant) = (labels.operation_name(), labels.tenant);
            SeriesHandles {
                requests_200: self.requests.with_label_values(&[operation, tenant, labels.caller, "200"]),
                vendor_200: self.vendor_answers.with_label_values(&[operation, tenant, "200", "0"]),
            }
        })
    }

    /// Updates the circuit state of each vendor host.
    pub fn vendor_circuits(&self, hosts: impl IntoIterator<Item = (String, CircuitState)>) {
        self.vendor_circuit_open.reset();
        for (host, status) in hosts {
            let is_open = i64::from(status != CircuitState::Closed);
            // Two base URLs of the same host, with and without TLS, are counted together.
            self.vendor_circuit_open.with_label_values(&[host]).add(is_open);
        }
    }

    /// Whether the last load of the configuration failed.
    pub fn last_reload_failed(&self) -> bool {
        self.last_reload_success.get() == 0
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self, directory: &Directory, now: crate::budget::Timestamp) -> String {
        self.budgets.measure(directory, now);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory cannot fail");
        String::from_utf8(text).expect("names and labels are UTF-8")
    }
}

/// Creates the counter of lost log lines. The process log needs it before the other metrics exist.
pub fn log_lost() -> IntCounter {
    IntCounter::new("jpush_gateway_log_lost_total", "Lines of the logs that were lost.")
        .expect("a valid metric")
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The label values of one request.
#[derive(Clone, Copy)]
pub struct Labels<'l> {
    /// The operation, if it is known.
    pub operation: Option<OperationId>,
    /// The name of the tenant.
    pub tenant: &'l str,
    /// The name of the caller.
    pub caller: &'l str,
}

impl Labels<'_> {
    fn operation_name(self) -> &'static str {
        self.operation.map_or(NONE, |operation| OPERATIONS[operation.index()].name)
    }

    fn index(self) -> usize {
        self.operation.map_or(OPERATIONS.len(), OperationId::index)
    }
}
