//! The requests to the store for the slots of one call.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::queue::Precedence;
use super::requester::Requester;
use super::ticket::QueueTicket;
use super::timestamp::Timestamp;
use super::turn::Turn;
use super::{BudgetSet, lock};

/// The request to the store for a slot in one budget.
#[derive(Clone, Debug)]
pub struct SlotRequest {
    /// The key of the budget in the store.
    pub key: Arc<str>,
    /// The key of the calls that wait for it there.
    pub waiting_key: Arc<str>,
    /// Slots of the shared part.
    pub limit: u32,
    /// Slots that belong to each replica alone.
    pub own: u32,
    /// Length of the window.
    pub window: Duration,
    /// Whether the call needs the slot.
    pub need: Need,
    /// The place of the call among those of all replicas.
    pub turn: Turn,
}

/// Whether a call needs a slot of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It does.
    Must,
    /// It can do without, because a slot of this replica's own part is free.
    May,
    /// It would not pass now, because the vendor's limit is reached, and only keeps its place among those that wait.
    Place,
}

impl Need {
    /// The word for it, as the store takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::May => "may",
            Self::Place => "place",
        }
    }
}

/// One request for each budget of a [`BudgetSet`], in its order.
pub type SlotRequests = SmallVec<[SlotRequest; 1]>;

/// The requests to the store for one call. `None` if the call cannot pass whatever the store answers, because others
/// wait before it, the vendor's limit is reached, or quota or pacing hold it back: a slot that it would give back is one
/// that others miss meanwhile. A new call requests all of its budgets. A `waiter`, with the time until which it waits,
/// requests the budget that it waits for ([`QueueTicket::awaited_budget`]), or only its place where the vendor's limit is
/// reached.
pub fn slot_requests(
    budget_set: &BudgetSet,
    requester: &Requester,
    waiter: Option<(&QueueTicket, Timestamp)>,
    now: Timestamp,
) -> Option<SlotRequests> {
    let is_new = waiter.is_none();
    if is_new && requester.quota.as_ref().is_some_and(|quota| !quota.lets_pass(now)) {
        return None;
    }
    let mut slot_requests = SlotRequests::new();
    for budget in budget_set.iter() {
        let mut inner = lock(&budget.inner);
        let inner = &mut *inner;
        let free = inner.free(now);
        let is_closed = match waiter {
            None => inner.queue.is_closed(inner.goes_first(requester)),
            Some((ticket, _)) => !ticket.id_at(budget).is_some_and(|id| inner.queue.is_next(id)),
        };
        let is_paced = is_new && !inner.until_paced(now).is_zero();
        let is_over = inner.by_vendor_limit(now) == 0;
        if is_closed || is_paced || is_over && is_new {
            return None;
        }
        // Drops slots that are over, so that the vendor's count is not compared with calls of long ago.
        inner.free_in_store(now);
        let (kept, shared) = (inner.kept_from_requester(requester, now), inner.shared.as_ref()?);
        let need = match free > kept.now {
            _ if is_over => Need::Place,
            true => Need::May,
            false => Need::Must,
        };
        let turn = match (requester.precedence, waiter) {
            (Precedence::First, _) => Turn::First,
            (Precedence::InTurn, None) => Turn::NotWaiting,
            (Precedence::InTurn, Some((_, until))) => inner.queue.turn(until.since(now)),
        };
        slot_requests.push(SlotRequest {
            key: Arc::clone(&shared.key),
            waiting_key: Arc::clone(&shared.waiting_key),
            limit: shared.limit,
            own: shared.own,
            window: inner.rule.length,
            need,
            turn,
        });
    }
    slot_requests.iter().any(|want| want.limit > 0).then_some(slot_requests)
}
