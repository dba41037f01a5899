//! The view of one authenticated call that handlers get.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::accounts::Account;
use super::answer::{Codes, VendorError};
use super::form::ReceivedPart;
use super::parsed_body::ParsedBody;
use super::percent::decoded;
use super::route::Route;
use crate::operation::OperationId;

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
