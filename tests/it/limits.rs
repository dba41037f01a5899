//! Tests of every limit on what callers can make the gateway hold, and of when each is checked.

use std::time::Duration;

use crate::support::{Config, Gateway, PUSH, Request, Stub, Tokens, wait_until};

/// The same body limit for every rule; for files it includes the 64 KiB beyond the limit of the file itself.
const LIMIT: usize = 66 * 1024;

fn with_limits(vendor: &Stub, limits: &str) -> Gateway {
    let mut config = Config::new(&vendor.url());
    config.limits = limits.into();
    config.more = "files: { max: 2KiB }".into();
    Gateway::start(&config)
}

fn small(vendor: &Stub) -> Gateway {
    with_limits(vendor, "json_body: 66KiB, batch_body: 66KiB")
}

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// A push of exactly this length.
fn push_of(length: usize) -> String {
    let (start, end) =
        (r#"{"platform":"all","audience":{"alias":["a"]},"message":{"msg_content":""#, r#""}}"#);
    format!("{start}{}{end}", "x".repeat(length - start.len() - end.len()))
}

/// A vendor that answers only after its caller has disconnected.
fn silent() -> Stub {
    Stub::start(|talk| {
        let _ = talk.read_request();
        talk.wait_for_end();
    })
}

#[test]
fn a_body_announced_as_too_long_is_not_read() {
    let vendor = Stub::good();
    let gateway = small(&vendor);
    for (path, status, code) in [("/v3/push", 413, 1005), ("/v3/files/alias", 400, 1103)] {
        let head = Request::new("POST", path).bearer(Tokens::ORDERS).head();
        // No byte of the body is sent.
        let (answer, mut connection) =
            gateway.exchange(format!("{head}Content-Length: {}\r\n\r\n", LIMIT + 1));
        answer.assert_refused(status, "body-too-large", code);
        assert_eq!(answer.header("Connection"), Some("close"));
        connection.finish_writing();
        assert!(connection.ends());
    }
    let exactly = push_of(LIMIT);
    assert_eq!(gateway.call(&Request::post("/v3/push", &exactly).bearer(Tokens::ORDERS)).status, 200);
    assert_eq!(vendor.only().body, exactly.as_bytes());
}

#[test]
fn an_unannounced_body_is_refused_as_soon_as_it_is_too_long() {
    let vendor = Stub::good();
    let gateway = small(&vendor);
    let head = push().head();
    let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
    // The last chunk is never sent.
    let (answer, _connection) = gateway.exchange(format!("{head}{}{}", chunk(LIMIT), chunk(1)));
    answer.assert_refused(413, "body-too-large", 1005);
    assert_eq!(answer.header("Connection"), Some("close"));
    assert!(vendor.requests().is_empty());
    assert_eq!(gateway.used("app", "push"), 0);
}

#[test]
fn a_refused_body_is_never_a_request() {
    let vendor = Stub::good();
    let gateway = small(&vendor);
    let inner = String::from_utf8(Request::get("/v3/tags").bearer(Tokens::ORDERS).bytes()).expect("ASCII");
    let filler = "x".repeat(LIMIT);
    let refused = [
        Request::post("/v3/push", &inner).bearer("wrong"),
        Request::post("/v3/nothing", &inner).bearer(Tokens::ORDERS),
        Request::post("/v3/schedules", &inner).bearer(Tokens::PUSHER),
        Request::post("/v3/push", &format!("{inner}{filler}")).bearer(Tokens::ORDERS),
    ];
    for request in refused {
        let mut connection = gateway.connect();
        let _ = connection.try_send(request.bytes());
        assert!(connection.read_answer().status >= 400);
        connection.finish_writing();
        let _ = connection.rest();
        assert!(connection.take_unread().is_empty(), "one answer");
    }
    assert!(vendor.requests().is_empty());
}

#[test]
fn bodies_that_come_too_slowly() {
    let vendor = Stub::good();
    let gateway = with_limits(&vendor, "body_timeout: 300ms");
    let request = push().bytes();
    let (answer, mut connection) = gateway.exchange(&request[..request.len() - 5]);
    answer.assert_refused(408, "body-timeout", 1003);
    assert_eq!(answer.header("Connection"), Some("close"));
    connection.finish_writing();
    assert!(connection.ends());
    assert!(vendor.requests().is_empty());
    assert_eq!(gateway.used("app", "push"), 0);
}

#[test]
fn heads_that_come_too_slowly_and_connections_without_any() {
    let vendor = Stub::good();
    let gateway = with_limits(&vendor, "header_timeout: 300ms, idle_timeout: 1h");
    let mut half = gateway.connect();
    half.send("POST /v3/push HTTP/1.1\r\nHost: gate");
    assert!(half.ends(), "closed without a word");
    // A connection that was used before is treated the same way.
    let mut kept = gateway.connect();
    assert_eq!(kept.call(&push()).status, 200);
    kept.send("GET");
    assert!(kept.ends());

    let gateway = with_limits(&vendor, "idle_timeout: 300ms, header_timeout: 1h");
    let mut fresh = gateway.connect();
    assert!(fresh.ends(), "no byte at all");
    let mut kept = gateway.connect();
    assert_eq!(kept.call(&push()).status, 200);
    assert!(kept.ends(), "nothing after an answer");
}

#[test]
fn a_request_under_way_is_not_idle() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        std::thread::sleep(Duration::from_millis(800));
        talk.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        let _ = talk.read_request();
    });
    let gateway = with_limits(&vendor, "idle_timeout: 100ms, header_timeout: 100ms");
    assert_eq!(gateway.call(&push()).status, 200);
}

/// A caller that does not read its answer holds its connection no longer than an idle one.
#[test]
fn answers_that_nobody_reads() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        let length = 64 << 20;
        talk.write(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ));
        talk.write(vec![b' '; length]);
    });
    let gateway = with_limits(&vendor, "idle_timeout: 300ms");
    let mut deaf = gateway.connect();
    deaf.send(push().bytes());
    wait_until("it is served", || gateway.metric("jpush_gateway_connections") > 0.5);
    wait_until("it is closed", || gateway.metric("jpush_gateway_connections") < 0.5);
    wait_until("nothing is left", || gateway.metric("jpush_gateway_in_flight_requests") < 0.5);
    deaf.finish_writing();
}

#[test]
fn connections_have_a_limit() {
    let vendor = Stub::good();
    let gateway = with_limits(&vendor, "connections: 2");
    let mut open: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
    for connection in &mut open {
        assert_eq!(connection.call(&Request::get("/")).status, 200);
    }
    let mut third = gateway.connect();
    let answer = third.read_answer();
    assert_eq!((answer.status, answer.header("Connection")), (503, Some("close")));
    assert_eq!(answer.number("Retry-After"), 1);
    assert!(third.ends());
    // The other connections are still served, and a place that becomes free is used.
    assert_eq!(open[0].call(&push()).status, 200);
    open.pop();
    wait_until("the place is free", || gateway.metric("jpush_gateway_connections") < 1.5);
    assert_eq!(gateway.call(&push()).status, 200);
}

#[test]
fn requests_at_once_have_a_limit_and_no_caller_holds_more_than_half() {
    let vendor = silent();
    let gateway = with_limits(&vendor, "in_flight: 2");
    let tags = |token: &str| Request::get("/v3/tags").basic("shop", token);
    let mut first = gateway.connect();
    first.send(tags(Tokens::ORDERS).bytes());
    vendor.wait_for_requests(1);
    let answer = gateway.call(&tags(Tokens::ORDERS));
    answer.assert_refused(503, "overloaded", 1030);
    assert_eq!(answer.number("Retry-After"), 1);
    for rate in ["X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "Ratelimit", "Ratelimit-Policy"] {
        assert!(answer.header(rate).is_some(), "{rate}");
    }
    let mut second = gateway.connect();
    second.send(tags(Tokens::BOTH).bytes());
    vendor.wait_for_requests(2);
    let third = gateway.call(&Request::get("/v3/push/cid").basic("shop", Tokens::PUSHER));
    third.assert_refused(503, "overloaded", 1030);
    assert_eq!(vendor.requests().len(), 2);
    assert_eq!(gateway.used("app", "device"), 2);
    // Requests that take no place are still served.
    assert_eq!(gateway.call(&Request::get("/")).status, 200);
}

#[test]
fn bodies_in_memory_have_a_limit_and_no_caller_holds_more_than_half() {
    let vendor = silent();
    let gateway = with_limits(&vendor, "json_body: 30KiB, batch_body: 30KiB, body_memory: 40KiB");
    let push = |token: &str, length: usize| Request::post("/v3/push", &push_of(length)).basic("shop", token);
    gateway.call(&push(Tokens::ORDERS, 21 * 1024)).assert_refused(503, "overloaded", 1030);
    let mut first = gateway.connect();
    first.send(push(Tokens::ORDERS, 19 * 1024).bytes());
    vendor.wait_for_requests(1);
    assert!(gateway.metric("jpush_gateway_body_memory_bytes") >= 19.0 * 1024.0);
    gateway.call(&push(Tokens::ORDERS, 2 * 1024)).assert_refused(503, "overloaded", 1030);
    let mut second = gateway.connect();
    second.send(push(Tokens::BOTH, 19 * 1024).bytes());
    vendor.wait_for_requests(2);
    let third = gateway.call(&push(Tokens::PUSHER, 3 * 1024));
    third.assert_refused(503, "overloaded", 1030);
    assert!(third.number("Retry-After") >= 1);
    assert_eq!(vendor.requests().len(), 2);
}

#[test]
fn memory_and_places_come_back() {
    let vendor = Stub::good();
    let gateway =
        with_limits(&vendor, "in_flight: 2, json_body: 30KiB, batch_body: 30KiB, body_memory: 60KiB");
    for _ in 0..20 {
        let big = Request::post("/v3/push", &push_of(29 * 1024)).bearer(Tokens::ORDERS);
        assert_eq!(gateway.call(&big).status, 200);
    }
    wait_until("all memory is free", || gateway.metric("jpush_gateway_body_memory_bytes") < 0.5);
    wait_until("nothing is under way", || gateway.metric("jpush_gateway_in_flight_requests") < 0.5);
}

#[test]
fn a_body_is_asked_for_only_if_it_will_be_taken() {
    let vendor = Stub::good();
    let gateway = small(&vendor);
    let expecting = |request: Request, length: usize| {
        let head = request.header("Expect", "100-continue").head();
        let mut connection = gateway.connect();
        connection.send(format!("{head}Content-Length: {length}\r\n\r\n"));
        (connection.read_answer(), connection)
    };
    let post = |path: &str| Request::new("POST", path);
    let refused = [
        (post("/v3/push"), PUSH.len(), 401),
        (post("/v3/push").bearer("wrong"), PUSH.len(), 401),
        (post("/v3/nothing").bearer(Tokens::ORDERS), PUSH.len(), 404),
        (post("/v3/push/%2e%2e").bearer(Tokens::ORDERS), PUSH.len(), 400),
        (post("/v3/tags").bearer(Tokens::ORDERS), PUSH.len(), 405),
        (post("/v3/schedules").bearer(Tokens::PUSHER), PUSH.len(), 403),
        (post("/v3/push").basic("market", Tokens::ORDERS), PUSH.len(), 403),
        (post("/v3/push").bearer(Tokens::ORDERS), LIMIT + 1, 413),
    ];
    for (request, length, status) in refused {
        let (answer, _) = expecting(request, length);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert!(vendor.requests().is_empty());
    let (go_on, mut connection) = expecting(post("/v3/push").bearer(Tokens::ORDERS), PUSH.len());
    assert_eq!(go_on.status, 100);
    connection.send(PUSH);
    assert_eq!(connection.read_answer().status, 200);
    assert!(!vendor.only().names().contains(&"Expect"));
}
