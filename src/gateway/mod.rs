//! One request from its head to its answer: `Worker::prepare` up to the call, `Worker::forward` from there on.
//!
//! The caller is identified before the path is looked up, so that strangers learn nothing about the operations. The
//! body is read before slots are taken, so that a broken upload spends nothing that others share. Once a call is
//! dispatched, it is finished in its own task even if its caller is gone, so that its outcome is known, counted and
//! logged.

#![warn(clippy::wildcard_enum_match_arm)]

mod attempts;
mod body;
mod cids;
mod client;
mod head;
mod idempotency;
mod payment;
mod replies;
mod resend_guard;
mod trace;
mod whoami;

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::Notify;

use attempts::{Attempts, Exchanged};
pub use client::Client;
use head::tenant_hints;
pub use head::{RequestKind, read};
use idempotency::DedupKey;
use replies::Answering;
use resend_guard::Guarded;
pub use whoami::is_asked as asks_whoami;

use crate::active_config::ActiveConfig;
use crate::admission::{Admission, InFlightGuard};
use crate::answer::Reply;
use crate::auth;
use crate::body_reader::{Presence, SpareBuffers, unless_gone};
use crate::budget::Clock;
use crate::config::Limits;
use crate::delivery::Delivery;
use crate::detach::DetachOnDrop;
use crate::http1::body::BodySource;
use crate::http1::response::Response;
use crate::ledger::Ledger;
use crate::operation::{self, OperationId};
use crate::outbound::{self, Inbound, VendorRequest};
use crate::payload::Payload;
use crate::payment::Payment;
use crate::refusal::Refusal;
use crate::request::{RequestHead, RequestId};
use crate::store::Store;
use crate::telemetry::spans::RequestSpan;
use crate::telemetry::{AuditedCall, Record, RequestOrigin, Telemetry};
use crate::tenant::{Grant, Principal};
use crate::upstream::{Deadlines, Pool};
use crate::waiting;

/// The state that the workers of one process share.
#[derive(Clone)]
pub struct SharedState {
    /// The counts of requests, calls and connections of the whole gateway, with their limits.
    pub admission: Arc<Admission>,
    /// The state file, if there is one: calls are written there before they are dispatched.
    pub ledger: Option<Arc<Ledger>>,
    /// The clock of the budgets.
    pub clock: Clock,
    /// The part of the budgets that replicas share.
    pub store: Option<Arc<Store>>,
}

/// The gateway on one core, with vendor connections, buffers and lanes of the logs of its own.
#[derive(Clone)]
pub struct Worker {
    active: Arc<ActiveConfig>,
    shared: SharedState,
    pool: Arc<Pool>,
    spare: Arc<SpareBuffers>,
    /// Notified at the end of a drain: calls still without an answer are given up.
    give_up: Arc<Notify>,
    telemetry: Arc<Telemetry>,
}

/// A request as received on a connection.
struct Incoming<'r> {
    head: &'r RequestHead,
    client: Client<'r>,
    source: &'r mut dyn BodySource,
}

/// An authorized call that asks for its slots.
struct Ask<'r> {
    grant: &'r Grant,
    payload: &'r Payload,
    presence: &'r Presence,
    deadlines: Deadlines,
    span: Option<&'r RequestSpan>,
}

/// A call that is authorized, checked and paid for.
struct PaidCall {
    grant: Grant,
    request: VendorRequest,
    payment: Payment,
    deadlines: Deadlines,
    key: DedupKey,
    in_flight: [InFlightGuard; 2],
}

/// The answer of a call that was made, and whether the call was delivered.
struct Answered {
    answer: Response<Reply>,
    delivery: Delivery,
    in_flight: [InFlightGuard; 2],
}

/// A request's answer on its way to the caller.
pub struct Handled {
    /// The answer itself.
    pub answer: Response<Reply>,
    /// The places of a call in `limits.in_flight`, kept until its caller has received the answer.
    pub in_flight: Option<[InFlightGuard; 2]>,
    loss: Option<resend_guard::Loss>,
}

impl From<Response<Reply>> for Handled {
    fn from(answer: Response<Reply>) -> Self {
        Self { answer, in_flight: None, loss: None }
    }
}

/// The reason why no call is made for a request.
enum Stop {
    /// The caller went away, so there is nobody to answer.
    CallerGone,
    /// The request is answered here, with this body.
    Local(Bytes),
    /// The gateway refuses the request.
    Refused(Refusal),
    /// The call was made before, with this answer.
    Repeat(Response<Bytes>),
}

impl<R: Into<Refusal>> From<R> for Stop {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl Worker {
    /// A worker without connections and buffers.
    pub fn new(active: Arc<ActiveConfig>, shared: SharedState, telemetry: Arc<Telemetry>) -> Self {
        let pool = Pool::new(Arc::clone(&active.connector));
        Self { active, shared, pool, spare: Arc::default(), give_up: Arc::default(), telemetry }
    }

    /// The same worker with another configuration.
    #[must_use]
    pub fn followed_by(&self, active: &Arc<ActiveConfig>) -> Self {
        let pool = self.pool.followed_by(Arc::clone(&active.connector));
        Self { active: Arc::clone(active), pool, ..self.clone() }
    }

    /// The limits of the configuration in use.
    pub fn limits(&self) -> &Limits {
        &self.active.limits
    }

    /// The counts of requests, calls and connections of the whole gateway.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.shared.admission
    }

    /// Metrics and this worker's lanes of the logs.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Gives up every call that still waits for the vendor's answer, because the time of the drain is over.
    pub fn give_up_calls(&self) {
        self.give_up.notify_waiters();
    }

    /// Closes connections to the vendor that have been idle for long at `now`, and frees buffers not used lately.
    pub fn trim(&self, now: Instant) {
        self.pool.trim(now);
        self.spare.trim();
    }

    /// Answers one request, whatever happens; `None` if its caller went away meanwhile.
    ///
    /// Values that pass from stage to stage are boxed: a future holds its arguments and its locals, and with all of
    /// them inline this one took 12 KiB.
    pub async fn handle(
        self: Arc<Self>,
        head: &RequestHead,
        client: Client<'_>,
        source: &mut dyn BodySource,
    ) -> Option<Handled> {
        let request_id = RequestId::of(head).unwrap_or_else(replies::fresh_request_id);
        let (trace_id, span) = trace::begin(head, self.telemetry.spans.as_deref());
        let peer = client.address.cloned();
        let origin = RequestOrigin { request_id: request_id.clone(), peer, trace_id, span };
        let record = Record::open(Arc::clone(&self.telemetry), origin);
        let answering = Answering::new(record, head, self.shared.clock);
        let mut story = pin!(self.story(Incoming { head, client, source }, answering));
        let ended = AssertUnwindSafe(poll_fn(|cx| story.as_mut().poll(cx))).catch_unwind().await;
        let mut handled = ended.unwrap_or_else(|_| {
            tracing::error!("a request ended in a panic; it was answered with 500");
            Some(replies::after_panic(&request_id).into())
        });
        if let Some(handled) = &mut handled
            && self.shared.admission.leaving()
        {
            handled.answer.closes = true;
        }
        handled
    }

    /// Processes a request from its head to its answer.
    async fn story(
        self: &Arc<Self>,
        mut incoming: Incoming<'_>,
        mut answering: Answering,
    ) -> Option<Handled> {
        let presence = Presence::default();
        match self.prepare(&mut incoming, &presence, &mut answering).await {
            Ok(call) => self.dispatch(call, incoming.source, &presence, answering).await,
            Err(Stop::CallerGone) => None,
            Err(Stop::Local(body)) => Some(answering.local(body).into()),
            Err(Stop::Refused(refusal)) => Some(answering.refuse(&refusal).into()),
            Err(Stop::Repeat(answer)) => Some(answering.repeat(answer).into()),
        }
    }

    /// Prepares a call: identifies the caller and the operation, authorizes, reads the body, and pays.
    async fn prepare(
        self: &Arc<Self>,
        incoming: &mut Incoming<'_>,
        presence: &Presence,
        answering: &mut Answering,
    ) -> Result<Box<PaidCall>, Stop> {
        let (active, head) = (&*self.active, incoming.head);
        let path = match read(head)? {
            RequestKind::Probe => return Err(Stop::Local(replies::probe())),
            RequestKind::Call(path) => path,
        };
        let principal = auth::identify(&active.directory, head, incoming.client.certificate)?;
        answering.record.identified(&active.directory, &active.usage, &principal);
        let path = path?;
        if asks_whoami(&head.method, &path)? {
            return Err(Stop::Local(self.whoami(&principal, head)?));
        }
        let matched = operation::find(head.method.as_str(), &path)?;
        answering.matched(matched.operation);
        let grant = active.directory.authorize(principal, matched.operation, tenant_hints(head)?)?;
        answering.record.granted(&grant);
        answering.show_rates(&grant);
        self.refuse_in_drain()?;
        let in_flight = self.shared.admission.enter(active.caller_admission(&grant))?;

        let subject = self.subject(&grant, &matched, head);
        let body = self.read_body(&grant, &subject, incoming.source).await?;
        answering.record.received(body.bytes.len());
        let deadlines = active.deadlines(Instant::now());
        let preference = waiting::preference(head);
        answering.apply_preference(preference);
        let payload = self.check_body(&grant, &subject, body)?;

        let paid = pin!(async {
            let span = answering.record.span();
            let ask = Ask { grant: &grant, payload: &payload, presence, deadlines, span };
            let mut key = self.seen_before(&ask, head).await?;
            self.pool.check_circuit(grant.origin())?;
            let wait = preference.map_or(grant.caller().wait, |seconds| Duration::from_secs(seconds.into()));
            let payment = match key.at_others() {
                None => self.pay_in_time(&ask, wait).await?,
                // Boxed, because most gateways share no store.
                Some(call) => Box::pin(self.pay_unless_resent(&ask, wait, call)).await?,
            };
            let payload = self.with_cid(&grant, payload, &mut key, (&deadlines, span)).await;
            let request_id = answering.request_id();
            let context = span.map(trace::context);
            let inbound =
                Inbound { head: Some(head), target: &head.target, path: &path, request_id, context };
            let request = VendorRequest::build(&grant, &inbound, active.host(&grant), active.trace, payload);
            Ok(Box::new(PaidCall { grant, request, payment, deadlines, key, in_flight }))
        });
        unless_gone(incoming.source, presence, paid).await.unwrap_or(Err(Stop::CallerGone))
    }

    /// Makes a call, in a task of its own if its caller goes away meanwhile.
    async fn dispatch(
        self: &Arc<Self>,
        call: Box<PaidCall>,
        source: &mut dyn BodySource,
        presence: &Presence,
        answering: Answering,
    ) -> Option<Handled> {
        let guarded = self.guarded(&call.grant, &call.key);
        let mut forwarded = DetachOnDrop::new(Arc::clone(self).forward(call, answering), guarded);
        let answered = pin!(poll_fn(|cx| {
            if presence.is_doubted() {
                forwarded.on_detach().map(Guarded::doubt);
            }
            forwarded.poll_unpin(cx)
        }));
        let (answered, guarded) = unless_gone(source, presence, answered).await?;
        Some(guarded.handled(answered))
    }

    /// Processes a call from its dispatch to its answer. This runs to its end even if the caller goes away.
    async fn forward(self: Arc<Self>, call: Box<PaidCall>, mut answering: Answering) -> Answered {
        let PaidCall { grant, mut request, payment, deadlines, mut key, in_flight } = *call;
        let lacks_cid = key.is_key() && !request.facts().has_cid;
        let is_alone = self.shared.store.is_some() && key.is_of_this_replica();
        answering.record.dispatched(|| audited(grant.operation(), &request));
        key.sent();
        let attempts =
            Attempts { grant: &grant, facts: *request.facts(), origin: request.origin(), deadlines };
        let answered = self.exchange(attempts, &mut request, payment, &mut *answering.record);
        let outcome = tokio::select! {
            biased;
            outcome = answered => Some(outcome),
            () = self.give_up.notified() => None,
        };
        let outcome = outcome.unwrap_or_else(|| {
            self.tell_given_up(&grant, &mut *answering.record);
            Err(Refusal::VendorTimeout)
        });
        let (mut answer, delivery) = match outcome {
            Ok(Exchanged { answer, budget_status }) => {
                let delivery = Delivery::of_answer(answer.status);
                (answering.relay(answer, budget_status), delivery)
            }
            Err(refusal) => (answering.refuse(&refusal), refusal.delivery()),
        };
        if lacks_cid {
            outbound::add_no_cid(&mut answer.fields);
        }
        if is_alone {
            outbound::add_this_replica(&mut answer.fields);
        }
        key.end(delivery, &answer);
        Answered { answer, delivery, in_flight }
    }

    /// Tells a caller who it is.
    fn whoami(&self, principal: &Principal<'_>, head: &RequestHead) -> Result<Bytes, Refusal> {
        let directory = &self.active.directory;
        let (caller, hints) = (&directory.callers[principal.caller()], tenant_hints(head)?);
        Ok(whoami::answer(directory, caller, hints.tenant, self.shared.clock.now()))
    }

    /// Refuses calls once the drain has begun.
    fn refuse_in_drain(&self) -> Result<(), Refusal> {
        if self.shared.admission.draining() { Err(Refusal::Draining) } else { Ok(()) }
    }
}

/// The entry of a dispatched call in the audit log.
fn audited(operation: OperationId, request: &VendorRequest) -> AuditedCall {
    let last = || request.message().path().rsplit('/').next().map(Box::from);
    let facts = request.facts();
    AuditedCall {
        object: operation.names_vendor_id().then(last).flatten(),
        cid: (facts.names_cid || facts.has_cid).then(|| crate::body::cid(request.message().body())).flatten(),
    }
}
