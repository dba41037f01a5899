//! Tests of requests that two programs could read differently: they are refused, the connection is closed, and nothing
//! is sent on.

use crate::support::{Config, Gateway, PUSH, Request, Stub, Tokens, basic};

/// Sends bytes that must be refused with `Connection: close`, and checks that nothing reached the vendor.
#[track_caller]
fn refused(gateway: &Gateway, vendor: &Stub, what: &str, bytes: &[u8]) {
    let (answer, mut connection) = gateway.exchange(bytes);
    assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    answer.assert_refused(400, "bad-request", 1003);
    assert_eq!(answer.header("Connection"), Some("close"), "{what}");
    assert!(connection.ends(), "{what}: nothing more is answered");
    assert!(vendor.requests().is_empty(), "{what}");
}

fn start() -> (Gateway, Stub) {
    let vendor = Stub::good();
    (Gateway::start(&Config::new(&vendor.url())), vendor)
}

/// A second request, which must not get through.
fn smuggled() -> String {
    String::from_utf8(Request::get("/v3/tags").bearer(Tokens::ORDERS).bytes()).expect("ASCII")
}

/// A request head with a credential and these lines.
fn head(line: &str, more: &str) -> String {
    format!("{line}\r\nHost: gateway\r\nAuthorization: {}\r\n{more}", basic("shop", Tokens::ORDERS))
}

#[test]
fn hosts_authorities_and_authorizations() {
    let (gateway, vendor) = start();
    let auth = format!("Authorization: {}\r\n", basic("shop", Tokens::ORDERS));
    let rows = [
        ("no Host", format!("GET /v3/tags HTTP/1.1\r\n{auth}\r\n")),
        ("two Hosts", head("GET /v3/tags HTTP/1.1", "Host: gateway\r\n\r\n")),
        ("two other Hosts", head("GET /v3/tags HTTP/1.1", "Host: elsewhere\r\n\r\n")),
        ("two Authorizations", head("GET /v3/tags HTTP/1.1", &format!("{auth}\r\n"))),
        ("another authority", head("GET http://elsewhere/v3/tags HTTP/1.1", "\r\n")),
        ("another port", head("GET http://gateway:81/v3/tags HTTP/1.1", "\r\n")),
        ("CONNECT", head("CONNECT gateway:443 HTTP/1.1", "\r\n")),
        ("OPTIONS *", head("OPTIONS * HTTP/1.1", "\r\n")),
    ];
    for (what, bytes) in rows {
        refused(&gateway, &vendor, what, format!("{bytes}{}", smuggled()).as_bytes());
    }
}

/// The grammar is `uri-host [ ":" port ]` (RFC 9112, 3.2); values that two programs could take for different hosts are
/// refused, too.
#[test]
fn values_that_are_no_host() {
    let (gateway, vendor) = start();
    let auth = format!("Authorization: {}\r\n", basic("shop", Tokens::ORDERS));
    let with =
        |host: &[u8]| [b"GET /v3/tags HTTP/1.1\r\nHost: ", host, b"\r\n", auth.as_bytes(), b"\r\n"].concat();
    let bad: [&[u8]; 16] = [
        b"a b",
        b"a@b",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"[]",
        b"[::1]:x",
        b"a:b",
        b"a:1:2",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a,b c",
        b"%zz",
        b"\xe5\xae\x89",
        b"\xff",
    ];
    for host in bad {
        refused(
            &gateway,
            &vendor,
            &String::from_utf8_lossy(host),
            &[&with(host)[..], smuggled().as_bytes()].concat(),
        );
    }
    let good = [
        "gateway",
        "GATEWAY:8080",
        "my_gateway.internal.",
        "127.0.0.1:1",
        "[::1]",
        "[FE80::1]:443",
        "a:",
        "",
        "%41",
    ];
    for host in good {
        assert_eq!(gateway.exchange(with(host.as_bytes())).0.status, 200, "{host:?}");
    }
}

#[test]
fn lengths_and_codings() {
    let (gateway, vendor) = start();
    let post = "POST /v3/push HTTP/1.1";
    let rows = [
        ("a coding before chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        (
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ),
        ("chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    ];
    for (what, rest) in rows {
        refused(&gateway, &vendor, what, format!("{}{}", head(post, rest), smuggled()).as_bytes());
    }
}

/// Requests that need no credentials are checked as strictly: otherwise their body would be read as the next request.
#[test]
fn probes_that_two_programs_read_differently() {
    let (gateway, vendor) = start();
    let length = smuggled().len();
    let rows = [
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("another authority", "GET http://elsewhere/ HTTP/1.1\r\nHost: gateway\r\n\r\n".to_owned()),
        (
            "both lengths",
            head(
                "GET / HTTP/1.1",
                &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ),
        ),
        ("two lengths", head("GET / HTTP/1.1", &format!("Content-Length: {length}\r\n").repeat(2)) + "\r\n"),
        ("a list of lengths", head("GET / HTTP/1.1", &format!("Content-Length: {length}, {length}\r\n\r\n"))),
        ("a signed length", head("GET / HTTP/1.1", &format!("Content-Length: +{length}\r\n\r\n"))),
        ("another coding", head("GET / HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n\r\n")),
    ];
    for (what, bytes) in rows {
        refused(&gateway, &vendor, what, format!("{bytes}{}", smuggled()).as_bytes());
    }
}

/// Where the parser sees only one of the two headers, the body is framed anew. Refusing is fine as well.
#[test]
fn a_length_beside_chunks_never_travels() {
    let (gateway, vendor) = start();
    let chunked = format!("{:x}\r\n{PUSH}\r\n0\r\n\r\n", PUSH.len());
    let rows = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        "Transfer-Encoding: Chunked\r\nContent-Length: 4\r\n\r\n",
    ];
    for rest in rows {
        let bytes = format!("{}{chunked}{}", head("POST /v3/push HTTP/1.1", rest), smuggled());
        let before = vendor.requests().len();
        let (answer, mut connection) = gateway.exchange(bytes);
        if answer.status == 400 {
            assert_eq!(answer.header("Connection"), Some("close"));
            assert!(connection.ends());
            assert_eq!(vendor.requests().len(), before);
        } else {
            let sent = vendor.requests().into_iter().nth(before).expect("a call");
            assert_eq!(sent.body, PUSH.as_bytes(), "read as chunked, framed anew");
            assert_eq!(sent.header("Content-Length"), Some(&*PUSH.len().to_string()));
            assert_eq!(sent.header("Transfer-Encoding"), None);
        }
    }
}

/// Bytes that the parser refuses get a bare 4xx and a close.
#[test]
fn bytes_that_are_no_request() {
    let (gateway, vendor) = start();
    let post = |rest: &str| head("POST /v3/push HTTP/1.1", rest);
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    let rows = [
        ("identity after chunked", post(&format!("Transfer-Encoding: chunked, identity\r\n\r\n{chunks}"))),
        ("only gzip", post(&format!("Transfer-Encoding: gzip\r\n\r\n{chunks}"))),
        (
            "chunked in HTTP/1.0",
            head("POST /v3/push HTTP/1.0", &format!("Transfer-Encoding: chunked\r\n\r\n{chunks}")),
        ),
        ("a list of lengths", post("Content-Length: 2, 2\r\n\r\n{}")),
        ("two other lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}")),
        ("a signed length", post("Content-Length: +2\r\n\r\n{}")),
        ("a negative length", post("Content-Length: -2\r\n\r\n{}")),
        ("a hexadecimal length", post("Content-Length: 0x2\r\n\r\n{}")),
        ("an empty length", post("Content-Length: \r\n\r\n{}")),
        ("a huge length", post("Content-Length: 99999999999999999999999\r\n\r\n{}")),
        ("a space before the colon", post("X-A : 1\r\n\r\n")),
        ("a folded line", post("X-A: 1\r\n 2\r\n\r\n")),
        ("a line without a name", post(": 1\r\n\r\n")),
        ("a NUL in a value", post("X-A: \0\r\n\r\n")),
        ("no version", format!("GET /v3/tags\r\n\r\n{}", "")),
        ("another protocol", "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03 hello\r\n\r\n".to_owned()),
    ];
    for (what, bytes) in rows {
        let mut connection = gateway.connect();
        connection.send(format!("{bytes}{}", smuggled()));
        let answer = connection.try_read_head();
        let answer = answer.unwrap_or_else(|error| panic!("{what}: an answer, not {error}"));
        assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
        assert_eq!(answer.header("Connection"), Some("close"), "{what}");
        connection.rest().expect("the gateway closes");
        let rest = String::from_utf8_lossy(&connection.take_unread()).into_owned();
        assert!(!rest.contains("HTTP/1.1"), "{what}: only one answer: {rest}");
        assert!(vendor.requests().is_empty(), "{what}");
    }
}

#[test]
fn the_preface_of_http2_is_refused_on_plain_listeners() {
    let (gateway, vendor) = start();
    let preface = format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{}", smuggled());
    let (answer, mut connection) = gateway.exchange(&preface);
    assert_eq!((answer.status, answer.header("Connection"), answer.body.len()), (400, Some("close"), 0));
    connection.finish_writing();
    assert!(connection.ends(), "nothing more is answered");
    // The same on a connection that was used before.
    let mut kept = gateway.connect();
    assert_eq!(kept.call(&Request::get("/")).status, 200);
    kept.send(&preface);
    assert_eq!(kept.read_answer().status, 400);
    assert!(kept.ends());
    assert!(vendor.requests().is_empty());
}

/// A length that is repeated with one value is unambiguous; it is sent on once.
#[test]
fn a_length_said_twice_is_sent_once() {
    let (gateway, vendor) = start();
    let length = format!("Content-Length: {}\r\n", PUSH.len());
    let bytes = head("POST /v3/push HTTP/1.1", &format!("{length}{length}\r\n{PUSH}"));
    let (answer, _) = gateway.exchange(bytes);
    if answer.status == 200 {
        let sent = vendor.only();
        assert_eq!(sent.body, PUSH.as_bytes());
        assert_eq!(sent.names().iter().filter(|name| **name == "Content-Length").count(), 1);
    } else {
        assert_eq!((answer.status, answer.header("Connection")), (400, Some("close")));
        assert!(vendor.requests().is_empty());
    }
}

#[test]
fn broken_chunks_are_no_body() {
    let (gateway, vendor) = start();
    let rows = [
        "zz\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "ffffffffffffffffff\r\n{}\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
    ];
    for chunks in rows {
        let bytes = head("POST /v3/push HTTP/1.1", &format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"));
        let mut connection = gateway.connect();
        connection.send(format!("{bytes}{}", smuggled()));
        // Some get a 400, and for some the connection is only closed. None is a call, and nothing after it is answered.
        if let Ok(answer) = connection.try_read_head() {
            assert_eq!(answer.status, 400, "{chunks:?}: {answer:?}");
            connection.rest().expect("the gateway closes");
            assert!(!String::from_utf8_lossy(&connection.take_unread()).contains("HTTP/1.1"), "{chunks:?}");
        }
        assert!(vendor.requests().is_empty(), "{chunks:?}");
    }
    assert_eq!(gateway.used("app", "push"), 0);
}

#[test]
fn the_header_section_has_limits() {
    let (gateway, vendor) = start();
    let with = |rest: &str| gateway.exchange(head("GET /v3/tags HTTP/1.1", &format!("{rest}\r\n")));
    // Exactly 100 fields: Host, Authorization and 98 more.
    let fields = |count: usize| {
        (0..count).map(|number| ["X-", &number.to_string(), ": 1\r\n"].concat()).collect::<String>()
    };
    assert_eq!(with(&fields(98)).0.status, 200);
    let used =
        "Host: gateway\r\n".len() + format!("Authorization: {}\r\n", basic("shop", Tokens::ORDERS)).len();
    let filler = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes - used - "X: \r\n".len()));
    assert_eq!(with(&filler(32 * 1024)).0.status, 200);
    let sent = vendor.requests().len();
    for (what, rest) in [
        ("101 fields", fields(99)),
        ("150 fields", fields(148)),
        ("a byte too many", filler(32 * 1024 + 1)),
        ("200 KiB", filler(200 * 1024)),
        ("1 MiB", filler(1024 * 1024)),
    ] {
        let mut connection = gateway.connect();
        // The gateway may close before it has read everything.
        let _ = connection.try_send(head("GET /v3/tags HTTP/1.1", &format!("{rest}\r\n")));
        let answer = connection.try_read_head().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status, 431, "{what}");
        assert_eq!(answer.header("Connection"), Some("close"), "{what}");
        connection.rest().expect("the gateway closes");
    }
    assert_eq!(vendor.requests().len(), sent);
}

#[test]
fn an_upgrade_is_ignored() {
    let (gateway, vendor) = start();
    let upgrade =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let (answer, mut connection) = gateway.exchange(head("GET /v3/tags HTTP/1.1", upgrade));
    assert_eq!(answer.status, 200);
    assert_eq!(vendor.only().names(), ["Authorization", "Host", "User-Agent", "X-Request-Id"]);
    assert_eq!(connection.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS)).status, 200);
}

/// Odd forms that the parser accepts are read in one way, and sent on in the proper form.
#[test]
fn odd_forms_are_read_once_and_sent_clean() {
    let (gateway, vendor) = start();
    let call = head("GET /v3/tags HTTP/1.1", "X-Request-Id: caf\u{e9}\r\nX-Odd: \u{ff}\r\n\r\n");
    let (answer, _) = gateway.exchange(&call);
    assert_eq!(answer.status, 200, "bytes outside ASCII in a value");
    let sent = vendor.only();
    assert_eq!(sent.names(), ["Authorization", "Host", "User-Agent", "X-Request-Id"]);
    assert!(sent.header("X-Request-Id").is_some_and(|id| id.is_ascii() && id.len() == 36), "{sent:?}");
    let (answer, _) = gateway.exchange(head("GET /v3/tags HTTP/1.1", "\r\n").replace("\r\n", "\n"));
    if answer.status == 200 {
        assert_eq!(vendor.requests()[1].line, "GET /v3/tags HTTP/1.1", "line feeds alone");
    } else {
        assert_eq!(answer.status, 400);
    }
    let calls = vendor.requests().len();
    let (answer, _) = gateway.exchange(head("get /v3/tags HTTP/1.1", "\r\n"));
    answer.assert_refused(405, "method-not-allowed", 1001);
    let (answer, _) = gateway.exchange(head("GET //elsewhere/v3/tags HTTP/1.1", "\r\n"));
    answer.assert_refused(404, "unknown-endpoint", 1001);
    let (answer, _) = gateway.exchange(head("GET /v3/tags;param HTTP/1.1", "\r\n"));
    answer.assert_refused(404, "unknown-endpoint", 1001);
    assert_eq!(vendor.requests().len(), calls);
}
