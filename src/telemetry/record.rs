//! The record of one request. Dropping it counts and logs the request once, however the request ended.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::access_line::AccessLine;
use super::audit_line::{AuditedCall, CallOutcome, EffectLine};
use super::metrics::{Labels, NONE};
use super::recent::RefusedCall;
use super::spans::{ChildSpan, Outcome, RequestSpan};
use super::vendor_note::VendorNote;
use super::{AttemptLabels, Telemetry, TraceId, Usage};
use crate::config::BaseUrl;
use crate::delivery::Delivery;
use crate::operation::{OPERATIONS, OperationId};
use crate::refusal::Refusal;
use crate::request::RequestId;
use crate::tenant::{CredentialKind, Directory, Grant, OriginId, Principal};
use crate::upstream::AnswerCut;

/// The status of a request whose caller hung up before it got an answer.
const CALLER_GONE: u16 = 499;

/// Collects what is known about a request until it is dropped.
pub struct Record {
    telemetry: Arc<Telemetry>,
    started: Instant,
    origin: RequestOrigin,
    names: Option<Names>,
    /// The indexes of the caller and of the token it used.
    caller: Option<(usize, usize)>,
    /// The index of the tenant, the kind of credential, and the vendor's base URL.
    granted: Option<(usize, CredentialKind, OriginId)>,
    operation: Option<OperationId>,
    status: u16,
    reason: Option<&'static str>,
    /// Whether a refused call may have been delivered.
    delivery: Option<Delivery>,
    /// The body rule that a refused body broke.
    rule: Option<&'static str>,
    attempts: u8,
    vendor: Option<VendorNote>,
    /// Set only if there is an audit log.
    effect: Option<AuditedCall>,
    /// The span of the attempt under way, if the request is sampled.
    attempt_span: Option<Box<ChildSpan>>,
    bytes_in: u64,
    bytes_out: u64,
}

/// The properties of a request that are known before it is processed.
pub struct RequestOrigin {
    /// The request's id: the caller's own, or a new one.
    pub request_id: RequestId,
    /// The client's address with its port, if the connection came over a network.
    pub peer: Option<Arc<str>>,
    /// The id of the trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// Its span, if requests are traced.
    pub span: Option<Box<RequestSpan>>,
}

/// The source of the names for the indexes in a record.
struct Names {
    directory: Arc<Directory>,
    usage: Arc<Usage>,
}

impl Record {
    /// Opens the record of a request that just arrived.
    pub fn open(telemetry: Arc<Telemetry>, origin: RequestOrigin) -> Box<Self> {
        telemetry.metrics.in_flight.inc();
        Box::new(Self {
            telemetry,
            started: Instant::now(),
            origin,
            names: None,
            caller: None,
            granted: None,
            operation: None,
            status: CALLER_GONE,
            reason: None,
            delivery: None,
            rule: None,
            attempts: 0,
            vendor: None,
            effect: None,
            attempt_span: None,
            bytes_in: 0,
            bytes_out: 0,
        })
    }

    /// The id of the request, for the answer and the logs.
    pub fn request_id(&self) -> &RequestId {
        &self.origin.request_id
    }

    /// Records the caller and its token; `directory` and `usage` are kept for their names.
    pub fn identified(&mut self, directory: &Arc<Directory>, usage: &Arc<Usage>, principal: &Principal<'_>) {
        self.names = Some(Names { directory: Arc::clone(directory), usage: Arc::clone(usage) });
        self.caller = Some((principal.caller(), principal.token));
    }

    /// Records the operation that the request was matched with.
    pub fn matched(&mut self, operation: OperationId) {
        self.operation = Some(operation);
    }

    /// Records the tenant, the credential and the base URL.
    pub fn granted(&mut self, grant: &Grant) {
        self.granted = Some((grant.positions().1, grant.credential_kind(), grant.origin()));
    }

    /// Records the start of an attempt at the vendor. Returns the attempt's `traceparent`, if requests are traced.
    pub fn attempt(&mut self) -> Option<[u8; 55]> {
        let before = self.attempts;
        self.attempts = before.saturating_add(1);
        let span = self.origin.span.as_ref()?;
        let attempt = span.attempt(self.operation?, self.host(), before);
        let traceparent = span.traceparent(attempt.as_ref());
        self.attempt_span = attempt.map(Box::new);
        Some(traceparent)
    }

    /// Records that an attempt brought no answer.
    pub fn attempt_failed(&mut self, kind: &'static str) {
        if let Some(attempt) = self.attempt_span.take() {
            attempt.failed(kind);
        }
    }

    /// The span of the request, if requests are traced.
    pub fn span(&self) -> Option<&RequestSpan> {
        self.origin.span.as_deref()
    }

    /// Records the number of body bytes received.
    pub fn received(&mut self, bytes: usize) {
        self.bytes_in = bytes as u64;
    }

    /// Records the dispatch of the call; from here on it may have an effect. `effect` is called only if the audit log
    /// needs it.
    pub fn dispatched(&mut self, effect: impl FnOnce() -> AuditedCall) {
        if self.telemetry.audit.is_some() && self.operation.is_some_and(|operation| operation.has_effect()) {
            self.effect = Some(effect());
        }
    }

    /// Records an answer made by the gateway itself.
    pub fn refused(&mut self, refusal: &Refusal, status: u16, bytes: usize) {
        self.reason = Some(refusal.reason());
        self.delivery = Some(refusal.delivery());
        self.rule = refusal.rule();
        self.answered(status, bytes);
        self.telemetry.metrics.refusal(self.labels(), refusal.reason());
        if matches!(refusal, Refusal::StateFile) {
            self.telemetry.metrics.state_file_failures.inc();
        }
        let now = SystemTime::now();
        let refused = RefusedCall {
            time: humantime::format_rfc3339_millis(now).to_string(),
            request_id: self.origin.request_id.as_str().to_owned(),
            reason: refusal.reason(),
            status,
            operation: self.operation_name(),
            tenant: self.tenant().map(str::to_owned),
            caller: self.caller().map(str::to_owned),
            rule: refusal.rule(),
        };
        self.telemetry.recent.push(now, refused, || refusal.to_string());
    }

    /// Records the status and body length of the answer.
    pub fn answered(&mut self, status: u16, bytes: usize) {
        self.status = status;
        self.bytes_out = bytes as u64;
    }

    /// Adds bytes of a long answer that were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Records the vendor's answer.
    pub fn vendor(&mut self, note: VendorNote) {
        let metrics = &self.telemetry.metrics;
        metrics.vendor_answer(self.series(), self.labels(), note.status, note.code, note.took);
        if let Some(attempt) = self.attempt_span.take() {
            attempt.answered(note.status, note.code);
        }
        self.vendor = Some(note);
    }

    /// Records that the rest of a long answer did not arrive.
    pub fn was_cut(&self, cut: &AnswerCut) {
        let (Some(operation), Some((_, credential, _))) = (self.operation, self.granted) else { return };
        let host = self.host().map(BaseUrl::authority).unwrap_or_default();
        self.telemetry.metrics.vendor_failure(operation, cut.kind());
        if let (Some(names), Some((.., origin))) = (&self.names, self.granted) {
            names.usage.host(origin).was_cut(SystemTime::now(), cut);
        }
        let attempt = AttemptLabels {
            request_id: self.origin.request_id.as_str(),
            operation,
            tenant: self.tenant().unwrap_or_default(),
            credential,
            host: &host,
            address: None,
            number: self.attempts,
        };
        attempt.failed(cut.kind(), cut, &self.telemetry.failures);
    }

    fn labels(&self) -> Labels<'_> {
        Labels {
            operation: self.operation,
            tenant: self.tenant().unwrap_or(NONE),
            caller: self.caller().unwrap_or(NONE),
        }
    }

    fn operation_name(&self) -> Option<&'static str> {
        self.operation.map(|operation| OPERATIONS[operation.index()].name)
    }

    fn caller(&self) -> Option<&str> {
        Some(self.names.as_ref()?.directory.callers[self.caller?.0].name.as_str())
    }

    fn token(&self) -> Option<&str> {
        let (caller, token) = self.caller?;
        Some(self.names.as_ref()?.directory.callers[caller].token_names()[token].as_str())
    }

    fn tenant(&self) -> Option<&str> {
        Some(self.names.as_ref()?.directory.tenants[self.granted?.0].name.as_str())
    }

    fn series(&self) -> Option<&super::metrics::Series> {
        let Names { directory, usage } = self.names.as_ref()?;
        usage.series(directory, (self.caller?.0, self.granted?.0), self.operation?)
    }

    fn line(&self, now: Duration, took: Duration) -> AccessLine<'_> {
        AccessLine {
            time: now,
            request_id: self.origin.request_id.as_str(),
            caller: self.caller(),
            tenant: self.tenant(),
            operation: self.operation_name(),
            status: self.status,
            reason: self.reason,
            vendor: self.vendor.as_ref(),
            took,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            peer: self.origin.peer.as_deref(),
            token: self.token(),
            rule: self.rule,
            attempts: self.attempts,
            host: self.host(),
            trace_id: self.origin.trace_id.as_ref().map(TraceId::as_str),
        }
    }

    fn host(&self) -> Option<&BaseUrl> {
        self.names.as_ref()?.directory.origins.get(self.granted?.2.0)
    }
}

impl Record {
    fn audit(&self, now: Duration, took: Duration) {
        let (Some(effect), Some(log)) = (&self.effect, &self.telemetry.audit) else { return };
        let Some(outcome) = CallOutcome::of(self.vendor.as_ref(), self.delivery) else { return };
        let line = EffectLine {
            time: now,
            request_id: self.origin.request_id.as_str(),
            caller: self.caller(),
            token: self.token(),
            tenant: self.tenant(),
            operation: self.operation_name().unwrap_or_default(),
            effect,
            outcome,
            vendor: self.vendor.as_ref(),
            took,
        };
        log.write(|buffer| line.write(buffer));
    }

    /// Ends the spans of the request.
    fn end_spans(&mut self) {
        let Some(span) = self.origin.span.take() else { return };
        self.attempt_span = None;
        span.end(&Outcome {
            operation: self.operation,
            status: Some(self.status).filter(|status| *status != CALLER_GONE),
            reason: self.reason,
            names: [
                ("jpush.tenant", self.tenant()),
                ("jpush.caller", self.caller()),
                ("jpush.request_id", Some(self.origin.request_id.as_str())),
            ],
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let metrics = &self.telemetry.metrics;
        metrics.request(self.series(), self.labels(), self.status, took);
        metrics.in_flight.dec();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if let (Some(names), Some((caller, token))) = (&self.names, self.caller) {
            names.usage.token_used(caller, token, now.as_secs());
        }
        metrics.history.add(now, self.status);
        self.telemetry.lane.write(|buffer| self.line(now, took).write(buffer));
        self.audit(now, took);
        self.end_spans();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::telemetry::log_writer::{LineLog, Sink};
    use crate::telemetry::metrics::log_lost;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Sink for Lines {
        fn write(&mut self, lines: &mut Vec<u8>) {
            self.0.lock().expect("no panic").append(lines);
        }

        fn lost(&mut self, _lines: u64) {}
    }

    fn outcomes(end: impl FnOnce(Box<Record>)) -> Vec<serde_json::Value> {
        let (access, audit) = (Lines::default(), Lines::default());
        let logs = [("access", &access), ("audit", &audit)]
            .map(|(name, lines)| LineLog::start(name, 1, lines.clone(), log_lost()).expect("a thread"));
        let telemetry = Telemetry {
            metrics: Arc::default(),
            recent: Arc::default(),
            failures: Arc::default(),
            vendor_clock: Arc::default(),
            lane: logs[0].lane(0),
            audit: Some(logs[1].lane(0)),
            spans: None,
        };
        let request_id = RequestId::parse("id").expect("an id");
        let origin = RequestOrigin { request_id, peer: None, trace_id: None, span: None };
        end(Record::open(Arc::new(telemetry), origin));
        drop(logs);
        let lines = audit.0.lock().expect("no panic");
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice::<serde_json::Value>(line).expect("JSON")["outcome"].clone())
            .collect()
    }

    #[test]
    fn a_call_that_ends_in_a_panic_is_audited() {
        let push = OperationId::named("push").expect("an operation");
        let panicked = outcomes(|mut record| {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                record.matched(push);
                record.dispatched(AuditedCall::default);
                let _moved_in = record;
                panic!("once");
            }));
        });
        assert_eq!(panicked, ["abandoned"]);
        let never_dispatched = outcomes(|mut record| record.matched(push));
        assert!(never_dispatched.is_empty());
    }
}
