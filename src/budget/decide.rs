//! The decision: slots free, then the caller's quota, then pacing; all of it taken together, or nothing, or a turn
//! to wait for.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use smallvec::SmallVec;

use super::exhausted::Exhausted;
use super::pace::Pace;
use super::permit::{Paid, Permit};
use super::queue::Precedence;
use super::reserve::KeptSlots;
use super::shared::{GrantedMask, SlotLocation};
use super::ticket::QueueTicket;
use super::timestamp::Timestamp;
use super::{Budget, BudgetSet, BudgetState, Quota, QuotaInner, lock};

/// Who asks for a slot.
#[derive(Clone)]
pub struct Requester {
    /// The caller's number: its line in a queue, and its row on the status page.
    pub caller: u16,
    /// Its share of turns when several callers wait.
    pub weight: u32,
    /// Its share of the budgets, if it has one.
    pub quota: Option<Arc<Quota>>,
    /// Whether it waits for its turn.
    pub precedence: Precedence,
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub enum WaitLimit {
    /// Not at all.
    None,
    /// Until then.
    Until(Timestamp),
}

/// What became of a call that asked.
pub enum Decision {
    /// It has its slots.
    Paid(Permit),
    /// It waits: look again when the bell rings, or at this moment if there is one.
    Wait {
        /// Its place, which it loses when this is dropped.
        ticket: Box<QueueTicket>,
        /// When a slot frees for it by itself; `None` while others are before it.
        look_at: Option<Timestamp>,
    },
    /// It cannot be served in time.
    Refused(Exhausted),
}

/// Takes a slot in every budget of `budget_set` and the caller's share of one call, or nothing at all; nobody waits.
#[inline]
pub fn take(budget_set: &BudgetSet, requester: &Requester, now: Timestamp) -> Result<Permit, Exhausted> {
    let mut held = Held::lock(budget_set, requester);
    let granted = GrantedMask::default();
    match held.ask(granted, now) {
        Ok(()) => Ok(held.take(granted)),
        Err(blocked) => Err(held.refuse(blocked, now)),
    }
}

/// Decides over one call; `ticket` is its place so far. A refusal costs neither slot nor share.
#[inline]
pub fn decide(
    budget_set: &BudgetSet,
    requester: &Requester,
    now: Timestamp,
    ticket: Option<Box<QueueTicket>>,
    wait_limit: WaitLimit,
) -> Decision {
    decide_with(budget_set, requester, now, ticket, (wait_limit, GrantedMask::default()))
}

/// Decides over one call that has its slot in some budgets from the store already: for a newcomer, of all it draws
/// on; for one that waits, of the budget it waits for ([`QueueTicket::asks`]).
#[inline]
pub fn decide_with(
    budget_set: &BudgetSet,
    requester: &Requester,
    now: Timestamp,
    ticket: Option<Box<QueueTicket>>,
    (wait_limit, granted): (WaitLimit, GrantedMask),
) -> Decision {
    let mut held = Held::lock(budget_set, requester);
    let (ticket, granted) = match ticket {
        Some(ticket) => (ticket, granted),
        None => match (held.ask(granted, now), wait_limit) {
            (Ok(()), _) => return Decision::Paid(held.take(granted)),
            (Err(blocked), WaitLimit::None) => return Decision::Refused(held.refuse(blocked, now)),
            (Err(blocked), WaitLimit::Until(until)) => match held.line_up(now, until) {
                Some(ticket) => (ticket, GrantedMask::default()),
                None => return Decision::Refused(held.refuse(blocked, now)),
            },
        },
    };
    held.go_on(ticket, granted, (now, wait_limit))
}

impl BudgetState {
    /// Why a call cannot pass; `others` are before it.
    #[cold]
    pub(super) fn blocked(&mut self, others: bool, kept: KeptSlots, now: Timestamp) -> Exhausted {
        let nth = if others { self.queue.len() + 1 } else { 1 };
        let wait = self.until_free_beside(now, nth, kept.at_most, kept.lent_in);
        self.exhausted(now, wait)
    }

    /// What is out of reach for a call because it is kept for others.
    pub(super) fn kept_from_taker(&self, requester: &Requester, now: Timestamp) -> KeptSlots {
        match requester.precedence {
            Precedence::First => KeptSlots::default(),
            Precedence::InTurn => self.kept_from(requester.caller, now),
        }
    }

    /// Whether a call goes before those whose reserve is met.
    pub(super) fn goes_first(&self, requester: &Requester) -> bool {
        requester.precedence == Precedence::First || self.reserves.owes(requester.caller)
    }
}

type LockedBudget = (&'static Budget, MutexGuard<'static, BudgetState>);

/// Everything one decision is about, locked.
pub(super) struct Held<'b> {
    pub(super) requester: &'b Requester,
    /// In the order in which calls pass them.
    pub(super) budgets: SmallVec<[LockedBudget; 1]>,
    pub(super) quota: Option<(&'b Arc<Quota>, MutexGuard<'b, QuotaInner>)>,
}

impl<'b> Held<'b> {
    fn lock(budget_set: &BudgetSet, requester: &'b Requester) -> Self {
        let lock_one = |budget: &'static Budget| (budget, lock(&budget.inner));
        let budgets = match budget_set.0.as_slice() {
            [only] => SmallVec::from_buf([lock_one(only)]),
            all => all.iter().copied().map(lock_one).collect(),
        };
        let quota = requester.quota.as_ref().map(|quota| (quota, lock(&quota.inner)));
        Self { requester, budgets, quota }
    }

    /// Asks slots, quota and pacing in this order, for a newcomer; takes the share of quota and pacing only if all
    /// agree.
    ///
    /// A slot that was granted was asked for while nobody waited before the call: only the vendor's word is left to ask.
    fn ask(&mut self, granted: GrantedMask, now: Timestamp) -> Result<(), Exhausted> {
        let mut full: Option<Exhausted> = None;
        for (place, (_, inner)) in self.budgets.iter_mut().enumerate() {
            let free = inner.free(now);
            inner.reserve(|reserves| reserves.asks(self.requester.caller, now));
            if granted.place(place) == SlotLocation::Store && inner.by_vendor_limit(now) > 0 {
                continue;
            }
            let kept = inner.kept_from_taker(self.requester, now);
            let others = inner.queue.is_closed(inner.goes_first(self.requester));
            if free <= kept.now || others {
                let blocked = inner.blocked(others, kept, now);
                if full.is_none_or(|full| full.wait() <= blocked.wait()) {
                    full = Some(blocked);
                }
            }
        }
        full.map_or(Ok(()), Err)?;
        if let Some((quota, inner)) = &mut self.quota {
            let others = inner.queue.is_closed(false);
            let taken = if others { Err(inner.pace.until_free(now)) } else { inner.pace.take(now) };
            let before = if others { inner.queue.len() } else { 0 };
            taken.map_err(|opens| quota.exhausted(opens + quota.turns(before)))?;
        }
        self.pace(now).inspect_err(|_| {
            if let Some((_, inner)) = &self.quota {
                inner.pace.refund();
            }
        })
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

    /// Takes the slots of a newcomer.
    fn take(&mut self, granted: GrantedMask) -> Permit {
        let requester = self.requester;
        let pay = |(place, (budget, inner)): (usize, &mut LockedBudget)| {
            inner.pay(budget, granted.place(place), requester)
        };
        // Nearly always one, which then need not be collected through memory.
        let paid = match self.budgets.as_mut_slice() {
            [only] => SmallVec::from_buf([pay((0, only))]),
            all => all.iter_mut().enumerate().map(pay).collect(),
        };
        Permit::new(paid, requester.clone())
    }

    /// A refusal that is true: a lone caller has to pass every gate, and the last one to open tells when.
    #[cold]
    pub(super) fn refuse(&mut self, blocked: Exhausted, now: Timestamp) -> Exhausted {
        let requester = self.requester;
        let kept = self.budgets.iter_mut().map(|(_, inner)| match inner.kept_from_taker(requester, now) {
            KeptSlots { at_most: 0, .. } => Duration::ZERO,
            kept => inner.until_free_beside(now, 1, kept.at_most, kept.lent_in),
        });
        let kept = kept.max().unwrap_or_default();
        let quota = self.quota.iter().map(|(_, inner)| inner.pace.until_free(now));
        let paces = self.budgets.iter().map(|(_, inner)| inner.until_paced(now));
        blocked.at_least(quota.chain(paces).max().unwrap_or_default().max(kept))
    }
}

impl BudgetState {
    /// Until pacing lets a call pass; zero if it does now.
    pub(super) fn until_paced(&self, now: Timestamp) -> Duration {
        self.pace.as_ref().map_or(Duration::ZERO, |pace| pace.until_free(now))
    }

    /// Takes a slot that is free.
    pub(super) fn pay(
        &mut self,
        budget: &'static Budget,
        place: SlotLocation,
        requester: &Requester,
    ) -> Paid {
        self.window_of(place).take();
        self.dispatched += 1;
        self.reserve_at(place, |reserves| reserves.took(requester.caller));
        Paid { budget, call: self.dispatched, place }
    }
}
