//! Waiting for a budget: how long a request may, and the sleep between two decisions.

#![warn(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use crate::admission::Admission;
use crate::body_reader::Presence;
use crate::budget::{
    self, BudgetSet, Clock, Decision, GrantedMask, Horizon, QueueTicket, Requester, Timestamp, WaitLimit,
};
use crate::fields::FieldValue;
use crate::ledger::Ledger;
use crate::payment::Payment;
use crate::refusal::Refusal;
use crate::request::{Field, RequestHead};
use crate::store::{GivenSlots, Slots, Store, StoreAnswer};

/// The `wait` preference of a request in seconds (RFC 7240, 4.3); the first one counts.
pub fn preference(head: &RequestHead) -> Option<u32> {
    let preferences = head.all(Field::Prefer).filter_map(FieldValue::text).flat_map(|value| value.split(','));
    preferences.filter_map(|preference| preference.split(';').next()?.split_once('=')).find_map(
        |(name, seconds)| {
            let seconds = seconds.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("wait").then(|| seconds.parse().ok()).flatten()
        },
    )
}

/// How long a request waits for another process to give the budgets away.
pub const LEDGER_MAX: Duration = Duration::from_secs(5);
/// While the store is away, a call that waits looks this often whether it is back.
const LOOK_FOR_STORE: Duration = Duration::from_millis(250);

/// Waits until the budgets are ours.
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

/// A call that asks for its slots, and waits for them if it may.
pub struct Waiting<'w> {
    /// The budgets it draws on.
    pub budget_set: &'w BudgetSet,
    /// Who asks.
    pub requester: &'w Requester,
    /// The clock of the budgets.
    pub clock: Clock,
    /// What replicas share, if they do, and how long an attempt matters there.
    pub store: Option<(&'w Arc<Store>, Horizon)>,
    /// When it gives up.
    pub until: Instant,
    /// Whether somebody waits for it: one that may be gone does not wait on.
    pub presence: &'w Presence,
}

/// What became of a call that asked.
pub enum WaitOutcome {
    /// It has its slots.
    Paid(Payment),
    /// It waits.
    Waits(Wait),
    /// It cannot be served in time.
    Refused(Refusal),
}

/// A place in line, and when to look again although no bell rang.
pub struct Wait {
    ticket: Box<QueueTicket>,
    /// What the store gave for the budgets that are passed.
    slots: GivenSlots,
    look_at: Option<Timestamp>,
    /// When the store may give more than it did; a bell before that is about our own part alone.
    ask_at: Option<Timestamp>,
}

/// What a call has so far: nothing, for a newcomer.
type SoFar = (Option<Box<QueueTicket>>, GivenSlots);

impl Waiting<'_> {
    /// The first decision; most calls are done with it.
    pub async fn ask(&self, now: Instant) -> WaitOutcome {
        let newcomer = (None, GivenSlots::new());
        match self.store {
            None => self.decide(now, newcomer, None, None),
            // Boxed: a call that shares nothing should not carry the room for it.
            Some(_) => Box::pin(self.ask_store(now, newcomer)).await,
        }
    }

    /// Sleeps and asks again until the call is paid for or cannot be in time, or the gateway stops.
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

    /// What was set aside in the store ends there by itself, so that it is renewed. Where that comes too late, the call
    /// asks for everything again.
    async fn renewed(&self, payment: Payment) -> WaitOutcome {
        let Some((_, horizon)) = self.store else { return WaitOutcome::Paid(payment) };
        match payment.renewed(horizon).await {
            Some(payment) => WaitOutcome::Paid(payment),
            None => self.ask(Instant::now()).await,
        }
    }

    /// The store first: what it gives outlives this process, and our own part is left for when it is away.
    async fn ask_store(&self, now: Instant, so_far: SoFar) -> WaitOutcome {
        let next = so_far.0.as_ref().map(|ticket| ticket.asks());
        let budget_set = next.as_ref().unwrap_or(self.budget_set);
        let slot_requests = self.store.zip(budget::slot_requests(
            budget_set,
            self.requester,
            so_far.0.as_deref(),
            self.clock.at(now),
        ));
        let Some(((store, horizon), slot_requests)) = slot_requests else {
            return self.decide(now, so_far, None, None);
        };
        let StoreAnswer { slots, statuses } = store.take(&slot_requests, horizon, self.clock).await;
        budget::apply_store_status(budget_set, &statuses);
        let (now, mut ask_at) = (Instant::now(), None);
        if slots.is_none() {
            let now = self.clock.at(now);
            // An answer elsewhere can shorten a hold to one window from now, and nobody tells us.
            let full = statuses.iter().zip(&slot_requests).filter(|(statuses, _)| statuses.free == 0);
            let soonest = full.map(|(statuses, want)| statuses.next.min(now + want.window)).max();
            ask_at = Some(soonest.unwrap_or(now + LOOK_FOR_STORE));
        }
        self.decide(now, so_far, ask_at, slots)
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
            // It stands where it stood: what the store gave, if anything, goes back.
            Decision::Wait { ticket, look_at } if gates == Some(ticket.gates()) => {
                WaitOutcome::Waits(Wait { ticket, slots: passed, look_at, ask_at })
            }
            Decision::Wait { ticket, look_at } => {
                // A newcomer asked the store for all of its budgets at once; from now on it asks for one after the other.
                let moved_on = gates.is_some() || ticket.gates() > 1;
                let ask_at = if self.store.is_some() && moved_on { Some(now) } else { ask_at };
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
