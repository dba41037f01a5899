//! A clock that runs on while the process is stopped and while the machine sleeps.
//!
//! [`Instant`](std::time::Instant) is `CLOCK_MONOTONIC` on Linux, which stands still while the machine sleeps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A time since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// The time now.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self(Duration::try_from(now).expect("the clock begins at zero"))
    }

    /// The span from an earlier time to this one; zero if the other one is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether it is now, or over.
    pub fn has_come(self) -> bool {
        Self::now() >= self
    }
}

impl std::ops::Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0 + span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let before = BootTime::now();
        assert!(before.has_come());
        let minute = Duration::from_mins(1);
        assert!(!(before + minute).has_come());
        assert_eq!(
            [(before + minute).since(before), before.since(before + minute)],
            [minute, Duration::ZERO]
        );
    }
}
