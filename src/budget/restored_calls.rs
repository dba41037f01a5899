//! What a former process left of its budgets: the ends of its calls, kept until a budget asks for its own.

use std::collections::HashMap;
use std::time::Duration;

use super::timestamp::Timestamp;
use super::vendor_limit::VendorLimit;
use super::{Budget, BudgetState, Budgets, lock};
use crate::config::VendorKey;
use crate::operation::BudgetName;

/// Which budget, in eight bytes that stay the same over processes and versions: FNV-1a of key and name.
///
/// Two budgets with one identity would count each other's former calls as well, which only holds them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BudgetId(pub u64);

impl BudgetId {
    /// The identity of a key's budget.
    pub fn of(key: &VendorKey, name: BudgetName) -> Self {
        Self(fnv1a([key.as_str(), "\0", name.as_str()].iter().flat_map(|part| part.bytes())))
    }
}

/// The 64-bit hash of Fowler, Noll and Vo: every single changed byte changes it.
pub fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How a call of a former process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The vendor answered then.
    Answered(Timestamp),
    /// It was given up then, or will have been.
    GivenUp(Timestamp),
}

/// The calls of a former process, by budget.
#[derive(Default)]
pub struct RestoredCalls {
    by_budget: HashMap<BudgetId, Vec<Ended>>,
    held_back: Option<Timestamp>,
}

impl RestoredCalls {
    /// Everything that is known, if `held_back` is not set. If it is, calls were made that nobody knows of, all of
    /// them given up by that moment.
    pub fn new(held_back: Option<Timestamp>) -> Self {
        Self { held_back, ..Self::default() }
    }

    /// Adds a call.
    pub fn add(&mut self, budget: BudgetId, ended: Ended) {
        self.by_budget.entry(budget).or_default().push(ended);
    }

    fn give(&mut self, id: BudgetId, inner: &mut BudgetState) {
        if let Some(ends) = self.by_budget.remove(&id) {
            inner.window.restore(&ends);
        }
        // As if all of its calls had been given up at that moment.
        inner.vendor_limit = self
            .held_back
            .map(|at| VendorLimit::nothing_until(at + inner.rule.reach().hold + Timestamp::TICK));
    }
}

impl Budgets {
    /// Takes up what a former process left. Budgets that are opened later get their part then.
    pub fn restore(&self, restored: RestoredCalls) {
        let by_key = lock(&self.by_key);
        let mut kept = lock(&self.restored);
        *kept = restored;
        for budget in by_key.values() {
            kept.give(budget.id, &mut lock(&budget.inner));
        }
    }

    pub(super) fn take_up(&self, id: BudgetId, inner: &mut BudgetState) {
        lock(&self.restored).give(id, inner);
    }
}

/// How long one call can matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLifetime {
    /// How long after its end its slot is held at most.
    pub hold: Duration,
    /// How long an attempt lasts at most.
    pub attempt: Duration,
}

impl Budget {
    /// Its identity over processes.
    pub fn id(&self) -> BudgetId {
        self.id
    }

    /// How long its calls can matter.
    pub fn reach(&self) -> CallLifetime {
        lock(&self.inner).rule.reach()
    }
}
