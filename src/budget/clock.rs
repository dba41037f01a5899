//! The monotonic clock that the budgets use.

use std::time::{Duration, Instant};

use super::Timestamp;

/// A monotonic clock. Its timestamps start 64 days before the process, so that calls of a former process have
/// one.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// The time before the start for which timestamps exist: longer than the longest window with its guard.
    const PAST: Duration = Duration::from_hours(24 * 64);

    /// Starts a clock at the present, with room for the calls of a former process.
    pub fn start() -> Self {
        let now = Instant::now();
        Self(now.checked_sub(Self::PAST).unwrap_or(now))
    }

    /// Time since [`Self::start`] was called.
    pub fn uptime(&self) -> Duration {
        self.0.elapsed().saturating_sub(Self::PAST)
    }

    /// The present time. A test can set it (`test_time::set`).
    pub fn now(&self) -> Timestamp {
        Timestamp::after_start(self.0.elapsed())
    }

    /// Converts a timestamp to an instant of the standard library.
    pub fn instant(&self, timestamp: Timestamp) -> Instant {
        self.0 + timestamp.since(Timestamp::default())
    }

    /// Converts an instant to a timestamp; one before the clock's origin becomes the origin.
    pub fn at(&self, instant: Instant) -> Timestamp {
        Timestamp::after_start(instant.saturating_duration_since(self.0))
    }
}
