//! Tests of second attempts with a cid, of the source of cids, and of writing them into pushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::support::wait_until;

/// The simulator delivers the push before it breaks the connection, so the second attempt must not deliver it again.
#[test]
fn a_push_with_a_cid_is_attempted_twice_and_delivered_once() {
    let vendor = Simulator::start();
    let gateway = start(&vendor.url(), "cid: inject");
    // With the push's own cid.
    let list = gateway.call(&Request::get("/v3/push/cid?count=2").bearer(Tokens::ORDERS)).json();
    for (round, kind) in [(1_u32, "reset"), (2, "cut")] {
        vendor.fault(&format!(r#"{{"operation":"push","kind":"{kind}"}}"#));
        let cid = list["cidlist"][round as usize - 1].as_str().expect("a cid");
        let answer = gateway.call(&push_with(cid));
        assert_eq!((answer.status, delivered(&vendor)), (200, round.into()), "{kind}: {}", answer.text());
        assert!(answer.json()["msg_id"].is_string());
        assert!((retries(&gateway) - f64::from(round)).abs() < 0.5);
    }
    // With a cid that the gateway injects.
    vendor.fault(r#"{"operation":"push","kind":"reset"}"#);
    assert_eq!((gateway.call(&push()).status, delivered(&vendor)), (200, 3));
    assert!(retries(&gateway) > 2.5);
    // One fetch by the caller, one by the gateway, and two attempts of each of three pushes; attempts that broke keep
    // their slots.
    assert_eq!(gateway.used("app", "push"), 8);
}

#[test]
fn a_silent_vendor_is_asked_again_with_a_cid() {
    let vendor = vendor(|talk, number, _| match number {
        1 => talk.wait_for_end(),
        _ => answer_number(talk, number),
    });
    let gateway = start_hasty(&vendor.url(), "");
    let answer = gateway.call(&push_with(CID));
    assert_eq!((answer.status, answer.text().contains(r#""msg_id":"2""#)), (200, true), "{}", answer.text());
    let bodies: Vec<_> = pushes(&vendor).into_iter().map(|push| push.body).collect();
    assert_eq!((bodies.len(), &bodies[0]), (2, &bodies[1]));
    assert_eq!(gateway.used("app", "push"), 2);
}

#[test]
fn never_more_than_two_attempts_and_the_first_ones_doubt_stays() {
    let stubborn = vendor(|talk, _, _| talk.reset_now());
    let gateway = start(&stubborn.url(), "");
    gateway.call(&push_with(CID)).assert_refused(502, "vendor-interrupted", 1030);
    assert_eq!(pushes(&stubborn).len(), 2);
    assert_eq!(gateway.used("app", "push"), 2, "each attempt has a slot of its own");
    // A second attempt that is refused leaves the outcome unknown.
    let strict = vendor(|talk, number, _| match number {
        1 => talk.reset_now(),
        _ => talk.write(json_answer("429 Too Many Requests", r#"{"error":{"code":2002,"message":"x"}}"#)),
    });
    let gateway = start(&strict.url(), "");
    gateway.call(&push_with(CID)).assert_refused(502, "vendor-interrupted", 1030);
    // The second attempt finds the port closed. That it was not sent says nothing about the first.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        drop(listener);
        let mut buffer = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut buffer);
    });
    let gateway = start(&url, "");
    gateway.call(&push_with(CID)).assert_refused(502, "vendor-interrupted", 1030);
    assert!(retries(&gateway) > 0.5);
}

#[test]
fn a_second_attempt_needs_a_slot_and_time() {
    let breaking = vendor(|talk, _, _| talk.reset_now());
    let mut config = Config::new(&breaking.url());
    config.budgets = "push: { limit: 1, window: 60s }".into();
    let gateway = Gateway::start(&config);
    gateway.call(&push_with(CID)).assert_refused(502, "vendor-interrupted", 1030);
    assert_eq!((pushes(&breaking).len(), retries(&gateway) < 0.5), (1, true));
    // With less than half of the deadline left, there is no second attempt.
    let slow = vendor(|talk, _, _| talk.wait_for_end());
    let mut config = Config::new(&slow.url());
    config.limits = "deadline: 2s".into();
    config.vendor = "response_timeout: 1500ms".into();
    let gateway = Gateway::start(&config);
    gateway.call(&push_with(CID)).assert_refused(504, "vendor-timeout", 1030);
    assert_eq!((pushes(&slow).len(), retries(&gateway) < 0.5), (1, true));
}

/// A second attempt needs the vendor's promise that it recognises the cid; there is none for a group, a schedule, a
/// batch or an empty cid.
#[test]
fn where_the_vendor_is_not_known_to_know_the_cid_there_is_no_second_attempt() {
    let vendor = vendor(|talk, _, _| talk.reset_now());
    let gateway = start(&vendor.url(), "cid: inject, resend_guard: 0s");
    let with = |field: &str| format!("{{{field},{}", &PUSH[1..]);
    let cid = format!(r#""cid":"{CID}""#);
    let schedule = r#""name":"n","enabled":true,"trigger":{"single":{"time":"2030-01-01 00:00:00"}}"#;
    let rows = [
        ("/v3/push", with(r#""cid":null"#)),
        ("/v3/push", format!("{},\"cid\":null}}", &PUSH[..PUSH.len() - 1])),
        ("/v3/push/validate", with(&cid)),
        ("/v3/grouppush", with(&cid)),
        ("/v3/grouppush", PUSH.to_owned()),
        ("/v3/schedules", format!("{{{cid},{schedule},\"push\":{PUSH}}}")),
        ("/v3/push/batch/regid/single", format!(r#"{{"pushlist":{{"{CID}":{{}}}}}}"#)),
    ];
    for (number, (path, body)) in rows.iter().enumerate() {
        gateway.call(&Request::post(path, body).bearer(Tokens::ORDERS)).assert_refused(
            502,
            "vendor-interrupted",
            1030,
        );
        let sent = pushes(&vendor);
        assert_eq!(sent.len(), number + 1, "{path} {body}: one attempt");
        assert_eq!(sent[number].body, body.as_bytes(), "{path}: as it came");
    }
    // An encrypted push: its cid, if it has one, cannot be read.
    let encrypted = r#"{"audience":{"alias":["a"]},"payload":"AAAA"}"#;
    let request = Request::post("/v3/push", encrypted).header("X-Encrypt-Type", "SM2").bearer(Tokens::ORDERS);
    gateway.call(&request).assert_refused(502, "vendor-interrupted", 1030);
    assert_eq!((pushes(&vendor).len(), &*pushes(&vendor)[rows.len()].body), (8, encrypted.as_bytes()));
    assert!(fetches(&vendor).is_empty(), "no cid was wanted");
}

#[test]
fn a_cid_is_written_in_front_and_nothing_else_changes() {
    let vendor = vendor(|talk, number, _| answer_number(talk, number));
    let gateway = start(&vendor.url(), "cid: inject");
    let spaced = format!(" \r\n{PUSH}\n ");
    let marked = format!("\u{feff}{PUSH}");
    let odd = r#"{ "audience" : "all" ,"n":1.0e2,"platform":"all", "audience":{"tag":["é"]} }"#;
    for (number, body) in [PUSH, &spaced, &marked, odd].into_iter().enumerate() {
        assert_eq!(gateway.call(&Request::post("/v3/push", body).bearer(Tokens::ORDERS)).status, 200);
        let sent = &pushes(&vendor)[number];
        let text = std::str::from_utf8(&sent.body).expect("UTF-8");
        let (front, rest) = text.split_once("{\"cid\":\"").expect("a cid in front");
        let (cid, rest) = rest.split_once("\",").expect("its end");
        assert_eq!(format!("{front}{{{rest}"), body);
        assert!(cid.starts_with(&format!("{}-", Keys::SHOP_APP)) && cid.len() == CID.len());
        assert_eq!(sent.header("Content-Length"), Some(sent.body.len().to_string().as_str()));
    }
    // A push's own cid stays, and so do its bytes.
    assert_eq!(gateway.call(&push_with(CID)).status, 200);
    assert_eq!(
        pushes(&vendor)[4].body,
        push_with(CID).bytes()[push_with(CID).bytes().len() - pushes(&vendor)[4].body.len()..]
    );
    // File pushes get one, too; other calls get none.
    let file = r#"{"platform":"all","audience":{"file":{"file_id":"x"}}}"#;
    for path in ["/v3/push/file", "/v3/grouppush/file"] {
        assert_eq!(gateway.call(&Request::post(path, file).bearer(Tokens::ORDERS)).status, 200);
    }
    assert!(!cid_of(&pushes(&vendor)[5]).is_empty() && cid_of(&pushes(&vendor)[6]).is_empty());
}

#[test]
fn off_means_as_it_came() {
    let vendor = vendor(|talk, number, _| answer_number(talk, number));
    let gateway = start(&vendor.url(), "");
    assert_eq!(gateway.call(&push()).status, 200);
    assert_eq!(vendor.only().body, PUSH.as_bytes());
}

#[test]
fn the_simulator_knows_our_cids() {
    let vendor = Simulator::start();
    let gateway = start(&vendor.url(), "cid: inject, cid_batch: 4");
    for _ in 0..9 {
        assert_eq!(gateway.call(&push()).status, 200);
    }
    assert_eq!(delivered(&vendor), 9);
    let journal = vendor.journal();
    let fetches: Vec<_> = journal.iter().filter(|line| line["operation"] == "push-cid").collect();
    // One fetch for every four pushes, and the next one starts when one cid is left, so it may still be under way.
    assert!((3..=4).contains(&fetches.len()), "{fetches:?}");
    assert!(fetches.iter().all(|line| line["query"] == "count=4&type=push"), "{fetches:?}");
    wait_until("the fetches are over", || gateway.used("app", "push") >= 9 + fetches.len() as u64);
    assert!(
        gateway.metric(
            r#"jpush_gateway_vendor_answers_total{code="0",operation="push-cid",status="200",tenant="shop"}"#
        ) > 2.5
    );
}

#[test]
fn many_pushes_at_once_fetch_once() {
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let vendor = Stub::start(move |talk| {
        while let Some(request) = talk.read_request() {
            if request.line.starts_with("GET") {
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(MOMENT);
                talk.write(json_answer("200 OK", &cid_list(40)));
            } else {
                talk.write(json_answer("200 OK", "{}"));
            }
        }
    });
    let gateway = start(&vendor.url(), "cid: inject, cid_batch: 40");
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(gateway.call(&push()).status, 200));
        }
    });
    let mut cids: Vec<_> = pushes(&vendor).iter().map(cid_of).collect();
    cids.sort_unstable();
    cids.dedup();
    assert_eq!((cids.len(), cids[0].is_empty(), fetched.load(Ordering::SeqCst)), (20, false, 1));
}

/// Without a cid, the push is sent unchanged, and only once.
#[test]
fn without_a_cid_a_push_goes_once() {
    type Way = (&'static str, fn(&mut Talk));
    let ways: [Way; 5] = [
        ("refused", |talk| {
            talk.write(json_answer("403 Forbidden", r#"{"error":{"code":2006,"message":"no"}}"#));
        }),
        ("nothing in it", |talk| talk.write(json_answer("200 OK", r#"{"cidlist":[]}"#))),
        ("another app's", |talk| {
            talk.write(json_answer(
                "200 OK",
                r#"{"cidlist":["other-374004a2-bc6c-4abc-bde5-9f1a9671d307"]}"#,
            ));
        }),
        ("reset", Talk::reset_now),
        ("silent", Talk::wait_for_end),
    ];
    for (what, way) in ways {
        let vendor = Stub::start(move |talk| {
            while let Some(request) = talk.read_request() {
                if request.line.starts_with("GET") { way(talk) } else { talk.reset_now() }
            }
        });
        let gateway = start(&vendor.url(), "cid: inject");
        let answer = gateway.call(&push());
        assert_eq!((answer.status, answer.reason()), (502, Some("vendor-interrupted")), "{what}");
        assert_eq!((pushes(&vendor).len(), &*pushes(&vendor)[0].body), (1, PUSH.as_bytes()), "{what}");
        // The next pushes do not ask again at once.
        gateway.call(&push());
        let asked = fetches(&vendor).len();
        assert!(asked <= 2, "{what}: {asked} fetches for two pushes");
    }
}

#[test]
fn a_spent_budget_leaves_the_slot_to_the_push() {
    let vendor = vendor(|talk, number, _| answer_number(talk, number));
    let mut config = Config::new(&vendor.url());
    config.shop = "cid: inject".into();
    config.budgets = "push: { limit: 1, window: 60s }".into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&push()).status, 200);
    assert_eq!(vendor.only().body, PUSH.as_bytes(), "no slot for a fetch: sent without");
    gateway.call(&push()).assert_refused(429, "budget-exhausted", 2002);
}

#[test]
fn cids_of_tenants_are_kept_apart() {
    let vendor = Simulator::start();
    let mut config = Config::new(&vendor.url());
    config.shop = "cid: inject".into();
    let gateway = Gateway::start(&config);
    let other = Request::post("/v3/push", PUSH).basic(Keys::MARKET_APP, Tokens::BOTH);
    assert_eq!(gateway.call(&push()).status, 200);
    assert_eq!(gateway.call(&other).status, 200, "its tenant has it off");
    let journal = vendor.journal();
    let fetched: Vec<_> = journal.iter().filter(|line| line["operation"] == "push-cid").collect();
    assert_eq!((fetched.len(), &fetched[0]["key"]), (1, &Keys::SHOP_APP.into()));
}

/// Queued calls use up the budget, so fetches of cids for their pushes must go first.
#[test]
fn pushes_of_callers_who_wait_have_cids() {
    let vendor = vendor(|talk, number, _| answer_number(talk, number));
    let mut config = Config::new(&vendor.url());
    config.budgets = "push: { limit: 20, window: 1s }".into();
    config.shop = "cid: inject".into();
    config.workers = 2;
    let gateway = Gateway::start(&config);
    std::thread::scope(|scope| {
        for _ in 0..15 {
            scope.spawn(|| {
                let mut connection = gateway.connect();
                for _ in 0..8 {
                    assert_eq!(connection.call(&push().header("Prefer", "wait=15")).status, 200);
                }
            });
        }
    });
    let pushes = pushes(&vendor);
    let without = pushes.iter().filter(|push| cid_of(push).is_empty()).count();
    assert_eq!(pushes.len(), 120);
    assert!(without * 20 <= pushes.len(), "{without} of {} pushes went without a cid", pushes.len());
    let counted = gateway.metric("jpush_gateway_pushes_without_cid_total{tenant=\"shop\"}");
    assert!((counted - f64::from(u32::try_from(without).expect("few"))).abs() < 0.5);
}

#[test]
fn a_push_under_a_key_is_told_that_it_has_no_cid() {
    let vendor = Stub::start(|talk| {
        while let Some(request) = talk.read_request() {
            if request.line.starts_with("GET") {
                talk.write(json_answer("500 Internal Server Error", "{}"));
            } else {
                answer_number(talk, 1);
            }
        }
    });
    let gateway = start(&vendor.url(), "");
    let told = gateway.call(&keyed("one"));
    assert_eq!((told.status, told.header("X-Jpush-Cid")), (200, Some("none")));
    assert_eq!(gateway.call(&push()).header("X-Jpush-Cid"), None, "nobody asked for one");
    assert!((gateway.metric("jpush_gateway_pushes_without_cid_total{tenant=\"shop\"}") - 1.0).abs() < 0.5);
    let good = Simulator::start();
    assert_eq!(start(&good.url(), "").call(&keyed("one")).header("X-Jpush-Cid"), None);
}
