//! The decision: slots free, then the caller's quota, then pacing; all of it taken together, or nothing, or a turn
//! to wait for.

use std::ptr;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::moment::Moment;
use super::pace::Pace;
use super::permit::Permit;
use super::queue::{Bell, Waiter};
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
pub fn take(draw: &Draw, taker: &Taker, clock: Clock, now: Moment) -> Result<Permit, Exhausted> {
    match decide(draw, taker, (clock, now), None, Patience::None) {
        Decision::Paid(permit) => Ok(permit),
        Decision::Refused(exhausted) => Err(exhausted),
        Decision::Wait { .. } => unreachable!("without patience nobody waits"),
    }
}

/// Decides over one call; `turn` is its place so far. A refusal costs neither slot nor share.
pub fn decide(
    draw: &Draw,
    taker: &Taker,
    (clock, now): (Clock, Moment),
    turn: Option<Turn>,
    patience: Patience,
) -> Decision {
    let mut held = Held::lock(draw, taker);
    let outcome = held.ask(turn.as_ref(), now);
    let decision = match outcome {
        Ok(()) => Ok(held.take(turn.as_ref())),
        Err(blocked) => Err(held.wait(blocked, taker, turn.as_ref(), (now, patience))),
    };
    // A turn gives its place back when it is dropped, for which it needs the locks.
    drop(held);
    match decision {
        Ok(calls) => Decision::Paid(Permit::new(*draw, calls, taker.clone(), clock)),
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
    /// What a refusal would say.
    exhausted: Exhausted,
}

enum Waiting {
    Refused(Exhausted),
    Stays { look_at: Option<Moment> },
    Joins { turn: Turn, look_at: Option<Moment> },
}

/// Everything one decision is about, locked.
struct Held<'b> {
    budgets: [Option<(&'static Budget, MutexGuard<'static, Inner>)>; Draw::MAX],
    quota: Option<(&'b Arc<Quota>, MutexGuard<'b, QuotaInner>)>,
}

impl<'b> Held<'b> {
    fn lock(draw: &Draw, taker: &'b Taker) -> Self {
        let budgets = draw.0.map(|budget| budget.map(|budget| (budget, lock(&budget.inner))));
        let quota = taker.quota.as_ref().map(|quota| (quota, lock(&quota.inner)));
        Self { budgets, quota }
    }

    /// Asks slots, quota and pacing in this order; takes the share of quota and pacing only if all agree.
    fn ask(&mut self, turn: Option<&Turn>, now: Moment) -> Result<(), Blocked> {
        let full = self.budgets.iter_mut().flatten().filter_map(|(budget, inner)| {
            let others = inner.queue.is_closed_to(turn.and_then(|turn| turn.id_at_budget(budget)));
            (inner.free(now) == 0 || others).then(|| {
                let nth = if others { inner.queue.len() + 1 } else { 1 };
                let wait = inner.until_free(now, nth, Ends::Latest);
                Blocked { exhausted: inner.exhausted(wait), gate: Gate::Budget(budget) }
            })
        });
        if let Some(blocked) = full.max_by_key(|blocked| blocked.exhausted.wait()) {
            return Err(blocked);
        }
        if let Some((quota, inner)) = &mut self.quota {
            let gate = || Gate::Quota(Arc::clone(quota));
            if inner.queue.is_closed_to(turn.and_then(|turn| turn.id_at_quota(quota))) {
                let wait = quota.interval() * u32::try_from(inner.queue.len() + 1).unwrap_or(u32::MAX);
                return Err(Blocked { exhausted: quota.exhausted(wait), gate: gate() });
            }
            inner
                .pace
                .take(now)
                .map_err(|wait| Blocked { exhausted: quota.exhausted(wait), gate: gate() })?;
        }
        self.pace(now).inspect_err(|_| {
            if let Some((_, inner)) = &self.quota {
                inner.pace.refund();
            }
        })
    }

    fn pace(&self, now: Moment) -> Result<(), Blocked> {
        let mut taken: Vec<&Pace> = Vec::new();
        for (budget, inner) in self.budgets.iter().flatten() {
            let Some(pace) = &inner.pace else { continue };
            if let Err(wait) = pace.take(now) {
                taken.into_iter().for_each(Pace::refund);
                return Err(Blocked { gate: Gate::Budget(budget), exhausted: inner.exhausted(wait) });
            }
            taken.push(pace);
        }
        Ok(())
    }

    /// Takes the slots, and tells the next in line that there may be more. Returns each budget's number of the call.
    fn take(&mut self, turn: Option<&Turn>) -> [u64; Draw::MAX] {
        let mut calls = [0; Draw::MAX];
        for (call, (_, inner)) in calls.iter_mut().zip(self.budgets.iter_mut().flatten()) {
            inner.window.take();
            inner.dispatched += 1;
            *call = inner.dispatched;
        }
        if let Some(turn) = turn {
            let queue = self.queue(&turn.gate);
            queue.served(turn.waiter.id);
            queue.ring_head();
        }
        calls
    }

    /// What a call does that cannot pass: stay where it waits, go and wait where it must, or give up.
    fn wait(
        &mut self,
        blocked: Blocked,
        taker: &Taker,
        turn: Option<&Turn>,
        (now, patience): (Moment, Patience),
    ) -> Waiting {
        let Blocked { gate, exhausted } = blocked;
        let Patience::Until(until) = patience else { return Waiting::Refused(exhausted) };
        let stays = turn.filter(|turn| turn.is_at(&gate));
        if now >= until || turn.is_some_and(|turn| turn.waiter.bell.evicted()) {
            return Waiting::Refused(exhausted);
        }
        let ahead = match stays {
            Some(turn) => usize::from(self.queue(&gate).is_closed_to(Some(turn.waiter.id))),
            None => self.queue(&gate).ahead_of(taker.caller, taker.weight),
        };
        let soonest = now + self.soonest(&gate, now, ahead, &exhausted);
        if soonest > until {
            return Waiting::Refused(exhausted);
        }
        let look_at = |is_next: bool| is_next.then(|| (now + exhausted.wait()).min(until));
        if stays.is_some() {
            return Waiting::Stays { look_at: look_at(ahead == 0) };
        }
        let Some(waiter) = self.queue(&gate).join(taker.caller, taker.weight) else {
            return Waiting::Refused(exhausted);
        };
        let is_next = !self.queue(&gate).is_closed_to(Some(waiter.id));
        Waiting::Joins { turn: Turn { gate, waiter }, look_at: look_at(is_next) }
    }

    /// The soonest a call could pass with so many before it, if every answer in flight came at once.
    fn soonest(&mut self, gate: &Gate, now: Moment, ahead: usize, exhausted: &Exhausted) -> Duration {
        match gate {
            Gate::Budget(budget) => {
                let held = self.budgets.iter_mut().flatten().find(|(held, _)| ptr::eq(*held, *budget));
                let by_window = held.map(|(_, inner)| inner.until_free(now, ahead + 1, Ends::Soonest));
                by_window.unwrap_or_default()
            }
            Gate::Quota(quota) => {
                let turns = quota.interval() * u32::try_from(ahead).unwrap_or(u32::MAX);
                turns.max(if ahead == 0 { exhausted.wait() } else { Duration::ZERO })
            }
        }
    }

    fn queue(&mut self, gate: &Gate) -> &mut super::Queue {
        match gate {
            Gate::Budget(budget) => {
                let held = self.budgets.iter_mut().flatten().find(|(held, _)| ptr::eq(*held, *budget));
                &mut held.expect("a call waits at a gate of its own").1.queue
            }
            Gate::Quota(_) => &mut self.quota.as_mut().expect("a call waits at a gate of its own").1.queue,
        }
    }
}
