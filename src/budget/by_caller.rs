//! Counts by caller, for the status page, and the callers that anything in the budgets still refers to.

use std::collections::{BTreeMap, HashSet};

use super::{Budget, BudgetState, Budgets, CallerNumber, Timestamp, lock};

/// Calls of one caller on one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls that were answered or given up and still hold a slot.
    pub window: u32,
    /// Calls in the last hour.
    pub hour: u32,
}

impl Budget {
    /// Calls by caller number, for callers with a call in the last hour or a slot still held after its answer.
    pub fn by_caller(&self, now: Timestamp) -> BTreeMap<CallerNumber, Calls> {
        let mut inner = lock(&self.inner);
        inner.free_by_window(now);
        inner.free_in_store(now);
        let BudgetState { window, shared, hourly_counts, .. } = &mut *inner;
        let mut calls: BTreeMap<CallerNumber, Calls> = BTreeMap::new();
        let in_store = shared.iter().flat_map(|shared| shared.window.callers());
        for caller in window.callers().chain(in_store) {
            calls.entry(caller).or_default().window += 1;
        }
        for (caller, hour) in hourly_counts.last_hour(now) {
            calls.entry(caller).or_default().hour = hour;
        }
        calls
    }
}

impl Budgets {
    /// The callers that hold a slot after their call ended, or had a call in the last hour.
    pub fn callers(&self, now: Timestamp) -> HashSet<CallerNumber> {
        // The budgets are looked at one after the other, without the lock that a new one needs.
        let all: Vec<_> = lock(&self.by_key).values().cloned().collect();
        all.into_iter().flat_map(|budget| budget.by_caller(now).into_keys()).collect()
    }
}
