//! One connection to a server, and what its errors mean.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, InfoDict, RedisError, RedisResult, ServerErrorKind};
use tokio::time::timeout;

use super::ANSWER_MAX;

/// The longest time for name resolution, TCP, TLS and the server's greeting.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// How many answers may come too late one after the other. A single one concerns its call alone.
const LATE_MAX: u8 = 5;

/// An open connection and the run of its server.
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    /// The name of the server's run. A server of a failover group gets another one each time that it takes over.
    pub(super) run: String,
    /// Where the server is; `None` where the configuration names the only one.
    server: Option<Arc<str>>,
    is_lost: AtomicBool,
    /// Answers that came too late since the last one that came in time.
    late: AtomicU8,
}

impl Link {
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Marks it as lost; `false` if it was already.
    pub(super) fn lose(&self) -> bool {
        !self.is_lost.swap(true, Ordering::Relaxed)
    }

    /// Counts an answer that came too late; `true` if there were so many that the server counts as unavailable.
    pub(super) fn is_too_late(&self) -> bool {
        self.late.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= LATE_MAX
    }

    /// Records an answer that came in time.
    pub(super) fn answered(&self) {
        if self.late.load(Ordering::Relaxed) != 0 {
            self.late.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Connects to a server.
    pub(super) async fn open(client: &Client, server: Option<Arc<str>>) -> RedisResult<Self> {
        let mut connection = connect(client, ANSWER_MAX).await?;
        let run = run(&mut connection, server.is_some()).await?;
        Ok(Self { connection, run, server, is_lost: AtomicBool::new(false), late: AtomicU8::new(0) })
    }

    /// Checks that the server answers and is in the same run as before.
    pub(super) async fn check(&self) -> RedisResult<()> {
        let mut connection = self.connection.clone();
        if self.server.is_none() {
            return redis::cmd("PING").query_async(&mut connection).await;
        }
        let is_same = run(&mut connection, true).await? == self.run;
        is_same.then_some(()).ok_or_else(|| unexpected("the server began anew"))
    }
}

/// Opens a connection whose commands must be answered within `answer_max`.
pub(super) async fn connect(client: &Client, answer_max: Duration) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(answer_max));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let late = |_| RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
    timeout(CONNECT_MAX, connecting).await.map_err(late)?
}

/// The name of the server's run. In a failover group the server must be the one that takes writes, and its name changes
/// when it takes over: its replication id does.
async fn run(connection: &mut MultiplexedConnection, can_take_over: bool) -> RedisResult<String> {
    let server: InfoDict = redis::cmd("INFO").arg("server").query_async(connection).await?;
    let run: String = server.get("run_id").ok_or_else(|| unexpected("no run id"))?;
    if !can_take_over {
        return Ok(run);
    }
    let group: InfoDict = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    if group.get::<String>("role").as_deref() != Some("master") {
        return Err(unexpected("the server is a replica"));
    }
    let group: String = group.get("master_replid").ok_or_else(|| unexpected("no replication id"))?;
    Ok(format!("{run}/{group}"))
}

pub(super) fn unexpected(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, what))
}

/// Whether an error concerns only the keys of its command, and not the server or the connection.
pub(super) fn is_of_key(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, CrossSlot, Moved, NoPerm, TryAgain};
    let says = |word| error.detail().is_some_and(|detail| detail.contains(word));
    if let ErrorKind::Server(kind @ (Moved | Ask | TryAgain | CrossSlot | NoPerm)) = error.kind() {
        // The other rights are those to run a command at all.
        return kind != NoPerm || says("key");
    }
    // Redis 6 wraps what happens in a script.
    error.code() == Some("WRONGTYPE") || says("WRONGTYPE")
}
