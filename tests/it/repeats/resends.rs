//! Tests of `resend_guard` with the behaviour of HTTP clients whose connection closes without an answer
//! (`docs/vendor.md`, V27): the JDK sends a POST once more on a new connection, Apache's client and PHP's SDK twice
//! more, at once each time.

use super::*;
use crate::support::{Answer, Connection, wait_until};

/// A client of this kind, whose connections are all broken but the last.
///
/// The next connection is opened once the gateway has noticed the break; a real client learns of it no sooner.
fn client(gateway: &Gateway, vendor: &Stub, request: &Request, attempts: usize) -> Answer {
    for _ in 1..attempts {
        let mut connection = gateway.connect();
        connection.send(request.bytes());
        vendor.wait_for_requests(1);
        break_off(gateway, connection);
    }
    gateway.call(request)
}

fn break_off(gateway: &Gateway, connection: Connection) {
    let open = || gateway.metric("jpush_gateway_connections");
    wait_until("the gateway has the connection", || open() > 0.5);
    // A plain end could be that of the sending side only: see `hangups`.
    connection.reset();
    wait_until("the gateway notices", || open() < 0.5);
}

/// Answers the first push late and any other at once, each with its number.
pub(super) fn late() -> Stub {
    vendor(|talk, number, _| {
        if number == 1 {
            std::thread::sleep(4 * MOMENT);
        }
        answer_number(talk, number);
    })
}

#[test]
fn one_push_for_each_kind_of_client() {
    for (name, attempts) in [("JDK", 2), ("Apache", 3), ("PHP", 3)] {
        let vendor = late();
        let gateway = start(&vendor.url(), "");
        let answer = client(&gateway, &vendor, &push(), attempts);
        assert_eq!((answer.status, answer.json()["msg_id"].as_str()), (200, Some("1")), "{name}");
        assert_eq!(pushes(&vendor).len(), 1, "{name}: one push at the vendor");
        assert!(replays(&gateway, "resend-guard") > 0.5, "{name}");
        // A repeat after the answer gets the same answer, too.
        assert_eq!(gateway.call(&push()).body, answer.body, "{name}");
        assert_eq!(pushes(&vendor).len(), 1, "{name}");
    }
}

/// The answer was written and did not arrive: the caller resets the connection instead of sending another request.
#[test]
fn an_answer_that_is_lost_on_its_way_is_given_again() {
    for keep in [true, false] {
        let vendor = vendor(|talk, number, _| answer_number(talk, number));
        let gateway = start(&vendor.url(), "");
        let request = if keep { push() } else { push().header("Connection", "close") };
        let mut connection = gateway.connect();
        connection.send(request.bytes());
        connection.wait_for_bytes();
        connection.reset();
        wait_until("the gateway notices", || gateway.metric("jpush_gateway_connections") < 0.5);
        assert_eq!(gateway.call(&push()).json()["msg_id"], "1", "kept: {keep}");
        assert_eq!(pushes(&vendor).len(), 1);
    }
}

/// A caller that closes normally has its answer, and so has one that sends the next request.
#[test]
fn an_answer_that_arrived_is_not_given_again() {
    let vendor = vendor(|talk, number, _| answer_number(talk, number));
    let gateway = start(&vendor.url(), "");
    let mut connection = gateway.connect();
    assert_eq!(connection.call(&push()).json()["msg_id"], "1");
    assert_eq!(connection.call(&Request::get("/")).status, 200);
    connection.reset();
    wait_until("the gateway notices", || gateway.metric("jpush_gateway_connections") < 0.5);
    let mut connection = gateway.connect();
    assert_eq!(connection.call(&push()).json()["msg_id"], "2");
    drop(connection);
    wait_until("the gateway notices", || gateway.metric("jpush_gateway_connections") < 0.5);
    assert_eq!(gateway.call(&push()).json()["msg_id"], "3");
}

#[test]
fn a_push_is_not_taken_for_another() {
    let vendor = late();
    let gateway = start(&vendor.url(), "");
    let mut connection = gateway.connect();
    connection.send(push().bytes());
    vendor.wait_for_requests(1);
    break_off(&gateway, connection);
    let others = [
        Request::post("/v3/push", &PUSH.replace("anna", "boris")).bearer(Tokens::ORDERS),
        Request::post("/v3/push", PUSH).bearer(Tokens::PUSHER),
        Request::post("/v3/push/validate", PUSH).bearer(Tokens::ORDERS),
        Request::post("/v3/grouppush", PUSH).bearer(Tokens::ORDERS),
        keyed("its-own-way"),
    ];
    for (number, other) in others.iter().enumerate() {
        let answer = gateway.call(other);
        assert_eq!(
            answer.json()["msg_id"],
            (number + 2).to_string().as_str(),
            "{number}: {answer:?} {}",
            answer.text()
        );
    }
    assert_eq!(gateway.call(&push()).json()["msg_id"], "1");
}

/// On an unbroken connection, the same push twice is two pushes.
#[test]
fn the_same_push_again_is_another_push() {
    let vendor = vendor(|talk, number, _| answer_number(talk, number));
    let gateway = start(&vendor.url(), "");
    for number in 1..=3 {
        assert_eq!(gateway.call(&push()).json()["msg_id"], number.to_string().as_str());
    }
}

#[test]
fn off_is_off_and_later_is_another_push() {
    for (shop, pause) in [("resend_guard: 0s", false), ("resend_guard: 100ms", true)] {
        let vendor = late();
        let gateway = start(&vendor.url(), shop);
        let mut connection = gateway.connect();
        connection.send(push().bytes());
        vendor.wait_for_requests(1);
        break_off(&gateway, connection);
        if pause {
            std::thread::sleep(MOMENT);
        }
        assert_eq!(gateway.call(&push()).json()["msg_id"], "2", "{shop}");
    }
}

/// The guard compares what the caller sent, so a cid that the gateway injected does not matter.
#[test]
fn a_push_that_got_a_cid_of_ours_is_known_again() {
    let vendor = late();
    let gateway = start(&vendor.url(), "cid: inject");
    let mut connection = gateway.connect();
    connection.send(push().bytes());
    wait_until("the push is there", || pushes(&vendor).len() == 1);
    break_off(&gateway, connection);
    assert_eq!(gateway.call(&push()).json()["msg_id"], "1");
    assert_eq!(pushes(&vendor).len(), 1);
}

/// Nothing was sent the first time, so the repeat is sent.
#[test]
fn what_did_not_reach_the_vendor_is_sent() {
    let vendor = Stub::start(|talk| {
        std::thread::sleep(MOMENT);
        while let Some(_push) = talk.read_request() {
            std::thread::sleep(MOMENT);
            talk.write(json_answer("429 Too Many Requests", r#"{"error":{"code":2002,"message":"x"}}"#));
        }
    });
    let gateway = start(&vendor.url(), "");
    let mut connection = gateway.connect();
    connection.send(push().bytes());
    vendor.wait_for_requests(1);
    break_off(&gateway, connection);
    assert_eq!(gateway.call(&push()).status, 429);
    wait_until("it was sent again or waits for the vendor's window", || {
        gateway.call(&push()).reason() == Some("budget-exhausted")
    });
}

#[test]
fn a_time_out_is_told_to_the_repeat() {
    let vendor = vendor(|talk, _, _| talk.wait_for_end());
    let gateway = start_hasty(&vendor.url(), "");
    let mut connection = gateway.connect();
    connection.send(push().bytes());
    vendor.wait_for_requests(1);
    break_off(&gateway, connection);
    gateway.call(&push()).assert_refused(504, "vendor-timeout", 1030);
    assert_eq!(pushes(&vendor).len(), 1);
}
