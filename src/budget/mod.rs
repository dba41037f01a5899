//! Shared budgets: how many calls the vendor allows a key in a window, kept exactly.
//!
//! A [`Budget`] belongs to a vendor key and a name, never to a route, a caller or a version of the configuration.
//! [`take`] decides over several budgets, the caller's quota and pacing together, or not at all. What it gives is a
//! [`Permit`], one vendor call paid for; dropping a permit is always right, whenever it happens.
//!
//! Budgets live as long as the process, so calls refer to them plainly: a shared count of references would be one
//! more cache line that every core writes to on every call.
//!
//! Pure: time is passed in as a [`Moment`], except where a permit is dropped, which is why it carries its [`Clock`].

mod clock;
mod decide;
mod lock;
mod moment;
mod pace;
mod permit;
mod queue;
mod remains;
mod reserve;
mod tally;
#[cfg(test)]
mod tests;
mod window;
mod word;

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use smallvec::SmallVec;

pub use clock::Clock;
pub use decide::{Decision, Exhausted, Patience, Taker, Turn, decide, take, whole_seconds};
use lock::lock;
pub use moment::Moment;
use pace::Pace;
pub use permit::{Dispatched, Permit};
pub use queue::Bell;
use queue::Queue;
pub use remains::{BudgetId, Ended, Reach, Remains, fnv1a};
use reserve::{Kept, Reserves};
use tally::Tally;
use window::{Ends, Rule, Window};
pub use word::Said;
use word::Word;

use crate::config::{BudgetLimit, VendorKey};
use crate::operation::BudgetName;

/// All budgets, by vendor key and name. They outlive every configuration: a reload finds them again here.
#[derive(Default)]
pub struct Budgets {
    by_key: Mutex<HashMap<(VendorKey, BudgetName), &'static Budget>>,
    next_order: AtomicU32,
    remains: Mutex<Remains>,
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
    ) -> &'static Budget {
        let mut by_key = lock(&self.by_key);
        let budget: &'static Budget = by_key.entry((key.clone(), name)).or_insert_with(|| {
            let order = self.next_order.fetch_add(1, Ordering::Relaxed);
            let (id, mut inner) = (BudgetId::of(key, name), Inner::new(name, limit, horizon));
            self.take_up(id, &mut inner);
            Box::leak(Box::new(Budget { name, id, order, inner: Mutex::new(inner) }))
        });
        lock(&budget.inner).resize(limit, horizon);
        budget
    }
}

/// One budget: the calls one vendor key may make in a window.
pub struct Budget {
    name: BudgetName,
    id: BudgetId,
    /// Locks are taken in this order, so two calls over the same budgets cannot wait for each other.
    order: u32,
    inner: Mutex<Inner>,
}

struct Inner {
    name: BudgetName,
    limit: BudgetLimit,
    rule: Rule,
    window: Window,
    pace: Option<Box<Pace>>,
    tally: Tally,
    queue: Queue,
    reserves: Reserves,
    /// Calls that ever took a slot: tells which answers are news.
    dispatched: u64,
    word: Option<Word>,
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
            queue: Queue::default(),
            reserves: Reserves::default(),
            dispatched: 0,
            word: None,
        }
    }

    /// Slots that can be taken now: what our window and the vendor's word both allow.
    fn free(&mut self, now: Moment) -> u32 {
        let by_window = self.free_by_window(now);
        match self.word(now) {
            Some(word) => by_window.min(word.free(self.dispatched, self.window.used())),
            None => by_window,
        }
    }

    fn free_by_window(&mut self, now: Moment) -> u32 {
        let Self { window, rule, reserves, queue, .. } = self;
        let free = window.free(rule, now, |caller| reserves.freed(caller));
        if !reserves.is_empty() {
            queue.put_first(|caller| reserves.owes(caller));
        }
        free
    }

    /// Notes what became of a slot of an owner, if anything is kept for anybody.
    fn reserve(&mut self, change: impl FnOnce(&mut Reserves)) {
        let Self { reserves, queue, .. } = self;
        if !reserves.is_empty() {
            change(reserves);
            queue.put_first(|caller| reserves.owes(caller));
        }
    }

    /// Until this many slots can be taken one after the other while others are kept: they are free as well, or lent.
    fn until_free_beside(&mut self, now: Moment, nth: usize, kept: u32, lent_in: Duration) -> Duration {
        let alone = self.until_free(now, nth, Ends::Latest);
        let beside = nth.saturating_add(kept as usize);
        match kept {
            0 => alone,
            _ if beside > self.rule.limit as usize => alone.max(lent_in + Moment::TICK),
            _ => self.until_free(now, beside, Ends::Latest).min(alone.max(lent_in + Moment::TICK)),
        }
    }

    /// Until this many slots can be taken one after the other.
    fn until_free(&mut self, now: Moment, nth: usize, ends: Ends) -> Duration {
        let free = self.free_by_window(now) as usize;
        let by_window = match nth.saturating_sub(free) {
            0 => Duration::ZERO,
            missing => self.window.until_release(&self.rule, now, missing, ends),
        };
        let heard =
            self.word(now).filter(|word| (word.free(self.dispatched, self.window.used()) as usize) < nth);
        by_window.max(heard.map_or(Duration::ZERO, |word| word.left(now) + Moment::TICK)).max(Moment::TICK)
    }

    fn word(&self, now: Moment) -> Option<&Word> {
        self.word.as_ref().filter(|word| word.holds(now))
    }

    fn resize(&mut self, limit: BudgetLimit, horizon: Horizon) {
        self.rule = rule(limit, horizon);
        if self.limit != limit {
            self.limit = limit;
            self.pace = pace(limit);
            // Who waits may find room now.
            self.queue.ring_head();
        }
    }

    fn kept_from(&self, caller: u16, now: Moment) -> Kept {
        self.reserves.kept_from(caller, now, self.rule.length)
    }

    fn standing_for(&mut self, caller: u16, now: Moment) -> Standing {
        self.standing(now, self.kept_from(caller, now))
    }

    fn exhausted(&self, wait: Duration) -> Exhausted {
        Exhausted::Budget { name: self.name, limit: self.rule.limit, window: self.rule.length, wait }
    }

    fn standing(&mut self, now: Moment, kept: Kept) -> Standing {
        let remaining = self.free(now).saturating_sub(kept.now);
        Standing {
            name: self.name,
            limit: self.rule.limit,
            window: self.rule.length,
            used: self.window.used(),
            remaining,
            reset: if remaining < self.rule.limit {
                self.until_free_beside(now, remaining as usize + 1, kept.at_most, kept.lent_in)
            } else {
                Duration::ZERO
            },
            waiting: self.queue.len(),
            foreign: self.word(now).map_or(0, Word::foreign),
            vendor_limit: self.word(now).and_then(Word::limit),
        }
    }
}

fn rule(limit: BudgetLimit, horizon: Horizon) -> Rule {
    Rule::new(limit.limit.get(), limit.window, horizon)
}

fn pace(limit: BudgetLimit) -> Option<Box<Pace>> {
    limit.burst.map(|_| Box::new(Pace::new(&limit)))
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
    /// Calls that can be made now.
    pub remaining: u32,
    /// Until one more call can be made than now; zero if all can.
    pub reset: Duration,
    /// Requests that wait.
    pub waiting: usize,
    /// Calls the vendor counted that were not ours.
    pub foreign: u32,
    /// The vendor's own limit, as its last answer said it; used where it is lower.
    pub vendor_limit: Option<u32>,
}

/// Calls of one caller on one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Answered or given up, and still in the window.
    pub window: u32,
    /// In the last hour.
    pub hour: u32,
}

impl Budget {
    /// Its name.
    pub fn name(&self) -> BudgetName {
        self.name
    }

    /// How it stands now.
    pub fn standing(&self, now: Moment) -> Standing {
        lock(&self.inner).standing(now, Kept::default())
    }

    /// How it stands for a caller, which cannot have what is kept for others.
    pub fn standing_for(&self, caller: u16, now: Moment) -> Standing {
        lock(&self.inner).standing_for(caller, now)
    }

    /// Keeps so many calls a window for each of these callers, and none for any other.
    pub fn keep(&self, reserves: &[(u16, u32)]) {
        let mut inner = lock(&self.inner);
        let Inner { window, queue, reserves: kept, dispatched, .. } = &mut *inner;
        kept.keep(reserves, *dispatched, window.callers());
        queue.put_first(|caller| kept.owes(caller));
        queue.ring_head();
    }

    /// Calls by caller, for those that made any in the last hour or hold a slot after their answer.
    pub fn by_caller(&self, now: Moment) -> BTreeMap<u16, Calls> {
        let mut inner = lock(&self.inner);
        inner.free_by_window(now);
        let Inner { window, tally, .. } = &mut *inner;
        let mut calls: BTreeMap<u16, Calls> = BTreeMap::new();
        for caller in window.callers() {
            calls.entry(caller).or_default().window += 1;
        }
        for (caller, hour) in tally.last_hour(now) {
            calls.entry(caller).or_default().hour = hour;
        }
        calls
    }
}

/// One caller's share of the budgets, by governor.
pub struct Quota {
    limit: BudgetLimit,
    inner: Mutex<QuotaInner>,
}

struct QuotaInner {
    pace: Pace,
    queue: Queue,
}

impl Quota {
    /// A fresh share.
    pub fn new(limit: BudgetLimit) -> Self {
        Self { limit, inner: Mutex::new(QuotaInner { pace: Pace::new(&limit), queue: Queue::default() }) }
    }

    /// Its size.
    pub fn limit(&self) -> BudgetLimit {
        self.limit
    }

    /// How long until so many calls' shares came back.
    fn turns(&self, calls: usize) -> Duration {
        let interval = self.limit.window / self.limit.limit.get();
        interval.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX))
    }

    fn exhausted(&self, wait: Duration) -> Exhausted {
        Exhausted::Quota { limit: self.limit.limit.get(), window: self.limit.window, wait }
    }
}

/// The budgets one call draws on: all of them or none. Nearly always one; a schedule for a target list to everybody
/// draws on three.
#[derive(Clone, Default)]
pub struct Draw(SmallVec<[&'static Budget; 2]>);

impl Draw {
    /// Adds a budget, keeping the order in which locks are taken.
    pub fn add(&mut self, budget: &'static Budget) {
        let place = self.0.iter().position(|known| budget.order < known.order).unwrap_or(self.0.len());
        self.0.insert(place, budget);
    }

    /// Its budgets.
    pub fn iter(&self) -> impl Iterator<Item = &'static Budget> {
        self.0.iter().copied()
    }
}
