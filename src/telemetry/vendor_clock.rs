//! A comparison of the vendor's clock with ours. The vendor runs schedules and dates reports by its own clock, so
//! operators have to know of a large difference.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::http1::fields::Fields;

/// The largest difference that is not reported.
const OFF_MAX: Duration = Duration::from_mins(1);
/// Time between two comparisons.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Time after a warning until the next comparison.
const PAUSE_AFTER_WARNING: Duration = Duration::from_hours(1);

/// Schedules the comparisons of the vendor's clock with ours.
pub struct VendorClock {
    start: Instant,
    /// The time of the next comparison, in milliseconds since the start.
    due: AtomicU64,
}

impl Default for VendorClock {
    fn default() -> Self {
        Self { start: Instant::now(), due: AtomicU64::new(0) }
    }
}

impl VendorClock {
    /// Compares the `Date` of an answer that arrived just now with our clock if a comparison is due, and logs a large
    /// difference.
    pub fn compare(&self, arrived: Instant, fields: &Fields) {
        let date = || httpdate::parse_http_date(fields.get("Date")?.text()?).ok();
        if let Some(off) = self.difference((arrived, SystemTime::now), date) {
            let (seconds, direction) = match off {
                Ok(ahead) => (ahead.as_secs(), "ahead of ours"),
                Err(behind) => (behind.as_secs(), "behind ours"),
            };
            tracing::warn!(seconds, "the vendor's clock is {direction}: one of them is wrong");
        }
    }

    /// The difference to report: how far the vendor's clock is ahead (`Ok`) or behind (`Err`).
    fn difference(
        &self,
        (arrived, now): (Instant, impl FnOnce() -> SystemTime),
        date: impl FnOnce() -> Option<SystemTime>,
    ) -> Option<Result<Duration, Duration>> {
        let elapsed = arrived.saturating_duration_since(self.start);
        let due = self.due.load(Ordering::Relaxed);
        if millis(elapsed) < due {
            return None;
        }
        let off = date().map(|date| date.duration_since(now()).map_err(|behind| behind.duration()));
        let off = off.filter(|(Ok(off) | Err(off))| *off > OFF_MAX);
        let next = millis(elapsed + if off.is_some() { PAUSE_AFTER_WARNING } else { LOOK_EVERY });
        // Of several answers at the same time, only one is compared.
        self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).ok().and(off)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_difference_is_told_once_an_hour() {
        let clock = VendorClock::default();
        let seconds = Duration::from_secs;
        let now = SystemTime::UNIX_EPOCH + seconds(1_000_000);
        let at = |elapsed, date| clock.difference((clock.start + seconds(elapsed), || now), || date);
        let (ahead, behind) = (now + seconds(7_200), now - seconds(61));
        assert_eq!(at(0, Some(now + seconds(60))), None, "as much as may be");
        assert_eq!(at(59, Some(ahead)), None, "not looked at");
        assert_eq!(at(60, Some(ahead)), Some(Ok(seconds(7_200))));
        assert_eq!(at(3_659, Some(ahead)), None, "told already");
        assert_eq!(at(3_660, Some(behind)), Some(Err(seconds(61))));
        assert_eq!(at(7_260, None), None, "no date, or none that can be read");
        assert_eq!(at(7_320, Some(behind)), Some(Err(seconds(61))));
    }
}
