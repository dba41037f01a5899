//! Tests of a vendor that fails: the answers to callers, the retries, and the slots used.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::{
    Answer, Config, GOOD, Gateway, PUSH, Request, Stub, Talk, Tokens, json_answer, wait_until,
};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

fn start(vendor: &Stub) -> Gateway {
    Gateway::start(&Config::new(&vendor.url()))
}

/// A gateway with a short response timeout, for vendors that stay silent on purpose.
fn start_hasty(vendor: &Stub) -> Gateway {
    let mut config = Config::new(&vendor.url());
    config.vendor = "response_timeout: 500ms".into();
    Gateway::start(&config)
}

#[track_caller]
fn assert_unreachable(answer: &Answer) {
    answer.assert_refused(502, "vendor-unreachable", 1030);
    assert_eq!(answer.number("X-Rate-Limit-Remaining"), 600, "nothing was sent, nothing is spent");
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    // Nobody listens at the port any more.
    let gateway = Gateway::start(&Config::new(&format!("http://{port}")));
    assert_unreachable(&gateway.call(&push()));
    assert_eq!(gateway.used("app", "push"), 0);
    assert!(gateway.metric(r#"jpush_gateway_vendor_failures_total{kind="connect",operation="push"}"#) >= 1.0);
}

#[test]
fn a_name_without_an_address() {
    let mut config = Config::new("https://no-such-host.invalid");
    config.vendor = "connect_timeout: 5s".into();
    let gateway = Gateway::start(&config);
    let answer = gateway.call(&push());
    assert_unreachable(&answer);
}

#[test]
fn a_plain_vendor_where_tls_is_meant() {
    let vendor = Stub::start(|talk| {
        talk.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        talk.wait_for_end();
    });
    let gateway = Gateway::start(&Config::new(&format!("https://{}", vendor.address)));
    assert_unreachable(&gateway.call(&push()));
}

#[test]
fn a_silent_vendor_is_given_up_and_keeps_its_slot() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        talk.wait_for_end();
    });
    let gateway = start_hasty(&vendor);
    let answer = gateway.call(&push());
    answer.assert_refused(504, "vendor-timeout", 1030);
    assert_eq!(answer.number("X-Rate-Limit-Remaining"), 599);
    assert_eq!((gateway.used("app", "push"), vendor.requests().len(), vendor.connections()), (1, 1, 1));
    // The slot is held for the guard and a window from then on.
    let reset = answer.number("X-Rate-Limit-Reset");
    assert!((68..=71).contains(&reset), "{reset}");
}

#[test]
fn the_deadline_holds_for_the_whole_call() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        talk.wait_for_end();
    });
    let mut config = Config::new(&vendor.url());
    config.limits = "deadline: 500ms".into();
    let gateway = Gateway::start(&config);
    gateway.call(&push()).assert_refused(504, "vendor-timeout", 1030);
}

#[test]
fn an_answer_that_does_not_end_is_a_time_out() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        talk.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{");
        talk.wait_for_end();
    });
    let gateway = start_hasty(&vendor);
    gateway.call(&push()).assert_refused(504, "vendor-timeout", 1030);
    assert_eq!(gateway.used("app", "push"), 1);
}

#[test]
fn a_call_that_broke_is_never_sent_again() {
    type Break = (&'static str, fn(&mut Talk));
    let ways: [Break; 8] = [
        ("reset after the head", |talk| {
            let _ = talk.read_head();
            talk.reset();
        }),
        ("reset after the request", |talk| {
            let _ = talk.read_request();
            talk.reset();
        }),
        ("close after the request", |talk| {
            let _ = talk.read_request();
            talk.close();
        }),
        ("half a head", |talk| {
            let _ = talk.read_request();
            talk.write("HTTP/1.1 200 OK\r\nContent-Le");
        }),
        ("half a body", |talk| {
            let _ = talk.read_request();
            talk.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\"");
        }),
        ("half a chunk", |talk| {
            let _ = talk.read_request();
            talk.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{\"a\"");
        }),
        ("no last chunk", |talk| {
            let _ = talk.read_request();
            talk.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n");
        }),
        ("no HTTP at all", |talk| {
            let _ = talk.read_request();
            talk.write("220 mail.example ESMTP\r\n\r\n");
        }),
    ];
    for (what, way) in ways {
        let vendor = Stub::start(way);
        let gateway = start(&vendor);
        let answer = gateway.call(&push());
        assert_eq!((answer.status, answer.reason()), (502, Some("vendor-interrupted")), "{what}");
        answer.assert_refused(502, "vendor-interrupted", 1030);
        assert_eq!(vendor.connections(), 1, "{what}: one attempt");
        assert_eq!(gateway.used("app", "push"), 1, "{what}: it may have been counted");
        assert!(gateway.metric(r#"jpush_gateway_retries_total{operation="push"}"#) < 0.5, "{what}");
    }
}

/// The vendor closes idle connections, and the gateway notices only when it uses one.
#[test]
fn a_pooled_connection_that_is_dead_is_replaced_without_a_word() {
    for reset in [false, true] {
        let vendor = Stub::start(move |talk| {
            let _ = talk.read_request();
            talk.write(GOOD);
            if reset {
                talk.reset();
            }
            // The connection is closed as soon as it is idle.
        });
        let gateway = start(&vendor);
        for number in 1..=20 {
            let answer = gateway.call(&push());
            assert_eq!(answer.status, 200, "call {number}: {}", answer.text());
            // Waits until it is closed: a call that is half written by then would not be sent again.
            vendor.wait_for_ends(number);
        }
        // Each call was sent once, on a connection of its own, and took one slot.
        assert_eq!((vendor.requests().len(), vendor.connections()), (20, 20));
        assert_eq!(gateway.used("app", "push"), 20);
    }
}

#[test]
fn connections_are_used_again() {
    let vendor = Stub::good();
    let gateway = start(&vendor);
    for _ in 0..10 {
        assert_eq!(gateway.call(&push()).status, 200);
    }
    assert_eq!((vendor.requests().len(), vendor.connections()), (10, 1));
}

#[test]
fn a_vendor_that_says_close_is_taken_at_its_word() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        talk.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}");
        talk.wait_for_end();
    });
    let gateway = start(&vendor);
    for _ in 0..3 {
        let answer = gateway.call(&push());
        assert_eq!(answer.status, 200);
        assert!(!answer.has("Connection"), "the vendor's connection is not the caller's");
    }
    assert_eq!((vendor.requests().len(), vendor.connections()), (3, 3));
}

#[test]
fn an_answer_before_the_body_was_read() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_head();
        talk.write("HTTP/1.1 413 Too Large\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}");
        talk.wait_for_end();
    });
    let gateway = start(&vendor);
    let parts = "a".repeat(400_000);
    let body = format!(r#"{{"platform":"all","audience":"all","message":{{"msg_content":"{parts}"}}}}"#);
    let answer = gateway.call(&Request::post("/v3/push", &body).bearer(Tokens::ORDERS));
    assert_eq!((answer.status, answer.text().as_str(), answer.reason()), (413, "{}", None));
    assert_eq!(vendor.connections(), 1);
    // The rest of the body must not be taken for the next request.
    assert_eq!(gateway.call(&push()).status, 413);
    assert_eq!(vendor.connections(), 2);
}

#[test]
fn a_caller_that_hangs_up_does_not_undo_its_call() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        // Long enough that the gateway notices the caller's disconnect first.
        std::thread::sleep(Duration::from_millis(300));
        talk.write(json_answer("200 OK", r#"{"msg_id":"4711"}"#));
        let _ = talk.read_request();
    });
    let gateway = start(&vendor);
    let mut connection = gateway.connect();
    connection.send(push().header("X-Request-Id", "gone").bytes());
    vendor.wait_for_requests(1);
    drop(connection);
    let line = gateway.line("gone");
    assert_eq!((&line["status"], &line["msg_id"]), (&200.into(), &"4711".into()), "{line}");
    assert_eq!(gateway.used("app", "push"), 1);
    wait_until("it is counted", || {
        gateway.metric(
            r#"jpush_gateway_requests_total{caller="orders",operation="push",status="200",tenant="shop"}"#,
        ) > 0.5
    });
    wait_until("it is no longer under way", || gateway.metric("jpush_gateway_in_flight_requests") < 0.5);
    assert_eq!(vendor.requests().len(), 1);
}

#[test]
fn a_caller_that_leaves_before_its_body_ended_calls_nobody() {
    let vendor = Stub::good();
    let gateway = start(&vendor);
    let mut connection = gateway.connect();
    let request = push().header("X-Request-Id", "half").bytes();
    connection.send(&request[..request.len() - 5]);
    connection.finish_writing();
    let _ = connection.rest();
    drop(connection);
    gateway.line("half");
    assert!(vendor.requests().is_empty());
    assert_eq!(gateway.used("app", "push"), 0);
}
