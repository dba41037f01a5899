//! A limit on repeated log lines: one per second for each kind, and a count of the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

/// The time after a line for which other lines of its kind are only counted.
const PAUSE: Duration = Duration::from_secs(1);
/// The most kinds that are remembered. The kinds in use come from the configuration.
const KINDS_MAX: usize = 4096;

/// Remembers when a line of each kind was last written.
pub struct Sparing<K>(Mutex<HashMap<K, LastLine>>);

struct LastLine {
    at: Instant,
    /// Lines since then that were not written.
    suppressed: u64,
}

impl<K> Default for Sparing<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> Sparing<K> {
    /// Whether a line is to be written now; returns the number of suppressed lines since the last one of its kind.
    pub fn admit(&self, kind: K, now: Instant) -> Option<u64> {
        let mut known = lock(&self.0);
        if known.len() >= KINDS_MAX {
            known.retain(|_, last| now.saturating_duration_since(last.at) < PAUSE);
        }
        let new = LastLine { at: now, suppressed: 0 };
        let Some(last) = known.get_mut(&kind) else {
            // With this many kinds within one second, the line is suppressed without being counted.
            return (known.len() < KINDS_MAX).then(|| known.insert(kind, new)).map(|_| 0);
        };
        if now.saturating_duration_since(last.at) < PAUSE {
            last.suppressed += 1;
            return None;
        }
        Some(std::mem::replace(last, new).suppressed)
    }

    /// Removes kinds without lines for two seconds, and returns those with suppressed lines and their number.
    pub fn overdue(&self, now: Instant) -> Vec<(K, u64)> {
        let mut known = lock(&self.0);
        let (mut over, mut suppressed) = (Vec::new(), Vec::new());
        for (kind, last) in &*known {
            if now.saturating_duration_since(last.at) >= 2 * PAUSE {
                over.push(kind.clone());
                suppressed.extend((last.suppressed > 0).then(|| (kind.clone(), last.suppressed)));
            }
        }
        for kind in over {
            known.remove(&kind);
        }
        suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_of_each_kind_and_every_other_is_counted() {
        let (sparing, start) = (Sparing::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(sparing.admit("a", at(0)), Some(0));
        assert_eq!([sparing.admit("a", at(1)), sparing.admit("a", at(999))], [None, None]);
        assert_eq!(sparing.admit("b", at(999)), Some(0), "a kind of its own");
        assert_eq!(sparing.admit("a", at(1000)), Some(2));
        assert_eq!(sparing.admit("a", at(1001)), None);
        assert_eq!(sparing.overdue(at(2999)), []);
        assert_eq!(sparing.overdue(at(3000)), [("a", 1)], "a line that is never followed by another");
        assert_eq!(sparing.overdue(at(3001)), []);
        assert_eq!(sparing.admit("a", at(3001)), Some(0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (sparing, now) = (Sparing::default(), Instant::now());
        let written = (0..2 * KINDS_MAX).filter(|kind| sparing.admit(*kind, now).is_some()).count();
        assert_eq!(written, KINDS_MAX);
        assert_eq!(sparing.admit(usize::MAX, now + PAUSE), Some(0));
    }
}
