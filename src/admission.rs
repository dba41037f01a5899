//! The limits on requests and bodies, in total and for each caller, which gets at most half.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::body_reader::{BodyReservation, Counted, MemoryLimit};
use crate::config::Limits;
use crate::refusal::Refusal;

/// The phases of the process, in their order.
const SERVING: u8 = 0;
const LEAVING: u8 = 1;
const DRAINING: u8 = 2;

/// The totals of the whole gateway.
pub struct Admission {
    in_flight: InFlightCount,
    memory: Arc<MemoryLimit>,
    /// Memory of unfinished heads, and of answers that callers do not read.
    pub heads: Arc<MemoryLimit>,
    /// Open connections of callers.
    pub connections: InFlightCount,
    /// Memory of bodies that wait for a budget: at most half of all memory for bodies.
    waiting: Arc<MemoryLimit>,
    phase: AtomicU8,
    drain_started: Notify,
}

/// The totals of one caller. Clones share them.
#[derive(Clone)]
pub struct CallerAdmission {
    in_flight: InFlightCount,
    memory: Arc<MemoryLimit>,
}

/// A shared count with a limit.
#[derive(Clone)]
pub struct InFlightCount(Arc<Limited>);

struct Limited {
    now: AtomicUsize,
    limit: AtomicUsize,
}

/// One place in an [`InFlightCount`], which is free again when it is dropped.
pub struct InFlightGuard(Arc<Limited>);

impl InFlightCount {
    fn new(limit: usize) -> Self {
        Self(Arc::new(Limited { now: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }))
    }

    /// Takes a place, if one is free.
    pub fn enter(&self) -> Option<InFlightGuard> {
        let place = InFlightGuard(Arc::clone(&self.0));
        // The guard gives its place back, also if it was one too many.
        let limit = self.0.limit.load(Ordering::Relaxed);
        (self.0.now.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }

    /// Changes the limit. Places that are taken stay taken.
    fn resize(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Number of places taken.
    pub fn now(&self) -> usize {
        self.0.now.load(Ordering::Relaxed)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// Creates empty totals with these limits.
    pub fn new(limits: &Limits) -> Self {
        Self {
            in_flight: InFlightCount::new(limits.in_flight),
            memory: MemoryLimit::new(limits.body_memory_bytes),
            heads: MemoryLimit::new(limits.head_memory_bytes),
            connections: InFlightCount::new(limits.connections),
            waiting: MemoryLimit::new(limits.body_memory_bytes / 2),
            phase: AtomicU8::new(SERVING),
            drain_started: Notify::new(),
        }
    }

    /// Applies changed limits; what is admitted stays admitted.
    pub fn resize(&self, limits: &Limits) {
        self.in_flight.resize(limits.in_flight);
        self.memory.resize(limits.body_memory_bytes);
        self.heads.resize(limits.head_memory_bytes);
        self.connections.resize(limits.connections);
        self.waiting.resize(limits.body_memory_bytes / 2);
    }

    /// Admits one more request of a caller; fails at the limit of either total.
    pub fn enter(&self, caller: &CallerAdmission) -> Result<[InFlightGuard; 2], Refusal> {
        let overloaded = || Refusal::Overloaded { what: "requests at once" };
        let whole = self.in_flight.enter().ok_or_else(overloaded)?;
        let own = caller.in_flight.enter().ok_or_else(overloaded)?;
        Ok([whole, own])
    }

    /// Starts the memory reservation of one body.
    pub fn hold(&self, caller: &CallerAdmission) -> BodyReservation {
        BodyReservation::new(&self.memory, &caller.memory)
    }

    /// Requests being served, including those whose callers are gone.
    pub fn in_flight(&self) -> usize {
        self.in_flight.now()
    }

    /// Bytes of bodies held in memory.
    pub fn body_memory_bytes(&self) -> usize {
        self.memory.used()
    }

    /// Starts to stop: the gateway is not ready any more and keeps no connections open, but serves until callers have
    /// noticed.
    pub fn start_leaving(&self) {
        self.phase.fetch_max(LEAVING, Ordering::Release);
    }

    /// Stops dispatching new calls.
    pub fn start_draining(&self) {
        self.phase.fetch_max(DRAINING, Ordering::Release);
        self.drain_started.notify_waiters();
    }

    /// Returns once no new call is dispatched any more.
    pub async fn drain_started(&self) {
        let started = self.drain_started.notified();
        if !self.draining() {
            started.await;
        }
    }

    /// Counts a body that waits for a budget; `None` if waiting bodies already use too much memory.
    pub fn wait_with(&self, bytes: usize) -> Option<Counted> {
        MemoryLimit::count(&self.waiting, bytes)
    }

    /// Whether the gateway is stopping.
    pub fn leaving(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= LEAVING
    }

    /// Whether new calls are refused.
    pub fn draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= DRAINING
    }
}

impl CallerAdmission {
    /// Creates the empty totals of one caller.
    pub fn new(limits: &Limits) -> Self {
        Self {
            in_flight: InFlightCount::new(half(limits.in_flight)),
            memory: MemoryLimit::new(half(limits.body_memory_bytes)),
        }
    }

    /// Applies changed limits to the caller; what is admitted stays admitted.
    pub fn resize(&self, limits: &Limits) {
        self.in_flight.resize(half(limits.in_flight));
        self.memory.resize(half(limits.body_memory_bytes));
    }
}

fn half(limit: usize) -> usize {
    (limit / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_at_most_half_and_places_come_back() {
        let count = InFlightCount::new(2);
        let (first, second) = (count.enter(), count.enter());
        assert!(first.is_some() && second.is_some());
        assert!(count.enter().is_none());
        assert_eq!(count.now(), 2, "the refused place was given back");
        drop(first);
        assert!(count.enter().is_some());
    }

    #[test]
    fn another_limit_holds_at_once_and_evicts_nobody() {
        let count = InFlightCount::new(2);
        let places = [count.enter(), count.enter()];
        count.resize(1);
        assert!(places.iter().all(Option::is_some) && count.enter().is_none());
        count.resize(3);
        assert!(count.enter().is_some());
    }
}
