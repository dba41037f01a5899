//! Tests of a store that begins anew. Replicas register the slots that they hold, and where all of them did, nothing is
//! held back; whatever else is lost, the vendor's simulator never counts one call too many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use jpush_gateway::sandbox::Windows;
use proptest::test_runner::{Config as Cases, TestRunner};

use crate::replicas::{
    BUDGETS, HOLD, PLAIN, Replica, all_are, config_with, go_on_for, state, tags, under_load,
};
use crate::support::{Gateway, Redis, Simulator, numbers, wait_until};

const RUNS: &str = "jpush-gateway:runs";

/// Since when the store knows of anything, and since when of every slot.
fn known(redis: &Redis) -> Option<(u64, u64)> {
    let answer = redis.command(&["HMGET", RUNS, "@began", "@since"]);
    let mut times = answer.lines().filter_map(|line| line.parse().ok());
    Some((times.next()?, times.next()?))
}

/// Waits until the store knows of more than it saw itself, after a beginning that is not `before`.
fn all_register(redis: &Redis, before: u64) -> u64 {
    let mut last = 0;
    wait_until("the slots of all replicas", || {
        known(redis).is_some_and(|(began, since)| {
            last = began;
            began != before && since < began
        })
    });
    last
}

fn with_fleet(options: &[&str], trouble: impl FnOnce(&mut Redis, &Simulator, &[Replica])) {
    let mut redis = Redis::start_with(options);
    let vendor = Simulator::with(BUDGETS, Windows::Sliding);
    let keys = format!("url: \"{}\", local_share: 20%, replicas: 3", redis.url());
    let configs = [(); 3].map(|()| config_with(&vendor, &keys));
    under_load(&vendor, &configs, |replicas| trouble(&mut redis, &vendor, replicas));
}

fn goes_on(options: &[&str]) {
    with_fleet(options, |redis, _, replicas| {
        go_on_for(HOLD);
        let (mut began, _) = known(redis).expect("it is used");
        for _ in 0..2 {
            redis.kill();
            redis.start_again();
            began = all_register(redis, began);
            all_are(replicas, "up");
            go_on_for(HOLD);
            replicas.iter().for_each(Replica::serves_more);
        }
        replicas[0].gateway.log_line(&["INFO", "all replicas told the store of the shared budgets"]);
    });
}

#[test]
fn a_store_that_lost_everything_is_told_by_all_replicas() {
    goes_on(&[]);
}

#[test]
fn a_store_that_kept_some_is_told_by_all_replicas() {
    goes_on(&["--appendonly", "yes"]);
}

#[test]
fn a_store_that_one_replica_cannot_tell_holds_back_until_what_it_forgot_is_over() {
    with_fleet(&[], |redis, vendor, replicas| {
        go_on_for(HOLD);
        replicas[0].is_doomed();
        replicas[0].gateway.program.signal("KILL");
        redis.kill();
        redis.start_again();
        let rest = &replicas[1..];
        all_are(rest, "holding back");
        rest[0].gateway.log_line(&["WARN", "the store of the shared budgets is away", "error="]);
        // One that comes in its place knows nothing of what it did. Its own part is that of the other one.
        go_on_for(HOLD / 2);
        let keys = format!("url: \"{}\", local_share: 20%, replicas: 3", redis.url());
        let successor = Gateway::start(&config_with(vendor, &keys));
        wait_until("the successor", || {
            assert!(matches!(successor.call(&tags()).status, 200 | 429));
            state(&successor) != "away"
        });
        all_are(rest, "up");
        let (began, since) = known(redis).expect("it is used");
        assert_eq!(began, since, "it does not know of more than it saw itself");
        go_on_for(HOLD / 2);
        rest.iter().for_each(Replica::serves_more);
    });
}

/// The scripts that the store runs.
const TAKE: &str = include_str!("../../src/store/take.lua");
const RELEASE: &str = include_str!("../../src/store/release.lua");
const REGISTER: &str = include_str!("../../src/store/register.lua");

const LIMIT: usize = 3;
const REPLICAS: usize = 2;
const WINDOW: u64 = 60_000_000;
const LONGEST: u64 = 98_000_000;

/// A replica as it knows itself.
struct Process {
    name: String,
    first: Option<u64>,
    /// The end of each hold.
    held: BTreeMap<u64, u64>,
    /// What it was told when it asked the store, and read from its own slots after that.
    asked: Option<(i64, u64, BTreeMap<u64, u64>)>,
}

/// Replicas and a store, on a clock that the test sets.
struct World<'r> {
    redis: &'r Redis,
    key: String,
    runs: String,
    run: u64,
    now: u64,
    next: u64,
    processes: [Option<Process>; REPLICAS],
    /// The end of each hold of all that may be counted by the vendor.
    truth: BTreeMap<u64, u64>,
    /// Slots that were granted although a beginning is not long enough ago.
    early: u64,
}

impl World<'_> {
    fn run(&self, script: &str, keys: &[&str], arguments: &[String]) -> Vec<i64> {
        numbers(&self.redis.connection().run_at(self.now, script, keys, arguments))
    }

    /// One replica takes a slot, and hears of it or not.
    fn take(&mut self, seat: usize, hears: bool) {
        let Some(mut process) = self.processes[seat].take() else { return };
        self.next += 1;
        let (id, end) = (self.next, self.now + LONGEST);
        process.first.get_or_insert(self.now);
        let slot = format!("{}-{id}", process.name);
        let numbers = [LIMIT as u64, 0, WINDOW, LONGEST].map(|number| number.to_string());
        let arguments = [slot, self.run.to_string(), "0".to_owned(), process.name.clone()];
        let arguments = arguments.into_iter().chain(numbers).chain(PLAIN.map(str::to_owned));
        let answer = self.run(TAKE, &[&self.key, "waiting", &self.runs], &arguments.collect::<Vec<_>>());
        if answer[0] == 1 && hears {
            let now = self.now;
            self.truth.retain(|_, end| *end >= now);
            self.truth.insert(id, end);
            process.held.insert(id, end);
            assert!(self.truth.len() <= LIMIT, "{:?} at {now}", self.truth);
            self.early += u64::from(self.began().is_some_and(|began| now < began + LONGEST));
        }
        self.processes[seat] = Some(process);
    }

    /// The answer to one of its calls is here; the store hears of it or not.
    fn settle(&mut self, seat: usize, which: usize, arrives: bool) {
        let end = self.now + WINDOW;
        let Some(process) = &mut self.processes[seat] else { return };
        let in_flight: Vec<_> = process.held.keys().copied().collect();
        let Some(&id) = in_flight.get(which % in_flight.len().max(1)) else { return };
        let ends = process.held.get_mut(&id).expect("it is one of them");
        *ends = (*ends).min(end);
        self.truth.entry(id).and_modify(|ends| *ends = (*ends).min(end));
        let slot = format!("{}-{id}", process.name);
        if arrives {
            self.run(RELEASE, &[&self.key], &[slot, WINDOW.to_string()]);
        }
    }

    /// A replica asks the store since when it knows of anything, or registers after such an answer.
    fn register(&mut self, seat: usize) {
        let Some(mut process) = self.processes[seat].take() else { return };
        let (run, now) = (self.run.to_string(), self.now);
        if let (Some((began, read_at, held)), Some(first)) = (process.asked.take(), process.first) {
            let age = read_at - first.min(read_at);
            let mut keys = vec![&*self.runs];
            let mut arguments = [
                run,
                began.to_string(),
                process.name.clone(),
                age.to_string(),
                REPLICAS.to_string(),
                "1".into(),
            ]
            .to_vec();
            for (id, end) in held.iter().filter(|(_, end)| **end >= read_at) {
                keys.truncate(1);
                keys.push(&self.key);
                arguments.extend(["1".into(), format!("{}-{id}", process.name), (end - read_at).to_string()]);
            }
            self.run(REGISTER, &keys, &arguments);
        } else {
            let arguments =
                [run, String::new(), process.name.clone(), "0".into(), REPLICAS.to_string(), "0".into()];
            let began = self.run(REGISTER, &[&self.runs], &arguments)[0];
            process.asked = Some((began, now, process.held.clone()));
        }
        self.processes[seat] = Some(process);
    }

    fn began(&self) -> Option<u64> {
        let answer = self.redis.command(&["HMGET", &self.runs, "@began"]);
        answer.lines().find_map(|line| line.parse().ok())
    }

    /// The store keeps a copy of what it has.
    fn save(&self) {
        for key in [&self.key, &self.runs] {
            self.redis.command(&["DEL", &format!("{key} saved")]);
            self.redis.command(&["COPY", key, &format!("{key} saved")]);
        }
    }

    /// The store begins anew, with what it saved or nothing.
    fn restart(&mut self, has_saved: bool) {
        self.run += 1;
        for key in [&self.key, &self.runs] {
            self.redis.command(&["DEL", key]);
            if has_saved {
                self.redis.command(&["COPY", &format!("{key} saved"), key]);
            }
        }
    }

    /// A replica ends without a word, or one starts.
    fn replace(&mut self, seat: usize) {
        self.next += 1;
        let name = format!("process{}", self.next);
        let new = Process { name, first: None, held: BTreeMap::new(), asked: None };
        self.processes[seat] = self.processes[seat].is_none().then_some(new);
    }

    fn step(&mut self, kind: usize, which: usize) {
        let seat = which % REPLICAS;
        match kind {
            0..=25 => self.take(seat, kind > 1),
            26..=33 => self.settle(seat, which / REPLICAS, kind > 27),
            34..=53 => self.register(seat),
            54 => self.replace(seat),
            55 | 56 => self.restart(which.is_multiple_of(2)),
            57 => self.save(),
            58 => drop(self.redis.command(&["DEL", &self.key])),
            59 => drop(self.redis.command(&["DEL", &self.runs])),
            _ => drop(self.redis.command(&["DEL", &self.key, &self.runs])),
        }
    }
}

/// Random sequences of takes, answers, lost messages, restarts of replicas and of the store, and registrations.
#[test]
fn nothing_that_is_lost_lets_a_store_give_too_much() {
    let (redis, case, early) = (Redis::start(), AtomicU64::new(0), AtomicU64::new(0));
    let steps = proptest::collection::vec((0_u64..8_000_000, 0_usize..61, 0_usize..8), 1..400);
    let mut runner = TestRunner::new(Cases { failure_persistence: None, ..Cases::with_cases(64) });
    let law = |steps: Vec<(u64, usize, usize)>| {
        let number = case.fetch_add(1, Ordering::Relaxed);
        let mut world = World {
            redis: &redis,
            key: format!("budget-{number}"),
            runs: format!("runs-{number}"),
            run: 0,
            now: 1_800_000_000_000_000,
            next: 0,
            processes: [const { None }; REPLICAS],
            truth: BTreeMap::new(),
            early: 0,
        };
        (0..REPLICAS).for_each(|seat| world.replace(seat));
        for (passed, kind, which) in steps {
            world.now += passed;
            world.step(kind, which);
        }
        early.fetch_add(world.early, Ordering::Relaxed);
        Ok(())
    };
    runner.run(&steps, law).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(early.into_inner() > 0, "no schedule had a store that was told by all replicas");
}
