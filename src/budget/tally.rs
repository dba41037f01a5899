//! Calls of the last hour by caller, for the status page. Nothing is decided by it.

use std::time::Duration;

use super::moment::Moment;

const MINUTES: usize = 60;
const MINUTE: Duration = Duration::from_mins(1);

/// Calls by caller, a count a minute.
#[derive(Default)]
pub(super) struct Tally(Vec<Hour>);

struct Hour {
    caller: u16,
    latest: u64,
    counts: [u32; MINUTES],
}

impl Tally {
    /// One call more.
    pub(super) fn count(&mut self, caller: u16, now: Moment) {
        let hour = match self.0.iter().position(|hour| hour.caller == caller) {
            Some(known) => &mut self.0[known],
            None => self.0.push_mut(Hour { caller, latest: minute(now), counts: [0; MINUTES] }),
        };
        hour.advance(minute(now));
        hour.counts[slot(minute(now))] += 1;
    }

    /// Calls in the last hour, by caller.
    pub(super) fn last_hour(&mut self, now: Moment) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.0.iter_mut().map(move |hour| {
            hour.advance(minute(now));
            (hour.caller, hour.counts.iter().sum())
        })
    }
}

impl Hour {
    /// Forgets the minutes that a new one takes the place of.
    fn advance(&mut self, minute: u64) {
        let passed = minute.saturating_sub(self.latest).min(MINUTES as u64);
        for step in 1..=passed {
            self.counts[slot(minute + step - passed)] = 0;
        }
        self.latest = self.latest.max(minute);
    }
}

fn minute(now: Moment) -> u64 {
    now.since(Moment::default()).as_secs() / MINUTE.as_secs()
}

fn slot(minute: u64) -> usize {
    usize::try_from(minute % MINUTES as u64).expect("less than sixty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let at = |minute: u64| Moment::after_start(MINUTE * u32::try_from(minute).expect("small"));
        let mut tally = Tally::default();
        tally.count(1, at(0));
        tally.count(1, at(0));
        tally.count(1, at(59));
        tally.count(2, at(59));
        let mut sums = |minute| tally.last_hour(at(minute)).collect::<Vec<_>>();
        assert_eq!(sums(59), [(1, 3), (2, 1)]);
        assert_eq!(sums(60), [(1, 1), (2, 1)], "minute 0 is over an hour ago");
        assert_eq!(sums(118), [(1, 1), (2, 1)]);
        assert_eq!(sums(119), [(1, 0), (2, 0)]);
        assert_eq!(sums(10_000), [(1, 0), (2, 0)]);
    }
}
