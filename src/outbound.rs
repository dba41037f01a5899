//! Headers in both directions: the vendor request, and the vendor's answer on its way to the caller.
//!
//! Requests are built from an allow-list, so nothing of the caller's reaches the vendor by accident. Answers pass
//! but for what belongs to the connection. Pure.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SERVER, SET_COOKIE};
use http::{StatusCode, Uri};

use crate::body::Facts;
use crate::budget::{Said, Standing, whole_seconds};
use crate::config::Region;
use crate::intake::Hold;
use crate::operation::{Host, Path};
use crate::payload::Payload;
use crate::request::{Field, Head};
use crate::tenant::{Grant, OriginId};
use crate::vendor::Message;

/// `X-Request-Id`
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Headers of a request that travel on, as they are written.
static FORWARDED: [(Field, &str); 3] =
    [(Field::Accept, "Accept"), (Field::ContentType, "Content-Type"), (Field::EncryptType, "X-Encrypt-Type")];
/// And those that travel on where it is wanted.
static TRACE_CONTEXT: [(Field, &str); 2] =
    [(Field::TraceParent, "Traceparent"), (Field::TraceState, "Tracestate")];
static LIMIT: HeaderName = HeaderName::from_static("x-rate-limit-limit");
static QUOTA: HeaderName = HeaderName::from_static("x-rate-limit-quota");
static REMAINING: HeaderName = HeaderName::from_static("x-rate-limit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-rate-limit-reset");
static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Rate headers an answer can gain: four of the vendor's form, two of the IETF's.
const RATE_HEADERS: usize = 6;

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
    pub head: Option<&'r Head>,
    /// Its target, as it came.
    pub uri: &'r Uri,
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
    _memory: Option<Hold>,
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
        let target = target(grant.tenant().region, grant.operation().host, inbound);
        let mut head = Message::to(grant.operation().method, &target, payload.len())
            .field("Host", host)
            .field("Authorization", grant.credential().authorization())
            .field("User-Agent", &OUR_AGENT)
            .field("X-Request-Id", inbound.request_id);
        let trace: &[_] = if trace == Trace::Forward { &TRACE_CONTEXT } else { &[] };
        for (field, written) in FORWARDED.iter().chain(trace) {
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

/// The target as it was matched, with the query as it came.
fn target<'t>(region: Region, host: Host, inbound: &'t Inbound<'_>) -> Cow<'t, str> {
    if let (true, Region::Default, Some(target)) =
        (inbound.path.is_as_sent(), region, inbound.uri.path_and_query())
    {
        return Cow::Borrowed(target.as_str());
    }
    let path = match region {
        Region::Default => Cow::Borrowed(inbound.path.as_str()),
        Region::Beijing => beijing_path(host, inbound.path.as_str()),
    };
    match inbound.uri.query() {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => path,
    }
}

/// Paths of the Beijing data centre (the vendor's Python and PHP SDKs, tables of zones).
const BEIJING_PATHS: [(&str, &str); 4] = [
    ("/v3/schedules", "/v3/push/schedules"),
    ("/v3/devices", "/v3/device"),
    ("/v3/aliases", "/v3/device/aliases"),
    ("/v3/tags", "/v3/device/tags"),
];

/// The path the Beijing data centre uses for a call.
pub fn beijing_path(host: Host, path: &str) -> Cow<'_, str> {
    if host == Host::Report {
        return Cow::Owned(format!("/v3/report{}", path.trim_start_matches("/v3")));
    }
    let moved = BEIJING_PATHS.iter().find_map(|(from, to)| {
        let rest = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        Some(format!("{to}{rest}"))
    });
    moved.map_or(Cow::Borrowed(path), Cow::Owned)
}

/// Drops from an answer what names the vendor's server or is about the vendor's own clients.
pub fn relay_headers(headers: &mut HeaderMap) {
    headers.remove(SERVER);
    headers.remove(SET_COOKIE);
}

/// The headers of an answer that another request may be given: all but those that tell about its own moment.
pub fn lasting_headers(headers: &HeaderMap) -> HeaderMap {
    let momentary = [
        &REQUEST_ID,
        &LIMIT,
        &QUOTA,
        &REMAINING,
        &RESET,
        &RATE_LIMIT,
        &RATE_LIMIT_POLICY,
        &PREFERENCE_APPLIED,
        &RETRY_AFTER,
    ];
    let lasting = headers.iter().filter(|(name, _)| !momentary.contains(name));
    lasting.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What the rate headers of an answer say. The window's reset comes in whole seconds.
pub fn rate_said(status: StatusCode, headers: &HeaderMap) -> Said {
    let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<u32>().ok();
    Said {
        limit: number(&LIMIT).or_else(|| number(&QUOTA)),
        remaining: number(&REMAINING),
        reset: number(&RESET).map(|seconds| Duration::from_secs(seconds.into())),
        refused: status == StatusCode::TOO_MANY_REQUESTS,
    }
}

/// Tells that a `wait` preference was applied (RFC 7240, 3).
pub fn add_preference(headers: &mut HeaderMap, seconds: u32) {
    let value = format!("wait={seconds}");
    headers.insert(&PREFERENCE_APPLIED, HeaderValue::from_str(&value).expect("letters and digits"));
}

/// Adds the rate headers of a budgeted call: the vendor's own where it sent them, ours otherwise; never a secret.
pub fn add_rate_headers(headers: &mut HeaderMap, standing: &Standing) {
    headers.reserve(RATE_HEADERS);
    let limit = headers.get(&LIMIT).or_else(|| headers.get(&QUOTA)).cloned();
    if let Some(limit) = limit {
        headers.entry(&LIMIT).or_insert_with(|| limit.clone());
        headers.entry(&QUOTA).or_insert(limit);
    } else {
        headers.insert(&LIMIT, HeaderValue::from(standing.limit));
        headers.insert(&QUOTA, HeaderValue::from(standing.limit));
    }
    headers.entry(&REMAINING).or_insert_with(|| HeaderValue::from(standing.remaining));
    headers.entry(&RESET).or_insert_with(|| HeaderValue::from(whole_seconds(standing.reset)));
    let window = whole_seconds(standing.window);
    headers.insert(
        &RATE_LIMIT_POLICY,
        list_item(standing.name.as_str(), "q", standing.limit.into(), "w", window),
    );
    let remaining = standing.remaining.into();
    headers.insert(
        &RATE_LIMIT,
        list_item(standing.name.as_str(), "r", remaining, "t", whole_seconds(standing.reset)),
    );
}

/// One String Item with two Integer parameters (RFC 9651), written without going through `fmt`.
fn list_item(name: &str, first: &str, one: u64, second: &str, two: u64) -> HeaderValue {
    let mut numbers = [itoa::Buffer::new(), itoa::Buffer::new()];
    let [one_digits, two_digits] = &mut numbers;
    let parts =
        ["\"", name, "\";", first, "=", one_digits.format(one), ";", second, "=", two_digits.format(two)];
    // Names, two numbers of twenty digits, and the signs between them.
    let mut text = [0; 64];
    let mut length = 0;
    for part in parts {
        text[length..length + part.len()].copy_from_slice(part.as_bytes());
        length += part.len();
    }
    HeaderValue::from_bytes(&text[..length]).expect("budget names are letters and underscores")
}

/// The caller's request id if it is at most 128 visible ASCII characters.
pub fn request_id(head: &Head) -> Option<HeaderValue> {
    let value = head.one(Field::RequestId).ok()??;
    let fits = matches!(value.len(), 1..=128) && value.iter().all(u8::is_ascii_graphic);
    fits.then(|| HeaderValue::from_bytes(&value).ok()).flatten()
}
