//! Requests by hand, and the same requests read by hyper's server: whatever is accepted here is read as hyper reads it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::*;
use crate::http1::head::Head;
use crate::http1::response::Response as Answered;
use crate::request::{Field, judge};
use crate::strict::{self, HEADER_BYTES_MAX};

/// A request as the gateway would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    /// Authority, path and query.
    target: (Option<String>, String, Option<String>),
    fields: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

/// A service that is never asked: requests are read and not answered.
struct Unasked;

enum NoAnswer {}

impl Service for Unasked {
    type Field = Field;
    type Progress = Self;
    type Answer = NoAnswer;
    type Room = ();

    const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + 16 * 1024;

    fn progress(&self) -> &Self {
        self
    }

    async fn answer(&self, _: &Head<Field>, _: &mut dyn BodySource) -> Option<NoAnswer> {
        None
    }

    fn not_a_request(&self, _: NotARequest<'_>) {}

    fn room(&self, _: usize) -> Option<()> {
        Some(())
    }
}

impl Progress for Unasked {
    type Serving = ();

    fn head_begins(&self) {}

    fn sent(&self) {}

    fn serving(&self) {}

    fn finishes(&self) -> bool {
        false
    }

    fn ask_for_reminder(&self) -> bool {
        false
    }
}

impl Answer for NoAnswer {
    type Body = Empty<Bytes>;
    type Held = ();

    fn response(&self) -> &Answered<Empty<Bytes>> {
        match *self {}
    }

    fn whole_body(&self) -> Option<&Bytes> {
        match *self {}
    }

    fn take_body(&mut self) -> Empty<Bytes> {
        match *self {}
    }

    fn take_held(&mut self) {
        match *self {}
    }

    fn matters_if_lost(&self) -> bool {
        match *self {}
    }

    fn matters_at(&self, _: std::time::Instant) -> bool {
        match *self {}
    }

    fn may_be_lost(&self) {
        match *self {}
    }

    fn lost(self) {
        match self {}
    }
}

/// Fields that every request is compared by.
const COMPARED: [(Field, &str); 3] = [
    (Field::Authorization, "authorization"),
    (Field::ContentType, "content-type"),
    (Field::RequestId, "x-request-id"),
];

async fn send(mut to: DuplexStream, pieces: Vec<Vec<u8>>) {
    for piece in pieces {
        to.write_all(&piece).await.ok();
        tokio::task::yield_now().await;
    }
    to.shutdown().await.ok();
    // Kept open for answers.
    let mut answers = Vec::new();
    to.read_to_end(&mut answers).await.ok();
}

/// The requests that stand in these pieces, up to the first that is refused or not whole.
async fn read(pieces: Vec<Vec<u8>>) -> Vec<Seen> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let sending = tokio::spawn(send(theirs, pieces));
    let mut connection = ServerConnection::new(ours, &Unasked);
    let mut seen = Vec::new();
    while let Ok(Some((head, Ok(framing)))) = connection.read_head().await {
        if strict::check(&head).is_err() || judge(&head.target).is_err() {
            break;
        }
        let (mut source, mut body) = (IncomingBody::of(&head, framing, &mut connection), Vec::new());
        let whole = loop {
            match poll_fn(|cx| source.poll_append(cx, &mut body, 7)).await {
                Ok(true) => {}
                outcome => break outcome == Ok(false),
            }
        };
        if !whole {
            break;
        }
        let fields =
            COMPARED.iter().flat_map(|(field, name)| head.all(*field).map(|value| (*name, value.to_vec())));
        let hosts = head.hosts().map(|value| ("host", value.to_vec()));
        let (fields, method) = (fields.chain(hosts).collect(), head.method.to_string());
        let (target, owned) = (&head.target, str::to_owned);
        let target = (target.authority().map(owned), owned(target.path()), target.query().map(owned));
        seen.push(Seen { method, target, fields, body });
        if !head.keeps_alive() {
            break;
        }
    }
    drop(connection);
    sending.await.expect("no panic");
    seen
}

/// The same by hyper's server.
async fn read_by_hyper(pieces: Vec<Vec<u8>>) -> Vec<Seen> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let sending = tokio::spawn(send(theirs, pieces));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let names = COMPARED.iter().map(|(_, name)| *name).chain(["host"]);
                let fields = names.flat_map(|name| {
                    parts.headers.get_all(name).iter().map(move |value| (name, value.as_bytes().to_vec()))
                });
                let (uri, method, owned) = (parts.uri, parts.method.to_string(), str::to_owned);
                let authority = uri.authority().map(|authority| authority.as_str().to_owned());
                let target = (authority, owned(uri.path()), uri.query().map(owned));
                let (fields, body) = (fields.collect(), body.to_bytes().to_vec());
                seen.lock().expect("no panic").push(Seen { method, target, fields, body });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(ours), service);
    let _ = served.await;
    sending.await.expect("no panic");
    let seen = seen.lock().expect("no panic");
    seen.clone()
}

fn by_both(pieces: &[Vec<u8>]) -> [Vec<Seen>; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async { [read(pieces.to_vec()).await, read_by_hyper(pieces.to_vec()).await] })
}

/// The requests that hyper reads must begin with those read here. Hyper may read more where this codec is stricter.
#[track_caller]
fn agree(pieces: &[Vec<u8>]) -> usize {
    let [ours, theirs] = by_both(pieces);
    let text = String::from_utf8_lossy(&pieces.concat()).into_owned();
    assert_eq!(ours[..], theirs[..ours.len().min(theirs.len())], "{text:?}");
    ours.len()
}

const HOST: &str = "Host: x\r\n";

#[test]
fn requests_by_hand() {
    let get = format!("GET /a HTTP/1.1\r\n{HOST}\r\n");
    let post = |fields: &str, body: &str| format!("POST /p HTTP/1.1\r\n{HOST}{fields}\r\n{body}");
    let rows = [
        (get.clone(), 1),
        (format!("\r\n\r\n{get}"), 1),
        (format!("{get}{get}\r\n{get}"), 3),
        (post("Content-Length: 2\r\n", "{}") + &get, 2),
        (post("Content-Length: 2\r\nConnection: close\r\n", "{}") + &get, 1),
        (post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n") + &get, 2),
        (post("Transfer-Encoding: Chunked\r\n", "1;x\r\n{\r\n01\r\n}\r\n0\r\nTrailer: 1\r\n\r\n") + &get, 2),
        (post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n"), 0),
        (post("Transfer-Encoding: chunked\r\n", "2\r\n{}x\n0\r\n\r\n"), 0),
        (post("Transfer-Encoding: chunked\r\n", "2;\nxx\r\n{}\r\n0\r\n\r\n"), 0),
        (post("Content-Length: 3\r\n", "{}"), 0),
        (post("Content-Length: 2\r\nExpect: 100-continue\r\n", "{}") + &get, 2),
        (format!("GET http://x/a HTTP/1.1\r\n{HOST}\r\n"), 1),
        (format!("GET /a?b#c HTTP/1.1\r\n{HOST}\r\n"), 0),
        (format!("GET /安?b=安 HTTP/1.1\r\n{HOST}\r\n"), 1),
        (format!("GET http://x?b HTTP/1.1\r\n{HOST}\r\n"), 1),
        (format!("GET http://x HTTP/1.1\r\n{HOST}\r\n"), 1),
        ("GET http://y@x/a HTTP/1.1\r\nHost: y@x\r\n\r\n".to_owned(), 0),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 1),
        (format!("GET /a HTTP/1.0\r\n{HOST}\r\n{get}"), 1),
        (format!("GET /a HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n\r\n{get}"), 2),
        (get.replace("\r\n", "\n"), 0),
        (get.replacen("\r\n", "\n", 1), 0),
        (format!("GET  /a HTTP/1.1\r\n{HOST}\r\n"), 0),
        ("GET /a HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(), 0),
        (get.replace("1.1", "2.0"), 0),
    ];
    for (text, count) in rows {
        assert_eq!(agree(&[text.clone().into_bytes()]), count, "{text:?}");
        let single: Vec<_> = text.bytes().map(|byte| vec![byte]).collect();
        assert_eq!(agree(&single), count, "byte by byte: {text:?}");
    }
}

#[test]
fn heads_have_limits() {
    let with = |length: usize| {
        let start = format!("GET /a HTTP/1.1\r\n{HOST}X: ");
        let text = format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4));
        by_both(&[text.into_bytes()])[0].len()
    };
    assert_eq!((with(HEADER_BYTES_MAX), with(Unasked::HEAD_BYTES_MAX + 1)), (1, 0));
}

/// Asks for the first byte of the body of one request; what was read of it, and what was written for that.
async fn ask(head: &str, behind: &str) -> (Option<usize>, String) {
    let (ours, mut theirs) = tokio::io::duplex(1 << 10);
    theirs.write_all(format!("{head}{behind}").as_bytes()).await.expect("there is room");
    theirs.shutdown().await.expect("the other end is open");
    let mut connection = ServerConnection::new(ours, &Unasked);
    let Ok(Some((head, framing))) = connection.read_head().await else { panic!("a head") };
    let mut body = framing.map(|framing| IncomingBody::of(&head, framing, &mut connection));
    let source: &mut dyn BodySource = match &mut body {
        Ok(body) => body,
        Err(_) => &mut UnframedBody,
    };
    let mut read = Vec::new();
    let outcome = poll_fn(|cx| source.poll_append(cx, &mut read, 1)).await;
    drop(connection);
    let mut written = String::new();
    theirs.read_to_string(&mut written).await.expect("ASCII");
    (outcome.is_ok().then_some(read.len()), written)
}

#[tokio::test]
async fn only_http_1_1_is_asked_for_its_body() {
    let post = |version: &str| {
        format!("POST /p HTTP/{version}\r\n{HOST}Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    };
    assert_eq!(ask(&post("1.1"), "").await, (None, "HTTP/1.1 100 Continue\r\n\r\n".to_owned()));
    assert_eq!(ask(&post("1.0"), "").await, (None, String::new()));
    assert_eq!(ask(&post("1.1"), "x").await, (Some(1), String::new()), "it did not wait to be asked");
}

#[tokio::test]
async fn nothing_is_read_behind_a_head_without_framing() {
    let length = "Content-Length: 4\r\n";
    let post = |fields: &str| format!("POST /p HTTP/1.1\r\n{HOST}{fields}\r\n");
    assert_eq!(ask(&post(length), "abcd").await.0, Some(1));
    for fields in
        [&length.repeat(2), &format!("{length}Transfer-Encoding: chunked\r\n"), "Content-Length: 4, 4\r\n"]
    {
        assert_eq!(ask(&post(fields), "abcd").await.0, None, "{fields:?}");
    }
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "GET /a HTTP/1.1\r\n",
        "POST /p?q=1 HTTP/1.1\r\n",
        "PUT /p HTTP/1.0\r\n",
        "Host: x\r\n",
        "Host: x\r\n",
        "Authorization: Bearer t\r\n",
        "X-Request-Id:  1 \r\n",
        "Content-Type: a;b=\"c\"\r\n",
        "Content-Length: 2\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: keep-alive\r\n",
        "Connection: close\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "{}",
        "2\r\n{}\r\n",
        "0\r\n\r\n",
        "2;\n",
        ";a=b\r\n",
        "\n",
        "\r",
        " ",
        ":",
    ]);
    prop_oneof![
        12 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}

/// A request that is good in most of its parts.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(vec![
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX-Request-Id: 7\r\n\r\n{}",
        "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        "PUT /p HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
    ]);
    let changed = (whole, prop::option::weighted(0.4, (any::<prop::sample::Index>(), any::<u8>())));
    let changed = changed.prop_map(|(text, change)| {
        let mut bytes = text.as_bytes().to_vec();
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    prop_oneof![3 => changed, 1 => prop::collection::vec(fragment(), 1..12).prop_map(|parts| parts.concat())]
}

/// Pieces of targets and of hosts.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "/",
        "/a",
        "?",
        "#",
        "%2e",
        ".",
        "..",
        ";",
        "%00",
        "%",
        "安",
        "\\",
        "<",
        "\"",
        "`",
        "{",
        "|",
        "@",
        ":",
        "[",
        "::1",
        "]",
        "x",
        "X",
        "80",
        "*",
        "http://",
        "http://x",
        "HTTP://x/",
        "_",
    ]);
    let piece = prop_oneof![
        20 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn targets_and_hosts_are_read_as_hyper_reads_them(
        rooted in any::<bool>(),
        target in pieces(),
        host in prop_oneof![2 => Just(b"x".to_vec()), 1 => pieces()],
        old in any::<bool>(),
    ) {
        let (root, version): (&[u8], &[u8]) = (if rooted { b"/" } else { b"" }, if old { b"0" } else { b"1" });
        let bytes = [b"GET ", root, &target, b" HTTP/1.", version, b"\r\nHost: ", &host, b"\r\n\r\n"].concat();
        agree(&[bytes]);
        let library = http::uri::Authority::try_from(&host[..]);
        if let Some(library) = library.ok().filter(|_| crate::http1::target::is_host(&host)) {
            prop_assert_eq!(library.as_str().as_bytes(), &host[..], "all of it is the host");
            let name = library.host().len();
            prop_assert!(host[name..].is_empty() || host[name] == b':', "and it ends where its port begins");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_read_as_hyper_reads_it(
        requests in prop::collection::vec(request(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let bytes = requests.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).collect();
        agree(&pieces);
        prop_assert_eq!(by_both(&pieces)[0].len(), by_both(&[bytes])[0].len(), "pieces make no difference");
    }
}
