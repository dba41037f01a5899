//! The exact window: at most `limit` calls counted by the vendor in any span of `length`, wherever it starts.
//!
//! A slot is held from dispatch until the head of the vendor's answer, and then for one window more.
//!
//! *Why that is exact:* let the vendor count call i at cᵢ, with dispatchᵢ ≤ cᵢ ≤ answerᵢ. Take the calls counted in
//! any span (T, T + W] and among them the one dispatched last, at d ≤ T + W. Every other one is released at
//! answerᵢ + W ≥ cᵢ + W > T + W ≥ d, so all of them hold slots at d, and admission at d means there are at most
//! `limit`. An attempt that was given up may still be counted up to `guard` later, so it counts as answered then.

use std::collections::VecDeque;
use std::time::Duration;

use super::Horizon;
use super::restored_calls::{CallLifetime, Ended};
use super::timestamp::Timestamp;

/// Size of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowRule {
    /// Calls in any span of `length`.
    pub(super) limit: u32,
    /// Length of the span.
    pub(super) length: Duration,
    /// How long after a given-up attempt the vendor may still count it.
    guard: Duration,
    /// How long an attempt lasts at most, from dispatch to its end.
    attempt: Duration,
    /// How long a slot is held after the answer, and after the end of an attempt given up, in microseconds: every
    /// decision asks.
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

    /// The longest that a slot can be held from the moment it is taken.
    pub(super) fn longest(&self) -> Duration {
        self.attempt + self.guard + self.length
    }
}

impl WindowRule {
    /// The same rule with a lower limit.
    pub(super) fn at_most(self, limit: u32) -> Self {
        Self { limit: self.limit.min(limit), ..self }
    }

    /// How long a call can matter.
    pub(super) fn reach(&self) -> CallLifetime {
        CallLifetime { hold: self.guard + self.length, attempt: self.attempt }
    }
}

/// The caller of slots that a former process took: nobody's number.
const FORMER: u16 = u16::MAX;

/// When calls in flight are taken to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Now, with their answer.
    Soonest,
    /// As late as they can, and given up.
    Latest,
}

/// Slots in use: a count in flight and the ends of those that came back.
///
/// Ends are kept instead of release times so that a changed `length` applies to all of them at once, and so that
/// both queues stay sorted. Eight bytes a slot.
#[derive(Default)]
pub(super) struct Window {
    in_flight: u32,
    settled: VecDeque<Slot>,
    abandoned: VecDeque<Slot>,
}

/// The end of one call: microseconds in the upper 48 bits (9 years), the caller in the lower 16.
#[derive(Clone, Copy)]
struct Slot(u64);

impl Slot {
    fn new(end: Timestamp, caller: u16) -> Self {
        Self(end.as_micros() << 16 | u64::from(caller))
    }

    fn end(self) -> Timestamp {
        Timestamp::from_micros(self.0 >> 16)
    }

    fn caller(self) -> u16 {
        u16::try_from(self.0 & 0xffff).expect("16 bits")
    }
}

impl Window {
    /// Slots that can be taken now; tells whose slots became free since the last time.
    pub(super) fn free(&mut self, rule: &WindowRule, now: Timestamp, mut freed: impl FnMut(u16)) -> u32 {
        let over = |slot: &Slot, held: u64| slot.end().as_micros().saturating_add(held) < now.as_micros();
        while self.settled.front().is_some_and(|slot| over(slot, rule.settled_micros)) {
            self.settled.pop_front().iter().for_each(|slot| freed(slot.caller()));
        }
        while self.abandoned.front().is_some_and(|slot| over(slot, rule.abandoned_micros)) {
            self.abandoned.pop_front().iter().for_each(|slot| freed(slot.caller()));
        }
        rule.limit.saturating_sub(self.used())
    }

    /// Slots in use, as of the last call that passed a time in.
    pub(super) fn used(&self) -> u32 {
        let held = u32::try_from(self.settled.len() + self.abandoned.len()).unwrap_or(u32::MAX);
        self.in_flight.saturating_add(held)
    }

    /// Takes a slot. The caller has seen that one is free.
    pub(super) fn take(&mut self) {
        self.in_flight += 1;
    }

    /// The head of the answer is here: the slot is held for one window from now.
    pub(super) fn settle(&mut self, now: Timestamp, caller: u16) {
        self.in_flight -= 1;
        self.settled.push_back(Slot::new(now, caller));
    }

    /// The attempt was given up: the vendor may count it until `guard` from now.
    pub(super) fn abandon(&mut self, now: Timestamp, caller: u16) {
        self.in_flight -= 1;
        // Calls of a former process can still have to end; the queue stays sorted.
        let end = self.abandoned.back().map_or(now, |last| last.end().max(now));
        self.abandoned.push_back(Slot::new(end, caller));
    }

    /// Takes calls of a former process in.
    pub(super) fn restore(&mut self, ends: &[Ended]) {
        for ended in ends {
            match *ended {
                Ended::Answered(end) => self.settled.push_back(Slot::new(end, FORMER)),
                Ended::GivenUp(end) => self.abandoned.push_back(Slot::new(end, FORMER)),
            }
        }
        for queue in [&mut self.settled, &mut self.abandoned] {
            queue.make_contiguous().sort_unstable_by_key(|slot| slot.0);
        }
    }

    /// No byte of the request was written: the slot is free at once.
    pub(super) fn refund(&mut self) {
        self.in_flight -= 1;
    }

    /// How long until `nth` slots more are free than now, if each is taken as soon as it frees: exact for slots that
    /// came back; calls in flight, and those that take a slot on the way, end as `ends` says.
    pub(super) fn until_release(
        &self,
        rule: &WindowRule,
        now: Timestamp,
        nth: usize,
        ends: Ends,
    ) -> Duration {
        let call = match ends {
            Ends::Soonest => rule.length,
            Ends::Latest => rule.longest(),
        };
        // Over a limit that was lowered, as many must go first as there are too many.
        let used = (self.used() as usize).max(1);
        let place = used.saturating_sub(rule.limit as usize) + nth.saturating_sub(1);
        let mut settled = self.settled.iter().map(|slot| slot.end() + rule.length).peekable();
        let mut abandoned =
            self.abandoned.iter().map(|slot| slot.end() + rule.guard + rule.length).peekable();
        let mut ordered = std::iter::from_fn(|| match (settled.peek(), abandoned.peek()) {
            (Some(a), Some(b)) if b < a => abandoned.next(),
            (Some(_), _) => settled.next(),
            (None, _) => abandoned.next(),
        });
        let first_round = ordered.nth(place % used).map_or(call, |release| release.since(now));
        let rounds = u32::try_from(place / used).unwrap_or(u32::MAX);
        first_round.saturating_add(call.saturating_mul(rounds)) + Timestamp::TICK
    }

    /// Callers of the slots that came back and are still held, for the status page.
    pub(super) fn callers(&self) -> impl Iterator<Item = u16> + '_ {
        self.settled.iter().chain(&self.abandoned).map(|slot| slot.caller())
    }
}
