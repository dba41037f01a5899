//! Who waits for a budget, and who is next: one line a caller, first come first served within it, and weighted
//! fair turns between them.
//!
//! Pure: it decides and rings bells; whoever waits sleeps elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Requests that may wait for one budget or quota.
pub(super) const WAITING_MAX: usize = 1_000;
/// What a turn costs a caller of weight one.
const STRIDE: u64 = 1 << 20;

/// Rung when it is worth looking again.
#[derive(Default)]
pub struct Bell {
    waker: AtomicWaker,
    rung: AtomicU8,
}

const SILENT: u8 = 0;
const RUNG: u8 = 1;
const EVICTED: u8 = 2;

impl Bell {
    pub(super) fn ring(&self) {
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

/// One waiting request.
#[derive(Clone)]
pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) bell: Arc<Bell>,
}

/// The requests that wait for one budget or quota.
#[derive(Default)]
pub(super) struct Queue {
    lines: Vec<Line>,
    waiting: usize,
    next_id: u64,
    /// The turn that was given last; new lines start here, so that absence earns nothing.
    turn: u64,
}

struct Line {
    caller: u16,
    stride: u64,
    /// Whether part of the budget is kept for it and not used yet: it goes before all others.
    first: bool,
    /// When its next turn is due.
    due: u64,
    waiting: VecDeque<Waiter>,
}

impl Queue {
    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Whether somebody other than this waiter is next. A newcomer that goes first passes those who do not.
    pub(super) fn is_closed_to(&self, id: Option<u64>, first: bool) -> bool {
        let Some(line) = self.next_line() else { return false };
        (line.first || !first) && line.waiting.front().map(|head| head.id) != id
    }

    /// Sorts out which callers go first.
    pub(super) fn put_first(&mut self, first: impl Fn(u16) -> bool) {
        self.lines.iter_mut().for_each(|line| line.first = first(line.caller));
    }

    /// Who is next.
    pub(super) fn head(&self) -> Option<&Waiter> {
        self.next_line().and_then(|line| line.waiting.front())
    }

    fn next_line(&self) -> Option<&Line> {
        let lines = self.lines.iter().filter(|line| !line.waiting.is_empty());
        lines.min_by_key(|line| (!line.first, line.due, line.caller))
    }

    /// How many would have their turn before a newcomer of this caller.
    pub(super) fn ahead_of(&self, caller: u16, weight: u32, first: bool) -> usize {
        let stride = stride(weight);
        let own = self.lines.iter().find(|line| line.caller == caller);
        let place = own.map_or(0, |line| line.waiting.len() as u64);
        let due = own.map_or(self.turn, |line| line.due.max(self.turn)).saturating_add(place * stride);
        let before = |line: &Line| {
            if line.caller == caller {
                return line.waiting.len();
            }
            if first && !line.first {
                return 0;
            }
            // Turns due before, and the one due at the same time if it goes first.
            let gap = due.saturating_sub(line.due);
            let tie = line.due <= due && gap % line.stride == 0 && line.caller < caller;
            let turns = gap.div_ceil(line.stride) + u64::from(tie);
            line.waiting.len().min(usize::try_from(turns).unwrap_or(usize::MAX))
        };
        self.lines.iter().map(before).sum()
    }

    /// Lets one more wait. A full queue makes room at the cost of whoever waits most for his weight; `None` if that
    /// is the newcomer.
    pub(super) fn join(&mut self, caller: u16, weight: u32, first: bool) -> Option<Waiter> {
        if self.waiting >= WAITING_MAX && !self.make_room(caller, weight) {
            return None;
        }
        let waiter = Waiter { id: self.next_id, bell: Arc::default() };
        self.next_id += 1;
        self.waiting += 1;
        let place = self.lines.iter().position(|line| line.caller == caller).unwrap_or_else(|| {
            self.lines.push(Line {
                caller,
                stride: stride(weight),
                first,
                due: self.turn,
                waiting: VecDeque::new(),
            });
            self.lines.len() - 1
        });
        let line = &mut self.lines[place];
        (line.first, line.due) = (first, line.due.max(self.turn));
        line.waiting.push_back(waiter.clone());
        Some(waiter)
    }

    fn make_room(&mut self, caller: u16, weight: u32) -> bool {
        let load = |line: &Line| line.waiting.len() as u64 * line.stride;
        let own = self.lines.iter().find(|line| line.caller == caller).map_or(0, load) + stride(weight);
        let Some(heaviest) = self.lines.iter_mut().max_by_key(|line| load(line)) else { return false };
        if load(heaviest) <= own {
            return false;
        }
        let Some(evicted) = heaviest.waiting.back().cloned() else { return false };
        evicted.bell.evict();
        self.leave(evicted.id);
        true
    }

    /// A waiter had its turn.
    pub(super) fn served(&mut self, id: u64) {
        let Some(line) = self.lines.iter_mut().find(|line| line.waiting.iter().any(|waiter| waiter.id == id))
        else {
            return;
        };
        self.turn = self.turn.max(line.due);
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
        self.lines.retain(|line| !line.waiting.is_empty() || line.due > self.turn);
    }

    /// Tells whoever is next to look.
    pub(super) fn ring_head(&self) {
        if let Some(head) = self.head() {
            head.bell.ring();
        }
    }
}

fn stride(weight: u32) -> u64 {
    STRIDE / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(queue: &mut Queue, owners: &[(u64, u16)]) -> Vec<u16> {
        let mut order = Vec::new();
        while let Some(id) = queue.head().map(|head| head.id) {
            order.extend(owners.iter().find(|(known, _)| *known == id).map(|(_, caller)| *caller));
            queue.served(id);
        }
        order
    }

    fn join(queue: &mut Queue, caller: u16, weight: u32) -> (u64, u16) {
        (queue.join(caller, weight, false).expect("room").id, caller)
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
        assert_eq!(queue.head().map(|head| head.id), Some(first_of_one));
        let order = serve(&mut queue, &owners);
        for turn in order.chunks(3) {
            assert_eq!(
                turn.iter().filter(|caller| **caller == 1).count(),
                2,
                "two turns of three: {order:?}"
            );
        }
    }

    #[test]
    fn a_flood_delays_a_modest_caller_by_its_share_only() {
        let mut queue = Queue::default();
        let mut owners: Vec<_> = (0..900).map(|_| join(&mut queue, 1, 1)).collect();
        assert_eq!(queue.ahead_of(2, 1, false), 1, "a newcomer is behind the flood's next turn only");
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
        while let Some(id) = queue.head().map(|head| head.id) {
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
        let flood: Vec<_> = (0..WAITING_MAX).map(|_| queue.join(1, 1, false).expect("room")).collect();
        assert!(queue.join(1, 1, false).is_none(), "the flood itself gets no more");
        assert!(queue.join(2, 1, false).is_some());
        assert_eq!(queue.len(), WAITING_MAX);
        let newest = flood.last().expect("many");
        assert!(newest.bell.evicted(), "the newest of the flood made room");
        assert!(flood[..flood.len() - 1].iter().all(|waiter| !waiter.bell.evicted()));
    }

    #[test]
    fn who_leaves_is_not_served_and_the_next_is_told() {
        let mut queue = Queue::default();
        let [first, second] =
            [queue.join(1, 1, false).expect("room"), queue.join(1, 1, false).expect("room")];
        assert!(
            queue.is_closed_to(None, false)
                && queue.is_closed_to(Some(second.id), false)
                && !queue.is_closed_to(Some(first.id), false)
        );
        queue.leave(first.id);
        queue.ring_head();
        assert!(!queue.is_closed_to(Some(second.id), false));
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(second.bell.poll(&cx).is_ready());
        assert!(second.bell.poll(&cx).is_pending(), "once a ring");
        assert_eq!(queue.len(), 1);
    }
}
