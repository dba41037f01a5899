//! The calls of a former process, kept until the budget that they belong to is opened.

use std::collections::HashMap;
use std::time::Duration;

use super::timestamp::Timestamp;
use super::vendor_limit::VendorLimit;
use super::{Budget, BudgetState, Budgets, lock};
use crate::config::VendorKey;
use crate::operation::BudgetName;

/// The identity of a budget in eight bytes that are the same in every process and version: FNV-1a of key and name.
///
/// Two budgets with the same identity would also count each other's former calls, which can only hold calls back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BudgetId(pub u64);

impl BudgetId {
    /// The identity of the budget with this key and name.
    pub fn of(key: &VendorKey, name: BudgetName) -> Self {
        Self(fnv1a([key.as_str(), "\0", name.as_str()].iter().flat_map(|part| part.bytes())))
    }
}

/// The 64-bit FNV-1a hash. A change of any single byte changes it.
pub fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The way in which a call of a former process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The vendor answered at this time.
    Answered(Timestamp),
    /// The call was given up at this time, which can be in the future.
    GivenUp(Timestamp),
}

/// The calls of a former process, by budget.
#[derive(Default)]
pub struct RestoredCalls {
    by_budget: HashMap<BudgetId, Vec<Ended>>,
    held_back: Option<Timestamp>,
}

impl RestoredCalls {
    /// Creates an empty set. `held_back`: calls were made that are unknown, and all of them will have ended by this
    /// time. `None`: every call is known.
    pub fn new(held_back: Option<Timestamp>) -> Self {
        Self { held_back, ..Self::default() }
    }

    /// Adds one call that `budget` has to count.
    pub fn add(&mut self, budget: BudgetId, ended: Ended) {
        self.by_budget.entry(budget).or_default().push(ended);
    }

    fn give(&mut self, id: BudgetId, inner: &mut BudgetState) {
        if let Some(ends) = self.by_budget.remove(&id) {
            inner.window.restore(&ends);
        }
        // The same as if all calls of the budget had been given up at that time.
        inner.vendor_limit = self
            .held_back
            .map(|at| VendorLimit::nothing_until(at + inner.rule.call_lifetime().hold + Timestamp::TICK));
    }
}

impl Budgets {
    /// Hands the calls of a former process to their budgets. Budgets that are opened later get theirs then.
    pub fn restore(&self, restored: RestoredCalls) {
        let by_key = lock(&self.by_key);
        let mut kept = lock(&self.restored);
        *kept = restored;
        for budget in by_key.values() {
            kept.give(budget.id, &mut lock(&budget.inner));
        }
    }

    pub(super) fn restore_into(&self, id: BudgetId, inner: &mut BudgetState) {
        lock(&self.restored).give(id, inner);
    }
}

/// The longest times for which one call matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLifetime {
    /// The longest time for which a slot is held after the end of its call.
    pub hold: Duration,
    /// The longest that one attempt lasts.
    pub attempt: Duration,
}

impl Budget {
    /// The budget's identity in state files.
    pub fn id(&self) -> BudgetId {
        self.id
    }

    /// The longest times for which a call on this budget matters.
    pub fn call_lifetime(&self) -> CallLifetime {
        lock(&self.inner).rule.call_lifetime()
    }
}
