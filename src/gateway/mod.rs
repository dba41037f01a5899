//! The story of one request, top to bottom, one stage a line.
//!
//! Identity before route: strangers learn nothing about the table. Body before budget: a broken upload never spends
//! what others share. From dispatch on, a call is finished in its own task even if its caller is gone, so that its
//! outcome is known, counted and logged.

mod attempts;
mod local;
mod repeats;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Notify;

use attempts::{Attempts, Exchanged};
use local::{close_record, effect, fresh_request_id, is_probe, ours, probe, refuse, wishes};
use repeats::{Before, Mark};

use crate::answer::Reply;
use crate::auth;
use crate::body::{Ahead, Facts, Subject};
use crate::budget::{Clock, Draw, Standing, Taker};
use crate::detach::FinishAnyway;
use crate::edge;
use crate::intake::{self, SpareBuffers};
use crate::ledger::Ledger;
use crate::load::{self, Load};
use crate::operation::{self, Matched, Path};
use crate::outbound::{self, ENCRYPT_TYPE, Inbound, REQUEST_ID, VendorRequest};
use crate::payload::Payload;
use crate::refusal::{Place, Refusal};
use crate::retry::Delivery;
use crate::setup::Setup;
use crate::store::{Payment, Store};
use crate::telemetry::metrics::RuleOutcome;
use crate::telemetry::{Record, Telemetry};
use crate::tenant::{Denied, Grant};
use crate::vendor::{Deadlines, Pool};
use crate::waiting::{self, Outcome, Waiting};

/// One core's share of the gateway: its own vendor connections and buffers; budgets and counts are everybody's.
pub struct Worker {
    /// The configuration in use.
    pub setup: Arc<Setup>,
    /// What the whole gateway is doing.
    pub load: Arc<Load>,
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
    places: [load::Place; 2],
}

/// A call that is authorized, checked and paid for.
struct Call {
    grant: Grant,
    request: VendorRequest,
    payment: Payment,
    deadlines: Deadlines,
    mark: Mark,
    _places: [load::Place; 2],
}

/// What a request that may be made comes to.
enum Prepared {
    Call(Box<Call>),
    /// The answer of the call that it repeats.
    Repeat(Response<Bytes>),
}

impl Worker {
    /// The same worker with another configuration.
    #[must_use]
    pub fn followed_by(&self, setup: &Arc<Setup>) -> Self {
        Self {
            setup: Arc::clone(setup),
            load: Arc::clone(&self.load),
            ledger: self.ledger.clone(),
            clock: self.clock,
            store: self.store.clone(),
            pool: self.pool.followed_by(Arc::clone(&setup.connector)),
            spare: Arc::clone(&self.spare),
            give_up: Arc::clone(&self.give_up),
            telemetry: Arc::clone(&self.telemetry),
        }
    }

    /// Answers one request, whatever happens.
    ///
    /// What the story carries from stage to stage is boxed: a future holds its arguments and its locals, and with
    /// all of them inline this one took 12 KiB.
    pub fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Reply>> + Send {
        let (parts, body) = request.into_parts();
        let request_id = outbound::request_id(&parts.headers).unwrap_or_else(fresh_request_id);
        let record = Box::new(Record::open(Arc::clone(&self.telemetry), request_id.clone()));
        let load = Arc::clone(&self.load);
        AssertUnwindSafe(self.serve(Box::new(parts), body, record)).catch_unwind().map(move |served| {
            let mut answer = served.unwrap_or_else(|_| {
                tracing::error!("a request ended in a panic; it was answered with 500");
                ours(&Refusal::Internal, Place::of_path("/"), &request_id)
            });
            if load.leaving() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        })
    }

    async fn serve(
        self: Arc<Self>,
        parts: Box<Parts>,
        body: Incoming,
        mut record: Box<Record>,
    ) -> Response<Reply> {
        if is_probe(&parts) {
            return probe(&mut record);
        }
        let path = match edge::check(&parts).map(|()| Path::parse(parts.uri.path())) {
            Ok(path) => path,
            Err(refusal) => return refuse(&refusal, Place::of_path(parts.uri.path()), record),
        };
        let admitted = match self.admit(&parts, &path, &mut record) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let place = record.operation().map_or_else(|| Place::of_path(parts.uri.path()), Place::Known);
                return refuse(&refusal, place, record);
            }
        };
        let grant = admitted.grant.clone();
        match self.prepare(admitted, &parts, body, &mut record).await {
            Ok(Prepared::Call(call)) => {
                // Its headers would hold on to the buffer that the connection reads into.
                drop(parts);
                let left = self.if_left(grant, &call.mark);
                FinishAnyway::new(self.forward(call, record), left).await
            }
            Ok(Prepared::Repeat(answer)) => self.repeat(answer, &grant, record),
            Err(refusal) => self.refuse_granted(&refusal, &grant, record),
        }
    }

    /// Everything that is decided without the body.
    fn admit<'r>(
        &'r self,
        parts: &'r Parts,
        path: &'r Result<Path<'r>, operation::BadPath>,
        record: &mut Record,
    ) -> Result<Admitted<'r>, Refusal> {
        let directory = &self.setup.directory;
        let principal = auth::identify(directory, &parts.headers, parts.extensions.get())?;
        record.identified(directory, &self.setup.usage, &principal);
        let path = path.as_ref().map_err(|bad| Refusal::from(*bad))?;
        let matched = operation::find(parts.method.as_str(), path)?;
        record.matched(matched.operation);
        let grant = directory.authorize(principal, matched.operation, wishes(&parts.headers)?)?;
        record.granted(grant.positions().1);
        if self.load.draining() {
            return Err(Refusal::Draining);
        }
        let places = self.load.enter(self.setup.caller_load(&grant))?;
        Ok(Admitted { grant, path, matched, places })
    }

    /// Reads and checks the body, and pays for the call unless it was made before.
    async fn prepare(
        self: &Arc<Self>,
        admitted: Admitted<'_>,
        parts: &Parts,
        body: Incoming,
        record: &mut Record,
    ) -> Result<Prepared, Refusal> {
        let Admitted { grant, path, matched, places } = admitted;
        let setup = &self.setup;
        let hold = self.load.hold(setup.caller_load(&grant));
        let mut ahead = None;
        let look = |beginning: &[u8]| {
            let new = || Box::new(Ahead::new(grant.operation().body, &self.subject(&grant, &matched, parts)));
            ahead.get_or_insert_with(new).look(beginning);
        };
        let body = intake::read(body, setup.allowance(matched.operation), hold, &self.spare, look).await?;
        record.received(body.len());
        let mut deadlines = setup.deadlines(Instant::now());
        if let Some(seconds) = waiting::preference(&parts.headers) {
            record.prefers_to_wait(seconds);
        }
        let payload = self.check(&grant, &self.subject(&grant, &matched, parts), body, ahead.as_deref())?;
        let mut mark = match self.before(&grant, &parts.headers, &payload, &mut deadlines).await? {
            Before::First(mark) => mark,
            Before::Repeat(answer) => return Ok(Prepared::Repeat(answer)),
        };
        self.pool.check_circuit(grant.origin(), deadlines.start)?;
        let payment = self.pay_in_time(&grant, &payload, &mut deadlines, record).await?;
        let payload = self.with_cid(&grant, payload, &mut mark, &mut deadlines).await;
        let inbound =
            Inbound { headers: &parts.headers, uri: &parts.uri, path, request_id: record.request_id() };
        let request = VendorRequest::build(&grant, &inbound, setup.host(&grant), setup.trace, payload);
        Ok(Prepared::Call(Box::new(Call { grant, request, payment, deadlines, mark, _places: places })))
    }

    fn subject<'s>(&'s self, grant: &'s Grant, matched: &Matched<'s>, parts: &'s Parts) -> Subject<'s> {
        let operation = grant.operation();
        Subject {
            method: operation.method,
            family: operation.family(),
            query: parts.uri.query(),
            value: matched.value,
            content_type: parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes),
            encrypted: parts.headers.contains_key(&ENCRYPT_TYPE),
            app_key: grant.app_key(),
            files: &self.setup.files,
            images: &self.setup.images,
        }
    }

    fn check(
        &self,
        grant: &Grant,
        subject: &Subject<'_>,
        body: intake::Buffered,
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
        if payload.facts().broadcast && !grant.caller().broadcast {
            return Err(Denied::Forbidden.into());
        }
        Ok(payload)
    }

    /// Pays for a call that does not wait.
    async fn pay(&self, grant: &Grant, facts: Facts, now: Instant) -> Result<Payment, Refusal> {
        match self.asking(&grant.draw(&facts), &grant.taker(), now).ask(now).await {
            Outcome::Paid(payment) => Ok(payment),
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::Waits(_) => unreachable!("without patience nobody waits"),
        }
    }

    fn asking<'w>(&'w self, draw: &'w Draw, taker: &'w Taker, until: Instant) -> Waiting<'w> {
        let store = self.store.as_ref().map(|store| (store, self.setup.shared_horizon));
        Waiting { draw, taker, clock: self.clock, store, until }
    }

    /// Pays for a call, waiting for it as long as its caller wants and its deadline allows.
    async fn pay_in_time(
        &self,
        grant: &Grant,
        payload: &Payload,
        deadlines: &mut Deadlines,
        record: &Record,
    ) -> Result<Payment, Refusal> {
        // After the body: what was not dispatched when the drain began is not dispatched any more.
        if self.load.draining() {
            return Err(Refusal::Draining);
        }
        let asked =
            record.preference().map_or(grant.caller().wait, |seconds| Duration::from_secs(seconds.into()));
        let until = waiting::until(asked, deadlines);
        if let Some(ledger) = self.ledger.as_ref().filter(|ledger| !ledger.is_owned()) {
            let longest = waiting::until(waiting::LEDGER_MAX, deadlines) - deadlines.start;
            let waited = waiting::for_ledger(ledger, longest, &self.load, payload.len());
            deadlines.start = Box::pin(waited).await?;
        }
        let (draw, taker) = (grant.draw(payload.facts()), grant.taker());
        let now = deadlines.start;
        let call = self.asking(&draw, &taker, until);
        let wait = match call.ask(now).await {
            Outcome::Paid(payment) => return Ok(payment),
            Outcome::Refused(refusal) => return Err(refusal),
            Outcome::Waits(wait) => wait,
        };
        let overloaded = Refusal::Overloaded { what: "memory for bodies that wait" };
        let _waits = self.load.wait_with(payload.len()).ok_or(overloaded)?;
        // Boxed: the few calls that wait should not make the others carry the room for it.
        let paid = Box::pin(call.wait(wait, &self.load)).await;
        deadlines.start = Instant::now();
        self.telemetry.metrics.budget_wait(grant.operation().budget, deadlines.start - now);
        paid
    }

    /// From dispatch to the answer. This runs to its end whatever becomes of the caller.
    async fn forward(self: Arc<Self>, call: Box<Call>, mut record: Box<Record>) -> Response<Reply> {
        let Call { grant, request, payment, deadlines, mut mark, _places } = *call;
        let operation = grant.operation();
        let origin = request.origin();
        record.dispatched(|| effect(operation, &request));
        let attempts = Attempts { grant: &grant, facts: *request.facts(), origin, deadlines };
        mark.sent();
        let answered = self.exchange(attempts, request.message(), payment, |note| record.vendor(note));
        let outcome = tokio::select! {
            biased;
            outcome = answered => outcome,
            () = self.give_up.notified() => Err(Refusal::VendorTimeout),
        };
        let (answer, delivery) = match outcome {
            Ok(Exchanged { mut answer, standing }) => {
                let delivery = Delivery::of_answer(answer.status());
                outbound::relay_headers(answer.headers_mut());
                add_headers(answer.headers_mut(), standing, &record);
                record.answered(answer.status().as_u16(), answer.body().ready_bytes());
                (answer.map(|read| read.into_reply(record)), delivery)
            }
            Err(refusal) => {
                let delivery = repeats::delivery_of(&refusal);
                let mut answer = self.refuse_granted(&refusal, &grant, record);
                answer.extensions_mut().insert(delivery);
                (answer, delivery)
            }
        };
        mark.end(delivery, &answer);
        answer
    }

    fn refuse_granted(&self, refusal: &Refusal, grant: &Grant, record: Box<Record>) -> Response<Reply> {
        let mut answer = ours(refusal, Place::Known(grant.operation()), record.request_id());
        let budget = grant.credential().budget(grant.operation().budget);
        let standing = budget.map(|budget| budget.standing_for(grant.taker().caller, self.clock.now()));
        add_headers(answer.headers_mut(), standing, &record);
        close_record(refusal, &answer, record);
        answer
    }
}

/// Headers of every answer to a granted call, the vendor's and ours.
fn add_headers(headers: &mut HeaderMap, standing: Option<Standing>, record: &Record) {
    headers.insert(&REQUEST_ID, record.request_id().clone());
    if let Some(seconds) = record.preference() {
        outbound::add_preference(headers, seconds);
    }
    if let Some(standing) = standing {
        outbound::add_rate_headers(headers, &standing);
    }
}
