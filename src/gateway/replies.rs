//! The answers that the gateway makes itself, and what every answer to a request says.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::answer::{ReadAnswer, Reply};
use crate::budget::{Budget, BudgetStatus, CallerNumber, Clock};
use crate::http1::fields::Fields;
use crate::http1::response::Response;
use crate::operation::OperationId;
use crate::outbound::{self, REQUEST_ID};
use crate::refusal::{Refusal, ReplyContext};
use crate::request::{RequestHead, RequestId};
use crate::telemetry::Record;
use crate::tenant::Grant;

/// A request that is being answered: its record, and the values that its answer needs.
pub(super) struct Answering {
    pub(super) record: Box<Record>,
    context: ReplyContext,
    clock: Clock,
    /// The budget that the rate headers describe, and the number of the caller.
    rates: Option<(Arc<Budget>, CallerNumber)>,
    /// The seconds of the applied `Prefer: wait`.
    preference: Option<u32>,
}

impl Answering {
    /// Starts with a reply context guessed from the path, until the operation is known.
    pub(super) fn new(record: Box<Record>, head: &RequestHead, clock: Clock) -> Self {
        let context = ReplyContext::of_path(head.target.path());
        Self { record, context, clock, rates: None, preference: None }
    }

    pub(super) fn request_id(&self) -> &RequestId {
        self.record.request_id()
    }

    pub(super) fn matched(&mut self, operation: OperationId) {
        self.context = ReplyContext::Known(operation);
        self.record.matched(operation);
    }

    /// Adds rate headers to the answer.
    pub(super) fn show_rates(&mut self, grant: &Grant) {
        let budget = grant.credential().budget(grant.operation().budget);
        self.rates = budget.map(|budget| (Arc::clone(budget), grant.caller().number));
    }

    pub(super) fn apply_preference(&mut self, seconds: Option<u32>) {
        self.preference = seconds;
    }

    /// Answers a request that needs no call.
    pub(super) fn local(mut self, body: Bytes) -> Response<Reply> {
        self.record.answered(200, body.len());
        let mut fields = Fields::with_room(0, 0);
        fields.append("Content-Type", |value| value.text("application/json"));
        fields.append(REQUEST_ID, |value| value.value(self.request_id()));
        Response::new(StatusCode::OK, fields, Reply::Whole(body))
    }

    /// Answers with a refusal.
    pub(super) fn refuse(mut self, refusal: &Refusal) -> Response<Reply> {
        let answer = refusal.answer(self.context);
        self.record.refused(refusal, answer.status.as_u16(), answer.body.len());
        let mut answer = answer.map(|body| Reply::Whole(body.into()));
        let status = self.rates.as_ref().map(|(budget, caller)| budget.status_for(*caller, self.clock.now()));
        self.add_fields(&mut answer.fields, status);
        answer
    }

    /// Relays the vendor's answer. The rest of a long one takes the record along.
    pub(super) fn relay(
        mut self,
        mut answer: Response<ReadAnswer>,
        status: Option<BudgetStatus>,
    ) -> Response<Reply> {
        outbound::relay_fields(&mut answer.fields);
        self.add_fields(&mut answer.fields, status);
        self.record.answered(answer.status.as_u16(), answer.body.ready_bytes());
        answer.map(|read| read.into_reply(self.record))
    }

    /// Gives the answer of the call that this one repeats.
    pub(super) fn repeat(mut self, mut answer: Response<Bytes>) -> Response<Reply> {
        self.record.answered(answer.status.as_u16(), answer.body.len());
        let status = self.rates.as_ref().map(|(budget, _)| budget.status(self.clock.now()));
        self.add_fields(&mut answer.fields, status);
        answer.map(Reply::Whole)
    }

    /// Adds the header fields that every answer has, also one of the vendor's.
    pub(super) fn add_fields(&self, fields: &mut Fields, status: Option<BudgetStatus>) {
        fields.set(REQUEST_ID, |value| value.value(self.request_id()));
        if let Some(seconds) = self.preference {
            outbound::add_preference(fields, seconds);
        }
        if let Some(status) = status {
            outbound::add_rate_fields(fields, &status);
        }
    }
}

/// The body of the answer to a health probe.
pub(super) fn probe() -> Bytes {
    Bytes::from_static(br#"{"service":"jpush-gateway"}"#)
}

/// Answers a request whose processing panicked.
pub(super) fn after_panic(request_id: &RequestId) -> Response<Reply> {
    let answer = Refusal::Internal.answer(ReplyContext::of_path("/"));
    let mut answer = answer.map(|body| Reply::Whole(body.into()));
    answer.fields.append(REQUEST_ID, |value| value.value(request_id));
    answer
}

/// A request id of our own, for a request that brings none.
pub(super) fn fresh_request_id() -> RequestId {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    RequestId::parse(id).expect("a UUID is ASCII")
}
