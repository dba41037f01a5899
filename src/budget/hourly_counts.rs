//! Calls of the last hour by caller, for the status page only. No decision depends on them.

use super::timestamp::Timestamp;

const MINUTES: usize = 60;
const MINUTE_MICROS: u64 = 60_000_000;

/// Calls by caller, one count per minute. The caller's number is the index, so counting needs no search.
#[derive(Default)]
pub(super) struct HourlyCounts(Vec<Option<Box<Hour>>>);

struct Hour {
    latest: u64,
    counts: [u32; MINUTES],
}

impl HourlyCounts {
    /// Counts one call of `caller` in the present minute.
    pub(super) fn count(&mut self, caller: u16, now: Timestamp) {
        let (place, minute) = (usize::from(caller), minute(now));
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        let hour =
            self.0[place].get_or_insert_with(|| Box::new(Hour { latest: minute, counts: [0; MINUTES] }));
        hour.advance(minute);
        hour.counts[slot(minute)] += 1;
    }

    /// Calls in the last hour by caller number; callers without any are left out.
    pub(super) fn last_hour(&mut self, now: Timestamp) -> impl Iterator<Item = (u16, u32)> + '_ {
        (0..=u16::MAX).zip(&mut self.0).filter_map(move |(caller, hour)| {
            let hour = hour.as_mut()?;
            hour.advance(minute(now));
            Some((caller, hour.counts.iter().sum())).filter(|(_, calls)| *calls > 0)
        })
    }
}

impl Hour {
    /// Moves on to `minute` and clears the counts of the minutes whose slots are reused.
    fn advance(&mut self, minute: u64) {
        let passed = minute.saturating_sub(self.latest).min(MINUTES as u64);
        for step in 1..=passed {
            self.counts[slot(minute + step - passed)] = 0;
        }
        self.latest = self.latest.max(minute);
    }
}

fn minute(now: Timestamp) -> u64 {
    now.as_micros() / MINUTE_MICROS
}

fn slot(minute: u64) -> usize {
    usize::try_from(minute % MINUTES as u64).expect("less than sixty")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let at = |minute: u64| Timestamp::after_start(Duration::from_mins(minute));
        let mut hourly_counts = HourlyCounts::default();
        hourly_counts.count(1, at(0));
        hourly_counts.count(1, at(0));
        hourly_counts.count(1, at(59));
        hourly_counts.count(2, at(59));
        let mut sums = |minute| hourly_counts.last_hour(at(minute)).collect::<Vec<_>>();
        assert_eq!(sums(59), [(1, 3), (2, 1)]);
        assert_eq!(sums(60), [(1, 1), (2, 1)], "minute 0 is over an hour ago");
        assert_eq!(sums(118), [(1, 1), (2, 1)]);
        assert_eq!(sums(119), []);
        assert_eq!(sums(10_000), []);
    }
}
