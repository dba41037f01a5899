//! Whether this replica may use its own parts of the budgets.
//!
//! A replica that ended may have left slots of its own part behind. The one that comes in its place uses the own part of a
//! budget only once these are over, because the store counts the rest of the limit alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::BudgetState;
use super::timestamp::micros;

/// What is known about slots that were taken out of this replica's own parts before it started.
#[derive(Default)]
pub struct OwnParts {
    /// Slots that are held for less than so many microseconds after the end of their process are over.
    over: AtomicU64,
    /// The microseconds for which a slot of any budget is held at most after the end of its process.
    longest: AtomicU64,
}

impl OwnParts {
    /// Nothing was taken that is not known, or nobody can tell.
    pub fn open_all(&self) {
        self.over.store(u64::MAX, Ordering::Relaxed);
    }

    /// Slots that are held for less than `span` after the end of their process are over.
    pub fn open_below(&self, span: Duration) {
        self.over.fetch_max(micros(span), Ordering::Relaxed);
    }

    /// Whether all own parts may be used.
    pub fn are_open(&self) -> bool {
        self.over.load(Ordering::Relaxed) > self.longest.load(Ordering::Relaxed)
    }

    /// The longest time for which a slot of any own part is held after the end of its process.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }

    pub(super) fn is_open_for(&self, hold: Duration) -> bool {
        self.over.load(Ordering::Relaxed) > micros(hold)
    }

    pub(super) fn holds_for(&self, hold: Duration) {
        self.longest.fetch_max(micros(hold), Ordering::Relaxed);
    }
}

impl BudgetState {
    /// Lets calls use the own part once it is open.
    pub(super) fn open_own_part(&mut self) {
        if let Some(shared) = self.shared.as_mut().filter(|shared| !shared.own_is_open) {
            shared.own_is_open = shared.own_parts.is_open_for(self.rule.call_lifetime().hold);
            self.rule.limit = shared.own_limit();
        }
    }
}
