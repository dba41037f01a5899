//! From dispatch to the vendor's answer: one attempt, or two.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use super::Worker;

use crate::answer::{self, ReadAnswer};
use crate::body::Facts;
use crate::budget::BudgetStatus;
use crate::delivery::Delivery;
use crate::http1::response::Response;
use crate::outbound::{self, VendorRequest};
use crate::payment::Payment;
use crate::refusal::Refusal;
use crate::request::RequestId;
use crate::telemetry::{AttemptLabels, Record, VendorNote};
use crate::tenant::{Grant, OriginId};
use crate::upstream::{self, AnswerCut, Choice, Deadlines, Failure, NotSent};

/// The values that every attempt of a call has in common.
pub(super) struct Attempts<'c> {
    pub(super) grant: &'c Grant,
    pub(super) facts: Facts,
    pub(super) origin: OriginId,
    pub(super) deadlines: Deadlines,
}

/// Receives reports about the progress of a call.
pub(super) trait Witness: Send {
    /// The id of the request.
    fn request_id(&self) -> &RequestId;

    /// Called when an attempt begins, whose trace context may go into the request.
    fn attempt(&mut self, request: &mut VendorRequest);

    /// Called when an attempt brought no answer.
    fn failed(&mut self, kind: &'static str);

    /// Called when the vendor has answered.
    fn answered(&mut self, note: VendorNote);
}

impl Witness for Record {
    fn request_id(&self) -> &RequestId {
        self.request_id()
    }

    fn attempt(&mut self, request: &mut VendorRequest) {
        if let Some(traceparent) = self.attempt() {
            request.trace_as(&traceparent);
        }
    }

    fn failed(&mut self, kind: &'static str) {
        self.attempt_failed(kind);
    }

    fn answered(&mut self, note: VendorNote) {
        self.vendor(note);
    }
}

/// The vendor's answer: all of a short one, the beginning of a long one.
pub(super) struct Exchanged {
    pub(super) answer: Response<ReadAnswer>,
    /// The state of the operation's own budget after the answer, if that budget is enabled.
    pub(super) budget_status: Option<BudgetStatus>,
}

/// The reason why an attempt brought no whole answer.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    /// There was no answer at all.
    #[error(transparent)]
    Unanswered(#[from] Failure),
    /// The answer ended too early.
    #[error(transparent)]
    Cut(#[from] AnswerCut),
}

/// The reason why a call is given up at the end of a drain.
#[derive(Debug, thiserror::Error)]
#[error("the gateway stops, and the drain's deadline is here before the vendor's answer")]
struct GivenUp;

impl AttemptError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unanswered(failure) => failure.kind(),
            Self::Cut(cut) => cut.kind(),
        }
    }

    /// Whether it says something about the vendor's host. A pooled connection that the host closed in the meantime does
    /// not, and neither does a stop of our own process.
    fn is_of_host(&self) -> bool {
        match self {
            Self::Unanswered(Failure::NotSent(not_sent)) => match not_sent {
                NotSent::Connect(_) => true,
                NotSent::CircuitOpen(_) | NotSent::PooledClosed(_) | NotSent::Late => false,
            },
            Self::Unanswered(Failure::TimedOut | Failure::Broken(_)) | Self::Cut(_) => true,
        }
    }

    fn refusal(&self) -> Refusal {
        match self {
            Self::Unanswered(Failure::NotSent(_)) => Refusal::VendorUnreachable,
            Self::Unanswered(Failure::TimedOut) | Self::Cut(AnswerCut::Late) => Refusal::VendorTimeout,
            Self::Unanswered(Failure::Broken(_)) | Self::Cut(AnswerCut::Vendor(_)) => {
                Refusal::VendorInterrupted
            }
        }
    }
}

impl Worker {
    /// Makes one attempt, or two, each paid for by itself. There is a second only if the first wrote nothing, or if the
    /// vendor recognizes a repeated call by its cid.
    pub(super) async fn exchange(
        &self,
        attempts: Attempts<'_>,
        request: &mut VendorRequest,
        mut payment: Payment,
        witness: &mut impl Witness,
    ) -> Result<Exchanged, Refusal> {
        let Attempts { grant, facts, origin, deadlines } = attempts;
        let operation = grant.operation();
        let repeatable = operation.knows_cid() && facts.has_cid;
        // A second attempt that failed does not undo what the first may have done.
        let (mut choice, mut first) = (Choice::Any, None);
        loop {
            if payment.is_late() {
                drop(payment);
                let paid = Box::pin(self.pay(grant, facts)).await;
                payment = paid.map_err(|refusal| first.take().unwrap_or(refusal))?;
            }
            // A slot in the store ends by itself, and the call that it pays for must be over by then.
            let call = payment.ends().map_or(deadlines.call, |ends| ends.min(deadlines.call));
            let limits = Deadlines { call, late_at: payment.late_at(), ..deadlines };
            let dispatched = payment.dispatch(self.shared.ledger.as_ref());
            let dispatched = dispatched.map_err(|error| first.take().unwrap_or_else(|| error.into()))?;
            witness.attempt(request);
            let sent = self.pool.send(origin, request.message(), choice, limits).await;
            let (lost, address) = match sent {
                Ok(answer) => {
                    let rate_headers =
                        outbound::rate_headers(answer.response.status, &answer.response.fields);
                    self.telemetry.vendor_clock.compare(answer.arrived, &answer.response.fields);
                    let arrived = self.shared.clock.at(answer.arrived);
                    let budget_status = dispatched.settle(arrived, rate_headers, operation.budget);
                    if tracing::enabled!(tracing::Level::DEBUG) {
                        let attempt = self.told_as(grant, witness, (choice, answer.address));
                        attempt.answered(answer.response.status.as_u16());
                    }
                    match self.receive(answer.response, grant, answer.started, witness).await {
                        Ok(outcome) => {
                            return undoubted(outcome, first)
                                .map(|answer| Exchanged { answer, budget_status });
                        }
                        Err(cut) => (AttemptError::from(cut), answer.address),
                    }
                }
                Err((Failure::NotSent(NotSent::CircuitOpen(open)), _)) => {
                    dispatched.refund();
                    witness.failed("circuit-open");
                    return Err(first.unwrap_or_else(|| open.into()));
                }
                Err((failure @ Failure::NotSent(_), address)) => {
                    dispatched.refund();
                    (failure.into(), address)
                }
                Err((failure @ (Failure::TimedOut | Failure::Broken(_)), address)) => {
                    drop(dispatched);
                    (failure.into(), address)
                }
            };
            self.count_lost(grant, &lost);
            witness.failed(lost.kind());
            let refusal = lost.refusal();
            let unsent = refusal.delivery() == Delivery::None;
            let down = unsent && self.pool.check_circuit(origin).is_err();
            let again = !down
                && (repeatable || unsent)
                && choice == Choice::Any
                && deadlines.leave_time_for_dispatch();
            let paid = if again { self.pay(grant, facts).await.ok() } else { None };
            let attempt = self.told_as(grant, witness, (choice, address));
            let Some(paid) = paid else {
                attempt.failed(lost.kind(), &lost, &self.telemetry.failures);
                return Err(if unsent { first.unwrap_or(refusal) } else { refusal });
            };
            attempt.is_repeated(lost.kind(), &lost);
            self.telemetry.metrics.retry(operation);
            (payment, choice, first) = (paid, Choice::Fresh, Some(refusal));
        }
    }

    /// Counts an attempt that got no whole answer.
    fn count_lost(&self, grant: &Grant, lost: &AttemptError) {
        self.telemetry.metrics.vendor_failure(grant.operation(), lost.kind());
        if lost.is_of_host() {
            self.active.usage.host(grant.origin()).unanswered(SystemTime::now(), lost);
        }
    }

    /// Records that the gateway stops before there is an answer.
    pub(super) fn tell_given_up(&self, grant: &Grant, witness: &mut impl Witness) {
        witness.failed("given-up");
        let attempt = self.told_as(grant, witness, (Choice::Any, None));
        attempt.failed("given-up", &GivenUp, &self.telemetry.failures);
    }

    /// The labels of an attempt in the log.
    fn told_as<'a>(
        &'a self,
        grant: &'a Grant,
        witness: &'a impl Witness,
        (choice, address): (Choice, Option<SocketAddr>),
    ) -> AttemptLabels<'a> {
        AttemptLabels {
            request_id: witness.request_id().as_str(),
            operation: grant.operation(),
            tenant: &grant.tenant().name,
            credential: grant.credential_kind(),
            host: self.active.host(grant).to_str().unwrap_or_default(),
            address,
            number: if choice == Choice::Any { 1 } else { 2 },
        }
    }

    /// Reads an answer, and judges whether it is one for callers.
    async fn receive(
        &self,
        answer: Response<upstream::AnswerBody>,
        grant: &Grant,
        start: Instant,
        witness: &mut impl Witness,
    ) -> Result<Result<Response<ReadAnswer>, Refusal>, AnswerCut> {
        let Response { status, reason, fields, closes, body } = answer;
        let read = answer::read(body).await?;
        let body = read.whole();
        let summary = body.map(|body| answer::summary(body)).unwrap_or_default();
        let (code, took, now) = (summary.code, start.elapsed(), SystemTime::now());
        witness.answered(VendorNote { status: status.as_u16(), code, msg_id: summary.msg_id, took });
        let family = grant.operation().family();
        let judged = body.map_or(Ok(()), |body| answer::judge(status, &fields, body, code, family));
        let host = self.active.usage.host(grant.origin());
        host.answered(now, took);
        if status.is_server_error() || matches!(judged, Err(Refusal::VendorErrorPage { .. })) {
            host.answered_badly(now, status);
        }
        if let Err(refusal) = judged {
            if matches!(refusal, Refusal::VendorRejectedCredential) {
                self.told_as(grant, witness, (Choice::Any, None)).was_rejected(&self.telemetry.failures);
            }
            return Ok(Err(refusal));
        }
        Ok(Ok(Response { status, reason, fields, closes, body: read }))
    }
}

/// The outcome of the last attempt. If that one delivered nothing, the first may still have delivered the call.
fn undoubted<T>(
    outcome: Result<Response<T>, Refusal>,
    first: Option<Refusal>,
) -> Result<Response<T>, Refusal> {
    let Some(first) = first else { return outcome };
    let delivery = match &outcome {
        Ok(answer) => Delivery::of_answer(answer.status),
        Err(refusal) => refusal.delivery(),
    };
    if delivery == Delivery::None && first.delivery() != Delivery::None { Err(first) } else { outcome }
}
