//! Calls whose callers' connections broke before they had an answer: HTTP clients send such a call again by
//! themselves, at once, and nobody who wrote the program knows (`docs/vendor.md`, V27).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::saved::{Teller, watched};
use super::{Saved, SavedEnding, Watch};
use crate::delivery::Delivery;
use crate::lock::lock;

/// Calls remembered for each caller. More are not: what is there already is more likely to come again.
pub(super) const CALLS_MAX: usize = 1024;
/// The longest answer that is kept, in bytes; a repeat of a longer one is told that it may have been delivered.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How often what is over is looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// Calls that may come again because their callers' connections broke.
#[derive(Default)]
pub struct ResendGuard {
    callers: Mutex<Callers>,
    /// Calls remembered, so that nobody locks while there are none.
    count: AtomicUsize,
    hasher: foldhash::quality::RandomState,
}

/// Tells one call of a caller's from its others: 64 bits, by a key of this process. Every guarded push has one, so it
/// costs nanoseconds; nobody but the caller itself gains by two that are alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

#[derive(Default)]
struct Callers {
    calls: HashMap<u16, HashMap<Fingerprint, GuardEntry>>,
    swept: Option<Instant>,
}

struct GuardEntry {
    until: Instant,
    watch: Watch,
}

/// A call that goes on without its caller.
pub struct AbandonedCall(Teller);

impl ResendGuard {
    /// What tells a call made of these parts from others; where one ends and the next begins counts.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> Fingerprint {
        Fingerprint(self.hasher.hash_one(parts))
    }

    /// Whether no call is remembered: then none has to be looked up.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Remembers a call whose connection just broke, for so long. `None`: there are too many.
    pub fn broke(
        &self,
        caller: u16,
        call: Fingerprint,
        now: Instant,
        window: Duration,
    ) -> Option<AbandonedCall> {
        let mut callers = self.lock();
        callers.sweep(now);
        let known = callers.calls.entry(caller).or_default();
        let is_full = known.len() >= CALLS_MAX;
        let (teller, watch) = watched();
        if !is_full {
            known.insert(call, GuardEntry { until: now + window, watch });
        }
        self.count.store(callers.len(), Ordering::Relaxed);
        (!is_full).then_some(AbandonedCall(teller))
    }

    /// The same call of the same caller, if its connection broke so short a time ago.
    pub fn find(&self, caller: u16, call: &Fingerprint, now: Instant) -> Option<Watch> {
        let mut callers = self.lock();
        callers.sweep(now);
        self.count.store(callers.len(), Ordering::Relaxed);
        let entry = callers.calls.get(&caller)?.get(call).filter(|entry| entry.until > now)?;
        let nothing_came = matches!(entry.watch.ending(), Some(SavedEnding::Nothing));
        (!nothing_came).then(|| entry.watch.clone())
    }

    /// The connection of one that came again and waited broke, too.
    pub fn broke_again(&self, caller: u16, call: &Fingerprint, now: Instant, window: Duration) {
        let mut callers = self.lock();
        if let Some(entry) = callers.calls.get_mut(&caller).and_then(|known| known.get_mut(call)) {
            entry.until = entry.until.max(now + window);
        }
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
    /// The call is over.
    pub fn end(self, delivery: Delivery, saved: Option<Arc<Saved>>) {
        let kept = saved.filter(|saved| saved.bytes() <= ANSWER_BYTES_MAX);
        self.0.tell(match delivery {
            Delivery::None => SavedEnding::Nothing,
            Delivery::Final | Delivery::Unknown(_) => kept.map_or(SavedEnding::Lost, SavedEnding::Answered),
        });
    }
}
