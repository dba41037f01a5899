//! The servers that hold the keys now, as every call sees them.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::hash_slot::hash_slot;
use super::link::{Link, is_of_key};
use super::{StoreState, micros};
use crate::budget::whole_seconds;
use crate::causes::Causes;

/// The shortest time between two lines in the log about one key.
const LOG_KEY_EVERY: Duration = Duration::from_mins(1);

/// The open connections and what each of them is for.
#[derive(Default)]
struct View {
    /// The last hash slot of each range, in order, and the connection for the range.
    ranges: Vec<(u16, Option<Arc<Link>>)>,
    /// Until when it may be used. `None`: for as long as the connections are open.
    until: Option<Instant>,
}

impl View {
    fn link(&self, key: &str) -> Option<&Arc<Link>> {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            return None;
        }
        let at = match self.ranges.len() {
            0 | 1 => 0,
            _ => {
                let slot = hash_slot(key);
                self.ranges.partition_point(|(last, _)| *last < slot)
            }
        };
        self.ranges.get(at)?.1.as_ref().filter(|link| !link.is_lost())
    }

    fn is_whole(&self) -> bool {
        let is_open = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| !link.is_lost());
        !self.ranges.is_empty()
            && self.ranges.iter().all(|(_, link)| is_open(link))
            && self.until.is_none_or(|until| until > Instant::now())
    }
}

/// The connections that are open.
pub(super) struct CurrentServers {
    view: ArcSwap<View>,
    /// Wakes the thread that keeps the connections.
    changed: Notify,
    start: Instant,
    /// The time until which at least one budget is held back, in microseconds after `start`.
    held_until: AtomicU64,
    /// When an error of each key was last logged.
    key_errors: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Default for CurrentServers {
    fn default() -> Self {
        Self {
            view: ArcSwap::default(),
            changed: Notify::new(),
            start: Instant::now(),
            held_until: AtomicU64::new(0),
            key_errors: Mutex::default(),
        }
    }
}

impl CurrentServers {
    /// The connection to the server that holds a key.
    pub(super) fn link(&self, key: &str) -> Option<Arc<Link>> {
        self.view.load().link(key).cloned()
    }

    /// The connection to the only server.
    pub(super) fn only_link(&self) -> Option<Arc<Link>> {
        self.link("")
    }

    /// All connections that were open at the last look.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.view.load().ranges.iter().filter_map(|(_, link)| link.clone()).collect()
    }

    /// Takes over what a look found: the last hash slot and the connection of each range, in order.
    pub(super) fn use_links(&self, ranges: Vec<(u16, Option<Arc<Link>>)>, until: Option<Instant>) {
        self.view.store(Arc::new(View { ranges, until }));
    }

    /// Waits until something changed that a look would find, at most for `span`.
    pub(super) async fn changed(&self, span: Duration) {
        let _ = timeout(span, self.changed.notified()).await;
    }

    /// What follows from an error on a key: nothing but a line in the log where it concerns that key alone, else the
    /// connection is dropped. An answer that is late concerns its call alone.
    pub(super) fn failed(&self, link: &Link, key: &Arc<str>, error: &redis::RedisError) {
        if error.is_timeout() {
            return self.late(link, error);
        }
        if !is_of_key(error) {
            return self.lose(link, error);
        }
        if error.is_cluster_error() {
            // The key may have moved to another server.
            self.changed.notify_one();
        }
        let now = Instant::now();
        let mut logged = self.key_errors.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.get(key).is_none_or(|last| now - *last > LOG_KEY_EVERY) {
            logged.insert(Arc::clone(key), now);
            tracing::warn!(
                %key,
                error = %Causes(error),
                "the store refuses the key of a shared budget; only the own parts of this budget are used"
            );
        }
    }

    /// Records an answer that did not come in time. After some of them in a row, the connection is dropped.
    pub(super) fn late(&self, link: &Link, error: &(dyn Error + 'static)) {
        if link.is_too_late() {
            self.lose(link, error);
        }
    }

    /// Drops a connection that failed, so that no call uses it any more.
    pub(super) fn lose(&self, link: &Link, error: &(dyn Error + 'static)) {
        if link.lose() {
            let (server, error) = (link.server(), Causes(error));
            tracing::warn!(server, %error, "the store of the shared budgets is away; only the own parts are used");
            self.changed.notify_one();
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
                "the store of the shared budgets does not know which calls were made before and holds calls back; only the own parts are used"
            );
        }
    }

    /// Records that no budget is held back any more, unless the next call finds one.
    pub(super) fn released(&self) {
        self.held_until.store(0, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> StoreState {
        if !self.view.load().is_whole() {
            return StoreState::Away;
        }
        let held = micros(self.start.elapsed()) < self.held_until.load(Ordering::Relaxed);
        if held { StoreState::HoldingBack } else { StoreState::Up }
    }
}
