//! One connection of a caller: HTTP/1.1 or HTTP/2 over any stream.

use std::sync::Arc;

use super::clients::Shown;
use super::requests::Requests;
use super::timeouts::ConnectionTimer;
use super::{CurrentWorker, http1, http2};
use crate::http1::stream::CallerStream;

/// The protocol of a connection, as chosen by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The facts about a connection that are known before its first request.
pub(super) struct Opening {
    /// The protocol of the connection.
    pub(super) protocol: Protocol,
    /// The client's certificate, if it sent one.
    pub(super) certificate: Option<Shown>,
    /// The client's address with its port, if the connection came over a network.
    pub(super) address: Option<Arc<str>>,
}

/// Serves a connection until it ends, times out or is told to close.
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
