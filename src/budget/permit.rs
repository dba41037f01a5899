//! One vendor call paid for, from the decision to the end of its slot.

use std::mem;

use super::{Clock, Draw, Moment, Taker, lock};

/// A slot in every budget of one call. Dropped, it gives everything back: nothing was dispatched.
#[must_use]
pub struct Permit(Ticket);

/// A permit whose call is under way. Dropped, it counts as given up: the vendor may still count it for a while.
#[must_use]
pub struct Dispatched(Ticket);

struct Ticket {
    draw: Draw,
    taker: Taker,
    clock: Clock,
}

impl Permit {
    pub(super) fn new(draw: Draw, taker: Taker, clock: Clock) -> Self {
        Self(Ticket { draw, taker, clock })
    }

    /// From here on the vendor may count the call.
    pub fn dispatch(mut self) -> Dispatched {
        Dispatched(self.0.take())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.refund();
    }
}

impl Dispatched {
    /// The head of the vendor's answer is here.
    pub fn settle(mut self, now: Moment) {
        let Ticket { draw, taker, .. } = self.0.take();
        for budget in draw.iter() {
            let mut inner = lock(&budget.inner);
            inner.window.settle(now, taker.caller);
            inner.tally.count(taker.caller, now);
        }
    }

    /// No byte of the request was written, so the vendor cannot have counted it.
    pub fn refund(mut self) {
        self.0.take().refund();
    }
}

impl Drop for Dispatched {
    fn drop(&mut self) {
        let now = self.0.clock.now();
        for budget in self.0.draw.iter() {
            let mut inner = lock(&budget.inner);
            inner.window.abandon(now, self.0.taker.caller);
            inner.tally.count(self.0.taker.caller, now);
        }
    }
}

impl Ticket {
    /// Leaves an empty ticket behind, whose drop does nothing.
    fn take(&mut self) -> Self {
        let taker = Taker { caller: self.taker.caller, quota: self.taker.quota.take() };
        Self { draw: mem::take(&mut self.draw), taker, clock: self.clock }
    }

    fn refund(&self) {
        for budget in self.draw.iter() {
            let mut inner = lock(&budget.inner);
            inner.window.refund();
            if let Some(pace) = &inner.pace {
                pace.refund();
            }
        }
        if let Some(quota) = &self.taker.quota {
            lock(&quota.pace).refund();
        }
    }
}
