//! What came in, for whoever checks the client.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, Request};
use serde::Serialize;

/// Requests that are kept; the oldest go first.
const ENTRIES_MAX: usize = 10_000;
/// Bytes of a header's value that are kept.
const VALUE_BYTES_MAX: usize = 2048;
/// Headers that are secrets themselves.
const LEFT_OUT: &[&str] = &["authorization"];
/// Headers that no client of the vendor should send and whose values may be secrets: that they came is shown.
const BLOTTED_OUT: &[&str] = &["cookie", "proxy-authorization", "x-api-key"];

/// One request that was received completely.
#[derive(Debug, Serialize)]
pub(super) struct JournalEntry {
    /// Empty until it is recorded.
    time: String,
    method: String,
    path: String,
    query: Option<String>,
    /// `None`: no row of the table.
    pub(super) operation: Option<&'static str>,
    /// Whose credentials it carried; `None` if they were refused.
    pub(super) key: Option<String>,
    headers: BTreeMap<String, String>,
    body_sha256: String,
    /// It was counted on a budget.
    pub(super) counted: bool,
}

impl JournalEntry {
    /// Describes a request of which nothing is known yet.
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
    for name in headers.keys().filter(|name| !LEFT_OUT.contains(&name.as_str())) {
        let value = if BLOTTED_OUT.contains(&name.as_str()) {
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
    /// Takes an entry at the time it was received.
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
