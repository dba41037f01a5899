//! Cids to be used, fetched some at a time for each app key.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::body::Cid;
use crate::config::VendorKey;

/// A cid is not handed out when it is older. The vendor knows it for a day (S3): a repeat has the other half.
const AGE_MAX: Duration = Duration::from_hours(12);
/// How long pushes wait for one fetch, at most.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// After a fetch that brought nothing, the next one waits so long, then twice as long each time.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_mins(1);

/// The pools of all app keys.
#[derive(Default)]
pub struct CidPools(Mutex<HashMap<VendorKey, Arc<CidPool>>>);

impl CidPools {
    /// The pool of an app key.
    pub fn of(&self, key: &VendorKey) -> Arc<CidPool> {
        let mut pools = lock(&self.0);
        if let Some(pool) = pools.get(key) {
            return Arc::clone(pool);
        }
        Arc::clone(pools.entry(key.clone()).or_default())
    }
}

/// The cids of one app key. Never more than one fetch and what was left before it.
#[derive(Default)]
pub struct CidPool(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Oldest first, with the time of the fetch.
    cids: VecDeque<(Instant, Cid)>,
    fetch: Option<UnderWay>,
    back_off: Duration,
    not_before: Option<Instant>,
}

struct UnderWay {
    since: Instant,
    over: watch::Receiver<()>,
}

/// What a push gets.
pub struct Taken {
    /// A cid, if there is one.
    pub cid: Option<Cid>,
    /// To be carried out by whoever gets it: the pool is empty or low.
    pub fetch: Option<Fetch>,
    /// Without a cid: the end of the fetch under way, worth waiting for until then.
    pub wait: Option<(watch::Receiver<()>, Instant)>,
}

/// The only fetch of a pool. Dropped without cids, it has failed.
pub struct Fetch {
    pool: Arc<CidPool>,
    /// How many to ask for.
    pub count: NonZeroU32,
    brought: Vec<(Instant, Cid)>,
    _over: watch::Sender<()>,
}

impl CidPool {
    /// Takes a cid. A quarter of a batch is left for pushes that come while the next one is fetched.
    pub fn take(self: &Arc<Self>, now: Instant, batch: NonZeroU32) -> Taken {
        let mut inner = lock(&self.0);
        let is_old = |(since, _): &(Instant, Cid)| now.saturating_duration_since(*since) > AGE_MAX;
        while inner.cids.front().is_some_and(is_old) {
            inner.cids.pop_front();
        }
        let cid = inner.cids.pop_front().map(|(_, cid)| cid);
        let is_low = cid.is_none() || inner.cids.len() < batch.get() as usize / 4;
        let may_fetch = inner.fetch.is_none() && inner.not_before.is_none_or(|time| now >= time);
        let fetch = (is_low && may_fetch).then(|| {
            let (sender, over) = watch::channel(());
            inner.fetch = Some(UnderWay { since: now, over });
            Fetch { pool: Arc::clone(self), count: batch, brought: Vec::new(), _over: sender }
        });
        let under_way = inner.fetch.as_ref().filter(|_| cid.is_none());
        let wait = under_way.map(|fetch| (fetch.over.clone(), fetch.since + WAIT_MAX));
        Taken { cid, fetch, wait: wait.filter(|(_, until)| now < *until) }
    }
}

impl Fetch {
    /// Puts what was fetched into the pool.
    pub fn bring(mut self, cids: Vec<Cid>, now: Instant) {
        let count = self.count.get() as usize;
        self.brought = cids.into_iter().take(count).map(|cid| (now, cid)).collect();
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let mut inner = lock(&self.pool.0);
        let Some(under_way) = inner.fetch.take() else { return };
        if self.brought.is_empty() {
            inner.back_off = (inner.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
            // From the start on: a fetch that took long has been waited for long enough.
            inner.not_before = Some(under_way.since + inner.back_off);
        } else {
            inner.back_off = Duration::ZERO;
            inner.not_before = None;
        }
        inner.cids.extend(self.brought.drain(..));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
