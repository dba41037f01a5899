//! HTTP/1.1 with a caller: one request after the other, read and answered by the task of the connection.
//!
//! hyper's server hands bodies over by channels, reads them into buffers of its own and keeps every field of a head in
//! a map: an eighth of the instructions of a push, and a quarter of the CPU of a large upload. Here a body is read
//! straight to where it stays, and a caller that goes away is noticed by the task that waits for its answer. What no
//! caller of an API needs is left out: upgrades, trailers, interim answers but `100 Continue`.
//!
//! A caller's end may be that of its side alone (RFC 9112, 9.6), and nothing tells one from the other before an answer is
//! written: such a caller may be gone. Its call is answered, and whoever has to know is told.

mod body;
mod read_head;
mod service;
mod unconfirmed;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use body::{IncomingBody, UnframedBody};
use read_head::HeadError;
pub use service::{Answer, NotARequest, Progress, Service};
use unconfirmed::Unconfirmed;

use super::body::BodySource;
use super::encode::{self, Length, RequestTraits};
use super::head::BadHead;
use super::stream::{CallerStream, Closing};

/// Room for reading a head and the short body behind it. An idle connection keeps it.
const READ_BYTES: usize = 4 * 1024;
/// A head that is not whole at this length needs room that the service counts: most are shorter.
const HEAD_BYTES_FREE: usize = READ_BYTES / 2;

/// Bytes of later requests that are read while one is answered, to see whether its caller goes away.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

/// After our last byte, what a caller still sends is read and dropped this long, so that no reset overtakes an answer.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes that are read and dropped in that time.
const LINGER_BYTES: u64 = 16 * 1024 * 1024;

const UNREADABLE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// There is no room for another request.
pub const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The way a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnding {
    /// After its last answer, or before the next request.
    Done,
    /// By an error of the stream, a reset mostly.
    Broken,
    /// In the middle of a request or an answer, or because the caller took too long.
    Over,
}

/// A connection from a caller.
pub struct ServerConnection<'v, S, V: Service> {
    service: &'v V,
    stream: S,
    /// Bytes that were read and not yet used.
    buffer: BytesMut,
    /// The buffer takes more memory than an idle connection should keep. It does not tell itself: what was read out
    /// of it counts no more.
    has_grown: bool,
    /// The caller has ended its side: it may be gone, or still read.
    has_ended: bool,
    unconfirmed: Unconfirmed<V::Answer>,
    /// Memory that is counted for a long head.
    head_room: Option<V::Room>,
}

impl<'v, S: CallerStream, V: Service> ServerConnection<'v, S, V> {
    /// A connection of which nothing was read yet.
    pub fn new(stream: S, service: &'v V) -> Self {
        Self {
            service,
            stream,
            buffer: BytesMut::new(),
            has_grown: false,
            has_ended: false,
            unconfirmed: Unconfirmed::default(),
            head_room: None,
        }
    }

    /// Reads requests and answers them until no more come.
    pub async fn serve(&mut self) -> ConnectionEnding {
        let service = self.service;
        loop {
            let (head, framing) = match self.read_head().await {
                Ok(Some(read)) => read,
                Ok(None) => return ConnectionEnding::Done,
                Err(unread) => {
                    let (what, bare) = match unread {
                        HeadError::Broken => return ConnectionEnding::Broken,
                        HeadError::Cut => {
                            service.not_a_request(NotARequest::Cut);
                            return ConnectionEnding::Over;
                        }
                        HeadError::NoRoom => (NotARequest::NoRoom, FULL),
                        HeadError::Bad(BadHead::TooLarge) => (NotARequest::TooLarge, TOO_LARGE),
                        HeadError::Bad(BadHead::Malformed) => {
                            (NotARequest::Malformed(&self.buffer), UNREADABLE)
                        }
                    };
                    service.not_a_request(what);
                    let told = self.write_all(bare).await;
                    return if told.is_ok() { ConnectionEnding::Done } else { ConnectionEnding::Broken };
                }
            };
            self.unconfirmed.request_came();
            // Only a framing makes a body that reads the connection. Without one the service is told so as it reads, and
            // nothing that stands behind the head is a request.
            let mut body = framing.map(|framing| IncomingBody::of(&head, framing, self));
            let source: &mut dyn BodySource = match &mut body {
                Ok(body) => body,
                Err(_) => &mut UnframedBody,
            };
            let Some(answer) = service.answer(&head, source).await else {
                return ConnectionEnding::Broken;
            };
            let is_whole = match body {
                Ok(mut body) => {
                    if answer.matters_if_lost() && body.has_just_ended().await {
                        answer.may_be_lost();
                    }
                    body.skip()
                }
                Err(_) => false,
            };
            let asked = RequestTraits { version: head.version, head: head.method == Method::HEAD };
            let keeps =
                is_whole && head.keeps_alive() && !answer.response().closes && !service.progress().finishes();
            let keeps = self.looks_ahead() && keeps;
            drop(head);
            match self.write(answer, asked, keeps).await {
                Ok(true) => {}
                Ok(false) => return ConnectionEnding::Done,
                Err(_) => return ConnectionEnding::Broken,
            }
            self.head_room = None;
            self.shrink();
        }
    }

    /// Looks at what is here of the next request; whether it may be begun.
    ///
    /// A caller that may be gone may send everything again that was not answered. Safe requests do no harm twice; a
    /// request that changes something could be under way on another connection by now.
    fn looks_ahead(&mut self) -> bool {
        self.skip_empty_lines();
        self.unconfirmed.next_is_early(!self.buffer.is_empty());
        let is_safe = || [&b"GET "[..], b"HEAD "].iter().any(|safe| self.buffer.starts_with(safe));
        !self.unconfirmed.is_full() && (!self.is_in_doubt() || is_safe())
    }

    /// Whether the caller may be gone: it ended its side, or its end would not be seen behind what it sent.
    fn is_in_doubt(&self) -> bool {
        self.has_ended || self.buffer.len() >= AHEAD_BYTES_MAX
    }

    /// Removes empty lines, which some clients send after a body (RFC 9112, 2.2).
    fn skip_empty_lines(&mut self) {
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
        }
    }

    /// Reads once into the buffer, making room first.
    fn poll_fill(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < room / 2 {
            self.buffer.reserve(room);
            self.has_grown |= self.buffer.capacity() > 2 * READ_BYTES;
        }
        let read = ready!(pin!(self.stream.read_buf(&mut self.buffer)).poll(cx).map(or_end));
        self.has_ended |= matches!(read, Ok(0));
        Poll::Ready(read)
    }

    /// Gives the memory of a long request back.
    fn shrink(&mut self) {
        if self.has_grown && self.buffer.len() < HEAD_BYTES_FREE {
            (self.buffer, self.has_grown) = (BytesMut::from(&self.buffer[..]), false);
        }
    }

    /// Closes the connection so that written answers have time to arrive, and reports those that may not have.
    pub async fn close(&mut self, ended: ConnectionEnding) {
        let is_broken = match ended {
            ConnectionEnding::Done => {
                // Before anything more is written: what TLS says last is answered by a reset if nobody is there any more.
                self.stream.was_reset() || Box::pin(linger(&mut self.stream)).await.is_err()
            }
            ConnectionEnding::Broken => true,
            ConnectionEnding::Over => !self.unconfirmed.is_written(),
        };
        if is_broken {
            std::mem::take(&mut self.unconfirmed).lost();
        }
    }

    /// Writes an answer, and tells whether the connection stays open behind it.
    async fn write(&mut self, mut answer: V::Answer, asked: RequestTraits, keeps: bool) -> io::Result<bool> {
        // Until it is written, or never will be.
        let _held = answer.take_held();
        let response = answer.response();
        let length = Length::of(response, response.body.size_hint().exact(), asked);
        let keeps = keeps && length != Length::Close;
        let no_body = asked.head || length == Length::None;
        let whole = answer.whole_body();
        let mut bytes = encode::head(response, length, keeps, asked, whole.map_or(0, Bytes::len));
        let is_whole = whole.is_some();
        if let Some(body) = whole.filter(|_| !no_body) {
            bytes.extend_from_slice(body);
        }
        let stream = (!is_whole).then(|| answer.take_body());
        self.unconfirmed.begin(Some(answer).filter(|_| is_whole));
        // Where the end of the connection is all that tells the end of an answer, nothing else may look like it: whatever
        // drops the stream before that resets the connection.
        if length == Length::Close {
            self.stream.close_by(Closing::ByReset);
        }
        self.write_all(&bytes).await?;
        if let Some(mut stream) = stream.filter(|_| !no_body) {
            loop {
                // As long as the vendor takes, this is no idle connection.
                let serving = self.service.progress().serving();
                let Some(frame) = poll_fn(|cx| Pin::new(&mut stream).poll_frame(cx)).await else { break };
                drop(serving);
                // The caller learns of it by what is missing.
                let frame = frame.map_err(|_| io::ErrorKind::UnexpectedEof)?;
                let data = frame.into_data().unwrap_or_default();
                match length {
                    Length::Chunks => self.write_all(&encode::chunk(&data)).await?,
                    _ => self.write_all(&data).await?,
                }
            }
            if length == Length::Chunks {
                self.write_all(&encode::chunk(&[])).await?;
            }
        }
        if length == Length::Close {
            self.stream.close_by(Closing::Orderly);
        }
        self.unconfirmed.end();
        Ok(keeps)
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut self.stream).poll_write(cx, rest)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.service.progress().sent();
            rest = &rest[written..];
        }
        poll_fn(|cx| Pin::new(&mut self.stream).poll_flush(cx)).await
    }
}

/// Closes our side and reads what is left of theirs: closing with unread bytes would reset the connection, and the
/// reset could reach the caller before our answer does. Fails if the connection breaks meanwhile.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    let drain = async {
        stream.shutdown().await?;
        or_end(tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await)
    };
    tokio::time::timeout(LINGER, drain).await.unwrap_or(Ok(0)).map(|_| ())
}

/// Many clients end TLS without saying so. Where a message ends is told by its framing, so that is an end like others.
fn or_end<T: Default>(read: io::Result<T>) -> io::Result<T> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(T::default()),
        read => read,
    }
}

#[cfg(test)]
mod tests;
