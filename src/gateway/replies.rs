//! What a request is asked before its story begins, and the answers the gateway makes on the spot.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::answer::Reply;
use crate::body;
use crate::fields::{Fields, ValuePart};
use crate::operation::{BadPath, OperationId, Path};
use crate::outbound::{REQUEST_ID, VendorRequest};
use crate::refusal::{Refusal, ReplyContext};
use crate::request::{Field, RequestHead};
use crate::response::Response;
use crate::strict;
use crate::telemetry::{AuditedCall, Record};
use crate::tenant::TenantHints;

/// Whether a request says how its body is encrypted. An empty value says nothing.
pub(super) fn names_encryption(head: &RequestHead) -> bool {
    head.all(Field::EncryptType).any(|value| !value.bytes().trim_ascii().is_empty())
}

/// The tenant and the credential a request asks for by header.
pub(super) fn tenant_hints(head: &RequestHead) -> Result<TenantHints<'_>, Refusal> {
    let one = |field, name| {
        let refused = || Refusal::BadRequest(format!("the header {name} must be sent once, in ASCII").into());
        let value = head.one(field).map_err(|_| refused())?;
        value.map(|value| value.text().ok_or_else(refused)).transpose()
    };
    let as_dev = match one(Field::JpushCredential, "x-jpush-credential")? {
        None | Some("app") => false,
        Some("dev") => true,
        Some(_) => {
            return Err(Refusal::BadRequest("the header X-JPush-Credential takes 'app' or 'dev'".into()));
        }
    };
    Ok(TenantHints { tenant: one(Field::JpushTenant, "x-jpush-tenant")?, as_dev })
}

/// What a request is, once it is known that it can be read in one way only.
pub enum RequestKind<'h> {
    /// A question whether anybody is here.
    Probe,
    /// A call, if its path is one. Who calls is asked before that is told.
    Call(Result<Path<'h>, BadPath>),
}

/// Reads a head: the first of what is decided about a request, and of what `explain` tells.
pub fn read(head: &RequestHead) -> Result<RequestKind<'_>, Refusal> {
    strict::check(head)?;
    Ok(if head.is_probe() { RequestKind::Probe } else { RequestKind::Call(head.target.judge()) })
}

pub(super) fn probe(record: &mut Record) -> Response<Reply> {
    let body = Bytes::from_static(br#"{"service":"jpush-gateway"}"#);
    record.answered(200, body.len());
    let mut fields = Fields::with_room(0, 0);
    fields.append("Content-Type", &[ValuePart::Text("application/json")]);
    fields.append(REQUEST_ID, &[ValuePart::Value(record.request_id().into())]);
    Response::new(StatusCode::OK, fields, Reply::Whole(body))
}

pub(super) fn refuse(refusal: &Refusal, place: ReplyContext, record: Box<Record>) -> Response<Reply> {
    let answer = ours(refusal, place, record.request_id());
    close_record(refusal, &answer, record);
    answer
}

pub(super) fn ours(refusal: &Refusal, place: ReplyContext, request_id: &HeaderValue) -> Response<Reply> {
    let mut answer = refusal.answer(place).map(|body| Reply::Whole(body.into()));
    answer.fields.append(REQUEST_ID, &[ValuePart::Value(request_id.into())]);
    answer
}

pub(super) fn close_record(refusal: &Refusal, answer: &Response<Reply>, mut record: Box<Record>) {
    let Reply::Whole(body) = &answer.body else { return };
    record.refused(refusal, answer.status.as_u16(), body.len());
}

/// What the audit log says of a call that is dispatched.
pub(super) fn effect(operation: OperationId, request: &VendorRequest) -> AuditedCall {
    let last = || request.message().path().rsplit('/').next().map(Box::from);
    let facts = request.facts();
    AuditedCall {
        object: operation.names_vendor_id().then(last).flatten(),
        cid: (facts.names_cid || facts.has_cid).then(|| body::cid(request.message().body())).flatten(),
    }
}

pub(super) fn fresh_request_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).expect("a UUID is ASCII")
}
