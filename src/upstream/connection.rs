//! One connection to the vendor: how old it may get, and what its failures are called.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Deadlines;
use super::socket::UpstreamStream;

use crate::http1::client::{self, BodyError, CallLimits, ClientConnection, ExchangeError, TimedHead};
use crate::http1::framing::Framing;
use crate::http1::message::Message;

/// A connection of this age makes place for a new one after its call. A busy one would never close otherwise, and the
/// gateway would go on with an address that the vendor's name has long left.
const AGE_MIN: Duration = Duration::from_mins(4);
/// The greatest addition to that age, so that connections opened together do not all end at once.
const AGE_JITTER: Duration = Duration::from_mins(1);

/// An open connection. Dropping it closes it, with a reset if a call on it was given up.
pub(super) struct UpstreamConnection {
    http: ClientConnection<UpstreamStream>,
    /// The time from which on the connection is not kept for another call.
    retires: Instant,
}

/// The reason why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Break {
    /// The vendor closed it.
    #[error("the vendor closed the connection")]
    Closed,
    /// The operating system or TLS reported an error.
    #[error("the connection failed")]
    Failed(#[source] io::Error),
    /// The bytes received are no answer.
    #[error("what the vendor sent cannot be read as HTTP/1.1")]
    Unreadable,
}

impl From<client::ConnectionBreak> for Break {
    fn from(found: client::ConnectionBreak) -> Self {
        match found {
            client::ConnectionBreak::Closed => Self::Closed,
            client::ConnectionBreak::Failed(error) => Self::Failed(error),
            client::ConnectionBreak::Unreadable => Self::Unreadable,
        }
    }
}

/// The reason why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum AnswerCut {
    /// The connection to the vendor broke.
    #[error("the vendor's answer was cut off")]
    Vendor(#[source] Break),
    /// The body did not end in time.
    #[error("the vendor's answer did not end in time")]
    Late,
}

impl AnswerCut {
    /// The label in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vendor(_) => "interrupted",
            Self::Late => "timeout",
        }
    }
}

impl From<BodyError> for AnswerCut {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken(why) => Self::Vendor(why.into()),
            BodyError::Late => Self::Late,
        }
    }
}

impl UpstreamConnection {
    /// One that was opened now.
    pub(super) fn new(stream: UpstreamStream, now: Instant) -> Self {
        let retires = now + age(uuid::Uuid::new_v4().as_fields().0);
        Self { http: ClientConnection::new(stream), retires }
    }

    /// Whether it is old enough to make place for a new one.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        now >= self.retires
    }

    /// The other end of its TCP connection: the vendor's, or a proxy's.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.http.stream().address()
    }

    /// Whether a call can still be made on it: it is open, and nothing came that nobody asked for.
    pub(super) fn is_usable(&mut self) -> bool {
        self.http.is_usable()
    }

    /// Writes a message and reads the head of its answer.
    pub(super) fn exchange(
        &mut self,
        message: &Message,
        started: Instant,
        deadlines: Deadlines,
    ) -> impl Future<Output = Result<TimedHead, ExchangeError>> {
        let Deadlines { call, response, .. } = deadlines;
        self.http.exchange(message, CallLimits { start: started, due: call, response })
    }

    /// The next bytes of a body; `None` at its end.
    pub(super) fn poll_body(
        &mut self,
        framing: &mut Framing,
        due: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, AnswerCut>> {
        self.http.poll_body(framing, due, cx).map_err(AnswerCut::from)
    }

    /// Ends a call: whether the connection can serve another one. What came beyond the answer makes it useless.
    pub(super) fn finish(&self) -> bool {
        self.http.finish()
    }

    /// Closes with a reset, so that unsent bytes of a call that was given up do not reach the vendor.
    pub(super) fn reset(&self) {
        self.http.stream().reset();
    }
}

/// The age that a connection may reach, by a random number.
fn age(dice: u32) -> Duration {
    AGE_MIN + AGE_JITTER.mul_f64(f64::from(dice) / f64::from(u32::MAX))
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
