//! The trace that a request belongs to.

use crate::http1::fields::FieldValue;
use crate::outbound::TraceContext;
use crate::request::{Field, RequestHead};
use crate::telemetry::spans::{ChildSpan, RequestSpan, Spans};
use crate::telemetry::{TraceId, TraceParent};

/// The trace of a request, and its span if requests are traced. A `traceparent` that is malformed or sent twice counts
/// as none.
pub(super) fn begin(
    head: &RequestHead,
    spans: Option<&Spans>,
) -> (Option<TraceId>, Option<Box<RequestSpan>>) {
    let parent = head.one(Field::TraceParent).ok().flatten().and_then(|value| TraceParent::read(&value));
    let Some(spans) = spans else { return (parent.map(|parent| parent.trace_id), None) };
    let states: Vec<_> = head.all(Field::TraceState).filter_map(FieldValue::text).collect();
    let span = spans.request(head.method.as_str(), parent.as_ref(), &states.join(","));
    (Some(span.trace_id()), Some(Box::new(span)))
}

/// The context that a call to the vendor takes along, until an attempt puts its own in its place.
pub(super) fn context(span: &RequestSpan) -> TraceContext {
    TraceContext { parent: span.traceparent(None), state: span.tracestate() }
}

/// Ends the span of a wait, if there is one, and passes its outcome on.
pub(super) fn waited<T, E>(
    span: Option<ChildSpan>,
    outcome: Result<T, E>,
    kind: impl FnOnce(&E) -> &'static str,
) -> Result<T, E> {
    if let (Some(span), Err(error)) = (span, &outcome) {
        span.failed(kind(error));
    }
    outcome
}
