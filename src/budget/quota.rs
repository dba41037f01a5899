//! The quota of one caller: its share of the tenants' budgets.

use std::sync::Mutex;
use std::time::Duration;

use super::exhausted::Exhausted;
use super::pace::Pace;
use super::queue::Queue;
use crate::config::BudgetLimit;

/// The quota of one caller, paced by governor.
pub struct Quota {
    limit: BudgetLimit,
    pub(super) inner: Mutex<QuotaInner>,
}

pub(super) struct QuotaInner {
    pub(super) pace: Pace,
    pub(super) queue: Queue,
}

impl Quota {
    /// Creates an unused quota.
    pub fn new(limit: BudgetLimit) -> Self {
        Self { limit, inner: Mutex::new(QuotaInner { pace: Pace::new(&limit), queue: Queue::default() }) }
    }

    /// The configured size of the quota.
    pub fn limit(&self) -> BudgetLimit {
        self.limit
    }

    /// The time in which the quota of this many calls comes back.
    pub(super) fn turns(&self, calls: usize) -> Duration {
        let interval = self.limit.window / self.limit.limit.get();
        interval.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX))
    }

    pub(super) fn exhausted(&self, wait: Duration) -> Exhausted {
        Exhausted::Quota { limit: self.limit.limit.get(), window: self.limit.window, wait }
    }
}
