//! Tests of the parts that replicas own: a replica that starts again and again, and one too many, use none of them that
//! another one may have used.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jpush_gateway::sandbox::Windows;
use proptest::test_runner::{Config as Cases, TestRunner};

use crate::replicas::{config_with, state, tags};
use crate::support::{Gateway, Keys, Redis, RedisConnection, Simulator, Wire, numbers, wait_until};

/// Of 30 slots, each replica owns seven.
const BUDGETS: &str = "device: { limit: 30, window: 20s }";
const SHARING: &str = "local_share: 50%, replicas: 2";

/// Calls until nothing is left, and returns how many passed.
fn use_up(gateway: &Gateway) -> usize {
    (0..100).take_while(|_| gateway.call(&tags()).status == 200).count()
}

fn start(vendor: &Simulator, redis: &Redis, sharing: &str) -> Gateway {
    start_at(vendor, &redis.url(), sharing)
}

fn start_at(vendor: &Simulator, store: &str, sharing: &str) -> Gateway {
    let mut config = config_with(vendor, &format!("url: \"{store}\", {sharing}"));
    config.budgets = BUDGETS.into();
    Gateway::start(&config)
}

#[test]
fn a_replica_that_is_killed_again_and_again_uses_no_more_than_the_limit() {
    let (redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let passed = (0..6).map(|_| {
        let gateway = start(&vendor, &redis, SHARING);
        let passed = use_up(&gateway);
        gateway.program.signal("KILL");
        passed
    });
    let passed: Vec<_> = passed.collect();
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!(counts["refused"], 0, "{passed:?} {counts}");
    // A new store gives nothing yet, so only own parts were used: those of as many replicas as there may be.
    assert_eq!(passed, [7, 7, 0, 0, 0, 0]);
}

#[test]
fn a_refusal_says_why_the_own_part_is_not_used() {
    let (mut redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let _first_two = [(); 2].map(|()| start(&vendor, &redis, SHARING));
    let third = start(&vendor, &redis, SHARING);
    third.log_line(&["WARN", "the own parts of this replica are not used yet"]);
    redis.kill();
    wait_until("away", || state(&third) == "away");
    let refused = third.call(&tags());
    refused.assert_refused(429, "budget-exhausted", 2002);
    assert!(refused.text().contains("the part of this one alone is held back"), "{}", refused.text());
}

#[test]
fn a_replica_that_comes_in_the_place_of_one_that_ended_in_order_is_held_back_for_no_longer_than_its_slots() {
    let redis = Redis::start();
    let budgets = ["push", "device", "report", "schedule", "file"]
        .map(|name| format!("{name}: {{ limit: 30, window: 1s }}"))
        .join(", ");
    let vendor = Simulator::with(&budgets, Windows::Sliding);
    let mut config =
        config_with(&vendor, &format!("url: \"{}\", local_share: 50%, replicas: 1", redis.url()));
    config.budgets = budgets;
    let first = Gateway::start(&config);
    wait_until("a call", || first.call(&tags()).status == 200);
    first.program.signal("TERM");
    wait_until("its end", || {
        redis.command(&["HVALS", LIST]).split(' ').nth(1).is_some_and(|end| !end.starts_with('0'))
    });
    let second = Gateway::start(&config);
    second.log_line(&["WARN", "the own parts of this replica are not used yet"]);
    second.log_line(&["INFO", "the own parts of this replica are used"]);
}

const LIST: &str = "jpush-gateway:replicas";

/// The script that the store runs.
const SCRIPT: &str = include_str!("../../src/store/replicas.lua");

const REPLICAS: usize = 3;
const SECOND: u64 = 1_000_000;
/// The longest that a slot is held.
const LONGEST: u64 = 20 * SECOND;

struct Process {
    is_cut_off: bool,
    /// Whether it may use its own part.
    is_open: bool,
}

/// Whether a replica that the store tells this may use all of its own part.
fn opens(over: i64) -> bool {
    u64::try_from(over).map_or(true, |over| over > LONGEST)
}

/// Replicas and the list in the store, on a clock that the test sets.
struct World {
    store: RedisConnection,
    key: String,
    now: u64,
    next: usize,
    running: BTreeMap<usize, Process>,
    /// When those that ended with an own part in use did so.
    ended: Vec<u64>,
}

impl World {
    fn new(redis: &Redis, key: String) -> Self {
        let (store, running) = (redis.connection(), BTreeMap::new());
        Self { store, key, now: 1_800_000_000 * SECOND, next: 0, running, ended: Vec::new() }
    }

    /// A replica tells the store that it is there or ends.
    fn tell(&mut self, name: usize, ends: bool) -> i64 {
        let arguments = [name as u64, REPLICAS as u64, LONGEST, ends.into()].map(|number| number.to_string());
        numbers(&self.store.run_at(self.now, SCRIPT, &[&self.key], &arguments))[0]
    }

    fn look(&mut self, name: usize) {
        if self.running[&name].is_cut_off {
            return;
        }
        let over = self.tell(name, false);
        let process = self.running.get_mut(&name).expect("it runs");
        process.is_open |= opens(over);
    }

    fn step(&mut self, kind: usize, which: usize) {
        let chosen = self.running.keys().nth(which % self.running.len().max(1)).copied();
        match (kind, chosen) {
            (0..=2, _) if self.running.len() < REPLICAS => {
                self.next += 1;
                self.running.insert(self.next, Process { is_cut_off: false, is_open: false });
                self.look(self.next);
            }
            (3, Some(name)) => self.ends(name),
            (4, Some(name)) => {
                if !self.running[&name].is_cut_off {
                    self.tell(name, true);
                }
                self.ends(name);
            }
            (5, Some(name)) => {
                let process = self.running.get_mut(&name).expect("it runs");
                process.is_cut_off = !process.is_cut_off;
            }
            _ => self.all_look(),
        }
    }

    fn all_look(&mut self) {
        let names: Vec<_> = self.running.keys().copied().collect();
        for name in names {
            self.look(name);
        }
    }

    fn ends(&mut self, name: usize) {
        let process = self.running.remove(&name).expect("it runs");
        if process.is_open {
            self.ended.push(self.now);
        }
    }

    /// Each replica that may use its own part does so all the time.
    fn holds(&mut self) {
        let now = self.now;
        self.ended.retain(|ended| ended + LONGEST >= now);
        let users = self.ended.len() + self.running.values().filter(|process| process.is_open).count();
        assert!(users <= REPLICAS, "{users} own parts are in use");
    }
}

/// Random sequences of starts, kills, orderly ends, replicas that are cut off, and looks.
#[test]
fn no_more_own_parts_are_in_use_than_there_are() {
    let (redis, case, waited) = (Redis::start(), AtomicU64::new(0), AtomicU64::new(0));
    let steps = proptest::collection::vec((0_u64..4 * SECOND, 0_usize..12, 0_usize..8), 1..300);
    let mut runner = TestRunner::new(Cases { failure_persistence: None, ..Cases::with_cases(64) });
    let law = |steps: Vec<(u64, usize, usize)>| {
        let key = format!("replicas-{}", case.fetch_add(1, Ordering::Relaxed));
        let mut world = World::new(&redis, key);
        for (passed, kind, which) in steps {
            world.now += passed;
            world.step(kind, which);
            world.holds();
            waited.fetch_add(
                world.running.values().filter(|process| !process.is_open).count() as u64,
                Ordering::Relaxed,
            );
        }
        // Once nobody comes or goes, all that run use theirs.
        world.running.values_mut().for_each(|process| process.is_cut_off = false);
        for _ in 0..30 {
            world.now += SECOND;
            world.all_look();
            world.holds();
        }
        assert!(world.running.values().all(|process| process.is_open), "one waits for ever");
        Ok(())
    };
    runner.run(&steps, law).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(waited.into_inner() > 0, "no schedule had a replica that waits");
}

#[test]
fn a_replica_too_many_uses_none_for_as_long_as_the_others_run() {
    let redis = Redis::start();
    let mut world = World::new(&redis, LIST.into());
    let told: Vec<_> = (1..=3).map(|name| world.tell(name, false)).collect();
    assert_eq!(told, [-1, -1, -1]);
    for _ in 0..100 {
        assert_eq!(world.tell(4, false), 0);
        world.now += SECOND;
        for name in 1..=3 {
            world.tell(name, false);
        }
    }
    // One of them was killed. After its slots are over, the fourth is one of three.
    let told: Vec<_> = (0..30)
        .map(|_| {
            world.now += SECOND;
            [1, 2, 4].map(|name| world.tell(name, false))[2]
        })
        .collect();
    let first = told.iter().position(|over| opens(*over)).expect("it gets its own part");
    assert!((20..=27).contains(&first), "{told:?}");
}

#[test]
fn the_list_stays_short_however_often_a_replica_starts_again() {
    let redis = Redis::start();
    let mut world = World::new(&redis, LIST.into());
    for name in 1..=300 {
        world.now += SECOND / 50;
        world.tell(name, false);
        world.tell(name, true);
    }
    world.tell(301, false);
    let listed = redis.command(&["HLEN", LIST]);
    assert_eq!(listed.trim(), format!(":{}", REPLICAS + 1), "those that still count, and the one that runs");
}

#[test]
fn a_refusal_names_the_own_part_where_there_is_no_other() {
    let (redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let sharing = "local_share: 100%, replicas: 1";
    let first = start(&vendor, &redis, sharing);
    assert_eq!(first.call(&tags()).status, 200);
    first.program.signal("KILL");
    let second = start(&vendor, &redis, sharing);
    let refused = second.call(&tags());
    refused.assert_refused(429, "budget-exhausted", 2002);
    assert!(refused.text().contains("the part of this one alone is held back"), "{}", refused.text());
}

#[test]
fn a_store_that_is_away_for_a_moment_at_a_start_is_asked_again() {
    let (redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let wire = Wire::to(redis.address);
    let sharing = "local_share: 50%, replicas: 1";
    start(&vendor, &redis, sharing).program.signal("KILL");
    wire.cut();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(400));
            wire.mend();
        });
        let second = start_at(&vendor, &wire.url(), sharing);
        second.log_line(&["WARN", "the own parts of this replica are not used yet"]);
    });
}
