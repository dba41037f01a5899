//! Tests of the forms of a path, and of probes that need no credentials.

use crate::support::{Config, Gateway, PUSH, Request, Simulator, Stub, Tokens};

#[test]
fn slashes_collapse_and_what_was_matched_is_sent() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let rows = [
        ("/v3//push/cid", "/v3/push/cid"),
        ("//v3/push/cid", "/v3/push/cid"),
        ("/v3/push/cid/", "/v3/push/cid"),
        ("/v3///push//cid//", "/v3/push/cid"),
        ("/v3/tags/?a=1", "/v3/tags?a=1"),
        ("/v3/tags?", "/v3/tags?"),
        ("/v3/tags?x=//..%2F\\&y", "/v3/tags?x=//..%2F\\&y"),
        ("http://gateway/v3/tags?x", "/v3/tags?x"),
        ("/v3/aliases/%E5%AE%89%e5%a8%9c", "/v3/aliases/%E5%AE%89%e5%a8%9c"),
        ("/v3/aliases/a..b", "/v3/aliases/a..b"),
        ("/v3/aliases/...", "/v3/aliases/..."),
        ("/v3/aliases/a%25b;c=d:e@f", "/v3/aliases/a%25b;c=d:e@f"),
        ("/v3/aliases/...;x", "/v3/aliases/...;x"),
        // Raw UTF-8, as the old Java SDK and PHP with an old libcurl send it.
        ("/v3/aliases/安娜", "/v3/aliases/%E5%AE%89%E5%A8%9C"),
        ("/v3//aliases/ü-😀/?x=安&y=%e5", "/v3/aliases/%C3%BC-%F0%9F%98%80?x=安&y=%e5"),
        ("/v3/tags?标签", "/v3/tags?标签"),
    ];
    for (path, sent) in rows {
        let answer = gateway.call(&Request::get(path).bearer(Tokens::ORDERS));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(vendor.requests().last().expect("sent").line, format!("GET {sent} HTTP/1.1"), "{path}");
    }
}

#[test]
fn paths_that_can_be_read_in_two_ways_are_refused() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let bad = [
        "/v3/aliases/../push",
        "/v3/aliases/..",
        "/v3/./tags",
        "/v3/aliases/%2e%2E",
        "/v3/aliases/.%2e",
        "/v3/aliases/%2e",
        "/v3/aliases/a%2Fb",
        "/v3/aliases/a%2fb",
        "/v3/aliases/a%5Cb",
        "/v3/aliases/a%5c..",
        "/v3/aliases/a%00",
        "/v3/aliases/a%",
        "/v3/aliases/a%2",
        "/v3/aliases/a%zz",
        "/v3/aliases/a\\b",
        "/v3/aliases/%0d%0aX",
        "/v3/aliases/a%1F",
        "/v3/aliases/%7f",
        "/v3/aliases/..;",
        "/v3/aliases/.;a=b/x",
        "/v3/aliases/%2e%2E%3bx",
        "/v3/aliases/安/..;",
        "/v3/aliases/a<b",
        "/v3/aliases/a#b",
        "/v3/aliases/#",
        "/v3/tags#",
        "/v3/tags?x=1#y",
        "http://gateway/v3/tags#y",
        "http://gateway#/v3/tags",
        "#/v3/tags",
    ];
    for path in bad {
        let answer = gateway.call(&Request::get(path).bearer(Tokens::ORDERS));
        answer.assert_refused(400, "bad-path", 1003);
    }
    // Bytes that are not allowed in a request target: a bare 400 of the parser or a refusal, but never a call.
    for byte in [0x00_u8, 0x01, 0x09, 0x7f, 0x80, 0xff] {
        let mut bytes = b"GET /v3/aliases/a".to_vec();
        bytes.push(byte);
        let rest = Request::get("").bearer(Tokens::ORDERS).bytes();
        bytes.extend_from_slice(&rest[4..]);
        let (answer, _) = gateway.exchange(bytes);
        assert_eq!(answer.status, 400, "byte {byte:#x}");
    }
    assert!(vendor.requests().is_empty());
}

/// A library that parses targets cuts a fragment off silently, and the call would act on another object.
#[test]
fn a_fragment_is_never_cut_off() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    for request in [
        Request::new("DELETE", "/v3/tags/vip#2"),
        Request::post("/v3/push#/validate", PUSH),
        Request::post("/v3/push?x#/validate", PUSH),
    ] {
        gateway.call(&request.bearer(Tokens::ORDERS)).assert_refused(400, "bad-path", 1003);
    }
    // Such a target is no probe either, and callers without a credential learn nothing.
    gateway.call(&Request::get("/#x").bearer(Tokens::ORDERS)).assert_refused(400, "bad-path", 1003);
    gateway.call(&Request::get("/?x#y")).assert_refused(401, "unauthenticated", 1002);
    assert!(vendor.requests().is_empty());
}

/// `HAProxy`'s health check, and other clients that still send HTTP/1.0.
#[test]
fn probes_of_http_1_0_need_no_host() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let ask = |bytes: &str| {
        let mut connection = gateway.connect();
        connection.send(bytes);
        connection.rest().expect("the gateway closes");
        String::from_utf8(connection.take_unread()).expect("ASCII")
    };
    let get = ask("GET / HTTP/1.0\r\n\r\n");
    assert!(get.starts_with("HTTP/1.0 200 ") && get.ends_with(r#"{"service":"jpush-gateway"}"#), "{get}");
    let head = ask("HEAD / HTTP/1.0\r\nUser-Agent: probe\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    for refused in [
        "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
        "GET /v3/tags HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    ] {
        let answer = ask(refused);
        assert!(answer[8..].starts_with(" 400 ") && answer.contains("bad-request"), "{refused:?}: {answer}");
    }
}

#[test]
fn probes_are_answered_here_without_credentials() {
    let vendor = Simulator::start();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let mut connection = gateway.connect();
    let get = connection.call(&Request::get("/"));
    assert_eq!(get.status, 200);
    assert_eq!(get.number("Content-Length"), get.body.len() as u64);
    assert!(!get.has("X-Jpush-Gateway-Reason"));
    let head = connection.call(&Request::new("HEAD", "/"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    // The same with credentials, even wrong ones; the connection stays open.
    assert_eq!(connection.call(&Request::get("/").basic("x", "y")).status, 200);
    // Slashes collapse here as in every path: a base URL may end in one.
    assert_eq!(connection.call(&Request::get("//")).status, 200);
    connection.call(&Request::post("/", "{}")).assert_refused(401, "unauthenticated", 1002);
    let post = connection.call(&Request::post("/", "{}").bearer(Tokens::ORDERS));
    post.assert_refused(404, "unknown-endpoint", 1001);
    assert!(vendor.journal().is_empty());
    assert_eq!(gateway.used("app", "push"), 0);
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let mut connection = gateway.connect();
    for number in 0..5 {
        let request = Request::get("/v3/tags").bearer(Tokens::ORDERS);
        assert_eq!(connection.call(&request.header("X-Request-Id", &number.to_string())).status, 200);
        // Refusals leave the connection open, too.
        connection.call(&Request::get("/v3/nothing").bearer(Tokens::ORDERS));
    }
    // Requests that are sent together are answered in order.
    let piped: Vec<u8> = (0..3)
        .flat_map(|number| {
            let request = Request::get("/v3/tags").bearer(Tokens::ORDERS);
            request.header("X-Request-Id", &format!("piped-{number}")).bytes()
        })
        .collect();
    connection.send(piped);
    for number in 0..3 {
        let answer = connection.read_answer();
        assert_eq!(answer.header("X-Request-Id"), Some(&*format!("piped-{number}")));
    }
    assert_eq!(
        (vendor.requests().len(), vendor.connections()),
        (8, 1),
        "one pooled connection to the vendor"
    );
}

#[test]
fn an_older_client_gets_its_answer_too() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let request = Request::get("/v3/tags").bearer(Tokens::ORDERS);
    let bytes = String::from_utf8(request.bytes()).expect("ASCII").replace("HTTP/1.1", "HTTP/1.0");
    let mut connection = gateway.connect();
    connection.send(bytes);
    connection.rest().expect("the gateway closes");
    let answer = String::from_utf8(connection.take_unread()).expect("ASCII");
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\n{}"), "{answer}");
    assert_eq!(vendor.only().line, "GET /v3/tags HTTP/1.1");
}

/// An SDK that is set to the Beijing data centre sends its paths, whatever the region of the tenant is.
#[test]
fn paths_of_the_other_data_centre_lead_to_the_same_calls() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let rows = [
        ("/v3/push/schedules", "GET /v3/schedules HTTP/1.1"),
        ("/v3/push/schedules/b0?x=1", "GET /v3/schedules/b0?x=1 HTTP/1.1"),
        ("/v3/report/received?msg_ids=1", "GET /v3/received?msg_ids=1 HTTP/1.1"),
        ("/v3/report/group/users", "GET /v3/group/users HTTP/1.1"),
        ("/v3/device/170976fa8a8", "GET /v3/devices/170976fa8a8 HTTP/1.1"),
        ("/v3/device/aliases/%E4%BD%A0", "GET /v3/aliases/%E4%BD%A0 HTTP/1.1"),
        ("/v3/device/tags/", "GET /v3/tags HTTP/1.1"),
    ];
    for (path, sent) in rows {
        let answer = gateway.call(&Request::get(path).bearer(Tokens::ORDERS));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(vendor.requests().last().expect("it was sent").line, sent);
    }
    // They are no second way to other calls.
    for path in ["/v3/report/push", "/v3/report/files", "/v3/report", "/v3/devicetags", "/v3/push/schedulesx"]
    {
        gateway.call(&Request::post(path, PUSH).bearer(Tokens::ORDERS)).assert_refused(
            404,
            "unknown-endpoint",
            1001,
        );
    }
}
