//! HTTP/2 with a caller, which is hyper's: streams, flow control and their limits.

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

use super::connection::{NoRequest, Requests, obey};
use super::timeouts::{CloseOrder, ConnectionTimer};

use crate::body_reader::{BodyCut, BodySource, Counted, Gone, MemoryLimit};
use crate::gateway::Handled;
use crate::request::RequestHead;
use crate::strict::HEADER_BYTES_MAX;
use crate::target::Target;

/// As for HTTP/1: the pseudo-fields have room beside the header section.
const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + 16 * 1024;
/// What is kept of a head that is not whole counts towards `limits.head_memory` from here on.
const HEAD_BYTES_FREE: usize = 4 * 1024;

/// What an HTTP/2 connection may ask of us; h2 and hyper say of their own defaults that these may change.
mod http2_limits {
    /// Requests at once. One more is `REFUSED_STREAM`.
    pub(super) const STREAMS: u32 = 128;
    /// Requests taken back before we came to look at them ("rapid reset"). One more is `GOAWAY`.
    pub(super) const UNSEEN_RESETS: usize = 20;
    /// Streams we had to reset for what the caller did, in the life of a connection. One more is `GOAWAY`. An honest
    /// caller causes some: requests beyond the limit before it has read the limit, bodies that go on long after an
    /// early answer.
    pub(super) const FAULTS: usize = 1024;
    /// Bytes of a frame, the least that the protocol allows. With the length of a head this also gives how many
    /// `CONTINUATION` frames a head may have: 5.
    pub(super) const FRAME_BYTES: u32 = 16 * 1024;
    /// Bytes of a body that came and nobody has read yet. They are beside `limits.body_memory`, and enough for
    /// 10 MiB in the time-out of a body over any path.
    pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
    /// The same of all bodies of a connection. Half of it is also what small `DATA` frames may cost.
    pub(super) const CONNECTION_WINDOW: u32 = 512 * 1024;
    /// Bytes of an answer that wait for a caller that does not read, for each stream.
    pub(super) const SEND_BYTES: usize = 64 * 1024;
}

/// The body of a request over HTTP/2. hyper drops what answers a caller that is gone.
struct Http2Body {
    incoming: Incoming,
    /// Of the last frame.
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

/// Serves a connection until it is done, late, or told to stop.
pub(super) async fn serve<S>(stream: S, requests: Requests)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let timer = Arc::clone(&requests.timer);
    let fragments = Arc::new(Fragments::default());
    let (reader, seen) = (Reader::new(), Arc::clone(&fragments));
    let (timer_seen, heads) = (Arc::clone(&timer), requests.heads());
    let io = Observed { stream, timer: timer_seen, reader, fragments: seen, heads, room: None };
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
                requests.answer(&head, &mut body).await.ok_or_else(|| h2::Error::from(h2::Reason::CANCEL))?;
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
            match obey(&timer, cx, &mut finishing) {
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

/// A stream whose bytes are read before the parser has them. That they move is no sign of life, as requests and their
/// answers are: its pulse hears of the heads that begin.
struct Observed<S> {
    stream: S,
    timer: Arc<ConnectionTimer>,
    reader: Reader,
    fragments: Arc<Fragments>,
    /// The memory of all long heads, and what this connection has of it.
    heads: Arc<MemoryLimit>,
    room: Option<Counted>,
}

impl<S> Observed<S> {
    /// Whether what is kept of a head has room, here and in the parser.
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

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
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
