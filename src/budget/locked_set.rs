//! The budgets and the quota that one decision reads and changes, locked together, and the decision on a new call.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use smallvec::SmallVec;

use super::exhausted::Exhausted;
use super::pace::Pace;
use super::permit::{Paid, Permit};
use super::queue::Precedence;
use super::requester::Requester;
use super::reserve::KeptSlots;
use super::shared::{GrantedMask, SlotLocation};
use super::timestamp::Timestamp;
use super::{Budget, BudgetSet, BudgetState, Quota, QuotaInner, lock};

type LockedBudget<'b> = (&'b Arc<Budget>, MutexGuard<'b, BudgetState>);

/// The state that one decision reads and changes, all of it locked until the decision is made.
pub(super) struct LockedSet<'b> {
    pub(super) requester: &'b Requester,
    /// In the order in which calls pass them.
    pub(super) budgets: SmallVec<[LockedBudget<'b>; 1]>,
    pub(super) quota: Option<(&'b Arc<Quota>, MutexGuard<'b, QuotaInner>)>,
}

impl<'b> LockedSet<'b> {
    pub(super) fn lock(budget_set: &'b BudgetSet, requester: &'b Requester) -> Self {
        // All locks are taken before anything is read, so that a decision sees and changes one consistent state. The
        // order is that of the set, with the quota last, so that two decisions cannot deadlock.
        let lock_one = |budget: &'b Arc<Budget>| (budget, lock(&budget.inner));
        let budgets = match budget_set.0.as_slice() {
            [only] => SmallVec::from_buf([lock_one(only)]),
            all => all.iter().map(lock_one).collect(),
        };
        let quota = requester.quota.as_ref().map(|quota| (quota, lock(&quota.inner)));
        Self { requester, budgets, quota }
    }

    /// Checks a new call against slots, quota and pacing, in this order. Quota and pacing are taken only if all of them
    /// agree; slots are left for [`Self::take`].
    pub(super) fn ask(&mut self, granted: GrantedMask, now: Timestamp) -> Result<(), Exhausted> {
        let (mut full, mut unasked): (Option<Exhausted>, Option<Exhausted>) = (None, None);
        for (place, (_, inner)) in self.budgets.iter_mut().enumerate() {
            let free = inner.free(now);
            inner.reserve(|reserves| reserves.asked(self.requester.caller, now));
            // The store grants slots only while nobody waits before the call, so only the vendor's limit is left to check.
            if granted.place(place) == SlotLocation::Store && inner.by_vendor_limit(now) > 0 {
                continue;
            }
            let kept = inner.kept_from_requester(self.requester, now);
            let others = inner.queue.is_closed(inner.goes_first(self.requester));
            if free <= kept.now || others {
                let blocked = inner.blocked(others, kept, now);
                // The call needs a slot in every budget, so the refusal names the budget with the longest wait.
                let cause = if !others && inner.has_room_in_store(now) { &mut unasked } else { &mut full };
                if cause.is_none_or(|known| known.wait() <= blocked.wait()) {
                    *cause = Some(blocked);
                }
            }
        }
        full.map_or(Ok(()), Err)?;
        if let Some((quota, inner)) = &mut self.quota {
            // Waiting calls of the caller come before a new one, so it must not take their quota.
            let others = inner.queue.is_closed(false);
            let wait = if others {
                let before = inner.queue.len();
                Some(inner.until_free(now, before))
            } else if unasked.is_some() {
                // Looked at, and not taken: the call is refused in any case.
                Some(inner.until_free(now, 0)).filter(|wait| !wait.is_zero())
            } else {
                inner.take(now).err()
            };
            wait.map_or(Ok(()), |wait| Err(quota.exhausted(wait)))?;
        }
        // The store has room, but it was not asked, or gave the slot to another replica.
        unasked.map_or(Ok(()), Err)?;
        let paced = self.pace(now);
        // The quota is taken already; a call that pacing refuses must not cost it.
        if let (Err(_), Some((_, inner))) = (&paced, &mut self.quota) {
            inner.refund();
        }
        paced
    }

    fn pace(&self, now: Timestamp) -> Result<(), Exhausted> {
        let mut taken: Vec<&Pace> = Vec::new();
        for (_, inner) in &self.budgets {
            let Some(pace) = &inner.pace else { continue };
            if let Err(wait) = pace.take(now) {
                taken.into_iter().for_each(Pace::refund);
                return Err(inner.exhausted(now, wait));
            }
            taken.push(pace);
        }
        Ok(())
    }

    /// Takes the slots of a new call.
    pub(super) fn take(&mut self, granted: GrantedMask, now: Timestamp) -> Permit {
        let requester = self.requester;
        let pay = |(place, (budget, inner)): (usize, &mut LockedBudget<'_>)| {
            inner.pay(budget, granted.place(place), requester, now)
        };
        // Usually there is one budget; `from_buf` avoids the loop that `collect` compiles to.
        let paid = match self.budgets.as_mut_slice() {
            [only] => SmallVec::from_buf([pay((0, only))]),
            all => all.iter_mut().enumerate().map(pay).collect(),
        };
        Permit::new(paid, requester.clone())
    }

    /// Raises the waiting time of a refusal to the longest of all gates: only then is a lone caller admitted that waits
    /// that long.
    #[cold]
    pub(super) fn refuse(&mut self, blocked: Exhausted, now: Timestamp) -> Exhausted {
        let requester = self.requester;
        let kept =
            self.budgets.iter_mut().map(|(_, inner)| match inner.kept_from_requester(requester, now) {
                KeptSlots { at_most: 0, .. } => Duration::ZERO,
                kept => inner.until_free_beside(now, 1, kept.at_most, kept.lent_in),
            });
        let kept = kept.max().unwrap_or_default();
        let quota = self.quota.iter_mut().map(|(_, inner)| inner.until_free(now, 0));
        let paces = self.budgets.iter().map(|(_, inner)| inner.until_paced(now));
        blocked.at_least(quota.chain(paces).max().unwrap_or_default().max(kept))
    }
}

impl BudgetState {
    /// The refusal of a call by this budget; `others`: waiting calls are before it.
    #[cold]
    pub(super) fn blocked(&mut self, others: bool, kept: KeptSlots, now: Timestamp) -> Exhausted {
        // Every waiter before the call needs a slot first.
        let nth = if others { self.queue.len() + 1 } else { 1 };
        let wait = self.until_free_beside(now, nth, kept.at_most, kept.lent_in);
        self.exhausted(now, wait)
    }

    /// The slots that the call cannot have because they are reserved for other callers.
    pub(super) fn kept_from_requester(&self, requester: &Requester, now: Timestamp) -> KeptSlots {
        match requester.precedence {
            Precedence::First => KeptSlots::default(),
            Precedence::InTurn => self.kept_from(requester.caller, now),
        }
    }

    /// Whether the call goes before callers whose reserve is met.
    pub(super) fn goes_first(&self, requester: &Requester) -> bool {
        requester.precedence == Precedence::First || self.reserves.is_unmet(requester.caller)
    }

    /// Time until pacing lets a call pass; zero if it does now.
    pub(super) fn until_paced(&self, now: Timestamp) -> Duration {
        self.pace.as_ref().map_or(Duration::ZERO, |pace| pace.until_free(now))
    }

    /// Takes a slot that the caller has seen to be free.
    pub(super) fn pay(
        &mut self,
        budget: &Arc<Budget>,
        place: SlotLocation,
        requester: &Requester,
        now: Timestamp,
    ) -> Paid {
        self.window_of(place).take();
        let used = self.used();
        self.peaks.took(used, now);
        self.dispatched += 1;
        self.unanswered.begin(self.dispatched);
        self.reserve_at(place, |reserves| reserves.took(requester.caller));
        Paid { budget: Arc::clone(budget), call: self.dispatched, place }
    }
}
