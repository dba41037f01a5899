//! What a call costs, and how long it may wait to pay.

use std::time::{Duration, Instant};

use super::{Admitted, Worker};

use crate::body::Facts;
use crate::body_reader::Presence;
use crate::budget::{BudgetSet, Precedence, Requester};
use crate::payload::Payload;
use crate::refusal::Refusal;
use crate::store::Payment;
use crate::telemetry::Record;
use crate::tenant::Grant;
use crate::upstream::Deadlines;
use crate::waiting::{self, WaitOutcome, Waiting};

impl Worker {
    /// Pays for a call that does not wait.
    pub(super) async fn pay(&self, grant: &Grant, facts: Facts, now: Instant) -> Result<Payment, Refusal> {
        match self
            .asking(&grant.budget_set(&facts), &grant.requester(), now, &Presence::default())
            .ask(now)
            .await
        {
            WaitOutcome::Paid(payment) => Ok(payment),
            WaitOutcome::Refused(refusal) => Err(refusal),
            WaitOutcome::Waits(_) => unreachable!("without patience nobody waits"),
        }
    }

    /// Pays for a call of the gateway's own that others depend on: before all who wait, from nobody's quota.
    pub(super) async fn pay_first(&self, grant: &Grant, deadlines: &Deadlines) -> Result<Payment, Refusal> {
        let budget_set = grant.budget_set(&Facts::default());
        let requester = Requester { quota: None, precedence: Precedence::First, ..grant.requester() };
        let (until, presence) = (waiting::until(Duration::MAX, deadlines), Presence::default());
        let call = self.asking(&budget_set, &requester, until, &presence);
        match call.ask(deadlines.start).await {
            WaitOutcome::Paid(payment) => Ok(payment),
            WaitOutcome::Refused(refusal) => Err(refusal),
            WaitOutcome::Waits(wait) => call.wait(wait, &self.admission).await,
        }
    }

    fn asking<'w>(
        &'w self,
        budget_set: &'w BudgetSet,
        requester: &'w Requester,
        until: Instant,
        presence: &'w Presence,
    ) -> Waiting<'w> {
        let store = self.store.as_ref().map(|store| (store, self.active.shared_horizon));
        Waiting { budget_set, requester, clock: self.clock, store, until, presence }
    }

    /// Pays for a call, waiting for it as long as its caller wants and its deadline allows.
    pub(super) async fn pay_in_time(
        &self,
        admitted: &Admitted<'_>,
        payload: &Payload,
        deadlines: &mut Deadlines,
        record: &Record,
    ) -> Result<Payment, Refusal> {
        let Admitted { grant, presence, .. } = admitted;
        // After the body: what was not dispatched when the drain began is not dispatched any more.
        if self.admission.draining() {
            return Err(Refusal::Draining);
        }
        let asked =
            record.preference().map_or(grant.caller().wait, |seconds| Duration::from_secs(seconds.into()));
        let until = waiting::until(asked, deadlines);
        if let Some(ledger) = self.ledger.as_ref().filter(|ledger| !ledger.is_owned()) {
            let longest = waiting::until(waiting::LEDGER_MAX, deadlines) - deadlines.start;
            let waited = async {
                tokio::select! {
                    settled = waiting::for_ledger(ledger, longest, &self.admission, payload.len()) => settled,
                    () = presence.doubted() => Err(Refusal::Draining),
                }
            };
            deadlines.start = Box::pin(waited).await?;
        }
        let (budget_set, requester) = (grant.budget_set(payload.facts()), grant.requester());
        let now = deadlines.start;
        let call = self.asking(&budget_set, &requester, until, presence);
        let wait = match call.ask(now).await {
            WaitOutcome::Paid(payment) => return Ok(payment),
            WaitOutcome::Refused(refusal) => return Err(refusal),
            WaitOutcome::Waits(wait) => wait,
        };
        let overloaded = Refusal::Overloaded { what: "memory for bodies that wait" };
        let _waits = self.admission.wait_with(payload.len()).ok_or(overloaded)?;
        // Boxed: the few calls that wait should not make the others carry the room for it.
        let paid = Box::pin(call.wait(wait, &self.admission)).await;
        deadlines.start = Instant::now();
        self.telemetry.metrics.budget_wait(grant.operation().budget, deadlines.start - now);
        paid
    }
}
