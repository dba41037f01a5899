//! Spans for an `OpenTelemetry` collector: one for each traced request, and below it one for each wait and attempt.
//!
//! Ids, sampling and batches are those of the `OpenTelemetry` SDK, and `opentelemetry-proto` gives the bytes. What is
//! deliberately absent is its exporter, which would read settings from the environment and bring an HTTP client of its
//! own: batches are posted by `collector`, from the thread of the SDK. Spans hold names of the configuration and of
//! the table of operations, and never a secret, a body or a raw path.

mod child;
mod collector;
mod request;

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue, trace};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData,
    SpanProcessor,
};
use prometheus::IntCounter;

pub use child::ChildSpan;
pub use collector::SpansError;
pub use request::{Outcome, RequestSpan, WaitFor};

use super::trace_id::TraceParent;
use crate::config::Tracing;
use collector::Collector;

/// Spans that wait to be sent, at most. One takes about 2 KiB.
const WAITING_MAX: usize = 4096;
/// Spans that are sent together, at most.
const BATCH_MAX: usize = 512;
/// The longest time for which a span waits to be sent together with others.
const LINGER: Duration = Duration::from_secs(1);
/// The longest `tracestate` that is kept, in bytes: as much as W3C Trace Context (3.3.1.5) asks for.
const STATE_BYTES_MAX: usize = 512;

/// The spans of the process on their way to the collector.
pub struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    backlog: Backlog,
}

impl Spans {
    /// Prepares the connection to the collector and starts the thread that sends. Reads trust roots if the collector is
    /// reached by TLS. `lost` counts the spans that never arrive.
    pub fn start(settings: &Tracing, lost: IntCounter) -> Result<Self, SpansError> {
        let backlog = Backlog { waiting: Arc::default(), lost };
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ]);
        let resource = resource.build();
        let collector = Collector::new(&settings.collector, &resource, backlog.clone())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(LINGER);
        let batches = BatchSpanProcessor::new(collector, batches.build());
        let ratio = Sampler::TraceIdRatioBased(f64::from(settings.sample_percent) / 100.0);
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(ratio)))
            .with_resource(resource)
            .with_span_processor(Bounded { batches, backlog: backlog.clone() })
            .build();
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Ok(Self { provider, tracer, backlog })
    }

    /// Opens the span of a request. It continues the caller's trace, if there is one.
    pub fn request(&self, method: &str, parent: Option<&TraceParent>, state: &str) -> RequestSpan {
        let parent = parent.map(|parent| remote(parent, state));
        let context = parent.map_or_else(Context::new, |parent| {
            trace::TraceContextExt::with_remote_span_context(&Context::new(), parent)
        });
        RequestSpan::start(self.tracer.clone(), method, &context)
    }

    /// Sends the remaining spans, until `until` at the latest.
    pub fn end(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        // The outcome is in the count of those that still wait.
        let _ = self.provider.shutdown_with_timeout(left);
        let spans = self.backlog.waiting.load(Ordering::Relaxed);
        if spans > 0 {
            tracing::warn!(spans, "spans are lost: the collector did not take them in time");
        }
    }
}

/// The caller's span, as the SDK names it.
fn remote(parent: &TraceParent, state: &str) -> SpanContext {
    let trace_id = trace::TraceId::from_hex(parent.trace_id.as_str()).expect("digits were read");
    let span_id = SpanId::from_hex(parent.span_id()).expect("digits were read");
    let flags = TraceFlags::default().with_sampled(parent.sampled);
    // One that is malformed or too long is left out, as W3C Trace Context (3.3) asks.
    let state = Some(state).filter(|state| state.len() <= STATE_BYTES_MAX);
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(trace_id, span_id, flags, true, state)
}

/// The spans that wait to be sent, as a number, and those that are lost.
#[derive(Clone)]
struct Backlog {
    waiting: Arc<AtomicUsize>,
    lost: IntCounter,
}

impl Backlog {
    /// Adds a span, unless too many wait.
    fn admit(&self) -> bool {
        let admitted = self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX;
        if !admitted {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.lost.inc();
        }
        admitted
    }

    fn sent(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }

    fn lost(&self, spans: usize) {
        self.lost.inc_by(spans as u64);
    }
}

/// The SDK's batches, with a count of the spans that find no room, which the SDK keeps to itself.
struct Bounded {
    batches: BatchSpanProcessor,
    backlog: Backlog,
}

impl Debug for Bounded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").finish_non_exhaustive()
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.backlog.admit() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }
}
