//! The story of one request, top to bottom, one stage a line.
//!
//! Identity before route: strangers learn nothing about the table. Body before budget: a broken upload never spends
//! what others share. From dispatch on, a call is finished in its own task even if its caller is gone, so that its
//! outcome is known, counted and logged.

mod attempts;
mod client;
mod idempotency;
mod payment;
mod replies;
mod resend_guard;

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::Notify;

use attempts::{Attempts, Exchanged};
pub use client::Client;
use idempotency::{DedupKey, Seen};
pub use replies::{RequestKind, read};
use replies::{close_record, effect, fresh_request_id, names_encryption, ours, probe, refuse, tenant_hints};
use resend_guard::Guarded;

use crate::active_config::ActiveConfig;
use crate::admission::{self, Admission};
use crate::answer::Reply;
use crate::auth::{self, ClientCertificate};
use crate::body::{Ahead, Subject};
use crate::body_reader::{self, BodySource, Presence, SpareBuffers, unless_gone};
use crate::budget::{BudgetStatus, Clock};
use crate::dedup::Delivery;
use crate::detach::DetachOnDrop;
use crate::fields::{FieldValue, Fields, ValuePart};
use crate::ledger::Ledger;
use crate::operation::{self, Matched, Path};
use crate::outbound::{self, Inbound, REQUEST_ID, VendorRequest};
use crate::payload::Payload;
use crate::refusal::{Refusal, ReplyContext};
use crate::request::{Field, RequestHead};
use crate::response::Response;
use crate::store::{Payment, Store};
use crate::telemetry::metrics::RuleOutcome;
use crate::telemetry::{Record, RequestOrigin, Telemetry, TraceId};
use crate::tenant::Grant;
use crate::upstream::{Deadlines, Pool};
use crate::waiting;

/// One core's share of the gateway: its own vendor connections and buffers; budgets and counts are everybody's.
pub struct Worker {
    /// The configuration in use.
    pub active: Arc<ActiveConfig>,
    /// What the whole gateway is doing.
    pub admission: Arc<Admission>,
    /// Where calls are written down before they are dispatched, if that is configured.
    pub ledger: Option<Arc<Ledger>>,
    /// The clock of the budgets.
    pub clock: Clock,
    /// What replicas share of the budgets, if they do.
    pub store: Option<Arc<Store>>,
    /// Connections to the vendor.
    pub pool: Arc<Pool>,
    /// Buffers for large bodies.
    pub spare: Arc<SpareBuffers>,
    /// Told at the end of a drain: calls still without an answer are given up.
    pub give_up: Arc<Notify>,
    /// Metrics and this worker's lane of the access log.
    pub telemetry: Arc<Telemetry>,
}

/// A request whose caller may make it, before its body is read.
struct Admitted<'r> {
    grant: Grant,
    path: &'r Path<'r>,
    matched: Matched<'r>,
    presence: &'r Presence,
    places: [admission::InFlightGuard; 2],
}

/// A body that was read and checked.
struct Received {
    payload: Payload,
    deadlines: Deadlines,
}

/// A call that is authorized, checked and paid for.
struct PaidCall {
    grant: Grant,
    request: VendorRequest,
    payment: Payment,
    deadlines: Deadlines,
    mark: DedupKey,
    places: [admission::InFlightGuard; 2],
}

/// The answer of a call that was made, and what it says about the call.
struct Answered {
    answer: Response<Reply>,
    delivery: Delivery,
    places: [admission::InFlightGuard; 2],
}

/// What a request is answered with.
pub struct Handled {
    /// The answer.
    pub answer: Response<Reply>,
    /// What a call that was made keeps of `limits.in_flight` until its caller has taken the answer.
    pub places: Option<[admission::InFlightGuard; 2]>,
    loss: Option<resend_guard::Loss>,
}

impl From<Response<Reply>> for Handled {
    fn from(answer: Response<Reply>) -> Self {
        Self { answer, places: None, loss: None }
    }
}

/// What a request that may be made comes to.
enum Prepared {
    Call(Box<PaidCall>),
    /// The answer of the call that it repeats.
    Repeat(Response<Bytes>),
}

impl Worker {
    /// The same worker with another configuration.
    #[must_use]
    pub fn followed_by(&self, active: &Arc<ActiveConfig>) -> Self {
        Self {
            active: Arc::clone(active),
            admission: Arc::clone(&self.admission),
            ledger: self.ledger.clone(),
            clock: self.clock,
            store: self.store.clone(),
            pool: self.pool.followed_by(Arc::clone(&active.connector)),
            spare: Arc::clone(&self.spare),
            give_up: Arc::clone(&self.give_up),
            telemetry: Arc::clone(&self.telemetry),
        }
    }

    /// Answers one request, whatever happens; `None` if its caller went away meanwhile.
    ///
    /// What the story carries from stage to stage is boxed: a future holds its arguments and its locals, and with
    /// all of them inline this one took 12 KiB.
    pub async fn handle(
        self: Arc<Self>,
        head: &RequestHead,
        client: Client<'_>,
        source: &mut dyn BodySource,
    ) -> Option<Handled> {
        let request_id = outbound::request_id(head).unwrap_or_else(fresh_request_id);
        let asked = RequestOrigin {
            request_id: request_id.clone(),
            peer: client.address.cloned(),
            trace_id: head.one(Field::TraceParent).ok().flatten().and_then(|value| TraceId::read(&value)),
        };
        let record = Box::new(Record::open(Arc::clone(&self.telemetry), asked));
        let mut served = pin!(self.serve(head, client.certificate, source, record));
        let served = AssertUnwindSafe(poll_fn(|cx| served.as_mut().poll(cx))).catch_unwind().await;
        let mut handled = served.unwrap_or_else(|_| {
            tracing::error!("a request ended in a panic; it was answered with 500");
            Some(ours(&Refusal::Internal, ReplyContext::of_path("/"), &request_id).into())
        })?;
        if self.admission.leaving() {
            handled.answer.closes = true;
        }
        Some(handled)
    }

    async fn serve(
        self: &Arc<Self>,
        head: &RequestHead,
        certificate: Option<&ClientCertificate>,
        source: &mut dyn BodySource,
        mut record: Box<Record>,
    ) -> Option<Handled> {
        let unknown = || ReplyContext::of_path(head.target.path());
        let path = match read(head) {
            Ok(RequestKind::Probe) => return Some(probe(&mut record).into()),
            Ok(RequestKind::Call(path)) => path,
            Err(refusal) => return Some(refuse(&refusal, unknown(), record).into()),
        };
        let presence = Presence::default();
        let admitted = match self.admit(head, certificate, (&path, &presence), &mut record) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let place = record.operation().map_or_else(unknown, ReplyContext::Known);
                return Some(refuse(&refusal, place, record).into());
            }
        };
        let received = match self.read_body(&admitted, head, source, &mut record).await {
            Ok(received) => received,
            Err(refusal) => return Some(self.refuse_granted(&refusal, &admitted.grant, record).into()),
        };
        unless_gone(source, &presence, pin!(self.respond(admitted, received, head, record))).await
    }

    /// From the whole body to the answer.
    async fn respond(
        self: &Arc<Self>,
        admitted: Admitted<'_>,
        received: Received,
        head: &RequestHead,
        mut record: Box<Record>,
    ) -> Handled {
        let (grant, presence) = (admitted.grant.clone(), admitted.presence);
        match self.prepare(admitted, received, head, &mut record).await {
            Ok(Prepared::Call(call)) => {
                let guarded = self.guarded(&grant, &call.mark);
                let mut forwarded = DetachOnDrop::new(Arc::clone(self).forward(call, record), guarded);
                let (answered, guarded) = poll_fn(|cx| {
                    if presence.is_doubted() {
                        forwarded.on_detach().map(Guarded::doubt);
                    }
                    forwarded.poll_unpin(cx)
                })
                .await;
                guarded.handled(answered)
            }
            Ok(Prepared::Repeat(answer)) => self.repeat(answer, &grant, record).into(),
            Err(refusal) => self.refuse_granted(&refusal, &grant, record).into(),
        }
    }

    /// Everything that is decided without the body.
    fn admit<'r>(
        &'r self,
        head: &'r RequestHead,
        certificate: Option<&ClientCertificate>,
        (path, presence): (&'r Result<Path<'r>, operation::BadPath>, &'r Presence),
        record: &mut Record,
    ) -> Result<Admitted<'r>, Refusal> {
        let directory = &self.active.directory;
        let principal = auth::identify(directory, head, certificate)?;
        record.identified(directory, &self.active.usage, &principal);
        let path = path.as_ref().map_err(|bad| Refusal::from(*bad))?;
        let matched = operation::find(head.method.as_str(), path)?;
        record.matched(matched.operation);
        let grant = directory.authorize(principal, matched.operation, tenant_hints(head)?)?;
        record.granted(&grant);
        if self.admission.draining() {
            return Err(Refusal::Draining);
        }
        let places = self.admission.enter(self.active.caller_admission(&grant))?;
        Ok(Admitted { grant, path, matched, presence, places })
    }

    /// Reads and checks the body.
    async fn read_body(
        &self,
        admitted: &Admitted<'_>,
        head: &RequestHead,
        source: &mut dyn BodySource,
        record: &mut Record,
    ) -> Result<Received, Refusal> {
        let Admitted { grant, matched, .. } = admitted;
        let active = &self.active;
        let hold = self.admission.hold(active.caller_admission(grant));
        let subject = self.subject(grant, matched, head);
        let mut ahead = None;
        let look = |beginning: &[u8]| {
            let new = || Box::new(Ahead::new(grant.operation().body, &subject));
            ahead.get_or_insert_with(new).look(beginning);
        };
        let allowance = active.allowance(matched.operation);
        let body = body_reader::read(source, allowance, hold, &self.spare, look).await?;
        record.received(body.len());
        let deadlines = active.deadlines(Instant::now());
        if let Some(seconds) = waiting::preference(head) {
            record.prefers_to_wait(seconds);
        }
        Ok(Received { payload: self.check(grant, &subject, body, ahead.as_deref())?, deadlines })
    }

    /// Pays for the call unless it was made before.
    async fn prepare(
        self: &Arc<Self>,
        admitted: Admitted<'_>,
        received: Received,
        head: &RequestHead,
        record: &mut Record,
    ) -> Result<Prepared, Refusal> {
        let Received { payload, mut deadlines } = received;
        let active = &self.active;
        let mut mark = match self.before(&admitted, head, &payload, &mut deadlines).await? {
            Seen::First(mark) => mark,
            Seen::Repeat(answer) => return Ok(Prepared::Repeat(answer)),
        };
        self.pool.check_circuit(admitted.grant.origin(), deadlines.start)?;
        let payment = self.pay_in_time(&admitted, &payload, &mut deadlines, record).await?;
        let Admitted { grant, path, places, .. } = admitted;
        let payload = self.with_cid(&grant, payload, &mut mark, &mut deadlines).await;
        let inbound =
            Inbound { head: Some(head), target: &head.target, path, request_id: record.request_id() };
        let request = VendorRequest::build(&grant, &inbound, active.host(&grant), active.trace, payload);
        Ok(Prepared::Call(Box::new(PaidCall { grant, request, payment, deadlines, mark, places })))
    }

    fn subject<'s>(&'s self, grant: &'s Grant, matched: &Matched<'s>, head: &'s RequestHead) -> Subject<'s> {
        let operation = grant.operation();
        Subject {
            method: operation.method,
            family: operation.family(),
            query: head.target.query(),
            value: matched.value,
            content_type: head.one(Field::ContentType).ok().flatten().map(FieldValue::bytes),
            encrypted: operation.takes_encrypted() && names_encryption(head),
            app_key: grant.app_key(),
            files: &self.active.files,
            images: &self.active.images,
        }
    }

    fn check(
        &self,
        grant: &Grant,
        subject: &Subject<'_>,
        body: body_reader::RequestBody,
        ahead: Option<&Ahead>,
    ) -> Result<Payload, Refusal> {
        let operation = grant.operation();
        let metrics = &self.telemetry.metrics;
        let payload = Payload::check(operation.body, subject, body, ahead)
            .inspect_err(|defect| metrics.body_rule(defect.rule, RuleOutcome::Refused))?;
        if let Some(rule) = payload.facts().reported {
            metrics.body_rule(rule, RuleOutcome::Reported);
            let (operation, caller) = (operation.name, grant.caller().name.as_str());
            tracing::info!(rule = rule.as_str(), operation, caller, "a body broke a rule that only reports");
        }
        grant.permit(payload.facts())?;
        Ok(payload)
    }

    /// From dispatch to the answer. This runs to its end whatever becomes of the caller.
    async fn forward(self: Arc<Self>, call: Box<PaidCall>, mut record: Box<Record>) -> Answered {
        let PaidCall { grant, request, payment, deadlines, mut mark, places } = *call;
        let operation = grant.operation();
        let origin = request.origin();
        let lacks_cid = mark.is_key() && !request.facts().has_cid;
        record.dispatched(|| effect(operation, &request));
        let attempts = Attempts { grant: &grant, facts: *request.facts(), origin, deadlines };
        mark.sent();
        let answered = self.exchange(attempts, request.message(), payment, &mut *record);
        let outcome = tokio::select! {
            biased;
            outcome = answered => Some(outcome),
            () = self.give_up.notified() => None,
        };
        let outcome = outcome.unwrap_or_else(|| {
            self.tell_given_up(&grant, &*record);
            Err(Refusal::VendorTimeout)
        });
        let (mut answer, delivery) = match outcome {
            Ok(Exchanged { mut answer, budget_status }) => {
                let delivery = Delivery::of_answer(answer.status);
                outbound::relay_fields(&mut answer.fields);
                add_fields(&mut answer.fields, budget_status, &record);
                record.answered(answer.status.as_u16(), answer.body.ready_bytes());
                (answer.map(|read| read.into_reply(record)), delivery)
            }
            Err(refusal) => {
                let delivery = idempotency::delivery_of(&refusal);
                (self.refuse_granted(&refusal, &grant, record), delivery)
            }
        };
        if lacks_cid {
            outbound::add_no_cid(&mut answer.fields);
        }
        mark.end(delivery, &answer);
        Answered { answer, delivery, places }
    }

    fn refuse_granted(&self, refusal: &Refusal, grant: &Grant, record: Box<Record>) -> Response<Reply> {
        let mut answer = ours(refusal, ReplyContext::Known(grant.operation()), record.request_id());
        let budget = grant.credential().budget(grant.operation().budget);
        let budget_status =
            budget.map(|budget| budget.status_for(grant.requester().caller, self.clock.now()));
        add_fields(&mut answer.fields, budget_status, &record);
        close_record(refusal, &answer, record);
        answer
    }
}

/// Header fields of every answer to a granted call, the vendor's and ours.
fn add_fields(fields: &mut Fields, budget_status: Option<BudgetStatus>, record: &Record) {
    fields.set(REQUEST_ID, &[ValuePart::Value(record.request_id().into())]);
    if let Some(seconds) = record.preference() {
        outbound::add_preference(fields, seconds);
    }
    if let Some(budget_status) = budget_status {
        outbound::add_rate_fields(fields, &budget_status);
    }
}
