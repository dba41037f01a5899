//! The vendor's side: connections, time-outs, and one attempt of one call.
//!
//! Every worker keeps its own connections in a last-in-first-out pool over hyper's HTTP/1.1 client; hyper-util's
//! pooled client was measured at 8-12 % more CPU for a push. An attempt says how it failed, because that decides
//! what may be sent again: [`Failure::NotSent`] means that no byte of the request was written.

mod circuit;
mod connect;
mod sending;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout, timeout_at};

pub use circuit::{CircuitOpen, Standing};
pub use connect::{Connector, ConnectorError, TlsSetupError};
pub use sending::Sending;

use circuit::Circuit;

use crate::tenant::OriginId;

/// Connections without a call are closed after this long; the vendor's own idle time-out is not documented.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// Idle connections kept, a worker and base URL.
const IDLE_COUNT_MAX: usize = 1024;

/// A connection that is not ready for its next call this long after an answer is closed.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// One worker's connections to the vendor.
pub struct Pool {
    connector: Arc<Connector>,
    /// By origin; shared with the pools of other configurations that reach the origin in the same way.
    idle: Vec<Shelf>,
}

type Shelf = Arc<Mutex<Vec<Idle>>>;

struct Idle {
    connection: Connection,
    since: Instant,
}

/// An open connection. Dropped, it is closed; reset, if a call on it was given up.
struct Connection {
    sender: SendRequest<Sending>,
    driver: AbortHandle,
    reset: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// When an attempt ends at the latest.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// When the attempt was paid for; it is dispatched at once.
    pub start: Instant,
    /// For the whole call, waiting and all attempts.
    pub call: Instant,
    /// How long the whole call had.
    pub whole: Duration,
    /// From the last byte of the request to the last byte of the answer.
    pub response: Duration,
}

impl Deadlines {
    /// Time left for the call.
    pub fn left(&self, now: Instant) -> Duration {
        self.call.saturating_duration_since(now)
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

/// Why an attempt brought no answer.
#[derive(Debug)]
pub enum Failure {
    /// No byte of the request was written: here it is back. The vendor cannot have counted it.
    NotSent(Box<Request<Sending>>, NotSent),
    /// Time was up after the request, or some of it, was written.
    TimedOut,
    /// The connection broke after the request, or some of it, was written.
    Broken,
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
    PooledClosed,
}

impl NotSent {
    /// Word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.kind(),
            Self::CircuitOpen(_) => "circuit-open",
            Self::PooledClosed => "pooled-closed",
        }
    }
}

/// The head of the vendor's answer, with its body still on the way.
pub struct Answer {
    /// Status, headers and the body to be read.
    pub response: Response<Incoming>,
    /// The connection, to be given back when the body is whole.
    pub lease: Lease,
    /// When its head was here.
    pub arrived: Instant,
    /// When the body must be whole.
    pub due: Instant,
}

/// A connection in use. Dropped before [`Lease::release`], the connection is reset.
pub struct Lease {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    origin: OriginId,
}

impl Lease {
    /// The answer is whole: the connection can serve the next call as soon as its driver is done with this one.
    pub fn release(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if connection.sender.is_ready() {
            return self.pool.checkin(self.origin, connection);
        }
        if connection.sender.is_closed() {
            return;
        }
        let (pool, origin) = (Arc::clone(&self.pool), self.origin);
        tokio::spawn(async move {
            if let Ok(Ok(())) = timeout(SETTLE_MAX, connection.sender.ready()).await {
                pool.checkin(origin, connection);
            }
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.reset.store(true, Ordering::Relaxed);
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
        request: Box<Request<Sending>>,
        choice: Choice,
        mut deadlines: Deadlines,
    ) -> Result<Box<Answer>, Failure> {
        let pooled = match choice {
            Choice::Any => self.checkout(origin),
            Choice::Fresh => None,
        };
        let connection = match pooled {
            Some(connection) => connection,
            None => match self.connect(origin, deadlines.call).await {
                Ok(connection) => {
                    deadlines.start = Instant::now();
                    connection
                }
                Err(why) => return Err(Failure::NotSent(request, why)),
            },
        };
        let lease = Lease { connection: Some(connection), pool: Arc::clone(self), origin };
        let answer = exchange(lease, request, deadlines).await?;
        self.circuit(origin).succeeded();
        Ok(answer)
    }

    /// Whether a call would be refused because its host is down, asked before it is paid for. It would not over a
    /// connection that is still open.
    pub fn check_circuit(&self, origin: OriginId, now: Instant) -> Result<(), CircuitOpen> {
        self.circuit(origin)
            .check(now)
            .or_else(|open| if lock(&self.idle[origin.0]).is_empty() { Err(open) } else { Ok(()) })
    }

    fn circuit(&self, origin: OriginId) -> &Circuit {
        &self.connector.origins()[origin.0].circuit
    }

    async fn connect(&self, origin: OriginId, call_due: Instant) -> Result<Connection, NotSent> {
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
    fn checkout(&self, origin: OriginId) -> Option<Connection> {
        loop {
            let idle = lock(&self.idle[origin.0]).pop()?;
            if idle.connection.sender.is_ready() {
                return Some(idle.connection);
            }
        }
    }

    fn checkin(&self, origin: OriginId, connection: Connection) {
        let mut idle = lock(&self.idle[origin.0]);
        if idle.len() < IDLE_COUNT_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes connections that nobody used for a while.
    pub fn trim(&self, now: Instant) {
        for idle in &self.idle {
            // The oldest stand first: what is returned last is used first.
            let mut idle = lock(idle);
            idle.retain(|idle| {
                !idle.connection.sender.is_closed() && now.duration_since(idle.since) < IDLE_MAX
            });
        }
    }
}

async fn exchange(
    mut lease: Lease,
    request: Box<Request<Sending>>,
    deadlines: Deadlines,
) -> Result<Box<Answer>, Failure> {
    let start = deadlines.start;
    let last_byte = request.body().last_byte();
    let due =
        |last: Option<Instant>| last.map_or(deadlines.call, |at| deadlines.call.min(at + deadlines.response));
    let connection = lease.connection.as_mut().expect("a lease holds its connection until it is released");
    let mut answer = std::pin::pin!(connection.sender.try_send_request(*request));
    let mut sleep = std::pin::pin!(sleep_until(deadlines.call.min(start + deadlines.response).into()));
    loop {
        tokio::select! {
            biased;
            outcome = &mut answer => return match outcome {
                Ok(response) => {
                    let arrived = Instant::now();
                    Ok(Box::new(Answer { response, lease, arrived, due: due(last_byte.at(start)) }))
                }
                Err(mut error) => Err(match error.take_message() {
                    Some(request) => Failure::NotSent(Box::new(request), NotSent::PooledClosed),
                    None => Failure::Broken,
                }),
            },
            () = &mut sleep => {
                let due = due(last_byte.at(start));
                if Instant::now() >= due {
                    return Err(Failure::TimedOut);
                }
                sleep.as_mut().reset(due.into());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
