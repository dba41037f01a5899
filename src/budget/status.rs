//! How a budget stands, for headers, metrics and pages.

use std::time::Duration;

use super::reserve::KeptSlots;
use super::{Budget, BudgetState, CallerNumber, Cause, Timestamp, VendorLimit, lock};
use crate::operation::BudgetName;

/// The state of a budget at one moment, for headers, metrics and the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetStatus {
    /// The name of the budget.
    pub name: BudgetName,
    /// Calls allowed in one window.
    pub limit: u32,
    /// Length of the window.
    pub window: Duration,
    /// Slots in use; can be above `limit` after a reload that lowered it.
    pub used: u32,
    /// Calls that can be made now.
    pub remaining: u32,
    /// Time until one more call can be made than now; zero if all slots are free.
    pub reset: Duration,
    /// Requests in the queue.
    pub waiting: usize,
    /// Calls on this key that the vendor counted and that were not ours.
    pub foreign: u32,
    /// The vendor's own limit from its last answer; it applies where it is lower than `limit`.
    pub vendor_limit: Option<u32>,
    /// Whether no call is admitted because the calls of a former process, or those in the store of the replicas, are
    /// unknown.
    pub holding_back: bool,
    /// The reason why no call can be made, or why calls are held back; `None` if neither is so.
    pub shortage: Option<Cause>,
}

impl Budget {
    /// The budget's state now, as seen by a caller that nothing is reserved against.
    pub fn status(&self, now: Timestamp) -> BudgetStatus {
        lock(&self.inner).status(now, KeptSlots::default())
    }

    /// The budget's state now, if a call asked for it since the start or a former process used it: most budgets of many
    /// tenants are never used.
    pub fn status_if_used(&self, now: Timestamp) -> Option<BudgetStatus> {
        let mut inner = lock(&self.inner);
        let is_known = inner.dispatched > 0 || inner.shared.as_ref().is_some_and(|shared| shared.was_asked());
        let status = inner.status(now, KeptSlots::default());
        (is_known || status.used > 0 || status.waiting > 0 || status.holding_back).then_some(status)
    }

    /// The budget's state now, as seen by `caller`: slots reserved for others do not count as remaining.
    pub fn status_for(&self, caller: CallerNumber, now: Timestamp) -> BudgetStatus {
        lock(&self.inner).status_for(caller, now)
    }
}

impl BudgetState {
    pub(super) fn status_for(&mut self, caller: CallerNumber, now: Timestamp) -> BudgetStatus {
        self.status(now, self.kept_from(caller, now))
    }

    fn status(&mut self, now: Timestamp, kept: KeptSlots) -> BudgetStatus {
        let limit = self.limit.limit.get();
        let free = self.free_by_window(now).saturating_add(self.free_in_store(now));
        let remaining = free.min(self.by_vendor_limit(now)).saturating_sub(kept.now);
        let holding_back = self.vendor_limit(now).is_some_and(VendorLimit::holds_back)
            || self.shared.as_ref().is_some_and(|shared| shared.holds_back(now));
        BudgetStatus {
            name: self.name,
            limit,
            window: self.rule.length,
            used: self.used(),
            remaining,
            reset: match &self.shared {
                _ if remaining >= limit => Duration::ZERO,
                None => self.until_free_beside(now, remaining as usize + 1, kept.at_most, kept.lent_in),
                Some(_) => self.until_more(now, remaining as usize),
            },
            waiting: self.queue.len(),
            foreign: self.vendor_limit(now).map_or(0, VendorLimit::foreign),
            vendor_limit: self.vendor_limit(now).and_then(VendorLimit::limit),
            holding_back,
            shortage: (holding_back || remaining == 0).then(|| self.shortage(now)),
        }
    }
}
