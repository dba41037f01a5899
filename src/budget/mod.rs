//! Budgets: how many calls the vendor allows one key in one window, counted exactly.
//!
//! A [`Budget`] belongs to a vendor key and a budget name, never to a route, a caller or a version of the configuration.
//! [`take`] decides on all budgets of a call, the caller's quota and pacing in one step. It returns a
//! [`Permit`], the slots of one vendor call; dropped, it gives them back.
//!
//! A budget lives as long as a configuration has it or one of its slots is in use, whichever is longer. Its reference
//! count is next to its lock, in a cache line that every call writes to anyway.
//!
//! Pure: time is passed in as a [`Timestamp`]. [`Clock`] reads the time for all callers of this module.

#![warn(clippy::wildcard_enum_match_arm)]

mod budget_set;
mod by_caller;
mod caller_number;
mod clock;
mod decide;
mod exhausted;
mod gates;
mod hour;
mod hourly_counts;
mod lock;
mod locked_set;
mod own_parts;
mod pace;
mod peaks;
mod permit;
mod queue;
mod quota;
mod requester;
mod reserve;
mod restored_calls;
mod shared;
mod slot_requests;
mod status;
#[cfg(test)]
mod tests;
mod ticket;
mod timestamp;
mod turn;
mod unanswered;
mod vendor_limit;
mod window;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use budget_set::BudgetSet;
pub use by_caller::Calls;
pub use caller_number::{CallerHash, CallerNumber};
pub use clock::Clock;
pub use decide::{decide, decide_with, take};
pub use exhausted::{Cause, Exhausted, whole_seconds};
pub use gates::Decision;
use hourly_counts::HourlyCounts;
use lock::lock;
pub use own_parts::OwnParts;
use pace::Pace;
use peaks::Peaks;
pub use permit::Permit;
use queue::Queue;
pub use queue::{Precedence, Wakeup};
use quota::QuotaInner;
pub use quota::{Quota, QuotaStatus};
pub use requester::{Requester, WaitLimit};
use reserve::{KeptSlots, Reserves};
pub use restored_calls::{BudgetId, CallLifetime, Ended, RestoredCalls, fnv1a};
use shared::Shared;
pub use shared::{GrantedMask, StoreStatus, apply_store_status};
pub use slot_requests::{Need, SlotRequest, SlotRequests, slot_requests};
pub use status::BudgetStatus;
pub use ticket::QueueTicket;
pub use timestamp::Timestamp;
pub use turn::Turn;
use unanswered::Unanswered;
pub use vendor_limit::RateHeaders;
use vendor_limit::VendorLimit;
use window::{Estimate, Window, WindowRule};

use crate::config::{BudgetLimit, Shares, VendorKey};
use crate::operation::BudgetName;

/// All budgets, by vendor key and name. They outlive every configuration: a reload finds them here with their counts.
#[derive(Default)]
pub struct Budgets {
    by_key: Mutex<HashMap<(VendorKey, BudgetName), Arc<Budget>>>,
    opened: AtomicU32,
    /// The division of each limit among replicas; `None`: every limit belongs to this process alone.
    shares: Option<Shares>,
    own_parts: Arc<OwnParts>,
    restored: Mutex<RestoredCalls>,
}

/// For how long after its dispatch a call can still count at the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The time after a given-up attempt during which the vendor may still count it.
    pub guard: Duration,
    /// The longest that one attempt lasts.
    pub attempt: Duration,
}

impl Budgets {
    /// Creates an empty set of budgets, divided among replicas as `shares` says.
    pub fn shared(shares: Option<Shares>) -> Self {
        Self { shares, ..Self::default() }
    }

    /// Returns the budget of a key, creating it if needed, and applies this limit and horizon to it.
    pub fn open(
        &self,
        key: &VendorKey,
        name: BudgetName,
        limit: BudgetLimit,
        horizon: Horizon,
    ) -> Arc<Budget> {
        self.own_parts.holds_for(rule(limit, horizon).call_lifetime().hold);
        let shared = |shares| Box::new(Shared::new(key, name, limit, (shares, &self.own_parts)));
        let mut by_key = lock(&self.by_key);
        let budget = by_key.entry((key.clone(), name)).or_insert_with(|| {
            let order = (rank(name), self.opened.fetch_add(1, Ordering::Relaxed));
            let (id, mut inner) =
                (BudgetId::of(key, name), BudgetState::new(name, limit, horizon, self.shares.map(shared)));
            self.restore_into(id, &mut inner);
            Arc::new(Budget { name, id, order, inner: Mutex::new(inner) })
        });
        lock(&budget.inner).resize(limit, horizon);
        Arc::clone(budget)
    }

    /// Whether this replica may use its own parts.
    pub fn own_parts(&self) -> &Arc<OwnParts> {
        &self.own_parts
    }

    /// Forgets the budgets that no configuration and no call has any more, once nothing that they know still matters.
    pub fn forget_unused(&self, now: Timestamp) {
        // Only `open` hands a budget out, and it needs the same lock: one that is forgotten here has no other owner.
        lock(&self.by_key)
            .retain(|_, budget| Arc::strong_count(budget) > 1 || lock(&budget.inner).still_matters(now));
    }
}

/// One budget: the calls that one vendor key may make in one window.
pub struct Budget {
    name: BudgetName,
    id: BudgetId,
    /// Locks are taken, and waiting calls pass, in this order. Without it, two calls on the same budgets could wait for
    /// each other.
    order: (u8, u32),
    inner: Mutex<BudgetState>,
}

struct BudgetState {
    name: BudgetName,
    limit: BudgetLimit,
    rule: WindowRule,
    window: Window,
    /// The part in the store that replicas share; `rule` and `window` then cover this replica's own part.
    shared: Option<Box<Shared>>,
    pace: Option<Box<Pace>>,
    hourly_counts: HourlyCounts,
    peaks: Peaks,
    queue: Queue,
    reserves: Reserves,
    /// Number of calls that ever took a slot; orders the vendor's answers by age.
    dispatched: u64,
    unanswered: Unanswered,
    vendor_limit: Option<VendorLimit>,
}

impl BudgetState {
    fn new(name: BudgetName, limit: BudgetLimit, horizon: Horizon, shared: Option<Box<Shared>>) -> Self {
        Self {
            name,
            limit,
            rule: rule(limit, horizon),
            window: Window::default(),
            shared,
            pace: pace(limit),
            hourly_counts: HourlyCounts::default(),
            peaks: Peaks::default(),
            queue: Queue::default(),
            reserves: Reserves::default(),
            dispatched: 0,
            unanswered: Unanswered::default(),
            vendor_limit: None,
        }
    }

    /// Whether a budget without its counts would admit other calls: a slot is in use, or the vendor's word holds.
    fn still_matters(&mut self, now: Timestamp) -> bool {
        self.free_by_window(now);
        self.free_in_store(now);
        let holds_back = self.shared.as_ref().is_some_and(|shared| shared.holds_back(now));
        self.used() > 0 || holds_back || self.vendor_limit(now).is_some()
    }

    /// Slots that can be taken now: allowed both by our window and by the vendor's last rate headers.
    fn free(&mut self, now: Timestamp) -> u32 {
        self.free_by_window(now).min(self.by_vendor_limit(now))
    }

    /// Whether more slots are in use than the limit allows, as after a reload that lowered it.
    fn is_over(&self) -> bool {
        self.window.used() > self.rule.limit
    }

    /// Slots that the vendor's last rate headers allow.
    fn by_vendor_limit(&self, now: Timestamp) -> u32 {
        self.vendor_limit(now)
            .map_or(u32::MAX, |vendor_limit| vendor_limit.free(self.dispatched, self.used()))
    }

    fn free_by_window(&mut self, now: Timestamp) -> u32 {
        self.open_own_part();
        let Self { window, rule, reserves, queue, .. } = self;
        let free = window.free(rule, now, |caller| reserves.freed(caller));
        if !reserves.is_empty() {
            queue.mark_first(|caller| reserves.is_unmet(caller));
        }
        free
    }

    /// Records a change of an owner's slots, if any reserve is configured.
    fn reserve(&mut self, change: impl FnOnce(&mut Reserves)) {
        let Self { reserves, queue, .. } = self;
        if !reserves.is_empty() {
            change(reserves);
            queue.mark_first(|caller| reserves.is_unmet(caller));
        }
    }

    /// Time until `nth` slots can be taken one after the other by a caller that must leave `kept` slots to others.
    /// Those slots become available too when they are lent, in `lent_in`.
    fn until_free_beside(&mut self, now: Timestamp, nth: usize, kept: u32, lent_in: Duration) -> Duration {
        let alone = self.until_free(now, nth, Estimate::Latest);
        let beside = nth.saturating_add(kept as usize);
        match kept {
            0 => alone,
            _ if beside > self.rule.limit as usize => alone.max(lent_in + Timestamp::TICK),
            _ => self.until_free(now, beside, Estimate::Latest).min(alone.max(lent_in + Timestamp::TICK)),
        }
    }

    /// Time until `nth` slots can be taken one after the other.
    fn until_free(&mut self, now: Timestamp, nth: usize, estimate: Estimate) -> Duration {
        let free = self.free_by_window(now) as usize;
        let by_window = match nth.saturating_sub(free) {
            0 => Duration::ZERO,
            missing => self.window.until_release(&self.rule, now, missing, estimate),
        };
        let by_store = self.shared.as_ref().and_then(|shared| match estimate {
            Estimate::Soonest => shared.soonest(&self.rule, now, nth),
            Estimate::Latest => shared.until_free(&self.rule, now, nth),
        });
        let by_window = by_store.map_or(by_window, |by_store| by_store.min(by_window));
        by_window.max(self.until_vendor_limit(now, nth, estimate)).max(Timestamp::TICK)
    }

    /// Time for which the vendor's rate headers still forbid `nth` calls: until their reset, or until fewer of our
    /// slots are in use than the vendor's limit.
    fn until_vendor_limit(&self, now: Timestamp, nth: usize, estimate: Estimate) -> Duration {
        let Some(vendor_limit) = self.vendor_limit(now) else { return Duration::ZERO };
        let (ends_in, used) = (vendor_limit.left(now) + Timestamp::TICK, self.used());
        if (vendor_limit.free_by_remaining(self.dispatched) as usize) < nth || self.shared.is_some() {
            let forbids = (vendor_limit.free(self.dispatched, used) as usize) < nth;
            return if forbids { ends_in } else { Duration::ZERO };
        }
        // A vendor limit that is not below ours holds back nothing that our own window does not hold back.
        let Some(limit) = vendor_limit.limit().filter(|limit| *limit < self.rule.limit) else {
            return Duration::ZERO;
        };
        match nth.saturating_sub(vendor_limit.free_by_limit(used) as usize) {
            0 => Duration::ZERO,
            missing => {
                let rule = self.rule.at_most(limit);
                self.window.until_release(&rule, now, missing, estimate).min(ends_in)
            }
        }
    }

    fn vendor_limit(&self, now: Timestamp) -> Option<&VendorLimit> {
        self.vendor_limit.as_ref().filter(|vendor_limit| vendor_limit.holds(now))
    }

    fn resize(&mut self, limit: BudgetLimit, horizon: Horizon) {
        self.rule = rule(limit, horizon);
        if let Some(shared) = &mut self.shared {
            shared.resize(limit);
            self.rule.limit = shared.own_limit();
        }
        self.queue.resize(limit.limit.get());
        if self.limit != limit {
            self.limit = limit;
            self.pace = pace(limit);
            // A higher limit may have room for the waiter that is next.
            self.queue.wake_head();
        }
    }

    fn kept_from(&self, caller: CallerNumber, now: Timestamp) -> KeptSlots {
        self.reserves.kept_from(caller, now, self.rule.length)
    }
}

fn rule(limit: BudgetLimit, horizon: Horizon) -> WindowRule {
    WindowRule::new(limit.limit.get(), limit.window, horizon)
}

/// Scarcest budget first: a slot that is set aside while its call waits for the next budget should not be idle for
/// long.
const fn rank(name: BudgetName) -> u8 {
    match name {
        BudgetName::Broadcast | BudgetName::OppoBig | BudgetName::OppoIcon => 0,
        BudgetName::File => 1,
        BudgetName::Schedule => 2,
        BudgetName::Push | BudgetName::Device | BudgetName::Report => 3,
    }
}

fn pace(limit: BudgetLimit) -> Option<Box<Pace>> {
    limit.burst.map(|_| Box::new(Pace::new(&limit)))
}

impl Budget {
    /// The name of the budget, as in metrics and refusals.
    pub fn name(&self) -> BudgetName {
        self.name
    }

    /// Reserves this many calls in each window for each of these callers, and none for any other.
    pub fn keep(&self, reserves: &[(CallerNumber, u32)]) {
        let mut inner = lock(&self.inner);
        let BudgetState { window, queue, reserves: kept, dispatched, .. } = &mut *inner;
        kept.keep(reserves, *dispatched, window.callers());
        queue.mark_first(|caller| kept.is_unmet(caller));
        // The new reserves can change which waiter is next, and the class in which its slots are set aside.
        queue.wake_all();
    }
}
