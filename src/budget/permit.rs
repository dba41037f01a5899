//! One vendor call paid for, from the decision to the end of its slot.

use std::sync::Arc;

use smallvec::SmallVec;

use super::shared::SlotLocation;
use super::{
    Budget, BudgetSet, BudgetState, BudgetStatus, Clock, Quota, RateHeaders, Requester, Timestamp,
    VendorLimit, lock,
};
use crate::operation::BudgetName;

/// A slot in every budget of one call. Dropped, it gives everything back: nothing was dispatched.
#[must_use]
pub struct Permit(Ticket);

/// A permit whose call is under way. Dropped, it counts as given up: the vendor may still count it for a while.
#[must_use]
pub struct Dispatched(Ticket);

/// What a call holds; dropped, it accounts by its stage.
struct Ticket {
    stage: PermitStage,
    /// Nearly always one.
    paid: SmallVec<[Paid; 1]>,
    /// Who took it; with the quota only if a share of it was taken as well.
    requester: Requester,
    clock: Clock,
}

/// How far a call came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PermitStage {
    /// The vendor cannot have counted it.
    Unsent,
    /// The vendor may count it.
    UnderWay,
    /// The books are closed.
    Settled,
}

/// A slot in one budget.
pub(super) struct Paid {
    pub(super) budget: &'static Budget,
    /// The number of this call there.
    pub(super) call: u64,
    /// Where it is.
    pub(super) place: SlotLocation,
}

impl Permit {
    pub(super) fn new(paid: SmallVec<[Paid; 1]>, requester: Requester, clock: Clock) -> Self {
        Self(Ticket { stage: PermitStage::Unsent, paid, requester, clock })
    }

    /// Nothing yet, for a call that waits.
    pub(super) fn nothing(requester: &Requester, clock: Clock) -> Self {
        Self::new(SmallVec::new(), Requester { quota: None, ..requester.clone() }, clock)
    }

    /// A slot more.
    pub(super) fn add(&mut self, paid: Paid) {
        self.0.paid.push(paid);
    }

    /// The share of its caller's that it pays with.
    pub(super) fn add_share(&mut self, quota: &Arc<Quota>) {
        self.0.requester.quota = Some(Arc::clone(quota));
    }

    /// The budgets in which its slot is this process's own; the others are in the store.
    pub fn own(&self) -> BudgetSet {
        self.0.own()
    }

    /// From here on the vendor may count the call.
    pub fn dispatch(mut self) -> Dispatched {
        self.0.stage = PermitStage::UnderWay;
        Dispatched(self.0)
    }
}

impl Dispatched {
    /// The budgets in which its slot is this process's own; the others are in the store.
    pub fn own(&self) -> BudgetSet {
        self.0.own()
    }

    /// The head of the vendor's answer is here, and this is what its rate headers say.
    pub fn settle(mut self, now: Timestamp, rate_headers: RateHeaders) {
        self.0.settle(now, rate_headers, |_, _| {});
    }

    /// As [`Self::settle`]; tells how one of the budgets stands after it, without another look at its lock.
    pub fn settle_and_show(
        mut self,
        now: Timestamp,
        rate_headers: RateHeaders,
        shown: BudgetName,
    ) -> Option<BudgetStatus> {
        let (mut status, caller) = (None, self.0.requester.caller);
        self.0.settle(now, rate_headers, |budget, inner| {
            if budget.name == shown {
                status = Some(inner.status_for(caller, now));
            }
        });
        status
    }

    /// No byte of the request was written, so the vendor cannot have counted it.
    pub fn refund(mut self) {
        self.0.stage = PermitStage::Unsent;
    }
}

impl Ticket {
    fn own(&self) -> BudgetSet {
        BudgetSet(
            self.paid
                .iter()
                .filter(|paid| paid.place == SlotLocation::Here)
                .map(|paid| paid.budget)
                .collect(),
        )
    }

    fn settle(
        &mut self,
        now: Timestamp,
        rate_headers: RateHeaders,
        mut settled: impl FnMut(&Budget, &mut BudgetState),
    ) {
        self.stage = PermitStage::Settled;
        // An answer does not say which of several budgets its numbers are about; a refusal is about all of them.
        let heard = rate_headers != RateHeaders::default()
            && (rate_headers.refused
                || self.paid.iter().filter(|paid| !paid.budget.name.is_daily()).count() == 1);
        for Paid { budget, call, place } in &self.paid {
            let mut inner = lock(&budget.inner);
            let inner = &mut *inner;
            inner.window_of(*place).settle(now, self.requester.caller);
            inner.reserve_at(*place, |reserves| reserves.ended(self.requester.caller, *call));
            inner.hourly_counts.count(self.requester.caller, now);
            if heard && !budget.name.is_daily() {
                let used = inner.used();
                inner.vendor_limit = VendorLimit::apply(
                    inner.vendor_limit,
                    rate_headers,
                    (*call, used),
                    inner.rule.length,
                    now,
                );
            }
            inner.queue.wake_head();
            settled(budget, inner);
        }
    }

    fn abandon(&self, now: Timestamp) {
        for paid in &self.paid {
            let mut inner = lock(&paid.budget.inner);
            inner.window_of(paid.place).abandon(now, self.requester.caller);
            inner.reserve_at(paid.place, |reserves| reserves.ended(self.requester.caller, paid.call));
            inner.hourly_counts.count(self.requester.caller, now);
            inner.queue.wake_head();
        }
    }

    fn refund(&self) {
        for paid in &self.paid {
            let mut inner = lock(&paid.budget.inner);
            inner.window_of(paid.place).refund();
            inner.reserve_at(paid.place, |reserves| reserves.returned(self.requester.caller, paid.call));
            if let Some(pace) = &inner.pace {
                pace.refund();
            }
            inner.queue.wake_head();
        }
        if let Some(quota) = &self.requester.quota {
            let inner = lock(&quota.inner);
            inner.pace.refund();
            inner.queue.wake_head();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.stage {
            PermitStage::Unsent => self.refund(),
            PermitStage::UnderWay => self.abandon(self.clock.now()),
            PermitStage::Settled => {}
        }
    }
}
