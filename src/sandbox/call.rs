//! The view of one authenticated call that handlers get.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::accounts::Account;
use super::answer::{Codes, VendorError};
use super::form::{self, ReceivedPart};
use super::json::{self, member};
use super::percent::decoded;
use super::route::Route;
use crate::operation::{Audience, BodyRule, BudgetName, OperationId};

/// Time at which a request was completely received. Tests set it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceivedAt {
    /// Monotonic time, for counting windows.
    pub(super) instant: Instant,
    /// Wall-clock time, for dates in answers.
    pub(super) wall: SystemTime,
}

impl ReceivedAt {
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }
}

/// A body parsed as its operation expects. `None` inside means that it could not be parsed.
#[derive(Debug)]
pub(super) enum ParsedBody {
    Dropped,
    Json(Option<Map<String, Value>>),
    Form(Option<Vec<ReceivedPart>>),
}

impl ParsedBody {
    pub(super) fn read(rule: BodyRule, headers: &HeaderMap, body: &Bytes) -> Self {
        match rule {
            BodyRule::None | BodyRule::CidQuery => Self::Dropped,
            BodyRule::TargetList | BodyRule::ImageFiles => {
                let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                Self::Form(content_type.and_then(|content_type| form::read(content_type, body)))
            }
            _ => Self::Json(json::object(body)),
        }
    }

    /// A member of a JSON body that is not `null`.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Json(Some(object)) => member(object, name),
            _ => None,
        }
    }

    /// A file of a form that is not empty: browsers send an empty part for a file input without a file.
    pub(super) fn file(&self, name: &str) -> Option<&ReceivedPart> {
        self.part(name).filter(|part| !part.data.is_empty())
    }

    /// The first part of a form with this name.
    pub(super) fn part(&self, name: &str) -> Option<&ReceivedPart> {
        match self {
            Self::Form(Some(parts)) => parts.iter().find(|part| part.name == name),
            _ => None,
        }
    }
}

/// One authenticated call with its parsed body.
pub(super) struct AuthenticCall<'a> {
    pub(super) operation: OperationId,
    pub(super) account: &'a Account,
    /// All accounts of the vendor.
    pub(super) accounts: &'a [Account],
    pub(super) segments: &'a [String],
    pub(super) query: &'a str,
    pub(super) payload: &'a ParsedBody,
    /// Whether the payload is encrypted, so that only what stands beside it can be checked.
    pub(super) encrypted: bool,
    pub(super) now: ReceivedAt,
}

impl<'a> AuthenticCall<'a> {
    pub(super) fn new(
        (route, payload): (&'a Route, &'a ParsedBody),
        (account, accounts): (&'a Account, &'a [Account]),
        request: &'a http::Request<Bytes>,
        now: ReceivedAt,
    ) -> Self {
        Self {
            operation: route.operation,
            account,
            accounts,
            segments: &route.segments,
            query: request.uri().query().unwrap_or_default(),
            payload,
            encrypted: route.operation.takes_encrypted()
                && request.headers().get("x-encrypt-type").is_some_and(|kind| !kind.is_empty()),
            now,
        }
    }

    /// The error codes of the API that this call belongs to.
    pub(super) fn codes(&self) -> &'static Codes {
        Codes::of(&self.operation)
    }

    /// A segment of the path, counted from 0; empty if there is none.
    pub(super) fn segment(&self, position: usize) -> &'a str {
        self.segments.get(position).map_or("", String::as_str)
    }

    /// The account's key as text.
    pub(super) fn key(&self) -> &'a str {
        self.account.key.as_str()
    }

    /// The body, or an error if it is not a JSON object.
    pub(super) fn object(&self) -> Result<&'a Map<String, Value>, VendorError> {
        match self.payload {
            ParsedBody::Json(Some(object)) => Ok(object),
            _ => Err(self.codes().bad("The body is not a JSON object")),
        }
    }

    /// The parts of the body, or an error if it is not a multipart form.
    pub(super) fn parts(&self) -> Result<&'a [ReceivedPart], VendorError> {
        match self.payload {
            ParsedBody::Form(Some(parts)) => Ok(parts),
            _ => Err(self.codes().bad("The body is not multipart/form-data")),
        }
    }

    /// A parameter of the query, decoded; an empty one counts as absent.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| decoded(key) == name)
            .map(|(_, value)| decoded(&value.replace('+', " ")))
            .filter(|value| !value.is_empty())
    }
}

/// Budgets that a call draws on: those by the minute, the operation's own first, and the daily ones.
pub(super) fn demands(route: &Route, payload: &ParsedBody) -> (Vec<BudgetName>, Vec<BudgetName>) {
    let operation = route.operation;
    let (mut minute, mut day) = (vec![operation.budget], Vec::new());
    let audiences = audiences(operation.audience, payload);
    let names = |name: &str| {
        let is_set = |value: &Value| !value.is_null() && *value != false;
        audiences.iter().any(|audience| audience.get(name).is_some_and(is_set))
    };
    if matches!(operation.audience, Audience::Push | Audience::Params) && names("file") {
        minute.push(BudgetName::File);
    }
    if names("all") || audiences.iter().any(|audience| **audience == "all") {
        day.push(BudgetName::Broadcast);
    }
    day.extend(super::images::demands(route, payload));
    (minute, day)
}

/// The audiences of a call's pushes; empty for batches, where each push goes to one device.
fn audiences(place: Audience, payload: &ParsedBody) -> Vec<&Value> {
    let found: Vec<Option<&Value>> = match place {
        Audience::Nobody | Audience::Targets => Vec::new(),
        Audience::Body => vec![payload.member("audience")],
        Audience::Push => vec![payload.member("push").and_then(|push| push.get("audience"))],
        Audience::Params => {
            let pushes = payload.member("params").and_then(Value::as_array).into_iter().flatten();
            pushes.map(|push| push.get("audience")).collect()
        }
    };
    found.into_iter().flatten().filter(|audience| !audience.is_null()).collect()
}
