//! The laws that hold on every schedule.

use super::random::each_seed;
use super::windows::{fixed, from_first_call, sliding};
use super::*;
use crate::config::Shares;

impl World {
    /// Checks progress: when all gates of a waiting request have room, some request passes as soon as the next waiter
    /// looks, which is one tick after the last slot was released.
    pub(super) fn check_progress(&mut self) {
        if !self.requests.values().any(|request| self.could_pass(request)) {
            self.open_since = None;
            return;
        }
        match self.open_since {
            Some((since, taken)) if taken == self.taken => {
                assert!(self.now - since <= 2, "all gates of some request have been open since {since} µs");
            }
            _ => self.open_since = Some((self.now, self.taken)),
        }
    }

    pub(super) fn could_pass(&self, request: &Request) -> bool {
        let (requester, now) = (&self.requesters[request.caller], self.timestamp());
        // In the store, others take free slots without notice: only this replica's own part counts.
        let has_room = |place: &usize| {
            let mut inner = lock(&self.budgets[*place].inner);
            inner.free(now) > inner.kept_from_requester(requester, now).now
                && inner.until_paced(now).is_zero()
        };
        let has_share = |quota: &Arc<Quota>| lock(&quota.inner).until_free(now, 0).is_zero();
        request.draws_on.iter().all(has_room) && requester.quota.as_ref().is_none_or(has_share)
    }

    /// Checks the calls that the vendor saw against its limit, in each kind of window.
    pub(super) fn judge(&mut self) {
        for (vendor, counted) in self.vendors.iter().zip(&mut self.counted) {
            counted.sort_unstable_by_key(|call| call.at);
            for run in 0..=self.run {
                // Without a state file a new process knows nothing of the old one's calls.
                let seen: Vec<Counted> = counted.iter().filter(|call| call.run == run).copied().collect();
                sliding(vendor, &seen);
                let phase = self.random.within(0..=vendor.window);
                fixed(vendor, phase, &seen);
                from_first_call(vendor, &seen);
            }
        }
    }
}

#[test]
fn no_window_of_the_vendors_ever_counts_too_many() {
    each_seed(3_000, |seed| {
        let mut world = World::new(seed, true);
        let length = world.random.within(10..=200) * SECOND;
        for _ in 0..world.random.within(10..=150) {
            let at = world.random.within(0..=length);
            world.plan(at, Event::Arrives);
        }
        for _ in 0..world.random.within(0..=4) {
            let at = world.random.within(0..=length);
            world.plan(at, Event::Reloads);
        }
        if world.random.percent(20) {
            let at = world.random.within(0..=length);
            world.plan(at, Event::Restarts);
        }
        world.play_until(u64::MAX);
        world.judge();
        let Effort { looks, changes } = world.effort;
        assert!(looks <= 6 * changes, "{looks} decisions over {changes} changes");
        // Every slot is released, and no request is left in a queue.
        world.move_to(world.now + 600 * SECOND);
        for budget in &world.budgets {
            let status = budget.status(world.timestamp());
            assert_eq!((status.used, status.waiting), (0, 0), "{:?}", status.name);
        }
    });
}

/// One of several replicas over a shared budget: whatever the others take, and whenever the store is unavailable, the
/// vendor counts no more than its limit, and no request is left waiting for a free slot.
#[test]
fn with_a_store_no_window_counts_too_many_and_everybody_comes_to_an_end() {
    each_seed(60, |seed| {
        let mut world = World::new(seed, true);
        let replicas = NonZeroU32::new(2).expect("not zero");
        let local_percent = [0, 20, 50][usize::try_from(world.random.within(0..=2)).expect("small")];
        world.registry = Budgets::shared(Some(Shares { local_percent, replicas }));
        world.registry.own_parts().open_all();
        world.budgets = open(&world.registry, world.limits, world.horizon);
        keep(&world.budgets, &world.kept);
        (world.store, world.state) = (Some(Store::default()), None);
        let length = world.random.within(10..=200) * SECOND;
        for _ in 0..world.random.within(10..=150) {
            let at = world.random.within(0..=length);
            let event = if world.random.percent(60) { Event::Arrives } else { Event::ForeignCall };
            world.plan(at, event);
        }
        for _ in 0..2 * world.random.within(0..=2) {
            let at = world.random.within(0..=length);
            world.plan(at, Event::StoreToggles);
        }
        world.play_until(u64::MAX);
        world.judge();
        assert!(world.requests.is_empty());
        world.move_to(world.now + 600 * SECOND);
        for budget in &world.budgets {
            let status = budget.status(world.timestamp());
            assert_eq!((status.used, status.waiting), (0, 0), "{:?}", status.name);
        }
    });
}

#[test]
fn a_lone_caller_that_waits_as_long_as_it_was_told_is_admitted() {
    each_seed(1_000, |seed| {
        let mut world = World::new(seed, true);
        for _ in 0..60 {
            let at = world.random.within(0..=30 * SECOND);
            world.plan(at, Event::Arrives);
        }
        world.play_until(30 * SECOND);
        world.requests.clear();
        world
            .calls
            .retain(|_, call| matches!(call.stage, CallStage::UnderWay(_)) && call.fate != Fate::NotSent);
        world.faults = false;
        let caller = usize::try_from(world.random.next()).expect("64 bits") % world.requesters.len();
        let ask =
            |world: &World| take(&world.budget_set(&[0, 1]), &world.requesters[caller], world.timestamp());
        let Err(refusal) = ask(&world) else { return };
        let wait = refusal.wait();
        let at = (world.timestamp() + wait).as_micros();
        world.play_until(at);
        if let Err(again) = ask(&world) {
            panic!("waited {wait:?} as in {refusal}, and then: {again}");
        }
    });
}

#[test]
fn without_faults_hardly_a_slot_is_idle_while_callers_wait() {
    each_seed(100, |seed| {
        let mut world = World::new(seed, false);
        world.refill = true;
        for caller in 0..world.requesters.len() {
            for _ in 0..3 {
                world.arrive_from(caller, vec![0]);
            }
        }
        let Vendor { limit, window, .. } = world.vendors[0];
        let mean_at_most = window + *world.latency.end();
        let length = 20 * mean_at_most;
        world.play_until(length);
        let mean = window + world.latency_sum / world.taken;
        let (had, could) = (world.taken * 100, length / mean * limit * 95);
        assert!(had >= could, "{} calls, and there was room for {}", world.taken, could / 95);
        world.judge();
    });
}

/// Calls on two budgets beside calls on one of them: neither budget is idle, and calls on both get the fair share of
/// their caller.
#[test]
fn calls_over_two_budgets_neither_starve_nor_leave_slots_idle() {
    each_seed(8, |seed| {
        let mut world = World::new(seed, false);
        let window = world.random.within(5..=60) * SECOND;
        for place in 0..2 {
            world.vendors[place] = Vendor { limit: world.random.within(20..=100), window, guard: 0 };
        }
        world.limits = world.vendors.map(|vendor| limit(vendor.limit, vendor.window, None));
        world.budgets = open(&world.registry, world.limits, world.horizon);
        keep(&world.budgets, &Default::default());
        let draws: [&[usize]; 3] = [&[0], &[1], &[0, 1]];
        world.requesters = (0..3).map(|caller| Requester::of(CallerNumber(caller))).collect();
        world.latency = 0..=[SECOND / 10, SECOND][usize::from(world.random.percent(50))];
        world.refill = true;
        for caller in (0..3).cycle().take(60) {
            world.arrive_from(caller, draws[caller].to_vec());
        }
        let length = 20 * (window + *world.latency.end());
        world.play_until(length);
        let by_caller = |caller| world.served.get(&caller).copied().unwrap_or(0);
        let mean = window + world.latency_sum / world.taken;
        let [schedules, files] = [0, 1].map(|place| {
            let (had, limit) = (by_caller(place) + by_caller(2), world.vendors[place].limit);
            let could = length / mean * limit;
            assert!(
                had * 100 >= could * 95,
                "{had} calls of {limit} a window, and there was room for {could}"
            );
            had
        });
        let fair = schedules.min(files) / 2;
        assert!(by_caller(2) * 10 >= fair * 8, "{} over both, and its share was {fair}", by_caller(2));
        world.judge();
    });
}

#[test]
fn a_flood_delays_a_modest_caller_by_its_fair_share_only() {
    each_seed(20, |seed| {
        let mut world = World::new(seed, false);
        let weight = |random: &mut Random| u32::try_from(random.within(1..=5)).expect("small");
        let (flood, modest) = (weight(&mut world.random), weight(&mut world.random));
        let requester = |caller, weight| Requester { weight, ..Requester::of(CallerNumber(caller)) };
        world.requesters = vec![requester(0, flood), requester(1, modest)];
        world.budgets[0].keep(&[]);
        for _ in 0..1_000 {
            world.arrive_from(0, vec![0]);
        }
        for _ in 0..10 {
            let pause = world.random.within(0..=world.vendors[0].window);
            world.play_until(world.now + pause);
            let before = world.taken;
            world.arrive_from(1, vec![0]);
            let modest_waits = |world: &World| world.requests.values().any(|request| request.caller == 1);
            while modest_waits(&world) {
                let Reverse((at, _)) = *world.events.peek().expect("a request waits");
                world.play_until(at);
            }
            let others = world.taken - before - 1;
            // Waiters whose slots were released in the same microsecond are woken one by one.
            let fair = u64::from(flood.div_ceil(modest)) + 1;
            assert!(others <= fair, "{others} of the flood went first, with weights {flood} and {modest}");
        }
    });
}
