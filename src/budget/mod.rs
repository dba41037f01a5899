//! Shared budgets: how many calls the vendor allows a key in a window, kept exactly.
//!
//! A [`Budget`] belongs to a vendor key and a name, never to a route, a caller or a version of the configuration.
//! [`take`] decides over several budgets, the caller's quota and pacing together, or not at all. What it gives is a
//! [`Permit`], one vendor call paid for; dropping a permit is always right, whenever it happens.
//!
//! Pure: time is passed in as a [`Moment`], except where a permit is dropped, which is why it carries its [`Clock`].

mod moment;
mod pace;
mod permit;
mod tally;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use moment::Moment;
use pace::Pace;
pub use permit::{Dispatched, Permit};
use tally::Tally;
use window::{Rule, Window};

use crate::config::{BudgetLimit, VendorKey};
use crate::operation::BudgetName;

/// Reads the monotonic clock budgets are kept by.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts counting now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment::after_start(self.0.elapsed())
    }

    /// The moment of an instant.
    pub fn at(&self, instant: Instant) -> Moment {
        Moment::after_start(instant.saturating_duration_since(self.0))
    }
}

/// All budgets, by vendor key and name. They outlive every configuration: a reload finds them again here.
#[derive(Default)]
pub struct Budgets {
    by_key: Mutex<HashMap<(VendorKey, BudgetName), Arc<Budget>>>,
    next_order: AtomicU32,
}

/// How long calls can matter beyond their answer.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// How long after a given-up attempt the vendor may still count it.
    pub guard: Duration,
    /// How long an attempt lasts at most.
    pub attempt: Duration,
}

impl Budgets {
    /// The budget of a key, with this size from now on.
    pub fn open(
        &self,
        key: &VendorKey,
        name: BudgetName,
        limit: BudgetLimit,
        horizon: Horizon,
    ) -> Arc<Budget> {
        let mut by_key = lock(&self.by_key);
        let budget = by_key.entry((key.clone(), name)).or_insert_with(|| {
            let order = self.next_order.fetch_add(1, Ordering::Relaxed);
            Arc::new(Budget { name, order, inner: Mutex::new(Inner::new(name, limit, horizon)) })
        });
        lock(&budget.inner).resize(limit, horizon);
        Arc::clone(budget)
    }
}

/// One budget: the calls one vendor key may make in a window.
pub struct Budget {
    name: BudgetName,
    /// Locks are taken in this order, so two calls over the same budgets cannot wait for each other.
    order: u32,
    inner: Mutex<Inner>,
}

struct Inner {
    name: BudgetName,
    limit: BudgetLimit,
    rule: Rule,
    window: Window,
    pace: Option<Pace>,
    tally: Tally,
}

impl Inner {
    fn new(name: BudgetName, limit: BudgetLimit, horizon: Horizon) -> Self {
        Self {
            name,
            limit,
            rule: rule(limit, horizon),
            window: Window::default(),
            pace: pace(limit),
            tally: Tally::default(),
        }
    }

    fn resize(&mut self, limit: BudgetLimit, horizon: Horizon) {
        self.rule = rule(limit, horizon);
        if self.limit != limit {
            self.limit = limit;
            self.pace = pace(limit);
        }
    }

    fn exhausted(&self, wait: Duration) -> Exhausted {
        Exhausted::Budget { name: self.name, limit: self.rule.limit, window: self.rule.length, wait }
    }

    fn standing(&mut self, now: Moment) -> Standing {
        self.window.free(&self.rule, now);
        Standing {
            name: self.name,
            limit: self.rule.limit,
            window: self.rule.length,
            used: self.window.used(),
            reset: self.window.until_release(&self.rule, now),
        }
    }
}

fn rule(limit: BudgetLimit, horizon: Horizon) -> Rule {
    Rule { limit: limit.limit.get(), length: limit.window, guard: horizon.guard, attempt: horizon.attempt }
}

fn pace(limit: BudgetLimit) -> Option<Pace> {
    limit.burst.map(|_| Pace::new(&limit))
}

/// A budget as it stands: for headers, metrics and the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which budget.
    pub name: BudgetName,
    /// Calls a window.
    pub limit: u32,
    /// Length of the window.
    pub window: Duration,
    /// Slots in use; can be above `limit` after a reload that lowered it.
    pub used: u32,
    /// Until one more slot is free than now; zero if none is in use.
    pub reset: Duration,
}

/// Calls of one caller on one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Answered or given up, and still in the window.
    pub window: u32,
    /// In the last hour.
    pub hour: u32,
}

impl Standing {
    /// Calls that can be made now.
    pub fn remaining(&self) -> u32 {
        self.limit.saturating_sub(self.used)
    }
}

impl Budget {
    /// Its name.
    pub fn name(&self) -> BudgetName {
        self.name
    }

    /// How it stands now.
    pub fn standing(&self, now: Moment) -> Standing {
        lock(&self.inner).standing(now)
    }

    /// Calls by caller, for those that made any in the last hour or hold a slot after their answer.
    pub fn by_caller(&self, now: Moment) -> BTreeMap<u16, Calls> {
        let mut inner = lock(&self.inner);
        let Inner { window, rule, tally, .. } = &mut *inner;
        window.free(rule, now);
        let mut calls: BTreeMap<u16, Calls> = BTreeMap::new();
        for caller in window.callers() {
            calls.entry(caller).or_default().window += 1;
        }
        for (caller, hour) in tally.last_hour(now).filter(|(_, hour)| *hour > 0) {
            calls.entry(caller).or_default().hour = hour;
        }
        calls
    }
}

/// One caller's share of the budgets, by governor.
pub struct Quota {
    limit: BudgetLimit,
    pace: Mutex<Pace>,
}

impl Quota {
    fn exhausted(&self, wait: Duration) -> Exhausted {
        Exhausted::Quota { limit: self.limit.limit.get(), window: self.limit.window, wait }
    }

    /// A fresh share.
    pub fn new(limit: BudgetLimit) -> Self {
        Self { limit, pace: Mutex::new(Pace::new(&limit)) }
    }

    /// Its size.
    pub fn limit(&self) -> BudgetLimit {
        self.limit
    }
}

/// The budgets one call draws on: all of them or none.
#[derive(Clone, Default)]
pub struct Draw([Option<Arc<Budget>>; Draw::MAX]);

impl Draw {
    /// A schedule for a target list to everybody draws on three, a v4 upload of two pictures as well.
    const MAX: usize = 4;

    /// Adds a budget, keeping the order in which locks are taken.
    pub fn add(&mut self, budget: &Arc<Budget>) {
        let mut carried = Some(Arc::clone(budget));
        for place in &mut self.0 {
            if place.as_ref().is_none_or(|known| carried.as_ref().is_some_and(|new| new.order < known.order))
            {
                std::mem::swap(place, &mut carried);
            }
        }
        assert!(carried.is_none(), "no call draws on more than {} budgets", Self::MAX);
    }

    /// Its budgets.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.0.iter().flatten()
    }
}

/// Why a call has to wait, and how long: true for a lone caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// No slot is free in this budget, or pacing holds the next one back.
    #[error(
        "Rate limit exceeded: the {} budget of {limit} calls in {} is used up; nothing was sent, try again in {} s",
        name.as_str(), humantime::format_duration(*window), whole_seconds(*wait)
    )]
    Budget {
        /// Which one.
        name: BudgetName,
        /// Its size.
        limit: u32,
        /// Length of its window.
        window: Duration,
        /// When to come again.
        wait: Duration,
    },
    /// The caller used its share.
    #[error(
        "Rate limit exceeded: this caller's quota of {limit} calls in {} is used up; nothing was sent, try again in {} s",
        humantime::format_duration(*window), whole_seconds(*wait)
    )]
    Quota {
        /// Size of the share.
        limit: u32,
        /// Time over which it is spread.
        window: Duration,
        /// When to come again.
        wait: Duration,
    },
}

impl Exhausted {
    /// When a lone caller that comes again is admitted.
    pub fn wait(&self) -> Duration {
        match self {
            Self::Budget { wait, .. } | Self::Quota { wait, .. } => *wait,
        }
    }

    /// The wait for a `Retry-After` header: at least one second.
    pub fn retry_after_seconds(&self) -> u64 {
        whole_seconds(self.wait()).max(1)
    }
}

/// Seconds, rounded up, so that whoever waits them has waited long enough.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Who asks for a slot.
#[derive(Clone)]
pub struct Taker {
    /// The caller's number, for the status page.
    pub caller: u16,
    /// Its share, if it has one.
    pub quota: Option<Arc<Quota>>,
}

/// Takes a slot in every budget of `draw` and the caller's share of one call, or nothing at all.
///
/// Slots first, then the quota, then pacing: a refusal costs neither slot nor share.
pub fn take(draw: Draw, taker: Taker, clock: Clock, now: Moment) -> Result<Permit, Exhausted> {
    let mut held = Held::lock(&draw);
    held.slots_free(now)?;
    if let Some(quota) = &taker.quota {
        let share = lock(&quota.pace);
        share.take(now).map_err(|wait| quota.exhausted(wait))?;
        held.pace(now).inspect_err(|_| share.refund())?;
    } else {
        held.pace(now)?;
    }
    held.take();
    drop(held);
    Ok(Permit::new(draw, taker, clock))
}

/// The locked budgets of one decision.
struct Held<'b>([Option<MutexGuard<'b, Inner>>; Draw::MAX]);

impl<'b> Held<'b> {
    fn lock(draw: &'b Draw) -> Self {
        Self(draw.0.each_ref().map(|budget| budget.as_ref().map(|budget| lock(&budget.inner))))
    }

    fn iter(&mut self) -> impl Iterator<Item = &mut Inner> {
        self.0.iter_mut().flatten().map(|guard| &mut **guard)
    }

    /// Refuses with the longest wait among the budgets that have no slot.
    fn slots_free(&mut self, now: Moment) -> Result<(), Exhausted> {
        let full = self.iter().filter_map(|inner| {
            let full = inner.window.free(&inner.rule, now) == 0;
            full.then(|| inner.exhausted(inner.window.until_release(&inner.rule, now)))
        });
        full.max_by_key(Exhausted::wait).map_or(Ok(()), Err)
    }

    fn pace(&mut self, now: Moment) -> Result<(), Exhausted> {
        let mut refusal = None;
        let mut taken = 0;
        for inner in self.iter() {
            match inner.pace.as_ref().map_or(Ok(()), |pace| pace.take(now)) {
                Ok(()) => taken += 1,
                Err(wait) => {
                    refusal = Some(inner.exhausted(wait));
                    break;
                }
            }
        }
        let Some(refusal) = refusal else { return Ok(()) };
        self.iter().take(taken).filter_map(|inner| inner.pace.as_ref()).for_each(Pace::refund);
        Err(refusal)
    }

    fn take(&mut self) {
        self.iter().for_each(|inner| inner.window.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
