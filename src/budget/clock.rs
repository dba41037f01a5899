//! The clock of the budgets.

use std::time::{Duration, Instant};

use super::Timestamp;

/// Reads the monotonic clock budgets are kept by.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// How far back a clock can tell: longer than the longest window with its guard.
    const PAST: Duration = Duration::from_hours(24 * 64);

    /// A clock on which calls of a former process have a place as well.
    pub fn start() -> Self {
        let now = Instant::now();
        Self(now.checked_sub(Self::PAST).unwrap_or(now))
    }

    /// How long it runs.
    pub fn uptime(&self) -> Duration {
        self.0.elapsed().saturating_sub(Self::PAST)
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        Timestamp::after_start(self.0.elapsed())
    }

    /// The instant of a moment.
    pub fn instant(&self, timestamp: Timestamp) -> Instant {
        self.0 + timestamp.since(Timestamp::default())
    }

    /// The moment of an instant.
    pub fn at(&self, instant: Instant) -> Timestamp {
        Timestamp::after_start(instant.saturating_duration_since(self.0))
    }
}
