//! The slots that one call holds.

use std::sync::Arc;

use smallvec::SmallVec;

use super::shared::SlotLocation;
use super::vendor_limit::Answered;
use super::{
    Budget, BudgetSet, BudgetState, BudgetStatus, Quota, RateHeaders, Requester, Timestamp, VendorLimit, lock,
};
use crate::operation::BudgetName;

/// A slot in every budget of one call. Dropped, it gives everything back: the vendor cannot have counted the call.
#[must_use]
pub struct Permit {
    /// Nearly always one. Taken out when the vendor may have counted the call, so that nothing is given back.
    paid: SmallVec<[Paid; 1]>,
    /// The caller that took the slots; with its quota only if a share of that was taken as well.
    requester: Requester,
}

/// A slot in one budget.
pub(super) struct Paid {
    pub(super) budget: Arc<Budget>,
    /// The number of this call there.
    pub(super) call: u64,
    /// Whether the slot is this process's own or in the store.
    pub(super) place: SlotLocation,
}

impl Permit {
    pub(super) fn new(paid: SmallVec<[Paid; 1]>, requester: Requester) -> Self {
        Self { paid, requester }
    }

    /// A permit without a slot, for a call that waits.
    pub(super) fn nothing(requester: &Requester) -> Self {
        Self::new(SmallVec::new(), Requester { quota: None, ..requester.clone() })
    }

    /// Adds a slot.
    pub(super) fn add(&mut self, paid: Paid) {
        self.paid.push(paid);
    }

    /// Adds the share of its caller's quota that was taken.
    pub(super) fn add_share(&mut self, quota: &Arc<Quota>) {
        self.requester.quota = Some(Arc::clone(quota));
    }

    /// The budgets in which its slot is this process's own; the others are in the store.
    pub fn own(&self) -> BudgetSet {
        let own = self.paid.iter().filter(|paid| paid.place == SlotLocation::Here);
        BudgetSet(own.map(|paid| Arc::clone(&paid.budget)).collect())
    }

    /// Records that the head of the vendor's answer is here, with these rate headers.
    pub fn settle(self, now: Timestamp, rate_headers: RateHeaders) {
        self.settle_each(now, rate_headers, |_, _| {});
    }

    /// As [`Self::settle`]; tells how one of the budgets stands after it, without another look at its lock.
    pub fn settle_and_show(
        self,
        now: Timestamp,
        rate_headers: RateHeaders,
        shown: BudgetName,
    ) -> Option<BudgetStatus> {
        let (mut status, caller) = (None, self.requester.caller);
        self.settle_each(now, rate_headers, |budget, inner| {
            if budget.name == shown {
                status = Some(inner.status_for(caller, now));
            }
        });
        status
    }

    fn settle_each(
        mut self,
        now: Timestamp,
        rate_headers: RateHeaders,
        mut settled: impl FnMut(&Budget, &mut BudgetState),
    ) {
        let (caller, (quota, paid)) = (self.requester.caller, self.take_out());
        if let Some(quota) = quota {
            quota.settle(now, caller);
        }
        // An answer does not say which of several budgets its numbers are about; a refusal is about all of them.
        let heard = rate_headers != RateHeaders::default()
            && (rate_headers.refused || paid.iter().filter(|paid| !paid.budget.name.is_daily()).count() == 1);
        for Paid { budget, call, place } in &paid {
            let mut inner = lock(&budget.inner);
            let inner = &mut *inner;
            inner.window_of(*place).settle(now, caller);
            inner.reserve_at(*place, |reserves| reserves.ended(caller, *call));
            inner.hourly_counts.count(caller, now);
            let earlier = inner.unanswered.end(*call);
            if heard && !budget.name.is_daily() {
                let answered = Answered { call: *call, earlier, used: inner.used() };
                let (last, window) = (inner.vendor_limit, inner.rule.length);
                inner.vendor_limit = VendorLimit::apply(last, rate_headers, answered, window, now);
            }
            inner.queue.wake_head();
            settled(budget, inner);
        }
    }

    /// The call was dispatched, and no answer came: the vendor may still count it for a while.
    pub fn abandon(mut self, now: Timestamp) {
        let (caller, (quota, paid)) = (self.requester.caller, self.take_out());
        if let Some(quota) = quota {
            quota.abandon(now, caller);
        }
        for Paid { budget, call, place } in paid {
            let mut inner = lock(&budget.inner);
            inner.window_of(place).abandon(now, caller);
            inner.unanswered.end(call);
            inner.reserve_at(place, |reserves| reserves.ended(caller, call));
            inner.hourly_counts.count(caller, now);
            inner.queue.wake_head();
        }
    }

    /// Its share of a quota and its slots; nothing is left that could be given back.
    fn take_out(&mut self) -> (Option<Arc<Quota>>, SmallVec<[Paid; 1]>) {
        (self.requester.quota.take(), std::mem::take(&mut self.paid))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (caller, (quota, paid)) = (self.requester.caller, self.take_out());
        for Paid { budget, call, place } in paid {
            let mut inner = lock(&budget.inner);
            inner.window_of(place).refund();
            inner.unanswered.end(call);
            inner.vendor_limit = inner.vendor_limit.map(|limit| limit.without_earlier(call));
            inner.reserve_at(place, |reserves| reserves.returned(caller, call));
            if let Some(pace) = &inner.pace {
                pace.refund();
            }
            inner.queue.wake_head();
        }
        if let Some(quota) = quota {
            lock(&quota.inner).refund();
        }
    }
}
