//! HTTP/1.1 with a caller: one request after the other, read and answered by the task of the connection.
//!
//! hyper's server hands bodies over by channels, reads them into buffers of its own and keeps every field of a head in
//! a map: an eighth of the instructions of a push, and a quarter of the CPU of a large upload. Here a body is read
//! straight to where it stays, and a caller that goes away is noticed by the task that waits for the vendor. What no
//! caller of an API needs is left out: upgrades, trailers, interim answers but `100 Continue`.
//!
//! A caller's end may be that of its side alone (RFC 9112, 9.6), and nothing tells one from the other before an answer is
//! written: such a caller may be gone. Its call is answered, and whoever has to know is told.

mod body;
mod encode;
mod head;
mod unconfirmed;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Version};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use body::{IncomingBody, UnframedBody};
use encode::Length;
use head::HeadError;
use unconfirmed::Unconfirmed;

use super::accept::FULL;
use super::connection::{NoRequest, Requests, obey};
use super::stream::{CallerStream, Closing};
use super::timeouts::{CloseOrder, ConnectionTimer};

use crate::answer::Reply;
use crate::body_reader::{BodySource, Counted, MemoryLimit};
use crate::gateway::Handled;
use crate::http1::head::BadHead;
use crate::strict::HEADER_BYTES_MAX;

/// The request line has room beside the header section; what is longer gets a bare 431.
const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + 16 * 1024;
/// Room for reading a head and the short body behind it. An idle connection keeps it.
const READ_BYTES: usize = 4 * 1024;
/// A head that is not whole at this length counts towards `limits.head_memory`: most are shorter.
const HEAD_BYTES_FREE: usize = READ_BYTES / 2;

/// Bytes of later requests that are read while one is answered, to see whether its caller goes away.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

/// After our last byte, what a caller still sends is read and dropped this long, so that no reset overtakes an answer.
const LINGER: Duration = Duration::from_secs(2);
/// And so much of it.
const LINGER_BYTES: u64 = 16 * 1024 * 1024;

const UNREADABLE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// How a connection ended.
enum ConnectionEnding {
    /// After its last answer, or before the next request.
    Done,
    /// By an error of the stream, a reset mostly.
    Broken,
    /// Otherwise in the middle of something, or by us for want of anything from the caller.
    Over,
}

/// What an answer has to know of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestTraits {
    pub(super) version: Version,
    /// Whether only the head of the answer is wanted.
    pub(super) head: bool,
}

/// Serves a connection until it is done, late, or told to stop.
pub(super) async fn serve<S>(stream: S, requests: Requests)
where
    S: CallerStream,
{
    let timer = Arc::clone(&requests.timer);
    let mut connection = ServerConnection {
        stream,
        buffer: BytesMut::new(),
        has_grown: false,
        has_ended: false,
        unconfirmed: Unconfirmed::default(),
        heads: requests.heads(),
        head_room: None,
        timer: Arc::clone(&timer),
    };
    let ended = {
        let mut story = pin!(connection.serve(&requests));
        let mut finishing = false;
        poll_fn(|cx| {
            loop {
                // What has come already is read before the order to finish is: it gets its answer.
                if let Poll::Ready(ended) = story.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                match obey(&timer, cx, &mut finishing) {
                    CloseOrder::Serve => return Poll::Pending,
                    CloseOrder::Finish => {}
                    CloseOrder::Close => {
                        if timer.is_in_head() {
                            requests.none(NoRequest::Late);
                        }
                        return Poll::Ready(ConnectionEnding::Over);
                    }
                }
            }
        })
        .await
    };
    let is_broken = match ended {
        ConnectionEnding::Done => {
            // Before anything more is written: what TLS says last is answered by a reset if nobody is there any more.
            connection.stream.was_reset() || Box::pin(linger(&mut connection.stream)).await.is_err()
        }
        ConnectionEnding::Broken => true,
        ConnectionEnding::Over => !connection.unconfirmed.is_written(),
    };
    if is_broken {
        connection.unconfirmed.lost();
    }
}

struct ServerConnection<S> {
    stream: S,
    /// What was read and nobody asked for yet.
    buffer: BytesMut,
    /// The buffer takes more memory than an idle connection should keep. It does not tell itself: what was read out
    /// of it counts no more.
    has_grown: bool,
    /// Their side has ended: they may be gone, or read on.
    has_ended: bool,
    unconfirmed: Unconfirmed,
    /// The memory of all long heads, and what this one has of it.
    heads: Arc<MemoryLimit>,
    head_room: Option<Counted>,
    timer: Arc<ConnectionTimer>,
}

impl<S: CallerStream> ServerConnection<S> {
    async fn serve(&mut self, requests: &Requests) -> ConnectionEnding {
        loop {
            let (head, framing) = match self.read_head().await {
                Ok(Some(read)) => read,
                Ok(None) => return ConnectionEnding::Done,
                Err(unread) => {
                    let (what, answer) = match unread {
                        HeadError::Broken => return ConnectionEnding::Broken,
                        HeadError::Cut => {
                            requests.none(NoRequest::Cut);
                            return ConnectionEnding::Over;
                        }
                        HeadError::NoRoom => (NoRequest::NoRoom, FULL),
                        HeadError::Bad(BadHead::TooLarge) => (NoRequest::TooLarge, TOO_LARGE),
                        HeadError::Bad(BadHead::Malformed) => (NoRequest::of(&self.buffer), UNREADABLE),
                    };
                    requests.none(what);
                    let told = self.write_all(answer).await;
                    return if told.is_ok() { ConnectionEnding::Done } else { ConnectionEnding::Broken };
                }
            };
            self.unconfirmed.request_came();
            let mut body = framing.map(|framing| IncomingBody::of(&head, framing, self));
            let source: &mut dyn BodySource = match &mut body {
                Ok(body) => body,
                Err(_) => &mut UnframedBody,
            };
            let Some(handled) = requests.answer(&head, source).await else {
                return ConnectionEnding::Broken;
            };
            let is_whole = match body {
                Ok(mut body) => {
                    if handled.matters_if_lost() && body.has_just_ended().await {
                        handled.may_be_lost();
                    }
                    body.skip()
                }
                Err(_) => false,
            };
            let asked = RequestTraits { version: head.version, head: head.method == Method::HEAD };
            let keeps = is_whole && head.keeps_alive() && !handled.answer.closes && !self.timer.finishes();
            let keeps = self.looks_ahead() && keeps;
            drop(head);
            match self.write(handled, asked, keeps).await {
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
    /// Who may be gone may come again with all that was not answered. Safe requests do no harm twice; what changes
    /// something could be under way on another connection by now.
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

    /// Some clients send them behind a body (RFC 9112, 2.2).
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

    /// Writes an answer, and tells whether the connection stays open behind it.
    async fn write(&mut self, mut handled: Handled, asked: RequestTraits, keeps: bool) -> io::Result<bool> {
        // Until it is written, or never will be.
        let _places = handled.in_flight.take();
        let answer = &mut handled.answer;
        let length = Length::of(answer, answer.body.size_hint().exact(), asked);
        let keeps = keeps && length != Length::Close;
        let room = if let Reply::Whole(body) = &answer.body { body.len() } else { 0 };
        let mut bytes = encode::head(answer, length, keeps, asked, room);
        let no_body = asked.head || length == Length::None;
        let mut stream = None;
        match &mut answer.body {
            Reply::Whole(body) if !no_body => bytes.extend_from_slice(body),
            Reply::Whole(_) => {}
            long @ Reply::Stream(_) => stream = Some(std::mem::replace(long, Reply::Whole(Bytes::new()))),
        }
        self.unconfirmed.begin(Some(handled).filter(|_| stream.is_none()));
        // Where the end of the connection is all that tells the end of an answer, nothing else may look like it: whatever
        // drops the stream before that resets the connection.
        if length == Length::Close {
            self.stream.close_by(Closing::ByReset);
        }
        self.write_all(&bytes).await?;
        if let Some(mut stream) = stream.filter(|_| !no_body) {
            loop {
                // As long as the vendor takes, this is no idle connection.
                let serving = self.timer.serving();
                let Some(frame) = poll_fn(|cx| Pin::new(&mut stream).poll_frame(cx)).await else { break };
                drop(serving);
                let data = frame.map_err(io::Error::other)?.into_data().unwrap_or_default();
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
            self.timer.sent();
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
