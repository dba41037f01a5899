//! The client side towards the vendor: connections, timeouts, and one attempt of a call.
//!
//! Every worker keeps its own connections in a last-in-first-out pool. The error of an attempt tells how it failed,
//! because that decides what may be sent again: [`Failure::NotSent`] means that no byte of the request was written.

#![warn(clippy::wildcard_enum_match_arm)]

mod circuit;
mod connect;
mod connect_error;
mod connection;
mod dial;
mod post;
mod proxy;
mod socket;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout_at;

use circuit::Circuit;
pub use circuit::{CircuitOpen, CircuitState};
pub use connect::{Connector, TlsSetupError, UpstreamOrigin};
pub use connect_error::ConnectorError;
use connection::UpstreamConnection;
pub use connection::{AnswerCut, Break};
pub use post::{PostError, post};
pub use proxy::ProxyError;

use crate::boot_time::BootTime;
use crate::http1::answer_head::AnswerHead;
use crate::http1::client::{ExchangeError, TimedHead};
use crate::http1::framing::Framing;
use crate::http1::message::Message;
use crate::http1::response::Response;
use crate::lock::lock;
use crate::tenant::OriginId;

/// Idle connections are closed after this time; the vendor does not document its own idle timeout.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// Idle connections kept by each worker for each base URL.
const IDLE_COUNT_MAX: usize = 1024;

/// After a wait or a failed attempt, a call is dispatched only if this much of its time is left, or half of its time
/// where that is less.
const DISPATCH_MIN: Duration = Duration::from_secs(5);

/// One worker's connections to the vendor.
pub struct Pool {
    connector: Arc<Connector>,
    /// Idle connections by origin. Shared with the pools of other configurations that reach the origin in the same way.
    idle: Vec<IdleConnections>,
}

type IdleConnections = Arc<Mutex<Vec<Idle>>>;

/// A connection on its way from call to call. It stays where it is in memory: answers are handed from stage to stage
/// with it, and a move copies hundreds of bytes.
type PooledConnection = Box<UpstreamConnection>;

struct Idle {
    connection: PooledConnection,
    since: Instant,
}

/// The time limits of a call.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The deadline of the whole call, with waiting and all attempts.
    pub call: Instant,
    /// The time that the whole call had from the start.
    pub whole: Duration,
    /// The time from the last byte of the request to the last byte of the answer.
    pub response: Duration,
    /// The time from which on nothing may be written, because the call is no longer paid for.
    pub late_at: Option<BootTime>,
}

impl Deadlines {
    /// The end of a wait that starts at `now` and was asked to last for `asked`. It leaves enough of the call's time to
    /// dispatch the call.
    pub fn wait_end(&self, now: Instant, asked: Duration) -> Instant {
        let left = self.call.saturating_duration_since(now).saturating_sub(self.for_dispatch());
        now + asked.min(left)
    }

    /// Whether enough time is left to dispatch the call after a wait, or a second time.
    pub fn leave_time_for_dispatch(&self) -> bool {
        self.call.saturating_duration_since(Instant::now()) >= self.for_dispatch()
    }

    fn for_dispatch(&self) -> Duration {
        DISPATCH_MIN.min(self.whole / 2)
    }
}

/// The choice of a connection for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A pooled connection, if there is one.
    Any,
    /// A new connection: the pooled one before was dead, so the others may be dead as well.
    Fresh,
}

/// A failed attempt, and the address it was connected to, if it came that far.
pub type Failed = (Failure, Option<SocketAddr>);

/// The reason why an attempt got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No byte of the request was written, so the vendor cannot have counted it.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// The time was up after some or all of the request was written.
    #[error("the vendor did not answer in time")]
    TimedOut,
    /// The connection broke after some or all of the request was written.
    #[error("the connection broke before the answer was complete")]
    Broken(#[source] Break),
}

impl Failure {
    /// The value of the `kind` label in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotSent(why) => why.kind(),
            Self::TimedOut => "timeout",
            Self::Broken(_) => "interrupted",
        }
    }
}

/// The reason why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// There was no connection.
    #[error(transparent)]
    Connect(#[from] ConnectorError),
    /// The host's circuit is open; nothing was tried.
    #[error(transparent)]
    CircuitOpen(#[from] CircuitOpen),
    /// A pooled connection turned out to be closed.
    #[error("the pooled connection was closed")]
    PooledClosed(#[source] Break),
    /// The call was no longer paid for when the connection was there: the process was stopped for a while.
    #[error("the call's slot in the store ended before the first byte")]
    Late,
}

impl NotSent {
    /// The value of the `kind` label in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.kind(),
            Self::CircuitOpen(_) => "circuit-open",
            Self::PooledClosed(_) => "pooled-closed",
            Self::Late => "late",
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Connect(error) => error.address(),
            Self::CircuitOpen(_) | Self::PooledClosed(_) | Self::Late => None,
        }
    }
}

/// The head of the vendor's answer; the body is still to be read.
pub struct UpstreamAnswer {
    /// The answer with its unread body.
    pub response: Response<AnswerBody>,
    /// The time at which the attempt began.
    pub started: Instant,
    /// The time at which the head was complete.
    pub arrived: Instant,
    /// The address it came from: the vendor's, or that of a proxy.
    pub address: Option<SocketAddr>,
}

/// The body of an answer. Reading it to its end returns the connection to the pool; dropping it before that resets the
/// connection.
pub struct AnswerBody {
    lease: Option<Lease>,
    framing: Framing,
    due: Instant,
}

/// A connection in use.
struct Lease {
    connection: Option<PooledConnection>,
    pool: Arc<Pool>,
    origin: OriginId,
    /// The last time at which something is known to have been received; the time that a short body takes is not
    /// measured.
    heard: Instant,
}

impl AnswerBody {
    fn new(lease: Lease, framing: Framing, due: Instant) -> Self {
        let mut body = Self { lease: Some(lease), framing, due };
        body.release_if(framing.is_done());
        body
    }

    /// Bytes left to read, if the vendor announced the length.
    pub fn left(&self) -> Option<u64> {
        self.framing.left()
    }

    /// Reads the next bytes; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, AnswerCut>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(None)) };
        let part = lease.connection().poll_body(&mut self.framing, self.due, cx);
        // The end is known with the last byte, so the connection is returned without another poll.
        self.release_if(self.framing.is_done() || matches!(part, Poll::Ready(Ok(None))));
        part
    }

    fn release_if(&mut self, whole: bool) {
        if let Some(lease) = self.lease.take_if(|_| whole) {
            lease.release();
        }
    }
}

impl Lease {
    fn connection(&mut self) -> &mut UpstreamConnection {
        self.connection.as_mut().expect("a lease holds its connection until it is released")
    }

    /// Returns the connection to the pool after a complete answer, if it can be used again.
    fn release(mut self) {
        let is_good = |connection: &PooledConnection| connection.finish() && !connection.is_old(self.heard);
        if let Some(connection) = self.connection.take().filter(is_good) {
            self.pool.checkin(self.origin, connection, self.heard);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.reset();
        }
    }
}

impl Pool {
    /// Creates a pool without connections.
    pub fn new(connector: Arc<Connector>) -> Arc<Self> {
        let idle = connector.origins().iter().map(|_| IdleConnections::default()).collect();
        Arc::new(Self { connector, idle })
    }

    /// Creates the pool of the next configuration; it shares the idle connections of origins that are unchanged.
    pub fn followed_by(&self, connector: Arc<Connector>) -> Arc<Self> {
        let kept = |origin| {
            let known = connector.same_origin(origin, &self.connector)?;
            Some(Arc::clone(&self.idle[known.0]))
        };
        let idle = connector.origins().iter().map(|origin| kept(origin).unwrap_or_default()).collect();
        Arc::new(Self { connector, idle })
    }

    /// Makes one attempt: chooses a connection, sends the request, and reads the head of the answer.
    pub async fn send(
        self: &Arc<Self>,
        origin: OriginId,
        message: &Message,
        choice: Choice,
        deadlines: Deadlines,
    ) -> Result<UpstreamAnswer, Failed> {
        let started = Instant::now();
        let pooled = match choice {
            Choice::Any => self.checkout(origin),
            Choice::Fresh => None,
        };
        let (connection, begun) = match pooled {
            Some(connection) => (connection, started),
            None => match self.connect(origin, deadlines.call).await {
                Ok(connection) => (connection, Instant::now()),
                Err(why) => {
                    let address = why.address();
                    return Err((why.into(), address));
                }
            },
        };
        let address = connection.address();
        if deadlines.late_at.is_some_and(BootTime::has_come) {
            return Err((NotSent::Late.into(), address));
        }
        let mut lease = Lease { connection: Some(connection), pool: Arc::clone(self), origin, heard: begun };
        let answered =
            lease.connection().exchange(message, begun, deadlines).await.map_err(|broken| match broken {
                ExchangeError::Unwritten(why) => (NotSent::PooledClosed(why.into()).into(), address),
                ExchangeError::Written(why) => (Failure::Broken(why.into()), address),
                ExchangeError::Late => (Failure::TimedOut, address),
            })?;
        self.circuit(origin).succeeded();
        let TimedHead { head, framing, arrived, due } = answered;
        lease.heard = arrived;
        let AnswerHead { status, reason, fields, .. } = head;
        let body = AnswerBody::new(lease, framing, due);
        Ok(UpstreamAnswer {
            response: Response { reason, ..Response::new(status, fields, body) },
            started,
            arrived,
            address,
        })
    }

    /// Checks whether a call would be refused because its host's circuit is open, before the call is paid for. A call
    /// that can use an idle connection is not refused.
    pub fn check_circuit(&self, origin: OriginId) -> Result<(), CircuitOpen> {
        self.circuit(origin)
            .check()
            .or_else(|open| if lock(&self.idle[origin.0]).is_empty() { Err(open) } else { Ok(()) })
    }

    fn circuit(&self, origin: OriginId) -> &Circuit {
        &self.connector.origins()[origin.0].circuit
    }

    async fn connect(&self, origin: OriginId, call_due: Instant) -> Result<PooledConnection, NotSent> {
        let now = Instant::now();
        let attempt = self.circuit(origin).admit(now)?;
        let due = call_due.min(now + self.connector.timeout());
        // Boxed, so that calls on an open connection do not reserve kilobytes for a TLS handshake.
        let outcome = timeout_at(due.into(), Box::pin(self.connector.connect(origin)))
            .await
            .unwrap_or(Err(ConnectorError::TimedOut));
        match outcome {
            Ok(_) => attempt.succeeded(),
            Err(_) => attempt.failed(Instant::now()),
        }
        Ok(Box::new(outcome?))
    }

    /// Takes the idle connection that was used last and is still open.
    fn checkout(&self, origin: OriginId) -> Option<PooledConnection> {
        loop {
            let mut idle = lock(&self.idle[origin.0]).pop()?;
            if idle.connection.is_usable() {
                return Some(idle.connection);
            }
        }
    }

    fn checkin(&self, origin: OriginId, connection: PooledConnection, since: Instant) {
        let mut idle = lock(&self.idle[origin.0]);
        if idle.len() < IDLE_COUNT_MAX {
            idle.push(Idle { connection, since });
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn trim(&self, now: Instant) {
        for idle in &self.idle {
            let mut idle = lock(idle);
            idle.retain_mut(|idle| {
                let is_fresh = now.duration_since(idle.since) < IDLE_MAX && !idle.connection.is_old(now);
                is_fresh && idle.connection.is_usable()
            });
        }
    }
}
