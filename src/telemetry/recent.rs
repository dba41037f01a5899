//! The last refusals, for the status page.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde::Serialize;

use crate::lock::lock;

/// Refusals kept.
const KEPT: usize = 50;

/// One refusal. Nothing in it came from a request but its id.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedCall {
    /// RFC 3339.
    pub time: String,
    /// The request's id.
    pub request_id: String,
    /// The stable reason.
    pub reason: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The operation, if it was known.
    pub operation: Option<&'static str>,
    /// The tenant, if it was known.
    pub tenant: Option<String>,
    /// The caller, if it was known.
    pub caller: Option<String>,
}

/// A ring of refusals.
#[derive(Default)]
pub struct RecentRefusals(Mutex<VecDeque<RefusedCall>>);

impl RecentRefusals {
    /// One more.
    pub fn push(&self, refused: RefusedCall) {
        let mut ring = lock(&self.0);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(refused);
    }

    /// All of them, the latest first.
    pub fn list(&self) -> Vec<RefusedCall> {
        lock(&self.0).iter().rev().cloned().collect()
    }
}
