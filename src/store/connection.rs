//! The connection to the store, on a thread of its own that connects, watches the connection and reconnects.
//!
//! All calls share one connection, on which commands follow each other without waiting for answers. A connection
//! belongs to one run of the server, whose id is sent with every take, so that a restarted server is recognized.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::{ANSWER_MAX, Keep, Release, Scripts, StoreState, micros, slot_name};
use crate::budget::whole_seconds;
use crate::causes::Causes;

/// The longest time for name resolution, TCP and the store's greeting.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// The first and the longest pause between two attempts to connect.
const BACK_OFF: Duration = Duration::from_millis(20);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// Interval of `PING`s on a connection that nobody uses.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most releases sent together.
const BATCH_MAX: usize = 256;

/// An open connection and the run id of its server.
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    pub(super) run: String,
    lost: Notify,
}

/// The open connection, if there is one.
pub(super) struct CurrentConnection {
    link: ArcSwapOption<Link>,
    start: Instant,
    /// The time until which at least one budget is held back, in microseconds after `start`.
    held_until: AtomicU64,
}

impl Default for CurrentConnection {
    fn default() -> Self {
        Self { link: ArcSwapOption::empty(), start: Instant::now(), held_until: AtomicU64::new(0) }
    }
}

impl CurrentConnection {
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.load_full()
    }

    /// Drops a connection that failed, so that no call uses it any more.
    pub(super) fn lose(&self, link: &Arc<Link>, error: &(dyn Error + 'static)) {
        let before = self.link.compare_and_swap(link, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, link)) {
            tracing::warn!(error = %Causes(error), "the store of the shared budgets is away; only the own parts are used");
            link.lost.notify_one();
        }
    }

    /// Records that a budget is held back for `left`. Logged once, until none is held back any more.
    pub(super) fn held_back(&self, left: Duration) {
        let now = micros(self.start.elapsed());
        let before = self.held_until.fetch_max(now.saturating_add(micros(left)), Ordering::Relaxed);
        if before <= now {
            let left = humantime::format_duration(Duration::from_secs(whole_seconds(left)));
            tracing::warn!(
                %left,
                "the store of the shared budgets was found without its former counts and holds calls back; only the own parts are used"
            );
        }
    }

    pub(super) fn state(&self) -> StoreState {
        if self.link.load().is_none() {
            return StoreState::Away;
        }
        let held = micros(self.start.elapsed()) < self.held_until.load(Ordering::Relaxed);
        if held { StoreState::HoldingBack } else { StoreState::Up }
    }
}

/// Releases that wait to be sent.
pub(super) struct Releases {
    waiting: mpsc::Receiver<Release>,
    /// Releases taken from `waiting` whose arrival is not known yet.
    batch: Vec<Release>,
    scripts: Arc<Scripts>,
    process: String,
}

impl Releases {
    pub(super) fn new(waiting: mpsc::Receiver<Release>, scripts: &Arc<Scripts>, process: &str) -> Self {
        Self { waiting, batch: Vec::new(), scripts: Arc::clone(scripts), process: process.to_owned() }
    }

    /// Waits for releases, sends them and waits for the answers. Sending one twice is harmless. `None`: there will be
    /// no more.
    async fn send(&mut self, link: &Link) -> Option<RedisResult<()>> {
        if self.batch.is_empty() && self.waiting.recv_many(&mut self.batch, BATCH_MAX).await == 0 {
            return None;
        }
        let sent = self.batch.iter().map(|release| self.send_one(release, link.connection.clone()));
        let sent = futures_util::future::try_join_all(sent).await;
        if sent.is_ok() {
            self.batch.clear();
        }
        Some(sent.map(|_| ()))
    }

    async fn send_one(&self, release: &Release, mut connection: MultiplexedConnection) -> RedisResult<()> {
        let mut invocation = self.scripts.release.prepare_invoke();
        invocation.arg(slot_name(&self.process, release.id));
        for (key, keep) in release.budgets.iter().flatten() {
            let keep = match keep {
                Keep::None => -1,
                Keep::For(span) => i64::try_from(micros(*span)).unwrap_or(i64::MAX),
            };
            invocation.key(&**key).arg(keep);
        }
        invocation.invoke_async(&mut connection).await
    }
}

/// Starts the thread that keeps the connection. It ends when the last sender of releases is dropped.
pub(super) fn start(client: Client, current: Arc<CurrentConnection>, releases: Releases) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let keep = move || runtime.block_on(keep(&client, &current, releases));
    std::thread::Builder::new().name("store".into()).spawn(keep).map(drop)
}

async fn keep(client: &Client, current: &CurrentConnection, mut releases: Releases) {
    let (mut back_off, mut is_logged) = (BACK_OFF, false);
    while !releases.waiting.is_closed() {
        match connect(client).await {
            Ok(link) => {
                let (link, since) = (Arc::new(link), Instant::now());
                current.link.store(Some(Arc::clone(&link)));
                tracing::info!("the store of the shared budgets answers");
                watch(&link, current, &mut releases).await;
                is_logged = false;
                if since.elapsed() > BACK_OFF_MAX {
                    back_off = BACK_OFF;
                }
            }
            Err(error) if !is_logged => {
                tracing::warn!(
                    error = %Causes(&error),
                    "the store of the shared budgets cannot be reached; only the own parts are used"
                );
                is_logged = true;
            }
            Err(_) => {}
        }
        sleep(back_off).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// Sends releases, and a `PING` now and then, until the connection fails.
async fn watch(link: &Arc<Link>, current: &CurrentConnection, releases: &mut Releases) {
    loop {
        let failed = tokio::select! {
            () = link.lost.notified() => return,
            outcome = releases.send(link) => match outcome {
                None => return,
                Some(outcome) => outcome.err(),
            },
            () = sleep(LOOK_EVERY) => {
                redis::cmd("PING").query_async::<()>(&mut link.connection.clone()).await.err()
            }
        };
        if let Some(error) = failed {
            current.lose(link, &error);
        }
    }
}

async fn connect(client: &Client) -> RedisResult<Link> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(ANSWER_MAX));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let late = |_| RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
    let mut connection = timeout(CONNECT_MAX, connecting).await.map_err(late)??;
    let server: redis::InfoDict = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let unknown = || RedisError::from((redis::ErrorKind::UnexpectedReturnType, "no run id"));
    let run = server.get("run_id").ok_or_else(unknown)?;
    Ok(Link { connection, run, lost: Notify::new() })
}
