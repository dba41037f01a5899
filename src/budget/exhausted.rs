//! Why a call cannot pass, as a message for its caller.

use std::time::Duration;

use super::{BudgetState, Timestamp};
use crate::operation::BudgetName;

/// The reason why a call has to wait, and a waiting time that is enough for a caller that is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// No slot is free in a budget, or pacing holds the next call back.
    #[error(
        "Rate limit exceeded: {}; nothing was sent, try again in {} s",
        cause.describe(*name, *limit, *window), whole_seconds(*wait)
    )]
    Budget {
        /// The budget that has no call available.
        name: BudgetName,
        /// Calls allowed in one window.
        limit: u32,
        /// Length of the window.
        window: Duration,
        /// The reason why no call is available.
        cause: Cause,
        /// Time after which a lone caller is admitted.
        wait: Duration,
    },
    /// The caller's own quota is used up.
    #[error(
        "Rate limit exceeded: this caller's quota of {limit} calls in {} is used up; nothing was sent, try again in {} s",
        humantime::format_duration(*window), whole_seconds(*wait)
    )]
    Quota {
        /// Calls of the quota.
        limit: u32,
        /// Time over which they are spread.
        window: Duration,
        /// Time after which a lone caller is admitted.
        wait: Duration,
    },
}

/// The reason why a budget has no call for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All slots are in use.
    UsedUp,
    /// Slots are left, but reserved for other callers or held back by pacing.
    NotNow,
    /// The vendor's limit is used up; it is this number, lower than the configured one.
    VendorLimit(u32),
    /// The vendor's answer said that no call is left.
    VendorExhausted,
    /// The calls of a former process are unknown, because the state file is damaged.
    CallsUnknown,
    /// The store that replicas share gives nothing, and what was taken out of this replica's own part before its start
    /// is not over yet.
    OwnPartClosed,
    /// The store that replicas share does not answer, and this replica's own part, of this many calls, is used up.
    StoreAway(u32),
    /// The store does not know what was taken before and grants nothing yet, and this replica's own part, of this many calls, is used up.
    StoreHoldsBack(u32),
}

impl Cause {
    fn describe(self, name: BudgetName, limit: u32, window: Duration) -> String {
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
            Self::VendorExhausted => {
                format!("the vendor says that nothing is left of {budget}; others may use the same key")
            }
            Self::CallsUnknown => format!(
                "{budget} is held back, because the state file does not tell which calls were made before"
            ),
            Self::OwnPartClosed => format!(
                "the store that replicas share {budget} in gives none now, and the part of this one alone is held back, because a replica before it may have used it"
            ),
            Self::StoreAway(own) => format!(
                "the store that replicas share {budget} in is away, and the part of this one alone ({own} calls) is used up"
            ),
            Self::StoreHoldsBack(own) => format!(
                "the store that replicas share {budget} in holds it back, because it does not know which calls were made before, and the part of this one alone ({own} calls) is used up"
            ),
        }
    }
}

impl BudgetState {
    /// The refusal of this budget with a waiting time and the reason.
    pub(super) fn exhausted(&self, now: Timestamp, wait: Duration) -> Exhausted {
        let (limit, window) = (self.limit.limit.get(), self.rule.length);
        Exhausted::Budget { name: self.name, limit, window, cause: self.cause(now), wait }
    }

    /// The reason why the budget gives nothing, for operators: where the own part is closed, what the store says.
    pub(super) fn shortage(&self, now: Timestamp) -> Cause {
        match (self.cause(now), &self.shared) {
            (Cause::OwnPartClosed, Some(shared)) if shared.holds_back(now) => {
                Cause::StoreHoldsBack(shared.own)
            }
            (Cause::OwnPartClosed, Some(shared)) if shared.is_away() => Cause::StoreAway(shared.own),
            (cause, _) => cause,
        }
    }

    fn cause(&self, now: Timestamp) -> Cause {
        let (limit, used, own) = (self.limit.limit.get(), self.used(), self.rule.limit);
        if used >= limit {
            return Cause::UsedUp;
        }
        if let Some(vendor_limit) = self.vendor_limit(now).filter(|_| self.by_vendor_limit(now) == 0) {
            return match vendor_limit.limit() {
                _ if vendor_limit.holds_back() => Cause::CallsUnknown,
                Some(fewer) if fewer < limit && used >= fewer => Cause::VendorLimit(fewer),
                _ => Cause::VendorExhausted,
            };
        }
        match &self.shared {
            Some(shared) if shared.own > own && shared.free() == 0 => Cause::OwnPartClosed,
            Some(shared) if shared.holds_back(now) => Cause::StoreHoldsBack(own),
            Some(shared) if shared.is_away() => Cause::StoreAway(own),
            Some(shared) if shared.free() == 0 => Cause::UsedUp,
            _ => Cause::NotNow,
        }
    }
}

impl Exhausted {
    /// The time after which a lone caller is admitted.
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

    /// The waiting time for a `Retry-After` header: whole seconds, rounded up, at least one.
    pub fn retry_after_seconds(&self) -> u64 {
        whole_seconds(self.wait()).max(1)
    }
}

/// A duration in whole seconds, rounded up so that waiting them is enough.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
