//! Waiting for a budget: the time that a request may wait, and the sleep between two decisions.

#![warn(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use crate::admission::Admission;
use crate::body_reader::Presence;
use crate::budget::{
    self, BudgetSet, Clock, Decision, GrantedMask, Horizon, Need, QueueTicket, Requester, Timestamp,
    WaitLimit,
};
use crate::http1::fields::FieldValue;
use crate::ledger::Ledger;
use crate::payment::Payment;
use crate::refusal::Refusal;
use crate::request::{Field, RequestHead};
use crate::store::{GivenSlots, Slots, Store, StoreAnswer};

/// The request's `wait` preference in seconds (RFC 7240, 4.3); the first one counts.
pub fn preference(head: &RequestHead) -> Option<u32> {
    let preferences = head.all(Field::Prefer).filter_map(FieldValue::text).flat_map(|value| value.split(','));
    preferences.filter_map(|preference| preference.split(';').next()?.split_once('=')).find_map(
        |(name, seconds)| {
            let seconds = seconds.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("wait").then(|| seconds.parse().ok()).flatten()
        },
    )
}

/// The longest time for which a request waits until another process gives the budgets away.
pub const LEDGER_MAX: Duration = Duration::from_secs(5);
/// Interval at which a waiting call looks whether an unavailable store answers again.
const LOOK_FOR_STORE: Duration = Duration::from_millis(250);
/// The longest time after which a waiting call asks the store again. The store lets others pass that are later
/// (`take.lua`).
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Waits until this process owns the state file. Refuses the call if that takes longer than `longest`, if a drain
/// starts, or if waiting bodies already use too much memory.
pub async fn for_ledger(
    ledger: &Ledger,
    longest: Duration,
    admission: &Admission,
    body_bytes: usize,
) -> Result<(), Refusal> {
    let overloaded = Refusal::Overloaded { what: "memory for bodies that wait" };
    let _waits = admission.wait_with(body_bytes).ok_or(overloaded)?;
    tokio::select! {
        () = ledger.settled() => {}
        () = sleep(longest) => {}
        () = admission.drain_started() => {}
    }
    if ledger.is_owned() { Ok(()) } else { Err(Refusal::Draining) }
}

/// A call that asks for its slots and may wait for them.
pub struct Waiting<'w> {
    /// The budgets it draws on.
    pub budget_set: &'w BudgetSet,
    /// The caller it belongs to.
    pub requester: &'w Requester,
    /// The clock of the budgets.
    pub clock: Clock,
    /// The store, if replicas share budgets, and the times for which an attempt matters there.
    pub store: Option<(&'w Arc<Store>, Horizon)>,
    /// The time at which it gives up.
    pub until: Instant,
    /// Tells whether the caller is still there. A call whose caller may be gone stops waiting.
    pub presence: &'w Presence,
}

/// The result of asking for slots.
pub enum WaitOutcome {
    /// The call has its slots.
    Paid(Payment),
    /// The call has to wait.
    Waits(Wait),
    /// The call cannot be served in time.
    Refused(Refusal),
}

/// The places of a waiting call in the queues, and the time of its next look without a wake-up.
pub struct Wait {
    ticket: Box<QueueTicket>,
    /// The slots in the store for the budgets that it passed.
    slots: GivenSlots,
    look_at: Option<Timestamp>,
    /// The earliest time at which the store may grant more. A wake-up before it concerns only this replica's own part.
    ask_at: Option<Timestamp>,
}

/// The ticket and the slots that a call has so far; empty for a new call.
type SoFar = (Option<Box<QueueTicket>>, GivenSlots);

impl Waiting<'_> {
    /// Makes the first decision, which is the only one for most calls.
    pub async fn ask(&self, now: Instant) -> WaitOutcome {
        let newcomer = (None, GivenSlots::new());
        match self.store {
            None => self.decide(now, newcomer, None, None),
            // Boxed, so that calls without a store do not reserve room for this future.
            Some(_) => Box::pin(self.ask_store(now, newcomer)).await,
        }
    }

    /// Sleeps and asks again, until the call has its slots, cannot be served in time, or the gateway drains.
    pub async fn wait(mut self, mut wait: Wait, admission: &Admission) -> Result<Payment, Refusal> {
        loop {
            let look_at = [wait.look_at, wait.ask_at].into_iter().flatten().min();
            let wake = look_at.map_or(self.until, |at| self.clock.instant(at)).min(self.until);
            tokio::select! {
                () = sleep_until(wake.into()) => {}
                () = std::future::poll_fn(|cx| wait.ticket.wakeup().poll(cx)) => {}
                () = admission.drain_started() => return Err(Refusal::Draining),
                () = self.presence.doubted() => self.until = Instant::now(),
            }
            let now = Instant::now();
            let asks = self.store.is_some() && wait.ask_at.is_none_or(|at| at <= self.clock.at(now));
            let (so_far, ask_at) = ((Some(wait.ticket), wait.slots), wait.ask_at);
            let outcome = if asks && now < self.until {
                self.ask_store(now, so_far).await
            } else {
                self.decide(now, so_far, ask_at, None)
            };
            let outcome = match outcome {
                WaitOutcome::Paid(payment) => self.renewed(payment).await,
                outcome @ (WaitOutcome::Waits(_) | WaitOutcome::Refused(_)) => outcome,
            };
            match outcome {
                WaitOutcome::Paid(payment) => return Ok(payment),
                WaitOutcome::Refused(refusal) => return Err(refusal),
                WaitOutcome::Waits(next) => wait = next,
            }
        }
    }

    /// Renews the slots that were set aside in the store, which would otherwise expire. If one has expired already, the
    /// call asks for everything again.
    async fn renewed(&self, payment: Payment) -> WaitOutcome {
        let Some((_, horizon)) = self.store else { return WaitOutcome::Paid(payment) };
        match payment.renewed(horizon).await {
            Some(payment) => WaitOutcome::Paid(payment),
            None => self.ask(Instant::now()).await,
        }
    }

    /// Asks the store before the own part: slots in the store outlive this process, and the own part is then left for
    /// times when the store is unavailable.
    async fn ask_store(&self, now: Instant, so_far: SoFar) -> WaitOutcome {
        let next = so_far.0.as_ref().map(|ticket| ticket.awaited_budget());
        let budget_set = next.as_ref().unwrap_or(self.budget_set);
        let waiter = so_far.0.as_deref().map(|ticket| (ticket, self.clock.at(self.until)));
        let slot_requests = budget::slot_requests(budget_set, self.requester, waiter, self.clock.at(now));
        let slot_requests = self.store.zip(slot_requests);
        let Some(((store, horizon), slot_requests)) = slot_requests else {
            return self.decide(now, so_far, None, None);
        };
        let StoreAnswer { slots, statuses } = store.take(&slot_requests, horizon, self.clock).await;
        budget::apply_store_status(budget_set, &statuses);
        let (now, mut ask_at) = (Instant::now(), None);
        if slots.is_none() {
            let now = self.clock.at(now);
            // An answer to another replica can shorten a hold to one window from now, and this replica is not notified.
            let full = statuses.iter().zip(&slot_requests).filter(|(statuses, _)| statuses.free == 0);
            let soonest = full.map(|(statuses, want)| statuses.next.min(now + want.window)).max();
            ask_at = Some(soonest.unwrap_or(now + LOOK_FOR_STORE).min(now + ASK_AGAIN));
        }
        let mut outcome = self.decide(now, so_far, ask_at, slots);
        if let WaitOutcome::Waits(wait) = &mut outcome
            && slot_requests.iter().any(|want| want.need == Need::Place)
        {
            // What holds it back is known here.
            wait.ask_at = [wait.ask_at, wait.look_at].into_iter().flatten().min();
        }
        outcome
    }

    fn decide(
        &self,
        now: Instant,
        (ticket, mut passed): SoFar,
        ask_at: Option<Timestamp>,
        slots: Option<Box<Slots>>,
    ) -> WaitOutcome {
        let wait_limit =
            if self.until > now { WaitLimit::Until(self.clock.at(self.until)) } else { WaitLimit::None };
        let granted = slots.as_ref().map_or(GrantedMask::default(), |slots| slots.granted());
        let now = self.clock.at(now);
        let gates = ticket.as_ref().map(|ticket| ticket.gates());
        match budget::decide_with(self.budget_set, self.requester, now, ticket, (wait_limit, granted)) {
            Decision::Paid(permit) => {
                passed.extend(slots);
                WaitOutcome::Paid(Payment::new(permit, passed, self.clock))
            }
            Decision::Refused(exhausted) => WaitOutcome::Refused(exhausted.into()),
            // The call passed no gate, so slots that the store granted are released.
            Decision::Wait { ticket, look_at } if gates == Some(ticket.gates()) => {
                WaitOutcome::Waits(Wait { ticket, slots: passed, look_at, ask_at })
            }
            Decision::Wait { ticket, look_at } => {
                // A new call asked the store for all of its budgets together, as one that does not wait; from now on it
                // asks for one after the other.
                let ask_at = self.store.is_some().then_some(now);
                passed.extend(slots.filter(|_| gates.is_some()));
                WaitOutcome::Waits(Wait { ticket, slots: passed, look_at, ask_at })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_preference_is_read_as_the_rfc_writes_it() {
        let read = |values: &[&'static str]| {
            let request = http::Request::builder();
            let request = values.iter().fold(request, |request, value| request.header("prefer", *value));
            preference(&RequestHead::from(request.body(()).expect("a request").into_parts().0))
        };
        assert_eq!(read(&["wait=10"]), Some(10));
        assert_eq!(read(&["respond-async, Wait = 5; x=y"]), Some(5));
        assert_eq!(read(&["respond-async", "wait=\"7\", wait=9"]), Some(7));
        for none in [&["wait"][..], &["wait=-1"], &["wait=1.5"], &["waiting=3"], &["wait=99999999999"], &[]] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }
}
