//! Pacing by governor's GCRA, with two things that it lacks: a refund, and time that is passed in.
//!
//! GCRA alone would admit 2N-1 calls in a window of N, so it guards neither a budget nor a quota; it smooths bursts.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::timestamp::Timestamp;
use crate::config::BudgetLimit;

/// One GCRA limiter. It is used under the lock of its budget or quota; the atomics only satisfy governor's traits.
pub(super) struct Pace {
    limiter: RateLimiter<NotKeyed, ArrivalTime, ManualClock, NoOpMiddleware<Nanos>>,
    arrival: ArrivalTime,
    clock: ManualClock,
    interval_nanos: u64,
}

impl Pace {
    /// Spreads `limit` calls over `window`; `burst` of them (all, if not given) may go at once.
    pub(super) fn new(limit: &BudgetLimit) -> Self {
        let interval = (limit.window / limit.limit.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval)
            .expect("the interval is at least one nanosecond")
            .allow_burst(limit.burst.unwrap_or(limit.limit).max(NonZeroU32::MIN));
        let (arrival, clock) = (ArrivalTime::default(), ManualClock::default());
        let limiter = RateLimiter::new(quota, arrival.clone(), clock.clone());
        Self { limiter, arrival, clock, interval_nanos: Nanos::from(interval).as_u64() }
    }

    /// Takes one call, or returns the time until one is available.
    pub(super) fn take(&self, now: Timestamp) -> Result<(), Duration> {
        self.clock.0.store(now.as_micros().saturating_mul(1_000), Relaxed);
        self.limiter.check().map_err(|not_until| {
            // Rounded up to the next tick, because timestamps are rounded down.
            let nanos = not_until.wait_time_from(self.clock.now()).as_nanos();
            let micros = nanos.div_ceil(Timestamp::TICK.as_nanos()).max(1);
            Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
        })
    }

    /// Time until one call is available; zero if it is now. Takes nothing.
    pub(super) fn until_free(&self, now: Timestamp) -> Duration {
        let arrival = self.arrival.0.load(Relaxed);
        let wait = self.take(now).err().unwrap_or_default();
        self.arrival.0.store(arrival, Relaxed);
        wait
    }

    /// Gives one call back by moving the theoretical arrival time back by one interval.
    pub(super) fn refund(&self) {
        let arrival = self.arrival.0.load(Relaxed);
        self.arrival.0.store(arrival.saturating_sub(self.interval_nanos), Relaxed);
    }
}

/// GCRA's state, the theoretical arrival time in nanoseconds, shared with [`Pace::refund`].
#[derive(Clone, Default)]
struct ArrivalTime(Arc<AtomicU64>);

impl StateStore for ArrivalTime {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, arrival) = decide(Some(Nanos::from(self.0.load(Relaxed))))?;
        self.0.store(arrival.as_u64(), Relaxed);
        Ok(outcome)
    }
}

/// A clock that [`Pace::take`] sets before each decision.
#[derive(Clone, Default)]
struct ManualClock(Arc<AtomicU64>);

impl Clock for ManualClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Relaxed))
    }
}
