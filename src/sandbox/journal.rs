//! Records received requests, for tests that check the client.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, Request};
use serde::Serialize;

/// Upper bound of requests that are kept; the oldest are dropped first.
const ENTRIES_MAX: usize = 10_000;
/// Characters of a header's value that are kept.
const VALUE_BYTES_MAX: usize = 2048;
/// Headers that are secrets and left out.
const OMITTED: &[&str] = &["authorization"];
/// Headers that no client of the vendor should send and whose values may be secrets: they are listed without their
/// values.
const REDACTED: &[&str] = &["cookie", "proxy-authorization", "x-api-key"];

/// One request that was received completely.
#[derive(Debug, Serialize)]
pub(super) struct JournalEntry {
    /// Time of recording; empty before that.
    time: String,
    method: String,
    path: String,
    query: Option<String>,
    /// Name of the operation; `None` if no row of the table matches.
    pub(super) operation: Option<&'static str>,
    /// Key of its credentials; `None` if they were refused.
    pub(super) key: Option<String>,
    headers: BTreeMap<String, String>,
    body_sha256: String,
    /// Whether it was counted on a budget.
    pub(super) counted: bool,
}

impl JournalEntry {
    /// An entry for a request that has not been matched or counted yet.
    pub(super) fn new(request: &Request<Bytes>) -> Self {
        Self {
            time: String::new(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            operation: None,
            key: None,
            headers: shown(request.headers()),
            body_sha256: hex(digest(&SHA256, request.body()).as_ref()),
            counted: false,
        }
    }
}

fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for name in headers.keys().filter(|name| !OMITTED.contains(&name.as_str())) {
        let value = if REDACTED.contains(&name.as_str()) {
            "(not shown)".to_owned()
        } else {
            let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            values.collect::<Vec<_>>().join(", ").chars().take(VALUE_BYTES_MAX).collect()
        };
        shown.insert(name.as_str().to_owned(), value);
    }
    shown
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        hex
    })
}

/// The newest requests, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal(VecDeque<JournalEntry>);

impl Journal {
    /// Records an entry with the time at which the request was received.
    pub(super) fn record(&mut self, entry: JournalEntry, wall: SystemTime) {
        if self.0.len() == ENTRIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(JournalEntry { time: humantime::format_rfc3339_millis(wall).to_string(), ..entry });
    }

    pub(super) fn entries(&self) -> &VecDeque<JournalEntry> {
        &self.0
    }
}
