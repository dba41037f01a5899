//! The memory of calls: what is remembered, for how long, and how much of it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::*;
use crate::body::Cid;
use crate::config::VendorKey;
use crate::delivery::{Delivery, Doubt};
use crate::http1::fields::Fields;

const KEY: &str = "7d431e42dfa6a6d693ac2d04";

fn cid(number: u32) -> Cid {
    Cid::parse(&format!("{KEY}-374004a2-bc6c-4abc-bde5-{number:012x}"), KEY).expect("a cid")
}

fn digest(text: impl AsRef<[u8]>) -> Digest {
    Digest::of(&[text.as_ref()])
}

#[expect(clippy::unnecessary_wraps, reason = "as calls that are over hand it in")]
fn answer(body: &[u8]) -> Option<Arc<Saved>> {
    Some(Saved::new(StatusCode::OK, Fields::default(), body))
}

#[track_caller]
fn first(keys: &Keys, key: &str) -> FirstCall {
    match keys.claim(CallerNumber(1), digest(key), digest("call")) {
        Claim::First(first_call) => first_call,
        Claim::Wait(_) | Claim::Repeat(_) | Claim::Conflict => panic!("{key} is not the first"),
    }
}

/// The state of a key, as a new call finds it.
fn state(keys: &Keys, key: &str) -> &'static str {
    match keys.claim(CallerNumber(1), digest(key), digest("call")) {
        // Dropping it without sending leaves the key as it was.
        Claim::First(first_call) if first_call.cid().is_some() => "open with a cid",
        Claim::First(_) => "free",
        Claim::Wait(_) => "under way",
        Claim::Repeat(SavedEnding::Answered(_)) => "answered",
        Claim::Repeat(_) => "lost",
        Claim::Conflict => "conflict",
    }
}

#[test]
fn parts_of_a_digest_do_not_run_together() {
    assert!(Digest::of(&[b"a", b"bc"]) != Digest::of(&[b"ab", b"c"]));
}

#[test]
fn how_a_first_call_ends_decides_about_the_next() {
    type With = fn(&mut FirstCall);
    type End = fn(FirstCall);
    let ours: With = |first_call| first_call.goes_with(Some(cid(1)));
    let none: With = |_| {};
    let rows: [(With, End, &str); 11] = [
        (none, drop, "free"),
        (none, |first_call| drop(first_call.end(Delivery::Final, answer(b"{}"))), "answered"),
        (
            none,
            |first_call| drop(first_call.end(Delivery::Unknown(Doubt::TimedOut), answer(b"{}"))),
            "answered",
        ),
        (none, |first_call| drop(first_call.end(Delivery::None, answer(b"{}"))), "free"),
        (none, |first_call| drop(first_call.end(Delivery::Final, None)), "lost"),
        (none, |mut first_call| first_call.sent(), "lost"),
        (ours, drop, "free"),
        (ours, |first_call| drop(first_call.end(Delivery::Final, answer(b"{}"))), "answered"),
        (
            ours,
            |first_call| drop(first_call.end(Delivery::Unknown(Doubt::TimedOut), answer(b"{}"))),
            "open with a cid",
        ),
        (ours, |first_call| drop(first_call.end(Delivery::Final, None)), "open with a cid"),
        (ours, |mut first_call| first_call.sent(), "open with a cid"),
    ];
    for (number, (goes_with, end, then)) in rows.into_iter().enumerate() {
        let keys = Keys::default();
        let mut first_call = first(&keys, "k");
        goes_with(&mut first_call);
        assert_eq!(state(&keys, "k"), "under way");
        end(first_call);
        assert_eq!(state(&keys, "k"), then, "row {number}");
        assert_eq!(state(&keys, "k"), then, "row {number}: looking changes nothing");
    }
}

/// A call that may have been delivered is never forgotten because a later attempt failed.
#[test]
fn doubt_survives_a_try_without_effect() {
    let keys = Keys::default();
    let mut first_call = first(&keys, "k");
    first_call.goes_with(Some(cid(1)));
    first_call.end(Delivery::Unknown(Doubt::TimedOut), None);
    let mut again = first(&keys, "k");
    assert_eq!(again.cid(), Some(&cid(1)));
    again.sent();
    again.end(Delivery::None, answer(b"429"));
    assert_eq!(state(&keys, "k"), "open with a cid");
    assert!(matches!(keys.claim(CallerNumber(1), digest("k"), digest("other")), Claim::Conflict));
    assert!(
        matches!(keys.claim(CallerNumber(2), digest("k"), digest("other")), Claim::First(_)),
        "another caller's key"
    );
}

#[tokio::test]
async fn those_who_wait_are_told() {
    let keys = Keys::default();
    let first_call = first(&keys, "k");
    let Claim::Wait(mut watch) = keys.claim(CallerNumber(1), digest("k"), digest("call")) else {
        panic!("under way")
    };
    first_call.end(Delivery::None, answer(b"429"));
    assert!(matches!(watch.ended().await, SavedEnding::Answered(_)));
    let first_call = first(&keys, "k");
    let Claim::Wait(mut watch) = keys.claim(CallerNumber(1), digest("k"), digest("call")) else {
        panic!("under way")
    };
    drop(first_call);
    assert!(matches!(watch.ended().await, SavedEnding::Nothing));
}

#[test]
fn answers_take_a_bounded_amount_of_memory_and_the_oldest_goes() {
    let keys = Keys::default();
    let size = 64 * 1024;
    let under_way = first(&keys, "under way");
    let count = keys::ANSWER_BYTES_MAX / size;
    for number in 0..=count {
        first(&keys, &number.to_string()).end(Delivery::Final, answer(&vec![b'x'; size]));
    }
    assert_eq!(state(&keys, "0"), "free");
    assert_eq!(state(&keys, &count.to_string()), "answered");
    assert_eq!(state(&keys, "under way"), "under way", "a call under way keeps its key");
    drop(under_way);
}

#[tokio::test]
async fn a_broken_call_is_known_for_a_while() {
    let (guard, now, window) = (ResendGuard::default(), Instant::now(), Duration::from_secs(2));
    let call = guard.fingerprint(&[b"call"]);
    assert!(guard.is_empty() && guard.find(CallerNumber(1), &call, now).is_none());
    let broken = guard.broke(CallerNumber(1), call, now, window).expect("room");
    assert!(!guard.is_empty());
    assert!(
        guard.find(CallerNumber(2), &call, now).is_none()
            && guard.find(CallerNumber(1), &guard.fingerprint(&[b"other"]), now).is_none()
    );
    let mut watch = guard.find(CallerNumber(1), &call, now + Duration::from_millis(1999)).expect("known");
    broken.end(Delivery::Final, answer(b"{}"));
    assert!(matches!(watch.ended().await, SavedEnding::Answered(_)));
    assert!(guard.find(CallerNumber(1), &call, now).is_some(), "still known");
    guard.broke_again(CallerNumber(1), &call, now + window / 2, window);
    assert!(
        guard.find(CallerNumber(1), &call, now + window).is_some(),
        "the repeat's connection broke as well"
    );
    assert!(
        guard.find(CallerNumber(1), &call, now + 2 * window).is_none() && guard.is_empty(),
        "and swept away"
    );
}

#[tokio::test]
async fn what_the_guard_tells() {
    let (guard, now) = (ResendGuard::default(), Instant::now());
    let tell = |delivery, saved| {
        let broken = guard
            .broke(CallerNumber(1), guard.fingerprint(&[b"call"]), now, Duration::from_secs(2))
            .expect("room");
        let mut watch = guard.find(CallerNumber(1), &guard.fingerprint(&[b"call"]), now).expect("known");
        broken.end(delivery, saved);
        async move { watch.ended().await }
    };
    assert!(matches!(
        tell(Delivery::Unknown(Doubt::TimedOut), answer(b"504")).await,
        SavedEnding::Answered(_)
    ));
    assert!(matches!(tell(Delivery::Final, None).await, SavedEnding::Lost));
    let long = vec![b'x'; resend_guard::ANSWER_BYTES_MAX];
    assert!(matches!(tell(Delivery::Final, answer(&long)).await, SavedEnding::Lost));
    assert!(matches!(tell(Delivery::None, answer(b"429")).await, SavedEnding::Nothing));
    assert!(
        guard.find(CallerNumber(1), &guard.fingerprint(&[b"call"]), now).is_none(),
        "what had no effect is sent"
    );
    // The reporter is dropped: the end of the call is unknown.
    drop(guard.broke(CallerNumber(1), guard.fingerprint(&[b"call"]), now, Duration::from_secs(2)));
    let mut watch = guard.find(CallerNumber(1), &guard.fingerprint(&[b"call"]), now).expect("known");
    assert!(matches!(watch.ended().await, SavedEnding::Lost));
}

#[test]
fn a_caller_cannot_make_the_guard_remember_without_end() {
    let (guard, now, window) = (ResendGuard::default(), Instant::now(), Duration::from_secs(2));
    for number in 0..resend_guard::CALLS_MAX {
        assert!(
            guard
                .broke(CallerNumber(1), guard.fingerprint(&[number.to_string().as_bytes()]), now, window)
                .is_some()
        );
    }
    assert!(guard.broke(CallerNumber(1), guard.fingerprint(&[b"one more"]), now, window).is_none());
    assert!(guard.broke(CallerNumber(2), guard.fingerprint(&[b"another caller's"]), now, window).is_some());
    assert!(
        guard.broke(CallerNumber(1), guard.fingerprint(&[b"one more"]), now + window, window).is_some(),
        "the others are over"
    );
}

fn pool() -> Arc<CidPool> {
    CidPools::default().of(&VendorKey::new(KEY.to_owned()).expect("a key"))
}

const BATCH: NonZeroU32 = NonZeroU32::new(8).expect("not zero");

#[test]
fn cids_are_fetched_when_there_are_few_and_for_all_who_wait() {
    let (pool, now) = (pool(), Instant::now());
    let empty = pool.take(now, BATCH);
    assert!(empty.cid.is_none());
    let (first, mut waits) = (empty.fetch.expect("a fetch"), vec![empty.wait.expect("it waits")]);
    for number in 1..6 {
        let taken = pool.take(now, BATCH);
        assert!(taken.fetch.is_none(), "{number}: eight are on their way");
        waits.push(taken.wait.expect("it waits"));
    }
    let taken = pool.take(now, BATCH);
    let second = taken.fetch.expect("seven wait for eight: the next fetch can begin");
    waits.extend(taken.wait);
    first.bring((0..20).map(cid).collect(), now);
    drop(waits);
    for number in 0..8 {
        let taken = pool.take(now, BATCH);
        assert_eq!(
            (taken.cid, taken.fetch.is_none()),
            (Some(cid(number)), true),
            "never more than asked for"
        );
    }
    drop(second);
}

#[tokio::test]
async fn whoever_waits_is_told_of_the_end_of_a_fetch() {
    let (pool, now) = (pool(), Instant::now());
    let taken = pool.take(now, BATCH);
    let ended = taken.wait.expect("it waits").ended();
    drop(taken.fetch);
    ended.await;
    assert!(pool.take(now, BATCH).wait.is_none(), "it failed, and none is on its way");
}

#[test]
fn old_cids_are_dropped() {
    let (pool, now) = (pool(), Instant::now());
    pool.take(now, BATCH).fetch.expect("a fetch").bring((0..8).map(cid).collect(), now);
    assert!(pool.take(now + Duration::from_hours(12), BATCH).cid.is_some());
    let late = pool.take(now + Duration::from_hours(13), BATCH);
    assert!(late.cid.is_none() && late.fetch.is_some());
}

#[test]
fn fetches_that_bring_nothing_are_spaced() {
    let (pool, mut now) = (pool(), Instant::now());
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        drop(pool.take(now, BATCH).fetch.expect("a fetch"));
        let pause = Duration::from_secs(seconds);
        let early = pool.take(now + pause.mul_f32(0.99), BATCH);
        assert!(early.fetch.is_none() && early.wait.is_none() && early.cid.is_none(), "{seconds}");
        now += pause;
    }
    pool.take(now, BATCH).fetch.expect("a fetch").bring(vec![cid(1)], now);
    assert_eq!(pool.take(now, BATCH).cid, Some(cid(1)));
    drop(pool.take(now, BATCH).fetch);
    assert!(
        pool.take(now + Duration::from_secs(1), BATCH).fetch.is_some(),
        "a successful fetch ends the pause"
    );
}
