//! The decision: slots free, then the caller's quota, then pacing; all of it taken together, or nothing, or a turn
//! to wait for.

use std::ptr;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use smallvec::SmallVec;

use super::moment::Moment;
use super::pace::Pace;
use super::permit::{Paid, Permit};
use super::queue::{Bell, Waiter};
use super::reserve::Kept;
use super::window::Ends;
use super::{Budget, Clock, Draw, Inner, Quota, QuotaInner, lock};
use crate::operation::BudgetName;

/// Why a call has to wait, and how long: true for a lone caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// No slot is free in this budget, or pacing holds the next one back.
    #[error(
        "Rate limit exceeded: the {} budget of {limit} calls in {} is used up; nothing was sent, try again in {} s",
        name.as_str(), humantime::format_duration(*window), whole_seconds(*wait)
    )]
    Budget {
        /// Which one.
        name: BudgetName,
        /// Its size.
        limit: u32,
        /// Length of its window.
        window: Duration,
        /// When to come again.
        wait: Duration,
    },
    /// The caller used its share.
    #[error(
        "Rate limit exceeded: this caller's quota of {limit} calls in {} is used up; nothing was sent, try again in {} s",
        humantime::format_duration(*window), whole_seconds(*wait)
    )]
    Quota {
        /// Size of the share.
        limit: u32,
        /// Time over which it is spread.
        window: Duration,
        /// When to come again.
        wait: Duration,
    },
}

impl Exhausted {
    /// When a lone caller that comes again is admitted.
    pub fn wait(&self) -> Duration {
        match self {
            Self::Budget { wait, .. } | Self::Quota { wait, .. } => *wait,
        }
    }

    fn at_least(mut self, least: Duration) -> Self {
        match &mut self {
            Self::Budget { wait, .. } | Self::Quota { wait, .. } => *wait = (*wait).max(least),
        }
        self
    }

    /// The wait for a `Retry-After` header: at least one second.
    pub fn retry_after_seconds(&self) -> u64 {
        whole_seconds(self.wait()).max(1)
    }
}

/// Seconds, rounded up, so that whoever waits them has waited long enough.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Who asks for a slot.
#[derive(Clone)]
pub struct Taker {
    /// The caller's number: its line in a queue, and its row on the status page.
    pub caller: u16,
    /// Its share of turns when several callers wait.
    pub weight: u32,
    /// Its share of the budgets, if it has one.
    pub quota: Option<Arc<Quota>>,
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Moment),
}

/// What became of a call that asked.
pub enum Decision {
    /// It has its slots.
    Paid(Permit),
    /// It waits: look again when the bell rings, or at this moment if there is one.
    Wait {
        /// Its place, which it loses when this is dropped.
        turn: Turn,
        /// When a slot frees for it by itself; `None` while others are before it.
        look_at: Option<Moment>,
    },
    /// It cannot be served in time.
    Refused(Exhausted),
}

/// A place in a queue. Dropped, the place is free and the next in line is told.
pub struct Turn {
    gate: Gate,
    waiter: Waiter,
}

/// What a call waits for.
#[derive(Clone)]
enum Gate {
    Budget(&'static Budget),
    Quota(Arc<Quota>),
}

impl Turn {
    /// Rings when it is worth looking again.
    pub fn bell(&self) -> &Bell {
        &self.waiter.bell
    }

    fn id_at_budget(&self, budget: &Budget) -> Option<u64> {
        matches!(&self.gate, Gate::Budget(mine) if ptr::eq(*mine, budget)).then_some(self.waiter.id)
    }

    fn id_at_quota(&self, quota: &Arc<Quota>) -> Option<u64> {
        matches!(&self.gate, Gate::Quota(mine) if Arc::ptr_eq(mine, quota)).then_some(self.waiter.id)
    }

    fn is_at(&self, gate: &Gate) -> bool {
        match gate {
            Gate::Budget(budget) => self.id_at_budget(budget),
            Gate::Quota(quota) => self.id_at_quota(quota),
        }
        .is_some()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let queue = match &self.gate {
            Gate::Budget(budget) => &mut lock(&budget.inner).queue,
            Gate::Quota(quota) => &mut lock(&quota.inner).queue,
        };
        queue.leave(self.waiter.id);
        queue.ring_head();
    }
}

/// Takes a slot in every budget of `draw` and the caller's share of one call, or nothing at all; nobody waits.
#[inline]
pub fn take(draw: &Draw, taker: &Taker, clock: Clock, now: Moment) -> Result<Permit, Exhausted> {
    let mut held = Held::lock(draw, taker);
    match held.ask(None, taker.caller, now) {
        Ok(()) => Ok(held.take(None, taker, clock)),
        Err(blocked) => Err(held.refuse(&blocked, taker.caller, now)),
    }
}

/// Decides over one call; `turn` is its place so far. A refusal costs neither slot nor share.
#[inline]
pub fn decide(
    draw: &Draw,
    taker: &Taker,
    (clock, now): (Clock, Moment),
    turn: Option<Turn>,
    patience: Patience,
) -> Decision {
    let mut held = Held::lock(draw, taker);
    let outcome = held.ask(turn.as_ref(), taker.caller, now);
    let decision = match outcome {
        Ok(()) => Ok(held.take(turn.as_ref(), taker, clock)),
        Err(blocked) => Err(held.wait(&blocked, taker, turn.as_ref(), (now, patience))),
    };
    // A turn gives its place back when it is dropped, for which it needs the locks.
    drop(held);
    match decision {
        Ok(permit) => Decision::Paid(permit),
        Err(Waiting::Refused(exhausted)) => Decision::Refused(exhausted),
        Err(Waiting::Stays { look_at }) => match turn {
            Some(turn) => Decision::Wait { turn, look_at },
            None => unreachable!("only who waits can stay"),
        },
        Err(Waiting::Joins { turn, look_at }) => Decision::Wait { turn, look_at },
    }
}

/// Where a call cannot pass.
struct Blocked {
    gate: Gate,
    /// What a refusal says, as long as nothing else needs longer.
    exhausted: Exhausted,
    /// When the gate opens for whoever is next there.
    opens: Duration,
}

enum Waiting {
    Refused(Exhausted),
    Stays { look_at: Option<Moment> },
    Joins { turn: Turn, look_at: Option<Moment> },
}

impl Inner {
    /// Why a call cannot pass; `others` are before it.
    #[cold]
    fn blocked(&mut self, budget: &'static Budget, others: bool, kept: Kept, now: Moment) -> Blocked {
        let nth = if others { self.queue.len() + 1 } else { 1 };
        let wait = self.until_free_beside(now, nth, kept.at_most, kept.lent_in);
        let opens = self.until_free_beside(now, 1, kept.now, kept.lent_in);
        Blocked { exhausted: self.exhausted(wait), gate: Gate::Budget(budget), opens }
    }
}

type Locked = (&'static Budget, MutexGuard<'static, Inner>);

/// Everything one decision is about, locked.
struct Held<'b> {
    budgets: SmallVec<[Locked; 1]>,
    quota: Option<(&'b Arc<Quota>, MutexGuard<'b, QuotaInner>)>,
}

impl<'b> Held<'b> {
    fn lock(draw: &Draw, taker: &'b Taker) -> Self {
        let lock_one = |budget: &'static Budget| (budget, lock(&budget.inner));
        let budgets = match draw.0.as_slice() {
            [only] => SmallVec::from_buf([lock_one(only)]),
            all => all.iter().copied().map(lock_one).collect(),
        };
        let quota = taker.quota.as_ref().map(|quota| (quota, lock(&quota.inner)));
        Self { budgets, quota }
    }

    /// Asks slots, quota and pacing in this order; takes the share of quota and pacing only if all agree.
    fn ask(&mut self, turn: Option<&Turn>, caller: u16, now: Moment) -> Result<(), Blocked> {
        let mut full: Option<Blocked> = None;
        for (budget, inner) in &mut self.budgets {
            let free = inner.free(now);
            inner.reserve(|reserves| reserves.asks(caller, now));
            let kept = inner.kept_from(caller, now);
            let id = turn.and_then(|turn| turn.id_at_budget(budget));
            let others = inner.queue.is_closed_to(id, inner.reserves.owes(caller));
            if free <= kept.now || others {
                let blocked = inner.blocked(budget, others, kept, now);
                if full.as_ref().is_none_or(|full| full.exhausted.wait() <= blocked.exhausted.wait()) {
                    full = Some(blocked);
                }
            }
        }
        if let Some(blocked) = full {
            return Err(blocked);
        }
        if let Some((quota, inner)) = &mut self.quota {
            let others = inner.queue.is_closed_to(turn.and_then(|turn| turn.id_at_quota(quota)), false);
            let taken = if others { Err(inner.pace.until_free(now)) } else { inner.pace.take(now) };
            taken.map_err(|opens| {
                let before = if others { inner.queue.len() } else { 0 };
                let exhausted = quota.exhausted(opens + quota.turns(before));
                Blocked { gate: Gate::Quota(Arc::clone(quota)), exhausted, opens }
            })?;
        }
        self.pace(now).inspect_err(|_| {
            if let Some((_, inner)) = &self.quota {
                inner.pace.refund();
            }
        })
    }

    fn pace(&self, now: Moment) -> Result<(), Blocked> {
        let mut taken: Vec<&Pace> = Vec::new();
        for (budget, inner) in &self.budgets {
            let Some(pace) = &inner.pace else { continue };
            if let Err(wait) = pace.take(now) {
                taken.into_iter().for_each(Pace::refund);
                let exhausted = inner.exhausted(wait);
                return Err(Blocked { gate: Gate::Budget(budget), exhausted, opens: wait });
            }
            taken.push(pace);
        }
        Ok(())
    }

    /// Takes the slots, and tells the next in line that there may be more.
    fn take(&mut self, turn: Option<&Turn>, taker: &Taker, clock: Clock) -> Permit {
        let pay = |(budget, inner): &mut Locked| {
            inner.window.take();
            inner.dispatched += 1;
            inner.reserve(|reserves| reserves.took(taker.caller));
            Paid { budget, call: inner.dispatched }
        };
        // Nearly always one, which then need not be collected through memory.
        let paid = match self.budgets.as_mut_slice() {
            [only] => SmallVec::from_buf([pay(only)]),
            all => all.iter_mut().map(pay).collect(),
        };
        let permit = Permit::new(paid, taker.clone(), clock);
        if let Some(turn) = turn {
            let queue = self.queue(&turn.gate);
            queue.served(turn.waiter.id);
            queue.ring_head();
        }
        permit
    }

    /// What a call does that cannot pass: stay where it waits, go and wait where it must, or give up.
    fn wait(
        &mut self,
        blocked: &Blocked,
        taker: &Taker,
        turn: Option<&Turn>,
        (now, patience): (Moment, Patience),
    ) -> Waiting {
        let Patience::Until(until) = patience else {
            return Waiting::Refused(self.refuse(blocked, taker.caller, now));
        };
        let gate = blocked.gate.clone();
        let stays = turn.filter(|turn| turn.is_at(&gate));
        if now >= until || turn.is_some_and(|turn| turn.waiter.bell.evicted()) {
            return Waiting::Refused(self.refuse(blocked, taker.caller, now));
        }
        let first = self.goes_first(&gate, taker.caller);
        let ahead = match stays {
            Some(turn) => usize::from(self.queue(&gate).is_closed_to(Some(turn.waiter.id), false)),
            None => self.queue(&gate).ahead_of(taker.caller, taker.weight, first),
        };
        let soonest = now + self.soonest(&gate, now, ahead, blocked.opens);
        if soonest > until {
            return Waiting::Refused(self.refuse(blocked, taker.caller, now));
        }
        let look_at = |is_next: bool| is_next.then(|| (now + blocked.opens).min(until));
        if stays.is_some() {
            // Whoever is next may not know it: a reserve can have put it before this one since.
            if ahead > 0 {
                self.queue(&gate).ring_head();
            }
            return Waiting::Stays { look_at: look_at(ahead == 0) };
        }
        let Some(waiter) = self.queue(&gate).join(taker.caller, taker.weight, first) else {
            return Waiting::Refused(self.refuse(blocked, taker.caller, now));
        };
        let is_next = !self.queue(&gate).is_closed_to(Some(waiter.id), false);
        Waiting::Joins { turn: Turn { gate, waiter }, look_at: look_at(is_next) }
    }

    /// Whether a caller goes before those whose reserve is met.
    fn goes_first(&self, gate: &Gate, caller: u16) -> bool {
        let Gate::Budget(budget) = gate else { return false };
        self.budgets.iter().any(|(held, inner)| ptr::eq(*held, *budget) && inner.reserves.owes(caller))
    }

    /// A refusal that is true: a lone caller has to pass every gate, and the last one to open tells when.
    #[cold]
    fn refuse(&mut self, blocked: &Blocked, caller: u16, now: Moment) -> Exhausted {
        let kept = self.budgets.iter_mut().map(|(_, inner)| match inner.kept_from(caller, now) {
            Kept { at_most: 0, .. } => Duration::ZERO,
            kept => inner.until_free_beside(now, 1, kept.at_most, kept.lent_in),
        });
        let kept = kept.max().unwrap_or_default();
        let quota = self.quota.iter().map(|(_, inner)| inner.pace.until_free(now));
        let paces = self.budgets.iter().filter_map(|(_, inner)| Some(inner.pace.as_ref()?.until_free(now)));
        blocked.exhausted.at_least(quota.chain(paces).max().unwrap_or_default().max(kept))
    }

    /// The soonest a call could pass with so many before it, if every answer in flight came at once.
    fn soonest(&mut self, gate: &Gate, now: Moment, ahead: usize, opens: Duration) -> Duration {
        match gate {
            Gate::Budget(budget) => {
                let held = self.budgets.iter_mut().find(|(held, _)| ptr::eq(*held, *budget));
                let by_window = held.map(|(_, inner)| inner.until_free(now, ahead + 1, Ends::Soonest));
                by_window.unwrap_or_default()
            }
            Gate::Quota(quota) => quota.turns(ahead).max(if ahead == 0 { opens } else { Duration::ZERO }),
        }
    }

    fn queue(&mut self, gate: &Gate) -> &mut super::Queue {
        match gate {
            Gate::Budget(budget) => {
                let held = self.budgets.iter_mut().find(|(held, _)| ptr::eq(*held, *budget));
                &mut held.expect("a call waits at a gate of its own").1.queue
            }
            Gate::Quota(_) => &mut self.quota.as_mut().expect("a call waits at a gate of its own").1.queue,
        }
    }
}
