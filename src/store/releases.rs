//! Releases on their way to the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::current::CurrentServers;
use super::link::{Link, is_of_key};
use super::scripts::Scripts;
use super::slots::{Keep, Release};
use super::{RELEASES_MAX, micros, slot_name};

/// The most releases sent together.
const BATCH_MAX: usize = 256;
/// How often a release is sent whose arrival is not known. After that its slot expires by itself.
const SENDS_MAX: u8 = 5;
/// Interval in which releases are sent again.
const SEND_AGAIN_EVERY: Duration = Duration::from_millis(20);

/// Releases that wait to be sent.
pub(super) struct Releases {
    waiting: mpsc::Receiver<Release>,
    /// Releases whose server could not be reached, or whose arrival is not known.
    late: VecDeque<Release>,
    scripts: Arc<Scripts>,
    process: String,
}

impl Releases {
    pub(super) fn new(waiting: mpsc::Receiver<Release>, scripts: &Arc<Scripts>, process: &str) -> Self {
        Self { waiting, late: VecDeque::new(), scripts: Arc::clone(scripts), process: process.to_owned() }
    }

    /// Sends releases until there will be no more.
    pub(super) async fn send_all(mut self, current: &CurrentServers) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                received = self.waiting.recv_many(&mut batch, BATCH_MAX) => {
                    if received == 0 {
                        return;
                    }
                }
                () = sleep(SEND_AGAIN_EVERY), if !self.late.is_empty() => {
                    let again = self.late.len().min(BATCH_MAX);
                    batch.extend(self.late.drain(..again));
                }
            }
            let sent = batch.iter_mut().map(|release| send(&self.scripts, &self.process, release, current));
            let arrived = futures_util::future::join_all(sent).await;
            let late =
                batch.drain(..).zip(arrived).filter(|(_, arrived)| !arrived).map(|(release, _)| release);
            self.late.extend(late);
            // Those that waited longest are dropped; their slots expire by themselves.
            let too_many = self.late.len().saturating_sub(RELEASES_MAX);
            self.late.drain(..too_many);
        }
    }
}

/// Sends a release and waits for the answer; `false` if it has to be sent again, which is harmless.
async fn send(scripts: &Scripts, process: &str, release: &mut Release, current: &CurrentServers) -> bool {
    let Some((key, _)) = release.budgets.iter().flatten().next() else { return true };
    let (key, Some(link)) = (Arc::clone(key), current.link(key)) else { return false };
    release.sends += 1;
    match invoke(scripts, process, release, &link).await {
        Ok(()) => {
            link.answered();
            true
        }
        Err(error) => {
            current.failed(&link, &key, &error);
            is_of_key(&error) || release.sends >= SENDS_MAX
        }
    }
}

async fn invoke(scripts: &Scripts, process: &str, release: &Release, link: &Link) -> RedisResult<()> {
    let mut invocation = scripts.release.prepare_invoke();
    invocation.arg(slot_name(process, release.id));
    for (key, keep) in release.budgets.iter().flatten() {
        let keep = match keep {
            Keep::None => -1,
            Keep::For(span) => i64::try_from(micros(*span)).unwrap_or(i64::MAX),
        };
        invocation.key(&**key).arg(keep);
    }
    invocation.invoke_async(&mut link.connection.clone()).await
}
