//! The slots that one call holds in the store.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::Slots;
use crate::boot_time::BootTime;
use crate::budget::Horizon;

/// The slots from the store for one call: none, or all at once, or budget by budget for a call that waited. Dropping
/// them gives them back.
#[must_use]
#[derive(Default)]
pub struct GivenSlots(SmallVec<[Box<Slots>; 1]>);

impl GivenSlots {
    /// No slots yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds further slots, if there are any.
    pub fn extend(&mut self, slots: Option<Box<Slots>>) {
        self.0.extend(slots);
    }

    /// The time at which the attempt must be over because its first slot ends in the store; `None` without slots.
    pub fn ends(&self) -> Option<Instant> {
        self.0.iter().map(|slots| slots.ends.at).min()
    }

    /// The time from which on nothing of the call may be written, on a clock that does not stop.
    pub fn late_at(&self) -> Option<BootTime> {
        self.0.iter().map(|slots| slots.ends.late_at).min()
    }

    /// Renews the slots for a whole attempt from now on, also those that were set aside some time ago. `None` if one of
    /// them has ended by itself, or the store is not available.
    pub async fn renewed(mut self, horizon: Horizon) -> Option<Self> {
        let (whole, tolerated) = (Instant::now() + horizon.attempt, horizon.attempt / 10);
        if self.ends().is_some_and(|ends| ends + tolerated < whole) {
            let store = Arc::clone(&self.0.first()?.store);
            store.renew(&mut self.0, horizon).await.then_some(())?;
        }
        Some(self)
    }

    /// Holds each slot for one more window, because the head of the vendor's answer is here.
    pub fn settle(self) {
        self.0.into_iter().for_each(|slots| slots.settle());
    }

    /// Holds each slot for as long as the vendor may count the call, because no answer came.
    pub fn abandon(self) {
        self.0.into_iter().for_each(|slots| slots.abandon());
    }
}
