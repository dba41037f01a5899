//! The last hour by minutes: how many requests ended how, and how long the vendor took.
//!
//! A request adds to counters of its minute, without a lock. Sixty minutes are kept, whatever is asked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Minutes that are kept.
pub const MINUTES: usize = 60;
/// Steps of latency: each twice as long as the one before, the first one a millisecond.
const STEPS: usize = 16;

/// The outcome of a request, by its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Below 400.
    Good,
    /// 429.
    Limited,
    /// Any other below 500.
    Refused,
    /// 500 and above.
    Failed,
}

impl Ending {
    const COUNT: usize = 4;

    fn of(status: u16) -> Self {
        match status {
            ..400 => Self::Good,
            429 => Self::Limited,
            400..500 => Self::Refused,
            500.. => Self::Failed,
        }
    }
}

/// The counters of the last hour.
pub struct History([Minute; MINUTES]);

#[derive(Default)]
struct Minute {
    /// Minutes since 1970.
    of: AtomicU64,
    endings: [AtomicU32; Ending::COUNT],
    vendor: [AtomicU32; STEPS],
}

/// One minute as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MinuteReport {
    /// Requests answered below 400.
    pub good: u32,
    /// Requests answered with 429.
    pub limited: u32,
    /// Requests answered with another status below 500, or whose caller went away.
    pub refused: u32,
    /// Requests answered with 500 and above.
    pub failed: u32,
    /// Answers of the vendor.
    pub vendor_answers: u32,
    /// Half of the vendor's answers took no longer, in milliseconds, rounded up to a power of two.
    pub vendor_p50_ms: Option<u32>,
    /// Of a hundred answers, 99 took no longer.
    pub vendor_p99_ms: Option<u32>,
}

impl Default for History {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Minute::default()))
    }
}

impl History {
    /// Counts a request that ended, and how long the vendor's answer took, if there was one.
    pub fn add(&self, now: SystemTime, status: u16, vendor: Option<Duration>) {
        let minute = minute(now);
        let counters = self.at(minute);
        counters.begin(minute);
        counters.endings[Ending::of(status) as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(took) = vendor {
            counters.vendor[step(took)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The last hour, the minute of `now` last.
    pub fn last_hour(&self, now: SystemTime) -> Vec<MinuteReport> {
        let last = minute(now);
        (0..MINUTES as u64)
            .rev()
            .map(|ago| {
                let minute = last.saturating_sub(ago);
                let counters = self.at(minute);
                if counters.of.load(Ordering::Relaxed) == minute {
                    counters.report()
                } else {
                    MinuteReport::default()
                }
            })
            .collect()
    }

    fn at(&self, minute: u64) -> &Minute {
        &self.0[place(minute)]
    }
}

impl Minute {
    /// Sets the counters of an hour ago to zero. What others add at the same moment may be lost.
    fn begin(&self, minute: u64) {
        let before = self.of.load(Ordering::Relaxed);
        if before == minute {
            return;
        }
        let is_first = self.of.compare_exchange(before, minute, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first {
            self.endings.iter().chain(&self.vendor).for_each(|counter| counter.store(0, Ordering::Relaxed));
        }
    }

    fn report(&self) -> MinuteReport {
        let [good, limited, refused, failed] =
            self.endings.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        let vendor = self.vendor.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        let vendor_answers = vendor.iter().sum();
        let part = |hundredths: u64| {
            let wanted = (u64::from(vendor_answers) * hundredths).div_ceil(100);
            let mut seen = 0;
            let reached = |count: &u32| {
                seen += u64::from(*count);
                seen >= wanted
            };
            (vendor_answers > 0).then(|| vendor.iter().position(reached)).flatten().map(|step| 1 << step)
        };
        MinuteReport {
            good,
            limited,
            refused,
            failed,
            vendor_answers,
            vendor_p50_ms: part(50),
            vendor_p99_ms: part(99),
        }
    }
}

/// Minutes since 1970.
pub(super) fn minute(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60)
}

/// The place of a minute among those of an hour.
pub(super) fn place(minute: u64) -> usize {
    usize::try_from(minute % MINUTES as u64).expect("below sixty")
}

/// The first step that is no shorter.
fn step(took: Duration) -> usize {
    let millis = u64::try_from(took.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
    usize::try_from(millis.next_power_of_two().trailing_zeros()).map_or(STEPS - 1, |step| step.min(STEPS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_by_minutes() {
        let history = History::default();
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_020 + seconds);
        let millis = |millis| Some(Duration::from_millis(millis));
        for status in [200, 302, 429, 400, 499, 500, 504] {
            history.add(at(0), status, None);
        }
        for (count, took) in [(98, 3), (1, 90), (1, 40_000)] {
            (0..count).for_each(|_| history.add(at(60), 200, millis(took)));
        }
        let hour = history.last_hour(at(61));
        let before = MinuteReport { good: 2, limited: 1, refused: 2, failed: 2, ..MinuteReport::default() };
        assert_eq!((hour.len(), hour[58]), (60, before));
        let MinuteReport { good, vendor_answers, vendor_p50_ms, vendor_p99_ms, .. } = hour[59];
        assert_eq!((good, vendor_answers, vendor_p50_ms, vendor_p99_ms), (100, 100, Some(4), Some(128)));
        // An hour later the same counters are another minute's.
        history.add(at(3600), 200, None);
        let hour = history.last_hour(at(3600));
        assert_eq!(hour[59], MinuteReport { good: 1, ..MinuteReport::default() });
        assert_eq!(hour[0].good, 100);
    }

    #[test]
    fn steps_are_powers_of_two() {
        let steps = [0, 1, 1000, 1001, 2000, 2001, 32_768_000, 3_600_000_000]
            .map(|micros| step(Duration::from_micros(micros)));
        assert_eq!(steps, [0, 0, 0, 1, 1, 2, 15, 15]);
    }
}
