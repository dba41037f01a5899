//! Serves the simulator on a socket: HTTP/1.1, and the faults that concern the connection.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use super::answer::VendorError;
use super::{AnswerEnding, Sandbox};
use crate::operation::Envelope;

const CONNECTIONS_MAX: usize = 10_000;
const BODY_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Bytes of a body beyond its limit that are still read and dropped, so that the client reads the error instead of a
/// reset.
const DROPPED_BYTES_MAX: usize = 64 * 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_mins(2);
/// Pause after an `accept` that failed, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause between half of a cut answer and the end of its connection, so that the half is sent.
const CUT_PAUSE: Duration = Duration::from_millis(50);

impl Sandbox {
    /// Serves connections until `stop` resolves; those still open are dropped then.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let has_room = connections.len() < CONNECTIONS_MAX;
            tokio::select! {
                () = &mut stop => return,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if has_room => match accepted {
                    Ok((stream, _)) => {
                        // Otherwise Nagle's algorithm holds small answers back until the previous one is acknowledged.
                        let _ = stream.set_nodelay(true);
                        let sandbox = Arc::clone(&self);
                        connections.spawn(async move {
                            let (stream, ending) = sandbox.serve_connection(stream).await;
                            if ending == AnswerEnding::Reset {
                                let _ = stream.set_zero_linger();
                            }
                        });
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
            }
        }
    }

    /// Serves one connection, of any transport, to its end. Returns the transport, so that the caller can turn its
    /// close into a reset when [`AnswerEnding::Reset`] says that one was ordered.
    pub async fn serve_connection<I>(self: Arc<Self>, io: I) -> (I, AnswerEnding)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(move |request| {
            let sandbox = Arc::clone(&self);
            Box::pin(async move { sandbox.respond(request).await })
        });
        let mut connection = http1::Builder::new()
            .title_case_headers(true)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(io), service);
        let result = poll_fn(|context| connection.poll_without_shutdown(context)).await;
        let mut io = connection.into_parts().io.into_inner();
        let reset = result.is_err_and(|error| {
            error.source().is_some_and(|source| matches!(source.downcast_ref(), Some(ConnectionStop::Reset)))
        });
        if reset {
            return (io, AnswerEnding::Reset);
        }
        // A peer that is gone already makes no difference.
        let _ = io.shutdown().await;
        (io, AnswerEnding::Whole)
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Either<Full<Bytes>, HalfBody>>, ConnectionStop> {
        let (head, body) = request.into_parts();
        let body = timeout(BODY_TIMEOUT, collect(body)).await.map_err(|_| ConnectionStop::Broken)?;
        let Some(body) = body? else {
            return Ok(too_large().map(|body| Either::Left(Full::new(body))));
        };
        let reply = self.answer(&Request::from_parts(head, body));
        if !reply.delay.is_zero() {
            sleep(reply.delay).await;
        }
        match reply.ending {
            AnswerEnding::Whole => Ok(reply.response.map(|body| Either::Left(Full::new(body)))),
            AnswerEnding::Cut => Ok(cut(reply.response)),
            AnswerEnding::Reset => Err(ConnectionStop::Reset),
        }
    }
}

/// Reads a body; `None` if it is longer than [`BODY_BYTES_MAX`].
async fn collect(mut body: Incoming) -> Result<Option<Bytes>, ConnectionStop> {
    let mut kept = BytesMut::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ConnectionStop::Broken)?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > DROPPED_BYTES_MAX {
            break;
        }
        if length <= BODY_BYTES_MAX {
            kept.extend_from_slice(&data);
        }
    }
    Ok((length <= BODY_BYTES_MAX).then(|| kept.freeze()))
}

fn too_large() -> Response<Bytes> {
    let error = VendorError::new(StatusCode::PAYLOAD_TOO_LARGE, 1005, "The body is larger than 12 MiB");
    let mut response = error.into_answer(Envelope::Nested).into_response(None);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Announces the whole body and sends half of it.
fn cut<L>(response: Response<Bytes>) -> Response<Either<L, HalfBody>> {
    let (mut head, body) = response.into_parts();
    // An empty answer cannot be halved, so it is announced to have one byte.
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len().max(1)));
    let half = body.slice(..body.len() / 2);
    let pause = Box::pin(sleep(CUT_PAUSE));
    Response::from_parts(head, Either::Right(HalfBody { half: Some(half), pause }))
}

/// A body that yields its first half and then an error.
#[derive(Debug)]
struct HalfBody {
    half: Option<Bytes>,
    pause: Pin<Box<Sleep>>,
}

impl Body for HalfBody {
    type Data = Bytes;
    type Error = ConnectionStop;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionStop>>> {
        if let Some(half) = self.half.take().filter(|half| !half.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        ready!(self.pause.as_mut().poll(context));
        Poll::Ready(Some(Err(ConnectionStop::Broken)))
    }
}

/// The reason why a connection ends without a whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionStop {
    /// A test ordered the reset.
    Reset,
    /// The request was cut, or the answer is cut as ordered.
    Broken,
}

impl fmt::Display for ConnectionStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "a reset was ordered",
            Self::Broken => "the connection ends in the middle of a message",
        })
    }
}

impl Error for ConnectionStop {}

impl From<Infallible> for ConnectionStop {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
