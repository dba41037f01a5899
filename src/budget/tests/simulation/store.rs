//! What replicas share, as the store's script keeps it, and what the other replicas do with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Granted, Moment, Told, Wants};

/// The slots of each budget: by the number of the call that has it, when its hold ends.
#[derive(Default)]
pub(super) struct Store {
    budgets: BTreeMap<Arc<str>, BTreeMap<u64, u64>>,
    /// Nobody gets an answer.
    pub(super) is_away: bool,
}

impl Store {
    /// One slot in every budget that is wanted, or none where one of them is full; each is held for `hold`.
    pub(super) fn take(&mut self, call: u64, wants: &Wants, now: u64, hold: u64) -> (Granted, Vec<Told>) {
        let (mut granted, mut told) = (Granted::default(), Vec::new());
        if self.is_away {
            return (granted, told);
        }
        let mut has_room = Vec::new();
        for want in wants {
            let slots = self.budgets.entry(Arc::clone(&want.key)).or_default();
            slots.retain(|_, ends| *ends >= now);
            has_room.push(slots.len() < want.limit as usize);
        }
        let possible = has_room.iter().zip(wants).all(|(room, want)| *room || want.spare);
        for (place, (want, room)) in wants.iter().zip(has_room).enumerate() {
            let slots = self.budgets.get_mut(&want.key).expect("looked at before");
            if possible && room {
                slots.insert(call, now + hold);
                granted.add(place);
            }
            let free = (want.limit as usize).saturating_sub(slots.len());
            let first = slots.values().min().map_or(now, |ends| ends + 1);
            told.push(Told {
                free: u32::try_from(free).expect("small"),
                next: Moment::from_micros(first),
                held_back: false,
            });
        }
        (granted, told)
    }

    /// A call's slots are held until then, or not at all.
    pub(super) fn release(&mut self, call: u64, ends: Option<u64>) {
        for slots in self.budgets.values_mut() {
            match (slots.get_mut(&call), ends) {
                (Some(slot), Some(ends)) => *slot = ends,
                _ => drop(slots.remove(&call)),
            }
        }
    }

    /// Whether a call still has its slots; they are held as if taken now.
    pub(super) fn renew(&mut self, call: u64, now: u64, hold: u64) -> bool {
        let slots = self.budgets.values_mut().filter_map(|slots| slots.get_mut(&call));
        let mut slots: Vec<_> = slots.collect();
        let holds = !slots.is_empty() && slots.iter().all(|ends| **ends >= now);
        slots.iter_mut().filter(|_| holds).for_each(|ends| **ends = now + hold);
        holds
    }
}
