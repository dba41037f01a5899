//! The timer of each connection: its activity, its timeouts, and the order to close.
//!
//! One sweep per worker checks all connections, instead of two timers for each request: a header timeout by a tokio
//! timer was measured at 3 % of the CPU of a push.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use crate::lock::lock;

/// Time after which an idle connection is polled once, if it asked for that: longer than the resend guard usually
/// takes.
const REMINDER: Duration = Duration::from_secs(3);

/// The timers of a worker's connections, and its coarse clock.
pub(super) struct ConnectionTimers {
    start: Instant,
    now_ms: AtomicU32,
    limits: ConnectionTimeouts,
    connections: Mutex<Vec<Weak<ConnectionTimer>>>,
}

/// The timeouts of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionTimeouts {
    /// The longest time for receiving a head.
    pub(super) head: Duration,
    /// The longest time without a request.
    pub(super) idle: Duration,
}

impl ConnectionTimeouts {
    /// Interval of the sweep, so that no timeout is late by more than a quarter of it, or by a second.
    pub(super) fn period(self) -> Duration {
        (self.head.min(self.idle) / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// The timer of one connection.
pub(super) struct ConnectionTimer {
    timers: Arc<ConnectionTimers>,
    /// Requests being served on the connection.
    active: AtomicU32,
    head_begun: AtomicU8,
    since_ms: AtomicU32,
    /// Whether the connection asked to be polled when nothing has happened for [`REMINDER`].
    wants_reminder: AtomicBool,
    order: AtomicU8,
    waker: AtomicWaker,
    /// Answers that wait to be received, on a connection with several requests at once.
    answers: Mutex<Vec<Arc<Progress>>>,
}

/// The last progress of an answer.
struct Progress {
    since_ms: AtomicU32,
}

/// The order to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum CloseOrder {
    /// Continue to serve requests.
    Serve = 0,
    /// Close after the next answer, or at once if none is pending.
    Finish = 1,
    /// Close at once, without an answer.
    Close = 2,
}

impl ConnectionTimers {
    pub(super) fn new(limits: ConnectionTimeouts) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            now_ms: AtomicU32::new(0),
            limits,
            connections: Mutex::default(),
        })
    }

    /// Adds the timer of a new connection.
    pub(super) fn add(self: &Arc<Self>) -> Arc<ConnectionTimer> {
        let timer = Arc::new(ConnectionTimer {
            timers: Arc::clone(self),
            active: AtomicU32::new(0),
            head_begun: AtomicU8::new(0),
            since_ms: AtomicU32::new(self.now_ms.load(Relaxed)),
            wants_reminder: AtomicBool::new(false),
            order: AtomicU8::new(CloseOrder::Serve as u8),
            waker: AtomicWaker::new(),
            answers: Mutex::default(),
        });
        self.lock().push(Arc::downgrade(&timer));
        timer
    }

    /// Advances the clock and orders connections to close that exceeded a timeout.
    pub(super) fn sweep(&self) {
        let now = clock_ms(self.start.elapsed());
        self.now_ms.store(now, Relaxed);
        self.lock().retain(|timer| {
            let Some(timer) = timer.upgrade() else { return false };
            if timer.is_late(now, self.limits) {
                timer.give_order(CloseOrder::Close);
            } else if timer.stuck(now, self.limits) > 0 {
                // No further requests: once those under way are finished, only the stuck answers are left.
                timer.give_order(CloseOrder::Finish);
            } else if timer.is_reminder_due(now) {
                timer.wants_reminder.store(false, Relaxed);
                timer.waker.wake();
            }
            true
        });
    }

    /// Gives an order to every connection.
    pub(super) fn order_all(&self, order: CloseOrder) {
        self.lock().iter().filter_map(Weak::upgrade).for_each(|timer| timer.give_order(order));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<ConnectionTimer>>> {
        lock(&self.connections)
    }
}

/// Milliseconds, which wrap around every 49.7 days; only differences are used.
fn clock_ms(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_millis() & u128::from(u32::MAX)).expect("32 bits")
}

impl ConnectionTimer {
    /// Records that a head, or the preface before the first one, has begun. Only its beginning starts the timeout.
    pub(super) fn head_begins(&self) {
        if self.active.load(Relaxed) == 0 && self.head_begun.swap(1, Relaxed) == 0 {
            self.touch();
        }
    }

    /// Records that the head is complete.
    pub(super) fn head_ends(&self) {
        self.head_begun.store(0, Relaxed);
    }

    /// Records that bytes of an answer were sent.
    pub(super) fn sent(&self) {
        self.touch();
    }

    /// Records that an answer starts to wait, on a connection where several can.
    pub(super) fn answer_waits(self: &Arc<Self>) -> PendingAnswer {
        let progress = Arc::new(Progress { since_ms: self.timers.now_ms.load(Relaxed).into() });
        self.answers().push(Arc::clone(&progress));
        PendingAnswer { timer: Arc::clone(self), progress }
    }

    /// Number of answers that wait.
    pub(super) fn answers_waiting(&self) -> usize {
        self.answers().len()
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Arc<Progress>>> {
        lock(&self.answers)
    }

    /// Counts a request as being served until the guard is dropped.
    pub(super) fn serving(self: &Arc<Self>) -> ServingRequest {
        self.active.fetch_add(1, Relaxed);
        self.head_begun.store(0, Relaxed);
        ServingRequest(Arc::clone(self))
    }

    /// Asks for a poll once nothing has happened for [`REMINDER`]; returns whether that was not asked for already.
    pub(super) fn ask_for_reminder(&self) -> bool {
        !self.wants_reminder.swap(true, Relaxed)
    }

    fn is_reminder_due(&self, now_ms: u32) -> bool {
        self.wants_reminder.load(Relaxed)
            && self.active.load(Relaxed) == 0
            && u128::from(now_ms.wrapping_sub(self.since_ms.load(Relaxed))) > REMINDER.as_millis()
    }

    /// The present order; the task is woken when it changes.
    pub(super) fn order(&self, cx: &std::task::Context<'_>) -> CloseOrder {
        self.waker.register(cx.waker());
        match self.order.load(Relaxed) {
            0 => CloseOrder::Serve,
            1 => CloseOrder::Finish,
            // The order to close can be out of date: a request may have arrived in the meantime.
            _ if self.is_late(self.timers.now_ms.load(Relaxed), self.timers.limits) => CloseOrder::Close,
            _ => CloseOrder::Finish,
        }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn is_in_head(&self) -> bool {
        self.head_begun.load(Relaxed) == 1
    }

    /// Whether the connection is to close after its answers.
    pub(super) fn finishes(&self) -> bool {
        self.order.load(Relaxed) != CloseOrder::Serve as u8
    }

    /// Orders the connection to close after its answers.
    pub(super) fn finish(&self) {
        self.give_order(CloseOrder::Finish);
    }

    fn give_order(&self, order: CloseOrder) {
        self.order.fetch_max(order as u8, Relaxed);
        self.waker.wake();
    }

    fn touch(&self) {
        self.since_ms.store(self.timers.now_ms.load(Relaxed), Relaxed);
    }

    fn is_late(&self, now_ms: u32, limits: ConnectionTimeouts) -> bool {
        if self.active.load(Relaxed) > 0 {
            return false;
        }
        let waiting = self.answers_waiting();
        if waiting > 0 {
            return self.stuck(now_ms, limits) == waiting;
        }
        let limit = if self.head_begun.load(Relaxed) == 1 { limits.head } else { limits.idle };
        u128::from(now_ms.wrapping_sub(self.since_ms.load(Relaxed))) > limit.as_millis()
    }

    /// Number of answers that made no progress for longer than the idle timeout.
    fn stuck(&self, now_ms: u32, limits: ConnectionTimeouts) -> usize {
        let is_stuck = |answer: &&Arc<Progress>| {
            u128::from(now_ms.wrapping_sub(answer.since_ms.load(Relaxed))) > limits.idle.as_millis()
        };
        self.answers().iter().filter(is_stuck).count()
    }
}

/// An answer that waits until this is dropped.
pub(super) struct PendingAnswer {
    timer: Arc<ConnectionTimer>,
    progress: Arc<Progress>,
}

impl PendingAnswer {
    /// Records that some of the answer was taken, or that there is more of it.
    pub(super) fn progressed(&self) {
        self.progress.since_ms.store(self.timer.timers.now_ms.load(Relaxed), Relaxed);
    }

    /// Counts the vendor as awaited, and not the caller, until the guard is dropped.
    pub(super) fn serving(&self) -> ServingRequest {
        self.timer.serving()
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.timer.answers().retain(|other| !Arc::ptr_eq(other, &self.progress));
        self.timer.touch();
    }
}

/// A request that is being served.
pub(super) struct ServingRequest(Arc<ConnectionTimer>);

impl Drop for ServingRequest {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
        self.0.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionTimeouts =
        ConnectionTimeouts { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    #[test]
    fn each_phase_has_its_own_patience() {
        let timer = ConnectionTimers::new(LIMITS).add();
        let late_at = |seconds: u32| timer.is_late(seconds * 1_000 + 1, LIMITS);
        assert!(!late_at(74) && late_at(75), "no request");
        timer.head_begins();
        assert!(!late_at(9) && late_at(10), "half a head");
        let serving = timer.serving();
        assert!(!late_at(1_000), "a request has its own deadlines");
        drop(serving);
        assert!(!late_at(74) && late_at(75), "no request again");
        timer.head_begins();
        timer.head_ends();
        assert!(!late_at(74) && late_at(75), "a head that is whole");
    }

    #[test]
    fn answers_that_nobody_takes_end_a_connection_and_those_that_are_taken_do_not() {
        let timers = ConnectionTimers::new(LIMITS);
        let timer = timers.add();
        let order = || timer.order(&std::task::Context::from_waker(std::task::Waker::noop()));
        let at = |seconds: u32| timers.now_ms.store(seconds * 1_000, Relaxed);
        let late = |seconds: u32| timer.is_late(seconds * 1_000, LIMITS);
        let (first, second) = (timer.answer_waits(), timer.answer_waits());
        at(70);
        second.progressed();
        timer.sent();
        assert!(!late(76) && timer.stuck(76_000, LIMITS) == 1, "only one of them is stuck");
        assert!(late(146), "both are");
        drop(second);
        assert!(late(76), "all answers that are left are stuck");
        let serving = timer.serving();
        assert!(!late(146), "a request is finished first");
        drop((serving, first));
        assert!(!late(140) && late(146), "no request since");
        assert_eq!(order(), CloseOrder::Serve);
    }

    #[test]
    fn orders_only_get_stricter() {
        let timers = ConnectionTimers::new(LIMITS);
        let timer = timers.add();
        let order = || timer.order(&std::task::Context::from_waker(std::task::Waker::noop()));
        assert_eq!(order(), CloseOrder::Serve);
        timers.now_ms.store(75_001, Relaxed);
        timers.order_all(CloseOrder::Close);
        timers.order_all(CloseOrder::Finish);
        assert_eq!(order(), CloseOrder::Close);
    }

    #[test]
    fn a_request_that_comes_with_the_order_to_close_is_finished() {
        let timers = ConnectionTimers::new(LIMITS);
        let timer = timers.add();
        let order = || timer.order(&std::task::Context::from_waker(std::task::Waker::noop()));
        timers.now_ms.store(75_001, Relaxed);
        timer.give_order(CloseOrder::Close);
        let serving = timer.serving();
        assert_eq!(order(), CloseOrder::Finish);
        drop(serving);
        timer.sent();
        assert_eq!(order(), CloseOrder::Finish, "its answer may be half written");
        timers.now_ms.store(150_003, Relaxed);
        assert_eq!(order(), CloseOrder::Close, "the caller does not read it");
    }

    #[test]
    fn the_clock_may_start_again() {
        let day = Duration::from_hours(24);
        let wrap = Duration::from_millis(1 << 32);
        assert_eq!((clock_ms(day), clock_ms(wrap + day)), (86_400_000, 86_400_000));
        let timers = ConnectionTimers::new(LIMITS);
        timers.now_ms.store(clock_ms(wrap.checked_sub(Duration::from_secs(1)).expect("later")), Relaxed);
        let timer = timers.add();
        assert!(!timer.is_late(clock_ms(wrap + Duration::from_secs(73)), LIMITS));
        assert!(timer.is_late(clock_ms(wrap + Duration::from_secs(75)), LIMITS));
    }
}
