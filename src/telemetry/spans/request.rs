//! The span of a request.

use opentelemetry::trace::{Span as _, SpanContext, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::child::{ChildSpan, set_error};
use crate::config::BaseUrl;
use crate::operation::{BudgetName, OperationId};
use crate::telemetry::TraceId;

/// Methods that a span names; any other is `_OTHER`, because a request must not be able to make a name.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The span of a request that is being served. One that is not sampled has ids and nothing else.
pub struct RequestSpan {
    span: Span,
    tracer: SdkTracer,
    method: &'static str,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// A budget of this name, and others that the call draws on.
    Budget(BudgetName),
    /// Another process that still owns the state file.
    StateFile,
    /// The answer of the call that this one repeats.
    FirstCall,
    /// A cid of the vendor's.
    Cid,
}

impl WaitFor {
    fn name(self) -> &'static str {
        match self {
            Self::Budget(_) => "wait for budget",
            Self::StateFile => "wait for state file",
            Self::FirstCall => "wait for first call",
            Self::Cid => "wait for cid",
        }
    }
}

/// How a request ended, for its span.
pub struct Outcome<'o> {
    /// Its operation, if it is known.
    pub operation: Option<OperationId>,
    /// The status of its answer; `None` if its caller got none.
    pub status: Option<u16>,
    /// The reason of a refusal of the gateway's.
    pub reason: Option<&'static str>,
    /// Names of the configuration and the request's id, by the attributes that have them.
    pub names: [(&'static str, Option<&'o str>); 3],
}

impl RequestSpan {
    pub(super) fn start(tracer: SdkTracer, method: &str, parent: &Context) -> Self {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER");
        let builder = tracer.span_builder(name(method, None)).with_kind(SpanKind::Server);
        let span = tracer.build_with_context(builder, parent);
        Self { span, tracer, method }
    }

    /// The trace it belongs to.
    pub fn trace_id(&self) -> TraceId {
        TraceId::from_bytes(self.span.span_context().trace_id().to_bytes())
    }

    /// The `traceparent` of a call to the vendor: of the attempt, or of the request where attempts have no span.
    pub fn traceparent(&self, attempt: Option<&ChildSpan>) -> [u8; 55] {
        let own = self.span.span_context();
        let context: &SpanContext = attempt.map_or(own, ChildSpan::context);
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
        let text = format!("00-{trace}-{span}-{flags:02x}");
        text.as_bytes().try_into().expect("ids have a fixed length")
    }

    /// The `tracestate` of a call to the vendor: the caller's, or empty.
    pub fn tracestate(&self) -> String {
        self.span.span_context().trace_state().header()
    }

    /// Opens the span of a wait, if the request is sampled.
    pub fn wait(&self, wait: WaitFor) -> Option<ChildSpan> {
        self.child(wait.name(), SpanKind::Internal, || match wait {
            WaitFor::Budget(budget) => vec![KeyValue::new("jpush.budget", budget.as_str())],
            WaitFor::StateFile | WaitFor::FirstCall | WaitFor::Cid => Vec::new(),
        })
    }

    /// Opens the span of an attempt, if the request is sampled. `before` is the number of attempts before it.
    pub fn attempt(&self, operation: OperationId, host: Option<&BaseUrl>, before: u8) -> Option<ChildSpan> {
        let method = operation.method.as_str();
        let name = if self.span.is_recording() { name(method, Some(operation.path)) } else { String::new() };
        self.child(name, SpanKind::Client, || {
            let mut attributes = vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("url.template", operation.path),
            ];
            if let Some(url) = host {
                attributes.push(KeyValue::new("server.address", url.host.clone()));
                attributes.push(KeyValue::new("server.port", i64::from(url.port)));
            }
            if before > 0 {
                attributes.push(KeyValue::new("http.request.resend_count", i64::from(before)));
            }
            attributes
        })
    }

    fn child(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: SpanKind,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Option<ChildSpan> {
        if !self.span.is_recording() {
            return None;
        }
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        let builder = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes());
        Some(ChildSpan::new(self.tracer.build_with_context(builder, &parent)))
    }

    /// Ends it.
    pub(in crate::telemetry) fn end(mut self, outcome: &Outcome<'_>) {
        let span = &mut self.span;
        if !span.is_recording() {
            return;
        }
        span.set_attribute(KeyValue::new("http.request.method", self.method));
        if let Some(operation) = outcome.operation {
            span.update_name(name(self.method, Some(operation.path)));
            span.set_attribute(KeyValue::new("http.route", operation.path));
            span.set_attribute(KeyValue::new("jpush.operation", operation.name));
        }
        for (key, value) in outcome.names {
            if let Some(value) = value {
                span.set_attribute(KeyValue::new(key, value.to_owned()));
            }
        }
        if let Some(reason) = outcome.reason {
            span.set_attribute(KeyValue::new("jpush.reason", reason));
        }
        match (outcome.status, outcome.reason) {
            (None, _) => set_error(span, "caller-gone".into()),
            (Some(status @ 500..), reason) => {
                set_error(span, reason.map_or_else(|| status.to_string().into(), Into::into));
            }
            (Some(_), _) => {}
        }
        if let Some(status) = outcome.status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
    }
}

/// The name of a span: the method, and the pattern of the path if it is known (semantic conventions for HTTP spans).
fn name(method: &str, route: Option<&str>) -> String {
    let method = if method == "_OTHER" { "HTTP" } else { method };
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}
