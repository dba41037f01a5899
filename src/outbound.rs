//! Headers in both directions: of the request to the vendor, and of the vendor's answer to the caller.
//!
//! Requests are built from an allow-list, so that nothing of the caller's reaches the vendor by accident. Answers pass
//! except for the fields that belong to the connection. Pure.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::body::Facts;
use crate::body_reader::BodyReservation;
use crate::budget::{BudgetStatus, RateHeaders, whole_seconds};
use crate::config::Region;
use crate::http1::fields::{FieldValue, Fields};
use crate::http1::message::Message;
use crate::http1::target::Target;
use crate::operation::Path;
use crate::payload::Payload;
use crate::request::{Field, RequestHead, RequestId};
use crate::tenant::{Grant, OriginId};

/// Name of the header with the request's id.
pub const REQUEST_ID: &str = "X-Request-Id";
/// Request headers that are forwarded, with the spelling that is sent.
static FORWARDED: [(Field, &str); 2] = [(Field::Accept, "Accept"), (Field::ContentType, "Content-Type")];
/// The request header that is forwarded with an encrypted push only: on any other call it would change the meaning of a
/// body that was already checked.
static ENCRYPTION: [(Field, &str); 1] = [(Field::EncryptType, "X-Encrypt-Type")];
/// Request headers that are forwarded if the configuration says so.
static TRACE_CONTEXT: [(Field, &str); 2] =
    [(Field::TraceParent, "Traceparent"), (Field::TraceState, "Tracestate")];
const LIMIT: &str = "X-Rate-Limit-Limit";
const QUOTA: &str = "X-Rate-Limit-Quota";
const REMAINING: &str = "X-Rate-Limit-Remaining";
const RESET: &str = "X-Rate-Limit-Reset";
const PREFERENCE_APPLIED: &str = "Preference-Applied";
const CID: &str = "X-Jpush-Cid";
const IDEMPOTENCY: &str = "X-Jpush-Gateway-Idempotency";
const RATE_LIMIT: &str = "Ratelimit";
const RATE_LIMIT_POLICY: &str = "Ratelimit-Policy";

/// Beginnings of the field names in which only the gateway reports something. Fields of the vendor with such names are
/// removed.
static GATEWAY_FIELDS: [&str; 3] = ["X-Jpush-Gateway-", CID, PREFERENCE_APPLIED];
/// Fields about the vendor's server, or for its own clients, which are removed.
static VENDOR_FIELDS: [&str; 2] = ["Server", "Set-Cookie"];

const OUR_AGENT: HeaderValue = HeaderValue::from_static(concat!("jpush-gateway/", env!("CARGO_PKG_VERSION")));

/// Whether a trace context is sent to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// `traceparent` and `tracestate` are sent.
    Forward,
    /// They are not sent.
    Drop,
}

/// The trace context of a request whose attempts have spans of their own.
pub struct TraceContext {
    /// The value of `traceparent`. Each attempt puts its own in its place.
    pub parent: [u8; 55],
    /// The value of `tracestate`; empty if there is none.
    pub state: String,
}

/// The parts of a caller's request that are still needed after it was authorized and checked.
pub struct Inbound<'r> {
    /// The head of the caller's request; `None` for a call of the gateway's own.
    pub head: Option<&'r RequestHead>,
    /// The target as received.
    pub target: &'r Target,
    /// The path as matched.
    pub path: &'r Path<'r>,
    /// The id of the request, which the vendor gets as well.
    pub request_id: &'r RequestId,
    /// The context that takes the place of the caller's, if requests are traced.
    pub context: Option<TraceContext>,
}

/// A request to the vendor with the tenant's credential: authorized, checked, and ready to be paid for.
pub struct VendorRequest {
    origin: OriginId,
    message: Message,
    facts: Facts,
    /// The place of the attempt's `traceparent` in the message, if it has one.
    traceparent_at: Option<usize>,
    /// Counts the body as memory in use until the answer has arrived.
    _memory: Option<BodyReservation>,
}

impl VendorRequest {
    /// Builds the request. `host` is the vendor's host from the configuration.
    pub fn build(
        grant: &Grant,
        inbound: &Inbound<'_>,
        host: &HeaderValue,
        trace: Trace,
        payload: Payload,
    ) -> Self {
        let target = target(grant, inbound);
        let mut head = Message::to(grant.operation().method.as_str(), &target, payload.len())
            .field("Host", host)
            .field("Authorization", grant.credential().authorization())
            .field("User-Agent", &OUR_AGENT)
            .field("X-Request-Id", inbound.request_id);
        let own = inbound.context.as_ref().filter(|_| trace == Trace::Forward);
        let trace: &[_] = if trace == Trace::Forward && own.is_none() { &TRACE_CONTEXT } else { &[] };
        let encryption: &[_] = if payload.facts().encrypted { &ENCRYPTION } else { &[] };
        for (field, written) in FORWARDED.iter().chain(encryption).chain(trace) {
            for value in inbound.head.into_iter().flat_map(|head| head.all(*field)) {
                head = head.field(written, value);
            }
        }
        let mut traceparent_at = None;
        if let Some(TraceContext { parent, state }) = own {
            let [(_, parent_name), (_, state_name)] = TRACE_CONTEXT;
            traceparent_at = Some(head.len() + parent_name.len() + 2);
            head = head.field(parent_name, FieldValue::parsed(parent));
            if !state.is_empty() {
                head = head.field(state_name, FieldValue::parsed(state.as_bytes()));
            }
        }
        let (body, facts, memory) = payload.into_parts();
        Self { origin: grant.origin(), message: head.body(body), facts, traceparent_at, _memory: memory }
    }

    /// Makes an attempt's span the one that the vendor hears of, if it hears of any.
    pub fn trace_as(&mut self, traceparent: &[u8; 55]) {
        if let Some(at) = self.traceparent_at {
            self.message.overwrite(at, traceparent);
        }
    }

    /// The base URL that the request goes to.
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// The facts about the call that its body contained.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The message to write.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

/// The target as the vendor gets it: the matched path, and the query as received.
pub fn target<'t>(grant: &Grant, inbound: &'t Inbound<'_>) -> Cow<'t, str> {
    let region = grant.tenant().region;
    if inbound.path.is_as_sent() && region == Region::Default {
        return Cow::Borrowed(inbound.target.path_and_query());
    }
    let path = match region {
        Region::Default => Cow::Borrowed(inbound.path.as_str()),
        Region::Beijing => inbound.path.in_beijing(),
    };
    match inbound.target.query() {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => path,
    }
}

/// Removes from a vendor's answer the fields that are not for callers, or that only the gateway may set.
pub fn relay_fields(fields: &mut Fields) {
    let is_ours = |name: &[u8]| GATEWAY_FIELDS.iter().any(|ours| name.starts_with(ours.as_bytes()));
    let is_vendors = |name: &[u8]| VENDOR_FIELDS.iter().any(|vendors| name == vendors.as_bytes());
    fields.retain(|name| !is_ours(name) && !is_vendors(name));
}

/// The fields of an answer that can be given to a repeated request: all but those that describe the moment of the first
/// one.
pub fn lasting_fields(fields: &Fields) -> Fields {
    fields.without(&[
        REQUEST_ID,
        LIMIT,
        QUOTA,
        REMAINING,
        RESET,
        RATE_LIMIT,
        RATE_LIMIT_POLICY,
        PREFERENCE_APPLIED,
        "Retry-After",
    ])
}

/// Reads the rate headers of an answer. `Reset` is in whole seconds. Fewer than no calls left are none; a limit below
/// zero says nothing.
pub fn rate_headers(status: StatusCode, fields: &Fields) -> RateHeaders {
    let [limit, quota, remaining, reset] = fields.first_of([LIMIT, QUOTA, REMAINING, RESET]).map(|value| {
        let value = value?;
        let plain = value.number().and_then(|number| i64::try_from(number).ok());
        plain.or_else(|| value.text()?.trim().parse().ok())
    });
    let limit_of = |number: Option<i64>| u32::try_from(number?).ok();
    RateHeaders {
        limit: limit_of(limit).or_else(|| limit_of(quota)),
        remaining: remaining.map(|left| u32::try_from(left.max(0)).unwrap_or(u32::MAX)),
        reset: reset.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        refused: status == StatusCode::TOO_MANY_REQUESTS,
    }
}

/// Reports that a `wait` preference was applied (RFC 7240, 3).
pub fn add_preference(fields: &mut Fields, seconds: u32) {
    fields.set(PREFERENCE_APPLIED, |value| {
        value.text("wait=");
        value.number(seconds);
    });
}

/// Reports to the caller that its call with an idempotency key has no cid, so that it cannot be sent again when its
/// outcome is unknown.
pub fn add_no_cid(fields: &mut Fields) {
    fields.set(CID, |value| value.text("none"));
}

/// Reports to the caller that other replicas do not know of its idempotency key, because the store did not answer.
pub fn add_this_replica(fields: &mut Fields) {
    fields.set(IDEMPOTENCY, |value| value.text("this-replica"));
}

/// Adds the rate headers of a call: the vendor's own values where it sent them, else ours.
pub fn add_rate_fields(fields: &mut Fields, status: &BudgetStatus) {
    let names = [LIMIT, QUOTA, REMAINING, RESET, RATE_LIMIT_POLICY, RATE_LIMIT];
    let [limit, quota, remaining, reset, policy, state] = fields.first_of(names).map(|value| value.is_some());
    match (limit, quota) {
        (true, true) => {}
        (true, false) => fields.append_copy(QUOTA, LIMIT),
        (false, true) => fields.append_copy(LIMIT, QUOTA),
        (false, false) => {
            fields.append(LIMIT, |value| value.number(status.limit));
            fields.append(QUOTA, |value| value.number(status.limit));
        }
    }
    let resets_in = whole_seconds(status.reset);
    if !remaining {
        fields.append(REMAINING, |value| value.number(status.remaining));
    }
    if !reset {
        fields.append(RESET, |value| value.number(resets_in));
    }
    // Lists with one String Item and two Integer parameters (RFC 9651).
    if policy {
        fields.remove(RATE_LIMIT_POLICY);
    }
    fields.append(RATE_LIMIT_POLICY, |value| {
        value.text("\"");
        value.text(status.name.as_str());
        value.text("\";q=");
        value.number(status.limit);
        value.text(";w=");
        value.number(whole_seconds(status.window));
    });
    if state {
        fields.remove(RATE_LIMIT);
    }
    fields.append(RATE_LIMIT, |value| {
        value.text("\"");
        value.text(status.name.as_str());
        value.text("\";r=");
        value.number(status.remaining);
        value.text(";t=");
        value.number(resets_in);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::fields::title_case;
    use crate::refusal::REASON;

    #[test]
    fn what_the_gateway_says_is_said_by_nobody_else() {
        let mut fields = Fields::default();
        for name in
            [REASON, PREFERENCE_APPLIED, "x-JPUSH-cid", "X-Jpush-Gateway-New", "server", "X-Jpush", "Serve"]
        {
            fields.append_parsed(&httparse::Header { name, value: b"" });
        }
        relay_fields(&mut fields);
        assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&b"X-Jpush"[..], b"Serve"]);
        for name in GATEWAY_FIELDS.iter().chain(&VENDOR_FIELDS) {
            assert_eq!(title_case(name), *name, "or it is never found");
        }
    }
}
