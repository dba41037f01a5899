//! The thread that keeps the connections to the servers that hold the keys.
//!
//! All calls for one server share one connection, on which commands follow each other without waiting for answers. A
//! connection belongs to one run of its server, whose name is sent with every take, so that a restarted or promoted
//! server is recognized.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;
use tokio::time::sleep;

use super::current::CurrentServers;
use super::link::Link;
use super::progress::{Stage, ThreadProgress};
use super::registration::Registration;
use super::releases::Releases;
use super::replica_list::ReplicaList;
use super::servers::{Map, Servers, TRUST};
use crate::causes::Causes;

/// The first and the longest pause between two attempts to connect.
const BACK_OFF: Duration = Duration::from_millis(20);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// Interval in which servers are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a server is told of this replica at each look.
pub(super) struct Told {
    pub(super) registration: Registration,
    pub(super) replica_list: ReplicaList,
}

/// Starts the thread that keeps the connections. It ends when the last sender of releases is dropped.
pub(super) fn start(
    mut servers: Servers,
    current: Arc<CurrentServers>,
    releases: Releases,
    (mut told, progress): (Told, Arc<ThreadProgress>),
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let keep = move || {
        runtime.block_on(async {
            tokio::select! {
                () = releases.send_all(&current) => {}
                () = keep(&mut servers, &current, &mut told, &progress) => {}
            }
        });
    };
    std::thread::Builder::new().name("store".into()).spawn(keep).map(drop)
}

async fn keep(servers: &mut Servers, current: &CurrentServers, told: &mut Told, progress: &ThreadProgress) {
    let (mut back_off, mut logged) = (BACK_OFF, None);
    loop {
        let start = Instant::now();
        let outcome = match servers.look().await {
            Ok(map) => connect_all(servers, &map, current, start).await,
            Err(error) => Err(error),
        };
        if told.replica_list.look(current).await {
            progress.reach(Stage::Looked);
        }
        match outcome {
            Ok(()) => {
                logged = None;
                // A server that was replaced may go on and give slots, which would be registered nowhere.
                if let Some(link) = current.only_link().filter(|_| !servers.can_change()) {
                    told.registration.look(&link, current).await;
                }
                tokio::select! {
                    () = current.changed(LOOK_EVERY) => {}
                    () = progress.leave.notified() => {
                        told.replica_list.leave(current).await;
                        progress.reach(Stage::Left);
                        // Nothing is told any more, so that the list stays so.
                        return std::future::pending().await;
                    }
                }
                if start.elapsed() >= LOOK_EVERY {
                    back_off = BACK_OFF;
                    continue;
                }
            }
            // Each cause once, for as long as it is the same.
            Err(error) => {
                let cause = Causes(&error).to_string();
                if logged.as_ref() != Some(&cause) {
                    tracing::warn!(
                        error = %cause,
                        "the store of the shared budgets cannot be reached; only the own parts are used"
                    );
                    logged = Some(cause);
                }
            }
        }
        sleep(back_off).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// Checks the open connections to the servers of the map and opens those that are missing. Returns the first error.
async fn connect_all(
    servers: &Servers,
    map: &Map,
    current: &CurrentServers,
    asked: Instant,
) -> RedisResult<()> {
    let before = current.links();
    let links = map.servers().map(|server| {
        let open = before.iter().find(|link| link.server() == server.map(|server| &**server)).cloned();
        async move {
            if let Some(link) = open.filter(|link| !link.is_lost()) {
                match link.check().await {
                    Ok(()) => {
                        link.answered();
                        return Ok(link);
                    }
                    // A server that another one can replace must have answered, or it is no longer trusted.
                    Err(error) if error.is_timeout() && !servers.can_change() => current.late(&link, &error),
                    Err(error) => current.lose(&link, &error),
                }
                if !link.is_lost() {
                    return Ok(link);
                }
            }
            let link = Link::open(&servers.client(server.map(|server| &**server))?, server.cloned()).await?;
            tracing::info!(server = link.server(), "the store of the shared budgets answers");
            Ok(Arc::new(link))
        }
    });
    let links = futures_util::future::join_all(links).await;
    let (links, errors): (Vec<_>, Vec<_>) = (
        links.iter().map(|link| link.as_ref().ok().cloned()).collect(),
        links.into_iter().filter_map(Result::err).collect(),
    );
    current.use_links(map.ranges(&links), servers.can_change().then(|| asked + TRUST));
    errors.into_iter().next().map_or(Ok(()), Err)
}
