//! From dispatch to the vendor's answer: one attempt, or two.

use std::time::Instant;

use http::Response;

use super::{DISPATCH_MIN, Worker};

use crate::answer::{self, Read};
use crate::body::Facts;
use crate::budget::Standing;
use crate::ledger::Entered;
use crate::operation::OperationId;
use crate::outbound;
use crate::refusal::Refusal;
use crate::store::Payment;
use crate::telemetry::{Record, VendorNote};
use crate::tenant::{Grant, OriginId};
use crate::vendor::{Answer, Choice, Deadlines, Failure, Message, NotSent};

/// What every attempt of a call has in common.
pub(super) struct Attempts<'c> {
    pub(super) grant: &'c Grant,
    pub(super) facts: Facts,
    pub(super) origin: OriginId,
    pub(super) deadlines: Deadlines,
}

/// The head of the vendor's answer is here.
pub(super) struct Exchanged {
    pub(super) answer: Answer,
    /// When the attempt began that it answers.
    pub(super) start: Instant,
    /// How the operation's own budget stands with it, if it is on.
    pub(super) standing: Option<Standing>,
}

impl Worker {
    /// At most two attempts, each paid for by itself; the second only if the first wrote nothing.
    pub(super) async fn exchange(
        &self,
        attempts: Attempts<'_>,
        message: &Message,
        mut payment: Payment,
    ) -> Result<Exchanged, Refusal> {
        let Attempts { grant, facts, origin, mut deadlines } = attempts;
        let mut choice = Choice::Any;
        let operation = grant.operation();
        loop {
            // A slot in the store ends by itself: whoever it pays for must not outlast it.
            let call = payment.ends().map_or(deadlines.call, |ends| ends.min(deadlines.call));
            let dispatched = Entered::begin(self.ledger.as_ref(), payment)?;
            match self.pool.send(origin, message, choice, Deadlines { call, ..deadlines }).await {
                Ok(answer) => {
                    let said = outbound::rate_said(answer.status, &answer.headers);
                    let arrived = self.clock.at(answer.arrived);
                    let standing = dispatched.settle(arrived, said, operation.budget);
                    return Ok(Exchanged { answer, start: deadlines.start, standing });
                }
                Err(Failure::NotSent(NotSent::CircuitOpen(open))) => {
                    dispatched.refund();
                    return Err(open.into());
                }
                Err(Failure::NotSent(why)) => {
                    dispatched.refund();
                    self.telemetry.metrics.vendor_failure(operation, why.kind());
                    let down = self.pool.check_circuit(origin, Instant::now()).is_err();
                    if down || choice == Choice::Fresh || !time_for_another(&deadlines) {
                        tracing::warn!(operation = operation.name, error = %why, "the vendor could not be reached");
                        return Err(Refusal::VendorUnreachable);
                    }
                    self.telemetry.metrics.retry(operation);
                    deadlines.start = Instant::now();
                    let paid = self.pay(grant, facts, deadlines.start).await;
                    payment = paid.map_err(|_| Refusal::VendorUnreachable)?;
                    choice = Choice::Fresh;
                }
                Err(Failure::TimedOut) => {
                    self.telemetry.metrics.vendor_failure(operation, "timeout");
                    return Err(Refusal::VendorTimeout);
                }
                Err(Failure::Broken) => {
                    self.telemetry.metrics.vendor_failure(operation, "interrupted");
                    return Err(Refusal::VendorInterrupted);
                }
            }
        }
    }

    pub(super) async fn receive(
        &self,
        answer: Answer,
        operation: OperationId,
        start: Instant,
        record: &mut Record,
    ) -> Result<Response<Read>, Refusal> {
        let Answer { status, headers, extensions, body, .. } = answer;
        let read = answer::read(body).await.inspect_err(|refusal| {
            self.telemetry.metrics.vendor_failure(operation, refusal.reason());
        })?;
        let body = read.whole();
        let said = body.map(answer::said).unwrap_or_default();
        let code = said.code;
        record.vendor(VendorNote {
            status: status.as_u16(),
            code,
            msg_id: said.msg_id,
            took: start.elapsed(),
        });
        if let Some(body) = body {
            answer::judge(status, &headers, body, code, operation.family()).inspect_err(|refusal| {
                if matches!(refusal, Refusal::VendorRejectedCredential) {
                    tracing::error!(operation = operation.name, "the vendor rejected a credential of ours");
                }
            })?;
        }
        let mut answer = Response::new(read);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        *answer.extensions_mut() = extensions;
        Ok(answer)
    }
}

fn time_for_another(deadlines: &Deadlines) -> bool {
    deadlines.left(Instant::now()) >= DISPATCH_MIN.min(deadlines.whole / 2)
}
