//! Calls of the last hour by caller, for the status page only. No decision depends on them.

use super::caller_number::CallerNumber;
use super::hour::{Hour, minute};
use super::timestamp::Timestamp;

/// Calls by caller, one count per minute: of callers with a call in the last hour, sorted by number.
#[derive(Default)]
pub(super) struct HourlyCounts {
    hours: Vec<(CallerNumber, Box<Hour>)>,
    /// The minute at which callers without a call in the last hour were last removed.
    swept: u64,
}

impl HourlyCounts {
    /// Counts one call of `caller` in the present minute.
    pub(super) fn count(&mut self, caller: CallerNumber, now: Timestamp) {
        let minute = minute(now);
        let hour = match self.place(caller) {
            Ok(place) => &mut self.hours[place].1,
            Err(_) => self.add(caller, minute),
        };
        hour.advance(minute, 0);
        *hour.present() += 1;
    }

    fn place(&self, caller: CallerNumber) -> Result<usize, usize> {
        self.hours.binary_search_by_key(&caller, |(known, _)| *known)
    }

    #[cold]
    fn add(&mut self, caller: CallerNumber, minute: u64) -> &mut Hour {
        // Once a minute at most, so that many new callers are not held up by one another.
        if self.swept < minute {
            self.sweep(minute);
        }
        let place = self.place(caller).unwrap_or_else(|place| place);
        self.hours.insert(place, (caller, Box::new(Hour::new(minute))));
        &mut self.hours[place].1
    }

    fn sweep(&mut self, minute: u64) {
        self.swept = minute;
        self.hours.retain_mut(|(_, hour)| {
            hour.advance(minute, 0);
            hour.numbers().iter().any(|calls| *calls > 0)
        });
    }

    /// Calls in the last hour by caller; callers without any are left out and forgotten.
    pub(super) fn last_hour(&mut self, now: Timestamp) -> impl Iterator<Item = (CallerNumber, u32)> + '_ {
        let minute = minute(now);
        self.sweep(minute);
        self.hours.iter().map(|(caller, hour)| (*caller, hour.numbers().iter().sum()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::hour::MINUTES;
    use super::*;

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let at = |minute: u64| Timestamp::after_start(Duration::from_mins(minute));
        let [one, two] = [1, 2].map(CallerNumber);
        let mut hourly_counts = HourlyCounts::default();
        hourly_counts.count(one, at(0));
        hourly_counts.count(one, at(0));
        hourly_counts.count(one, at(59));
        hourly_counts.count(two, at(59));
        let mut sums = |minute| hourly_counts.last_hour(at(minute)).collect::<Vec<_>>();
        assert_eq!(sums(59), [(one, 3), (two, 1)]);
        assert_eq!(sums(60), [(one, 1), (two, 1)], "minute 0 is over an hour ago");
        assert_eq!(sums(118), [(one, 1), (two, 1)]);
        assert_eq!(sums(119), []);
        assert_eq!(sums(10_000), []);
    }

    #[test]
    fn callers_without_a_call_in_the_last_hour_take_no_memory() {
        let mut hourly_counts = HourlyCounts::default();
        for minute in 0..1000 {
            let at = Timestamp::after_start(Duration::from_mins(minute));
            let caller = u32::try_from(minute).expect("few");
            hourly_counts.count(CallerNumber(u32::MAX - 1 - caller), at);
        }
        assert_eq!(hourly_counts.hours.len(), MINUTES);
    }
}
