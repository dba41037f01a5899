//! The exact window: the vendor counts at most `limit` calls in any span of `length`, wherever the span starts.
//!
//! A slot is held from dispatch until the head of the vendor's answer, and then for one window more.
//!
//! *Proof:* let the vendor count call i at cᵢ, with dispatchᵢ ≤ cᵢ ≤ answerᵢ. Take the calls counted in any span
//! (T, T + W] and among them the one dispatched last, at d ≤ T + W. Every other one is released at
//! answerᵢ + W ≥ cᵢ + W > T + W ≥ d, so all of them hold slots at d, and admission at d means that there are at most
//! `limit`. An attempt that was given up may still be counted up to `guard` later, so it counts as answered then.

use std::collections::VecDeque;
use std::time::Duration;

use super::Horizon;
use super::caller_number::CallerNumber;
use super::restored_calls::{CallLifetime, Ended};
use super::timestamp::Timestamp;

/// The size of a window and the times for which slots are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowRule {
    /// Calls allowed in any span of `length`.
    pub(super) limit: u32,
    /// Length of the span.
    pub(super) length: Duration,
    /// The time after a given-up attempt during which the vendor may still count it.
    guard: Duration,
    /// The longest time from the dispatch of an attempt to its end.
    attempt: Duration,
    /// The time a slot is held after an answer, and after a given-up attempt, in microseconds: computed once, because
    /// every decision needs them.
    settled_micros: u64,
    abandoned_micros: u64,
}

impl WindowRule {
    pub(super) fn new(limit: u32, length: Duration, horizon: Horizon) -> Self {
        let Horizon { guard, attempt } = horizon;
        let micros = |held: Duration| (Timestamp::default() + held).as_micros();
        let (settled_micros, abandoned_micros) = (micros(length), micros(guard + length));
        Self { limit, length, guard, attempt, settled_micros, abandoned_micros }
    }

    /// The longest time for which a slot can be held after it was taken.
    pub(super) fn longest(&self) -> Duration {
        self.attempt + self.guard + self.length
    }
}

impl WindowRule {
    /// Returns the same rule with at most this limit.
    pub(super) fn at_most(self, limit: u32) -> Self {
        Self { limit: self.limit.min(limit), ..self }
    }

    /// The longest times for which one call of this budget matters.
    pub(super) fn call_lifetime(&self) -> CallLifetime {
        CallLifetime { hold: self.guard + self.length, attempt: self.attempt }
    }
}

/// The assumption about calls in flight when a waiting time is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Estimate {
    /// All of them are answered now.
    Soonest,
    /// All of them run as long as they can and are then given up.
    Latest,
}

/// The slots in use: a count of calls in flight, and the end times of calls that ended.
///
/// End times are stored instead of release times, so that a changed `length` applies to all slots at once and both
/// queues stay sorted. A slot takes twelve bytes.
#[derive(Default)]
pub(super) struct Window {
    in_flight: u32,
    settled: VecDeque<Slot>,
    abandoned: VecDeque<Slot>,
}

/// The end of one call, in microseconds, and its caller. The time is kept in two halves, because a `u64` would make the
/// slot sixteen bytes long.
#[derive(Clone, Copy)]
struct Slot {
    end_micros: [u32; 2],
    caller: CallerNumber,
}

impl Slot {
    fn new(end: Timestamp, caller: CallerNumber) -> Self {
        let micros = end.as_micros();
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
        Self { end_micros: [half(micros >> 32), half(micros)], caller }
    }

    fn end(self) -> Timestamp {
        let [upper, lower] = self.end_micros.map(u64::from);
        Timestamp::from_micros(upper << 32 | lower)
    }
}

impl Window {
    /// Returns the slots that can be taken now; calls `freed` with the caller of each slot that became free since the
    /// last call.
    pub(super) fn free(
        &mut self,
        rule: &WindowRule,
        now: Timestamp,
        mut freed: impl FnMut(CallerNumber),
    ) -> u32 {
        let over = |slot: &Slot, held: u64| slot.end().as_micros().saturating_add(held) < now.as_micros();
        while self.settled.front().is_some_and(|slot| over(slot, rule.settled_micros)) {
            self.settled.pop_front().iter().for_each(|slot| freed(slot.caller));
        }
        while self.abandoned.front().is_some_and(|slot| over(slot, rule.abandoned_micros)) {
            self.abandoned.pop_front().iter().for_each(|slot| freed(slot.caller));
        }
        rule.limit.saturating_sub(self.used())
    }

    /// Slots in use, as of the last call of [`Self::free`].
    pub(super) fn used(&self) -> u32 {
        let held = u32::try_from(self.settled.len() + self.abandoned.len()).unwrap_or(u32::MAX);
        self.in_flight.saturating_add(held)
    }

    /// Takes a slot; the caller has checked that one is free.
    pub(super) fn take(&mut self) {
        self.in_flight += 1;
    }

    /// Records that the head of the answer arrived: the slot is held for one window from `now`.
    pub(super) fn settle(&mut self, now: Timestamp, caller: CallerNumber) {
        self.in_flight -= 1;
        self.settled.push_back(Slot::new(now, caller));
    }

    /// Records that the attempt was given up: the vendor may count it until `guard` from `now`.
    pub(super) fn abandon(&mut self, now: Timestamp, caller: CallerNumber) {
        self.in_flight -= 1;
        // Restored calls can have an end later than `now`; the maximum keeps the queue sorted.
        let end = self.abandoned.back().map_or(now, |last| last.end().max(now));
        self.abandoned.push_back(Slot::new(end, caller));
    }

    /// Adds the calls of a former process.
    pub(super) fn restore(&mut self, ends: &[Ended]) {
        for ended in ends {
            match *ended {
                Ended::Answered(end) => self.settled.push_back(Slot::new(end, CallerNumber::FORMER)),
                Ended::GivenUp(end) => self.abandoned.push_back(Slot::new(end, CallerNumber::FORMER)),
            }
        }
        for queue in [&mut self.settled, &mut self.abandoned] {
            queue.make_contiguous().sort_unstable_by_key(|slot| slot.end_micros);
        }
    }

    /// Frees the slot of a call of which no byte was written.
    pub(super) fn refund(&mut self) {
        self.in_flight -= 1;
    }

    /// Time until `nth` more slots are free than now, if each is taken again as soon as it is free. Exact for slots of
    /// calls that ended; calls in flight, and those dispatched meanwhile, end as `estimate` says.
    pub(super) fn until_release(
        &self,
        rule: &WindowRule,
        now: Timestamp,
        nth: usize,
        estimate: Estimate,
    ) -> Duration {
        let call = match estimate {
            Estimate::Soonest => rule.length,
            Estimate::Latest => rule.longest(),
        };
        // Above a lowered limit, as many slots must first be released as there are too many. Below it, those that are
        // free now serve calls as well before one of the used slots serves a second one.
        let (used, limit) = ((self.used() as usize).max(1), rule.limit as usize);
        let slots = used.max(limit);
        let place = used.saturating_sub(limit) + nth.saturating_sub(1);
        let mut settled = self.settled.iter().map(|slot| slot.end() + rule.length).peekable();
        let mut abandoned =
            self.abandoned.iter().map(|slot| slot.end() + rule.guard + rule.length).peekable();
        let mut ordered = std::iter::from_fn(|| match (settled.peek(), abandoned.peek()) {
            (Some(a), Some(b)) if b < a => abandoned.next(),
            (Some(_), _) => settled.next(),
            (None, _) => abandoned.next(),
        });
        let first_round = ordered.nth(place % slots).map_or(call, |release| release.since(now));
        let rounds = u32::try_from(place / slots).unwrap_or(u32::MAX);
        first_round.saturating_add(call.saturating_mul(rounds)) + Timestamp::TICK
    }

    /// Callers of the slots that are held after their call ended, for the status page.
    pub(super) fn callers(&self) -> impl Iterator<Item = CallerNumber> + '_ {
        self.settled.iter().chain(&self.abandoned).map(|slot| slot.caller)
    }
}
