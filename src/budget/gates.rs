//! The gates that a waiting call has to pass: its caller's quota, then its budgets, scarcest first.
//!
//! A call that cannot have everything at once joins the queue of every gate, and then passes the gates one after the
//! other. What it took at a gate it keeps: the slot is set aside while the call waits at the next gate. In the queues
//! further on it keeps its position and lets others go first.
//!
//! *No deadlock:* all calls pass their gates in the same order, and a call with a slot set aside waits only for later
//! gates. So no two calls can wait for each other, and whenever a gate has room, the waiter that is next there passes
//! it. The calls of one class, which have the same budgets, set aside at most the part of a budget that
//! [`Queue::resize`] allows, so that few slots are idle; beyond it the class lets calls of other classes go first. When
//! the gates of a class have room, one of its calls with a slot set aside passes, because all of them have the same
//! gates.
//!
//! *No wasted wake-up:* a slot that becomes free wakes only the waiter that is next at its gate. That waiter takes the
//! slot, or is the only one that could.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::exhausted::Exhausted;
use super::locked_set::LockedSet;
use super::permit::Permit;
use super::queue::{Class, Owner, Queue, TurnAction};
use super::requester::{Requester, WaitLimit};
use super::reserve::KeptSlots;
use super::shared::{GrantedMask, SlotLocation};
use super::ticket::{Gate, PendingGate, QueueTicket};
use super::timestamp::Timestamp;
use super::window::Estimate;
use super::{Budget, BudgetState};

/// The result of a decision.
pub enum Decision {
    /// The call has its slots.
    Paid(Permit),
    /// The call has to wait. Decide again when the ticket's [`QueueTicket::wakeup`] is ready, or at `look_at`.
    Wait {
        /// The call's places in the queues; dropping the ticket gives them up.
        ticket: Box<QueueTicket>,
        /// The time at which a slot becomes free without a wake-up; `None` while others are before the call.
        look_at: Option<Timestamp>,
    },
    /// The call cannot be served within its wait limit.
    Refused(Exhausted),
}

impl LockedSet<'_> {
    /// Adds a new call to the queue of every gate; `None` if a gate cannot let it pass before `until`, or if a queue is
    /// full.
    #[cold]
    pub(super) fn join_queues(&mut self, now: Timestamp, until: Timestamp) -> Option<Box<QueueTicket>> {
        if now >= until || now + self.soonest_for_newcomer(now) > until {
            return None;
        }
        let wakeup = Arc::default();
        // `TurnAction::Skip` keeps the call from being next at any gate; `update_action` below changes that for the first
        // gate.
        let (mut pending, mut has_room) = (SmallVec::new(), true);
        let owner = owner(self.requester);
        if let Some((quota, inner)) = &mut self.quota {
            let id = inner.queue.join(owner, false, &wakeup, TurnAction::Skip);
            has_room &= id.is_some();
            pending.extend(id.map(|id| PendingGate { gate: Gate::Quota(Arc::clone(quota)), id }));
        }
        for (budget, inner) in &mut self.budgets {
            let first = inner.goes_first(self.requester);
            let id = inner.queue.join(owner, first, &wakeup, TurnAction::Skip);
            has_room &= id.is_some();
            pending.extend(id.map(|id| PendingGate { gate: Gate::Budget(Arc::clone(budget)), id }));
        }
        if !has_room {
            pending.iter().for_each(|PendingGate { gate, id }| self.queue(gate).leave(*id));
            return None;
        }
        let permit = Some(Permit::nothing(self.requester));
        let ticket =
            Box::new(QueueTicket { wakeup, pending, class: self.class(), permit, aside: SmallVec::new() });
        self.update_action(&ticket);
        Some(ticket)
    }

    fn class(&self) -> Class {
        let caller = self.requester.caller;
        let budgets = self.budgets.iter().fold(0, |bits, (budget, _)| bits | 1 << budget.name as u8);
        let is_owner = self.budgets.iter().any(|(_, inner)| inner.reserves.has(caller));
        Class { budgets, owner: is_owner.then_some(caller) }
    }

    /// Updates the class of a ticket: a reload can have changed the callers that have a reserve.
    fn classify(&mut self, ticket: &mut QueueTicket) {
        let class = self.class();
        if class != ticket.class {
            for budget in &ticket.aside {
                let queue = &mut self.inner(budget).queue;
                queue.put_back(ticket.class);
                queue.set_aside(class);
            }
            ticket.class = class;
            self.update_action(ticket);
        }
    }

    /// Passes every gate that is open and returns the resulting decision.
    pub(super) fn advance(
        mut self,
        mut ticket: Box<QueueTicket>,
        granted: GrantedMask,
        (now, wait_limit): (Timestamp, WaitLimit),
    ) -> Decision {
        let caller = self.requester.caller;
        for (_, inner) in &mut self.budgets {
            inner.reserve(|reserves| reserves.asked(caller, now));
        }
        self.classify(&mut ticket);
        let mut place = granted.place(0);
        while !ticket.pending.is_empty() && self.pass(&mut ticket, place, now) {
            ticket.pending.remove(0);
            self.update_action(&ticket);
            // The store granted at most the slot of the first pending budget.
            place = SlotLocation::Here;
        }
        // A reload can have lowered a limit since a slot was set aside. Then the call must not be dispatched.
        let is_over = ticket.aside.iter().any(|budget| self.inner(budget).is_over());
        if ticket.pending.is_empty() && !is_over {
            return Decision::Paid(self.done(&mut ticket));
        }
        let decision = match wait_limit {
            WaitLimit::Until(until) if now < until && !is_over && !ticket.wakeup.evicted() => {
                self.keep_waiting(&ticket, now, until)
            }
            WaitLimit::Until(_) | WaitLimit::None => Err(self.refusal(&ticket, now)),
        };
        // Dropping the ticket takes the locks that `self` holds, so `self` is dropped first.
        drop(self);
        match decision {
            Ok(look_at) => Decision::Wait { ticket, look_at },
            Err(exhausted) => Decision::Refused(exhausted),
        }
    }

    /// Completes a call that passed all gates: its slots are no longer set aside.
    fn done(&mut self, ticket: &mut QueueTicket) -> Permit {
        for budget in ticket.aside.drain(..) {
            let queue = &mut self.inner(&budget).queue;
            queue.put_back(ticket.class);
            queue.wake_head();
        }
        ticket.permit.take().expect("the ticket holds a permit until it is done")
    }

    /// Passes the next gate if it is open.
    fn pass(&mut self, ticket: &mut QueueTicket, place: SlotLocation, now: Timestamp) -> bool {
        let (action, class, requester) = (ticket.action(), ticket.class, self.requester);
        let (Some(PendingGate { gate, id }), Some(permit)) = (ticket.pending.first(), &mut ticket.permit)
        else {
            return false;
        };
        let budget = match gate {
            Gate::Quota(quota) => {
                let Some((_, inner)) = &mut self.quota else { return false };
                let passes = inner.queue.is_next(*id) && inner.take(now).is_ok();
                if passes {
                    inner.queue.served(*id);
                    inner.queue.wake_head();
                    permit.add_share(quota);
                }
                return passes;
            }
            Gate::Budget(budget) => Arc::clone(budget),
        };
        let inner = self.inner(&budget);
        let free = inner.free(now);
        let is_open = match place {
            SlotLocation::Store => inner.by_vendor_limit(now) > 0,
            SlotLocation::Here => {
                free > inner.kept_from_requester(requester, now).now && inner.queue.is_next(*id)
            }
        };
        // Pacing is asked last, because asking it takes one call.
        let passes = is_open && inner.pace.as_ref().is_none_or(|pace| pace.take(now).is_ok());
        if passes {
            inner.queue.served(*id);
            if action != TurnAction::Proceed {
                inner.queue.set_aside(class);
                ticket.aside.push(Arc::clone(&budget));
            }
            permit.add(inner.pay(&budget, place, requester, now));
            inner.queue.wake_head();
        }
        passes
    }

    /// The time of the next look without a wake-up (`None`: only a wake-up helps), or the refusal if waiting is
    /// pointless.
    fn keep_waiting(
        &mut self,
        ticket: &QueueTicket,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, Exhausted> {
        let PendingGate { gate, id } = &ticket.pending[0];
        let is_next = self.queue(gate).is_next(*id);
        // The call needs all of its gates, so the one that opens last decides whether waiting is worthwhile.
        let further = ticket.pending[1..].iter().map(|pending| self.soonest(&pending.gate, now, 0)).max();
        let soonest = self.soonest(gate, now, usize::from(!is_next)).max(further.unwrap_or_default());
        if now + soonest > until {
            return Err(self.refusal(ticket, now));
        }
        if !is_next {
            // A reserve can have put another waiter first that has not been woken yet.
            self.queue(gate).wake_head();
            return Ok(None);
        }
        Ok(Some((now + self.opens(gate, now)).min(until)))
    }

    /// The latest time until a gate opens for the waiter that is next there.
    fn opens(&mut self, gate: &Gate, now: Timestamp) -> Duration {
        let requester = self.requester;
        match gate {
            Gate::Quota(_) => {
                self.quota.as_mut().map_or(Timestamp::TICK, |(_, inner)| inner.until_free(now, 0))
            }
            Gate::Budget(budget) => {
                let inner = self.inner(budget);
                let kept = inner.kept_from_requester(requester, now);
                let free = inner.until_free_beside(now, 1, kept.now, kept.lent_in);
                // The reserved slots change when they are lent and when a slot of their owner is released, so look
                // again at the first of these.
                let lent = kept.first_lent_in.map(|lent| lent + Timestamp::TICK);
                let freed = lent.map(|_| inner.window.until_release(&inner.rule, now, 1, Estimate::Latest));
                [lent, freed].into_iter().flatten().fold(free, Duration::min).max(inner.until_paced(now))
            }
        }
    }

    /// The soonest time until a call with `before` others before it could pass a gate, if every call in flight were
    /// answered now.
    fn soonest(&mut self, gate: &Gate, now: Timestamp, before: usize) -> Duration {
        let paced = |wait| if before == 0 { wait } else { Duration::ZERO };
        match gate {
            Gate::Quota(_) => {
                self.quota.as_mut().map_or(Duration::ZERO, |(_, inner)| inner.soonest(now, before))
            }
            Gate::Budget(budget) => {
                let inner = self.inner(budget);
                inner.until_free(now, before + 1, Estimate::Soonest).max(paced(inner.until_paced(now)))
            }
        }
    }

    fn soonest_for_newcomer(&mut self, now: Timestamp) -> Duration {
        let owner = owner(self.requester);
        let quota = self
            .quota
            .as_ref()
            .map(|(quota, inner)| (Gate::Quota(Arc::clone(quota)), inner.queue.ahead_of(owner, false)));
        let budgets = self.budgets.iter().map(|(budget, inner)| {
            (Gate::Budget(Arc::clone(budget)), inner.queue.ahead_of(owner, inner.goes_first(self.requester)))
        });
        let gates: SmallVec<[(Gate, usize); 2]> = quota.into_iter().chain(budgets).collect();
        gates.iter().map(|(gate, before)| self.soonest(gate, now, *before)).max().unwrap_or_default()
    }

    /// The reason for refusing a call that waited: a budget without a slot, or else the caller's quota.
    #[cold]
    fn refusal(&mut self, ticket: &QueueTicket, now: Timestamp) -> Exhausted {
        let requester = self.requester;
        let mut full: Option<Exhausted> = None;
        for (place, PendingGate { gate, id }) in ticket.pending.iter().enumerate() {
            let Gate::Budget(budget) = gate else { continue };
            let inner = self.inner(budget);
            let kept = inner.kept_from_requester(requester, now);
            let others = match place {
                0 => !inner.queue.is_next(*id),
                _ => inner.queue.is_closed(inner.goes_first(requester)),
            };
            let is_shut = inner.free(now) <= kept.now || others || !inner.until_paced(now).is_zero();
            let blocked = inner.blocked(others, kept, now);
            if is_shut && full.is_none_or(|full| full.wait() <= blocked.wait()) {
                full = Some(blocked);
            }
        }
        let quota = || {
            let (quota, inner) = self.quota.as_mut()?;
            let before = inner.queue.len().saturating_sub(1);
            Some(quota.exhausted(inner.until_free(now, before)))
        };
        let blocked = full.or_else(quota).unwrap_or_else(|| {
            let (_, inner) = self.budgets.first_mut().expect("a call that waits draws on a budget");
            inner.blocked(true, KeptSlots::default(), now)
        });
        self.refuse(blocked, now)
    }

    fn update_action(&mut self, ticket: &QueueTicket) {
        if let Some(PendingGate { gate, id }) = ticket.pending.first() {
            self.queue(gate).set_action(*id, ticket.action());
        }
    }

    fn queue(&mut self, gate: &Gate) -> &mut Queue {
        match gate {
            Gate::Budget(budget) => &mut self.inner(budget).queue,
            Gate::Quota(_) => &mut self.quota.as_mut().expect("a call waits only at its own gates").1.queue,
        }
    }

    fn inner(&mut self, budget: &Budget) -> &mut BudgetState {
        let locked = self.budgets.iter_mut().find(|(locked, _)| ptr::eq(&raw const ***locked, budget));
        &mut locked.expect("a call waits only at its own gates").1
    }
}

fn owner(requester: &Requester) -> Owner {
    let Requester { caller, hash, weight, precedence, .. } = requester;
    Owner { caller: *caller, hash: *hash, precedence: *precedence, weight: *weight }
}
