//! Tests of how answers of every length and kind reach the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Config, Gateway, PUSH, Request, Stub, Talk, Tokens, wait_until};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

fn answering(talk: impl Fn(&mut Talk) + Send + Sync + 'static) -> (Gateway, Stub) {
    let vendor = Stub::start(move |connection| {
        while connection.read_request().is_some() {
            talk(connection);
        }
    });
    (Gateway::start(&Config::new(&vendor.url())), vendor)
}

/// Pseudo-random bytes, so that a misplaced piece is noticed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x};e=1\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\nX-Trailer: 1\r\n\r\n");
    bytes
}

#[test]
fn every_length_arrives_byte_for_byte() {
    for length in [0, 1, 65_535, 65_536, 65_537, 1_000_000] {
        let body = noise(length);
        for bytes in [with_length(&body), chunked(&body, 1_000), chunked(&body, 70_000)] {
            let (gateway, _vendor) = answering(move |talk| talk.write(&bytes));
            // Two calls on one connection: it is kept open, and so is the vendor's.
            let mut connection = gateway.connect();
            for _ in 0..2 {
                let answer = connection.call(&push());
                assert!(answer.status == 200 && answer.whole, "{length}");
                assert!(answer.body == body, "{length} bytes: got {}", answer.body.len());
                assert!(!answer.has("X-Trailer"));
                if length <= 65_536 {
                    assert_eq!(answer.number("Content-Length"), length as u64, "relayed once it is whole");
                }
            }
        }
    }
}

#[test]
fn an_answer_in_two_writes_and_one_that_ends_with_the_connection() {
    let (gateway, _vendor) = answering(|talk| {
        talk.write("HTTP/1.1 200 OK\r\nContent-Len");
        std::thread::sleep(std::time::Duration::from_millis(20));
        talk.write("gth: 7\r\n\r\n{\"a\"");
        std::thread::sleep(std::time::Duration::from_millis(20));
        talk.write(":1}");
    });
    assert_eq!(gateway.call(&push()).text(), r#"{"a":1}"#);
    let (gateway, _vendor) = answering(|talk| {
        talk.write("HTTP/1.1 200 OK\r\n\r\n{\"a\":1}");
        talk.close();
    });
    let answer = gateway.call(&push());
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"a":1}"#));
}

#[test]
fn a_long_answer_is_not_waited_for() {
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let (gateway, _vendor) = answering(move |talk| {
        talk.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        talk.write(vec![b'a'; 70_000]);
        wait_until("the caller has the first part", || gate.load(Ordering::SeqCst));
        talk.write(vec![b'b'; 30_000]);
    });
    let mut connection = gateway.connect();
    connection.send(push().header("X-Request-Id", "long").bytes());
    let head = connection.read_head();
    assert_eq!(head.number("Content-Length"), 100_000);
    let first = connection.read_exactly(70_000);
    assert!(first.iter().all(|byte| *byte == b'a'));
    go.store(true, Ordering::SeqCst);
    assert!(connection.read_exactly(30_000).iter().all(|byte| *byte == b'b'));
    drop(connection);
    assert_eq!(gateway.line("long")["bytes_out"], 100_000);
}

#[test]
fn a_long_answer_that_is_cut_is_seen_as_cut() {
    for head in ["Content-Length: 200000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n30d40\r\n"] {
        let (gateway, vendor) = answering(move |talk| {
            talk.write(format!("HTTP/1.1 200 OK\r\n{head}"));
            talk.write(vec![b'a'; 150_000]);
            talk.close();
        });
        let answer = gateway.call(&push());
        assert!(answer.status == 200 && !answer.whole, "{head}: {} bytes", answer.body.len());
        assert_eq!((vendor.requests().len(), gateway.used("app", "push")), (1, 1));
    }
}

/// In HTTP/1.0 the end of the connection is the end of the answer, so a cut answer must end differently.
#[test]
fn an_older_client_sees_a_long_answer_cut_by_a_reset() {
    let push = String::from_utf8(push().bytes()).expect("ASCII").replace("HTTP/1.1", "HTTP/1.0");
    for is_cut in [true, false] {
        let (gateway, _vendor) = answering(move |talk| {
            talk.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n249f0\r\n");
            talk.write(vec![b'a'; 150_000]);
            if is_cut {
                talk.close();
            } else {
                talk.write("\r\n0\r\n\r\n");
            }
        });
        let mut connection = gateway.connect();
        connection.send(&push);
        let ended = loop {
            match connection.try_read() {
                Ok(1..) => {}
                ended => break ended,
            }
        };
        let read = connection.take_unread();
        assert!(read.is_empty() || read.starts_with(b"HTTP/1.0 200 "));
        if is_cut {
            let error = ended.expect_err("no clean end");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        } else {
            assert_eq!(ended.expect("a clean end"), 0);
            assert!(read.ends_with(b"a") && read.len() > 150_000);
        }
    }
}

#[test]
fn pages_of_the_vendors_edge_become_json() {
    let html = "<html><body><h1>502 Bad Gateway</h1></body></html>";
    let rows = [
        ("502 Bad Gateway", "text/html", html, 502, 1030),
        ("503 Busy", "text/plain", html, 503, 1030),
        ("500 Oops", "application/json", "", 500, 1030),
        ("404 Not Found", "text/html; charset=utf-8", html, 404, 1003),
        ("504 Late", "text/html", "Gateway Time-out", 504, 1030),
        ("403 Forbidden", "text/html", "", 403, 1003),
    ];
    for (line, kind, body, status, code) in rows {
        let bytes = format!(
            "HTTP/1.1 {line}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (gateway, _vendor) = answering(move |talk| talk.write(&bytes));
        let answer = gateway.call(&push());
        answer.assert_refused(status, "vendor-error-page", code);
        assert!(!answer.text().contains("<h1>"));
        let flat = Request::post("/v3/push/template", r#"{"id":"t"}"#).bearer(Tokens::ORDERS);
        assert_eq!(gateway.call(&flat).json()["code"], code, "in the envelope of the operation");
    }
}

#[test]
fn a_page_that_is_no_error_passes() {
    let (gateway, _vendor) = answering(|talk| {
        talk.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>");
    });
    assert_eq!(gateway.call(&push()).text(), "<html>");
}

#[test]
fn a_credential_the_vendor_rejects_is_not_the_callers_fault() {
    let body = r#"{"error":{"code":1004,"message":"Authen failed"}}"#;
    let bytes = format!(
        "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nWWW-Authenticate: Basic\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (gateway, _vendor) = answering(move |talk| talk.write(&bytes));
    let answer = gateway.call(&push());
    answer.assert_refused(502, "vendor-rejected-credential", 1000);
    assert!(!answer.has("Www-Authenticate") && !answer.text().contains("Authen failed"));
    assert_eq!(gateway.used("app", "push"), 1, "it was a call");
    let answered =
        r#"jpush_gateway_vendor_answers_total{code="1004",operation="push",status="401",tenant="shop"}"#;
    assert!((gateway.metric(answered) - 1.0).abs() < 0.1);
    wait_until("the line in the log", || gateway.program.err().contains("ERROR"));
    // The file API reports a bad credential with 400 and 1101.
    let body = r#"{"error":{"code":1101,"message":"auth failed"}}"#;
    let bytes = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (gateway, _vendor) = answering(move |talk| talk.write(&bytes));
    let files = gateway.call(&Request::get("/v3/files").bearer(Tokens::ORDERS));
    files.assert_refused(502, "vendor-rejected-credential", 1000);
    assert_eq!(gateway.call(&push()).status, 400, "the code means this in the file API only");
    // The quota API answers an unknown key with 400 and a flat 1004.
    let body = r#"{"code":1004,"message":"app_key does not exist"}"#;
    let bytes = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (gateway, _vendor) = answering(move |talk| talk.write(&bytes));
    let flat = [
        ("GET", "/v3/push/quota", ""),
        ("POST", "/v3/push/template", r#"{"id":"t"}"#),
        ("POST", "/v3/push_plan/create", r#"{"name":"p"}"#),
        ("GET", "/v3/push_plan/list", ""),
    ];
    for (method, path, body) in flat {
        let answer = gateway.call(&Request::new(method, path).body(body).bearer(Tokens::ORDERS));
        assert_eq!((answer.status, answer.reason()), (502, Some("vendor-rejected-credential")), "{path}");
        assert!(!answer.text().contains("app_key"), "{}", answer.text());
    }
    wait_until("the line in the log", || gateway.program.err().contains("ERROR"));
    assert_eq!(gateway.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS)).status, 400, "in no other API");
}

#[test]
fn redirects_are_relayed_and_interim_answers_are_not_the_answer() {
    let (gateway, vendor) = answering(|talk| {
        talk.write("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/elsewhere\r\nContent-Length: 2\r\n\r\n{}");
    });
    let answer = gateway.call(&push());
    assert_eq!((answer.status, answer.header("Location")), (307, Some("http://127.0.0.1:1/elsewhere")));
    assert_eq!(vendor.requests().len(), 1);
    let (gateway, _vendor) = answering(|talk| {
        talk.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
        talk.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    });
    let answer = gateway.call(&push());
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    let (gateway, _vendor) = answering(|talk| talk.write("HTTP/1.1 204 No Content\r\n\r\n"));
    let mut connection = gateway.connect();
    for _ in 0..2 {
        assert_eq!(connection.call(&push()).status, 204);
    }
}

#[test]
fn huge_heads_of_the_vendor() {
    let (gateway, _vendor) = answering(|talk| {
        let value = "v".repeat(40_000);
        talk.write(format!("HTTP/1.1 200 OK\r\nX-Long: {value}\r\nContent-Length: 2\r\n\r\n{{}}"));
    });
    let answer = gateway.call(&push());
    assert_eq!((answer.status, answer.header("X-Long").map(str::len)), (200, Some(40_000)));
    let (gateway, vendor) = answering(|talk| {
        let value = "v".repeat(200_000);
        talk.write(format!("HTTP/1.1 200 OK\r\nX-Long: {value}\r\nContent-Length: 2\r\n\r\n{{}}"));
    });
    gateway.call(&push()).assert_refused(502, "vendor-interrupted", 1030);
    assert_eq!((vendor.requests().len(), gateway.used("app", "push")), (1, 1));
}
