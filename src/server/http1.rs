//! HTTP/1.1 with a caller: one request after the other, read and answered by the task of the connection.
//!
//! hyper's server hands bodies over by channels and keeps a buffer of its own filled, which with its head's way
//! through a map was measured at a quarter of the instructions of a push. Here a body is read straight to where it stays, and
//! a caller that goes away is noticed by the same task that waits for the vendor. What no caller of an API needs is
//! left out: upgrades, trailers, interim answers but `100 Continue`.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Method, Version};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::connection::{Requests, linger, obey};
use super::encode::{self, Length};
use super::pulse::{Order, Pulse};

use crate::answer::Reply;
use crate::edge::{self, HEADER_BYTES_MAX};
use crate::framing::{Framing, Part};
use crate::gateway::Handled;
use crate::intake::{Cut, Source};
use crate::request::{Field, Head, Unreadable};

/// The request line has room beside the header section; what is longer gets a bare 431.
const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + 16 * 1024;
/// Room for reading a head and the short body behind it. An idle connection keeps it.
const READ_BYTES: usize = 4 * 1024;
/// And for a body in chunks.
const READ_BYTES_LONG: usize = 64 * 1024;
/// Bytes of later requests that are read while one is answered, to see whether its caller goes away.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const UNREADABLE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// How a connection ended.
enum Ending {
    /// After its last answer, or before the next request.
    Done,
    /// In the middle of something.
    Broken,
    /// By us, for want of anything from the caller.
    Late,
}

/// What an answer has to know of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) version: Version,
    /// Whether only the head of the answer is wanted.
    pub(super) head: bool,
}

/// Serves a connection until it is done, late, or told to stop.
pub(super) async fn serve<S>(stream: S, requests: Requests)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let pulse = Arc::clone(&requests.pulse);
    let mut connection = Connection {
        stream,
        buffer: BytesMut::new(),
        has_grown: false,
        last: None,
        is_written: false,
        pulse: Arc::clone(&pulse),
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
                match obey(&pulse, cx, &mut finishing) {
                    Order::Serve => return Poll::Pending,
                    Order::Finish => {}
                    Order::Close => return Poll::Ready(Ending::Late),
                }
            }
        })
        .await
    };
    let is_broken = match ended {
        Ending::Done => Box::pin(linger(connection.stream)).await.is_err(),
        Ending::Broken => true,
        Ending::Late => !connection.is_written,
    };
    if let Some(handled) = connection.last.filter(|_| is_broken) {
        handled.is_lost();
    }
}

struct Connection<S> {
    stream: S,
    /// What was read and nobody asked for yet.
    buffer: BytesMut,
    /// The buffer takes more memory than an idle connection should keep. It does not tell itself: what was read out
    /// of it counts no more.
    has_grown: bool,
    /// The last answer, if it is a short one. The next request tells that it arrived.
    last: Option<Handled>,
    /// The kernel has all of it.
    is_written: bool,
    pulse: Arc<Pulse>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    async fn serve(&mut self, requests: &Requests) -> Ending {
        loop {
            let head = match self.read_head().await {
                Ok(Some(head)) => head,
                Ok(None) => return Ending::Done,
                Err(Unread::Broken) => return Ending::Broken,
                Err(Unread::Bad(why)) => {
                    let answer = if why == Unreadable::TooLarge { TOO_LARGE } else { UNREADABLE };
                    let told = self.write_all(answer).await;
                    return if told.is_ok() { Ending::Done } else { Ending::Broken };
                }
            };
            self.last = None;
            let mut body = Body::of(&head, self);
            let Some(handled) = requests.answer(&head, &mut body).await else { return Ending::Broken };
            let asked = Asked { version: head.version, head: head.method == Method::HEAD };
            let is_whole = body.skip();
            let keeps = is_whole && head.keeps_alive() && !handled.answer.closes && !self.pulse.finishes();
            drop(head);
            match self.write(handled, asked, keeps).await {
                Ok(true) => {}
                Ok(false) => return Ending::Done,
                Err(_) => return Ending::Broken,
            }
            self.shrink();
        }
    }

    /// The head of the next request; `None` if there is none to come.
    async fn read_head(&mut self) -> Result<Option<Head>, Unread> {
        // Bytes that were searched for the end, and bytes that were looked at whether they can be a head at all: the
        // second look is only repeated when there are twice as many, so that a slow caller costs no more than a fast one.
        let (mut searched, mut judged) = (0, 0);
        poll_fn(|cx| {
            loop {
                while searched == 0 && self.buffer.starts_with(b"\r\n") {
                    self.buffer.advance(2);
                }
                if !self.buffer.is_empty() {
                    self.pulse.received(false);
                }
                if let Some(end) = memchr::memmem::find(&self.buffer[searched..], END_OF_HEAD) {
                    let length = searched + end + END_OF_HEAD.len();
                    return Poll::Ready(self.take_head(length).map(Some));
                }
                let length = self.buffer.len();
                if length > HEAD_BYTES_MAX {
                    return Poll::Ready(Err(Unread::Bad(Unreadable::TooLarge)));
                }
                if length > 2 * judged {
                    judged = length;
                    if !Head::may_begin_with(&self.buffer) {
                        return Poll::Ready(Err(Unread::Bad(Unreadable::Malformed)));
                    }
                }
                searched = length.saturating_sub(END_OF_HEAD.len() - 1);
                match self.poll_fill(READ_BYTES, cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0)) if length == 0 => return Poll::Ready(Ok(None)),
                    Poll::Ready(_) => return Poll::Ready(Err(Unread::Broken)),
                    Poll::Pending if length == 0 && self.pulse.finishes() => return Poll::Ready(Ok(None)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn take_head(&mut self, length: usize) -> Result<Head, Unread> {
        if length > HEAD_BYTES_MAX {
            return Err(Unread::Bad(Unreadable::TooLarge));
        }
        let head = Head::parse(&self.buffer[..length]).map_err(Unread::Bad)?;
        self.buffer.advance(length);
        Ok(head)
    }

    /// Reads once into the buffer, making room first.
    fn poll_fill(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < room / 2 {
            self.buffer.reserve(room);
            self.has_grown |= self.buffer.capacity() > 2 * READ_BYTES;
        }
        pin!(self.stream.read_buf(&mut self.buffer)).poll(cx)
    }

    /// Gives the memory of a long request back.
    fn shrink(&mut self) {
        if self.has_grown && self.buffer.is_empty() {
            (self.buffer, self.has_grown) = (BytesMut::new(), false);
        }
    }

    /// Writes an answer, and tells whether the connection stays open behind it.
    async fn write(&mut self, mut handled: Handled, asked: Asked, keeps: bool) -> io::Result<bool> {
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
        (self.last, self.is_written) = (Some(handled).filter(|_| stream.is_none()), false);
        self.write_all(&bytes).await?;
        if let Some(mut stream) = stream.filter(|_| !no_body) {
            loop {
                // As long as the vendor takes, this is no idle connection.
                let serving = self.pulse.serving();
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
        self.is_written = true;
        Ok(keeps)
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut self.stream).poll_write(cx, rest)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.pulse.sent();
            rest = &rest[written..];
        }
        poll_fn(|cx| Pin::new(&mut self.stream).poll_flush(cx)).await
    }
}

/// Why there is no head.
enum Unread {
    /// The connection broke.
    Broken,
    /// It brought something else.
    Bad(Unreadable),
}

/// The body of the request that is being answered.
struct Body<'c, S> {
    connection: &'c mut Connection<S>,
    framing: Framing,
    /// Nobody can tell where it ends.
    is_endless: bool,
    /// What is still to be written before the caller sends it, flushed behind its last byte.
    interim: Option<&'static [u8]>,
}

impl<'c, S: AsyncRead + AsyncWrite + Unpin + Send> Body<'c, S> {
    fn of(head: &Head, connection: &'c mut Connection<S>) -> Self {
        let framing = edge::framing(head);
        let is_endless = framing.is_err();
        let framing = framing.unwrap_or(Framing::Length(0));
        let expects = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        let waits = head.version == Version::HTTP_11 && head.all(Field::Expect).any(|value| expects(&value));
        let interim = (waits && !framing.is_done()).then_some(CONTINUE);
        Self { connection, framing, is_endless, interim }
    }

    /// Passes what is here of a body nobody read; whether that was all of it.
    fn skip(&mut self) -> bool {
        while let Ok(Part::Data(_)) = self.framing.take(&mut self.connection.buffer) {}
        self.framing.is_done() && !self.is_endless
    }

    /// Asks the caller for the body, if it waits for that.
    fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.connection.stream;
        while let Some(rest) = &mut self.interim {
            if rest.is_empty() {
                ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                self.interim = None;
                break;
            }
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *rest = &rest[written..];
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, straight to where the body stays.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ask(cx))?;
        pin!(self.connection.stream.read_buf(&mut buffer.limit(most))).poll(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Source for Body<'_, S> {
    fn declared(&self) -> Option<u64> {
        self.framing.left()
    }

    fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> Poll<Result<bool, Cut>> {
        if let Framing::Length(left @ 1..) = &mut self.framing {
            let most = usize::try_from(*left).unwrap_or(usize::MAX).min(most);
            let here = &mut self.connection.buffer;
            let added = if here.is_empty() {
                ready!(self.poll_read(cx, buffer, most)).unwrap_or(0)
            } else {
                let added = most.min(here.len());
                buffer.extend_from_slice(&here[..added]);
                here.advance(added);
                added
            };
            let Framing::Length(left) = &mut self.framing else { return Poll::Ready(Err(Cut)) };
            *left -= added as u64;
            return Poll::Ready(if added == 0 { Err(Cut) } else { Ok(true) });
        }
        loop {
            match self.framing.take(&mut self.connection.buffer) {
                Err(_) => return Poll::Ready(Err(Cut)),
                Ok(Part::End) => {
                    self.connection.shrink();
                    return Poll::Ready(Ok(false));
                }
                Ok(Part::Data(bytes)) => {
                    buffer.extend_from_slice(&bytes);
                    return Poll::Ready(Ok(true));
                }
                Ok(Part::More) => {}
            }
            ready!(self.poll_ask(cx)).map_err(|_| Cut)?;
            match ready!(self.connection.poll_fill(READ_BYTES_LONG, cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Err(Cut)),
            }
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.connection.buffer.len() < AHEAD_BYTES_MAX {
            match ready!(self.connection.poll_fill(READ_BYTES, cx)) {
                Ok(1..) => {}
                // Who asks for more behind this and ends then wants its answers.
                Ok(0) if !self.connection.buffer.is_empty() => break,
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
