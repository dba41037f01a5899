//! Pacing and quotas: governor's GCRA, with the two things it lacks here: a refund, and time that is passed in.
//!
//! GCRA alone would admit 2N-1 calls in a window of N, so it never guards the vendor's budget; it spreads one
//! caller's share and smooths bursts.

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

/// One GCRA limiter. It lives under its owner's lock; the atomics only satisfy governor's traits.
pub(super) struct Pace {
    limiter: RateLimiter<NotKeyed, ArrivalTime, Hand, NoOpMiddleware<Nanos>>,
    arrival: ArrivalTime,
    hand: Hand,
    interval_nanos: u64,
}

impl Pace {
    /// Spreads `limit` calls over `window`, of which `burst` (all, if not given) may go at once.
    pub(super) fn new(limit: &BudgetLimit) -> Self {
        let interval = (limit.window / limit.limit.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval)
            .expect("the interval is at least one nanosecond")
            .allow_burst(limit.burst.unwrap_or(limit.limit).max(NonZeroU32::MIN));
        let (arrival, hand) = (ArrivalTime::default(), Hand::default());
        let limiter = RateLimiter::new(quota, arrival.clone(), hand.clone());
        Self { limiter, arrival, hand, interval_nanos: Nanos::from(interval).as_u64() }
    }

    /// Takes one call's share, or tells how long until there is one.
    pub(super) fn take(&self, now: Timestamp) -> Result<(), Duration> {
        self.hand.0.store(now.as_micros().saturating_mul(1_000), Relaxed);
        self.limiter.check().map_err(|not_until| {
            // Up to the next tick: moments are rounded down to one.
            let nanos = not_until.wait_time_from(self.hand.now()).as_nanos();
            let micros = nanos.div_ceil(Timestamp::TICK.as_nanos()).max(1);
            Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
        })
    }

    /// How long until there is one call's share; zero if there is one.
    pub(super) fn until_free(&self, now: Timestamp) -> Duration {
        let arrival = self.arrival.0.load(Relaxed);
        let wait = self.take(now).err().unwrap_or_default();
        self.arrival.0.store(arrival, Relaxed);
        wait
    }

    /// Gives one call's share back: the theoretical arrival time goes back by one interval.
    pub(super) fn refund(&self) {
        let arrival = self.arrival.0.load(Relaxed);
        self.arrival.0.store(arrival.saturating_sub(self.interval_nanos), Relaxed);
    }
}

/// GCRA's state, the theoretical arrival time in nanoseconds, where a refund can reach it.
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

/// A clock that is set by hand before each decision.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Relaxed))
    }
}
