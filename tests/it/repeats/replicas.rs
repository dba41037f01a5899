//! Tests of `Idempotency-Key` at replicas that share a store: one push per key, whichever of them is asked.

use super::resends::late;
use super::*;
use crate::support::{Redis, wait_until};

/// Two replicas with one store and one vendor. The store holds back what it does not know at first, so own parts serve.
fn replicas(redis: &Redis, vendor_url: &str, vendor: &str) -> [Gateway; 2] {
    [(), ()].map(|()| {
        let mut config = Config::new(vendor_url);
        config.vendor = vendor.into();
        let sharing = format!("url: \"{}\", local_share: 50%, replicas: 2", redis.url());
        config.more = format!("shared_budgets: {{ redis: {{ {sharing} }} }}");
        let gateway = Gateway::start(&config);
        gateway.log_line(&["INFO", "the store of the shared budgets answers"]);
        gateway
    })
}

const ALONE: &str = "X-Jpush-Gateway-Idempotency";

#[test]
fn the_answer_of_one_replica_is_given_by_the_other() {
    let (redis, vendor) = (Redis::start(), Simulator::start());
    let [first, second] = replicas(&redis, &vendor.url(), "");
    let sent = first.call(&keyed("order-1"));
    assert_eq!((sent.status, sent.header(ALONE)), (200, None));
    // The end of a call is told to the store without waiting for it.
    let again = second.call(&keyed("order-1"));
    assert_eq!((again.status, &again.body, delivered(&vendor)), (200, &sent.body, 1));
    assert_eq!(again.header("Content-Type"), sent.header("Content-Type"));
    assert!(replays(&second, "idempotency-key") > 0.5);
    let other =
        Request::post("/v3/grouppush", PUSH).bearer(Tokens::ORDERS).header("Idempotency-Key", "order-1");
    second.call(&other).assert_refused(422, "idempotency-conflict", 1003);
    // Keys belong to their caller.
    let pusher = Request::post("/v3/push", PUSH).bearer(Tokens::PUSHER).header("Idempotency-Key", "order-1");
    assert_eq!((second.call(&pusher).status, delivered(&vendor)), (200, 2));
}

#[test]
fn a_push_at_both_replicas_at_once_is_one_push() {
    let (redis, vendor) = (Redis::start(), Simulator::start());
    let gateways = replicas(&redis, &vendor.url(), "");
    for round in 0..10 {
        vendor.fault(r#"{"operation":"push","times":1,"kind":"delay","delay":"150ms"}"#);
        let key = format!("round-{round}");
        let bodies = std::thread::scope(|scope| {
            let calls = [&gateways[0], &gateways[1], &gateways[0], &gateways[1]]
                .map(|gateway| scope.spawn(|| gateway.call(&keyed(&key))));
            calls.map(|call| call.join().expect("an answer"))
        });
        for answer in &bodies {
            assert_eq!((answer.status, &answer.body), (200, &bodies[0].body), "{round}: {}", answer.text());
        }
        assert_eq!(delivered(&vendor), round + 1);
    }
}

#[test]
fn a_push_that_was_cut_at_one_replica_goes_again_at_the_other_with_its_cid() {
    let redis = Redis::start();
    let silent =
        vendor(|talk, number, _| if number <= 2 { talk.wait_for_end() } else { answer_number(talk, number) });
    let [first, second] = replicas(&redis, &silent.url(), "response_timeout: 700ms");
    first.call(&keyed("order-1")).assert_refused(504, "vendor-timeout", 1030);
    let again = second.call(&keyed("order-1"));
    assert_eq!(again.status, 200, "{}", again.text());
    let cids: Vec<_> = pushes(&silent).iter().map(cid_of).collect();
    assert_eq!(cids.len(), 3, "two attempts of the first replica: {cids:?}");
    assert!(!cids[0].is_empty() && cids.iter().all(|cid| *cid == cids[0]), "{cids:?}");
    // The first replica gives the answer too.
    assert_eq!(first.call(&keyed("order-1")).body, again.body);
}

#[test]
fn what_had_no_effect_uses_no_key_up() {
    let (redis, vendor) = (Redis::start(), Simulator::start());
    let [first, second] = replicas(&redis, &vendor.url(), "");
    vendor.fault(r#"{"operation":"push","times":1,"kind":"status","status":429}"#);
    assert_eq!(first.call(&keyed("order-1")).status, 429);
    wait_until("the key is free again", || second.call(&keyed("order-1")).status == 200);
    assert_eq!(delivered(&vendor), 1);
}

#[test]
fn without_the_store_a_key_is_of_its_replica_alone_and_says_so() {
    let (mut redis, vendor) = (Redis::start(), Simulator::start());
    let [first, _second] = replicas(&redis, &vendor.url(), "");
    redis.kill();
    let sent = first.call(&keyed("order-1"));
    assert_eq!((sent.status, sent.header(ALONE)), (200, Some("this-replica")), "{}", sent.text());
    assert_eq!((first.call(&keyed("order-1")).body, delivered(&vendor)), (sent.body, 1));
}

const CLAIM: &str = include_str!("../../../src/store/claim.lua");
const NOTE: &str = include_str!("../../../src/store/note_claim.lua");

/// The life of a claim in the store, with a clock that the test sets.
#[test]
fn a_claim_of_a_replica_that_is_gone_is_taken_over_only_with_a_cid() {
    let redis = Redis::start();
    let run = |script: &str, key: &str, arguments: &[&str], seconds: u64| {
        redis.connection().run_at(seconds * 1_000_000, script, &[key], arguments)
    };
    let claim = |key: &str, call: &str, by: &str, seconds: u64| {
        let answer = run(CLAIM, key, &[call, by, "30000000", "600000"], seconds);
        answer.lines().skip(2).step_by(2).map(str::to_owned).collect::<Vec<_>>().join(" ").trim().to_owned()
    };
    let note = |key: &str, arguments: &[&str], seconds| run(NOTE, key, arguments, seconds);
    let start = 1_800_000_000;
    assert_eq!(claim("a", "push", "one", start), "first");
    assert_eq!(claim("a", "other", "two", start), "conflict");
    assert_eq!(claim("a", "push", "two", start + 30), "wait");
    assert_eq!(claim("a", "push", "two", start + 31), "lost", "whether it was sent is unknown");
    assert_eq!(claim("a", "push", "two", start + 99), "lost");

    assert_eq!(claim("b", "push", "one", start), "first");
    note("b", &["one", "cid", "key-1"], start + 1);
    assert!(claim("b", "push", "two", start + 31).starts_with("open key-1"));
    // Its replica is not gone after all, and its words come too late.
    note("b", &["one", "state", "answered", "answer", "late"], start + 32);
    assert_eq!(claim("b", "push", "three", start + 40), "wait");
    note("b", &["two", "state", "answered", "answer", "good"], start + 41);
    assert_eq!(claim("b", "push", "three", start + 99), "answered good");

    assert_eq!(claim("c", "push", "one", start), "first");
    note("c", &["two"], start + 1);
    assert_eq!(claim("c", "push", "two", start + 2), "wait", "only its owner gives it up");
    note("c", &["one"], start + 3);
    assert_eq!(claim("c", "push", "two", start + 3), "first");
}

/// Makes a push at one replica and breaks its connection; returns once the other replicas can know of it.
fn cut(gateway: &Gateway, vendor: &Stub, redis: &Redis) {
    let mut connection = gateway.connect();
    connection.send(push().bytes());
    vendor.wait_for_requests(1);
    connection.reset();
    wait_until("the store knows of the break", || {
        redis.command(&["KEYS", "jpush-gateway:broken:*"]).contains("jpush-gateway:broken:")
    });
}

#[test]
fn a_push_whose_connection_broke_is_answered_by_the_other_replica() {
    let (redis, vendor) = (Redis::start(), late());
    let [first, second] = replicas(&redis, &vendor.url(), "");
    cut(&first, &vendor, &redis);
    let again = second.call(&push());
    assert_eq!((again.status, again.json()["msg_id"].as_str()), (200, Some("1")), "{}", again.text());
    assert!(replays(&second, "resend-guard") > 0.5);
    assert_eq!(second.call(&push()).body, again.body, "also once it was answered");
    assert_eq!(pushes(&vendor).len(), 1);
    // Another caller's, and another push of the same one, are no repeats.
    let other = Request::post("/v3/push", PUSH).bearer(Tokens::PUSHER);
    assert_eq!(second.call(&other).json()["msg_id"], "2");
    let another = Request::post("/v3/push", &PUSH.replace("Hello", "Bye")).bearer(Tokens::ORDERS);
    assert_eq!(second.call(&another).json()["msg_id"], "3");
}

#[test]
fn a_push_that_had_no_effect_at_one_replica_is_made_by_the_other() {
    let redis = Redis::start();
    let vendor = vendor(|talk, number, _| match number {
        1 => {
            std::thread::sleep(4 * MOMENT);
            talk.write(json_answer("429 Too Many Requests", r#"{"error":{"code":2002,"message":"no"}}"#));
        }
        _ => answer_number(talk, number),
    });
    let [first, second] = replicas(&redis, &vendor.url(), "");
    cut(&first, &vendor, &redis);
    let again = second.call(&push());
    assert_eq!((again.status, pushes(&vendor).len()), (200, 2), "{}", again.text());
}

const BROKE: &str = include_str!("../../../src/store/broke.lua");
const FIND: &str = include_str!("../../../src/store/find_broken.lua");

/// The life of a break in the store, with a clock that the test sets.
#[test]
fn a_break_counts_for_its_window_and_its_end_for_as_long_as_somebody_waits() {
    let redis = Redis::start();
    let run = |script: &str, arguments: &[&str], tenths: u64| {
        let now = (18_000_000_000 + tenths) * 100_000;
        let answer = redis.connection().run_at(now, script, &["a"], arguments);
        answer.lines().skip(2).step_by(2).map(str::to_owned).collect::<Vec<_>>().join(" ").trim().to_owned()
    };
    let (broke, note) = (|by, at| run(BROKE, &[by, "60000"], at), |words: &[&str], at| run(NOTE, words, at));
    // The window is two seconds, and a call lasts no longer than thirty.
    let find = |at| run(FIND, &["2000000", "30000000", "0"], at);
    let look_again = |at| run(FIND, &["32000000", "30000000", "0"], at);
    assert_eq!(find(0), "none");
    broke("one", 0);
    assert_eq!((&*find(20), &*find(21)), ("claimed", "old"));
    assert_eq!((&*look_again(300), &*look_again(301)), ("claimed", "lost"), "its replica is gone");
    run(FIND, &["32000000", "30000000", "60000"], 200);
    assert_eq!((&*find(220), &*find(221)), ("claimed", "old"), "a repeat's connection broke as well");
    note(&["one", "state", "answered", "answer", "yes"], 230);
    assert_eq!((&*look_again(300), &*find(300)), ("answered yes", "old"));
    broke("two", 310);
    note(&["one", "state", "lost"], 311);
    assert_eq!(find(320), "claimed", "the end of an earlier one does not count");
    note(&["two"], 321);
    assert_eq!(look_again(322), "none", "it had no effect");
}
