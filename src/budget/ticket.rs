//! The places of a waiting call: in the queues of its caller's quota and of its budgets.

use std::ptr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::permit::Permit;
use super::queue::{Class, Queue, TurnAction, Wakeup};
use super::{Budget, BudgetSet, Quota, lock};

/// The places of one waiting call in its queues, and the slots it has set aside. Dropping the ticket gives up both and
/// wakes the next waiters.
pub struct QueueTicket {
    pub(super) wakeup: Arc<Wakeup>,
    /// The gates still to pass, the next one first.
    pub(super) pending: SmallVec<[PendingGate; 2]>,
    pub(super) class: Class,
    /// The slots and the quota taken at the gates it passed.
    pub(super) permit: Option<Permit>,
    /// The budgets in which those slots are set aside.
    pub(super) aside: SmallVec<[Arc<Budget>; 2]>,
}

/// A gate that a call still has to pass, and the call's number in the queue there.
pub(super) struct PendingGate {
    pub(super) gate: Gate,
    pub(super) id: u64,
}

pub(super) enum Gate {
    Quota(Arc<Quota>),
    Budget(Arc<Budget>),
}

impl QueueTicket {
    /// The wake-up that is ready when a new decision is worthwhile.
    pub fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    /// The budget that the call waits for; empty while it waits for its caller's quota.
    pub fn awaited_budget(&self) -> BudgetSet {
        BudgetSet(self.next_budget().into_iter().cloned().collect())
    }

    /// Number of gates still to pass.
    pub fn gates(&self) -> usize {
        self.pending.len()
    }

    fn next_budget(&self) -> Option<&Arc<Budget>> {
        match self.pending.first() {
            Some(PendingGate { gate: Gate::Budget(budget), .. }) => Some(budget),
            _ => None,
        }
    }

    /// The call's number in the queue of `budget`, if that is the gate it waits for.
    pub(super) fn id_at(&self, budget: &Budget) -> Option<u64> {
        let pending = self
            .pending
            .first()
            .filter(|_| self.next_budget().is_some_and(|next| ptr::eq(&raw const **next, budget)));
        pending.map(|pending| pending.id)
    }

    /// The action at the next gate once the call is next there.
    pub(super) fn action(&self) -> TurnAction {
        match self.pending.as_slice() {
            [_] | [PendingGate { gate: Gate::Quota(_), .. }, ..] => TurnAction::Proceed,
            _ => TurnAction::SetAside(self.class),
        }
    }
}

impl Drop for QueueTicket {
    fn drop(&mut self) {
        for PendingGate { gate, id } in &self.pending {
            let leave = |queue: &mut Queue| {
                queue.leave(*id);
                queue.wake_head();
            };
            match gate {
                Gate::Budget(budget) => leave(&mut lock(&budget.inner).queue),
                Gate::Quota(quota) => leave(&mut lock(&quota.inner).queue),
            }
        }
        for budget in &self.aside {
            lock(&budget.inner).queue.put_back(self.class);
        }
        // The permit is dropped after this: it gives its slots back and wakes the waiters that are next.
    }
}
