//! Tests of turns between replicas: whose call gets a slot that becomes free in the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jpush_gateway::sandbox::Windows;

use crate::replicas::{Stopping, config_with, go_on_for, state};
use crate::support::{
    Connection, Gateway, Keys, Redis, RedisConnection, Request, Simulator, Tokens, numbers, wait_until,
};

const BUDGETS: &str = "device: { limit: 3, window: 1s }";

/// The calls of one caller at one replica that were served.
struct Load<'g> {
    gateway: &'g Gateway,
    request: Request,
    connections: usize,
    /// How many are enough; `None`: it goes on until the others have enough.
    enough: Option<usize>,
    served: AtomicUsize,
}

impl<'g> Load<'g> {
    fn new(gateway: &'g Gateway, connections: usize, token: &str, wait: Option<u32>) -> Self {
        let request = Request::get("/v3/tags").basic("shop", token);
        let request = match wait {
            Some(seconds) => request.header("Prefer", &format!("wait={seconds}")),
            None => request,
        };
        Self { gateway, request, connections, enough: None, served: AtomicUsize::new(0) }
    }

    fn run(&self, is_over: &AtomicBool) {
        let mut connection = Connection::open(self.gateway.address());
        while !is_over.load(Ordering::Relaxed) {
            let answer = connection.call(&self.request);
            match answer.status {
                200 => drop(self.served.fetch_add(1, Ordering::Relaxed)),
                429 => {
                    assert!(self.enough.is_none(), "{}", answer.text());
                    go_on_for(Duration::from_millis(5));
                }
                status => panic!("{status}: {}", answer.text()),
            }
        }
    }

    fn has_enough(&self) -> bool {
        self.enough.is_none_or(|enough| self.served() >= enough)
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

/// Two replicas without own parts under these loads, until each of them had enough.
fn under(loads: impl for<'g> FnOnce(&'g [Gateway; 2]) -> Vec<Load<'g>>, judge: impl FnOnce(&[Load<'_>])) {
    let (redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let mut config = config_with(&vendor, &format!("url: \"{}\", local_share: 0%, replicas: 2", redis.url()));
    config.budgets = BUDGETS.into();
    config.limits = "deadline: 60s".into();
    let gateways = [Gateway::start(&config), Gateway::start(&config)];
    for gateway in &gateways {
        wait_until("up", || state(gateway) == "up");
    }
    // So that nothing is held back any more.
    go_on_for(Duration::from_secs(4));
    let loads = loads(&gateways);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopping = Stopping(&is_over);
        for load in &loads {
            for _ in 0..load.connections {
                scope.spawn(|| load.run(&is_over));
            }
        }
        wait_until("enough", || loads.iter().all(Load::has_enough));
        judge(&loads);
    });
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!(counts["refused"], 0, "{counts}");
}

#[test]
fn who_waits_at_one_replica_goes_before_who_hammers_at_another() {
    under(
        |[busy, idle]| {
            let waits = Load::new(idle, 4, Tokens::BOTH, Some(30));
            vec![Load::new(busy, 20, Tokens::ORDERS, None), Load { enough: Some(16), ..waits }]
        },
        |loads| {
            let [hammers, waits] = [loads[0].served(), loads[1].served()];
            assert!(hammers <= waits / 2, "{hammers} against {waits}");
        },
    );
}

#[test]
fn callers_that_wait_at_several_replicas_have_their_turns_together() {
    under(
        |[busy, idle]| {
            let modest = Load::new(idle, 2, Tokens::BOTH, Some(40));
            vec![
                Load::new(busy, 8, Tokens::ORDERS, Some(40)),
                Load::new(idle, 8, Tokens::ORDERS, Some(40)),
                Load { enough: Some(9), ..modest },
            ]
        },
        |loads| {
            let (flood, modest) = (loads[0].served() + loads[1].served(), loads[2].served());
            assert!(flood <= modest * 3 / 2 + 3, "{flood} against {modest}");
        },
    );
}

/// The scripts that the store runs.
const TAKE: &str = include_str!("../../src/store/take.lua");
const RELEASE: &str = include_str!("../../src/store/release.lua");

const REPLICAS: usize = 50;
const LIMIT: usize = 20;
const SECOND: u64 = 1_000_000;
const WINDOW: u64 = 10 * SECOND;
/// The longest that a slot is held if nothing is heard of its call.
const LONGEST: u64 = 2 * WINDOW;
/// An answer takes twice as long at most.
const LATENCY: u64 = 150_000;

/// A waiting call.
struct Waiter {
    caller: usize,
    since: u64,
}

/// A replica and its waiting calls, the next one first. A caller that is served waits again at once.
#[derive(Default)]
struct Replica {
    waiting: VecDeque<Waiter>,
    asks_at: u64,
}

/// Fifty replicas and a store, on a clock that the test sets.
struct World {
    store: RedisConnection,
    key: String,
    limit: usize,
    random: u64,
    now: u64,
    start: u64,
    replicas: Vec<Replica>,
    weights: Vec<u32>,
    /// The answers to come: when, and for which slot.
    answers: BTreeSet<(u64, u64)>,
    /// The end of each hold.
    held: BTreeMap<u64, u64>,
    next: u64,
    /// The waiting times of each caller's calls that were served.
    waited: Vec<Vec<u64>>,
}

impl World {
    fn new(redis: &Redis, seed: u64, weights: &[u32]) -> Self {
        Self::with(LIMIT, redis, seed, weights)
    }

    fn with(limit: usize, redis: &Redis, seed: u64, weights: &[u32]) -> Self {
        let start = 1_800_000_000 * SECOND;
        let mut world = Self {
            store: redis.connection(),
            key: format!("budget-{seed}"),
            limit,
            random: seed,
            now: start - LONGEST,
            start,
            replicas: (0..REPLICAS).map(|_| Replica::default()).collect(),
            weights: weights.to_vec(),
            answers: BTreeSet::new(),
            held: BTreeMap::new(),
            next: 0,
            waited: weights.iter().map(|_| Vec::new()).collect(),
        };
        // Once the store knows the budget for long enough, it holds nothing back.
        assert!(world.take("nobody", "").is_some());
        world.now = start;
        world
    }

    fn random(&mut self, below: u64) -> u64 {
        // Knuth's generator, of which the high bits are good.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn choose(&mut self, below: usize) -> usize {
        usize::try_from(self.random(below as u64)).expect("small")
    }

    /// Lets a caller wait at a replica.
    fn wait(&mut self, number: usize, caller: usize) {
        let (since, jitter) = (self.now, self.random(SECOND));
        let replica = &mut self.replicas[number];
        if replica.waiting.iter().all(|waiter| waiter.caller != caller) {
            replica.waiting.push_back(Waiter { caller, since });
            replica.asks_at = since + jitter;
        }
    }

    /// Asks for a slot, and returns after how long to ask again; `None`: it was taken.
    fn take(&mut self, replica: &str, turn: &str) -> Option<u64> {
        self.next += 1;
        let keys = [self.key.clone(), format!("{}:waiting", self.key), format!("{}:runs", self.key)];
        let sizes = [self.limit as u64, 0, WINDOW, LONGEST].map(|number| number.to_string());
        let first = [self.next.to_string(), "run".to_owned(), "0".to_owned(), replica.to_owned()];
        let last = ["must".to_owned(), turn.to_owned()];
        let arguments: Vec<_> = first.into_iter().chain(sizes).chain(last).collect();
        let answer = self.store.run_at(self.now, TAKE, &keys.each_ref().map(String::as_str), &arguments);
        let answer = numbers(&answer);
        if answer[0] == 0 {
            return Some(answer[2].unsigned_abs());
        }
        let now = self.now;
        self.held.retain(|_, end| *end >= now);
        self.held.insert(self.next, now + LONGEST);
        assert!(self.held.len() <= self.limit, "{} held", self.held.len());
        let answered = now + self.random(2 * LATENCY);
        self.answers.insert((answered, self.next));
        None
    }

    /// The next call of a replica asks.
    fn ask(&mut self, number: usize) {
        let waiting = &self.replicas[number].waiting;
        let weight = self.weights[waiting[0].caller];
        let callers: Vec<_> = waiting.iter().map(|waiter| format!("caller{}", waiter.caller)).collect();
        let turn = format!("{} {} {weight} {}", waiting.len(), 60 * SECOND, callers.join(" "));
        let again = self.take(&format!("replica{number}"), &turn).map_or(0, |wait| wait.min(SECOND));
        let (now, late) = (self.now, 500 + self.random(2_000));
        let replica = &mut self.replicas[number];
        if again == 0 {
            let Waiter { caller, since } = replica.waiting.pop_front().expect("it asked");
            self.waited[caller].push(now - since);
            replica.waiting.push_back(Waiter { caller, since: now });
        }
        replica.asks_at = now + again + late;
    }

    /// Goes on for so long.
    fn go_on(&mut self, span: u64) {
        let end = self.now + span;
        loop {
            let asks = self.replicas.iter().enumerate().filter(|(_, replica)| !replica.waiting.is_empty());
            let (asks_at, number) =
                asks.map(|(number, replica)| (replica.asks_at, number)).min().expect("somebody waits");
            match self.answers.first().copied() {
                Some((at, slot)) if at <= asks_at => {
                    self.now = at;
                    self.answers.remove(&(at, slot));
                    self.held.insert(slot, at + WINDOW);
                    let arguments = [slot.to_string(), WINDOW.to_string()];
                    self.store.run_at(at, RELEASE, &[&self.key], &arguments);
                }
                _ if asks_at > end => {
                    self.now = end;
                    return;
                }
                _ => {
                    self.now = asks_at;
                    self.ask(number);
                }
            }
        }
    }

    fn served(&self, caller: usize) -> usize {
        self.waited[caller].len()
    }

    fn mean_wait(&self, caller: usize) -> u64 {
        self.waited[caller].iter().sum::<u64>() / self.waited[caller].len() as u64
    }

    /// Checks that hardly a slot was left unused for longer than it takes to ask.
    fn is_used(&self) {
        let served: usize = self.waited.iter().map(Vec::len).sum();
        // A slot is held from its call's dispatch until a window after the answer.
        let most = self.limit as u64 * (self.now - self.start) / (WINDOW + LATENCY);
        assert!(served as u64 >= most * 95 / 100, "{served} of {most}");
    }
}

#[test]
fn fifty_replicas_give_each_caller_its_turns() {
    let redis = Redis::start();
    for seed in 1..=2 {
        let callers = 20;
        let mut world = World::new(&redis, seed, &[1; 20]);
        for number in 0..REPLICAS {
            for _ in 0..=world.random(4) {
                let caller = world.choose(callers);
                world.wait(number, caller);
            }
        }
        world.go_on(200 * SECOND);
        world.is_used();
        let served: Vec<_> = (0..callers).map(|caller| world.served(caller)).collect();
        // One that waits beside others at many replicas gets more, at the expense of all.
        let (least, all): (_, usize) = (served.iter().min().expect("some"), served.iter().sum());
        assert!(2 * least * callers >= all, "{served:?}");
    }
}

#[test]
fn a_busy_replica_delays_nobody_more_than_an_idle_one() {
    let redis = Redis::start();
    // Ten callers at one replica, and one at each of nine others.
    let mut world = World::new(&redis, 1, &[1; 19]);
    for caller in 0_usize..19 {
        world.wait(caller.saturating_sub(9), caller);
    }
    world.go_on(200 * SECOND);
    world.is_used();
    let waits: Vec<_> = (0..19).map(|caller| world.mean_wait(caller)).collect();
    let (least, most) = (waits.iter().min().expect("some"), waits.iter().max().expect("some"));
    assert!(*most <= 2 * least, "{waits:?}");
}

#[test]
fn a_caller_at_all_replicas_leaves_one_at_a_single_replica_its_half() {
    let redis = Redis::start();
    let mut world = World::new(&redis, 1, &[1; 2]);
    (0..REPLICAS).for_each(|number| world.wait(number, 0));
    world.wait(7, 1);
    world.go_on(200 * SECOND);
    world.is_used();
    let (flood, modest) = (world.served(0), world.served(1));
    assert!(flood <= 3 * modest / 2, "{flood} against {modest}");
}

#[test]
fn a_weight_counts_at_all_replicas() {
    let redis = Redis::start();
    let mut world = World::new(&redis, 1, &[3, 1]);
    world.wait(0, 0);
    world.wait(1, 1);
    world.go_on(200 * SECOND);
    world.is_used();
    let (heavy, light) = (world.served(0), world.served(1));
    assert!((5 * light..=7 * light).contains(&(2 * heavy)), "{heavy} against {light}");
}

#[test]
fn calls_that_leave_without_a_word_hold_nobody_up() {
    let redis = Redis::start();
    let mut world = World::new(&redis, 1, &[1; REPLICAS]);
    (0..REPLICAS).for_each(|number| world.wait(number, number));
    for _ in 0..400 {
        // Some replica's calls are gone or it was killed, and another one's callers come back.
        let (gone, back) = (1 + world.choose(REPLICAS - 1), world.choose(REPLICAS));
        world.replicas[gone].waiting.clear();
        world.wait(back, back);
        world.go_on(SECOND / 2);
    }
    world.is_used();
}

#[test]
fn a_large_budget_is_used_although_calls_wait_everywhere() {
    let redis = Redis::start();
    // 600 slots a second, which is more than replicas hand over to each other one by one.
    let mut world = World::with(6_000, &redis, 1, &[1; 5]);
    (0..5).for_each(|number| world.wait(number, number));
    world.go_on(12 * SECOND);
    world.is_used();
    let served: Vec<_> = (0..5).map(|caller| world.served(caller)).collect();
    let (least, most) = (served.iter().min().expect("some"), served.iter().max().expect("some"));
    assert!(*most <= 2 * least, "{served:?}");
}

#[test]
fn a_caller_gains_nothing_by_having_been_absent() {
    let redis = Redis::start();
    let mut world = World::new(&redis, 1, &[1; 2]);
    world.wait(0, 0);
    world.go_on(60 * SECOND);
    let before = world.served(0);
    world.wait(1, 1);
    world.go_on(60 * SECOND);
    let (there, came) = (world.served(0) - before, world.served(1));
    assert!(2 * came <= 3 * there, "{there} against {came}");
}

#[test]
fn one_that_is_late_loses_its_turn() {
    let redis = Redis::start();
    let mut world = World::with(1, &redis, 1, &[1; 2]);
    world.now += 1;
    assert_eq!(world.take("holds", ""), None);
    world.now += LONGEST - SECOND / 2;
    assert!(world.take("gone", "1 60000000 1 one").is_some());
    world.now += SECOND / 2 + 1;
    assert!(world.take("here", "1 60000000 1 other").is_some(), "the other one is first");
    world.now += SECOND / 10 + 1;
    assert_eq!(world.take("here", "1 60000000 1 other"), None, "a tenth of a second later");
}
