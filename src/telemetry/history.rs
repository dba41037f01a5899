//! The last hour by minutes: how many requests ended how, and how long the vendor took.
//!
//! A request adds to counters of its minute, without a lock. Sixty minutes are kept, whatever is asked.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Minutes that are kept.
pub const MINUTES: usize = 60;
/// Steps of latency: each twice as long as the one before, the first one a millisecond.
pub(super) const STEPS: usize = 16;

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

/// The requests of the last hour, by how they ended.
#[derive(Default)]
pub struct History(HourCounters<{ Ending::COUNT }>);

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

impl History {
    /// Counts a request that ended so long after 1970.
    pub fn add(&self, now: Duration, status: u16) {
        self.0.add(now.as_secs() / 60, Ending::of(status) as usize);
    }

    /// The last hour, the minute of `now` last, with the vendor's times of each of these minutes.
    pub fn last_hour(&self, now: SystemTime, vendor: &[Latencies; MINUTES]) -> Vec<MinuteReport> {
        let report = |([good, limited, refused, failed], vendor): ([u32; Ending::COUNT], &Latencies)| {
            let vendor_answers = vendor.answers();
            let [vendor_p50_ms, vendor_p99_ms] = [50, 99].map(|hundredths| vendor.part_ms(hundredths));
            MinuteReport { good, limited, refused, failed, vendor_answers, vendor_p50_ms, vendor_p99_ms }
        };
        self.0.last(now, MINUTES).zip(vendor).map(report).collect()
    }
}

/// Answers of the vendor, by how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies(pub(super) [u32; STEPS]);

impl Latencies {
    /// The number of answers.
    pub fn answers(&self) -> u32 {
        self.0.iter().sum()
    }

    /// The time in milliseconds, rounded up to a power of two, than which this many of a hundred answers took no longer.
    pub fn part_ms(&self, hundredths: u32) -> Option<u32> {
        let wanted = (u64::from(self.answers()) * u64::from(hundredths)).div_ceil(100);
        let mut seen = 0;
        let reached = |count: &u32| {
            seen += u64::from(*count);
            seen >= wanted
        };
        (wanted > 0).then(|| self.0.iter().position(reached)).flatten().map(|step| 1 << step)
    }
}

impl AddAssign for Latencies {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

/// Counters of each of the last sixty minutes.
pub(super) struct HourCounters<const COUNTERS: usize>([Minute<COUNTERS>; MINUTES]);

struct Minute<const COUNTERS: usize> {
    /// Minutes since 1970.
    of: AtomicU64,
    counts: [AtomicU32; COUNTERS],
}

impl<const COUNTERS: usize> Default for HourCounters<COUNTERS> {
    fn default() -> Self {
        let minute = || Minute { of: AtomicU64::new(0), counts: std::array::from_fn(|_| AtomicU32::new(0)) };
        Self(std::array::from_fn(|_| minute()))
    }
}

impl<const COUNTERS: usize> HourCounters<COUNTERS> {
    /// Adds one to a counter of this minute.
    pub(super) fn add(&self, minute: u64, counter: usize) {
        let counters = &self.0[place(minute)];
        counters.begin(minute);
        counters.counts[counter].fetch_add(1, Ordering::Relaxed);
    }

    /// The counters of the last minutes, the one of `now` last.
    pub(super) fn last(&self, now: SystemTime, minutes: usize) -> impl Iterator<Item = [u32; COUNTERS]> + '_ {
        let last = minute(now);
        (0..minutes.min(MINUTES) as u64).rev().map(move |ago| {
            let minute = last.saturating_sub(ago);
            let counters = &self.0[place(minute)];
            let is_filled = counters.of.load(Ordering::Relaxed) == minute;
            let read = |counter: &AtomicU32| if is_filled { counter.load(Ordering::Relaxed) } else { 0 };
            counters.counts.each_ref().map(read)
        })
    }
}

impl<const COUNTERS: usize> Minute<COUNTERS> {
    /// Sets the counters of an hour ago to zero. What others add at the same moment may be lost.
    fn begin(&self, minute: u64) {
        let before = self.of.load(Ordering::Relaxed);
        if before == minute {
            return;
        }
        let is_first = self.of.compare_exchange(before, minute, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first {
            self.counts.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
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
pub(super) fn step(took: Duration) -> usize {
    let millis = u64::try_from(took.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
    usize::try_from(millis.next_power_of_two().trailing_zeros()).map_or(STEPS - 1, |step| step.min(STEPS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_by_minutes() {
        let history = History::default();
        let since = |seconds: u64| Duration::from_secs(1_000_000_020 + seconds);
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + since(seconds);
        for status in [200, 302, 429, 400, 499, 500, 504] {
            history.add(since(0), status);
        }
        history.add(since(60), 200);
        let mut vendor = [Latencies::default(); MINUTES];
        vendor[59].0 = std::array::from_fn(|step| match step {
            2 => 98,
            7 | 15 => 1,
            _ => 0,
        });
        let hour = history.last_hour(at(61), &vendor);
        let before = MinuteReport { good: 2, limited: 1, refused: 2, failed: 2, ..MinuteReport::default() };
        assert_eq!((hour.len(), hour[58]), (60, before));
        let MinuteReport { good, vendor_answers, vendor_p50_ms, vendor_p99_ms, .. } = hour[59];
        assert_eq!((good, vendor_answers, vendor_p50_ms, vendor_p99_ms), (1, 100, Some(4), Some(128)));
        // An hour later the same counters are another minute's.
        history.add(since(3600), 200);
        let hour = history.last_hour(at(3600), &[Latencies::default(); MINUTES]);
        assert_eq!(hour[59], MinuteReport { good: 1, ..MinuteReport::default() });
        assert_eq!(hour[0].good, 1);
    }

    #[test]
    fn steps_are_powers_of_two() {
        let steps = [0, 1, 1000, 1001, 2000, 2001, 32_768_000, 3_600_000_000]
            .map(|micros| step(Duration::from_micros(micros)));
        assert_eq!(steps, [0, 0, 0, 1, 1, 2, 15, 15]);
    }
}
