//! The quota of one caller: its share of the tenants' budgets, counted by the same window as they are.

use std::sync::Mutex;
use std::time::Duration;

use super::caller_number::CallerNumber;
use super::exhausted::Exhausted;
use super::pace::Pace;
use super::queue::Queue;
use super::timestamp::Timestamp;
use super::window::{Estimate, Window, WindowRule};
use super::{Horizon, lock};
use crate::config::BudgetLimit;

/// The quota of one caller. In no window can the vendor have counted more of its calls than the limit; a `burst` is
/// paced by governor.
pub struct Quota {
    limit: BudgetLimit,
    pub(super) inner: Mutex<QuotaInner>,
}

/// The state of a quota at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaStatus {
    /// Calls in use.
    pub used: u32,
    /// Calls that can be made now, but for pacing.
    pub remaining: u32,
    /// Time until one more call can be made than now; zero if none is in use.
    pub reset: Duration,
}

pub(super) struct QuotaInner {
    rule: WindowRule,
    window: Window,
    pace: Option<Box<Pace>>,
    /// The time in which pacing lets one more call pass.
    interval: Duration,
    pub(super) queue: Queue,
}

impl Quota {
    /// Creates an unused quota.
    pub fn new(limit: BudgetLimit, horizon: Horizon) -> Self {
        let inner = QuotaInner {
            rule: super::rule(limit, horizon),
            window: Window::default(),
            pace: super::pace(limit),
            interval: limit.window / limit.limit.get(),
            queue: Queue::default(),
        };
        Self { limit, inner: Mutex::new(inner) }
    }

    /// The configured size of the quota.
    pub fn limit(&self) -> BudgetLimit {
        self.limit
    }

    /// Applies the times for which a call can still count at the vendor.
    pub fn apply(&self, horizon: Horizon) {
        lock(&self.inner).rule = super::rule(self.limit, horizon);
    }

    /// The state of the quota now.
    pub fn status(&self, now: Timestamp) -> QuotaStatus {
        let inner = &mut *lock(&self.inner);
        let remaining = inner.window.free(&inner.rule, now, |_| {});
        let used = inner.window.used();
        let reset = if used == 0 { Duration::ZERO } else { inner.until_free(now, remaining as usize) };
        QuotaStatus { used, remaining, reset }
    }

    /// Whether a call of a caller that does not wait yet would get a share now.
    pub(super) fn lets_pass(&self, now: Timestamp) -> bool {
        let inner = &mut *lock(&self.inner);
        !inner.queue.is_closed(false) && inner.until_free(now, 0).is_zero()
    }

    pub(super) fn exhausted(&self, wait: Duration) -> Exhausted {
        Exhausted::Quota { limit: self.limit.limit.get(), window: self.limit.window, wait }
    }

    /// Records that the head of the answer to one of its calls arrived.
    pub(super) fn settle(&self, now: Timestamp, caller: CallerNumber) {
        let inner = &mut *lock(&self.inner);
        inner.window.settle(now, caller);
        inner.queue.wake_head();
    }

    /// Records that one of its calls was given up.
    pub(super) fn abandon(&self, now: Timestamp, caller: CallerNumber) {
        let inner = &mut *lock(&self.inner);
        inner.window.abandon(now, caller);
        inner.queue.wake_head();
    }
}

impl QuotaInner {
    /// Takes one call, or returns the longest time until one is available.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        if self.window.free(&self.rule, now, |_| {}) == 0 {
            return Err(self.until_free(now, 0));
        }
        if let Some(pace) = &self.pace {
            pace.take(now)?;
        }
        self.window.take();
        Ok(())
    }

    /// Gives one call back of which nothing was written.
    pub(super) fn refund(&mut self) {
        self.window.refund();
        if let Some(pace) = &self.pace {
            pace.refund();
        }
        self.queue.wake_head();
    }

    /// The longest time until a call can be made with `before` others before it; zero if it can be made now.
    pub(super) fn until_free(&mut self, now: Timestamp, before: usize) -> Duration {
        let paced =
            self.pace.as_ref().map_or(Duration::ZERO, |pace| pace.until_free(now) + self.turns(before));
        self.by_window(now, before, Estimate::Latest).max(paced)
    }

    /// The shortest time until a call can be made with `before` others before it.
    pub(super) fn soonest(&mut self, now: Timestamp, before: usize) -> Duration {
        let paced = match &self.pace {
            Some(pace) if before == 0 => pace.until_free(now),
            Some(_) => self.turns(before),
            None => Duration::ZERO,
        };
        self.by_window(now, before, Estimate::Soonest).max(paced)
    }

    fn by_window(&mut self, now: Timestamp, before: usize, estimate: Estimate) -> Duration {
        let free = self.window.free(&self.rule, now, |_| {}) as usize;
        match (before + 1).saturating_sub(free) {
            0 => Duration::ZERO,
            missing => self.window.until_release(&self.rule, now, missing, estimate),
        }
    }

    /// The time in which pacing lets this many calls pass.
    fn turns(&self, calls: usize) -> Duration {
        self.interval.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX))
    }
}
