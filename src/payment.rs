//! The payment of one vendor call, from the decision to its end.
//!
//! A payment is a slot in every budget of the call, here or in the store of replicas, and a line in the state file once
//! the call is dispatched. Until then, dropping it gives everything back. Then it ends in one of three ways: the
//! vendor answered ([`Dispatched::settle`]), no byte was written ([`Dispatched::refund`]), or it was dropped, which
//! counts as given up. The layers below know their own part of each end, and nobody else ends a payment.

#![warn(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;
use std::time::Instant;

use crate::boot_time::BootTime;
use crate::budget::{BudgetStatus, Clock, Horizon, Permit, RateHeaders, Timestamp};
use crate::ledger::{Ledger, LedgerEntry, NotWritten};
use crate::operation::BudgetName;
use crate::store::GivenSlots;

/// All slots of a call that is not dispatched yet. Dropping it gives everything back.
#[must_use]
pub struct Payment {
    permit: Permit,
    slots: GivenSlots,
    /// The clock for the time at which a call is given up.
    clock: Clock,
}

/// A payment whose call is under way. If it is dropped, the call counts as given up: the vendor may still count it for
/// a while.
#[must_use]
pub struct Dispatched(Option<CallUnderWay>);

struct CallUnderWay {
    payment: Payment,
    entry: Option<LedgerEntry>,
}

impl Payment {
    /// Joins a permit and the slots from the store.
    pub fn new(permit: Permit, slots: GivenSlots, clock: Clock) -> Self {
        Self { permit, slots, clock }
    }

    /// The time at which the attempt must be over because its slots end in the store; `None` without such slots.
    pub fn ends(&self) -> Option<Instant> {
        self.slots.ends()
    }

    /// The time from which on nothing of the call may be written, because slots in the store may have ended and been
    /// given to others; `None` without such slots.
    pub fn late_at(&self) -> Option<BootTime> {
        self.slots.late_at()
    }

    /// Whether that time has come, because the process was stopped for a while.
    pub fn is_late(&self) -> bool {
        self.late_at().is_some_and(BootTime::has_come)
    }

    /// Renews the slots in the store for a whole attempt from now on. `None` if one of them has ended by itself, or the
    /// store is not available.
    pub async fn renewed(self, horizon: Horizon) -> Option<Self> {
        let Self { permit, slots, clock } = self;
        Some(Self { permit, slots: slots.renewed(horizon).await?, clock })
    }

    /// Writes the call to the state file, if there is one; from here on the vendor may count it. If that fails,
    /// everything is given back. Slots in the store outlive the process, so they are not written down.
    pub fn dispatch(self, ledger: Option<&Arc<Ledger>>) -> Result<Dispatched, NotWritten> {
        let own = ledger.map(|ledger| (ledger, self.permit.own()));
        let entry = match own {
            Some((ledger, own)) if !own.is_empty() => Some(ledger.begin(own)?),
            Some(_) | None => None,
        };
        Ok(Dispatched(Some(CallUnderWay { payment: self, entry })))
    }
}

impl Dispatched {
    /// Records that the head of the vendor's answer is here, with these rate headers. Returns the state of the budget
    /// `shown`.
    pub fn settle(
        mut self,
        now: Timestamp,
        rate_headers: RateHeaders,
        shown: BudgetName,
    ) -> Option<BudgetStatus> {
        let CallUnderWay { payment: Payment { permit, slots, .. }, entry } = self.0.take()?;
        if let Some(entry) = entry {
            entry.settle();
        }
        let status = permit.settle_and_show(now, rate_headers, shown);
        slots.settle();
        status
    }

    /// Gives the slots back: no byte of the request was written, so the vendor cannot have counted it.
    pub fn refund(mut self) {
        if let Some(CallUnderWay { payment, entry }) = self.0.take() {
            if let Some(entry) = entry {
                entry.erase();
            }
            drop(payment);
        }
    }
}

impl Drop for Dispatched {
    fn drop(&mut self) {
        let Some(CallUnderWay { payment: Payment { permit, slots, clock }, entry }) = self.0.take() else {
            return;
        };
        if let Some(entry) = entry {
            entry.abandon();
        }
        permit.abandon(clock.now());
        slots.abandon();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::budget::{Budget, BudgetSet, Budgets, CallerNumber, Requester, take};
    use crate::config::{BudgetLimit, VendorKey};

    type End<'e> = &'e dyn Fn(Payment, Clock);

    const WINDOW: Duration = Duration::from_mins(1);
    const GUARD: Duration = Duration::from_secs(10);

    fn budget() -> Arc<Budget> {
        let key = VendorKey::new("a1b2c3d4e5f6a7b8c9d0e1f2".into()).expect("a key");
        let limit = BudgetLimit { limit: NonZeroU32::new(3).expect("positive"), window: WINDOW, burst: None };
        let horizon = Horizon { guard: GUARD, attempt: Duration::from_secs(28) };
        Budgets::default().open(&key, BudgetName::Push, limit, horizon)
    }

    fn pay(budget: &Arc<Budget>, clock: Clock) -> Payment {
        let mut budget_set = BudgetSet::default();
        budget_set.add(Arc::clone(budget));
        let requester = Requester::of(CallerNumber(0));
        let permit = take(&budget_set, &requester, clock.now()).expect("room");
        Payment::new(permit, GivenSlots::new(), clock)
    }

    #[test]
    fn a_payment_accounts_by_how_far_its_call_came() {
        let dispatched = |payment: Payment| payment.dispatch(None).expect("no state file");
        let settle = |payment: Payment, clock: Clock| {
            let status = dispatched(payment).settle(clock.now(), RateHeaders::default(), BudgetName::Push);
            assert_eq!(status.map(|status| (status.used, status.remaining)), Some((1, 2)));
        };
        let rows: [(End<'_>, u32, Duration); 4] = [
            (&|payment, _| drop(payment), 0, Duration::ZERO),
            (&|payment, _| dispatched(payment).refund(), 0, Duration::ZERO),
            (&settle, 1, WINDOW),
            (&|payment, _| drop(dispatched(payment)), 1, WINDOW + GUARD),
        ];
        let second = Duration::from_secs(1);
        for (end, used, held_for) in rows {
            let (budget, clock) = (budget(), Clock::start());
            let before = clock.now();
            end(pay(&budget, clock), clock);
            let after = clock.now();
            assert_eq!(budget.status(after).used, used);
            if let Some(held) = held_for.checked_sub(second) {
                assert_eq!(budget.status(before + held).used, used, "held for all of its time");
            }
            assert_eq!(budget.status(after + held_for + second).used, 0, "and no longer");
        }
    }
}
