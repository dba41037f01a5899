//! The circuit breaker of a vendor host: while a host cannot be reached, calls are refused, and one call at a time
//! probes it.
//!
//! Only connecting counts. A host that accepts connections and answers late, or not at all, is not down: a call to it
//! may have been delivered, and refusing the next ones would not make it faster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::budget::whole_seconds;
use crate::lock::lock;

/// Consecutive failures that open a circuit.
const FAILURES_MAX: u32 = 5;
/// Failures further apart than this are not consecutive: so few calls do no harm.
const GAP_MAX: Duration = Duration::from_secs(30);
/// Time from opening to the first probe; doubled after every failed probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest time between two probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The host could not be reached several times in a row, so no connection was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the vendor's host could not be reached several times in a row; nothing was sent, try again after Retry-After"
)]
pub struct CircuitOpen {
    /// The time after which a lone call is tried.
    pub retry_after: Duration,
}

impl CircuitOpen {
    /// The time for `Retry-After`: whole seconds, rounded up, at least one.
    pub fn retry_after_seconds(&self) -> u64 {
        whole_seconds(self.retry_after).max(1)
    }
}

/// The state of a circuit for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls to the host are made.
    Closed,
    /// Calls are refused until a probe is due.
    Open,
    /// Calls are refused while one call probes the host.
    Probing,
}

impl CircuitState {
    /// The state as a word on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// The circuit of one vendor host, shared by all workers.
pub(super) struct Circuit {
    host: String,
    /// Whether there have been failures since the last success. While there are none, calls read only this flag.
    troubled: AtomicBool,
    state: Mutex<CircuitCore>,
}

impl Circuit {
    /// Creates a closed circuit; `host` is for the log.
    pub(super) fn new(host: String) -> Self {
        Self { host, troubled: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Checks whether a call would be admitted now; reserves nothing.
    pub(super) fn check(&self) -> Result<(), CircuitOpen> {
        if self.troubled.load(Ordering::Relaxed) { self.lock().check(Instant::now()) } else { Ok(()) }
    }

    /// Admits one attempt to connect, which can be the probe.
    pub(super) fn admit(&self, now: Instant) -> Result<ConnectAttempt<'_>, CircuitOpen> {
        let troubled = self.troubled.load(Ordering::Relaxed);
        let probe = if troubled { self.lock().admit(now)? } else { None };
        Ok(ConnectAttempt { circuit: self, probe })
    }

    /// Records that the host answered or accepted a connection.
    pub(super) fn succeeded(&self) {
        if !self.troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        let was = std::mem::take(&mut state.phase);
        // Cleared under the lock, so that a failure just after it is not lost.
        self.troubled.store(false, Ordering::Relaxed);
        drop(state);
        if was.state() != CircuitState::Closed {
            tracing::info!(host = self.host, "the vendor's host can be reached again");
        }
    }

    pub(super) fn state(&self) -> CircuitState {
        self.lock().phase.state()
    }

    fn failed(&self, probe: Option<Probe>, now: Instant) {
        let mut state = self.lock();
        let before = state.phase.state();
        state.failed(probe, now);
        self.troubled.store(true, Ordering::Relaxed);
        let opened = before == CircuitState::Closed && state.phase.state() == CircuitState::Open;
        drop(state);
        if opened {
            tracing::warn!(
                host = self.host,
                failures = FAILURES_MAX,
                "the vendor's host cannot be reached; calls to it are refused, and one call at a time probes it"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, CircuitCore> {
        lock(&self.state)
    }
}

/// An admitted attempt to connect. Dropping it without an outcome says nothing about the host.
#[must_use]
pub(super) struct ConnectAttempt<'c> {
    circuit: &'c Circuit,
    probe: Option<Probe>,
}

impl ConnectAttempt<'_> {
    /// Records that the connection was established.
    pub(super) fn succeeded(self) {
        self.circuit.succeeded();
    }

    /// Records that no connection was established.
    pub(super) fn failed(mut self, now: Instant) {
        self.circuit.failed(self.probe.take(), now);
    }
}

impl Drop for ConnectAttempt<'_> {
    fn drop(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.circuit.lock().gave_up(probe);
        }
    }
}

/// Identifies a probe, because an earlier one can end later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe(u64);

/// The pure part of a circuit: time is passed in.
#[derive(Debug, Default)]
struct CircuitCore {
    phase: CircuitPhase,
    probes: u64,
}

#[derive(Clone, Copy, Debug)]
enum CircuitPhase {
    Closed { failures: u32, last: Option<Instant> },
    Open(Pause),
    Probing(Probe, Pause),
}

/// The time between two probes.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Default for CircuitPhase {
    fn default() -> Self {
        Self::Closed { failures: 0, last: None }
    }
}

impl CircuitPhase {
    fn state(&self) -> CircuitState {
        match self {
            Self::Closed { .. } => CircuitState::Closed,
            Self::Open(_) => CircuitState::Open,
            Self::Probing(..) => CircuitState::Probing,
        }
    }
}

impl CircuitCore {
    fn check(&self, now: Instant) -> Result<(), CircuitOpen> {
        match self.phase {
            CircuitPhase::Open(pause) if now < pause.until => {
                Err(CircuitOpen { retry_after: pause.until - now })
            }
            // The result of the probe is not known yet; if it fails, the next pause is at least this long.
            CircuitPhase::Probing(..) => Err(CircuitOpen { retry_after: FIRST_PAUSE }),
            CircuitPhase::Closed { .. } | CircuitPhase::Open(_) => Ok(()),
        }
    }

    fn admit(&mut self, now: Instant) -> Result<Option<Probe>, CircuitOpen> {
        self.check(now)?;
        let CircuitPhase::Open(pause) = self.phase else { return Ok(None) };
        self.probes += 1;
        let probe = Probe(self.probes);
        self.phase = CircuitPhase::Probing(probe, pause);
        Ok(Some(probe))
    }

    fn failed(&mut self, probe: Option<Probe>, now: Instant) {
        self.phase = match self.phase {
            CircuitPhase::Closed { failures, last } => {
                let in_a_row = last.is_some_and(|last| now.saturating_duration_since(last) <= GAP_MAX);
                let failures = if in_a_row { failures + 1 } else { 1 };
                if failures < FAILURES_MAX {
                    CircuitPhase::Closed { failures, last: Some(now) }
                } else {
                    CircuitPhase::Open(Pause::of(FIRST_PAUSE, now))
                }
            }
            CircuitPhase::Probing(present, pause) if probe == Some(present) => {
                CircuitPhase::Open(Pause::of((pause.length * 2).min(LONGEST_PAUSE), now))
            }
            // The attempt started before the circuit opened, so it tells nothing new.
            same @ (CircuitPhase::Open(_) | CircuitPhase::Probing(..)) => same,
        };
    }

    /// Records that the probe ended without an outcome: the next call becomes the probe.
    fn gave_up(&mut self, probe: Probe) {
        if let CircuitPhase::Probing(present, pause) = self.phase
            && present == probe
        {
            self.phase = CircuitPhase::Open(pause);
        }
    }
}

impl Pause {
    fn of(length: Duration, now: Instant) -> Self {
        Self { until: now + length, length }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn open_at(now: Instant) -> CircuitCore {
        let mut state = CircuitCore::default();
        (0..FAILURES_MAX).for_each(|_| state.failed(None, now));
        state
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let (mut state, start) = (CircuitCore::default(), Instant::now());
        for number in 1..FAILURES_MAX {
            state.failed(None, start + GAP_MAX * number);
            assert_eq!(state.admit(start + GAP_MAX * number), Ok(None), "failure {number}");
        }
        state.failed(None, start + GAP_MAX * FAILURES_MAX);
        let refused = CircuitOpen { retry_after: FIRST_PAUSE };
        assert_eq!(state.admit(start + GAP_MAX * FAILURES_MAX), Err(refused));
    }

    #[test]
    fn failures_far_apart_are_not_in_a_row() {
        let (mut state, start) = (CircuitCore::default(), Instant::now());
        for number in 0..3 * FAILURES_MAX {
            let now = start + (GAP_MAX + MS) * number;
            state.failed(None, now);
            assert_eq!(state.check(now), Ok(()));
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut now = Instant::now();
        let mut state = open_at(now);
        for seconds in [1, 2, 4, 8, 10, 10] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(state.admit(now), Err(CircuitOpen { retry_after: pause }));
            now += pause;
            let probe = state.admit(now).expect("a probe is due");
            assert!(probe.is_some());
            assert_eq!(state.check(now + LONGEST_PAUSE), Err(CircuitOpen { retry_after: FIRST_PAUSE }));
            state.failed(probe, now);
        }
    }

    #[test]
    fn a_probe_that_is_no_longer_the_present_one_changes_nothing() {
        let start = Instant::now();
        let mut state = open_at(start);
        let old = state.admit(start + FIRST_PAUSE).expect("due").expect("a probe");
        state.phase = open_at(start).phase;
        let present = state.admit(start + FIRST_PAUSE).expect("due").expect("a probe");
        state.failed(Some(old), start + FIRST_PAUSE);
        state.gave_up(old);
        assert!(matches!(state.phase, CircuitPhase::Probing(probe, _) if probe == present));
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_its_turn_to_the_next() {
        let circuit = Circuit::new("vendor.example".to_owned());
        let start = Instant::now();
        for _ in 0..FAILURES_MAX {
            circuit.admit(start).expect("closed").failed(start);
        }
        assert!(circuit.admit(start).is_err());
        let due = start + FIRST_PAUSE;
        let probe = circuit.admit(due).expect("due");
        assert!(circuit.admit(due).is_err() && circuit.state() == CircuitState::Probing);
        drop(probe);
        circuit.admit(due).expect("due again").succeeded();
        assert_eq!(
            (circuit.state(), circuit.troubled.load(Ordering::Relaxed)),
            (CircuitState::Closed, false)
        );
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Wait(u64),
        Call,
        Succeed(usize),
        Fail(usize),
        GiveUp(usize),
        Answer,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let call = 0..8_usize;
        let step = prop_oneof![
            (0..12_000_u64).prop_map(Step::Wait),
            Just(Step::Call),
            Just(Step::Call),
            call.clone().prop_map(Step::Fail),
            call.clone().prop_map(Step::Fail),
            call.clone().prop_map(Step::Succeed),
            call.prop_map(Step::GiveUp),
            Just(Step::Answer),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// On any sequence of events there is one probe at a time, and calls are refused only after enough failures and
        /// never for longer than announced.
        #[test]
        fn laws(steps in steps()) {
            let (mut state, mut now) = (CircuitCore::default(), Instant::now());
            let mut under_way: Vec<Option<Probe>> = Vec::new();
            let mut failures = 0;
            for step in steps {
                match step {
                    Step::Wait(ms) => now += MS * u32::try_from(ms).expect("small"),
                    Step::Call => match (state.phase.state(), state.admit(now)) {
                        (before, Ok(probe)) => {
                            prop_assert!(before != CircuitState::Probing);
                            prop_assert_eq!(before == CircuitState::Open, probe.is_some());
                            under_way.push(probe);
                        }
                        (_, Err(open)) => {
                            prop_assert!(failures >= FAILURES_MAX);
                            prop_assert!(open.retry_after > Duration::ZERO && open.retry_after <= LONGEST_PAUSE);
                            if state.phase.state() == CircuitState::Open {
                                prop_assert_eq!(state.check(now + open.retry_after), Ok(()));
                            }
                        }
                    },
                    Step::Succeed(call) if call < under_way.len() => {
                        under_way.swap_remove(call);
                        (state.phase, failures) = (CircuitPhase::default(), 0);
                    }
                    Step::Fail(call) if call < under_way.len() => {
                        state.failed(under_way.swap_remove(call), now);
                        failures += 1;
                    }
                    Step::GiveUp(call) if call < under_way.len() => {
                        if let Some(probe) = under_way.swap_remove(call) {
                            state.gave_up(probe);
                        }
                    }
                    Step::Answer => (state.phase, failures) = (CircuitPhase::default(), 0),
                    Step::Succeed(_) | Step::Fail(_) | Step::GiveUp(_) => {}
                }
                // The call that probes is still under way: a circuit never waits for a call that has ended.
                if let CircuitPhase::Probing(probe, _) = state.phase {
                    prop_assert!(under_way.contains(&Some(probe)));
                }
            }
        }
    }
}
