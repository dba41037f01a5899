//! Calls of a budget reserved for single callers, and lent to others while their owner is idle.
//!
//! An owner counts as busy for one window after each request. While it is busy, the unused part of its reserve is not
//! available to others. Once it is idle, its calls are lent; when it comes back, it gets the next slots that become
//! free, before all other waiters, until its reserve is met.

use std::time::Duration;

use super::caller_number::CallerNumber;
use super::timestamp::Timestamp;

/// The reserves of one budget.
#[derive(Default)]
pub(super) struct Reserves(Vec<Reserve>);

struct Reserve {
    caller: CallerNumber,
    calls: u32,
    /// Slots that the owner holds: of calls in flight, and of calls that ended.
    in_flight: u32,
    ended: u32,
    /// Calls up to this number were dispatched before the reserve existed and are not counted in `in_flight`.
    since: u64,
    asked: Option<Timestamp>,
}

impl Reserve {
    fn missing(&self) -> u32 {
        self.calls.saturating_sub(self.in_flight.saturating_add(self.ended))
    }

    /// The time until which the owner counts as busy.
    fn busy_until(&self, window: Duration) -> Option<Timestamp> {
        self.asked.map(|asked| asked + window)
    }
}

impl Reserves {
    /// Whether no reserve is configured, which is the usual case and keeps decisions cheap.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces the reserves. `dispatched` is the number of the budget's last call; `ended` yields the callers of slots
    /// held by calls that ended.
    pub(super) fn keep(
        &mut self,
        wanted: &[(CallerNumber, u32)],
        dispatched: u64,
        ended: impl Iterator<Item = CallerNumber>,
    ) {
        let known = std::mem::take(&mut self.0);
        self.0 = wanted
            .iter()
            .map(|&(caller, calls)| {
                let fresh = Reserve { caller, calls, in_flight: 0, ended: 0, since: dispatched, asked: None };
                let known = known.iter().find(|reserve| reserve.caller == caller);
                known.map_or(fresh, |known| Reserve { calls, ended: 0, ..*known })
            })
            .collect();
        ended.for_each(|caller| self.change(caller, |reserve| reserve.ended += 1));
    }

    fn change(&mut self, caller: CallerNumber, change: impl FnOnce(&mut Reserve)) {
        if let Some(own) = self.0.iter_mut().find(|reserve| reserve.caller == caller) {
            change(own);
        }
    }

    /// Records that a caller asked for a slot.
    pub(super) fn asked(&mut self, caller: CallerNumber, now: Timestamp) {
        self.change(caller, |own| own.asked = own.asked.max(Some(now)));
    }

    /// Records that a caller took a slot.
    pub(super) fn took(&mut self, caller: CallerNumber) {
        self.change(caller, |own| own.in_flight += 1);
    }

    /// Records that a call is no longer in flight.
    pub(super) fn returned(&mut self, caller: CallerNumber, call: u64) {
        self.change(caller, |own| own.in_flight -= u32::from(call > own.since));
    }

    /// Records that a call in flight ended and holds its slot for the window.
    pub(super) fn ended(&mut self, caller: CallerNumber, call: u64) {
        self.returned(caller, call);
        self.change(caller, |own| own.ended += 1);
    }

    /// Records that the slot of an ended call is free.
    pub(super) fn freed(&mut self, caller: CallerNumber) {
        self.change(caller, |own| own.ended -= 1);
    }

    /// Whether a caller has a reserve.
    pub(super) fn has(&self, caller: CallerNumber) -> bool {
        self.0.iter().any(|reserve| reserve.caller == caller)
    }

    /// Whether a caller has a reserve that is not used up.
    pub(super) fn is_unmet(&self, caller: CallerNumber) -> bool {
        self.0.iter().any(|reserve| reserve.caller == caller && reserve.missing() > 0)
    }

    /// Slots that `caller` cannot have now, because they are reserved for others.
    pub(super) fn kept_from(&self, caller: CallerNumber, now: Timestamp, window: Duration) -> KeptSlots {
        let mut kept = KeptSlots::default();
        // An owner may always take the unused part of its reserve. If more is reserved than is free, the one whose turn
        // it is takes the slot: if each owner left it to the others, nobody would take it.
        if self.is_empty() || self.is_unmet(caller) {
            return kept;
        }
        for other in self.0.iter().filter(|reserve| reserve.caller != caller) {
            let Some(until) = other.busy_until(window).filter(|until| *until > now) else { continue };
            kept.now = kept.now.saturating_add(other.missing());
            kept.at_most = kept.at_most.saturating_add(other.calls);
            kept.lent_in = kept.lent_in.max(until.since(now));
            if other.missing() > 0 {
                let first = kept.first_lent_in.unwrap_or(Duration::MAX);
                kept.first_lent_in = Some(first.min(until.since(now)));
            }
        }
        kept
    }
}

/// Slots reserved for other callers that are busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeptSlots {
    /// Slots reserved now: the unused part of those reserves.
    pub(super) now: u32,
    /// The most that can be reserved while a call waits: the whole of those reserves.
    pub(super) at_most: u32,
    /// Time until all of them are lent, if their owners do not ask again.
    pub(super) lent_in: Duration,
    /// Time until the first of them are lent; `None` if no unused part is reserved.
    pub(super) first_lent_in: Option<Duration>,
}
