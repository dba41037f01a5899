//! The most slots of a budget that were in use at once in each minute of the last hour, for the status page only. No
//! decision depends on them.
//!
//! A slot is noted when it is taken, so nothing looks at budgets that nobody uses. In the minutes after that no slot is
//! taken until the next one is, and what is in use then, without that slot, was in use all the time.

use super::hour::{Hour, MINUTES, minute};
use super::{Budget, Timestamp, lock};

/// The most slots in use in each minute; without memory until a slot was taken.
#[derive(Default)]
pub(super) struct Peaks(Option<Box<Hour>>);

impl Peaks {
    /// Notes that a slot was taken, after which `used` are in use.
    pub(super) fn took(&mut self, used: u32, now: Timestamp) {
        let minute = minute(now);
        let hour = self.0.get_or_insert_with(|| Box::new(Hour::new(minute)));
        hour.advance(minute, used.saturating_sub(1));
        let present = hour.present();
        *present = used.max(*present);
    }

    /// The minutes of the last hour, the present one last, if a slot was ever taken. `used` are in use now.
    fn last_hour(&mut self, used: u32, now: Timestamp) -> Option<[u32; MINUTES]> {
        let hour = self.0.as_mut()?;
        hour.advance(minute(now), used);
        Some(hour.in_order())
    }
}

impl Budget {
    /// The most slots that were in use at once in each minute of the last hour, the present one last; `None` if none was
    /// taken since the start.
    pub fn peaks(&self, now: Timestamp) -> Option<[u32; MINUTES]> {
        let mut inner = lock(&self.inner);
        inner.free_by_window(now);
        inner.free_in_store(now);
        let used = inner.used();
        inner.peaks.last_hour(used, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_most_in_use_is_kept_by_minutes() {
        let at = |minute: u64| Timestamp::after_start(Duration::from_mins(minute));
        let mut peaks = Peaks::default();
        assert_eq!(peaks.last_hour(0, at(0)), None);
        for (used, minute) in [(1, 100), (5, 100), (3, 100), (3, 104)] {
            peaks.took(used, at(minute));
        }
        let hour = peaks.last_hour(1, at(106)).expect("an hour");
        assert_eq!(hour[..53], [0; 53]);
        // Two were in use between, and one after.
        assert_eq!(hour[53..], [5, 2, 2, 2, 3, 1, 1]);
        let hour = peaks.last_hour(0, at(160)).expect("an hour");
        assert_eq!(hour[..7], [2, 2, 2, 3, 1, 1, 0]);
        assert_eq!(peaks.last_hour(7, at(100_000)), Some([7; 60]));
    }
}
