//! What one call holds in the store.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::Slots;
use crate::budget::Horizon;

/// What the store gave for one call: nothing, or all at once, or budget by budget for a call that waited. Dropped, all
/// of it is given back.
#[must_use]
#[derive(Default)]
pub struct GivenSlots(SmallVec<[Box<Slots>; 1]>);

impl GivenSlots {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the store gave more, if it gave anything.
    pub fn extend(&mut self, slots: Option<Box<Slots>>) {
        self.0.extend(slots);
    }

    /// When the attempt they pay for must be over, if the store holds any for so long and no longer.
    pub fn ends(&self) -> Option<Instant> {
        self.0.iter().map(|slots| slots.ends).min()
    }

    /// The same held for a whole attempt from now on, also those that were set aside some time ago. `None` if one of them
    /// ended by itself meanwhile, or the store is away.
    pub async fn renewed(mut self, horizon: Horizon) -> Option<Self> {
        let (whole, tolerated) = (Instant::now() + horizon.attempt, horizon.attempt / 10);
        if self.ends().is_some_and(|ends| ends + tolerated < whole) {
            let store = Arc::clone(&self.0.first()?.store);
            store.renew(&mut self.0, horizon).await.then_some(())?;
        }
        Some(self)
    }

    /// The head of the vendor's answer is here: each is held for one window more.
    pub fn settle(self) {
        self.0.into_iter().for_each(|slots| slots.settle());
    }

    /// The call was dispatched, and no answer came: each is held for as long as the vendor may count the call.
    pub fn abandon(self) {
        self.0.into_iter().for_each(|slots| slots.abandon());
    }
}
