//! The slots of one call in the store, and their release.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Store;
use crate::boot_time::BootTime;
use crate::budget::GrantedMask;

/// The name of each budget in the store with a value; `None` where the call holds no slot.
pub(super) type PerBudget<T> = SmallVec<[Option<(Arc<str>, T)>; 1]>;

/// The slots of one call in the store. Dropping them gives them back: the vendor cannot have counted the call.
pub struct Slots {
    pub(super) store: Arc<Store>,
    pub(super) id: u64,
    /// The length of each budget's window.
    pub(super) budgets: PerBudget<Duration>,
    pub(super) granted: GrantedMask,
    pub(super) guard: Duration,
    pub(super) ends: SlotEnd,
}

/// The latest end of the attempt that the slots of one call pay for.
#[derive(Clone, Copy)]
pub(super) struct SlotEnd {
    pub(super) at: Instant,
    /// The same on a clock that does not stop.
    pub(super) late_at: BootTime,
}

impl SlotEnd {
    /// The end of slots that are about to be asked for.
    pub(super) fn after(attempt: Duration) -> Self {
        Self { at: Instant::now() + attempt, late_at: BootTime::now() + attempt }
    }
}

/// The new hold of one call's slots, by budget.
pub(super) struct Release {
    pub(super) id: u64,
    pub(super) budgets: PerBudget<Keep>,
    /// How often it was sent.
    pub(super) sends: u8,
}

/// The time for which a slot is still held from now on.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    /// The slot is released at once.
    None,
    /// The slot is held for this long.
    For(Duration),
}

impl Slots {
    /// The budgets of the set that have a slot here.
    pub fn granted(&self) -> GrantedMask {
        self.granted
    }

    fn release(&mut self, keep: impl Fn(Duration) -> Keep) {
        let budgets = std::mem::take(&mut self.budgets);
        if budgets.iter().all(Option::is_none) {
            return;
        }
        let held_slots = &self.store.held_slots;
        let keep = |(key, window)| {
            let keep = keep(window);
            match keep {
                Keep::None => held_slots.release(self.id, &key),
                Keep::For(span) => held_slots.hold(self.id, [(&key, span)].into_iter()),
            }
            (key, keep)
        };
        let budgets = budgets.into_iter().map(|budget| budget.map(keep)).collect();
        // A release that finds no room is dropped; its slot expires by itself.
        let _ = self.store.releases.try_send(Release { id: self.id, budgets, sends: 0 });
    }

    pub(super) fn settle(mut self) {
        self.release(Keep::For);
    }

    pub(super) fn abandon(mut self) {
        let guard = self.guard;
        self.release(|window| Keep::For(guard + window));
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.release(|_| Keep::None);
    }
}
