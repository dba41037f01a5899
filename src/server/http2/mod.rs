//! HTTP/2 with callers, by hyper: this module sets the limits on streams and flow control.

mod delivery;
mod fragments;
mod huffman;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use delivery::DeliveredBody;
use fragments::{Fragments, Reader};

use super::requests::{NoRequest, Requests, next_order};
use super::timeouts::{CloseOrder, ConnectionTimer};

use crate::body_reader::{Counted, MemoryLimit};
use crate::gateway::Handled;
use crate::http1::body::{BodyCut, BodySource, Gone};
use crate::http1::target::Target;
use crate::request::RequestHead;
use crate::strict::HEADER_BYTES_MAX;

/// The longest header section, the same as for HTTP/1, with room for the pseudo-header fields.
const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + 16 * 1024;
/// Bytes of an incomplete head from which on it is counted in `limits.head_memory`.
const HEAD_BYTES_FREE: usize = 4 * 1024;

/// The limits of an HTTP/2 connection. All are set here, because the defaults of h2 and hyper may change.
mod http2_limits {
    /// Concurrent requests. One more gets `REFUSED_STREAM`.
    pub(super) const STREAMS: u32 = 128;
    /// Requests that the caller cancelled before they were processed ("rapid reset"). One more gets `GOAWAY`.
    pub(super) const UNSEEN_RESETS: usize = 20;
    /// Streams that were reset because of the caller, over the life of a connection. One more gets `GOAWAY`. Correct
    /// callers cause some: requests over the limit before they have read the limit, and bodies that continue long after
    /// an early answer.
    pub(super) const FAULTS: usize = 1024;
    /// The greatest frame in bytes, the least that the protocol allows. Together with the length of a head it limits a
    /// head to 5 `CONTINUATION` frames.
    pub(super) const FRAME_BYTES: u32 = 16 * 1024;
    /// Bytes of one body that were received and not read yet. They are not counted in `limits.body_memory`. Enough for
    /// 10 MiB within the body timeout over any network path.
    pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
    /// The same for all bodies of a connection. Half of it is also the allowance for small `DATA` frames.
    pub(super) const CONNECTION_WINDOW: u32 = 512 * 1024;
    /// Bytes of an answer that wait for a caller that does not read, for each stream.
    pub(super) const SEND_BYTES: usize = 64 * 1024;
}

/// The body of an HTTP/2 request. It never reports that the caller is gone: hyper drops the future that answers the
/// request then.
struct Http2Body {
    incoming: Incoming,
    /// The rest of the last frame.
    rest: Bytes,
}

impl BodySource for Http2Body {
    fn declared(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> Poll<Result<bool, BodyCut>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None => return Poll::Ready(Ok(false)),
                // Trailers are not forwarded.
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Poll::Ready(Err(BodyCut)),
            }
        }
        buffer.extend_from_slice(&self.rest.split_to(most.min(self.rest.len())));
        Poll::Ready(Ok(true))
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<Gone> {
        Poll::Pending
    }
}

/// Serves a connection until it ends, times out or is told to close.
pub(super) async fn serve<S>(stream: S, requests: Requests)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let timer = Arc::clone(&requests.timer);
    let fragments = Arc::new(Fragments::default());
    let (reader, seen) = (Reader::new(), Arc::clone(&fragments));
    let (timer_seen, heads) = (Arc::clone(&timer), requests.heads());
    let io = ObservedStream { stream, timer: timer_seen, reader, fragments: seen, heads, room: None };
    let io = TokioIo::new(io);
    let requests = Arc::new(requests);
    let kept = Arc::clone(&requests);
    let service = service_fn(move |request: Request<Incoming>| {
        let (requests, fragments) = (Arc::clone(&requests), Arc::clone(&fragments));
        async move {
            let (parts, incoming) = request.into_parts();
            let mut head = RequestHead::from(parts);
            if let Some(sent) = fragments.sent_as(head.target.path_and_query()) {
                head.target = Target::of_parts(head.target.authority(), &sent);
            }
            let mut body = Http2Body { incoming, rest: Bytes::new() };
            let Handled { answer, in_flight, .. } =
                requests.handle(&head, &mut body).await.ok_or_else(|| h2::Error::from(h2::Reason::CANCEL))?;
            let fields = HeaderMap::from(&answer.fields);
            let body = DeliveredBody::of(answer.body, in_flight, &requests.timer, &requests.heads());
            let mut response = http::Response::new(body.ok_or(h2::Reason::ENHANCE_YOUR_CALM)?);
            *response.status_mut() = answer.status;
            *response.headers_mut() = fields;
            Ok::<_, h2::Error>(response)
        }
    });
    let header_bytes = u32::try_from(HEAD_BYTES_MAX).expect("48 KiB");
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(http2_limits::STREAMS)
        .max_pending_accept_reset_streams(http2_limits::UNSEEN_RESETS)
        .max_local_error_reset_streams(http2_limits::FAULTS)
        .max_header_list_size(header_bytes)
        .max_frame_size(http2_limits::FRAME_BYTES)
        .initial_stream_window_size(http2_limits::STREAM_WINDOW)
        .initial_connection_window_size(http2_limits::CONNECTION_WINDOW)
        .max_send_buf_size(http2_limits::SEND_BYTES)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut finishing = false;
    std::future::poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match next_order(&timer, cx, &mut finishing) {
                CloseOrder::Serve => return Poll::Pending,
                CloseOrder::Finish => connection.as_mut().graceful_shutdown(),
                CloseOrder::Close => {
                    if timer.is_in_head() {
                        kept.none(NoRequest::Late);
                    }
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
}

/// A stream that lets [`Reader`] see the bytes before the parser gets them. Received bytes alone do not count as
/// activity, only requests and answers do; the timer is told when heads begin and end.
struct ObservedStream<S> {
    stream: S,
    timer: Arc<ConnectionTimer>,
    reader: Reader,
    fragments: Arc<Fragments>,
    /// The memory limit that all long heads share, and this connection's part of it.
    heads: Arc<MemoryLimit>,
    room: Option<Counted>,
}

impl<S> ObservedStream<S> {
    /// Whether the bytes of an incomplete head have room. They are counted twice, because the parser keeps them as
    /// well.
    fn has_room(&mut self) -> bool {
        let kept = 2 * self.reader.head_bytes();
        if kept < HEAD_BYTES_FREE {
            self.room = None;
        } else if self.room.as_ref().is_none_or(|room| room.bytes() < kept) {
            self.room = MemoryLimit::count(&self.heads, 2 * kept);
            return self.room.is_some();
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        let Self { reader, fragments, timer, .. } = &mut *self;
        reader.read(&buffer.filled()[before..], fragments);
        if reader.is_in_head() {
            timer.head_begins();
        } else {
            timer.head_ends();
        }
        let has_room = self.has_room();
        Poll::Ready(
            outcome.and_then(|()| if has_room { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) }),
        )
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
