//! Tests with random bytes on a connection: no panic, no call that no token in the bytes allows, and an answer for each
//! call.
//!
//! The fuzz target `request_path` does the same for longer.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::wire::{CALLERS, World, judge};
use crate::support::{PUSH, Request, basic};

const TARGETS: [&str; 26] = [
    "/v3/push",
    "/v3//push/validate/",
    "/v3/push/18100287008546343",
    "/v3/push/cid?count=1",
    "/v3/schedules/x",
    "/v3/grouppush",
    "/v3/files",
    "/v3/files/alias",
    "/v3/tags",
    "/v3/tags/%E4%BD%A0",
    "/v3/devices/status",
    "/v3/images/byurls",
    "/v4/image/oppo",
    "/v3/push/../tags",
    "/v3/%2e%2e/push",
    "http://gateway/v3/tags",
    "*",
    "/",
    "/v3/tags/vip#2",
    "/v3/push#/validate",
    "/v3/push?x#/validate",
    "/v3/tags/安",
    "/v3/tags/%0d%0aX",
    "/v3/tags/..;",
    "http://gateway?x",
    "/v3/tags?q=安",
];

/// Calls that succeed if their caller has the right.
const CALLS: [(&str, &str, &str); 8] = [
    ("POST", "/v3/push", PUSH),
    ("POST", "/v3/grouppush", PUSH),
    ("DELETE", "/v3/push/18100287008546343", ""),
    ("GET", "/v3/push/cid?count=1&type=push", "null"),
    ("GET", "/v3/files", ""),
    ("POST", "/v3/devices/status/", "{}"),
    ("GET", "/v3//tags", ""),
    ("POST", "/v4/image/oppo", r#"{"big_picture_url":"http://x.example/y.png"}"#),
];

const HEADERS: [&str; 20] = [
    "Host: other",
    "Content-Length: 5",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Connection: close",
    "Connection: Authorization, Content-Length",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "X-JPush-Tenant: market",
    "X-JPush-Credential: dev",
    "X-Request-Id: a\tb",
    "X-Encrypt-Type: SM2",
    "Content-Type: multipart/form-data; boundary=x",
    "Authorization: Bearer nobody",
    "Proxy-Authorization: Basic eDp5",
    "Cookie: a=b",
    "Prefer: wait=3",
    "TE: trailers",
    "X-Forwarded-For: 127.0.0.1",
];

/// Strategy for one request: line, headers, body and its framing.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(&["GET", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get"][..]);
    let target = prop::sample::select(&TARGETS[..]);
    let body = prop::sample::select(&[PUSH, "{}", "", "null"][..]);
    let call = prop_oneof![3 => prop::sample::select(&CALLS[..]), 1 => (method, target, body)];
    let headers = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(prop::sample::select(&HEADERS[..]), 1..3),
    ];
    let user = prop::sample::select(&["shop", "market", "7d431e42dfa6a6d693ac2d04", "group-shop", ""][..]);
    (call, headers, user, 0..=CALLERS.len(), 0..4_u8).prop_map(
        |((method, target, body), headers, user, caller, framing)| {
            let mut request = Request::new(method, target);
            if let Some(caller) = CALLERS.get(caller) {
                let bearer = format!("Bearer {}", caller.token);
                let value = if user.is_empty() { bearer } else { basic(user, caller.token) };
                request = request.header("Authorization", &value);
            }
            for header in headers {
                let (name, value) = header.split_once(": ").expect("a header");
                request = request.header(name, value);
            }
            match framing {
                0 => request.bytes(),
                1 => {
                    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                    let chunks = if body.is_empty() { "0\r\n\r\n".to_owned() } else { chunks };
                    [request.header("Transfer-Encoding", "chunked").bytes(), chunks.into_bytes()].concat()
                }
                _ => request.body(body).bytes(),
            }
        },
    )
}

/// Strategy for an edit: a few bytes replaced by others.
fn edit() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(
            &[
                "\r\n",
                "\n",
                "\r",
                "\0",
                ": ",
                " ",
                "\t",
                "\r\n\r\n",
                "0\r\n\r\n",
                "%2f",
                ",",
                "#",
                "?",
                "安",
                "%7f",
                ";",
                "1.0",
                "@"
            ][..]
        )
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (any::<prop::sample::Index>(), 0..3_usize, piece)
}

/// Runs random cases against one gateway, so that they share its state. Returns the number of calls made.
fn run<S: Strategy>(strategy: &S, pieces: impl Fn(S::Value) -> (Vec<u8>, usize)) -> usize {
    let (world, calls) = (World::start(), Cell::new(0));
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(strategy, |case| {
        let (input, piece) = pieces(case);
        let exchange = world.exchange(&input, piece);
        judge(&input, &exchange);
        calls.set(calls.get() + exchange.sent.len());
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    calls.get()
}

#[test]
fn bytes_without_a_meaning_call_nobody() {
    let bytes = prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n :/GETPOST1.0"[..])];
    assert_eq!(run(&prop::collection::vec(bytes, 1..300), |input| (input, 100)), 0);
}

#[test]
fn requests_as_they_come_and_with_edits() {
    let strategy =
        (prop::collection::vec(request(), 1..4), prop::collection::vec(edit(), 0..3), 1..400_usize);
    let calls = run(&strategy, |(requests, edits, piece)| {
        let mut input = requests.concat();
        for (at, removed, added) in edits {
            let at = at.index(input.len());
            let end = (at + removed).min(input.len());
            input.splice(at..end, added);
        }
        (input, piece)
    });
    assert!(calls > 150, "only {calls} calls: the cases are too far from requests");
}
