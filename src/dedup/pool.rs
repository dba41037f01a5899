//! Cids to be used, fetched some at a time for each app key.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::body::Cid;
use crate::config::VendorKey;
use crate::lock::lock;

/// A cid is not handed out when it is older. The vendor knows it for a day (`docs/vendor.md`, V24): a repeat has the
/// other half.
const AGE_MAX: Duration = Duration::from_hours(12);
/// Fetches of one pool under way at once, at most.
const FETCHES_MAX: usize = 16;
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

/// The cids of one app key: those that are there, and those that are on their way for pushes that wait.
#[derive(Default)]
pub struct CidPool(Mutex<PoolState>);

#[derive(Default)]
struct PoolState {
    /// Oldest first, with the time of the fetch.
    cids: VecDeque<(Instant, Cid)>,
    fetches: usize,
    /// What the fetches under way will bring.
    coming: usize,
    /// Pushes that wait for it.
    waiting: usize,
    /// Told at the end of each fetch.
    ended: watch::Sender<()>,
    back_off: Duration,
    not_before: Option<Instant>,
}

/// What a push gets.
pub struct TakenCid {
    /// A cid, if there is one.
    pub cid: Option<Cid>,
    /// To be carried out by whoever gets it: soon there will be fewer cids than pushes.
    pub fetch: Option<Fetch>,
    /// Without a cid: one is on its way.
    pub wait: Option<CidWait>,
}

/// A push that waits for a cid that is on its way.
pub struct CidWait {
    pool: Arc<CidPool>,
    ended: watch::Receiver<()>,
}

/// A fetch for a pool. Dropped without cids, it has failed.
pub struct Fetch {
    pool: Arc<CidPool>,
    /// How many to ask for.
    pub count: NonZeroU32,
    since: Instant,
    brought: Vec<(Instant, Cid)>,
}

impl CidPool {
    /// Takes a cid. The next fetch begins while a quarter of a batch is left, counting what is on its way and those who
    /// wait for it: so a push that has its slot never waits for a fetch that has none.
    pub fn take(self: &Arc<Self>, now: Instant, batch: NonZeroU32) -> TakenCid {
        let mut inner = lock(&self.0);
        let is_old = |(since, _): &(Instant, Cid)| now.saturating_duration_since(*since) > AGE_MAX;
        while inner.cids.front().is_some_and(is_old) {
            inner.cids.pop_front();
        }
        let cid = inner.cids.pop_front().map(|(_, cid)| cid);
        let (batch_size, wanted) = (batch.get() as usize, inner.waiting + usize::from(cid.is_none()));
        let is_low = inner.cids.len() + inner.coming < wanted + batch_size / 4;
        let may_fetch = inner.fetches < FETCHES_MAX && inner.not_before.is_none_or(|time| now >= time);
        let fetch = (is_low && may_fetch).then(|| {
            inner.fetches += 1;
            inner.coming += batch_size;
            Fetch { pool: Arc::clone(self), count: batch, since: now, brought: Vec::new() }
        });
        let waits = (cid.is_none() && inner.coming > 0).then(|| {
            inner.waiting += 1;
            CidWait { pool: Arc::clone(self), ended: inner.ended.subscribe() }
        });
        TakenCid { cid, fetch, wait: waits }
    }
}

impl CidWait {
    /// Waits for the end of a fetch, whatever it brought.
    pub async fn ended(mut self) {
        // The sender lives as long as the pool, which this one holds.
        let _ = self.ended.changed().await;
    }
}

impl Drop for CidWait {
    fn drop(&mut self) {
        lock(&self.pool.0).waiting -= 1;
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
        inner.fetches -= 1;
        inner.coming -= self.count.get() as usize;
        // From the start on: a fetch that took long has been waited for long enough. Of several that fail together the
        // first alone counts.
        let is_news = inner.not_before.is_none_or(|time| time <= self.since);
        if !self.brought.is_empty() {
            inner.back_off = Duration::ZERO;
            inner.not_before = None;
        } else if is_news {
            inner.back_off = (inner.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
            inner.not_before = Some(self.since + inner.back_off);
        }
        inner.cids.extend(self.brought.drain(..));
        inner.ended.send_replace(());
    }
}
