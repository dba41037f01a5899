//! Tests of `Idempotency-Key`: one push per key, whatever happens to its connections.

use super::*;
use crate::support::{Answer, wait_until};

#[test]
fn the_first_answer_is_given_again() {
    let vendor = Simulator::start();
    let gateway = start(&vendor.url(), "");
    let first = gateway.call(&keyed("order-1"));
    let again = gateway.call(&keyed("order-1").header("X-Request-Id", "again"));
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!((&first.body, delivered(&vendor)), (&again.body, 1));
    assert_eq!(again.header("X-Request-Id"), Some("again"));
    assert_eq!(again.header("Content-Type"), first.header("Content-Type"));
    assert_eq!(again.number("X-Rate-Limit-Remaining"), 598, "the push and its cid, not the repeat");
    assert!(replays(&gateway, "idempotency-key") > 0.5);
    let line = gateway.line("again");
    assert_eq!((&line["status"], line["vendor_ms"].is_null()), (&200.into(), true), "{line}");
    // Another key makes another push.
    let other = gateway.call(&keyed("order-2"));
    assert_ne!(other.body, first.body);
    assert_eq!(delivered(&vendor), 2);
}

#[test]
fn another_call_under_a_key_is_a_conflict() {
    let vendor = Simulator::start();
    let gateway = start(&vendor.url(), "");
    assert_eq!(gateway.call(&keyed("k")).status, 200);
    let conflict = |path: &str, body: &str| {
        let request = Request::post(path, body).bearer(Tokens::ORDERS).header("Idempotency-Key", "k");
        gateway.call(&request).assert_refused(422, "idempotency-conflict", 1003);
    };
    conflict("/v3/push", &PUSH.replace("anna", "boris"));
    conflict("/v3/push", &format!("{PUSH} "));
    conflict("/v3/grouppush", PUSH);
    assert_eq!(delivered(&vendor), 1);
    // Keys belong to their caller: another caller's equal key makes another push, also for the same tenant and body.
    let other = Request::post("/v3/push", PUSH).bearer(Tokens::PUSHER).header("Idempotency-Key", "k");
    assert_eq!((gateway.call(&other).status, delivered(&vendor)), (200, 2));
    // The header is ignored in operations that send nothing.
    let validate = Request::post("/v3/push/validate", PUSH).bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&validate.header("Idempotency-Key", "k")).status, 200);
}

#[test]
fn keys_have_a_form() {
    let vendor = Simulator::start();
    let gateway = start(&vendor.url(), "");
    let long = "k".repeat(255);
    assert_eq!(gateway.call(&keyed(&long)).status, 200);
    for bad in ["", "two words", &format!("{long}k"), "é"] {
        gateway.call(&keyed(bad)).assert_refused(400, "bad-request", 1003);
    }
    gateway.call(&keyed("a").header("Idempotency-Key", "a")).assert_refused(400, "bad-request", 1003);
    assert_eq!(delivered(&vendor), 1);
}

#[test]
fn who_comes_while_the_first_is_under_way_waits_for_it() {
    let vendor = Simulator::start();
    vendor.fault(r#"{"operation":"push","kind":"delay","delay":"1s"}"#);
    let gateway = start(&vendor.url(), "");
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..5).map(|_| scope.spawn(|| gateway.call(&keyed("k")))).collect();
        calls.into_iter().map(|call| call.join().expect("an answer")).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(delivered(&vendor), 1);
    assert!(replays(&gateway, "idempotency-key") > 3.5);
}

#[test]
fn a_caller_that_left_finds_its_answer_under_its_key() {
    let vendor = Simulator::start();
    vendor.fault(r#"{"operation":"push","kind":"delay","delay":"500ms"}"#);
    let gateway = start(&vendor.url(), "resend_guard: 0s");
    let mut connection = gateway.connect();
    connection.send(keyed("k").bytes());
    wait_until("the vendor has it", || vendor.journal().iter().any(|line| line["operation"] == "push"));
    drop(connection);
    assert_eq!((gateway.call(&keyed("k")).status, delivered(&vendor)), (200, 1));
}

/// With a cid, a call of unknown outcome is made again with the same cid.
#[test]
fn after_a_time_out_the_same_cid_goes_again() {
    let vendor = vendor(|talk, number, _| match number {
        1 => talk.wait_for_end(),
        _ => answer_number(talk, number),
    });
    let mut config = Config::new(&vendor.url());
    // Too late for the gateway's own second attempt.
    config.limits = "deadline: 1s".into();
    let gateway = Gateway::start(&config);
    gateway.call(&keyed("k")).assert_refused(504, "vendor-timeout", 1030);
    let again = gateway.call(&keyed("k"));
    assert_eq!((again.status, again.text().contains(r#""msg_id":"2""#)), (200, true), "{}", again.text());
    assert!(pushes(&vendor).iter().all(|push| push.header("Idempotency-Key").is_none()), "it stays here");
    let cids: Vec<_> = pushes(&vendor).iter().map(cid_of).collect();
    assert_eq!((cids.len(), &cids[0], cids[0].is_empty()), (2, &cids[1], false));
    // The outcome is known now.
    assert_eq!((gateway.call(&keyed("k")).body, pushes(&vendor).len()), (again.body, 2));
}

/// Without a cid it is not repeated, and the caller is told again that the outcome is unknown.
#[test]
fn without_a_cid_an_unknown_outcome_stays_unknown() {
    let vendor = Stub::start(|talk| {
        while let Some(request) = talk.read_request() {
            if request.line.starts_with("GET") {
                talk.write(json_answer("403 Forbidden", r#"{"error":{"code":2006,"message":"no"}}"#));
            } else {
                talk.reset_now();
            }
        }
    });
    let gateway = start(&vendor.url(), "");
    for _ in 0..3 {
        gateway.call(&keyed("k")).assert_refused(502, "vendor-interrupted", 1030);
    }
    assert_eq!(pushes(&vendor).len(), 1);
    let group = Request::post("/v3/grouppush", PUSH).bearer(Tokens::ORDERS).header("Idempotency-Key", "g");
    for _ in 0..2 {
        gateway.call(&group).assert_refused(502, "vendor-interrupted", 1030);
    }
    assert_eq!(pushes(&vendor).len(), 2);
}

/// Calls without an effect may be tried again with their key: the gateway's refusals, an unreachable vendor, a rate
/// limit.
#[test]
fn what_had_no_effect_is_not_held_against_a_key() {
    let vendor = vendor(|talk, number, _| match number {
        1 => talk.write(json_answer("429 Too Many Requests", r#"{"error":{"code":2002,"message":"x"}}"#)),
        2 => talk.write(json_answer("400 Bad Request", r#"{"error":{"code":1011,"message":"x"}}"#)),
        _ => answer_number(talk, number),
    });
    let mut config = Config::new(&vendor.url());
    config.budgets = "push: { limit: 3, window: 60s }".into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&keyed("k")).status, 429);
    // Then the gateway's own refusal follows.
    wait_until("the vendor's refusal is forgotten", || gateway.call(&keyed("k")).status == 400);
    assert_eq!(gateway.call(&keyed("k")).status, 400, "judged once and for all");
    assert_eq!(pushes(&vendor).len(), 2);
    gateway.call(&keyed("other")).assert_refused(429, "budget-exhausted", 2002);
    assert_eq!(gateway.call(&keyed("k")).status, 400, "a repeat costs nothing");

    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let gateway = start(&format!("http://{port}"), "");
    gateway.call(&keyed("k")).assert_refused(502, "vendor-unreachable", 1030);
    // Nothing was sent, so the key can be used for another call.
    let other = Request::post("/v3/push", &PUSH.replace("anna", "boris")).bearer(Tokens::ORDERS);
    let answer = gateway.call(&other.header("Idempotency-Key", "k"));
    assert!(["vendor-unreachable", "vendor-circuit-open"].map(Some).contains(&answer.reason()), "{answer:?}");
}

#[test]
fn a_reload_forgets_no_key() {
    let vendor = Simulator::start();
    let gateway = start(&vendor.url(), "");
    let first = gateway.call(&keyed("k"));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!((gateway.call(&keyed("k")).body, delivered(&vendor)), (first.body, 1));
}

/// A cid belongs to one application; a push of another one with it would only be refused.
#[test]
fn a_key_that_is_open_does_not_go_to_another_application() {
    let vendor = vendor(|talk, number, _| match number {
        1 => talk.write(json_answer("503 Service Unavailable", r#"{"error":{"code":1030,"message":"x"}}"#)),
        _ => answer_number(talk, number),
    });
    let mut config = Config::new(&vendor.url());
    config.shop = "resend_guard: 0s".into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&keyed("k")).status, 503);
    let other = config.yaml().replace(Keys::SHOP_APP, "e9fa2c9763debd20e7de1eb0");
    for _ in 0..2 {
        gateway.write_config(&other);
        assert_eq!(gateway.reload().status, 200);
        gateway.call(&keyed("k")).assert_refused(502, "vendor-interrupted", 1030);
    }
    assert_eq!(pushes(&vendor).len(), 1);
    // With the first application again, the call continues with its cid.
    gateway.write_config(&config.yaml());
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.call(&keyed("k")).status, 200);
    let cids: Vec<_> = pushes(&vendor).iter().map(cid_of).collect();
    assert_eq!((cids.len(), &cids[0]), (2, &cids[1]));
}

#[test]
fn ten_thousand_keys_are_remembered_and_the_oldest_goes_first() {
    let vendor = vendor(|talk, number, _| answer_number(talk, number));
    let mut config = Config::new(&vendor.url());
    config.budgets = "push: { limit: 100000, window: 60s }".into();
    config.shop = "cid_batch: 10".into();
    let gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    let mut number = |key: usize| {
        let answer = connection.call(&keyed(&format!("key-{key}")));
        assert_eq!(answer.status, 200);
        answer.json()["msg_id"].as_str().expect("a number").parse::<usize>().expect("a number")
    };
    for key in 1..=10_001 {
        assert_eq!(number(key), key);
    }
    assert_eq!(number(2), 2, "remembered");
    assert_eq!(number(10_001), 10_001, "remembered");
    assert_eq!(number(1), 10_002, "forgotten: another push");
}
