//! The way to the collector: OTLP over HTTP with protobuf bodies, one request for each batch.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message as _;
use tokio::runtime::{Builder, Runtime};

use super::Backlog;
use crate::causes::Causes;
use crate::config::BaseUrl;
use crate::http1::message::Message;
use crate::upstream::{Connector, PostError, TlsSetupError, post};

/// Path of an OTLP receiver for spans (OTLP 1.9, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// The longest time for one batch, with connecting.
const BATCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The reason why spans cannot be sent at all, found at the start.
#[derive(Debug, thiserror::Error)]
pub enum SpansError {
    /// TLS to the collector cannot be set up.
    #[error("tracing.otlp: connections to the collector cannot be set up")]
    Tls(#[from] TlsSetupError),
    /// The operating system refused something.
    #[error("tracing: the sender of spans cannot be set up")]
    System(#[from] io::Error),
}

/// The reason why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Unanswered(#[from] PostError),
    #[error("the collector answered with status {0}")]
    Refused(StatusCode),
}

/// Sends batches from the thread that gives them to it.
pub(super) struct Collector {
    connector: Connector,
    resource: ResourceAttributesWithSchema,
    runtime: Runtime,
    backlog: Backlog,
    /// Whether the last batch was lost. Only a change is logged.
    failing: AtomicBool,
}

impl Collector {
    pub(super) fn new(url: &BaseUrl, resource: &Resource, backlog: Backlog) -> Result<Self, SpansError> {
        Ok(Self {
            connector: Connector::new(slice::from_ref(url), None, None, BATCH_TIMEOUT)?,
            resource: resource.into(),
            runtime: Builder::new_current_thread().enable_all().build()?,
            backlog,
            failing: AtomicBool::new(false),
        })
    }

    fn send(&self, batch: Vec<SpanData>) -> Result<(), ExportError> {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let body = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let message = Message::to("POST", PATH, body.len())
            .field("Host", &self.connector.origins()[0].host)
            .field("Content-Type", &CONTENT_TYPE)
            .field("Connection", &CLOSE)
            .body(body);
        let status = self.runtime.block_on(post(&self.connector, &message, BATCH_TIMEOUT))?;
        if status.is_success() { Ok(()) } else { Err(ExportError::Refused(status)) }
    }
}

impl Debug for Collector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.send(batch);
        if let Err(error) = &outcome {
            self.backlog.lost(spans);
            if !self.failing.swap(true, Ordering::Relaxed) {
                tracing::warn!(spans, error = %Causes(error), "spans are lost: the collector did not take them");
            }
        } else if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the collector takes spans again");
        }
        self.backlog.sent(spans);
        // Told and counted already.
        Ok(())
    }
}
