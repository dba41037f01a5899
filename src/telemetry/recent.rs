//! The last refusals, for the status page.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde::Serialize;

use crate::lock::lock;

/// Number of refusals kept.
const KEPT: usize = 50;

/// One refusal. The request's id is the only value that came from the request.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedCall {
    /// The time in RFC 3339 form.
    pub time: String,
    /// The id of the refused request.
    pub request_id: String,
    /// The stable reason, as in `X-JPush-Gateway-Reason`.
    pub reason: &'static str,
    /// HTTP status of the answer.
    pub status: u16,
    /// The operation, if it was known.
    pub operation: Option<&'static str>,
    /// The tenant, if it was known.
    pub tenant: Option<String>,
    /// The caller, if it was known.
    pub caller: Option<String>,
}

/// A ring buffer of the last refusals.
#[derive(Default)]
pub struct RecentRefusals(Mutex<VecDeque<RefusedCall>>);

impl RecentRefusals {
    /// Adds a refusal; drops the oldest one if the buffer is full.
    pub fn push(&self, refused: RefusedCall) {
        let mut ring = lock(&self.0);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(refused);
    }

    /// All refusals, the latest first.
    pub fn list(&self) -> Vec<RefusedCall> {
        lock(&self.0).iter().rev().cloned().collect()
    }
}
