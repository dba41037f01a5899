//! Waiting for a budget: how long a request may, and the sleep between two decisions.

use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderName};
use tokio::time::{sleep, sleep_until};

use crate::budget::{self, Clock, Decision, Draw, Moment, Patience, Permit, Taker, Turn};
use crate::ledger::Ledger;
use crate::load::Load;
use crate::refusal::Refusal;
use crate::vendor::Deadlines;

static PREFER: HeaderName = HeaderName::from_static("prefer");

/// The `wait` preference of a request in seconds (RFC 7240, 4.3); the first one counts.
pub fn preference(headers: &HeaderMap) -> Option<u32> {
    let values = headers.get_all(&PREFER).iter().filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(','));
    preferences.filter_map(|preference| preference.split(';').next()?.split_once('=')).find_map(
        |(name, seconds)| {
            let seconds = seconds.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("wait").then(|| seconds.parse().ok()).flatten()
        },
    )
}

/// How long a request waits for another process to give the budgets away.
pub const LEDGER_MAX: Duration = Duration::from_secs(5);

/// Waits until the budgets are ours, and tells when that is.
pub async fn for_ledger(
    ledger: &Ledger,
    longest: Duration,
    load: &Load,
    body_bytes: usize,
) -> Result<Instant, Refusal> {
    let overloaded = Refusal::Overloaded { what: "memory for bodies that wait" };
    let _waits = load.wait_with(body_bytes).ok_or(overloaded)?;
    tokio::select! {
        () = ledger.settled() => {}
        () = sleep(longest) => {}
        () = load.drain_started() => {}
    }
    if ledger.is_owned() { Ok(Instant::now()) } else { Err(Refusal::Draining) }
}

/// A call that waits.
pub struct Waiting<'w> {
    /// The budgets it draws on.
    pub draw: &'w Draw,
    /// Who asks.
    pub taker: &'w Taker,
    /// The clock of the budgets.
    pub clock: Clock,
    /// When it gives up.
    pub until: Instant,
}

impl Waiting<'_> {
    /// The first decision; most calls are done with it.
    pub fn ask(&self, now: Instant) -> Decision {
        self.decide(now, None)
    }

    /// Sleeps and asks again until the call is paid for or cannot be in time, or the gateway stops.
    pub async fn wait(
        &self,
        mut turn: Turn,
        mut look_at: Option<Moment>,
        load: &Load,
    ) -> Result<Permit, Refusal> {
        loop {
            let wake = look_at.map_or(self.until, |at| self.clock.instant(at)).min(self.until);
            tokio::select! {
                () = sleep_until(wake.into()) => {}
                () = std::future::poll_fn(|cx| turn.bell().poll(cx)) => {}
                () = load.drain_started() => return Err(Refusal::Draining),
            }
            match self.decide(Instant::now(), Some(turn)) {
                Decision::Paid(permit) => return Ok(permit),
                Decision::Refused(exhausted) => return Err(exhausted.into()),
                Decision::Wait { turn: kept, look_at: next } => (turn, look_at) = (kept, next),
            }
        }
    }

    fn decide(&self, now: Instant, turn: Option<Turn>) -> Decision {
        let patience =
            if self.until > now { Patience::Until(self.clock.at(self.until)) } else { Patience::None };
        budget::decide(self.draw, self.taker, (self.clock, self.clock.at(now)), turn, patience)
    }
}

/// How long a call may wait: what it or its caller asked for, within what its deadline leaves for the call itself.
pub fn until(asked: Duration, deadlines: &Deadlines, for_the_call: Duration) -> Instant {
    let left = deadlines.left(deadlines.start).saturating_sub(for_the_call.min(deadlines.whole / 2));
    deadlines.start + asked.min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_preference_is_read_as_the_rfc_writes_it() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&PREFER, http::HeaderValue::from_static(value));
            }
            preference(&headers)
        };
        assert_eq!(read(&["wait=10"]), Some(10));
        assert_eq!(read(&["respond-async, Wait = 5; x=y"]), Some(5));
        assert_eq!(read(&["respond-async", "wait=\"7\", wait=9"]), Some(7));
        for none in [&["wait"][..], &["wait=-1"], &["wait=1.5"], &["waiting=3"], &["wait=99999999999"], &[]] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_deadline_leaves_time_for_the_call() {
        let seconds = Duration::from_secs;
        let begin = Instant::now();
        let longest = |asked, whole, gone| {
            let (start, call) = (begin + seconds(gone), begin + seconds(whole));
            let deadlines = Deadlines { start, call, whole: seconds(whole), response: seconds(25) };
            until(seconds(asked), &deadlines, seconds(5)) - start
        };
        assert_eq!(longest(60, 28, 0), seconds(23));
        assert_eq!(longest(2, 28, 0), seconds(2));
        assert_eq!(longest(60, 4, 0), seconds(2));
        assert_eq!(longest(60, 28, 20), seconds(3), "what went by with other things is gone");
        assert_eq!(longest(60, 28, 26), seconds(0));
    }
}
