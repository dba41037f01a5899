//! The facts about a call that a decision needs: its caller, and the longest that it may wait.

use std::sync::Arc;

use super::caller_number::{CallerHash, CallerNumber};
use super::queue::Precedence;
use super::quota::Quota;
use super::timestamp::Timestamp;

/// The caller of a call that asks for slots.
#[derive(Clone)]
pub struct Requester {
    /// The caller's number: it identifies the caller in queues, reserves and counts.
    pub caller: CallerNumber,
    /// Stands for the caller in turns between replicas.
    pub hash: CallerHash,
    /// The caller's weight in the round robin between waiting callers.
    pub weight: u32,
    /// The caller's quota, if it has one.
    pub quota: Option<Arc<Quota>>,
    /// Whether the call waits for its turn or goes before all others.
    pub precedence: Precedence,
}

impl Requester {
    /// A caller of weight one without a quota that waits for its turn.
    pub fn of(caller: CallerNumber) -> Self {
        Self { caller, hash: CallerHash::default(), weight: 1, quota: None, precedence: Precedence::InTurn }
    }
}

/// The longest that a call may wait.
#[derive(Clone, Copy, Debug)]
pub enum WaitLimit {
    /// The call is admitted or refused at once.
    None,
    /// The call may wait until this time.
    Until(Timestamp),
}
