//! A simulation of repeats at replicas with the scripts of the store: words to the store are lost or late, replicas end in
//! the middle of a call, and the clock is the test's. However a key is repeated, one push of it is delivered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::test_runner::{Config as Cases, TestRunner};

use crate::support::{Redis, RedisConnection};

const CLAIM: &str = include_str!("../../../src/store/claim.lua");
const NOTE: &str = include_str!("../../../src/store/note_claim.lua");

const SECOND: u64 = 1_000_000;
/// The longest that a call takes, and for how long its claim counts.
const WHOLE: u64 = 30 * SECOND;
const LONGEST: u64 = 40 * SECOND;
/// The milliseconds that a key lives: longer than a schedule.
const LIFE: &str = "600000000";

/// A call of some replica under the key.
struct Attempt {
    by: String,
    /// `None`: the vendor cannot tell that it is the same push.
    cid: Option<String>,
    /// An earlier attempt may have been delivered.
    is_open: bool,
    /// Whether it was sent, and whether the vendor got it.
    sent: Option<bool>,
    until: u64,
}

/// Replicas, callers that repeat one push, a store and a vendor.
struct World {
    store: RedisConnection,
    key: String,
    now: u64,
    next: u64,
    attempts: Vec<Attempt>,
    /// Words on their way to the store: when they arrive, whose they are, and what they say.
    words: Vec<(u64, Vec<String>)>,
    /// The pushes that the vendor delivered; it knows one with the same cid again.
    delivered: BTreeSet<String>,
    /// How often an attempt of another replica went on, and an answer was given again.
    went_on: u64,
    answered: u64,
}

impl World {
    fn run(&mut self, script: &str, arguments: &[String]) -> Vec<String> {
        let answer = self.store.run_at(self.now, script, &[&self.key], arguments);
        // A list of texts and numbers, of which the lengths are left out.
        let parts = answer.lines().filter(|line| !line.starts_with(['*', '$']));
        parts.map(|part| part.trim_start_matches(':').to_owned()).collect()
    }

    /// A caller sends the push, again or for the first time, to some replica.
    fn repeat(&mut self, has_cid: bool) {
        self.next += 1;
        let (by, number) = (format!("replica-{}", self.next), self.next);
        let arguments = ["push".into(), by.clone(), LONGEST.to_string(), LIFE.into()];
        let told = self.run(CLAIM, &arguments);
        let (cid, is_open) = match told[0].as_str() {
            "first" => (has_cid.then(|| format!("cid-{number}")), false),
            "open" => (Some(told[1].clone()), true),
            "answered" => {
                self.answered += 1;
                return assert!(!self.delivered.is_empty(), "an answer without a push");
            }
            "wait" | "lost" => return,
            word => panic!("{word}"),
        };
        self.went_on += u64::from(is_open);
        self.attempts.push(Attempt { by, cid, is_open, sent: None, until: self.now + WHOLE });
    }

    /// A replica tells the store something, which arrives `late` seconds later or never.
    fn tell(&mut self, by: &str, words: &[&str], late: usize) {
        let words = std::iter::once(by).chain(words.iter().copied()).map(str::to_owned).collect();
        if late < 60 {
            self.words.push((self.now + late as u64 * SECOND, words));
        }
    }

    fn send(&mut self, place: usize, late: usize, arrives: bool) {
        let now = self.now;
        let Some(attempt) = self.attempts.get_mut(place).filter(|attempt| attempt.sent.is_none()) else {
            return;
        };
        if attempt.until < now {
            return;
        }
        attempt.sent = Some(arrives);
        let (by, cid) = (attempt.by.clone(), attempt.cid.clone());
        if let Some(cid) = &cid {
            self.tell(&by, &["cid", cid], late);
        }
        if arrives {
            self.delivered.insert(cid.unwrap_or(by));
        }
    }

    /// An attempt ends: with an answer, without one, or because it was not sent or had no effect.
    fn end(&mut self, place: usize, late: usize, hears: bool) {
        let Attempt { by, cid, is_open, sent, .. } = self.attempts.swap_remove(place);
        let words: &[&str] = match (sent, is_open) {
            (Some(true), _) if hears => &["state", "answered", "answer", "good"],
            (Some(true), _) if cid.is_some() => &["state", "open"],
            (Some(true), _) => &["state", "lost"],
            (Some(false) | None, true) => &["state", "open"],
            (Some(false) | None, false) => &[],
        };
        self.tell(&by, words, late);
    }

    fn step(&mut self, kind: usize, which: usize, late: usize) {
        let arrived: Vec<_> = self.words.extract_if(.., |(at, _)| *at <= self.now).collect();
        for (_, words) in arrived {
            self.run(NOTE, &words);
        }
        let place = which % self.attempts.len().max(1);
        let flag = which.is_multiple_of(3);
        match kind {
            0..=3 => self.repeat(!flag),
            4..=6 => self.send(place, late, !flag),
            7 | 8 if !self.attempts.is_empty() => self.end(place, late, !flag),
            // A replica is killed.
            9 if !self.attempts.is_empty() => drop(self.attempts.swap_remove(place)),
            _ => {}
        }
    }
}

#[test]
fn one_push_of_a_key_is_delivered_whatever_is_lost_or_late() {
    let (redis, case, seen) = (Redis::start(), AtomicU64::new(0), [const { AtomicU64::new(0) }; 2]);
    let steps =
        proptest::collection::vec((0_u64..8 * SECOND, 0_usize..10, 0_usize..12, 0_usize..80), 50..200);
    let mut runner = TestRunner::new(Cases { failure_persistence: None, ..Cases::with_cases(500) });
    let law = |steps: Vec<(u64, usize, usize, usize)>| {
        let mut world = World {
            store: redis.connection(),
            key: format!("call-{}", case.fetch_add(1, Ordering::Relaxed)),
            now: 1_800_000_000 * SECOND,
            next: 0,
            attempts: Vec::new(),
            words: Vec::new(),
            delivered: BTreeSet::new(),
            went_on: 0,
            answered: 0,
        };
        for (passed, kind, which, late) in steps {
            world.now += passed;
            world.step(kind, which, late);
            assert!(world.delivered.len() <= 1, "{:?}", world.delivered);
        }
        for (seen, count) in seen.iter().zip([world.went_on, world.answered]) {
            seen.fetch_add(count, Ordering::Relaxed);
        }
        Ok(())
    };
    runner.run(&steps, law).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(seen.into_iter().all(|seen| seen.into_inner() > 0), "no schedule had a repeat of each kind");
}
