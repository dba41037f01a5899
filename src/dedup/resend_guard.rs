//! Calls whose caller's connection broke before their answer was delivered. HTTP clients repeat such a call at once by
//! themselves, without the program noticing (`docs/vendor.md`, V27).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::saved::{EndingSender, watched};
use super::{Saved, SavedEnding, Watch};
use crate::budget::CallerNumber;
use crate::delivery::Delivery;
use crate::lock::lock;

/// Calls remembered for each caller. Further ones are not remembered: those already there are more likely to be
/// repeated.
pub(super) const CALLS_MAX: usize = 1024;
/// The longest answer that is kept, in bytes. A repeat of a call with a longer one is told that the call may have been
/// delivered.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Interval at which expired entries are removed.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// Calls that may be repeated because their caller's connection broke.
#[derive(Default)]
pub struct ResendGuard {
    callers: Mutex<Callers>,
    /// Number of remembered calls, so that no lock is taken while there are none.
    count: AtomicUsize,
    hasher: foldhash::quality::RandomState,
}

/// Identifies one call among those of its caller: a 64-bit hash with a key of this process. Every guarded push needs
/// one, so it has to cost nanoseconds; only the caller itself could gain by a collision.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

#[derive(Default)]
struct Callers {
    calls: HashMap<CallerNumber, HashMap<Fingerprint, GuardEntry>>,
    swept: Option<Instant>,
}

struct GuardEntry {
    until: Instant,
    watch: Watch,
}

/// A call that continues without its caller.
pub struct AbandonedCall(EndingSender);

impl ResendGuard {
    /// The fingerprint of a call made of these parts. Each part's length is included.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> Fingerprint {
        Fingerprint(self.hasher.hash_one(parts))
    }

    /// Whether no call is remembered, so that none has to be looked up.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Remembers for `window` a call whose connection just broke; `None` if there are too many.
    pub fn broke(
        &self,
        caller: CallerNumber,
        call: Fingerprint,
        now: Instant,
        window: Duration,
    ) -> Option<AbandonedCall> {
        let mut callers = self.lock();
        callers.sweep(now);
        let known = callers.calls.entry(caller).or_default();
        let is_full = known.len() >= CALLS_MAX;
        let (sender, watch) = watched();
        if !is_full {
            known.insert(call, GuardEntry { until: now + window, watch });
        }
        self.count.store(callers.len(), Ordering::Relaxed);
        (!is_full).then_some(AbandonedCall(sender))
    }

    /// Finds the same call of the same caller, if its connection broke within the window.
    pub fn find(&self, caller: CallerNumber, call: &Fingerprint, now: Instant) -> Option<Watch> {
        let mut callers = self.lock();
        callers.sweep(now);
        self.count.store(callers.len(), Ordering::Relaxed);
        let entry = callers.calls.get(&caller)?.get(call).filter(|entry| entry.until > now)?;
        let nothing_came = matches!(entry.watch.ending(), Some(SavedEnding::Nothing));
        (!nothing_came).then(|| entry.watch.clone())
    }

    /// Extends the window of a call whose repeat lost its connection as well while it waited.
    pub fn broke_again(&self, caller: CallerNumber, call: &Fingerprint, now: Instant, window: Duration) {
        let mut callers = self.lock();
        if let Some(entry) = callers.calls.get_mut(&caller).and_then(|known| known.get_mut(call)) {
            entry.until = entry.until.max(now + window);
        }
    }

    /// The callers of which a call is remembered.
    pub fn callers(&self) -> Vec<CallerNumber> {
        self.lock().calls.keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Callers> {
        lock(&self.callers)
    }
}

impl Callers {
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        self.calls.retain(|_, known| {
            known.retain(|_, entry| entry.until > now);
            !known.is_empty()
        });
    }

    fn len(&self) -> usize {
        self.calls.values().map(HashMap::len).sum()
    }
}

impl AbandonedCall {
    /// Watches for the end of the call.
    pub fn watch(&self) -> Watch {
        self.0.watch()
    }

    /// Ends the call and gives its answer to waiting repeats.
    pub fn end(self, delivery: Delivery, saved: Option<Arc<Saved>>) {
        let kept = saved.filter(|saved| saved.bytes() <= ANSWER_BYTES_MAX);
        self.0.send(match delivery {
            Delivery::None => SavedEnding::Nothing,
            Delivery::Final | Delivery::Unknown(_) => kept.map_or(SavedEnding::Lost, SavedEnding::Answered),
        });
    }
}
