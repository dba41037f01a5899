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
        assert!(!(before + Duration::from_mins(1)).has_come());
    }
}
