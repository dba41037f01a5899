//! One vendor call paid for, from the decision to the end of its slot.

use std::mem;

use super::{Clock, Draw, Moment, Said, Taker, Word, lock};

/// A slot in every budget of one call. Dropped, it gives everything back: nothing was dispatched.
#[must_use]
pub struct Permit(Ticket);

/// A permit whose call is under way. Dropped, it counts as given up: the vendor may still count it for a while.
#[must_use]
pub struct Dispatched(Ticket);

struct Ticket {
    draw: Draw,
    /// In each budget of the draw, the number of this call.
    calls: [u64; Draw::MAX],
    taker: Taker,
    clock: Clock,
}

impl Permit {
    pub(super) fn new(draw: Draw, calls: [u64; Draw::MAX], taker: Taker, clock: Clock) -> Self {
        Self(Ticket { draw, calls, taker, clock })
    }

    /// The budgets it pays from.
    pub fn draw(&self) -> &Draw {
        &self.0.draw
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
    /// The budgets it was paid from.
    pub fn draw(&self) -> &Draw {
        &self.0.draw
    }

    /// The head of the vendor's answer is here, and this is what its rate headers say.
    pub fn settle(mut self, now: Moment, said: Said) {
        let Ticket { draw, calls, taker, .. } = self.0.take();
        // An answer does not say which of several budgets its numbers are about; a refusal is about all of them.
        let clear = said.refused || draw.iter().filter(|budget| !budget.name.is_daily()).count() == 1;
        for (budget, call) in draw.iter().zip(calls) {
            let mut inner = lock(&budget.inner);
            let inner = &mut *inner;
            inner.window.settle(now, taker.caller);
            inner.tally.count(taker.caller, now);
            if said != Said::default() && clear && !budget.name.is_daily() {
                let used = inner.window.used();
                inner.word = Word::hear(inner.word, said, (call, used), inner.rule.length, now);
            }
            inner.queue.ring_head();
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
            inner.queue.ring_head();
        }
    }
}

impl Ticket {
    /// Leaves an empty ticket behind, whose drop does nothing.
    fn take(&mut self) -> Self {
        let taker = Taker { quota: self.taker.quota.take(), ..self.taker };
        Self { draw: mem::take(&mut self.draw), calls: self.calls, taker, clock: self.clock }
    }

    fn refund(&self) {
        for budget in self.draw.iter() {
            let mut inner = lock(&budget.inner);
            inner.window.refund();
            if let Some(pace) = &inner.pace {
                pace.refund();
            }
            inner.queue.ring_head();
        }
        if let Some(quota) = &self.taker.quota {
            let inner = lock(&quota.inner);
            inner.pace.refund();
            inner.queue.ring_head();
        }
    }
}
