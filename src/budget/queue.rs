//! The queue of one budget or quota: first in, first out for each caller, weighted round robin between callers.
//!
//! Pure: it decides who is next and wakes that waiter; the waiting itself happens in [`crate::waiting`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use smallvec::SmallVec;

use super::caller_number::{CallerHash, CallerNumber};
use super::turn::Turn;

/// Requests that may wait for one budget or quota.
pub(super) const WAITING_MAX: usize = 1_000;
/// The most callers that the store is told of: those that are next here. It looks at those of all replicas.
const TURN_CALLERS_MAX: usize = 16;
/// The virtual time that one turn costs a caller of weight one.
const STRIDE: u64 = 1 << 20;

/// Wakes a waiting request when a new decision is worthwhile.
#[derive(Default)]
pub struct Wakeup {
    waker: AtomicWaker,
    state: AtomicU8,
}

const IDLE: u8 = 0;
const WOKEN: u8 = 1;
const EVICTED: u8 = 2;

impl Wakeup {
    pub(super) fn wake(&self) {
        // A wake-up must not replace an eviction.
        let _ = self.state.compare_exchange(IDLE, WOKEN, Ordering::AcqRel, Ordering::Relaxed);
        self.waker.wake();
    }

    fn evict(&self) {
        self.state.store(EVICTED, Ordering::Release);
        self.waker.wake();
    }

    /// Ready once since each wake-up; always ready after an eviction.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        // Registered before the state is read, so that a wake-up in between is not lost.
        self.waker.register(cx.waker());
        match self.state.compare_exchange(WOKEN, IDLE, Ordering::AcqRel, Ordering::Acquire) {
            Err(IDLE) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    pub(super) fn evicted(&self) -> bool {
        self.state.load(Ordering::Acquire) == EVICTED
    }
}

/// The action of a waiter when it is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnAction {
    /// Takes nothing: it has another gate to pass before this one, and lets others go first until then.
    Skip,
    /// Takes a slot and sets it aside while it waits at its next gate. Calls with the same gates have the same class.
    SetAside(Class),
    /// Takes a slot and is dispatched, or goes on to the next gate without setting anything aside.
    Proceed,
}

/// The gates and conditions that the calls of one class have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// The budgets they draw on, one bit for each name.
    pub(super) budgets: u8,
    /// Their caller, if it has a reserve: it can pass where others cannot.
    pub(super) owner: Option<CallerNumber>,
}

/// The caller in whose queue a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) caller: CallerNumber,
    pub(super) hash: CallerHash,
    pub(super) precedence: Precedence,
    /// Its weight in the round robin.
    pub(super) weight: u32,
}

/// Whether a call waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precedence {
    /// It goes before all others: a call of the gateway's own that waiting calls depend on.
    First,
    /// It waits for its caller's turn.
    InTurn,
}

struct Waiter {
    id: u64,
    wakeup: Arc<Wakeup>,
    action: TurnAction,
}

/// The requests that wait for one budget or quota.
#[derive(Default)]
pub(super) struct Queue {
    callers: Vec<CallerQueue>,
    waiting: usize,
    next_id: u64,
    /// The due time of the turn given last. New callers start here, so that a caller gains nothing by having been
    /// absent.
    last_due: u64,
    /// Slots set aside, by the class of the calls that hold them while they wait elsewhere.
    aside: SmallVec<[(Class, u32); 2]>,
    /// The most slots that each class may set aside.
    aside_max: u32,
}

struct CallerQueue {
    owner: Owner,
    stride: u64,
    /// Whether it goes before the others, because its reserve is not used up or it belongs to the gateway itself.
    first: bool,
    /// The virtual time of its next turn.
    due: u64,
    waiting: VecDeque<Waiter>,
}

impl CallerQueue {
    /// The order of turns: the lowest rank is next.
    fn rank(&self) -> impl Ord {
        (!self.first, self.due, self.owner.precedence, self.owner.caller)
    }
}

impl Owner {
    fn is_same(self, other: Self) -> bool {
        (self.caller, self.precedence) == (other.caller, other.precedence)
    }
}

impl Queue {
    /// Number of waiting requests.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Lets each class set aside a twentieth of `limit`, which bounds the slots that are idle, and at least one.
    pub(super) fn resize(&mut self, limit: u32) {
        self.aside_max = (limit / 20).max(1);
    }

    /// Whether a waiter is before a new call. A new call that goes first passes the waiters that do not.
    pub(super) fn is_closed(&self, first: bool) -> bool {
        self.next().is_some_and(|(caller_queue, _)| caller_queue.first || !first)
    }

    /// Whether this waiter is next.
    pub(super) fn is_next(&self, id: u64) -> bool {
        self.next().is_some_and(|(_, waiter)| waiter.id == id)
    }

    /// The turn of the waiter that is next, which waits for `longest` at most, as the store knows it.
    pub(super) fn turn(&self, longest: Duration) -> Turn {
        let ready = |caller_queue| {
            Some((caller_queue, self.ready(caller_queue).count())).filter(|(_, calls)| *calls > 0)
        };
        let mut ready: Vec<_> = self.callers.iter().filter_map(ready).collect();
        ready.sort_unstable_by_key(|(caller_queue, _)| caller_queue.rank());
        let Some((next, _)) = ready.first() else { return Turn::NotWaiting };
        let calls = ready.iter().map(|(_, calls)| calls).sum();
        let callers =
            ready.iter().take(TURN_CALLERS_MAX).map(|(caller_queue, _)| caller_queue.owner.hash).collect();
        Turn::Waiting { calls, longest, weight: next.owner.weight, callers }
    }

    /// Updates which callers go first.
    pub(super) fn mark_first(&mut self, first: impl Fn(CallerNumber) -> bool) {
        for caller_queue in &mut self.callers {
            caller_queue.first =
                caller_queue.owner.precedence == Precedence::First || first(caller_queue.owner.caller);
        }
    }

    fn next(&self) -> Option<(&CallerQueue, &Waiter)> {
        if self.waiting == 0 {
            return None;
        }
        let ready = |caller_queue| Some((caller_queue, self.ready(caller_queue).next()?));
        self.callers.iter().filter_map(ready).min_by_key(|(caller_queue, _)| caller_queue.rank())
    }

    /// The waiters of one caller that would take a slot now, in order.
    fn ready<'q>(&'q self, caller_queue: &'q CallerQueue) -> impl Iterator<Item = &'q Waiter> {
        caller_queue.waiting.iter().filter(|waiter| match waiter.action {
            TurnAction::Skip => false,
            TurnAction::SetAside(class) => self.may_set_aside(class),
            TurnAction::Proceed => true,
        })
    }

    fn may_set_aside(&self, class: Class) -> bool {
        let aside = self.aside.iter().find(|(known, _)| *known == class);
        aside.is_none_or(|(_, slots)| *slots < self.aside_max)
    }

    /// Counts a slot that was set aside.
    pub(super) fn set_aside(&mut self, class: Class) {
        match self.aside.iter_mut().find(|(known, _)| *known == class) {
            Some((_, slots)) => *slots += 1,
            None => self.aside.push((class, 1)),
        }
    }

    /// Counts a slot as no longer set aside: its call passed its last gate or gave up.
    pub(super) fn put_back(&mut self, class: Class) {
        self.aside.iter_mut().filter(|(known, _)| *known == class).for_each(|(_, slots)| *slots -= 1);
        self.aside.retain(|(_, slots)| *slots > 0);
    }

    /// The number of waiters that would have their turn before a new call of this owner.
    pub(super) fn ahead_of(&self, owner: Owner, first: bool) -> usize {
        let stride = stride(owner.weight);
        let own = self.callers.iter().find(|caller_queue| caller_queue.owner.is_same(owner));
        let place = own.map_or(0, |caller_queue| self.ready(caller_queue).count() as u64);
        let due = own
            .map_or(self.last_due, |caller_queue| caller_queue.due.max(self.last_due))
            .saturating_add(place * stride);
        let before = |caller_queue: &CallerQueue| {
            let ready = self.ready(caller_queue).count();
            if caller_queue.owner.is_same(owner) {
                return ready;
            }
            if first && !caller_queue.first {
                return 0;
            }
            // The other caller's turns that are due earlier, and one due at the same time if it is before this caller
            // in order.
            let gap = due.saturating_sub(caller_queue.due);
            let tie = caller_queue.due <= due
                && gap % caller_queue.stride == 0
                && caller_queue.owner.caller < owner.caller;
            let turns = gap.div_ceil(caller_queue.stride) + u64::from(tie);
            ready.min(usize::try_from(turns).unwrap_or(usize::MAX))
        };
        self.callers.iter().map(before).sum()
    }

    /// Adds a waiter and returns its number. A full queue evicts the newest waiter of the caller with most waiting per
    /// weight; `None` if that is the caller of the new call.
    pub(super) fn join(
        &mut self,
        owner: Owner,
        first: bool,
        wakeup: &Arc<Wakeup>,
        action: TurnAction,
    ) -> Option<u64> {
        if self.waiting >= WAITING_MAX && !self.make_room(owner) {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.waiting += 1;
        let (last_due, stride) = (self.last_due, stride(owner.weight));
        let place =
            self.callers.iter().position(|caller_queue| caller_queue.owner.is_same(owner)).unwrap_or_else(
                || {
                    self.callers.push(CallerQueue {
                        owner,
                        stride,
                        first,
                        due: last_due,
                        waiting: VecDeque::new(),
                    });
                    self.callers.len() - 1
                },
            );
        let caller_queue = &mut self.callers[place];
        (caller_queue.first, caller_queue.due) = (first, caller_queue.due.max(last_due));
        caller_queue.waiting.push_back(Waiter { id, wakeup: Arc::clone(wakeup), action });
        Some(id)
    }

    /// Changes the action of a waiter that passed its gate before this one.
    pub(super) fn set_action(&mut self, id: u64, action: TurnAction) {
        let mut waiters = self.callers.iter_mut().flat_map(|caller_queue| &mut caller_queue.waiting);
        if let Some(waiter) = waiters.find(|waiter| waiter.id == id) {
            waiter.action = action;
        }
    }

    fn make_room(&mut self, owner: Owner) -> bool {
        // The number of waiters per weight, because a stride is inverse to its weight.
        let load = |caller_queue: &CallerQueue| caller_queue.waiting.len() as u64 * caller_queue.stride;
        let own = self.callers.iter().find(|caller_queue| caller_queue.owner.is_same(owner)).map_or(0, load)
            + stride(owner.weight);
        let Some(heaviest) = self.callers.iter_mut().max_by_key(|caller_queue| load(caller_queue)) else {
            return false;
        };
        if load(heaviest) <= own {
            return false;
        }
        let Some(evicted) = heaviest.waiting.back() else { return false };
        evicted.wakeup.evict();
        let id = evicted.id;
        self.leave(id);
        true
    }

    /// Records the turn of a waiter and removes it.
    pub(super) fn served(&mut self, id: u64) {
        let Some(caller_queue) = self
            .callers
            .iter_mut()
            .find(|caller_queue| caller_queue.waiting.iter().any(|waiter| waiter.id == id))
        else {
            return;
        };
        // Stride scheduling: the higher the weight, the smaller the stride, and the sooner the next turn is due.
        self.last_due = self.last_due.max(caller_queue.due);
        caller_queue.due += caller_queue.stride;
        self.leave(id);
    }

    /// Removes a waiter, whether it was served or not. The caller should then wake the next one.
    pub(super) fn leave(&mut self, id: u64) {
        for caller_queue in &mut self.callers {
            if let Some(place) = caller_queue.waiting.iter().position(|waiter| waiter.id == id) {
                caller_queue.waiting.remove(place);
                self.waiting -= 1;
                break;
            }
        }
        // An empty queue is remembered until its next turn is due, so that leaving and coming back at once gives no
        // advantage.
        self.callers
            .retain(|caller_queue| !caller_queue.waiting.is_empty() || caller_queue.due > self.last_due);
    }

    /// Wakes the waiter that is next.
    pub(super) fn wake_head(&self) {
        if let Some((_, head)) = self.next() {
            head.wakeup.wake();
        }
    }

    /// Wakes every waiter, after a change that can let any of them pass.
    pub(super) fn wake_all(&self) {
        self.callers
            .iter()
            .flat_map(|caller_queue| &caller_queue.waiting)
            .for_each(|waiter| waiter.wakeup.wake());
    }
}

fn stride(weight: u32) -> u64 {
    STRIDE / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A waiting request of one caller.
    struct Waits {
        id: u64,
        wakeup: Arc<Wakeup>,
    }

    fn owner(caller: u32, weight: u32) -> Owner {
        let (caller, hash) = (CallerNumber(caller), CallerHash::of(&caller.to_string()));
        Owner { caller, hash, weight, precedence: Precedence::InTurn }
    }

    fn try_join(queue: &mut Queue, caller: u32, weight: u32, action: TurnAction) -> Option<Waits> {
        let wakeup = Arc::default();
        queue.join(owner(caller, weight), false, &wakeup, action).map(|id| Waits { id, wakeup })
    }

    fn head(queue: &Queue) -> Option<u64> {
        queue.next().map(|(_, head)| head.id)
    }

    fn serve(queue: &mut Queue, owners: &[(u64, u32)]) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(id) = head(queue) {
            order.extend(owners.iter().find(|(known, _)| *known == id).map(|(_, caller)| *caller));
            queue.served(id);
        }
        order
    }

    fn join(queue: &mut Queue, caller: u32, weight: u32) -> (u64, u32) {
        (try_join(queue, caller, weight, TurnAction::Proceed).expect("room").id, caller)
    }

    #[test]
    fn turns_go_round_by_weight_and_in_order_within_a_caller() {
        let mut queue = Queue::default();
        let mut owners = Vec::new();
        for _ in 0..6 {
            owners.push(join(&mut queue, 1, 2));
        }
        for _ in 0..3 {
            owners.push(join(&mut queue, 2, 1));
        }
        let first_of_one = owners[0].0;
        assert_eq!(head(&queue), Some(first_of_one));
        let order = serve(&mut queue, &owners);
        for round in order.chunks(3) {
            assert_eq!(
                round.iter().filter(|caller| **caller == 1).count(),
                2,
                "two turns of three: {order:?}"
            );
        }
    }

    #[test]
    fn a_flood_delays_a_modest_caller_by_its_share_only() {
        let mut queue = Queue::default();
        let mut owners: Vec<_> = (0..900).map(|_| join(&mut queue, 1, 1)).collect();
        assert_eq!(queue.ahead_of(owner(2, 1), false), 1, "a newcomer is behind the flood's next turn only");
        owners.push(join(&mut queue, 2, 1));
        owners.push(join(&mut queue, 2, 1));
        let order = serve(&mut queue, &owners);
        let last = order.iter().rposition(|caller| *caller == 2).expect("served");
        assert!(last <= 4, "{last} turns for two requests");
    }

    #[test]
    fn who_comes_back_at_once_does_not_overtake() {
        let mut queue = Queue::default();
        let mut owners: Vec<_> = (0..3).map(|_| join(&mut queue, 9, 1)).collect();
        owners.push(join(&mut queue, 1, 1));
        let mut order = Vec::new();
        while let Some(id) = head(&queue) {
            let caller = owners.iter().find(|(known, _)| *known == id).expect("known").1;
            order.push(caller);
            queue.served(id);
            if caller == 1 && order.len() < 6 {
                owners.push(join(&mut queue, 1, 1));
            }
        }
        assert_eq!(&order[..5], [1, 9, 1, 9, 1]);
    }

    #[test]
    fn a_full_queue_makes_room_at_the_cost_of_whoever_waits_most() {
        let mut queue = Queue::default();
        let flood: Vec<_> = (0..WAITING_MAX)
            .map(|_| try_join(&mut queue, 1, 1, TurnAction::Proceed).expect("room"))
            .collect();
        assert!(try_join(&mut queue, 1, 1, TurnAction::Proceed).is_none(), "the flood itself gets no more");
        assert!(try_join(&mut queue, 2, 1, TurnAction::Proceed).is_some());
        assert_eq!(queue.len(), WAITING_MAX);
        let newest = flood.last().expect("many");
        assert!(newest.wakeup.evicted(), "the newest of the flood made room");
        assert!(flood[..flood.len() - 1].iter().all(|waiter| !waiter.wakeup.evicted()));
    }

    #[test]
    fn who_leaves_is_not_served_and_the_next_is_told() {
        let mut queue = Queue::default();
        let [first, second] = [
            try_join(&mut queue, 1, 1, TurnAction::Proceed).expect("room"),
            try_join(&mut queue, 1, 1, TurnAction::Proceed).expect("room"),
        ];
        assert!(queue.is_closed(false) && queue.is_next(first.id) && !queue.is_next(second.id));
        queue.leave(first.id);
        queue.wake_head();
        assert!(queue.is_next(second.id));
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(second.wakeup.poll(&cx).is_ready());
        assert!(second.wakeup.poll(&cx).is_pending(), "once for each wake-up");
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn who_has_another_gate_to_pass_lets_others_go_first_and_keeps_its_place() {
        let mut queue = Queue::default();
        queue.resize(1);
        let [far, near] = [TurnAction::Skip, TurnAction::Proceed]
            .map(|action| try_join(&mut queue, 1, 1, action).expect("room"));
        assert!(queue.is_next(near.id));
        queue.set_action(far.id, TurnAction::Proceed);
        assert!(queue.is_next(far.id));
        queue.leave(far.id);
        queue.leave(near.id);
        assert!(!queue.is_closed(false));
    }

    #[test]
    fn each_class_sets_a_bounded_part_aside() {
        let mut queue = Queue::default();
        queue.resize(40);
        let [one, other] = [3, 5].map(|budgets| Class { budgets, owner: None });
        for _ in 0..2 {
            let waits = try_join(&mut queue, 1, 1, TurnAction::SetAside(one)).expect("room");
            assert!(queue.is_next(waits.id));
            queue.served(waits.id);
            queue.set_aside(one);
        }
        let third = try_join(&mut queue, 1, 1, TurnAction::SetAside(one)).expect("room");
        assert!(!queue.is_closed(false), "it lets others go first");
        let [of_other, alone] = [TurnAction::SetAside(other), TurnAction::Proceed]
            .map(|action| try_join(&mut queue, 2, 1, action).expect("room"));
        assert!(queue.is_next(of_other.id));
        queue.leave(of_other.id);
        assert!(queue.is_next(alone.id));
        queue.leave(alone.id);
        queue.put_back(one);
        assert!(queue.is_next(third.id));
    }

    #[test]
    fn the_gateways_own_call_goes_first() {
        let mut queue = Queue::default();
        let _waits = try_join(&mut queue, 1, 1, TurnAction::Proceed).expect("room");
        let wakeup = Arc::default();
        let own = Owner { precedence: Precedence::First, ..owner(1, 1) };
        assert_eq!(queue.ahead_of(own, true), 0);
        let id = queue.join(own, true, &wakeup, TurnAction::Proceed).expect("room");
        queue.mark_first(|_| false);
        assert!(queue.is_next(id) && queue.is_closed(true));
    }
}
