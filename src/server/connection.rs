//! One connection of a caller's: HTTP/1.1 or HTTP/2 over whatever stream it came on.

use std::sync::Arc;
use std::task::Context;

use super::stream::CallerStream;
use super::timeouts::{CloseOrder, ConnectionTimer};
use super::{CurrentWorker, http1, http2};

use super::clients::Shown;
use crate::auth::ClientCertificate;
use crate::body_reader::{BodySource, MemoryLimit};
use crate::gateway::{Client, Handled};
use crate::request::RequestHead;

/// Which protocol a connection speaks, as ALPN settled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// What was settled before a connection's first request.
pub(super) struct Opening {
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// Who opened it, if that was shown.
    pub(super) certificate: Option<Shown>,
    /// Where it came from, with a port, if it came over a network.
    pub(super) address: Option<Arc<str>>,
}

/// Serves a connection until it is done, late, or told to stop.
pub(super) async fn serve<S>(
    stream: S,
    opening: Opening,
    worker: Arc<CurrentWorker>,
    timer: Arc<ConnectionTimer>,
) where
    S: CallerStream + 'static,
{
    let requests = Requests { worker, timer, certificate: opening.certificate, address: opening.address };
    match opening.protocol {
        Protocol::Http1 => http1::serve(stream, requests).await,
        // Boxed, so that the many connections without it do not keep its room.
        Protocol::Http2 => Box::pin(http2::serve(stream, requests)).await,
    }
}

/// Where the requests of a connection come from, and who answers them.
pub(super) struct Requests {
    worker: Arc<CurrentWorker>,
    pub(super) timer: Arc<ConnectionTimer>,
    certificate: Option<Shown>,
    address: Option<Arc<str>>,
}

impl Requests {
    /// Counts bytes that were no request.
    pub(super) fn none(&self, what: NoRequest) {
        self.worker.load().telemetry().metrics.bad_request(what.as_str());
    }

    /// The memory of all heads that are longer than most.
    pub(super) fn heads(&self) -> Arc<MemoryLimit> {
        Arc::clone(&self.worker.load().admission().heads)
    }

    /// Answers a request; `None` if its caller went away.
    pub(super) async fn answer(&self, head: &RequestHead, source: &mut dyn BodySource) -> Option<Handled> {
        let (worker, serving) = (self.worker.load_full(), self.timer.serving());
        let certificate = self.certificate.as_ref().map(|shown| {
            shown.names().unwrap_or_else(|| {
                // The next connection brings a better one.
                self.timer.finish();
                &ClientCertificate::ENDED
            })
        });
        let client = Client { address: self.address.as_ref(), certificate };
        let answer = worker.handle(head, client, source).await;
        drop(serving);
        answer
    }
}

/// Bytes on a connection that were no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// Nothing known.
    Malformed,
    /// A head over the limits.
    TooLarge,
    /// A long head, with no memory for another.
    NoRoom,
    /// A TLS handshake on a plain listener.
    Tls,
    /// The preface of HTTP/2 where it was not agreed on.
    Http2,
    /// The connection ended in the middle of a head.
    Cut,
    /// The rest of a head did not come in time.
    Late,
}

impl NoRequest {
    /// What bytes that cannot begin a request of HTTP/1.1 look like.
    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            // A record of a handshake (RFC 8446, 5.1).
            [0x16, 0x03, ..] => Self::Tls,
            // RFC 9113, 3.4.
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

/// What a connection is told now; to finish only once.
pub(super) fn obey(timer: &ConnectionTimer, cx: &Context<'_>, finishing: &mut bool) -> CloseOrder {
    match timer.order(cx) {
        CloseOrder::Finish if std::mem::replace(finishing, true) => CloseOrder::Serve,
        order => order,
    }
}
