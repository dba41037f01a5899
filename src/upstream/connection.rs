//! One connection to the vendor: one call at a time, written and read by the task of the call itself.
//!
//! hyper's client drives a connection in a task of its own and hands requests and answers over by channels, which
//! was measured at a fifth of the user time of a push. What is left out here is what the vendor is not asked for:
//! upgrades, pipelining, trailers.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::Deadlines;
use super::message::Message;
use super::socket::UpstreamStream;
use super::wire::{AnswerHead, HeadReader};

use crate::http1::framing::{BodyPart, Framing};

/// Room for reading: an answer to a push has some 300 bytes.
const READ_BYTES: usize = 4 * 1024;
/// And for long bodies.
const READ_BYTES_LONG: usize = 64 * 1024;

/// A connection of this age makes place for a new one after its call. A busy one would never close otherwise, and the
/// gateway would go on with an address that the vendor's name has long left.
const AGE_MIN: Duration = Duration::from_mins(4);
/// Up to this much later, so that connections that were opened together do not all end at once.
const AGE_JITTER: Duration = Duration::from_mins(1);

/// An open connection. Dropped, it is closed; reset, if a call on it was given up.
pub(super) struct UpstreamConnection {
    stream: UpstreamStream,
    /// From then on it is not kept for another call.
    retires: Instant,
    buffer: BytesMut,
    timer: Timer,
    /// Whether the next call would find it as a new one.
    clean: bool,
}

/// Why an exchange brought no head.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// Before the first byte was written.
    Unwritten(Break),
    /// After it.
    Written(Break),
    /// Time was up; something may have been written.
    Late,
}

/// What is wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub enum Break {
    /// The vendor ended it.
    #[error("the vendor closed the connection")]
    Closed,
    /// The operating system or TLS did.
    #[error("the connection failed")]
    Failed(#[source] io::Error),
    /// What came is no answer.
    #[error("what the vendor sent cannot be read as HTTP/1.1")]
    Unreadable,
}

impl Break {
    fn of(read: io::Result<usize>) -> Self {
        read.map_or_else(Self::Failed, |_| Self::Closed)
    }
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum AnswerCut {
    /// The connection broke.
    #[error("the vendor's answer was cut off")]
    Vendor(#[source] Break),
    /// Time was up.
    #[error("the vendor's answer did not end in time")]
    Late,
}

impl AnswerCut {
    /// Word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vendor(_) => "interrupted",
            Self::Late => "timeout",
        }
    }
}

/// A head, and when it was here.
pub(super) struct TimedHead {
    pub(super) head: AnswerHead,
    pub(super) framing: Framing,
    pub(super) arrived: Instant,
    /// When the body must be whole.
    pub(super) due: Instant,
}

impl UpstreamConnection {
    /// One that was opened now.
    pub(super) fn new(stream: UpstreamStream, now: Instant) -> Self {
        let retires = now + age(uuid::Uuid::new_v4().as_fields().0);
        Self { stream, retires, buffer: BytesMut::new(), timer: Timer::default(), clean: true }
    }

    /// Whether it is old enough to make place for a new one.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        now >= self.retires
    }

    /// The other end of its TCP connection: the vendor's, or a proxy's.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.stream.address()
    }

    /// Whether a call can still be made on it: it is open, and nothing came that nobody asked for.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        self.clean && Pin::new(&mut self.stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Writes a message and reads the head of its answer.
    pub(super) async fn exchange(
        &mut self,
        message: &Message,
        started: Instant,
        deadlines: Deadlines,
    ) -> Result<TimedHead, ExchangeError> {
        self.clean = false;
        let before = self.stream.written();
        let mut writing = Writing { message, done: 0, state: ConnectionState::Writes, failure: None };
        let mut reader = HeadReader::default();
        let mut first_look = true;
        let mut due = deadlines.call;
        std::future::poll_fn(|cx| {
            if writing.poll(&mut self.stream, cx).is_ready() {
                // A short message leaves at once, which saves a look at the clock.
                let last_byte = if first_look { started } else { Instant::now() };
                due = deadlines.call.min(last_byte + deadlines.response);
            }
            first_look = false;
            loop {
                // An answer that begins with the first bytes of the next one, or of nothing, fails here too.
                match reader.read(&mut self.buffer) {
                    Err(_) => return Poll::Ready(Err(ExchangeError::Written(Break::Unreadable))),
                    Ok(Some((head, framing))) => {
                        self.clean = head.keep_alive && writing.state == ConnectionState::Done;
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
                        return Poll::Ready(Err(broken(Break::of(end))));
                    }
                    Poll::Pending => break,
                }
            }
            if writing.state == ConnectionState::Failed && self.stream.written() == before {
                let why = writing.failure.take().map_or(Break::Closed, Break::Failed);
                return Poll::Ready(Err(ExchangeError::Unwritten(why)));
            }
            ready!(self.timer.poll(due, cx));
            Poll::Ready(Err(ExchangeError::Late))
        })
        .await
    }

    /// The next bytes of a body; `None` at its end.
    pub(super) fn poll_body(
        &mut self,
        framing: &mut Framing,
        due: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, AnswerCut>> {
        loop {
            match framing.take(&mut self.buffer) {
                Err(_) => return Poll::Ready(Err(AnswerCut::Vendor(Break::Unreadable))),
                Ok(BodyPart::Data(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Ok(BodyPart::End) => return Poll::Ready(Ok(None)),
                Ok(BodyPart::More) => {}
            }
            match poll_fill(&mut self.stream, &mut self.buffer, READ_BYTES_LONG, cx) {
                Poll::Ready(Ok(1..)) => {}
                // TLS fails the read instead if the end was not meant.
                Poll::Ready(Ok(0)) if *framing == Framing::UntilClose => return Poll::Ready(Ok(None)),
                Poll::Ready(end) => return Poll::Ready(Err(AnswerCut::Vendor(Break::of(end)))),
                Poll::Pending => {
                    ready!(self.timer.poll(due, cx));
                    return Poll::Ready(Err(AnswerCut::Late));
                }
            }
        }
    }

    /// Ends a call: whether the connection can serve another one. What came beyond the answer makes it useless.
    pub(super) fn finish(&self) -> bool {
        self.clean && self.buffer.is_empty()
    }

    /// Closes with a reset: what the kernel still holds of a call that was given up must not reach the vendor.
    pub(super) fn reset(&self) {
        self.stream.reset();
    }
}

/// How old a connection gets by a throw of the dice.
fn age(dice: u32) -> Duration {
    AGE_MIN + AGE_JITTER.mul_f64(f64::from(dice) / f64::from(u32::MAX))
}

/// Reads once into a buffer, making room first.
fn poll_fill(
    stream: &mut UpstreamStream,
    buffer: &mut BytesMut,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if buffer.capacity() - buffer.len() < room / 2 {
        buffer.reserve(room);
    }
    pin!(stream.read_buf(buffer)).poll(cx)
}

/// A message on its way.
struct Writing<'m> {
    message: &'m Message,
    done: usize,
    state: ConnectionState,
    /// Why the vendor takes no more, where the system said so.
    failure: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ConnectionState {
    Writes,
    Flushes,
    Done,
    /// The vendor takes no more; an answer may still come.
    Failed,
}

impl Writing<'_> {
    /// Ready once, when the last byte is written; pending before, after, and when it cannot be.
    fn poll(&mut self, stream: &mut UpstreamStream, cx: &mut Context<'_>) -> Poll<()> {
        while self.state == ConnectionState::Writes {
            let [first, second] = self.message.parts();
            let written = match self.done.checked_sub(first.len()) {
                Some(past) => Pin::new(&mut *stream).poll_write(cx, &second[past..]),
                None if second.is_empty() => Pin::new(&mut *stream).poll_write(cx, &first[self.done..]),
                None => {
                    let parts = [io::IoSlice::new(&first[self.done..]), io::IoSlice::new(second)];
                    Pin::new(&mut *stream).poll_write_vectored(cx, &parts)
                }
            };
            match ready!(written) {
                Ok(bytes @ 1..) => self.done += bytes,
                failed => (self.state, self.failure) = (ConnectionState::Failed, failed.err()),
            }
            if self.done == self.message.len() {
                self.state = ConnectionState::Flushes;
            }
        }
        if self.state == ConnectionState::Flushes {
            match ready!(Pin::new(&mut *stream).poll_flush(cx)) {
                Ok(()) => {
                    self.state = ConnectionState::Done;
                    return Poll::Ready(());
                }
                Err(error) => (self.state, self.failure) = (ConnectionState::Failed, Some(error)),
            }
        }
        Poll::Pending
    }
}

/// A timer that is moved only when it goes off: calls end long before they are due, and starting a timer for each
/// of them was measured at two percent of a push.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if sleep.deadline() > due.into() {
            sleep.as_mut().reset(due.into());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due.into());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl UpstreamConnection {
        pub(in super::super) fn grow_old(&mut self) {
            self.retires = Instant::now();
        }
    }

    #[test]
    fn connections_grow_four_to_five_minutes_old() {
        assert_eq!([0, u32::MAX].map(age), [Duration::from_mins(4), Duration::from_mins(5)]);
    }
}
