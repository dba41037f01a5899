//! Payment of a call: taking its slots, and waiting for them.

use std::time::{Duration, Instant};

use super::trace::waited;
use super::{Ask, Worker};

use crate::body::Facts;
use crate::body_reader::Presence;
use crate::budget::{BudgetSet, Precedence, Requester};
use crate::ledger::Ledger;
use crate::payment::Payment;
use crate::refusal::Refusal;
use crate::telemetry::spans::WaitFor;
use crate::tenant::Grant;
use crate::upstream::Deadlines;
use crate::waiting::{self, WaitOutcome, Waiting};

impl Worker {
    /// Pays for a call that does not wait.
    pub(super) async fn pay(&self, grant: &Grant, facts: Facts) -> Result<Payment, Refusal> {
        let (now, presence) = (Instant::now(), Presence::default());
        match self.asking(&grant.budget_set(&facts), &grant.requester(), now, &presence).ask(now).await {
            WaitOutcome::Paid(payment) => Ok(payment),
            WaitOutcome::Refused(refusal) => Err(refusal),
            WaitOutcome::Waits(_) => unreachable!("a call that gives up now does not wait"),
        }
    }

    /// Pays for a call of the gateway's own that others depend on, before all waiting calls and from no caller's quota.
    pub(super) async fn pay_first(&self, grant: &Grant, deadlines: &Deadlines) -> Result<Payment, Refusal> {
        let now = Instant::now();
        let budget_set = grant.budget_set(&Facts::default());
        let requester = Requester { quota: None, precedence: Precedence::First, ..grant.requester() };
        let (until, presence) = (deadlines.wait_end(now, Duration::MAX), Presence::default());
        let call = self.asking(&budget_set, &requester, until, &presence);
        match call.ask(now).await {
            WaitOutcome::Paid(payment) => Ok(payment),
            WaitOutcome::Refused(refusal) => Err(refusal),
            WaitOutcome::Waits(wait) => call.wait(wait, &self.shared.admission).await,
        }
    }

    /// Pays for a call, waiting for as long as its caller wants and its deadline allows.
    pub(super) async fn pay_in_time(&self, ask: &Ask<'_>, wait: Duration) -> Result<Payment, Refusal> {
        let Ask { grant, payload, presence, deadlines, span } = ask;
        // Checked after the body was read: once the drain has begun, nothing more is dispatched.
        self.refuse_in_drain()?;
        let mut now = Instant::now();
        let until = deadlines.wait_end(now, wait);
        if let Some(ledger) = self.shared.ledger.as_ref().filter(|ledger| !ledger.is_owned()) {
            Box::pin(self.wait_for_ledger(ledger, ask)).await?;
            now = Instant::now();
        }
        let (budget_set, requester) = (grant.budget_set(payload.facts()), grant.requester());
        let call = self.asking(&budget_set, &requester, until, presence);
        let wait = match call.ask(now).await {
            WaitOutcome::Paid(payment) => return Ok(payment),
            WaitOutcome::Refused(refusal) => return Err(refusal),
            WaitOutcome::Waits(wait) => wait,
        };
        let admission = &*self.shared.admission;
        let overloaded = Refusal::Overloaded { what: "memory for bodies that wait" };
        let _waits = admission.wait_with(payload.len()).ok_or(overloaded)?;
        let span = span.and_then(|span| span.wait(WaitFor::Budget(grant.operation().budget)));
        // Boxed, because few calls wait and the others should not need memory for it.
        let paid = Box::pin(call.wait(wait, admission)).await;
        self.telemetry.metrics.budget_wait(grant.operation().budget, now.elapsed());
        waited(span, paid, Refusal::reason)
    }

    /// Waits until this process owns the state file.
    pub(super) async fn wait_for_ledger(&self, ledger: &Ledger, ask: &Ask<'_>) -> Result<(), Refusal> {
        let Ask { payload, presence, deadlines, span, .. } = ask;
        let now = Instant::now();
        let longest = deadlines.wait_end(now, waiting::LEDGER_MAX) - now;
        let span = span.and_then(|span| span.wait(WaitFor::StateFile));
        let settled = tokio::select! {
            settled = waiting::for_ledger(ledger, longest, &self.shared.admission, payload.len()) => settled,
            () = presence.doubted() => Err(Refusal::Draining),
        };
        waited(span, settled, Refusal::reason)
    }

    fn asking<'w>(
        &'w self,
        budget_set: &'w BudgetSet,
        requester: &'w Requester,
        until: Instant,
        presence: &'w Presence,
    ) -> Waiting<'w> {
        let store = self.shared.store.as_ref().map(|store| (store, self.active.shared_horizon));
        Waiting { budget_set, requester, clock: self.shared.clock, store, until, presence }
    }
}
