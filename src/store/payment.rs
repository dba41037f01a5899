//! One vendor call paid for, here and in the store: a permit with the slots that go with it.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::Slots;
use crate::budget::{BudgetSet, BudgetStatus, Dispatched, Horizon, Permit, RateHeaders, Timestamp};
use crate::operation::BudgetName;

/// What the store gave for one call: nothing, or all at once, or budget by budget for a call that waited.
pub type GivenSlots = SmallVec<[Box<Slots>; 1]>;

/// A call's slots, all of them. Dropped, it gives everything back: nothing was dispatched.
#[must_use]
pub struct Payment {
    permit: Permit,
    slots: GivenSlots,
}

/// A payment whose call is under way. Dropped, it counts as given up: the vendor may still count it for a while.
#[must_use]
pub struct Underway {
    dispatched: Dispatched,
    slots: GivenSlots,
}

impl Payment {
    /// A permit with what the store gave for it.
    pub fn new(permit: Permit, slots: GivenSlots) -> Self {
        Self { permit, slots }
    }

    /// The budgets in which its slot is this process's own.
    pub fn own(&self) -> BudgetSet {
        self.permit.own()
    }

    /// When the attempt must be over, if the store holds slots for so long and no longer.
    pub fn ends(&self) -> Option<Instant> {
        self.slots.iter().map(|slots| slots.ends).min()
    }

    /// The same with slots in the store that are held for a whole attempt from now on, also those that were set aside
    /// some time ago. `None` if one of them ended by itself meanwhile, or the store is away.
    pub async fn renewed(mut self, horizon: Horizon) -> Option<Self> {
        let (whole, tolerated) = (Instant::now() + horizon.attempt, horizon.attempt / 10);
        if self.ends().is_some_and(|ends| ends + tolerated < whole) {
            let store = Arc::clone(&self.slots.first()?.store);
            store.renew(&mut self.slots, horizon).await.then_some(())?;
        }
        Some(self)
    }

    /// Whether its slots in the store have ended, or are about to be: the process stood still.
    pub fn is_late(&self) -> bool {
        self.ends().is_some_and(|ends| ends <= Instant::now())
    }

    /// From here on the vendor may count the call.
    pub fn dispatch(mut self) -> Underway {
        self.slots.iter_mut().for_each(|slots| slots.dispatched = true);
        Underway { dispatched: self.permit.dispatch(), slots: self.slots }
    }
}

impl Underway {
    /// The budgets in which its slot is this process's own.
    pub fn own(&self) -> BudgetSet {
        self.dispatched.own()
    }

    /// The head of the vendor's answer is here, and this is what its rate headers say.
    pub fn settle(self, now: Timestamp, rate_headers: RateHeaders) {
        self.dispatched.settle(now, rate_headers);
        self.slots.into_iter().for_each(|slots| slots.settle());
    }

    /// As [`Self::settle`]; tells how one of the budgets stands after it.
    pub fn settle_and_show(
        self,
        now: Timestamp,
        rate_headers: RateHeaders,
        shown: BudgetName,
    ) -> Option<BudgetStatus> {
        let budget_status = self.dispatched.settle_and_show(now, rate_headers, shown);
        self.slots.into_iter().for_each(|slots| slots.settle());
        budget_status
    }

    /// No byte of the request was written, so the vendor cannot have counted it.
    pub fn refund(self) {
        self.dispatched.refund();
        self.slots.into_iter().for_each(|slots| slots.refund());
    }
}
