//! One caller's share of the budgets.

use std::sync::Mutex;
use std::time::Duration;

use super::exhausted::Exhausted;
use super::pace::Pace;
use super::queue::Queue;
use crate::config::BudgetLimit;

/// One caller's share of the budgets, by governor.
pub struct Quota {
    limit: BudgetLimit,
    pub(super) inner: Mutex<QuotaInner>,
}

pub(super) struct QuotaInner {
    pub(super) pace: Pace,
    pub(super) queue: Queue,
}

impl Quota {
    /// A fresh share.
    pub fn new(limit: BudgetLimit) -> Self {
        Self { limit, inner: Mutex::new(QuotaInner { pace: Pace::new(&limit), queue: Queue::default() }) }
    }

    /// Its size.
    pub fn limit(&self) -> BudgetLimit {
        self.limit
    }

    /// How long until so many calls' shares came back.
    pub(super) fn turns(&self, calls: usize) -> Duration {
        let interval = self.limit.window / self.limit.limit.get();
        interval.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX))
    }

    pub(super) fn exhausted(&self, wait: Duration) -> Exhausted {
        Exhausted::Quota { limit: self.limit.limit.get(), window: self.limit.window, wait }
    }
}
