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
    /// Calls dispatched before that one that the vendor may count after it.
    earlier: u32,
    /// Set by the gateway itself to hold all calls back; not from the vendor.
    holds_back: bool,
}

/// The call whose answer carried rate headers, and the state of its budget at that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// The number of the call, counted from the budget's first.
    pub(super) call: u64,
    /// Calls dispatched before it that are not answered yet.
    pub(super) earlier: u32,
    /// Our slots in use.
    pub(super) used: u32,
}

impl VendorLimit {
    /// A limit set by the gateway itself where the calls of a former process are unknown: no call is free before
    /// `until`.
    pub(super) fn nothing_until(until: Timestamp) -> Self {
        Self { call: 0, remaining: Some(0), limit: None, until, foreign: 0, earlier: 0, holds_back: true }
    }

    /// Applies the headers of one answer to the limit so far. Headers of an older call than the last one applied are
    /// ignored, unless the answer is a 429; they only tell whether the vendor had counted that call already.
    pub(super) fn apply(
        last: Option<Self>,
        rate_headers: RateHeaders,
        Answered { call, earlier, used }: Answered,
        window: Duration,
        now: Timestamp,
    ) -> Option<Self> {
        let RateHeaders { limit, remaining, reset, refused } = rate_headers;
        let last = last.filter(|last| last.holds(now));
        if let Some(last) = last.filter(|last| !refused && last.call > call) {
            let is_counted = remaining.zip(last.remaining).is_some_and(|(then, later)| then > later);
            return Some(if is_counted { last.without_earlier(call) } else { last });
        }
        let reset = reset.map(|reset| reset.min(window));
        // What was said to be used up until some time stays so, whatever nearer time is named after that.
        let used_up_until = last.filter(|last| last.remaining == Some(0)).map(|last| last.until);
        if refused {
            let back_off = now + reset.unwrap_or_default().max(BACK_OFF.min(window));
            let until = used_up_until.map_or(back_off, |until| until.max(back_off));
            return Some(Self {
                call,
                remaining: Some(0),
                limit,
                until,
                foreign: 0,
                earlier,
                holds_back: false,
            });
        }
        let Some(left) = remaining else {
            let unknown = || {
                let until = now + reset.unwrap_or(window);
                Self { call, remaining: None, limit, until, foreign: 0, earlier, holds_back: false }
            };
            // An answer that does not say how many calls are left takes nothing back.
            let known = last.filter(|last| last.remaining.is_some());
            let known = known.map(|last| Self { limit: limit.or(last.limit), ..last });
            return known.or_else(|| limit.map(|_| unknown())).or(last);
        };
        let counted = limit.map_or(0, |limit| limit.saturating_sub(left));
        let until = now + reset.unwrap_or(window);
        let until = used_up_until.filter(|_| left == 0).map_or(until, |before| before.max(until));
        let foreign = counted.saturating_sub(used);
        Some(Self { call, remaining, limit, until, foreign, earlier, holds_back: false })
    }

    /// The same limit where the vendor can no longer count this call after the one whose headers were applied: it had
    /// counted it before, or nothing of it was written.
    pub(super) fn without_earlier(self, call: u64) -> Self {
        Self { earlier: self.earlier.saturating_sub(u32::from(call < self.call)), ..self }
    }

    /// Whether the limit still applies.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Calls that the vendor would still accept: by its remaining count and the calls it may not have counted, and by
    /// its limit and our `used` slots.
    pub(super) fn free(&self, dispatched: u64, used: u32) -> u32 {
        self.free_by_remaining(dispatched).min(self.free_by_limit(used))
    }

    /// The vendor's remaining count less the calls dispatched since, and those before that it may not have counted.
    pub(super) fn free_by_remaining(&self, dispatched: u64) -> u32 {
        let since = u32::try_from(dispatched.saturating_sub(self.call)).unwrap_or(u32::MAX);
        let uncounted = since.saturating_add(self.earlier);
        self.remaining.map_or(u32::MAX, |remaining| remaining.saturating_sub(uncounted))
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
