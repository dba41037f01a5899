//! The clocks of the state file.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::record::{FORGOTTEN, Now, Stamp};
use crate::budget::{Clock, fnv1a};

/// The system reports its uptime in hundredths of a second, so two readings can differ by this much too much.
const UPTIME_STEP: Duration = Duration::from_millis(20);

/// Reads the wall clock and the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    clock: Clock,
    /// Identifies the start of the machine; zero if the system does not report it.
    pub(super) boot: u64,
    /// The value of [`Stamp::up`] at the origin of `clock`. Signed, because it can be negative.
    up: i128,
}

impl Times {
    pub(super) fn new(clock: Clock) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let uptime = fs::read_to_string("/proc/uptime").ok().and_then(|text| {
            let seconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
            Duration::try_from_secs_f64(seconds).ok()
        });
        // Without both of them only the wall clock counts.
        let (boot, uptime) = match (boot, uptime) {
            (Ok(boot), Some(uptime)) => (fnv1a(boot.trim().bytes()).max(1), uptime),
            _ => (0, Duration::ZERO),
        };
        let up = i128::from(FORGOTTEN) + micros(uptime) - i128::from(clock.now().as_micros());
        Self { clock, boot, up }
    }

    /// The present time for writing.
    pub(super) fn stamp(&self) -> Stamp {
        self.now().stamp
    }

    /// The present time for reading, one step earlier: the writing process may have read its uptime at the other end of
    /// a step.
    pub(super) fn reading(&self) -> Now {
        let mut now = self.now();
        now.stamp.up = now.stamp.up.saturating_sub(u64::try_from(UPTIME_STEP.as_micros()).expect("small"));
        now
    }

    fn now(&self) -> Now {
        let timestamp = self.clock.now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let whole = |micros: i128| u64::try_from(micros).unwrap_or_default();
        let stamp =
            Stamp { wall: whole(micros(wall)), up: whole(self.up + i128::from(timestamp.as_micros())) };
        Now { stamp, boot: self.boot, timestamp }
    }
}

fn micros(span: Duration) -> i128 {
    i128::try_from(span.as_micros()).unwrap_or(i128::MAX)
}
