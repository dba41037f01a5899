//! Tests of the logs: their content, and that they never delay a request, even if their reader is slow, stuck or gone.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{
    Authority, ClosedPort, Config, Folder, Gateway, PUSH, Request, Stub, Talk, Tokens, json_answer,
    start_failing, tls_vendor, wait_until,
};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// The state of a log's reader.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reader {
    /// A device without free space.
    Full,
    /// A pipe whose other end is closed.
    Gone,
    /// A full pipe that nobody reads.
    Stuck,
    /// A full pipe whose writes fail instead of blocking.
    StuckWithoutBlocking,
}

impl Reader {
    /// The output for the program, and the end that must stay open until the program ends.
    fn open(self) -> (Stdio, Option<UnixStream>) {
        if self == Self::Full {
            let full = OpenOptions::new().write(true).open("/dev/full").expect("the device");
            return (full.into(), None);
        }
        let (mut write, read) = UnixStream::pair().expect("a pair of sockets");
        if self == Self::Gone {
            return (OwnedFd::from(write).into(), None);
        }
        write.set_nonblocking(true).expect("a socket takes that");
        let full = loop {
            if let Err(error) = write.write(&[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        write.set_nonblocking(self == Self::StuckWithoutBlocking).expect("a socket takes that");
        (OwnedFd::from(write).into(), Some(read))
    }
}

#[test]
fn whoever_reads_the_logs_keeps_no_push_from_its_answer_and_no_signal_from_its_effect() {
    let vendor = Stub::good();
    for reader in [Reader::Full, Reader::Gone, Reader::Stuck, Reader::StuckWithoutBlocking] {
        let before = vendor.requests().len();
        let mut config = Config::new(&vendor.url());
        config.budgets = "push: { limit: 100000, window: 60s }".into();
        config.drain = "{ deadline: 1s }";
        config.more = "audit: stderr".into();
        // Every call writes lines to both logs.
        config.log = "debug";
        let ((out, _read_out), (err, _read_err)) = (reader.open(), reader.open());
        let mut gateway = Gateway::start_into(config, out, err);
        let mut connection = gateway.connect();
        for number in 0..300 {
            let answer = connection.call(&push());
            assert_eq!(answer.status, 200, "{reader:?}: push {number}");
        }
        assert_eq!(vendor.requests().len(), before + 300, "{reader:?}");
        gateway.program.signal("HUP");
        wait_until("the reload", || {
            gateway.metric(r#"jpush_gateway_config_reloads_total{result="success"}"#) >= 2.0
        });
        if matches!(reader, Reader::Full | Reader::Gone) {
            wait_until("the count of lost lines", || gateway.metric("jpush_gateway_log_lost_total") >= 300.0);
        }
        assert_eq!(connection.call(&push()).status, 200, "{reader:?}");
        gateway.program.signal("TERM");
        assert_eq!(gateway.program.wait().code(), Some(0), "{reader:?}");
    }
}

/// The first signal starts a drain, which has 35 s for logs that nobody reads.
#[test]
fn a_second_signal_waits_for_no_log() {
    let vendor = Stub::good();
    let ((out, _read_out), (err, _read_err)) = (Reader::Stuck.open(), Reader::Stuck.open());
    let mut gateway = Gateway::start_into(Config::new(&vendor.url()), out, err);
    assert_eq!(gateway.call(&push()).status, 200);
    gateway.program.signal("TERM");
    let address = gateway.address();
    wait_until("the end of listening", || std::net::TcpStream::connect(address).is_err());
    assert!(gateway.program.runs());
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
}

#[test]
fn the_log_of_the_process_can_be_json_and_a_reload_changes_its_level() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.more = "log: json".into();
    let gateway = Gateway::start(&config);
    let with_level = |level: &str| {
        let log = format!("log: {{ format: json, level: {level} }}");
        gateway.write_config(&config.yaml().replace("log: json", &log));
        gateway.reload()
    };
    assert_eq!(gateway.call(&push()).status, 200);
    assert_eq!(with_level("debug").status, 200);
    assert_eq!(gateway.call(&push().header("X-Request-Id", "told")).status, 200);
    let line = gateway.log_line(&["\"request_id\":\"told\""]);
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let host = vendor.address.to_string();
    for (key, value) in [
        ("level", json!("DEBUG")),
        ("message", json!("the vendor answered")),
        ("host", json!(host)),
        ("address", json!(host)),
        ("tenant", json!("shop")),
        ("credential", json!("app")),
        ("operation", json!("push")),
        ("attempt", json!(1)),
        ("status", json!(200)),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(gateway.logged(&["the vendor answered"]).len(), 1, "only while the level was debug");
    // Lines below the level are not written, starting with the line of the reload that set it.
    gateway.log_line(&["the configuration was reloaded"]);
    assert_eq!(with_level("error").status, 200);
    assert_eq!(with_level("loud").status, 422);
    gateway.log_line(&["\"ERROR\"", "log.level: expected one of: error, warn, info, debug, trace"]);
    assert_eq!(gateway.logged(&["the configuration was reloaded"]).len(), 1);
    for line in gateway.program.err().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
    // The format changes only at the next start.
    gateway.write_config(&config.yaml().replace("log: json", "log: text"));
    assert_eq!(gateway.reload().json()["needs_restart"], json!(["log.format"]));
}

#[test]
fn a_start_that_fails_is_told_in_the_form_of_the_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = Config::new("http://127.0.0.1:9");
    config.listeners = format!("{{ address: \"{}\" }}", taken.local_addr().expect("an address"));
    config.more = "log: json".into();
    let (code, said) = start_failing(&Folder::new(), &config);
    let last: Value = serde_json::from_str(said.lines().last().expect("a line")).expect("JSON");
    assert_eq!((code, &last["message"]), (1, &json!("the gateway could not run")), "{said}");
    let error = last["error"].as_str().expect("a text");
    assert!(error.contains("cannot listen on") && error.contains("in use"), "{said}");
}

/// Makes one call to an unreachable vendor and returns its log line.
fn told(folder: Folder, config: &Config) -> String {
    let gateway = Gateway::start_in(folder, config);
    let request = Request::get("/v3/tags").bearer(Tokens::ORDERS).header("X-Request-Id", "lost");
    gateway.call(&request).assert_refused(502, "vendor-unreachable", 1030);
    let line = gateway.log_line(&["WARN", "a call failed at the vendor"]);
    for field in ["tenant=\"shop\"", "credential=\"app\"", "operation=\"tag-list\"", "request_id=\"lost\""] {
        assert!(line.contains(field), "{field} in {line}");
    }
    assert_eq!(gateway.logged(&["a call failed"]).len(), 1, "{}", gateway.program.err());
    line
}

#[test]
fn a_handshake_that_failed_says_why() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let rows = [
        // Another authority with the same name.
        (stranger.sign(&["localhost"]), "BadSignature"),
        (authority.sign(&["other.example"]), "not valid for name"),
        (authority.sign_expired("localhost"), "certificate expired"),
    ];
    for ((certificate, key), why) in rows {
        let address = tls_vendor(&certificate, &key);
        let folder = Folder::new();
        folder.write("vendor-ca.pem", authority.pem());
        let mut config = Config::new(&format!("https://localhost:{}", address.port()));
        config.vendor = "ca: vendor-ca.pem".into();
        let line = told(folder, &config);
        assert!(
            line.contains("the TLS handshake failed: invalid peer certificate") && line.contains(why),
            "{line}"
        );
        let host = format!("host=\"localhost:{}\" address={address}", address.port());
        assert!(line.contains(&host) && line.contains("kind=\"tls\""), "{line}");
    }
}

#[test]
fn a_connection_that_was_refused_says_what_the_system_said() {
    let port = ClosedPort::new();
    let line = told(Folder::new(), &Config::new(&format!("http://{}", port.address)));
    assert!(line.contains("Connection refused") && line.contains(&port.address.to_string()), "{line}");
    let line = told(Folder::new(), &Config::new("https://no-such-host.invalid"));
    assert!(line.contains("the host name does not resolve: "), "{line}");
    let proxy = Stub::answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    let mut config = Config::new("https://vendor.example");
    config.vendor = format!("proxy: \"{}\"", proxy.url());
    let line = told(Folder::new(), &config);
    assert!(line.contains("the proxy refused the tunnel with status 407"), "{line}");
}

#[test]
fn time_outs_and_cut_answers_leave_a_line() {
    type Way = (&'static str, u16, &'static str, fn(&mut Talk));
    let rows: [Way; 5] = [
        ("vendor-timeout", 504, "the vendor did not answer in time", |_| {}),
        ("vendor-timeout", 504, "the vendor's answer did not end in time", |talk| {
            talk.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{");
        }),
        ("vendor-interrupted", 502, "Connection reset", |talk| talk.reset_now()),
        ("vendor-interrupted", 502, "the vendor closed the connection", |talk| {
            talk.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{");
            talk.close();
        }),
        ("vendor-interrupted", 502, "cannot be read as HTTP/1.1", |talk| {
            talk.write("SSH-2.0-OpenSSH\r\n\r\n");
        }),
    ];
    for (reason, status, why, end) in rows {
        let vendor = Stub::start(move |talk| {
            let _ = talk.read_request();
            end(talk);
            talk.wait_for_end();
        });
        let mut config = Config::new(&vendor.url());
        config.vendor = "response_timeout: 500ms".into();
        let gateway = Gateway::start(&config);
        gateway.call(&push().header("X-Request-Id", "lost")).assert_refused(status, reason, 1030);
        let line = gateway.log_line(&["WARN", "a call failed at the vendor", why]);
        let address = format!("host=\"{0}\" address={0}", vendor.address);
        assert!(line.contains(&address) && line.contains("request_id=\"lost\""), "{line}");
    }
}

#[test]
fn a_long_answer_that_is_cut_leaves_a_line() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        talk.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(100_000)));
        talk.close();
    });
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    assert!(!gateway.call(&push().header("X-Request-Id", "lost")).whole);
    let line =
        gateway.log_line(&["WARN", "the vendor's answer was cut off: the vendor closed the connection"]);
    assert!(line.contains("request_id=\"lost\"") && line.contains("kind=\"interrupted\""), "{line}");
    assert!(
        gateway.metric(r#"jpush_gateway_vendor_failures_total{kind="interrupted",operation="push"}"#) > 0.5
    );
}

#[test]
fn a_call_that_is_given_up_at_the_end_of_a_drain_leaves_a_line() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        talk.wait_for_end();
    });
    let mut config = Config::new(&vendor.url());
    config.drain = "{ deadline: 500ms }";
    let mut gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    connection.send(push().bytes());
    vendor.wait_for_requests(1);
    gateway.program.signal("TERM");
    assert_eq!(connection.read_answer().status, 504);
    assert_eq!(gateway.program.wait().code(), Some(0));
    gateway.log_line(&["WARN", "a call failed at the vendor", "the drain's deadline"]);
}

#[test]
fn many_failures_of_a_kind_are_a_line_a_second_and_a_count() {
    let vendor = Stub::start(|talk| {
        let _ = talk.read_request();
        talk.close();
    });
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let start = std::time::Instant::now();
    for _ in 0..50 {
        gateway.call(&push()).assert_refused(502, "vendor-interrupted", 1030);
    }
    let seconds = usize::try_from(start.elapsed().as_secs()).expect("few") + 1;
    // The remaining failures are logged although no other failure follows.
    gateway.log_line(&["there were more failures of this kind"]);
    let lines = gateway.logged(&["fail", "suppressed="]);
    let suppressed = |line: &String| -> usize {
        let (_, rest) = line.split_once("suppressed=").expect("a count");
        rest.split(' ').next().expect("a word").parse().expect("a number")
    };
    let told = gateway.logged(&["a call failed at the vendor"]).len();
    assert!(told <= seconds, "{told} lines in {seconds} s");
    assert_eq!(told + lines.iter().map(suppressed).sum::<usize>(), 50, "{lines:?}");
}

#[test]
fn a_rejected_credential_is_named() {
    let vendor =
        Stub::answering(json_answer("401 Unauthorized", r#"{"error":{"code":1004,"message":"no"}}"#));
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let group = Request::post("/v3/grouppush", PUSH).bearer(Tokens::ORDERS).header("X-Request-Id", "theirs");
    for request in [push().header("X-Request-Id", "ours"), group] {
        gateway.call(&request).assert_refused(502, "vendor-rejected-credential", 1000);
    }
    for (credential, request_id) in [("app", "ours"), ("group", "theirs")] {
        let line = gateway.log_line(&[
            "ERROR",
            "the vendor rejected a credential of ours",
            &format!("credential=\"{credential}\""),
        ]);
        assert!(line.contains("tenant=\"shop\"") && line.contains(request_id), "{line}");
    }
}

#[test]
fn the_access_line_answers_who_and_why() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let mut connection = gateway.connect();
    let peer = connection.local_address().to_string();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = push()
        .header("X-Request-Id", "good")
        .header("Traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    assert_eq!(connection.call(&request).status, 200);
    let refused = Request::post("/v3/push", r#"{"platform":"all"}"#).bearer(Tokens::ORDERS);
    assert_eq!(connection.call(&refused.header("X-Request-Id", "refused")).status, 400);
    let stranger = Request::post("/v3/push", PUSH).bearer("nobody").header("Traceparent", "00-nothing");
    assert_eq!(connection.call(&stranger.header("X-Request-Id", "stranger")).status, 401);
    let host = vendor.address.to_string();
    let check = |request_id: &str, expected: Value| {
        let line = gateway.line(request_id);
        for (key, value) in expected.as_object().expect("an object") {
            assert_eq!(&line[key], value, "{key} in {line}");
        }
    };
    check(
        "good",
        json!({ "peer": peer, "token": "2026-11", "rule": null, "attempts": 1, "host": host, "trace_id": trace }),
    );
    check(
        "refused",
        json!({ "peer": peer, "token": "2026-11", "rule": "audience_missing", "attempts": 0, "trace_id": null }),
    );
    check(
        "stranger",
        json!({ "peer": peer, "token": null, "rule": null, "attempts": 0, "host": null, "trace_id": null }),
    );
}

#[test]
fn attempts_are_counted_in_the_access_line() {
    let port = ClosedPort::new();
    let gateway = Gateway::start(&Config::new(&format!("http://{}", port.address)));
    gateway.call(&push().header("X-Request-Id", "twice")).assert_refused(502, "vendor-unreachable", 1030);
    let line = gateway.line("twice");
    assert_eq!((&line["attempts"], &line["host"]), (&json!(2), &json!(port.address.to_string())));
}

#[test]
fn a_proxy_before_the_gateway_tells_who_calls() {
    let authority = Authority::new();
    let folder = Folder::new();
    let (certificate, key) = authority.sign(&["localhost"]);
    folder.write("a.crt", certificate);
    folder.write("a.key", key);
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.listeners = "{ address: \"127.0.0.1:0\", proxy_protocol: true }, { address: \"127.0.0.1:0\", \
        proxy_protocol: true, tls: { certificates: [ { certificate: a.crt, private_key: a.key } ] } }, \
        { address: \"127.0.0.1:0\" }"
        .into();
    let gateway = Gateway::start_in(folder, &config);
    let open = |listener: usize| crate::support::Connection::open(gateway.listeners[listener]);
    let line = b"PROXY TCP6 2001:db8::7 ::1 50123 8080\r\n".to_vec();
    let binary =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[203, 0, 113, 7, 10, 0, 0, 1, 0xdb, 0x04, 0x1f, 0x90]]
            .concat();
    for (id, header, peer) in [("v1", line, "[2001:db8::7]:50123"), ("v2", binary, "203.0.113.7:56068")] {
        let mut connection = open(0);
        connection.send(&header);
        assert_eq!(connection.call(&push().header("X-Request-Id", id)).status, 200);
        // The header is sent once, at the start of the connection.
        assert_eq!(connection.call(&push().header("X-Request-Id", &format!("{id}-again"))).status, 200);
        assert_eq!(gateway.line(id)["peer"], peer);
        assert_eq!(gateway.line(&format!("{id}-again"))["peer"], peer);
        let mut stream = std::net::TcpStream::connect(gateway.listeners[1]).expect("the gateway accepts");
        stream.write_all(&header).expect("the gateway reads");
        let mut tls =
            crate::support::tls_over(&authority.client(&[]), stream, "localhost").expect("a handshake");
        assert_eq!(tls.connection.call(&push().header("X-Request-Id", &format!("{id}-tls"))).status, 200);
        assert_eq!(gateway.line(&format!("{id}-tls"))["peer"], peer);
    }
    // The proxy's own checks, which stand for no client.
    let mut connection = open(0);
    let own = connection.local_address().to_string();
    connection.send("PROXY UNKNOWN\r\n");
    assert_eq!(connection.call(&push().header("X-Request-Id", "own")).status, 200);
    assert_eq!(gateway.line("own")["peer"], own);
    // Without the header the connection is closed, and so it is with a header that is not expected.
    let mut connection = open(0);
    connection.send(push().bytes());
    // Either an end or a reset, because some bytes were not read.
    let _ = connection.rest();
    assert!(connection.take_unread().is_empty());
    wait_until("the count", || {
        gateway.metric(r#"jpush_gateway_bad_requests_total{kind="proxy-header"}"#) > 0.5
    });
    let mut connection = open(2);
    connection.send("PROXY TCP4 203.0.113.7 10.0.0.1 56068 8080\r\n");
    assert_eq!(connection.read_answer().status, 400);
    assert_eq!(vendor.requests().len(), 7);
}

#[test]
fn bytes_that_are_no_request_are_counted_by_kind() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.limits = "header_timeout: 500ms".into();
    let gateway = Gateway::start(&config);
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    let rows: [(&str, &[u8]); 5] = [
        ("malformed", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("too-large", long.as_bytes()),
        ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("late", b"GET / HTTP/1.1\r\nHost: x"),
    ];
    for (kind, bytes) in rows {
        let mut connection = gateway.connect();
        connection.send(bytes);
        let _ = connection.rest();
        let series = format!("jpush_gateway_bad_requests_total{{kind=\"{kind}\"}}");
        wait_until(kind, || (gateway.metric(&series) - 1.0).abs() < 0.1);
    }
    let mut connection = gateway.connect();
    connection.send("GET / HTTP/1.1\r\nHost: x");
    connection.finish_writing();
    let _ = connection.rest();
    wait_until("cut", || gateway.metric(r#"jpush_gateway_bad_requests_total{kind="cut"}"#) > 0.5);
    // A connection without any bytes counts as no bad request.
    drop(gateway.connect());
    assert_eq!(gateway.connect().call(&Request::get("/")).status, 200);
    assert!(gateway.lines().iter().all(|line| line["status"] == 200), "no request, no access line");
}

#[test]
fn the_process_tells_about_itself() {
    let gateway = Gateway::start(&Config::new("http://127.0.0.1:9"));
    let metric = |name: &str| gateway.metric(name);
    for name in
        ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_start_time_seconds"]
    {
        assert!(metric(name) > 0.0, "{name}");
    }
    assert!(gateway.page("/metrics").text().contains("\nprocess_cpu_seconds_total "));
    assert!(gateway.page("/metrics").text().contains("\njpush_gateway_log_lost_total 0\n"));
}
