//! The part of a budget that replicas share: what is asked of the store, and what it said last.
//!
//! Which slots are taken there is the store's decision; here stand this replica's own calls among them, so that the
//! vendor's word, the status page and a caller's tally count them like all others.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::reserve::Reserves;
use super::window::{Ends, Window, WindowRule};
use super::{BudgetSet, BudgetState, QueueTicket, Requester, Timestamp, lock};
use crate::config::{BudgetLimit, Shares, VendorKey};
use crate::operation::BudgetName;

/// When to come again where a replica has no part of its own and the store did not answer: nobody knows when it will,
/// and most often it does at once.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// What replicas share of one budget.
pub(super) struct Shared {
    key: Arc<str>,
    shares: Shares,
    /// Slots in the store, for all replicas together.
    pub(super) limit: u32,
    /// This replica's calls in them.
    pub(super) window: Window,
    heard: Option<StoreStatus>,
}

/// What the store said about a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Slots of the shared part that can be taken now.
    pub free: u32,
    /// When one more can be taken, at the latest.
    pub next: Timestamp,
    /// It gives nothing before then: it was found without what was given before.
    pub held_back: bool,
}

/// What the store is asked for one budget.
#[derive(Clone, Debug)]
pub struct SlotRequest {
    /// Names the budget in the store.
    pub key: Arc<str>,
    /// Slots of the shared part.
    pub limit: u32,
    /// Slots that belong to each replica alone.
    pub own: u32,
    /// Length of the window.
    pub window: Duration,
    /// The call can do without: a slot of this replica's own is free.
    pub spare: bool,
}

/// One entry for each budget of a [`BudgetSet`], in its order.
pub type SlotRequests = SmallVec<[SlotRequest; 1]>;

/// Where a call has its slot in one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotLocation {
    /// In this process.
    Here,
    /// In the store.
    Store,
}

/// The budgets of a draw for which a slot was taken in the store, by their place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantedMask(u8);

impl GrantedMask {
    /// Adds the budget at a place.
    pub fn add(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    /// Where the budget at a place of the draw has its slot.
    pub(super) fn place(self, place: usize) -> SlotLocation {
        if self.0 >> place & 1 == 1 { SlotLocation::Store } else { SlotLocation::Here }
    }

    /// Whether nothing was taken there.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Shared {
    pub(super) fn new(vendor_key: &VendorKey, name: BudgetName, limit: BudgetLimit, shares: Shares) -> Self {
        // The braces keep the budgets of one key together where a store is spread over several servers.
        let key = format!("jpush-gateway:{{{}}}:{}", vendor_key.as_str(), name.as_str()).into();
        Self { key, shares, limit: shares.shared_part(limit.limit), window: Window::default(), heard: None }
    }

    /// Takes on another size. Returns what of it is this replica's own.
    pub(super) fn resize(&mut self, limit: BudgetLimit) -> u32 {
        self.limit = self.shares.shared_part(limit.limit);
        self.shares.own_part(limit.limit)
    }

    /// Slots of the shared part that could be taken when the store was last heard.
    pub(super) fn free(&self) -> u32 {
        self.heard.map_or(0, |statuses| statuses.free)
    }

    /// Whether the store could not be asked when it was last tried.
    pub(super) fn is_away(&self) -> bool {
        self.limit > 0 && self.heard.is_none()
    }

    /// Whether the store gives nothing yet, as far as it was heard.
    pub(super) fn holds_back(&self, now: Timestamp) -> bool {
        self.heard.is_some_and(|statuses| statuses.held_back && now < statuses.next)
    }

    /// Until so many slots can be taken there, at the latest; `None` if that is not known, and there is a part of our own.
    pub(super) fn until_free(&self, rule: &WindowRule, now: Timestamp, nth: usize) -> Option<Duration> {
        let Some(statuses) = self.heard else { return unheard(rule) };
        Some(match nth.saturating_sub(statuses.free as usize) {
            0 => Duration::ZERO,
            1 => statuses.next.since(now),
            _ => statuses.next.since(now) + rule.longest(),
        })
    }

    /// The soonest that so many can be taken: answers may shorten what is held for calls in flight.
    pub(super) fn soonest(&self, rule: &WindowRule, now: Timestamp, nth: usize) -> Option<Duration> {
        let Some(statuses) = self.heard else { return unheard(rule) };
        if nth <= statuses.free as usize {
            Some(Duration::ZERO)
        } else {
            Some(statuses.next.since(now).min(rule.length))
        }
    }
}

fn unheard(rule: &WindowRule) -> Option<Duration> {
    (rule.limit == 0).then_some(COME_AGAIN)
}

impl BudgetState {
    /// Slots in use by this process, as of the last call that passed a time in.
    pub(super) fn used(&self) -> u32 {
        self.window.used() + self.shared.as_ref().map_or(0, |shared| shared.window.used())
    }

    /// Slots of the shared part that could be taken when the store was last heard. Lets go of what is over there.
    pub(super) fn free_in_store(&mut self, now: Timestamp) -> u32 {
        let Some(shared) = &mut self.shared else { return 0 };
        shared.window.free(&self.rule, now, |_| {});
        shared.free()
    }

    /// Until one more can be taken than the `remaining` ones, here or there, at the latest.
    pub(super) fn until_more(&self, now: Timestamp, remaining: usize) -> Duration {
        let own = self.window.until_release(&self.rule, now, 1, Ends::Latest);
        let in_store = self
            .shared
            .as_ref()
            .and_then(|shared| shared.until_free(&self.rule, now, shared.free() as usize + 1));
        let soonest = in_store.map_or(own, |in_store| in_store.min(own));
        soonest.max(self.until_vendor_limit(now, remaining + 1, Ends::Latest)).max(Timestamp::TICK)
    }

    /// Where calls are counted whose slot is in the store, or here.
    pub(super) fn window_of(&mut self, place: SlotLocation) -> &mut Window {
        match (place, &mut self.shared) {
            (SlotLocation::Store, Some(shared)) => &mut shared.window,
            (SlotLocation::Store, None) | (SlotLocation::Here, _) => &mut self.window,
        }
    }

    /// What is kept for a caller is kept out of our own part.
    pub(super) fn reserve_at(&mut self, place: SlotLocation, change: impl FnOnce(&mut Reserves)) {
        if place == SlotLocation::Here {
            self.reserve(change);
        }
    }
}

/// What the store should be asked for a call: nothing if the call cannot pass whatever the store says, because
/// somebody waits before it or the vendor said so. A newcomer asks for all it draws on, one that waits for the budget
/// it waits for ([`QueueTicket::asks`]).
pub fn slot_requests(
    budget_set: &BudgetSet,
    requester: &Requester,
    ticket: Option<&QueueTicket>,
    now: Timestamp,
) -> Option<SlotRequests> {
    let mut slot_requests = SlotRequests::new();
    for budget in budget_set.iter() {
        let mut inner = lock(&budget.inner);
        let inner = &mut *inner;
        let free = inner.free(now);
        let is_closed = match ticket {
            None => inner.queue.is_closed(inner.goes_first(requester)),
            Some(ticket) => !ticket.id_at(budget).is_some_and(|id| inner.queue.is_next(id)),
        };
        if is_closed || inner.by_vendor_limit(now) == 0 {
            return None;
        }
        // Lets go of what is over, so that the vendor's word is not compared with calls of long ago.
        inner.free_in_store(now);
        let (kept, shared) = (inner.kept_from_taker(requester, now), inner.shared.as_ref()?);
        slot_requests.push(SlotRequest {
            key: Arc::clone(&shared.key),
            limit: shared.limit,
            own: inner.rule.limit,
            window: inner.rule.length,
            spare: free > kept.now,
        });
    }
    slot_requests.iter().any(|want| want.limit > 0).then_some(slot_requests)
}

/// Keeps what the store said about each budget; nothing: it is away, and nobody knows.
pub fn apply_store_status(budget_set: &BudgetSet, statuses: &[StoreStatus]) {
    for (place, budget) in budget_set.iter().enumerate() {
        if let Some(shared) = &mut lock(&budget.inner).shared {
            shared.heard = statuses.get(place).copied();
        }
    }
}
