//! The part of a budget that replicas share, and the store's last status about it.
//!
//! The store decides which slots are taken there. This module counts this replica's own calls among them, so that the
//! vendor's rate headers, the status page and the hourly counts include them.

use std::sync::Arc;
use std::time::Duration;

use super::own_parts::OwnParts;
use super::reserve::Reserves;
use super::window::{Estimate, Window, WindowRule};
use super::{BudgetSet, BudgetState, Timestamp, lock};
use crate::config::{BudgetLimit, Shares, VendorKey};
use crate::operation::BudgetName;

/// The waiting time in a refusal where the store did not answer and this replica has no part of its own. It is not
/// known when the store will answer again, and most often it does at once.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// The shared part of one budget.
pub(super) struct Shared {
    pub(super) key: Arc<str>,
    /// The key of the calls that wait for a slot in the store.
    pub(super) waiting_key: Arc<str>,
    shares: Shares,
    pub(super) own_parts: Arc<OwnParts>,
    /// This replica's own part of the limit.
    pub(super) own: u32,
    /// Whether the own part may be used.
    pub(super) own_is_open: bool,
    /// Slots in the store, for all replicas together.
    pub(super) limit: u32,
    /// This replica's calls in those slots.
    pub(super) window: Window,
    last_status: Option<StoreStatus>,
}

/// The store's answer about one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Slots of the shared part that can be taken now.
    pub free: u32,
    /// The latest time at which one more slot can be taken.
    pub next: Timestamp,
    /// Whether nothing is granted before `next`, because the store lost its former counts.
    pub held_back: bool,
}

/// The place where a call has its slot in one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotLocation {
    /// In this replica's own part.
    Here,
    /// In the part that the store keeps.
    Store,
}

/// The budgets of a [`BudgetSet`] for which the store granted a slot: one bit for each position in the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantedMask(u8);

impl GrantedMask {
    /// Adds the budget at a position.
    pub fn add(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    /// The place where the budget at a position has its slot.
    pub(super) fn place(self, place: usize) -> SlotLocation {
        if self.0 >> place & 1 == 1 { SlotLocation::Store } else { SlotLocation::Here }
    }

    /// Whether the store granted no slot.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Shared {
    pub(super) fn new(
        vendor_key: &VendorKey,
        name: BudgetName,
        limit: BudgetLimit,
        (shares, own_parts): (Shares, &Arc<OwnParts>),
    ) -> Self {
        // The braces keep the budgets of one key together where a store is spread over several servers.
        let key = format!("jpush-gateway:{{{}}}:{}", vendor_key.as_str(), name.as_str());
        Self {
            waiting_key: format!("{key}:waiting").into(),
            key: key.into(),
            shares,
            own_parts: Arc::clone(own_parts),
            own: shares.own_part(limit.limit),
            own_is_open: false,
            limit: shares.shared_part(limit.limit),
            window: Window::default(),
            last_status: None,
        }
    }

    /// Applies a new limit.
    pub(super) fn resize(&mut self, limit: BudgetLimit) {
        self.limit = self.shares.shared_part(limit.limit);
        self.own = self.shares.own_part(limit.limit);
    }

    /// The slots of the own part that may be used.
    pub(super) fn own_limit(&self) -> u32 {
        if self.own_is_open { self.own } else { 0 }
    }

    /// Whether the store was asked for a slot and answered.
    pub(super) fn was_asked(&self) -> bool {
        self.last_status.is_some()
    }

    /// Free slots of the shared part according to the store's last status.
    pub(super) fn free(&self) -> u32 {
        self.last_status.map_or(0, |statuses| statuses.free)
    }

    /// Whether the last request to the store failed.
    pub(super) fn is_away(&self) -> bool {
        self.limit > 0 && self.last_status.is_none()
    }

    /// Whether the store grants nothing yet, according to its last status.
    pub(super) fn holds_back(&self, now: Timestamp) -> bool {
        self.last_status.is_some_and(|statuses| statuses.held_back && now < statuses.next)
    }

    /// The latest time until `nth` slots of the shared part can be taken; `None` if it is unknown and this replica has
    /// a part of its own.
    pub(super) fn until_free(&self, rule: &WindowRule, now: Timestamp, nth: usize) -> Option<Duration> {
        let Some(statuses) = self.last_status else { return wait_without_store(rule) };
        Some(match nth.saturating_sub(statuses.free as usize) {
            0 => Duration::ZERO,
            1 => statuses.next.since(now),
            _ => statuses.next.since(now) + rule.longest(),
        })
    }

    /// The soonest time until `nth` slots of the shared part can be taken: answers can shorten the holds of calls in
    /// flight.
    pub(super) fn soonest(&self, rule: &WindowRule, now: Timestamp, nth: usize) -> Option<Duration> {
        let Some(statuses) = self.last_status else { return wait_without_store(rule) };
        if nth <= statuses.free as usize {
            Some(Duration::ZERO)
        } else {
            Some(statuses.next.since(now).min(rule.length))
        }
    }
}

fn wait_without_store(rule: &WindowRule) -> Option<Duration> {
    (rule.limit == 0).then_some(RETRY_WAIT)
}

impl BudgetState {
    /// Slots in use by this process, as of the last decision.
    pub(super) fn used(&self) -> u32 {
        self.window.used() + self.shared.as_ref().map_or(0, |shared| shared.window.used())
    }

    /// Free slots of the shared part according to the store's last status. Also drops this replica's calls that no
    /// longer hold a slot there.
    pub(super) fn free_in_store(&mut self, now: Timestamp) -> u32 {
        let Some(shared) = &mut self.shared else { return 0 };
        shared.window.free(&self.rule, now, |_| {});
        shared.free()
    }

    /// Whether the store had a slot to give when it answered last.
    pub(super) fn has_room_in_store(&self, now: Timestamp) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.free() > 0 && !shared.holds_back(now))
    }

    /// The latest time until one more call can be made than the `remaining` ones, in either part.
    pub(super) fn until_more(&self, now: Timestamp, remaining: usize) -> Duration {
        let own = self.window.until_release(&self.rule, now, 1, Estimate::Latest);
        let in_store = self
            .shared
            .as_ref()
            .and_then(|shared| shared.until_free(&self.rule, now, shared.free() as usize + 1));
        let soonest = in_store.map_or(own, |in_store| in_store.min(own));
        soonest.max(self.until_vendor_limit(now, remaining + 1, Estimate::Latest)).max(Timestamp::TICK)
    }

    /// The window in which calls with a slot in this place are counted.
    pub(super) fn window_of(&mut self, place: SlotLocation) -> &mut Window {
        match (place, &mut self.shared) {
            (SlotLocation::Store, Some(shared)) => &mut shared.window,
            (SlotLocation::Store, None) | (SlotLocation::Here, _) => &mut self.window,
        }
    }

    /// Records a change of an owner's slots. Reserves apply to this replica's own part only.
    pub(super) fn reserve_at(&mut self, place: SlotLocation, change: impl FnOnce(&mut Reserves)) {
        if place == SlotLocation::Here {
            self.reserve(change);
        }
    }
}

/// Stores the answer about each budget; an empty `statuses` means that the store did not answer.
pub fn apply_store_status(budget_set: &BudgetSet, statuses: &[StoreStatus]) {
    for (place, budget) in budget_set.iter().enumerate() {
        if let Some(shared) = &mut lock(&budget.inner).shared {
            shared.last_status = statuses.get(place).copied();
        }
    }
}
