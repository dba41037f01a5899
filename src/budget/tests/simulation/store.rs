//! The store that replicas share, with the rules of its script, and the other replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;

/// The slots of each budget: the end of each hold, by the number of its call.
#[derive(Default)]
pub(super) struct Store {
    budgets: BTreeMap<Arc<str>, BTreeMap<u64, u64>>,
    /// Whether the store is unavailable.
    pub(super) is_away: bool,
}

impl Store {
    /// Takes one slot in every requested budget for `hold`, or none if one of them is full.
    pub(super) fn take(
        &mut self,
        call: u64,
        slot_requests: &SlotRequests,
        now: u64,
        hold: u64,
    ) -> (GrantedMask, Vec<StoreStatus>) {
        let (mut granted, mut statuses) = (GrantedMask::default(), Vec::new());
        if self.is_away {
            return (granted, statuses);
        }
        let mut has_room = Vec::new();
        for want in slot_requests {
            let slots = self.budgets.entry(Arc::clone(&want.key)).or_default();
            slots.retain(|_, ends| *ends >= now);
            has_room.push(want.need != Need::Place && slots.len() < want.limit as usize);
        }
        let possible = has_room.iter().zip(slot_requests).all(|(room, want)| *room || want.need == Need::May);
        for (place, (want, room)) in slot_requests.iter().zip(has_room).enumerate() {
            let slots = self.budgets.get_mut(&want.key).expect("looked at before");
            if possible && room {
                slots.insert(call, now + hold);
                granted.add(place);
            }
            let free = (want.limit as usize).saturating_sub(slots.len());
            let first = slots.values().min().map_or(now, |ends| ends + 1);
            statuses.push(StoreStatus {
                free: u32::try_from(free).expect("small"),
                next: Timestamp::from_micros(first),
                held_back: false,
            });
        }
        (granted, statuses)
    }

    /// Holds a call's slots until `ends`, or releases them.
    pub(super) fn release(&mut self, call: u64, ends: Option<u64>) {
        for slots in self.budgets.values_mut() {
            match (slots.get_mut(&call), ends) {
                (Some(slot), Some(ends)) => *slot = ends,
                _ => drop(slots.remove(&call)),
            }
        }
    }

    /// Extends the holds of a call's slots to `hold` from `now`; `false` if the call has none any more.
    pub(super) fn renew(&mut self, call: u64, now: u64, hold: u64) -> bool {
        let slots = self.budgets.values_mut().filter_map(|slots| slots.get_mut(&call));
        let mut slots: Vec<_> = slots.collect();
        let holds = !slots.is_empty() && slots.iter().all(|ends| **ends >= now);
        slots.iter_mut().filter(|_| holds).for_each(|ends| **ends = now + hold);
        holds
    }
}

impl World {
    /// Asks the store as a waiting call does: for all budgets at first, then for one budget after the other.
    pub(super) fn ask_store(
        &mut self,
        request: &mut Request,
        ticket: Option<&QueueTicket>,
    ) -> (GrantedMask, Option<u64>) {
        let (now, nothing) = (self.timestamp(), (GrantedMask::default(), None));
        let budget_set =
            ticket.map_or_else(|| self.budget_set(&request.draws_on), QueueTicket::awaited_budget);
        let Some(store) = self.store.as_mut().filter(|_| request.asks.is_none_or(|at| at <= self.now)) else {
            return nothing;
        };
        request.asks = None;
        let waiter = ticket.map(|ticket| (ticket, now));
        let requester = &self.requesters[request.caller];
        let Some(slot_requests) = slot_requests(&budget_set, requester, waiter, now) else { return nothing };
        self.next += 1;
        let (guard, window) = (self.horizon.guard, slot_requests.iter().map(|want| want.window).max());
        let hold = ATTEMPT + micros(guard + window.unwrap_or_default());
        let (granted, statuses) = store.take(self.next, &slot_requests, self.now, hold);
        apply_store_status(&budget_set, &statuses);
        if granted.is_empty() {
            let full = statuses.iter().zip(&slot_requests).filter(|(statuses, _)| statuses.free == 0);
            let soonest = full.map(|(statuses, want)| statuses.next.min(now + want.window).as_micros()).max();
            request.asks = Some(soonest.unwrap_or(self.now + SECOND / 4));
            return nothing;
        }
        (granted, Some(self.next))
    }

    /// Holds these slots in the store for `keep` from now, or releases them.
    pub(super) fn release(&mut self, slots: Vec<u64>, keep: Option<u64>) {
        let Some(store) = &mut self.store else { return };
        for call in slots {
            store.release(call, keep.map(|keep| self.now + keep));
        }
    }

    /// Makes a call of another replica, if the store has a slot.
    pub(super) fn foreign_call(&mut self) {
        let place = usize::try_from(self.random.next()).expect("64 bits") % COUNT;
        let everybody = Requester { precedence: Precedence::First, ..Requester::of(CallerNumber::FORMER) };
        let Some(slot_requests) =
            slot_requests(&self.budget_set(&[place]), &everybody, None, self.timestamp())
        else {
            return;
        };
        let Some(store) = &mut self.store else { return };
        self.next += 1;
        let (call, window) = (self.next, self.vendors[place].window);
        if !store.take(call, &slot_requests, self.now, ATTEMPT + window).0.is_empty() {
            let lasts = self.random.within(self.latency.clone());
            let at = self.now + self.random.within(0..=lasts);
            self.taken += 1;
            let (order, limit, run) = (self.taken, self.limits[place].limit.get(), self.run);
            self.counted[place].push(Counted { at, order, limit, run });
            self.plan(self.now + lasts, Event::ForeignEnds(call, window));
        }
    }
}
