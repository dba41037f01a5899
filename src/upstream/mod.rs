//! The vendor's side: connections, time-outs, and one attempt of one call.
//!
//! Every worker keeps its own connections in a last-in-first-out pool. An attempt says how it failed, because that
//! decides what may be sent again: [`Failure::NotSent`] means that no byte of the request was written.

#![warn(clippy::wildcard_enum_match_arm)]

mod circuit;
mod connect;
mod connection;
mod dial;
mod message;
mod proxy;
mod socket;
#[cfg(test)]
mod tests;
mod wire;
#[cfg(test)]
mod wire_tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout_at;

use circuit::Circuit;
pub use circuit::{CircuitOpen, CircuitState};
pub use connect::{Connector, ConnectorError, TlsSetupError};
pub use connection::{AnswerCut, Break};
use connection::{ExchangeError, TimedHead, UpstreamConnection};
pub use message::{HeadWriter, Message};
pub use proxy::ProxyError;

use crate::framing::Framing;
use crate::lock::lock;
use crate::response::Response;
use crate::tenant::OriginId;

/// Connections without a call are closed after this long; the vendor's own idle time-out is not documented.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// Idle connections kept, a worker and base URL.
const IDLE_COUNT_MAX: usize = 1024;

/// After waiting or a failed attempt, a call is dispatched only with this much of its time left, or half of it where
/// that is less.
const DISPATCH_MIN: Duration = Duration::from_secs(5);

/// One worker's connections to the vendor.
pub struct Pool {
    connector: Arc<Connector>,
    /// By origin; shared with the pools of other configurations that reach the origin in the same way.
    idle: Vec<Shelf>,
}

type Shelf = Arc<Mutex<Vec<Idle>>>;

struct Idle {
    connection: UpstreamConnection,
    since: Instant,
}

/// When a call ends at the latest.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the whole call, waiting and all attempts.
    pub call: Instant,
    /// How long the whole call had.
    pub whole: Duration,
    /// From the last byte of the request to the last byte of the answer.
    pub response: Duration,
}

impl Deadlines {
    /// When a call must end waiting that begins now and wants to wait for so long: what is left of its time after that
    /// is enough to dispatch it.
    pub fn wait_end(&self, now: Instant, asked: Duration) -> Instant {
        let left = self.call.saturating_duration_since(now).saturating_sub(self.for_dispatch());
        now + asked.min(left)
    }

    /// Whether enough time is left for dispatching the call after waiting, or a second time.
    pub fn leave_time_for_dispatch(&self) -> bool {
        self.call.saturating_duration_since(Instant::now()) >= self.for_dispatch()
    }

    fn for_dispatch(&self) -> Duration {
        DISPATCH_MIN.min(self.whole / 2)
    }
}

/// Which connection an attempt may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A pooled one, if there is one.
    Any,
    /// A new one: the pooled one before it was dead, and the others may be as well.
    Fresh,
}

/// An attempt that brought no answer, and where that was, as far as it came.
pub type Failed = (Failure, Option<SocketAddr>);

/// Why an attempt brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No byte of the request was written. The vendor cannot have counted it.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// Time was up after the request, or some of it, was written.
    #[error("the vendor did not answer in time")]
    TimedOut,
    /// The connection broke after the request, or some of it, was written.
    #[error("there was no whole answer")]
    Broken(#[source] Break),
}

impl Failure {
    /// Word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotSent(why) => why.kind(),
            Self::TimedOut => "timeout",
            Self::Broken(_) => "interrupted",
        }
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectorError),
    /// The host is down; nothing was tried.
    #[error(transparent)]
    CircuitOpen(#[from] CircuitOpen),
    /// A pooled connection turned out to be closed.
    #[error("the pooled connection was closed")]
    PooledClosed(#[source] Break),
}

impl NotSent {
    /// Word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.kind(),
            Self::CircuitOpen(_) => "circuit-open",
            Self::PooledClosed(_) => "pooled-closed",
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Connect(error) => error.address(),
            Self::CircuitOpen(_) | Self::PooledClosed(_) => None,
        }
    }
}

/// The head of the vendor's answer, with its body still on the way.
pub struct UpstreamAnswer {
    /// The answer; its body is to be read.
    pub response: Response<AnswerBody>,
    /// When the attempt began.
    pub started: Instant,
    /// When the head was here.
    pub arrived: Instant,
    /// Where it came from: the vendor's address, or a proxy's.
    pub address: Option<SocketAddr>,
}

/// The body of an answer. Read to its end, it gives its connection back; dropped before, it resets it.
pub struct AnswerBody {
    lease: Option<Lease>,
    framing: Framing,
    due: Instant,
}

/// A connection in use.
struct Lease {
    connection: Option<UpstreamConnection>,
    pool: Arc<Pool>,
    origin: OriginId,
    /// When something was heard on it, as far as it was looked at the clock: what a short answer takes is no matter.
    heard: Instant,
}

impl AnswerBody {
    fn new(lease: Lease, framing: Framing, due: Instant) -> Self {
        let mut body = Self { lease: Some(lease), framing, due };
        body.release_if(framing.is_done());
        body
    }

    /// Bytes still to come, where the vendor said how many.
    pub fn left(&self) -> Option<u64> {
        self.framing.left()
    }

    /// The next bytes; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, AnswerCut>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(None)) };
        let part = lease.connection().poll_body(&mut self.framing, self.due, cx);
        // Known to be whole with its last byte: the connection need not wait for somebody to ask once more.
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

    /// The answer is whole.
    fn release(mut self) {
        let is_good = |connection: &UpstreamConnection| connection.finish() && !connection.is_old(self.heard);
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
    /// No connections yet.
    pub fn new(connector: Arc<Connector>) -> Arc<Self> {
        let idle = connector.origins().iter().map(|_| Shelf::default()).collect();
        Arc::new(Self { connector, idle })
    }

    /// The pool of the configuration after this one: it keeps the connections that still go where they should.
    pub fn followed_by(&self, connector: Arc<Connector>) -> Arc<Self> {
        let kept = |origin| {
            let known = connector.same_origin(origin, &self.connector)?;
            Some(Arc::clone(&self.idle[known.0]))
        };
        let idle = connector.origins().iter().map(|origin| kept(origin).unwrap_or_default()).collect();
        Arc::new(Self { connector, idle })
    }

    /// Makes one attempt: from choosing a connection to the head of the answer.
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
        let mut lease = Lease { connection: Some(connection), pool: Arc::clone(self), origin, heard: begun };
        let answered =
            lease.connection().exchange(message, begun, deadlines).await.map_err(|broken| match broken {
                ExchangeError::Unwritten(why) => (NotSent::PooledClosed(why).into(), address),
                ExchangeError::Written(why) => (Failure::Broken(why), address),
                ExchangeError::Late => (Failure::TimedOut, address),
            })?;
        self.circuit(origin).succeeded();
        let TimedHead { head, framing, arrived, due } = answered;
        lease.heard = arrived;
        let wire::AnswerHead { status, reason, fields, .. } = head;
        let body = AnswerBody::new(lease, framing, due);
        Ok(UpstreamAnswer {
            response: Response { reason, ..Response::new(status, fields, body) },
            started,
            arrived,
            address,
        })
    }

    /// Whether a call would be refused because its host is down, asked before it is paid for. It would not over a
    /// connection that is still open.
    pub fn check_circuit(&self, origin: OriginId) -> Result<(), CircuitOpen> {
        self.circuit(origin)
            .check()
            .or_else(|open| if lock(&self.idle[origin.0]).is_empty() { Err(open) } else { Ok(()) })
    }

    fn circuit(&self, origin: OriginId) -> &Circuit {
        &self.connector.origins()[origin.0].circuit
    }

    async fn connect(&self, origin: OriginId, call_due: Instant) -> Result<UpstreamConnection, NotSent> {
        let now = Instant::now();
        let attempt = self.circuit(origin).admit(now)?;
        let due = call_due.min(now + self.connector.timeout());
        // Boxed: a TLS handshake needs kilobytes that a call over an open connection should not carry along.
        let outcome = timeout_at(due.into(), Box::pin(self.connector.connect(origin)))
            .await
            .unwrap_or(Err(ConnectorError::TimedOut));
        match outcome {
            Ok(_) => attempt.succeeded(),
            Err(_) => attempt.failed(Instant::now()),
        }
        Ok(outcome?)
    }

    /// The connection used last that is still open.
    fn checkout(&self, origin: OriginId) -> Option<UpstreamConnection> {
        loop {
            let mut idle = lock(&self.idle[origin.0]).pop()?;
            if idle.connection.is_usable() {
                return Some(idle.connection);
            }
        }
    }

    fn checkin(&self, origin: OriginId, connection: UpstreamConnection, since: Instant) {
        let mut idle = lock(&self.idle[origin.0]);
        if idle.len() < IDLE_COUNT_MAX {
            idle.push(Idle { connection, since });
        }
    }

    /// Closes connections that nobody used for a while.
    pub fn trim(&self, now: Instant) {
        for idle in &self.idle {
            // The oldest stand first: what is returned last is used first.
            let mut idle = lock(idle);
            idle.retain_mut(|idle| {
                let is_fresh = now.duration_since(idle.since) < IDLE_MAX && !idle.connection.is_old(now);
                is_fresh && idle.connection.is_usable()
            });
        }
    }
}
