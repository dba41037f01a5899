//! Who waits for a budget, and who is next: one line a caller, first come first served within it, and weighted
//! fair turns between them.
//!
//! Pure: it decides and rings bells; whoever waits sleeps elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use smallvec::SmallVec;

/// Requests that may wait for one budget or quota.
pub(super) const WAITING_MAX: usize = 1_000;
/// What a turn costs a caller of weight one.
const STRIDE: u64 = 1 << 20;

/// Rung when it is worth looking again.
#[derive(Default)]
pub struct Wakeup {
    waker: AtomicWaker,
    rung: AtomicU8,
}

const SILENT: u8 = 0;
const RUNG: u8 = 1;
const EVICTED: u8 = 2;

impl Wakeup {
    pub(super) fn wake(&self) {
        let _ = self.rung.compare_exchange(SILENT, RUNG, Ordering::AcqRel, Ordering::Relaxed);
        self.waker.wake();
    }

    fn evict(&self) {
        self.rung.store(EVICTED, Ordering::Release);
        self.waker.wake();
    }

    /// Ready once the bell was rung since the last time.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        match self.rung.compare_exchange(RUNG, SILENT, Ordering::AcqRel, Ordering::Acquire) {
            Err(SILENT) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    pub(super) fn evicted(&self) -> bool {
        self.rung.load(Ordering::Acquire) == EVICTED
    }
}

/// What a waiter does when it is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Nothing: it has another gate to pass before this one, and lets others go first meanwhile.
    Later,
    /// It takes a slot and sets it aside while it waits at its next gate. Calls with the same gates have one class.
    SetAside(Class),
    /// It takes a slot and goes.
    Go,
}

/// What calls have in common that pass the same gates under the same conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// The budgets they draw on, a bit for each name.
    pub(super) budgets: u8,
    /// Their caller, if calls are kept for it: it passes where others do not.
    pub(super) owner: Option<u16>,
}

/// Whose line a request waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) caller: u16,
    pub(super) precedence: Precedence,
    /// Its share of turns.
    pub(super) weight: u32,
}

/// Whether a call waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precedence {
    /// It goes before all others: a call of the gateway's own that those who wait depend on.
    First,
    /// It waits for its caller's turn.
    InTurn,
}

/// One waiting request.
struct Waiter {
    id: u64,
    wakeup: Arc<Wakeup>,
    aim: Aim,
}

/// The requests that wait for one budget or quota.
#[derive(Default)]
pub(super) struct Queue {
    lines: Vec<CallerLine>,
    waiting: usize,
    next_id: u64,
    /// The turn that was given last; new lines start here, so that absence earns nothing.
    ticket: u64,
    /// Slots set aside, by the class of the calls that wait elsewhere with them.
    aside: SmallVec<[(Class, u32); 2]>,
    /// How many each class may set aside.
    aside_max: u32,
}

struct CallerLine {
    owner: Owner,
    stride: u64,
    /// Whether it goes before the others: part of the budget is kept for it and not used yet, or it is the gateway's.
    first: bool,
    /// When its next turn is due.
    due: u64,
    waiting: VecDeque<Waiter>,
}

impl CallerLine {
    /// The turn is given to lower ones first.
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
    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Lets each class set a twentieth of so many slots aside, which bounds what lies idle, and at least one.
    pub(super) fn resize(&mut self, limit: u32) {
        self.aside_max = (limit / 20).max(1);
    }

    /// Whether somebody is next before a newcomer. One that goes first passes those who do not.
    pub(super) fn is_closed(&self, first: bool) -> bool {
        self.next().is_some_and(|(line, _)| line.first || !first)
    }

    /// Whether this waiter is next.
    pub(super) fn is_next(&self, id: u64) -> bool {
        self.next().is_some_and(|(_, waiter)| waiter.id == id)
    }

    /// Sorts out which callers go first.
    pub(super) fn put_first(&mut self, first: impl Fn(u16) -> bool) {
        for line in &mut self.lines {
            line.first = line.owner.precedence == Precedence::First || first(line.owner.caller);
        }
    }

    fn next(&self) -> Option<(&CallerLine, &Waiter)> {
        if self.waiting == 0 {
            return None;
        }
        let ready = |line| Some((line, self.ready(line).next()?));
        self.lines.iter().filter_map(ready).min_by_key(|(line, _)| line.rank())
    }

    /// Those in a line who would take a slot now, in order.
    fn ready<'q>(&'q self, line: &'q CallerLine) -> impl Iterator<Item = &'q Waiter> {
        line.waiting.iter().filter(|waiter| match waiter.aim {
            Aim::Later => false,
            Aim::SetAside(class) => self.may_set_aside(class),
            Aim::Go => true,
        })
    }

    fn may_set_aside(&self, class: Class) -> bool {
        let aside = self.aside.iter().find(|(known, _)| *known == class);
        aside.is_none_or(|(_, slots)| *slots < self.aside_max)
    }

    /// A slot was set aside.
    pub(super) fn set_aside(&mut self, class: Class) {
        match self.aside.iter_mut().find(|(known, _)| *known == class) {
            Some((_, slots)) => *slots += 1,
            None => self.aside.push((class, 1)),
        }
    }

    /// A slot is not aside any more: its call passed its last gate, or gave up.
    pub(super) fn put_back(&mut self, class: Class) {
        self.aside.iter_mut().filter(|(known, _)| *known == class).for_each(|(_, slots)| *slots -= 1);
        self.aside.retain(|(_, slots)| *slots > 0);
    }

    /// How many would have their turn before a newcomer of this owner.
    pub(super) fn ahead_of(&self, owner: Owner, first: bool) -> usize {
        let stride = stride(owner.weight);
        let own = self.lines.iter().find(|line| line.owner.is_same(owner));
        let place = own.map_or(0, |line| self.ready(line).count() as u64);
        let due = own.map_or(self.ticket, |line| line.due.max(self.ticket)).saturating_add(place * stride);
        let before = |line: &CallerLine| {
            let ready = self.ready(line).count();
            if line.owner.is_same(owner) {
                return ready;
            }
            if first && !line.first {
                return 0;
            }
            // Turns due before, and the one due at the same time if it goes first.
            let gap = due.saturating_sub(line.due);
            let tie = line.due <= due && gap % line.stride == 0 && line.owner.caller < owner.caller;
            let turns = gap.div_ceil(line.stride) + u64::from(tie);
            ready.min(usize::try_from(turns).unwrap_or(usize::MAX))
        };
        self.lines.iter().map(before).sum()
    }

    /// Lets one more wait, and tells its number. A full queue makes room at the cost of whoever waits most for his
    /// weight; `None` if that is the newcomer.
    pub(super) fn join(&mut self, owner: Owner, first: bool, wakeup: &Arc<Wakeup>, aim: Aim) -> Option<u64> {
        if self.waiting >= WAITING_MAX && !self.make_room(owner) {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.waiting += 1;
        let (ticket, stride) = (self.ticket, stride(owner.weight));
        let place = self.lines.iter().position(|line| line.owner.is_same(owner)).unwrap_or_else(|| {
            self.lines.push(CallerLine { owner, stride, first, due: ticket, waiting: VecDeque::new() });
            self.lines.len() - 1
        });
        let line = &mut self.lines[place];
        (line.first, line.due) = (first, line.due.max(ticket));
        line.waiting.push_back(Waiter { id, wakeup: Arc::clone(wakeup), aim });
        Some(id)
    }

    /// A waiter passed its gate before this one.
    pub(super) fn aim(&mut self, id: u64, aim: Aim) {
        let mut waiters = self.lines.iter_mut().flat_map(|line| &mut line.waiting);
        if let Some(waiter) = waiters.find(|waiter| waiter.id == id) {
            waiter.aim = aim;
        }
    }

    fn make_room(&mut self, owner: Owner) -> bool {
        let load = |line: &CallerLine| line.waiting.len() as u64 * line.stride;
        let own =
            self.lines.iter().find(|line| line.owner.is_same(owner)).map_or(0, load) + stride(owner.weight);
        let Some(heaviest) = self.lines.iter_mut().max_by_key(|line| load(line)) else { return false };
        if load(heaviest) <= own {
            return false;
        }
        let Some(evicted) = heaviest.waiting.back() else { return false };
        evicted.wakeup.evict();
        let id = evicted.id;
        self.leave(id);
        true
    }

    /// A waiter had its turn.
    pub(super) fn served(&mut self, id: u64) {
        let Some(line) = self.lines.iter_mut().find(|line| line.waiting.iter().any(|waiter| waiter.id == id))
        else {
            return;
        };
        self.ticket = self.ticket.max(line.due);
        line.due += line.stride;
        self.leave(id);
    }

    /// A waiter goes, served or not. Whoever is next then should look.
    pub(super) fn leave(&mut self, id: u64) {
        for line in &mut self.lines {
            if let Some(place) = line.waiting.iter().position(|waiter| waiter.id == id) {
                line.waiting.remove(place);
                self.waiting -= 1;
                break;
            }
        }
        // An empty line is remembered until its next turn is due: coming back at once must not be an advantage.
        self.lines.retain(|line| !line.waiting.is_empty() || line.due > self.ticket);
    }

    /// Tells whoever is next to look.
    pub(super) fn wake_head(&self) {
        if let Some((_, head)) = self.next() {
            head.wakeup.wake();
        }
    }

    /// Tells everybody to look.
    pub(super) fn wake_all(&self) {
        self.lines.iter().flat_map(|line| &line.waiting).for_each(|waiter| waiter.wakeup.wake());
    }
}

fn stride(weight: u32) -> u64 {
    STRIDE / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller's request that waits.
    struct Waits {
        id: u64,
        wakeup: Arc<Wakeup>,
    }

    fn owner(caller: u16, weight: u32) -> Owner {
        Owner { caller, weight, precedence: Precedence::InTurn }
    }

    fn try_join(queue: &mut Queue, caller: u16, weight: u32, aim: Aim) -> Option<Waits> {
        let wakeup = Arc::default();
        queue.join(owner(caller, weight), false, &wakeup, aim).map(|id| Waits { id, wakeup })
    }

    fn head(queue: &Queue) -> Option<u64> {
        queue.next().map(|(_, head)| head.id)
    }

    fn serve(queue: &mut Queue, owners: &[(u64, u16)]) -> Vec<u16> {
        let mut order = Vec::new();
        while let Some(id) = head(queue) {
            order.extend(owners.iter().find(|(known, _)| *known == id).map(|(_, caller)| *caller));
            queue.served(id);
        }
        order
    }

    fn join(queue: &mut Queue, caller: u16, weight: u32) -> (u64, u16) {
        (try_join(queue, caller, weight, Aim::Go).expect("room").id, caller)
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
        for ticket in order.chunks(3) {
            assert_eq!(
                ticket.iter().filter(|caller| **caller == 1).count(),
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
        let flood: Vec<_> =
            (0..WAITING_MAX).map(|_| try_join(&mut queue, 1, 1, Aim::Go).expect("room")).collect();
        assert!(try_join(&mut queue, 1, 1, Aim::Go).is_none(), "the flood itself gets no more");
        assert!(try_join(&mut queue, 2, 1, Aim::Go).is_some());
        assert_eq!(queue.len(), WAITING_MAX);
        let newest = flood.last().expect("many");
        assert!(newest.wakeup.evicted(), "the newest of the flood made room");
        assert!(flood[..flood.len() - 1].iter().all(|waiter| !waiter.wakeup.evicted()));
    }

    #[test]
    fn who_leaves_is_not_served_and_the_next_is_told() {
        let mut queue = Queue::default();
        let [first, second] = [
            try_join(&mut queue, 1, 1, Aim::Go).expect("room"),
            try_join(&mut queue, 1, 1, Aim::Go).expect("room"),
        ];
        assert!(queue.is_closed(false) && queue.is_next(first.id) && !queue.is_next(second.id));
        queue.leave(first.id);
        queue.wake_head();
        assert!(queue.is_next(second.id));
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(second.wakeup.poll(&cx).is_ready());
        assert!(second.wakeup.poll(&cx).is_pending(), "once a ring");
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn who_has_another_gate_to_pass_lets_others_go_first_and_keeps_its_place() {
        let mut queue = Queue::default();
        queue.resize(1);
        let [far, near] = [Aim::Later, Aim::Go].map(|aim| try_join(&mut queue, 1, 1, aim).expect("room"));
        assert!(queue.is_next(near.id));
        queue.aim(far.id, Aim::Go);
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
            let waits = try_join(&mut queue, 1, 1, Aim::SetAside(one)).expect("room");
            assert!(queue.is_next(waits.id));
            queue.served(waits.id);
            queue.set_aside(one);
        }
        let third = try_join(&mut queue, 1, 1, Aim::SetAside(one)).expect("room");
        assert!(!queue.is_closed(false), "it lets others go first");
        let [of_other, alone] =
            [Aim::SetAside(other), Aim::Go].map(|aim| try_join(&mut queue, 2, 1, aim).expect("room"));
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
        let _waits = try_join(&mut queue, 1, 1, Aim::Go).expect("room");
        let wakeup = Arc::default();
        let own = Owner { precedence: Precedence::First, ..owner(1, 1) };
        assert_eq!(queue.ahead_of(own, true), 0);
        let id = queue.join(own, true, &wakeup, Aim::Go).expect("room");
        queue.put_first(|_| false);
        assert!(queue.is_next(id) && queue.is_closed(true));
    }
}
