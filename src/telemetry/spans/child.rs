//! The span of a wait or an attempt.

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanContext, Status};
use opentelemetry_sdk::trace::Span;

/// A part of a request. Dropping it ends it.
pub struct ChildSpan(Span);

impl ChildSpan {
    pub(super) fn new(span: Span) -> Self {
        Self(span)
    }

    pub(super) fn context(&self) -> &SpanContext {
        self.0.span_context()
    }

    /// Ends it with the reason why it brought nothing.
    pub fn failed(mut self, kind: &'static str) {
        set_error(&mut self.0, kind.into());
    }

    /// Ends it with the vendor's answer.
    pub(in crate::telemetry) fn answered(mut self, status: u16, code: Option<u32>) {
        self.0.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if let Some(code) = code {
            self.0.set_attribute(KeyValue::new("jpush.vendor_code", i64::from(code)));
        }
        if status >= 400 {
            set_error(&mut self.0, status.to_string().into());
        }
    }
}

/// Marks a span as failed, for a reason out of few.
pub(super) fn set_error(span: &mut Span, kind: opentelemetry::StringValue) {
    span.set_attribute(KeyValue::new("error.type", kind));
    span.set_status(Status::error(""));
}
