//! Detection of stuck workers: each reports at least every second that its thread runs its tasks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The value of a worker that has ended and therefore is not stuck.
const ENDED: u64 = u64::MAX;

/// The time of each worker's last report.
pub struct Liveness {
    start: Instant,
    /// Milliseconds since the start.
    reported: Vec<AtomicU64>,
}

impl Liveness {
    pub(super) fn new(workers: usize) -> Self {
        Self { start: Instant::now(), reported: (0..workers).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn report(&self, worker: usize, now: Instant) {
        self.reported[worker].store(self.millis(now), Ordering::Relaxed);
    }

    pub(super) fn ended(&self, worker: usize) {
        self.reported[worker].store(ENDED, Ordering::Relaxed);
    }

    /// Whether every worker reported within the last `longest`.
    pub fn all_within(&self, longest: Duration, now: Instant) -> bool {
        let since = self.millis(now).saturating_sub(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        self.reported.iter().all(|reported| reported.load(Ordering::Relaxed) >= since)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(ENDED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_silent_too_long_is_stuck_and_one_that_ended_is_not() {
        let liveness = Liveness::new(2);
        let at = |seconds| liveness.start + Duration::from_secs(seconds);
        let longest = Duration::from_secs(10);
        assert!(liveness.all_within(longest, at(10)));
        liveness.report(0, at(9));
        assert!(!liveness.all_within(longest, at(11)), "the other one");
        liveness.ended(1);
        assert!(liveness.all_within(longest, at(19)) && !liveness.all_within(longest, at(20)));
    }
}
