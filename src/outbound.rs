//! Headers in both directions: the vendor request, and the vendor's answer on its way to the caller.
//!
//! Requests are built from an allow-list, so nothing of the caller's reaches the vendor by accident. Answers pass
//! but for what belongs to the connection. Pure.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::body::Facts;
use crate::body_reader::BodyReservation;
use crate::budget::{BudgetStatus, RateHeaders, whole_seconds};
use crate::config::Region;
use crate::fields::{FieldValue, Fields, ValuePart};
use crate::operation::{Host, Path};
use crate::payload::Payload;
use crate::request::{Field, RequestHead};
use crate::target::Target;
use crate::tenant::{Grant, OriginId};
use crate::upstream::Message;

/// `X-Request-Id`
pub const REQUEST_ID: &str = "X-Request-Id";
/// Headers of a request that travel on, as they are written.
static FORWARDED: [(Field, &str); 2] = [(Field::Accept, "Accept"), (Field::ContentType, "Content-Type")];
/// And the one that travels on with an encrypted push alone: on any other call it would change how a body that was
/// checked is read.
static ENCRYPTION: [(Field, &str); 1] = [(Field::EncryptType, "X-Encrypt-Type")];
/// And those that travel on where it is wanted.
static TRACE_CONTEXT: [(Field, &str); 2] =
    [(Field::TraceParent, "Traceparent"), (Field::TraceState, "Tracestate")];
const LIMIT: &str = "X-Rate-Limit-Limit";
const QUOTA: &str = "X-Rate-Limit-Quota";
const REMAINING: &str = "X-Rate-Limit-Remaining";
const RESET: &str = "X-Rate-Limit-Reset";
const PREFERENCE_APPLIED: &str = "Preference-Applied";
const CID: &str = "X-Jpush-Cid";
const RATE_LIMIT: &str = "Ratelimit";
const RATE_LIMIT_POLICY: &str = "Ratelimit-Policy";

/// Names of an answer's fields that say what the gateway did, so that nobody else may: all that begin so.
static OURS_ALONE: [&str; 3] = ["X-Jpush-Gateway-", CID, PREFERENCE_APPLIED];
/// Fields about the vendor's server, or for clients of its own.
static VENDORS_ALONE: [&str; 2] = ["Server", "Set-Cookie"];

const OUR_AGENT: HeaderValue = HeaderValue::from_static(concat!("jpush-gateway/", env!("CARGO_PKG_VERSION")));

/// Whether the caller's trace context travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// `traceparent` and `tracestate` are sent on.
    Forward,
    /// They are not.
    Drop,
}

/// What a caller's request still contributes once it is authorized and checked.
pub struct Inbound<'r> {
    /// Its head, if the call has one of a caller's.
    pub head: Option<&'r RequestHead>,
    /// Its target, as it came.
    pub target: &'r Target,
    /// Its path, as it was matched.
    pub path: &'r Path<'r>,
    /// The id it goes by.
    pub request_id: &'r HeaderValue,
}

/// A request to the vendor, with the tenant's credential inside: authorized, checked, and ready to be paid for.
pub struct VendorRequest {
    origin: OriginId,
    message: Message,
    facts: Facts,
    /// The body counts as memory in use until the answer is here.
    _memory: Option<BodyReservation>,
}

impl VendorRequest {
    /// Builds the request. `host` is the vendor's, from the configuration.
    pub fn build(
        grant: &Grant,
        inbound: &Inbound<'_>,
        host: &HeaderValue,
        trace: Trace,
        payload: Payload,
    ) -> Self {
        let target = target(grant, inbound);
        let mut head = Message::to(grant.operation().method, &target, payload.len())
            .field("Host", host)
            .field("Authorization", grant.credential().authorization())
            .field("User-Agent", &OUR_AGENT)
            .field("X-Request-Id", inbound.request_id);
        let trace: &[_] = if trace == Trace::Forward { &TRACE_CONTEXT } else { &[] };
        let encryption: &[_] = if payload.facts().encrypted { &ENCRYPTION } else { &[] };
        for (field, written) in FORWARDED.iter().chain(encryption).chain(trace) {
            for value in inbound.head.into_iter().flat_map(|head| head.all(*field)) {
                head = head.field(written, value);
            }
        }
        let (body, facts, memory) = payload.into_parts();
        Self { origin: grant.origin(), message: head.body(body), facts, _memory: memory }
    }

    /// Where it goes.
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// What its body says about the call.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The message to be written.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

/// The target as the vendor sees it: the path as it was matched, with the query as it came.
pub fn target<'t>(grant: &Grant, inbound: &'t Inbound<'_>) -> Cow<'t, str> {
    let (region, host) = (grant.tenant().region, grant.operation().host);
    if inbound.path.is_as_sent() && region == Region::Default {
        return Cow::Borrowed(inbound.target.path_and_query());
    }
    let path = match region {
        Region::Default => Cow::Borrowed(inbound.path.as_str()),
        Region::Beijing => beijing_path(host, inbound.path.as_str()),
    };
    match inbound.target.query() {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => path,
    }
}

/// Paths of the Beijing data centre (`docs/vendor.md`, V4).
const BEIJING_PATHS: [(&str, &str); 4] = [
    ("/v3/schedules", "/v3/push/schedules"),
    ("/v3/devices", "/v3/device"),
    ("/v3/aliases", "/v3/device/aliases"),
    ("/v3/tags", "/v3/device/tags"),
];

/// The path the Beijing data centre uses for a call.
fn beijing_path(host: Host, path: &str) -> Cow<'_, str> {
    if host == Host::Report {
        return Cow::Owned(format!("/v3/report{}", path.trim_start_matches("/v3")));
    }
    let moved = BEIJING_PATHS.iter().find_map(|(from, to)| {
        let rest = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        Some(format!("{to}{rest}"))
    });
    moved.map_or(Cow::Borrowed(path), Cow::Owned)
}

/// Drops from a vendor's answer what is not for callers, and what only the gateway may say.
pub fn relay_fields(fields: &mut Fields) {
    let is_ours = |name: &[u8]| OURS_ALONE.iter().any(|ours| name.starts_with(ours.as_bytes()));
    let is_theirs = |name: &[u8]| VENDORS_ALONE.iter().any(|theirs| name == theirs.as_bytes());
    fields.retain(|name| !is_ours(name) && !is_theirs(name));
}

/// The fields of an answer that another request may be given: all but those that tell about its own moment.
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

/// What the rate headers of an answer say. The window's reset comes in whole seconds.
pub fn rate_said(status: StatusCode, fields: &Fields) -> RateHeaders {
    let number = |name| fields.get(name)?.text()?.trim().parse::<u32>().ok();
    RateHeaders {
        limit: number(LIMIT).or_else(|| number(QUOTA)),
        remaining: number(REMAINING),
        reset: number(RESET).map(|seconds| Duration::from_secs(seconds.into())),
        refused: status == StatusCode::TOO_MANY_REQUESTS,
    }
}

/// Tells that a `wait` preference was applied (RFC 7240, 3).
pub fn add_preference(fields: &mut Fields, seconds: u32) {
    fields.set(PREFERENCE_APPLIED, &[ValuePart::Text("wait="), ValuePart::Number(seconds.into())]);
}

/// Tells whoever gave a call a key that it has no cid, so that it cannot be sent again when its outcome is unknown.
pub fn add_no_cid(fields: &mut Fields) {
    fields.set(CID, &[ValuePart::Text("none")]);
}

/// Adds the rate headers of a budgeted call: the vendor's own where it sent them, ours otherwise; never a secret.
pub fn add_rate_fields(fields: &mut Fields, status: &BudgetStatus) {
    let number = |number: u32| [ValuePart::Number(number.into())];
    let (limit, quota) = (fields.get(LIMIT), fields.get(QUOTA));
    match (limit.map(|limit| limit.to_vec()), quota.map(|quota| quota.to_vec())) {
        (Some(_), Some(_)) => {}
        (Some(limit), None) => fields.append(QUOTA, &[ValuePart::Value(FieldValue::parsed(&limit))]),
        (None, Some(quota)) => fields.append(LIMIT, &[ValuePart::Value(FieldValue::parsed(&quota))]),
        (None, None) => {
            fields.append(LIMIT, &number(status.limit));
            fields.append(QUOTA, &number(status.limit));
        }
    }
    let reset = whole_seconds(status.reset);
    if fields.get(REMAINING).is_none() {
        fields.append(REMAINING, &number(status.remaining));
    }
    if fields.get(RESET).is_none() {
        fields.append(RESET, &[ValuePart::Number(reset)]);
    }
    let window = whole_seconds(status.window);
    fields.set(RATE_LIMIT_POLICY, &list_item(status, "q", status.limit, "w", window));
    fields.set(RATE_LIMIT, &list_item(status, "r", status.remaining, "t", reset));
}

/// One String Item with two Integer parameters (RFC 9651).
fn list_item(
    status: &BudgetStatus,
    first: &'static str,
    one: u32,
    second: &'static str,
    two: u64,
) -> [ValuePart<'static>; 10] {
    let (name, one, two) =
        (ValuePart::Text(status.name.as_str()), ValuePart::Number(one.into()), ValuePart::Number(two));
    let text = ValuePart::Text;
    [text("\""), name, text("\";"), text(first), text("="), one, text(";"), text(second), text("="), two]
}

/// The caller's request id if it is at most 128 visible ASCII characters.
pub fn request_id(head: &RequestHead) -> Option<HeaderValue> {
    let value = head.one(Field::RequestId).ok()??;
    let fits = matches!(value.len(), 1..=128) && value.iter().all(u8::is_ascii_graphic);
    fits.then(|| HeaderValue::from_bytes(&value).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::title_case;
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
        for name in OURS_ALONE.iter().chain(&VENDORS_ALONE) {
            assert_eq!(title_case(name), *name, "or it is never found");
        }
    }
}
