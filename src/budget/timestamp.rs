//! Time as the budgets see it: passed in, never read, so that tests move it.

use std::ops::Add;
use std::time::Duration;

/// Microseconds since the process started, on a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The smallest step. Times are rounded down to it, so whatever must not end early ends one tick later.
    pub const TICK: Duration = Duration::from_micros(1);

    /// A moment this long after the start.
    pub fn after_start(elapsed: Duration) -> Self {
        Self(micros(elapsed).min(u64::MAX >> 16))
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The inverse of [`Self::as_micros`].
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Time since an earlier moment; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

/// In 64 bits: the standard library's 128 take longer than the rest of a decision's arithmetic.
const fn micros(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000).saturating_add(span.subsec_micros() as u64)
}
