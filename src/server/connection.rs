//! One connection of a caller's: HTTP/1.1 or HTTP/2 over whatever stream it came on.

use std::sync::Arc;
use std::task::Context;

use super::pulse::{Order, Pulse};
use super::stream::CallerStream;
use super::{Seat, http1, http2};

use super::clients::Shown;
use crate::auth::ClientCertificate;
use crate::gateway::Handled;
use crate::intake::Source;
use crate::request::Head;

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
}

/// Serves a connection until it is done, late, or told to stop.
pub(super) async fn serve<S>(stream: S, opening: Opening, worker: Arc<Seat>, pulse: Arc<Pulse>)
where
    S: CallerStream + 'static,
{
    let requests = Requests { worker, pulse, certificate: opening.certificate };
    match opening.protocol {
        Protocol::Http1 => http1::serve(stream, requests).await,
        // Boxed, so that the many connections without it do not keep its room.
        Protocol::Http2 => Box::pin(http2::serve(stream, requests)).await,
    }
}

/// Where the requests of a connection come from, and who answers them.
pub(super) struct Requests {
    worker: Arc<Seat>,
    pub(super) pulse: Arc<Pulse>,
    certificate: Option<Shown>,
}

impl Requests {
    /// Answers a request; `None` if its caller went away.
    pub(super) async fn answer(&self, head: &Head, source: &mut dyn Source) -> Option<Handled> {
        let (worker, serving) = (self.worker.load_full(), self.pulse.serving());
        let certificate = self.certificate.as_ref().map(|shown| {
            shown.names().unwrap_or_else(|| {
                // The next connection brings a better one.
                self.pulse.finish();
                &ClientCertificate::ENDED
            })
        });
        let answer = worker.handle(head, certificate, source).await;
        drop(serving);
        answer
    }
}

/// What a connection is told now; to finish only once.
pub(super) fn obey(pulse: &Pulse, cx: &Context<'_>, finishing: &mut bool) -> Order {
    match pulse.order(cx) {
        Order::Finish if std::mem::replace(finishing, true) => Order::Serve,
        order => order,
    }
}
