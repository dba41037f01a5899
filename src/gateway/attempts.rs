//! From dispatch to the vendor's answer: one attempt, or two.

use std::time::Instant;

use http::Request;

use super::{DISPATCH_MIN, Worker};

use crate::answer::{self, Read};
use crate::body::Facts;
use crate::budget::Permit;
use crate::operation::OperationId;
use crate::outbound;
use crate::refusal::Refusal;
use crate::telemetry::VendorNote;
use crate::tenant::{Grant, OriginId};
use crate::vendor::{Answer, Choice, Deadlines, Failure, Sending};

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
        let (mut choice, mut first) = (Choice::Any, None);
        let operation = grant.operation();
        let failed = |kind| self.telemetry.metrics.vendor_failure(operation, kind);
        loop {
            let dispatched = permit.dispatch();
            let (refusal, next) = match self.pool.send(origin, message, choice, deadlines).await {
                Ok(answer) => {
                    let said = outbound::rate_said(answer.response.status(), answer.response.headers());
                    dispatched.settle(self.clock.at(answer.arrived), said);
                    match self.receive(answer, operation, deadlines.start, &mut note).await {
                        Err(cut @ (Refusal::VendorTimeout | Refusal::VendorInterrupted)) => {
                            (cut, again.take())
                        }
                        outcome => return outcome,
                    }
                }
                Err(Failure::NotSent(back, why)) => {
                    dispatched.refund();
                    failed(why.kind());
                    if choice == Choice::Fresh || !time_for_another(&deadlines) {
                        tracing::warn!(operation = operation.name, error = %why, "the vendor could not be reached");
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
            // What the first attempt may have done is not undone by a second that came to nothing.
            let refusal = match (refusal, first.take()) {
                (Refusal::VendorUnreachable, Some(first)) => first,
                (refusal, _) => refusal,
            };
            let is_first = choice == Choice::Any && time_for_another(&deadlines);
            let Some(next) = next.filter(|_| is_first) else { return Err(refusal) };
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

/// Whether enough of a call's time is left for dispatching it.
pub(super) fn time_for_another(deadlines: &Deadlines) -> bool {
    deadlines.left(Instant::now()) >= DISPATCH_MIN.min(deadlines.whole / 2)
}
