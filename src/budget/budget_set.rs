//! The budgets of one call.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Budget;

/// The budgets that one call draws on: it takes a slot in all of them or in none. Usually one; a schedule that sends a
/// file push to everybody draws on three.
#[derive(Clone, Default)]
pub struct BudgetSet(pub(super) SmallVec<[Arc<Budget>; 2]>);

impl BudgetSet {
    /// Adds a budget, keeping the order in which locks are taken and calls pass.
    pub fn add(&mut self, budget: Arc<Budget>) {
        let place = self.0.iter().position(|known| budget.order < known.order).unwrap_or(self.0.len());
        self.0.insert(place, budget);
    }

    /// Whether it has no budget.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The budgets in that order.
    pub fn iter(&self) -> impl Iterator<Item = &Budget> {
        self.0.iter().map(|budget| &**budget)
    }
}
