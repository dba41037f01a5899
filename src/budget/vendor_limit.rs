//! The vendor's word: what its rate headers say about a key, applied downwards only and until its own reset.
//!
//! Others may use the same key, so the vendor can know of fewer free calls than we do. It never knows of more: a
//! number above ours is only reported.

use std::time::Duration;

use super::timestamp::Timestamp;

/// How long a 429 holds calls back at least, and without headers: long enough not to hammer, short enough not to freeze
/// a tenant. A reset comes in whole seconds, so one of 0 says that less than a second is left, not that none is.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Rate headers of one answer. What was missing or unreadable is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// `X-Rate-Limit-Limit`, or `-Quota`.
    pub limit: Option<u32>,
    /// `X-Rate-Limit-Remaining`.
    pub remaining: Option<u32>,
    /// `X-Rate-Limit-Reset`.
    pub reset: Option<Duration>,
    /// The vendor refused the call as one too many (429).
    pub refused: bool,
}

/// The last word that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VendorLimit {
    /// The call whose answer said it, counted from the budget's first.
    call: u64,
    remaining: Option<u32>,
    limit: Option<u32>,
    until: Timestamp,
    foreign: u32,
    /// Ours: calls are held back whatever the vendor says.
    holds_back: bool,
}

impl VendorLimit {
    /// What we say ourselves where calls of a former process are not known: nothing is free until then.
    pub(super) fn nothing_until(until: Timestamp) -> Self {
        Self { call: 0, remaining: Some(0), limit: None, until, foreign: 0, holds_back: true }
    }

    /// Takes an answer's headers in, if they are news: an answer to an older call than the last one is not, unless it
    /// is a refusal.
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

    /// Whether it still counts.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Calls the vendor would still take, after those dispatched since; `used` are ours in the window.
    pub(super) fn free(&self, dispatched: u64, used: u32) -> u32 {
        self.free_by_remaining(dispatched).min(self.free_by_limit(used))
    }

    /// What it said is left, less the calls dispatched since.
    pub(super) fn free_by_remaining(&self, dispatched: u64) -> u32 {
        let since = u32::try_from(dispatched.saturating_sub(self.call)).unwrap_or(u32::MAX);
        self.remaining.map_or(u32::MAX, |remaining| remaining.saturating_sub(since))
    }

    /// What its limit leaves beside ours.
    pub(super) fn free_by_limit(&self, used: u32) -> u32 {
        self.limit.map_or(u32::MAX, |limit| limit.saturating_sub(used))
    }

    /// How long it still counts.
    pub(super) fn left(&self, now: Timestamp) -> Duration {
        self.until.since(now)
    }

    /// Calls of the key in the vendor's count that were certainly not ours.
    pub(super) fn foreign(&self) -> u32 {
        self.foreign
    }

    /// Whether it is ours, because calls of a former process are not known.
    pub(super) fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// The vendor's limit.
    pub(super) fn limit(&self) -> Option<u32> {
        self.limit
    }
}
