//! Cids for later use, fetched in batches for each app key.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::body::Cid;
use crate::config::VendorKey;
use crate::lock::lock;

/// The age after which a cid is not used any more. The vendor remembers a cid for a day (`docs/vendor.md`, V24), so a
/// repeat has the other half of that time.
const AGE_MAX: Duration = Duration::from_hours(12);
/// The most fetches of one pool at the same time.
const FETCHES_MAX: usize = 16;
/// Pause after a fetch that returned no cid; doubled after each further one.
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

/// The cids of one app key: those in stock, and those being fetched for waiting pushes.
#[derive(Default)]
pub struct CidPool(Mutex<PoolState>);

#[derive(Default)]
struct PoolState {
    /// Oldest first, with the time of the fetch.
    cids: VecDeque<(Instant, Cid)>,
    fetches: usize,
    /// Number of cids that the fetches under way will return.
    coming: usize,
    /// Number of pushes that wait for them.
    waiting: usize,
    /// Notified at the end of each fetch.
    ended: watch::Sender<()>,
    back_off: Duration,
    not_before: Option<Instant>,
}

/// The result of taking a cid for a push.
pub struct TakenCid {
    /// The cid, if one was in stock.
    pub cid: Option<Cid>,
    /// A fetch that the receiver has to carry out, because there will soon be fewer cids than pushes.
    pub fetch: Option<Fetch>,
    /// Without a cid: waits for one that is being fetched.
    pub wait: Option<CidWait>,
}

/// A push that waits for a cid that is being fetched.
pub struct CidWait {
    pool: Arc<CidPool>,
    ended: watch::Receiver<()>,
}

/// A fetch for a pool. Dropping it without [`Self::bring`] counts as a failure.
pub struct Fetch {
    pool: Arc<CidPool>,
    /// Number of cids to request.
    pub count: NonZeroU32,
    since: Instant,
    brought: Vec<(Instant, Cid)>,
}

impl CidPool {
    /// Takes a cid. The next fetch starts while a quarter of a batch is left, counting cids being fetched and the
    /// pushes that wait for them. So a push that has its budget slot never waits for a fetch that has none.
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
    /// Waits for the end of a fetch, whatever it returned.
    pub async fn ended(mut self) {
        // The sender lives as long as the pool, which this value keeps alive.
        let _ = self.ended.changed().await;
    }
}

impl Drop for CidWait {
    fn drop(&mut self) {
        lock(&self.pool.0).waiting -= 1;
    }
}

impl Fetch {
    /// Puts the fetched cids into the pool.
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
        // The pause counts from the start of the fetch, because a slow fetch was a pause already. Of several fetches
        // that fail together only the first counts.
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
