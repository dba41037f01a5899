//! One connection of a caller's: HTTP/1.1 or HTTP/2 over whatever stream it came on.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Seat;
use super::pulse::{Order, Pulse};
use crate::answer::Reply;
use crate::auth::ClientCertificate;
use crate::edge::HEADER_BYTES_MAX;

/// The request line has room beside the header section; what is longer gets hyper's bare 431.
const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + 16 * 1024;
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
/// To who speaks HTTP/2 where it was not agreed on; hyper answers everything else that is no request.
const PREFACE_REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// After our last byte, what a caller still sends is read and dropped this long, so that no reset overtakes an answer.
const LINGER: Duration = Duration::from_secs(2);
/// And so much of it.
const LINGER_BYTES: u64 = 16 * 1024 * 1024;

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
    pub(super) certificate: Option<ClientCertificate>,
}

/// Serves a connection until it is done, late, or told to stop.
pub(super) async fn serve<S>(stream: S, opening: Opening, worker: Arc<Seat>, pulse: Arc<Pulse>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http2 = opening.protocol == Protocol::Http2;
    let io = Observed { io: TokioIo::new(stream), pulse: Arc::clone(&pulse), http2, answered: false };
    let requests = Requests { worker, pulse, certificate: opening.certificate };
    match opening.protocol {
        Protocol::Http1 => serve_http1(io, requests).await,
        // Boxed, so that the many connections without it do not keep its room.
        Protocol::Http2 => Box::pin(serve_http2(io, requests)).await,
    }
}

/// Boxed, so that an idle connection does not keep the room a request needs.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Reply>, Infallible>> + Send>>;

/// Where the requests of a connection come from, and who answers them.
struct Requests {
    worker: Arc<Seat>,
    pulse: Arc<Pulse>,
    certificate: Option<ClientCertificate>,
}

impl Requests {
    fn answer(&self, mut request: Request<Incoming>) -> Answering {
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        let (worker, serving) = (self.worker.load_full(), self.pulse.serving());
        Box::pin(async move {
            let answer = worker.handle(request).await;
            drop(serving);
            Ok(answer)
        })
    }
}

async fn serve_http1<S>(io: Observed<S>, requests: Requests)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Arc::clone(&requests.pulse);
    let service = service_fn(move |request| requests.answer(request));
    let mut connection = http1::Builder::new()
        .title_case_headers(true)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(io, service);
    let mut finishing = false;
    let ended = std::future::poll_fn(|cx| {
        loop {
            // What has come already is read before the order to finish is: it gets its answer.
            if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(match ended {
                    Ok(()) => Ending::Done,
                    Err(error) if error.is_parse_version_h2() => Ending::Preface,
                    Err(_) => Ending::Broken,
                });
            }
            match obey(&pulse, cx, &mut finishing) {
                Order::Serve => return Poll::Pending,
                Order::Finish => Pin::new(&mut connection).graceful_shutdown(),
                Order::Close => return Poll::Ready(Ending::Broken),
            }
        }
    });
    let ended = ended.await;
    let io = connection.into_parts().io;
    let last_words = match ended {
        Ending::Done => &[],
        // Only as the first words: later ones could land in the middle of an answer.
        Ending::Preface if !io.answered => PREFACE_REFUSED,
        Ending::Preface | Ending::Broken => return,
    };
    Box::pin(linger(io.io.into_inner(), last_words)).await;
}

/// How a connection of HTTP/1.1 ended.
enum Ending {
    /// After its last answer.
    Done,
    /// At the preface of HTTP/2 in the place of a request.
    Preface,
    /// In the middle of something.
    Broken,
}

async fn serve_http2<S>(io: Observed<S>, requests: Requests)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Arc::clone(&requests.pulse);
    let service = service_fn(move |request| requests.answer(request));
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
            match obey(&pulse, cx, &mut finishing) {
                Order::Serve => return Poll::Pending,
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::Close => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// What a connection is told now; to finish only once.
fn obey(pulse: &Pulse, cx: &Context<'_>, finishing: &mut bool) -> Order {
    match pulse.order(cx) {
        Order::Finish if std::mem::replace(finishing, true) => Order::Serve,
        order => order,
    }
}

/// Says the last words, closes our side and reads what is left of theirs: closing with unread bytes would reset the
/// connection, and the reset could reach the caller before our answer does.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, last_words: &[u8]) {
    let drain = async {
        stream.write_all(last_words).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// A stream that tells its pulse when bytes move.
struct Observed<S> {
    io: TokioIo<S>,
    pulse: Arc<Pulse>,
    http2: bool,
    /// Whether anything was written.
    answered: bool,
}

impl<S> Observed<S> {
    fn note_sent(&mut self) {
        self.answered = true;
        self.pulse.sent();
    }
}

impl<S: AsyncRead + Unpin> Read for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_read(cx, cursor));
        self.pulse.received(self.http2);
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> Write for Observed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.note_sent();
        Poll::Ready(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bytes));
        self.note_sent();
        Poll::Ready(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
