//! From dispatch to the vendor's answer: one attempt, or two.

use std::time::Instant;

use http::Request;

use super::repeats::delivery_of;
use super::{DISPATCH_MIN, Worker};

use crate::answer::{self, Read};
use crate::body::Facts;
use crate::budget::Permit;
use crate::ledger::Entered;
use crate::operation::OperationId;
use crate::outbound;
use crate::refusal::Refusal;
use crate::retry::Delivery;
use crate::telemetry::VendorNote;
use crate::tenant::{Grant, OriginId};
use crate::vendor::{Answer, Choice, Deadlines, Failure, NotSent, Sending};

/// What every attempt of a call has in common.
pub(super) struct Attempts<'c> {
    pub(super) grant: &'c Grant,
    pub(super) facts: Facts,
    pub(super) origin: OriginId,
    pub(super) deadlines: Deadlines,
    /// The same message once more, where the vendor knows a repeated call by its cid.
    pub(super) again: Option<Box<Request<Sending>>>,
}

impl Worker {
    /// At most two attempts, each with its own permit; the second only if the first wrote nothing or had a cid.
    pub(super) async fn exchange(
        &self,
        attempts: Attempts<'_>,
        mut message: Box<Request<Sending>>,
        mut permit: Permit,
        mut note: impl FnMut(VendorNote) + Send,
    ) -> Result<(http::response::Parts, Read), Refusal> {
        let Attempts { grant, facts, origin, mut deadlines, mut again } = attempts;
        // What the first attempt may have done is not undone by a second that came to nothing.
        let (mut choice, mut first) = (Choice::Any, None);
        let operation = grant.operation();
        let failed = |kind| self.telemetry.metrics.vendor_failure(operation, kind);
        loop {
            let dispatched = match Entered::begin(self.ledger.as_ref(), permit) {
                Ok(dispatched) => dispatched,
                Err(not_written) => return Err(first.unwrap_or_else(|| not_written.into())),
            };
            let (refusal, next) = match self.pool.send(origin, message, choice, deadlines).await {
                Ok(answer) => {
                    let said = outbound::rate_said(answer.response.status(), answer.response.headers());
                    dispatched.settle(self.clock.at(answer.arrived), said);
                    match self.receive(answer, operation, deadlines.start, &mut note).await {
                        Err(cut @ (Refusal::VendorTimeout | Refusal::VendorInterrupted)) => {
                            (cut, again.take())
                        }
                        outcome => return undoubted(outcome, first),
                    }
                }
                Err(Failure::NotSent(_, NotSent::CircuitOpen(open))) => {
                    dispatched.refund();
                    return Err(first.unwrap_or_else(|| open.into()));
                }
                Err(Failure::NotSent(back, why)) => {
                    dispatched.refund();
                    failed(why.kind());
                    let down = self.pool.check_circuit(origin, Instant::now()).is_err();
                    if down || choice == Choice::Fresh || !time_for_another(&deadlines) {
                        tracing::warn!(operation = operation.name, error = %why, "the vendor could not be reached");
                        return Err(first.unwrap_or(Refusal::VendorUnreachable));
                    }
                    (Refusal::VendorUnreachable, Some(back))
                }
                Err(Failure::TimedOut) => {
                    failed("timeout");
                    (Refusal::VendorTimeout, again.take())
                }
                Err(Failure::Broken) => {
                    failed("interrupted");
                    (Refusal::VendorInterrupted, again.take())
                }
            };
            let may_go_on = choice == Choice::Any && time_for_another(&deadlines);
            let Some(next) = next.filter(|_| may_go_on) else { return Err(refusal) };
            deadlines.start = Instant::now();
            let Ok(paid) = self.pay(grant, facts, deadlines.start) else { return Err(refusal) };
            self.telemetry.metrics.retry(operation);
            (permit, choice, message, first) = (paid, Choice::Fresh, next, Some(refusal));
        }
    }

    async fn receive(
        &self,
        answer: Box<Answer>,
        operation: OperationId,
        start: Instant,
        note: &mut (impl FnMut(VendorNote) + Send),
    ) -> Result<(http::response::Parts, Read), Refusal> {
        let (parts, read) = answer::read(answer).await.inspect_err(|refusal| {
            self.telemetry.metrics.vendor_failure(operation, refusal.reason());
        })?;
        let body = read.whole();
        let said = body.map(answer::said).unwrap_or_default();
        let (status, code) = (parts.status, said.code);
        note(VendorNote { status: status.as_u16(), code, msg_id: said.msg_id, took: start.elapsed() });
        if let Some(body) = body {
            answer::judge(status, &parts.headers, body, code, operation.family()).inspect_err(|refusal| {
                if matches!(refusal, Refusal::VendorRejectedCredential) {
                    tracing::error!(operation = operation.name, "the vendor rejected a credential of ours");
                }
            })?;
        }
        Ok((parts, read))
    }
}

/// The outcome of the last attempt. Where it says that nothing was done, the doubt of a first attempt stays.
fn undoubted<T>(
    outcome: Result<(http::response::Parts, T), Refusal>,
    first: Option<Refusal>,
) -> Result<(http::response::Parts, T), Refusal> {
    let nothing_done = match &outcome {
        Ok((parts, _)) => Delivery::of_answer(parts.status) == Delivery::None,
        Err(refusal) => delivery_of(refusal) == Delivery::None,
    };
    match first {
        Some(doubt) if nothing_done && delivery_of(&doubt) == Delivery::Unknown => Err(doubt),
        _ => outcome,
    }
}

/// Whether enough of a call's time is left for dispatching it.
pub(super) fn time_for_another(deadlines: &Deadlines) -> bool {
    deadlines.left(Instant::now()) >= DISPATCH_MIN.min(deadlines.whole / 2)
}
