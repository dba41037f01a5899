//! The calls to one vendor host in the last hour: how many, how many of them failed and why, and how long answers took.
//!
//! A good call adds to one counter of its minute. Only an error takes a lock and memory, for its text.

use std::error::Error;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::Serialize;

use super::history::{HourCounters, Latencies, MINUTES, STEPS, minute, step};
use crate::causes::Causes;
use crate::lock::lock;

/// The counter of calls without an answer, after those of answers by their time.
const UNANSWERED: usize = STEPS;
/// The counter of answers that are errors of the host.
const BAD_ANSWERS: usize = STEPS + 1;
const COUNTERS: usize = STEPS + 2;

/// The calls to one vendor host in the last hour, and its last error.
#[derive(Default)]
pub struct HostHistory {
    calls: HourCounters<COUNTERS>,
    last_error: Mutex<Option<HostError>>,
}

/// An error of a vendor host, with its causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    /// The time of the error.
    pub time: SystemTime,
    /// The error and its causes, outermost first.
    pub cause: String,
}

/// Calls to a host in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostCalls {
    /// Attempts that were answered, or that failed at the host.
    pub calls: u32,
    /// Those of them without a whole answer, with a status of 500 and above, or with an error page.
    pub errors: u32,
}

impl HostHistory {
    /// Counts an answer that took this long.
    pub fn answered(&self, now: SystemTime, took: Duration) {
        self.calls.add(minute(now), step(took));
    }

    /// Records that an answer, which was counted, has this status and is an error of the host.
    #[cold]
    pub fn answered_badly(&self, now: SystemTime, status: StatusCode) {
        self.calls.add(minute(now), BAD_ANSWERS);
        self.note(now, format!("the vendor answered with status {}", status.as_u16()));
    }

    /// Records that an answer, which was counted, did not come to its end.
    #[cold]
    pub fn was_cut(&self, now: SystemTime, error: &(dyn Error + 'static)) {
        self.calls.add(minute(now), BAD_ANSWERS);
        self.note(now, Causes(error).to_string());
    }

    /// Counts a call that got no whole answer.
    #[cold]
    pub fn unanswered(&self, now: SystemTime, error: &(dyn Error + 'static)) {
        self.calls.add(minute(now), UNANSWERED);
        self.note(now, Causes(error).to_string());
    }

    fn note(&self, time: SystemTime, cause: String) {
        *lock(&self.last_error) = Some(HostError { time, cause });
    }

    /// The last error since the start.
    pub fn last_error(&self) -> Option<HostError> {
        lock(&self.last_error).clone()
    }

    /// The calls in the last minutes, of which the present one is the last, and is counted as a whole.
    pub fn last_calls(&self, now: SystemTime, minutes: usize) -> HostCalls {
        let mut sum = HostCalls::default();
        for counts in self.calls.last(now, minutes) {
            sum.calls += counts[..=UNANSWERED].iter().sum::<u32>();
            sum.errors += counts[UNANSWERED..].iter().sum::<u32>();
        }
        sum
    }

    /// The times of the answers of each of the last sixty minutes, the present one last.
    pub fn latencies(&self, now: SystemTime) -> [Latencies; MINUTES] {
        let mut hour = [Latencies::default(); MINUTES];
        for (minute, counts) in hour.iter_mut().zip(self.calls.last(now, MINUTES)) {
            minute.0.copy_from_slice(&counts[..STEPS]);
        }
        hour
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn calls_and_errors_are_counted_by_minutes() {
        let history = HostHistory::default();
        let at = |minutes: u64| SystemTime::UNIX_EPOCH + Duration::from_mins(20_000_000 + minutes);
        let calls = |calls, errors| HostCalls { calls, errors };
        (0..4).for_each(|_| history.answered(at(0), Duration::from_millis(3)));
        history.answered_badly(at(0), StatusCode::BAD_GATEWAY);
        assert_eq!(history.last_calls(at(0), 1), calls(4, 1));
        let first = history.last_error().expect("an error");
        assert_eq!((first.time, &*first.cause), (at(0), "the vendor answered with status 502"));
        history.unanswered(at(4), &io::Error::other("the connection broke"));
        assert_eq!(history.last_calls(at(4), 1), calls(1, 1));
        assert_eq!(history.last_calls(at(4), 5), calls(5, 2));
        assert_eq!(history.last_error().expect("an error").cause, "the connection broke");
        assert_eq!(history.latencies(at(4))[55].part_ms(99), Some(4));
        assert_eq!(history.last_calls(at(60), 60), calls(1, 1), "minute 0 is an hour ago");
        history.was_cut(at(60), &io::Error::other("cut"));
        assert_eq!(history.last_calls(at(60), 60), calls(1, 2));
    }
}
