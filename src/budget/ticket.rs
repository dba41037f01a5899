//! A call that waits, and its way through the gates: its caller's quota, then its budgets, scarcest first.
//!
//! A call that cannot have everything at once stands in the queue of every gate from the start, and passes them one
//! after the other. What it has passed it keeps: its slot is set aside while it waits at the next gate. At the gates
//! further on it holds its place and lets others go first.
//!
//! *Why nothing stalls:* all calls pass their gates in one order, and one that has set a slot aside waits only for
//! gates further on. So no two calls can wait for each other, and whenever a gate has room, whoever is next there
//! passes it. A class of calls with the same budgets sets at most [`Queue::resize`]'s part of a budget aside, so that
//! little of it lies idle; the others of the class let callers with other budgets go first. When its own gates have
//! room, one of those that set slots aside passes, because it has the same gates.
//!
//! *Why nobody is woken in vain:* a slot that frees wakes whoever is next at its gate, and nobody else. That one takes
//! it, or it is the only one that could.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::decide::{Decision, Held, Requester, WaitLimit};
use super::exhausted::Exhausted;
use super::permit::Permit;
use super::queue::{Aim, Class, Owner, Queue, Wakeup};
use super::reserve::KeptSlots;
use super::shared::{GrantedMask, SlotLocation};
use super::timestamp::Timestamp;
use super::window::Ends;
use super::{Budget, BudgetSet, BudgetState, Quota, lock};

/// A call's place in the queues, and what it has set aside. Dropped, both are given up and the next in line are told.
pub struct QueueTicket {
    wakeup: Arc<Wakeup>,
    /// The gates it has to pass, the next one first.
    ahead: SmallVec<[Ahead; 2]>,
    class: Class,
    /// What it has of the gates it passed.
    permit: Option<Permit>,
    /// The budgets in which that is set aside.
    aside: SmallVec<[&'static Budget; 2]>,
}

/// A gate that a call has to pass, and its number in the queue there.
struct Ahead {
    gate: Gate,
    id: u64,
}

enum Gate {
    Quota(Arc<Quota>),
    Budget(&'static Budget),
}

impl QueueTicket {
    /// Rings when it is worth looking again.
    pub fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    /// The budget it waits for; nothing while it waits for its caller's quota.
    pub fn asks(&self) -> BudgetSet {
        BudgetSet(self.next_budget().into_iter().collect())
    }

    /// How many gates it has to pass.
    pub fn gates(&self) -> usize {
        self.ahead.len()
    }

    fn next_budget(&self) -> Option<&'static Budget> {
        match self.ahead.first() {
            Some(Ahead { gate: Gate::Budget(budget), .. }) => Some(budget),
            _ => None,
        }
    }

    /// Its number in the queue of the budget it waits for.
    pub(super) fn id_at(&self, budget: &Budget) -> Option<u64> {
        let ahead =
            self.ahead.first().filter(|_| self.next_budget().is_some_and(|next| ptr::eq(next, budget)));
        ahead.map(|ahead| ahead.id)
    }

    /// What it does at the gate it waits at, once it is next there.
    fn aim(&self) -> Aim {
        match self.ahead.as_slice() {
            [_] | [Ahead { gate: Gate::Quota(_), .. }, ..] => Aim::Go,
            _ => Aim::SetAside(self.class),
        }
    }
}

impl Drop for QueueTicket {
    fn drop(&mut self) {
        for Ahead { gate, id } in &self.ahead {
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
        // Dropped, the permit gives the slots back and tells who is next.
    }
}

impl Held<'_> {
    /// Puts a newcomer into the queue of every gate; `None` if one of them cannot let it pass in time, or is full.
    #[cold]
    pub(super) fn line_up(&mut self, now: Timestamp, until: Timestamp) -> Option<Box<QueueTicket>> {
        if now >= until || now + self.soonest_for_newcomer(now) > until {
            return None;
        }
        let wakeup = Arc::default();
        let (mut ahead, mut has_room) = (SmallVec::new(), true);
        let owner = owner(self.requester);
        if let Some((quota, inner)) = &mut self.quota {
            let id = inner.queue.join(owner, false, &wakeup, Aim::Later);
            has_room &= id.is_some();
            ahead.extend(id.map(|id| Ahead { gate: Gate::Quota(Arc::clone(quota)), id }));
        }
        for (budget, inner) in &mut self.budgets {
            let first = inner.goes_first(self.requester);
            let id = inner.queue.join(owner, first, &wakeup, Aim::Later);
            has_room &= id.is_some();
            ahead.extend(id.map(|id| Ahead { gate: Gate::Budget(budget), id }));
        }
        if !has_room {
            ahead.iter().for_each(|Ahead { gate, id }| self.queue(gate).leave(*id));
            return None;
        }
        let permit = Some(Permit::nothing(self.requester));
        let ticket =
            Box::new(QueueTicket { wakeup, ahead, class: self.class(), permit, aside: SmallVec::new() });
        self.take_aim(&ticket);
        Some(ticket)
    }

    fn class(&self) -> Class {
        let caller = self.requester.caller;
        let budgets = self.budgets.iter().fold(0, |bits, (budget, _)| bits | 1 << budget.name as u8);
        let is_owner = self.budgets.iter().any(|(_, inner)| inner.reserves.has(caller));
        Class { budgets, owner: is_owner.then_some(caller) }
    }

    /// A reload may have changed for whom calls are kept.
    fn classify(&mut self, ticket: &mut QueueTicket) {
        let class = self.class();
        if class != ticket.class {
            for budget in &ticket.aside {
                let queue = &mut self.inner(budget).queue;
                queue.put_back(ticket.class);
                queue.set_aside(class);
            }
            ticket.class = class;
            self.take_aim(ticket);
        }
    }

    /// Passes every gate that is open, and says what comes of it.
    pub(super) fn go_on(
        mut self,
        mut ticket: Box<QueueTicket>,
        granted: GrantedMask,
        (now, wait_limit): (Timestamp, WaitLimit),
    ) -> Decision {
        let caller = self.requester.caller;
        for (_, inner) in &mut self.budgets {
            inner.reserve(|reserves| reserves.asks(caller, now));
        }
        self.classify(&mut ticket);
        let mut place = granted.place(0);
        while !ticket.ahead.is_empty() && self.pass(&mut ticket, place, now) {
            ticket.ahead.remove(0);
            self.take_aim(&ticket);
            place = SlotLocation::Here;
        }
        // A reload may have lowered a limit since a slot was set aside.
        let is_over = ticket.aside.iter().any(|budget| self.inner(budget).is_over());
        if ticket.ahead.is_empty() && !is_over {
            return Decision::Paid(self.done(&mut ticket));
        }
        let decision = match wait_limit {
            WaitLimit::Until(until) if now < until && !is_over && !ticket.wakeup.evicted() => {
                self.stay(&ticket, now, until)
            }
            WaitLimit::Until(_) | WaitLimit::None => Err(self.why(&ticket, now)),
        };
        // A turn gives its places back when it is dropped, for which it needs the locks.
        drop(self);
        match decision {
            Ok(look_at) => Decision::Wait { ticket, look_at },
            Err(exhausted) => Decision::Refused(exhausted),
        }
    }

    /// All gates are passed: nothing is set aside any more.
    fn done(&mut self, ticket: &mut QueueTicket) -> Permit {
        for budget in ticket.aside.drain(..) {
            let queue = &mut self.inner(budget).queue;
            queue.put_back(ticket.class);
            queue.wake_head();
        }
        ticket.permit.take().expect("held since it lined up")
    }

    /// Passes the next gate if it is open.
    fn pass(&mut self, ticket: &mut QueueTicket, place: SlotLocation, now: Timestamp) -> bool {
        let (aim, class, requester) = (ticket.aim(), ticket.class, self.requester);
        let (Some(Ahead { gate, id }), Some(permit)) = (ticket.ahead.first(), &mut ticket.permit) else {
            return false;
        };
        let budget = match gate {
            Gate::Quota(quota) => {
                let Some((_, inner)) = &mut self.quota else { return false };
                let passes = inner.queue.is_next(*id) && inner.pace.take(now).is_ok();
                if passes {
                    inner.queue.served(*id);
                    inner.queue.wake_head();
                    permit.add_share(quota);
                }
                return passes;
            }
            Gate::Budget(budget) => *budget,
        };
        let inner = self.inner(budget);
        let free = inner.free(now);
        let is_open = match place {
            SlotLocation::Store => inner.by_vendor_limit(now) > 0,
            SlotLocation::Here => {
                free > inner.kept_from_taker(requester, now).now && inner.queue.is_next(*id)
            }
        };
        let passes = is_open && inner.pace.as_ref().is_none_or(|pace| pace.take(now).is_ok());
        if passes {
            inner.queue.served(*id);
            if aim != Aim::Go {
                inner.queue.set_aside(class);
                ticket.aside.push(budget);
            }
            permit.add(inner.pay(budget, place, requester));
            inner.queue.wake_head();
        }
        passes
    }

    /// When to look again without being told, or why there is no point in waiting.
    fn stay(
        &mut self,
        ticket: &QueueTicket,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, Exhausted> {
        let Ahead { gate, id } = &ticket.ahead[0];
        let is_next = self.queue(gate).is_next(*id);
        let further = ticket.ahead[1..].iter().map(|ahead| self.soonest(&ahead.gate, now, 0)).max();
        let soonest = self.soonest(gate, now, usize::from(!is_next)).max(further.unwrap_or_default());
        if now + soonest > until {
            return Err(self.why(ticket, now));
        }
        if !is_next {
            // Whoever is next may not know it: a reserve can have put it before this one since.
            self.queue(gate).wake_head();
            return Ok(None);
        }
        Ok(Some((now + self.opens(gate, now)).min(until)))
    }

    /// When a gate opens for whoever is next there, at the latest.
    fn opens(&mut self, gate: &Gate, now: Timestamp) -> Duration {
        let requester = self.requester;
        match gate {
            Gate::Quota(_) => {
                self.quota.as_ref().map_or(Timestamp::TICK, |(_, inner)| inner.pace.until_free(now))
            }
            Gate::Budget(budget) => {
                let inner = self.inner(budget);
                let kept = inner.kept_from_taker(requester, now);
                let free = inner.until_free_beside(now, 1, kept.now, kept.lent_in);
                // What is kept changes when it is lent, and when a slot of its owner's frees.
                let lent = kept.first_lent_in.map(|lent| lent + Timestamp::TICK);
                let freed = lent.map(|_| inner.window.until_release(&inner.rule, now, 1, Ends::Latest));
                [lent, freed].into_iter().flatten().fold(free, Duration::min).max(inner.until_paced(now))
            }
        }
    }

    /// The soonest a call could pass a gate with so many before it, if every answer in flight came at once.
    fn soonest(&mut self, gate: &Gate, now: Timestamp, before: usize) -> Duration {
        let paced = |wait| if before == 0 { wait } else { Duration::ZERO };
        match gate {
            Gate::Quota(quota) => quota.turns(before).max(paced(self.opens(gate, now))),
            Gate::Budget(budget) => {
                let inner = self.inner(budget);
                inner.until_free(now, before + 1, Ends::Soonest).max(paced(inner.until_paced(now)))
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
            (Gate::Budget(budget), inner.queue.ahead_of(owner, inner.goes_first(self.requester)))
        });
        let gates: SmallVec<[(Gate, usize); 2]> = quota.into_iter().chain(budgets).collect();
        gates.iter().map(|(gate, before)| self.soonest(gate, now, *before)).max().unwrap_or_default()
    }

    /// Why a call that waited is refused: no slot, or else no share of its caller's.
    #[cold]
    fn why(&mut self, ticket: &QueueTicket, now: Timestamp) -> Exhausted {
        let requester = self.requester;
        let mut full: Option<Exhausted> = None;
        for (place, Ahead { gate, id }) in ticket.ahead.iter().enumerate() {
            let Gate::Budget(budget) = gate else { continue };
            let inner = self.inner(budget);
            let kept = inner.kept_from_taker(requester, now);
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
            let (quota, inner) = self.quota.as_ref()?;
            let before = inner.queue.len().saturating_sub(1);
            Some(quota.exhausted(inner.pace.until_free(now) + quota.turns(before)))
        };
        let blocked = full.or_else(quota).unwrap_or_else(|| {
            let (_, inner) = self.budgets.first_mut().expect("a call that waits draws on a budget");
            inner.blocked(true, KeptSlots::default(), now)
        });
        self.refuse(blocked, now)
    }

    fn take_aim(&mut self, ticket: &QueueTicket) {
        if let Some(Ahead { gate, id }) = ticket.ahead.first() {
            self.queue(gate).aim(*id, ticket.aim());
        }
    }

    fn queue(&mut self, gate: &Gate) -> &mut Queue {
        match gate {
            Gate::Budget(budget) => &mut self.inner(budget).queue,
            Gate::Quota(_) => &mut self.quota.as_mut().expect("a call waits at a gate of its own").1.queue,
        }
    }

    fn inner(&mut self, budget: &Budget) -> &mut BudgetState {
        let held = self.budgets.iter_mut().find(|(held, _)| ptr::eq(*held, budget));
        &mut held.expect("a call waits at a gate of its own").1
    }
}

fn owner(requester: &Requester) -> Owner {
    Owner { caller: requester.caller, precedence: requester.precedence, weight: requester.weight }
}
