//! Calls of a budget kept for single callers, and lent to the others while their owner is idle.
//!
//! An owner is busy from the moment it asks for one window on. As long as it is, whatever it has not used of its
//! reserve is out of reach for the others. Once idle, its calls are lent; when it comes back, it takes the next slots
//! that free before anybody who waits, until its reserve is met.

use std::time::Duration;

use super::timestamp::Timestamp;

/// The reserves of one budget.
#[derive(Default)]
pub(super) struct Reserves(Vec<Reserve>);

struct Reserve {
    caller: u16,
    calls: u32,
    /// Slots the owner holds: of calls in flight, and of those that came back.
    in_flight: u32,
    ended: u32,
    /// Calls up to this number are not among those in flight.
    since: u64,
    asked: Option<Timestamp>,
}

impl Reserve {
    fn missing(&self) -> u32 {
        self.calls.saturating_sub(self.in_flight.saturating_add(self.ended))
    }

    /// Until when its owner counts as busy.
    fn busy_until(&self, window: Duration) -> Option<Timestamp> {
        self.asked.map(|asked| asked + window)
    }
}

impl Reserves {
    /// Whether nothing is kept for anybody: the rule, which costs a decision nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps so many calls for each of these callers from now on. `dispatched` is the number of the last call, and
    /// `ended` whose slots are held by calls that came back.
    pub(super) fn keep(&mut self, wanted: &[(u16, u32)], dispatched: u64, ended: impl Iterator<Item = u16>) {
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

    fn change(&mut self, caller: u16, change: impl FnOnce(&mut Reserve)) {
        if let Some(own) = self.0.iter_mut().find(|reserve| reserve.caller == caller) {
            change(own);
        }
    }

    /// A caller asks for a slot.
    pub(super) fn asks(&mut self, caller: u16, now: Timestamp) {
        self.change(caller, |own| own.asked = own.asked.max(Some(now)));
    }

    /// A caller took a slot.
    pub(super) fn took(&mut self, caller: u16) {
        self.change(caller, |own| own.in_flight += 1);
    }

    /// A call in flight gave its slot back.
    pub(super) fn returned(&mut self, caller: u16, call: u64) {
        self.change(caller, |own| own.in_flight -= u32::from(call > own.since));
    }

    /// A call in flight came back and holds its slot on.
    pub(super) fn ended(&mut self, caller: u16, call: u64) {
        self.returned(caller, call);
        self.change(caller, |own| own.ended += 1);
    }

    /// A slot that was held on is free.
    pub(super) fn freed(&mut self, caller: u16) {
        self.change(caller, |own| own.ended -= 1);
    }

    /// Whether calls are kept for a caller.
    pub(super) fn has(&self, caller: u16) -> bool {
        self.0.iter().any(|reserve| reserve.caller == caller)
    }

    /// Whether a caller has not used all of its reserve.
    pub(super) fn owes(&self, caller: u16) -> bool {
        self.0.iter().any(|reserve| reserve.caller == caller && reserve.missing() > 0)
    }

    /// What is out of reach for a caller now.
    pub(super) fn kept_from(&self, caller: u16, now: Timestamp, window: Duration) -> KeptSlots {
        let mut kept = KeptSlots::default();
        // What an owner has not used is its own. Where more is owed than is free, whoever has its turn takes it: if
        // each left it to the others, nobody would.
        if self.is_empty() || self.owes(caller) {
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

/// Slots that are kept for others who are busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeptSlots {
    /// Now.
    pub(super) now: u32,
    /// Whatever they give back meanwhile.
    pub(super) at_most: u32,
    /// Until all of them are lent, if their owners do not ask again.
    pub(super) lent_in: Duration,
    /// Until the first of them are lent.
    pub(super) first_lent_in: Option<Duration>,
}
