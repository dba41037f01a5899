//! The slots that this process holds in the store, as it knows them itself.
//!
//! A server that lost its data is told of them. A slot stands here before it is asked for, so that none that a call may
//! use is missing, and its hold ends here no earlier than its call can matter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::boot_time::BootTime;
use crate::lock::lock;

/// The fewest slots of one budget among which those that have ended are looked for.
const PRUNED_MIN: usize = 64;

#[derive(Default)]
pub(super) struct HeldSlots(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// When the first slot was asked for.
    first: Option<BootTime>,
    budgets: HashMap<Arc<str>, Ends>,
}

/// The end of each hold, by the number of its call. There are at most about twice as many as the store gives, because
/// those that have ended are dropped when their number may have doubled.
#[derive(Default)]
struct Ends {
    of: HashMap<u64, BootTime>,
    prune_at: usize,
}

/// One slot, and for how long it is still held.
pub(super) struct HeldSlot {
    pub(super) key: Arc<str>,
    pub(super) id: u64,
    pub(super) left: Duration,
}

impl HeldSlots {
    /// Records that a call holds a slot in each of these budgets for so long from now on.
    pub(super) fn hold<'k>(&self, id: u64, budgets: impl Iterator<Item = (&'k Arc<str>, Duration)>) {
        let now = BootTime::now();
        let mut held = lock(&self.0);
        held.first.get_or_insert(now);
        for (key, hold) in budgets {
            match held.budgets.get_mut(key) {
                Some(ends) => ends.hold(id, now + hold, now),
                None => held.budgets.entry(Arc::clone(key)).or_default().hold(id, now + hold, now),
            }
        }
    }

    /// Records that a call holds no slot in this budget.
    pub(super) fn release(&self, id: u64, key: &Arc<str>) {
        if let Some(ends) = lock(&self.0).budgets.get_mut(key) {
            ends.of.remove(&id);
        }
    }

    /// How long ago the first slot was asked for, and all slots that are held now. `None` if none was ever asked for.
    pub(super) fn all(&self) -> Option<(Duration, Vec<HeldSlot>)> {
        let (now, held) = (BootTime::now(), lock(&self.0));
        let slots = held.budgets.iter().flat_map(|(key, ends)| {
            let held = ends.of.iter().filter(|(_, end)| **end > now);
            held.map(|(id, end)| HeldSlot { key: Arc::clone(key), id: *id, left: end.since(now) })
        });
        Some((now.since(held.first?), slots.collect()))
    }
}

impl Ends {
    fn hold(&mut self, id: u64, end: BootTime, now: BootTime) {
        if self.of.len() >= self.prune_at.max(PRUNED_MIN) {
            self.of.retain(|_, end| *end > now);
            self.prune_at = 2 * self.of.len();
        }
        self.of.insert(id, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_or_has_ended_is_not_held() {
        let (slots, key): (_, Arc<str>) = (HeldSlots::default(), "push".into());
        assert!(slots.all().is_none(), "nothing was asked for");
        let take = |id, span| slots.hold(id, [(&key, span)].into_iter());
        for id in 0..10_000 {
            take(id, Duration::ZERO);
        }
        let kept = lock(&slots.0).budgets[&key].of.len();
        assert!(kept <= 2 * PRUNED_MIN, "{kept}");
        take(1, Duration::from_hours(1));
        take(2, Duration::from_hours(1));
        slots.release(2, &key);
        let (_, held) = slots.all().expect("some were asked for");
        let known: Vec<_> = held.iter().map(|slot| (&*slot.key, slot.id)).collect();
        assert_eq!(known, [("push", 1)]);
    }
}
