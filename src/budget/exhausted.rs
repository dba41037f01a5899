//! Why a call cannot pass, in words for its caller.

use std::time::Duration;

use super::{BudgetState, Timestamp};
use crate::operation::BudgetName;

/// Why a call has to wait, and how long: true for a lone caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// No slot is free in this budget, or pacing holds the next one back.
    #[error(
        "Rate limit exceeded: {}; nothing was sent, try again in {} s",
        cause.told_of(*name, *limit, *window), whole_seconds(*wait)
    )]
    Budget {
        /// Which one.
        name: BudgetName,
        /// Its size.
        limit: u32,
        /// Length of its window.
        window: Duration,
        /// What became of its calls.
        cause: Cause,
        /// When to come again.
        wait: Duration,
    },
    /// The caller used its share.
    #[error(
        "Rate limit exceeded: this caller's quota of {limit} calls in {} is used up; nothing was sent, try again in {} s",
        humantime::format_duration(*window), whole_seconds(*wait)
    )]
    Quota {
        /// Size of the share.
        limit: u32,
        /// Time over which it is spread.
        window: Duration,
        /// When to come again.
        wait: Duration,
    },
}

/// Why a budget has no call for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All of its calls were made.
    UsedUp,
    /// Some were not, but are kept for other callers, or spread over the window.
    NotNow,
    /// The vendor allows so many, fewer than the configuration.
    VendorLimit(u32),
    /// The vendor says that there is none.
    VendorSaid,
    /// The state file does not tell which calls were made before.
    NotKnown,
    /// The store that replicas share is away, and this one's own calls, so many, were made.
    StoreAway(u32),
    /// The store was found without what it had given; the rest as above.
    StoreHoldsBack(u32),
}

impl Cause {
    fn told_of(self, name: BudgetName, limit: u32, window: Duration) -> String {
        let budget = format!(
            "the {} budget of {limit} calls in {}",
            name.as_str(),
            humantime::format_duration(window)
        );
        match self {
            Self::UsedUp => format!("{budget} is used up"),
            Self::NotNow => {
                format!(
                    "{budget} has none for this caller now: what is left is kept for others or spread over time"
                )
            }
            Self::VendorLimit(fewer) => {
                format!("{budget} is used up, because the vendor allows this key {fewer} at present")
            }
            Self::VendorSaid => {
                format!("the vendor says that nothing is left of {budget}; others may use the same key")
            }
            Self::NotKnown => format!(
                "{budget} is held back, because the state file does not tell which calls were made before"
            ),
            Self::StoreAway(own) => format!(
                "the store that replicas share {budget} in is away, and the part of this one alone ({own} calls) is used up"
            ),
            Self::StoreHoldsBack(own) => format!(
                "the store that replicas share {budget} in holds it back, because it lost what was given before, and the part of this one alone ({own} calls) is used up"
            ),
        }
    }
}

impl BudgetState {
    /// That no call can be made for so long, and why.
    pub(super) fn exhausted(&self, now: Timestamp, wait: Duration) -> Exhausted {
        let (limit, window) = (self.limit.limit.get(), self.rule.length);
        Exhausted::Budget { name: self.name, limit, window, cause: self.cause(now), wait }
    }

    fn cause(&self, now: Timestamp) -> Cause {
        let (limit, used, own) = (self.limit.limit.get(), self.used(), self.rule.limit);
        if used >= limit {
            return Cause::UsedUp;
        }
        if let Some(vendor_limit) = self.vendor_limit(now).filter(|_| self.by_vendor_limit(now) == 0) {
            return match vendor_limit.limit() {
                _ if vendor_limit.holds_back() => Cause::NotKnown,
                Some(fewer) if fewer < limit && used >= fewer => Cause::VendorLimit(fewer),
                _ => Cause::VendorSaid,
            };
        }
        match &self.shared {
            Some(shared) if shared.holds_back(now) => Cause::StoreHoldsBack(own),
            Some(shared) if shared.is_away() => Cause::StoreAway(own),
            Some(shared) if shared.free() == 0 => Cause::UsedUp,
            _ => Cause::NotNow,
        }
    }
}

impl Exhausted {
    /// When a lone caller that comes again is admitted.
    pub fn wait(&self) -> Duration {
        match self {
            Self::Budget { wait, .. } | Self::Quota { wait, .. } => *wait,
        }
    }

    pub(super) fn at_least(mut self, least: Duration) -> Self {
        match &mut self {
            Self::Budget { wait, .. } | Self::Quota { wait, .. } => *wait = (*wait).max(least),
        }
        self
    }

    /// The wait for a `Retry-After` header: at least one second.
    pub fn retry_after_seconds(&self) -> u64 {
        whole_seconds(self.wait()).max(1)
    }
}

/// Seconds, rounded up, so that whoever waits them has waited long enough.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
