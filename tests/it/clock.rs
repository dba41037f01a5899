//! Tests of wrong clocks, the gateway's or the vendor's.

use crate::support::{Config, Gateway, PUSH, Request, Stub, Tokens, wait_until};

/// The log lines about clocks after a few pushes to a vendor whose answers have this `Date`.
fn told(date: &'static str) -> Vec<String> {
    let vendor = Stub::start(move |talk| {
        while talk.read_request().is_some() {
            talk.write(format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 2\r\n\r\n{{}}"));
        }
    });
    let mut gateway = Gateway::start(&Config::new(&vendor.url()));
    for _ in 0..5 {
        assert_eq!(gateway.call(&Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)).status, 200);
    }
    gateway.program.signal("TERM");
    gateway.program.wait();
    wait_until("the log is read", || gateway.program.err().contains("stopped"));
    let log = gateway.program.err();
    log.lines().filter(|line| line.contains("clock")).map(str::to_owned).collect()
}

#[test]
fn a_vendor_whose_date_is_far_off_is_told_of_once() {
    let lines = told("Date: Mon, 01 Jan 2001 00:00:00 GMT\r\n");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("the vendor's clock is behind ours"), "{lines:?}");
    let lines = told("Date: Fri, 01 Jan 2100 00:00:00 GMT\r\n");
    assert!(lines.len() == 1 && lines[0].contains("ahead of ours"), "{lines:?}");
    for unreadable in ["", "Date: yesterday\r\n", "Date: \r\n"] {
        assert!(told(unreadable).is_empty(), "{unreadable}");
    }
}
