//! The vendor's rate headers for a key. They only lower the number of free calls, and only until their reset.
//!
//! Others may use the same key, so the vendor can have fewer free calls than we count. It cannot have more: a limit
//! above ours is only reported.

use std::time::Duration;

use super::timestamp::Timestamp;

/// The shortest time for which a 429 holds calls back, also one without headers: long enough not to hammer the vendor,
/// short enough not to block a tenant. `Reset` is in whole seconds, so 0 means less than one second, not none.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The rate headers of one answer. A header that is missing or unreadable is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// `X-Rate-Limit-Limit`, or else `X-Rate-Limit-Quota`.
    pub limit: Option<u32>,
    /// `X-Rate-Limit-Remaining`: calls left until the reset.
    pub remaining: Option<u32>,
    /// `X-Rate-Limit-Reset`: time until the reset, in whole seconds.
    pub reset: Option<Duration>,
    /// Whether the vendor refused the call as one too many (429).
    pub refused: bool,
}

/// The rate headers that were applied last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VendorLimit {
    /// The number of the call whose answer carried them, counted from the budget's first call.
    call: u64,
    remaining: Option<u32>,
    limit: Option<u32>,
    until: Timestamp,
    foreign: u32,
    /// Set by the gateway itself to hold all calls back; not from the vendor.
    holds_back: bool,
}

impl VendorLimit {
    /// A limit set by the gateway itself where the calls of a former process are unknown: no call is free before
    /// `until`.
    pub(super) fn nothing_until(until: Timestamp) -> Self {
        Self { call: 0, remaining: Some(0), limit: None, until, foreign: 0, holds_back: true }
    }

    /// Applies the headers of one answer to the limit so far. Headers of an older call than the last one applied are
    /// ignored, unless the answer is a 429.
    pub(super) fn apply(
        last: Option<Self>,
        rate_headers: RateHeaders,
        (call, ours): (u64, u32),
        window: Duration,
        now: Timestamp,
    ) -> Option<Self> {
        if !rate_headers.refused && last.is_some_and(|last| last.call > call && last.until > now) {
            return last;
        }
        let reset = rate_headers.reset.map(|reset| reset.min(window));
        if rate_headers.refused {
            let until = now + reset.unwrap_or_default().max(BACK_OFF.min(window));
            let (remaining, limit) = (Some(0), rate_headers.limit);
            return Some(Self { call, remaining, limit, until, foreign: 0, holds_back: false });
        }
        if rate_headers.remaining.is_none() && rate_headers.limit.is_none() {
            return last;
        }
        let counted = rate_headers
            .limit
            .zip(rate_headers.remaining)
            .map(|(limit, remaining)| limit.saturating_sub(remaining));
        let foreign = counted.map_or(0, |counted| counted.saturating_sub(ours));
        let until = now + reset.unwrap_or(window);
        let (remaining, limit) = (rate_headers.remaining, rate_headers.limit);
        Some(Self { call, remaining, limit, until, foreign, holds_back: false })
    }

    /// Whether the limit still applies.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Calls that the vendor would still accept: by its remaining count and the calls dispatched since, and by its
    /// limit and our `used` slots.
    pub(super) fn free(&self, dispatched: u64, used: u32) -> u32 {
        self.free_by_remaining(dispatched).min(self.free_by_limit(used))
    }

    /// The vendor's remaining count less the calls dispatched since.
    pub(super) fn free_by_remaining(&self, dispatched: u64) -> u32 {
        let since = u32::try_from(dispatched.saturating_sub(self.call)).unwrap_or(u32::MAX);
        self.remaining.map_or(u32::MAX, |remaining| remaining.saturating_sub(since))
    }

    /// The vendor's limit less our slots in use.
    pub(super) fn free_by_limit(&self, used: u32) -> u32 {
        self.limit.map_or(u32::MAX, |limit| limit.saturating_sub(used))
    }

    /// Time for which the limit still applies.
    pub(super) fn left(&self, now: Timestamp) -> Duration {
        self.until.since(now)
    }

    /// Calls on the key in the vendor's count that were certainly not ours.
    pub(super) fn foreign(&self) -> u32 {
        self.foreign
    }

    /// Whether the gateway set this limit itself because the calls of a former process are unknown.
    pub(super) fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// The vendor's limit, if its answer had one.
    pub(super) fn limit(&self) -> Option<u32> {
        self.limit
    }
}
