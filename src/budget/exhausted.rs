//! Why a call cannot pass, in words for its caller.

use std::time::Duration;

use crate::operation::BudgetName;

/// Why a call has to wait, and how long: true for a lone caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// No slot is free in this budget, or pacing holds the next one back.
    #[error(
        "Rate limit exceeded: the {} budget of {limit} calls in {} is used up; nothing was sent, try again in {} s",
        name.as_str(), humantime::format_duration(*window), whole_seconds(*wait)
    )]
    Budget {
        /// Which one.
        name: BudgetName,
        /// Its size.
        limit: u32,
        /// Length of its window.
        window: Duration,
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
