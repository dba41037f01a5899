//! The decision on one call: free slots, then the caller's quota, then pacing. Everything is taken in one step, or
//! nothing is taken and the call is refused or queued.

use super::BudgetSet;
use super::exhausted::Exhausted;
use super::gates::Decision;
use super::locked_set::LockedSet;
use super::permit::Permit;
use super::requester::{Requester, WaitLimit};
use super::shared::GrantedMask;
use super::ticket::QueueTicket;
use super::timestamp::Timestamp;

/// Takes a slot in every budget of `budget_set` and one call of the caller's quota, or nothing at all. Never waits.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
///
/// use jpush_gateway::budget::{
///     BudgetSet, Budgets, CallerNumber, Clock, Horizon, RateHeaders, Requester, take,
/// };
/// use jpush_gateway::config::{BudgetLimit, VendorKey};
/// use jpush_gateway::operation::BudgetName;
///
/// let budgets = Budgets::default();
/// let key = VendorKey::new("7d431e42dfa6a6d693ac2d04".into()).expect("a key");
/// let one_a_minute = BudgetLimit { limit: NonZeroU32::MIN, window: Duration::from_secs(60), burst: None };
/// let horizon = Horizon { guard: Duration::from_secs(10), attempt: Duration::from_secs(28) };
/// let mut budget_set = BudgetSet::default();
/// budget_set.add(budgets.open(&key, BudgetName::Push, one_a_minute, horizon));
///
/// let requester = Requester::of(CallerNumber(0));
/// let clock = Clock::start();
/// let take_one = || take(&budget_set, &requester, clock.now());
///
/// let permit = take_one().expect("the only slot");
/// assert!(take_one().is_err());
/// drop(permit); // Nothing was sent, so the slot is free again.
///
/// let permit = take_one().expect("the only slot");
/// permit.settle(clock.now(), RateHeaders::default());
/// assert!(take_one().is_err(), "in use until a window after the vendor's answer");
/// ```
#[inline]
pub fn take(budget_set: &BudgetSet, requester: &Requester, now: Timestamp) -> Result<Permit, Exhausted> {
    let mut locked = LockedSet::lock(budget_set, requester);
    let granted = GrantedMask::default();
    match locked.ask(granted, now) {
        Ok(()) => Ok(locked.take(granted, now)),
        Err(blocked) => Err(locked.refuse(blocked, now)),
    }
}

/// Decides on one call; `ticket` holds its places from an earlier [`Decision::Wait`]. A refusal costs neither a slot
/// nor quota.
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

/// Decides on one call that was already granted slots in the store. `granted` covers all budgets of the set for a new
/// call, and for a waiting call only the one it waits for ([`QueueTicket::awaited_budget`]).
#[inline]
pub fn decide_with(
    budget_set: &BudgetSet,
    requester: &Requester,
    now: Timestamp,
    ticket: Option<Box<QueueTicket>>,
    (wait_limit, granted): (WaitLimit, GrantedMask),
) -> Decision {
    let mut locked = LockedSet::lock(budget_set, requester);
    let (ticket, granted) = match ticket {
        Some(ticket) => (ticket, granted),
        None => match (locked.ask(granted, now), wait_limit) {
            (Ok(()), _) => return Decision::Paid(locked.take(granted, now)),
            (Err(blocked), WaitLimit::None) => return Decision::Refused(locked.refuse(blocked, now)),
            (Err(blocked), WaitLimit::Until(until)) => match locked.join_queues(now, until) {
                Some(ticket) => (ticket, GrantedMask::default()),
                None => return Decision::Refused(locked.refuse(blocked, now)),
            },
        },
    };
    locked.advance(ticket, granted, (now, wait_limit))
}
