//! From dispatch to the vendor's answer: one attempt, or two.

use std::time::Instant;

use super::Worker;
use super::repeats::delivery_of;

use crate::answer::{self, Read};
use crate::body::Facts;
use crate::budget::Standing;
use crate::ledger::Entered;
use crate::operation::OperationId;
use crate::outbound;
use crate::refusal::Refusal;
use crate::response::Response;
use crate::retry::Delivery;
use crate::store::Payment;
use crate::telemetry::VendorNote;
use crate::tenant::{Grant, OriginId};
use crate::vendor::{self, Choice, Deadlines, Failure, Message, NotSent};

/// What every attempt of a call has in common.
pub(super) struct Attempts<'c> {
    pub(super) grant: &'c Grant,
    pub(super) facts: Facts,
    pub(super) origin: OriginId,
    pub(super) deadlines: Deadlines,
}

/// The vendor's answer, as far as it is read at once.
pub(super) struct Exchanged {
    pub(super) answer: Response<Read>,
    /// How the operation's own budget stands with it, if it is on.
    pub(super) standing: Option<Standing>,
}

impl Worker {
    /// At most two attempts, each paid for by itself; the second only if the first wrote nothing, or if the vendor
    /// knows a repeated call by its cid.
    pub(super) async fn exchange(
        &self,
        attempts: Attempts<'_>,
        message: &Message,
        mut payment: Payment,
        mut note: impl FnMut(VendorNote) + Send,
    ) -> Result<Exchanged, Refusal> {
        let Attempts { grant, facts, origin, mut deadlines } = attempts;
        let operation = grant.operation();
        let repeatable = operation.knows_cid() && facts.has_cid;
        // What the first attempt may have done is not undone by a second that came to nothing.
        let (mut choice, mut first) = (Choice::Any, None);
        let failed = |kind| self.telemetry.metrics.vendor_failure(operation, kind);
        loop {
            if payment.is_late() {
                drop(payment);
                deadlines.start = Instant::now();
                payment = match Box::pin(self.pay(grant, facts, deadlines.start)).await {
                    Ok(paid) => paid,
                    Err(refusal) => return Err(first.unwrap_or(refusal)),
                };
            }
            // A slot in the store ends by itself: whoever it pays for must not outlast it.
            let call = payment.ends().map_or(deadlines.call, |ends| ends.min(deadlines.call));
            let dispatched = match Entered::begin(self.ledger.as_ref(), payment) {
                Ok(dispatched) => dispatched,
                Err(not_written) => return Err(first.unwrap_or_else(|| not_written.into())),
            };
            let refusal = match self.pool.send(origin, message, choice, Deadlines { call, ..deadlines }).await
            {
                Ok(answer) => {
                    let said = outbound::rate_said(answer.response.status, &answer.response.fields);
                    let arrived = self.clock.at(answer.arrived);
                    let standing = dispatched.settle(arrived, said, operation.budget);
                    match self.receive(answer.response, operation, deadlines.start, &mut note).await {
                        Err(cut @ (Refusal::VendorTimeout | Refusal::VendorInterrupted)) => cut,
                        outcome => {
                            return undoubted(outcome, first).map(|answer| Exchanged { answer, standing });
                        }
                    }
                }
                Err(Failure::NotSent(NotSent::CircuitOpen(open))) => {
                    dispatched.refund();
                    return Err(first.unwrap_or_else(|| open.into()));
                }
                Err(Failure::NotSent(why)) => {
                    dispatched.refund();
                    failed(why.kind());
                    let down = self.pool.check_circuit(origin, Instant::now()).is_err();
                    if down || choice == Choice::Fresh || !time_for_another(&deadlines) {
                        tracing::warn!(operation = operation.name, error = %why, "the vendor could not be reached");
                        return Err(first.unwrap_or(Refusal::VendorUnreachable));
                    }
                    Refusal::VendorUnreachable
                }
                Err(Failure::TimedOut) => {
                    failed("timeout");
                    Refusal::VendorTimeout
                }
                Err(Failure::Broken) => {
                    failed("interrupted");
                    Refusal::VendorInterrupted
                }
            };
            let may_repeat = repeatable || matches!(refusal, Refusal::VendorUnreachable);
            if !may_repeat || choice == Choice::Fresh || !time_for_another(&deadlines) {
                return Err(refusal);
            }
            deadlines.start = Instant::now();
            let Ok(paid) = self.pay(grant, facts, deadlines.start).await else { return Err(refusal) };
            self.telemetry.metrics.retry(operation);
            (payment, choice, first) = (paid, Choice::Fresh, Some(refusal));
        }
    }

    async fn receive(
        &self,
        answer: Response<vendor::Body>,
        operation: OperationId,
        start: Instant,
        note: &mut (impl FnMut(VendorNote) + Send),
    ) -> Result<Response<Read>, Refusal> {
        let Response { status, reason, fields, closes, body } = answer;
        let read = answer::read(body).await.inspect_err(|refusal| {
            self.telemetry.metrics.vendor_failure(operation, refusal.reason());
        })?;
        let body = read.whole();
        let said = body.map(answer::said).unwrap_or_default();
        let code = said.code;
        note(VendorNote { status: status.as_u16(), code, msg_id: said.msg_id, took: start.elapsed() });
        if let Some(body) = body {
            answer::judge(status, &fields, body, code, operation.family()).inspect_err(|refusal| {
                if matches!(refusal, Refusal::VendorRejectedCredential) {
                    tracing::error!(operation = operation.name, "the vendor rejected a credential of ours");
                }
            })?;
        }
        Ok(Response { status, reason, fields, closes, body: read })
    }
}

/// The outcome of the last attempt. Where it says that nothing was done, the doubt of a first attempt stays.
fn undoubted<T>(
    outcome: Result<Response<T>, Refusal>,
    first: Option<Refusal>,
) -> Result<Response<T>, Refusal> {
    let nothing_done = match &outcome {
        Ok(answer) => Delivery::of_answer(answer.status) == Delivery::None,
        Err(refusal) => delivery_of(refusal) == Delivery::None,
    };
    match first {
        Some(doubt) if nothing_done && delivery_of(&doubt) == Delivery::Unknown => Err(doubt),
        _ => outcome,
    }
}

/// Whether enough of a call's time is left for dispatching it.
pub(super) fn time_for_another(deadlines: &Deadlines) -> bool {
    deadlines.left(Instant::now()) >= deadlines.for_dispatch()
}
