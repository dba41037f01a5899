//! The requests of one connection, whichever protocol it speaks.

use std::sync::Arc;
use std::task::Context;

use super::CurrentWorker;
use super::clients::Shown;
use super::timeouts::{CloseOrder, ConnectionTimer};
use crate::auth::ClientCertificate;
use crate::body_reader::MemoryLimit;
use crate::gateway::{Client, Handled};
use crate::http1::body::BodySource;
use crate::request::RequestHead;

/// Handles the requests of one connection with the current worker.
pub(super) struct Requests {
    pub(super) worker: Arc<CurrentWorker>,
    pub(super) timer: Arc<ConnectionTimer>,
    pub(super) certificate: Option<Shown>,
    pub(super) address: Option<Arc<str>>,
}

impl Requests {
    /// Counts bytes that were not a valid request.
    pub(super) fn none(&self, what: NoRequest) {
        self.worker.load().telemetry().metrics.bad_request(what.as_str());
    }

    /// The memory limit that all unfinished long heads share.
    pub(super) fn heads(&self) -> Arc<MemoryLimit> {
        Arc::clone(&self.worker.load().admission().heads)
    }

    /// Answers a request; `None` if the caller went away.
    pub(super) async fn handle(&self, head: &RequestHead, source: &mut dyn BodySource) -> Option<Handled> {
        let (worker, _serving) = (self.worker.load_full(), self.timer.serving());
        let certificate = self.certificate.as_ref().map(|shown| {
            shown.names().unwrap_or_else(|| {
                // Closes the connection after this answer, so that the next one brings a valid certificate.
                self.timer.finish();
                &ClientCertificate::ENDED
            })
        });
        let client = Client { address: self.address.as_ref(), certificate };
        worker.handle(head, client, source).await
    }
}

/// The reason why bytes on a connection were not a valid request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// The bytes match none of the other reasons.
    Malformed,
    /// The head exceeds the limits.
    TooLarge,
    /// The head is long, and there is no memory for another long one.
    NoRoom,
    /// A TLS handshake on a plain listener.
    Tls,
    /// The HTTP/2 preface on a connection that speaks HTTP/1.1.
    Http2,
    /// The connection ended in the middle of a head.
    Cut,
    /// The rest of a head did not arrive in time.
    Late,
}

impl NoRequest {
    /// Classifies bytes that cannot begin an HTTP/1.1 request.
    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            // A handshake record (RFC 8446, 5.1).
            [0x16, 0x03, ..] => Self::Tls,
            // The connection preface (RFC 9113, 3.4).
            [b'P', b'R', b'I', b' ', b'*', ..] => Self::Http2,
            _ => Self::Malformed,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::NoRoom => "no-room",
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Cut => "cut",
            Self::Late => "late",
        }
    }
}

/// The current order for a connection; [`CloseOrder::Finish`] is returned only once.
pub(super) fn next_order(timer: &ConnectionTimer, cx: &Context<'_>, finishing: &mut bool) -> CloseOrder {
    match timer.order(cx) {
        CloseOrder::Finish if std::mem::replace(finishing, true) => CloseOrder::Serve,
        order => order,
    }
}
