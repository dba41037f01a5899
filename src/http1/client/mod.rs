//! One connection to a server: one call at a time, written and read by the task of the call itself.
//!
//! hyper's client drives a connection in a task of its own and hands requests and answers over by channels, which
//! was measured at a fifth of the user time of a push. What is left out here is what the vendor is not asked for:
//! upgrades, pipelining, trailers.

#[cfg(test)]
mod tests;
mod timer;
mod writing;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use timer::Timer;
use writing::{Writing, WritingState};

use super::answer_head::{AnswerHead, HeadReader};
use super::framing::{BodyPart, Framing};
use super::message::Message;

/// Room for reading: an answer to a push has some 300 bytes.
const READ_BYTES: usize = 4 * 1024;
/// Room for reading long bodies.
const READ_BYTES_LONG: usize = 64 * 1024;

/// A stream to a server.
pub trait ServerStream: AsyncRead + AsyncWrite + Unpin {
    /// Bytes that the operating system took so far: what was not taken cannot have reached the server.
    fn written(&self) -> u64;

    /// Whether it is open, and nothing is here that was not read.
    fn is_silent(&mut self) -> bool {
        is_silent(self)
    }
}

/// Whether any stream is open, and nothing is here that was not read.
pub fn is_silent(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> bool {
    let mut byte = [0];
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
}

/// An open connection to a server.
pub struct ClientConnection<S> {
    stream: S,
    buffer: BytesMut,
    timer: Timer,
    /// Whether the next call would find it as a new one.
    clean: bool,
}

/// The time limits of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Start of the call.
    pub start: Instant,
    /// Latest end of the call.
    pub due: Instant,
    /// From the last byte of the request to the last byte of the answer.
    pub response: Duration,
}

/// The reason why an exchange brought no head.
#[derive(Debug)]
pub enum ExchangeError {
    /// Before the first byte was written.
    Unwritten(ConnectionBreak),
    /// After the first byte was written.
    Written(ConnectionBreak),
    /// Time was up; something may have been written.
    Late,
}

/// The reason why a connection can no longer be used.
#[derive(Debug)]
pub enum ConnectionBreak {
    /// The server ended it.
    Closed,
    /// The operating system or TLS did.
    Failed(io::Error),
    /// The bytes that arrived are no answer.
    Unreadable,
}

impl ConnectionBreak {
    fn of(read: io::Result<usize>) -> Self {
        read.map_or_else(Self::Failed, |_| Self::Closed)
    }
}

/// The reason why a body ended early.
#[derive(Debug)]
pub enum BodyError {
    /// The connection broke.
    Broken(ConnectionBreak),
    /// The time limit passed.
    Late,
}

/// A head with its times.
pub struct TimedHead {
    /// The head of the answer.
    pub head: AnswerHead,
    /// The framing of the body.
    pub framing: Framing,
    /// Time when the head was complete.
    pub arrived: Instant,
    /// Latest time for the end of the body.
    pub due: Instant,
}

impl<S: ServerStream> ClientConnection<S> {
    /// A connection on which nothing was written yet.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new(), timer: Timer::default(), clean: true }
    }

    /// The stream of the connection.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether a call can still be made on it: it is open, and nothing came that nobody asked for.
    pub fn is_usable(&mut self) -> bool {
        self.clean && self.stream.is_silent()
    }

    /// Writes a message and reads the head of its answer.
    pub async fn exchange(
        &mut self,
        message: &Message,
        limits: CallLimits,
    ) -> Result<TimedHead, ExchangeError> {
        self.clean = false;
        let before = self.stream.written();
        let mut writing = Writing::of(message);
        let mut reader = HeadReader::default();
        let mut first_look = true;
        let mut due = limits.due;
        std::future::poll_fn(|cx| {
            // The rest of a message is not written late either: the process may have been stopped in between.
            if !first_look && writing.state == WritingState::Writes && Instant::now() >= due {
                return Poll::Ready(Err(ExchangeError::Late));
            }
            if writing.poll(&mut self.stream, cx).is_ready() {
                // A short message leaves at once, which saves a look at the clock.
                let last_byte = if first_look { limits.start } else { Instant::now() };
                due = limits.due.min(last_byte + limits.response);
            }
            first_look = false;
            loop {
                // An answer that begins with the first bytes of the next one, or of nothing, fails here too.
                match reader.read(&mut self.buffer) {
                    Err(_) => return Poll::Ready(Err(ExchangeError::Written(ConnectionBreak::Unreadable))),
                    Ok(Some((head, framing))) => {
                        self.clean = head.keep_alive && writing.state == WritingState::Done;
                        return Poll::Ready(Ok(TimedHead { head, framing, arrived: Instant::now(), due }));
                    }
                    Ok(None) => {}
                }
                match poll_fill(&mut self.stream, &mut self.buffer, READ_BYTES, cx) {
                    Poll::Ready(Ok(1..)) => {}
                    // Counted after the read: TLS writes what it holds back when what it reads is broken.
                    Poll::Ready(end) => {
                        let unwritten = self.stream.written() == before;
                        let broken =
                            if unwritten { ExchangeError::Unwritten } else { ExchangeError::Written };
                        return Poll::Ready(Err(broken(ConnectionBreak::of(end))));
                    }
                    Poll::Pending => break,
                }
            }
            if writing.state == WritingState::Failed && self.stream.written() == before {
                let why = writing.failure.take().map_or(ConnectionBreak::Closed, ConnectionBreak::Failed);
                return Poll::Ready(Err(ExchangeError::Unwritten(why)));
            }
            ready!(self.timer.poll(due, cx));
            Poll::Ready(Err(ExchangeError::Late))
        })
        .await
    }

    /// The next bytes of a body; `None` at its end.
    pub fn poll_body(
        &mut self,
        framing: &mut Framing,
        due: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            match framing.take(&mut self.buffer) {
                Err(_) => return Poll::Ready(Err(BodyError::Broken(ConnectionBreak::Unreadable))),
                Ok(BodyPart::Data(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Ok(BodyPart::End) => return Poll::Ready(Ok(None)),
                Ok(BodyPart::More) => {}
            }
            match poll_fill(&mut self.stream, &mut self.buffer, READ_BYTES_LONG, cx) {
                Poll::Ready(Ok(1..)) => {}
                // TLS fails the read instead if the end was not meant.
                Poll::Ready(Ok(0)) if *framing == Framing::UntilClose => return Poll::Ready(Ok(None)),
                Poll::Ready(end) => return Poll::Ready(Err(BodyError::Broken(ConnectionBreak::of(end)))),
                Poll::Pending => {
                    ready!(self.timer.poll(due, cx));
                    return Poll::Ready(Err(BodyError::Late));
                }
            }
        }
    }

    /// Ends a call: whether the connection can serve another one. What came beyond the answer makes it useless.
    pub fn finish(&self) -> bool {
        self.clean && self.buffer.is_empty()
    }
}

/// Reads once into a buffer, making room first.
fn poll_fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if buffer.capacity() - buffer.len() < room / 2 {
        buffer.reserve(room);
    }
    pin!(stream.read_buf(buffer)).poll(cx)
}
