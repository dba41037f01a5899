//! Time as the budgets see it: always passed in, so that tests can set it.

use std::ops::Add;
use std::time::Duration;

/// A time on a monotonic clock, in microseconds since the origin of its [`Clock`](super::Clock).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The smallest step. Timestamps are rounded down to it, so what must not end early ends one tick later.
    pub const TICK: Duration = Duration::from_micros(1);

    /// The timestamp this long after the origin.
    pub fn after_start(elapsed: Duration) -> Self {
        Self(micros(elapsed).min(u64::MAX >> 16))
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The inverse of [`Self::as_micros`].
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Time since `earlier`; zero if `earlier` is not earlier.
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

/// A span in microseconds. Computes in 64 bits: the 128 bits of `Duration::as_micros` take longer than the rest of a
/// decision's arithmetic.
pub(super) const fn micros(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000).saturating_add(span.subsec_micros() as u64)
}
