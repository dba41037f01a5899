//! Tests of the drain: requests in work are finished, new ones are refused, and the process exits with 0.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Config, Connection, Gateway, PUSH, Request, Stub, Tokens, wait_until};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// A vendor that holds its answers back until the gate is opened.
fn gated() -> (Stub, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let vendor = Stub::start(move |talk| {
        while talk.read_request().is_some() {
            wait_until("the gate opens", || open.load(Ordering::SeqCst));
            talk.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    (vendor, gate)
}

#[test]
fn what_was_dispatched_is_answered_and_the_exit_is_clean() {
    for signal in ["TERM", "INT"] {
        let (vendor, gate) = gated();
        let mut gateway = Gateway::start(&Config::new(&vendor.url()));
        let mut idle = gateway.connect();
        assert_eq!(idle.call(&Request::get("/")).status, 200);
        let mut busy = gateway.connect();
        busy.send(push().header("X-Request-Id", "last").bytes());
        vendor.wait_for_requests(1);
        gateway.program.signal(signal);
        assert!(idle.ends(), "idle connections are closed");
        let address = gateway.address();
        wait_until("new connections are refused", || TcpStream::connect(address).is_err());
        assert!(gateway.program.runs());
        assert_eq!(gateway.page("/readyz").status, 503);
        assert_eq!(gateway.page("/livez").status, 200);
        gate.store(true, Ordering::SeqCst);
        let answer = busy.read_answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
        assert_eq!(answer.header("Connection"), Some("close"));
        assert!(busy.ends());
        assert_eq!(gateway.program.wait().code(), Some(0), "{}", gateway.program.err());
        assert_eq!(gateway.line("last")["status"], 200, "its access line is written before the end");
    }
}

#[test]
fn during_the_delay_requests_are_served_and_connections_are_not_kept() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.drain = "{ delay: 3s, deadline: 20s }";
    let mut gateway = Gateway::start(&config);
    let mut kept = gateway.connect();
    assert_eq!(kept.call(&push()).status, 200);
    assert_eq!(gateway.page("/readyz").status, 200);
    gateway.program.signal("TERM");
    wait_until("it is not ready any more", || gateway.page("/readyz").status == 503);
    // Load balancers take a while to notice, so requests are still served meanwhile.
    for mut connection in [kept, gateway.connect()] {
        let answer = connection.call(&push());
        assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")), "{}", answer.text());
        assert!(connection.ends());
    }
    let refused = gateway.call(&Request::get("/v3/tags"));
    assert_eq!((refused.status, refused.header("Connection")), (401, Some("close")));
    assert_eq!(gateway.program.wait().code(), Some(0));
    assert_eq!(vendor.requests().len(), 3);
}

#[test]
fn at_the_deadline_the_caller_is_told() {
    let (vendor, _gate) = gated();
    let mut config = Config::new(&vendor.url());
    config.drain = "{ delay: 0s, deadline: 1s }";
    let mut gateway = Gateway::start(&config);
    let mut busy = gateway.connect();
    busy.send(push().bytes());
    vendor.wait_for_requests(1);
    gateway.program.signal("TERM");
    let answer = busy.read_answer();
    answer.assert_refused(504, "vendor-timeout", 1030);
    assert_eq!(gateway.program.wait().code(), Some(0));
}

#[test]
fn what_was_not_dispatched_is_told_to_go_elsewhere() {
    let vendor = Stub::good();
    let mut gateway = Gateway::start(&Config::new(&vendor.url()));
    let mut slow = gateway.connect();
    let request = push().header("Expect", "100-continue").bytes();
    let (first, last) = request.split_at(request.len() - PUSH.len());
    slow.send(first);
    // The request was accepted, and the gateway waits for its body.
    assert_eq!(slow.read_answer().status, 100);
    gateway.program.signal("TERM");
    let address = gateway.address();
    wait_until("new connections are refused", || TcpStream::connect(address).is_err());
    slow.send(last);
    let answer = slow.read_answer();
    answer.assert_refused(503, "draining", 1030);
    assert_eq!((answer.number("Retry-After"), answer.header("Connection")), (1, Some("close")));
    assert_eq!(gateway.program.wait().code(), Some(0));
    assert!(vendor.requests().is_empty());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (vendor, _gate) = gated();
    let mut gateway = Gateway::start(&Config::new(&vendor.url()));
    let mut busy: Connection = gateway.connect();
    busy.send(push().bytes());
    vendor.wait_for_requests(1);
    gateway.program.signal("TERM");
    wait_until("it drains", || gateway.page("/readyz").status == 503);
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
}

#[test]
fn a_gateway_without_work_ends_at_once() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.workers = 2;
    let mut gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&push()).status, 200);
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
    assert!(TcpStream::connect(gateway.address()).is_err() && TcpStream::connect(gateway.admin).is_err());
}
