//! Tests of HTTP/2 frames that an honest client does not send: each flood is ended, and other clients are served
//! meanwhile.

mod strangers;

use std::net::TcpStream;

use rustls::{ClientConnection, StreamOwned};

use crate::support::{
    Authority, Config, Connection, Folder, Gateway, PUSH, Stub, Tokens, h2_get, tls_connect,
};

/// Frame types (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// Frame flags.
const NONE: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error codes.
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Concurrent streams that the gateway allows on one connection.
const STREAMS_MAX: u32 = 128;

struct Scene {
    gateway: Gateway,
    vendor: Stub,
    authority: Authority,
}

fn start(limits: &str) -> Scene {
    let (authority, folder, vendor) = (Authority::new(), Folder::new(), Stub::good());
    let (certificate, key) = authority.sign(&["localhost"]);
    folder.write("a.crt", &certificate);
    folder.write("a.key", key);
    let mut config = Config::new(&vendor.url());
    config.listeners =
        "{ address: \"127.0.0.1:0\", tls: { certificates: [ { certificate: a.crt, private_key: a.key } ], \
                        http2: true } }"
            .into();
    config.limits = limits.into();
    Scene { gateway: Gateway::start_in(folder, &config), vendor, authority }
}

impl Scene {
    /// A connection on which only the preface and the settings were sent.
    fn open(&self) -> Peer {
        self.open_with(&[])
    }

    /// The same with this payload of the settings frame.
    fn open_with(&self, settings: &[u8]) -> Peer {
        let mut peer = self.open_silent();
        peer.0.send([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, NONE, 0, settings)].concat());
        peer
    }

    /// A connection on which nothing was sent.
    fn open_silent(&self) -> Peer {
        let tls = tls_connect(&self.authority.client(&["h2"]), self.gateway.listeners[0], "localhost");
        let tls = tls.expect("a handshake");
        assert_eq!(tls.alpn.as_deref(), Some("h2"));
        Peer(tls.connection)
    }

    /// Makes one request with these additional header fields, on a new connection.
    fn call(&self, fields: &[(&str, &str)]) -> http::Response<Vec<u8>> {
        let request = http::Request::post("https://localhost/v3/push")
            .header("authorization", format!("Bearer {}", Tokens::ORDERS))
            .header("content-type", "application/json");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(PUSH.to_owned()).expect("a good request");
        h2_get(&self.authority.client(&["h2"]), self.gateway.listeners[0], request)
    }

    /// Checks that other connections are served and that no request reached the vendor.
    #[track_caller]
    fn assert_unharmed(&self) {
        assert!(self.vendor.requests().is_empty());
        assert_eq!(self.call(&[]).status(), 200);
        assert_eq!(self.vendor.only().body, PUSH.as_bytes());
    }
}

/// A client that sends and reads single frames.
struct Peer(Connection<StreamOwned<ClientConnection, TcpStream>>);

#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Peer {
    fn next(&mut self) -> Frame {
        let head = self.0.read_exactly(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        Frame { kind: head[3], stream: number(&head[5..]), payload: self.0.read_exactly(length) }
    }

    /// The next frame of this type on this stream.
    fn next_of(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.next();
            assert_ne!(frame.kind, GOAWAY, "{frame:?}");
            if (frame.kind, frame.stream) == (kind, stream) {
                return frame;
            }
        }
    }

    /// The error code of the `GOAWAY` frame, after which the connection ends.
    #[track_caller]
    fn gone_away(mut self) -> u32 {
        let code = loop {
            let frame = self.next();
            if frame.kind == GOAWAY {
                break number(&frame.payload[4..]);
            }
        };
        self.0.rest().expect("the gateway closes");
        code
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal header field without indexing, whose name is in the static table.
fn field(name: &[u8], value: &str) -> Vec<u8> {
    [name, &[u8::try_from(value.len()).expect("short")], value.as_bytes()].concat()
}

/// The header block of a push, with or without a credential.
fn push(token: Option<&str>) -> Vec<u8> {
    let mut block = vec![0x83, 0x87]; // :method POST, :scheme https
    block.extend(field(&[0x01], "localhost"));
    block.extend(field(&[0x04], "/v3/push"));
    block.extend(field(&[0x0f, 0x10], "application/json"));
    if let Some(token) = token {
        block.extend(field(&[0x0f, 0x08], &format!("Bearer {token}")));
    }
    block
}

/// The header block of a `DELETE` with a credential and this encoded path.
fn delete(path: &[u8]) -> Vec<u8> {
    let credential = field(&[0x0f, 0x08], &format!("Bearer {}", Tokens::ORDERS));
    [&field(&[0x02], "DELETE"), &[0x87][..], &field(&[0x01], "localhost"), path, &credential].concat()
}

/// Indexed fields `:status: 400` and `:status: 200`.
const BAD: u8 = 0x8c;
const GOOD: u8 = 0x88;

/// Ids of a client's streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|index| 2 * index + 1)
}

#[test]
fn requests_that_are_taken_back_at_once() {
    let scene = start("");
    for token in [None, Some(Tokens::ORDERS)] {
        let mut peer = scene.open();
        // All frames are in one TLS record, and no body is ever sent.
        let flood = streams(100).flat_map(|stream| {
            let begun = frame(HEADERS, END_HEADERS, stream, &push(token));
            [begun, frame(RST_STREAM, NONE, stream, &CANCEL.to_be_bytes())].concat()
        });
        peer.0.send(flood.collect::<Vec<u8>>());
        assert_eq!(peer.gone_away(), ENHANCE_YOUR_CALM);
    }
    scene.assert_unharmed();
}

#[test]
fn more_requests_at_once_than_announced() {
    let scene = start("");
    let mut peer = scene.open();
    let announced = peer.next_of(SETTINGS, 0).payload;
    let streams_max = announced.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a limit of streams");
    assert_eq!(number(&streams_max[2..]), STREAMS_MAX);
    let begin = |stream| frame(HEADERS, END_HEADERS, stream, &push(Some(Tokens::ORDERS)));
    peer.0.send(streams(STREAMS_MAX + 1).flat_map(begin).collect::<Vec<u8>>());
    let refused = 2 * STREAMS_MAX + 1;
    assert_eq!(number(&peer.next_of(RST_STREAM, refused).payload), REFUSED_STREAM);
    scene.assert_unharmed();
    // Streams within the limit still work.
    peer.0.send(frame(DATA, END_STREAM, 1, PUSH.as_bytes()));
    peer.next_of(HEADERS, 1);
    assert_eq!(scene.vendor.requests().len(), 2);
    // After one answer there is room for another stream.
    peer.0.send([begin(refused + 2), frame(DATA, END_STREAM, refused + 2, PUSH.as_bytes())].concat());
    peer.next_of(HEADERS, refused + 2);
}

#[test]
fn faults_without_end() {
    let scene = start("");
    let mut peer = scene.open();
    // The method occurs twice, which is an error of its stream only.
    let fault = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x82, 0x82]);
    peer.0.send(fault(1));
    peer.next_of(RST_STREAM, 1);
    peer.0.send(streams(1_200).skip(1).flat_map(fault).collect::<Vec<u8>>());
    assert_eq!(peer.gone_away(), ENHANCE_YOUR_CALM);
    scene.assert_unharmed();
}

#[test]
fn a_head_that_never_ends() {
    let scene = start("");
    let mut peer = scene.open();
    let mut flood = frame(HEADERS, NONE, 1, &push(Some(Tokens::ORDERS)));
    // Each frame holds one indexed field, so that the number of frames is what counts.
    (0..20).for_each(|_| flood.extend(frame(CONTINUATION, NONE, 1, &[0x90])));
    peer.0.send(flood);
    assert_eq!(peer.gone_away(), ENHANCE_YOUR_CALM);
    scene.assert_unharmed();
}

#[test]
fn a_body_of_empty_frames() {
    // The timeout is long, so that it does not end the stream.
    let scene = start("body_timeout: 1h");
    let mut peer = scene.open();
    peer.0.send(frame(HEADERS, END_HEADERS, 1, &push(Some(Tokens::ORDERS))));
    peer.0.send(frame(DATA, NONE, 1, &[]).repeat(1_000));
    assert_eq!(peer.gone_away(), ENHANCE_YOUR_CALM);
    scene.assert_unharmed();
}

#[test]
fn a_body_that_comes_too_slowly() {
    let scene = start("body_timeout: 300ms");
    let mut peer = scene.open();
    peer.0.send(frame(HEADERS, END_HEADERS, 1, &push(Some(Tokens::ORDERS))));
    peer.0.send(frame(DATA, NONE, 1, &[]));
    // `:status: 408` in the Huffman code of HPACK.
    let answer = peer.next_of(HEADERS, 1).payload;
    assert!(answer.starts_with(&[0x48, 0x83, 0x68, 0x0f, 0x7f]), "{answer:x?}");
    // The connection stays open.
    peer.0.send(frame(PING, NONE, 0, b"8 bytes."));
    assert_eq!(peer.next_of(PING, 0).payload, b"8 bytes.");
    scene.assert_unharmed();
}

#[test]
fn heads_that_are_too_large() {
    let scene = start("");
    let large = scene.call(&[("x-filler", &"x".repeat(33 * 1024))]);
    assert_eq!(large.status(), 431);
    assert_eq!(large.headers()["x-jpush-gateway-reason"], "header-too-large");
    // Beyond the HTTP/2 library's own limit, the answer has no reason header.
    let larger = scene.call(&[("x-filler", &"x".repeat(60 * 1024))]);
    assert_eq!((larger.status().as_u16(), larger.headers().get("x-jpush-gateway-reason")), (431, None));
    scene.assert_unharmed();
}

/// The HTTP/2 library cuts a fragment off before the gateway sees the path, so another object would be deleted.
#[test]
fn a_fragment_is_never_cut_off() {
    let scene = start("");
    // `/v3/tags/vip#2` in the Huffman code.
    let huffman = [0x63, 0xbb, 0x2c, 0x24, 0x73, 0x21, 0x8e, 0xe6, 0xaf, 0xfe, 0x85];
    let length = 0x80 | u8::try_from(huffman.len()).expect("short");
    let paths = [
        field(&[0x04], "/v3/tags/vip#2"),
        [&[0x04, length][..], &huffman].concat(),
        // The path is put into the dynamic table, and then used by its index.
        field(&[0x44], "/v3/tags/vip#3"),
        vec![0xbe],
        // The name is spelled out, and the field is put into the table.
        [&[0x40, 5][..], b":path", &[14], b"/v3/tags/vip#4"].concat(),
        field(&[0x0f, 0x2f], "/v3/tags/vip?x#y"),
        field(&[0x04], "/v3/tags/#"),
        field(&[0x04], "#/v3/tags/vip"),
    ];
    let mut peer = scene.open();
    for (path, stream) in paths.iter().zip(streams(100)) {
        // A header block in two frames is decoded as a whole.
        let block = delete(path);
        let (first, rest) = block.split_at(block.len() / 2);
        peer.0.send(
            [frame(HEADERS, END_STREAM, stream, first), frame(CONTINUATION, END_HEADERS, stream, rest)]
                .concat(),
        );
        let answer = peer.next_of(HEADERS, stream).payload;
        assert_eq!(answer[0], BAD, "{}: {answer:x?}", String::from_utf8_lossy(path));
    }
    assert!(scene.vendor.requests().is_empty());
    // The connection stays open, and other targets work as before.
    let stream = 2 * u32::try_from(paths.len()).expect("few") + 1;
    let block = delete(&field(&[0x04], "/v3/tags/other"));
    peer.0.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
    assert_eq!(peer.next_of(HEADERS, stream).payload[0], GOOD);
    assert_eq!(scene.vendor.only().line, "DELETE /v3/tags/other HTTP/1.1");
}

#[test]
fn raw_utf_8_is_read_as_over_http_1() {
    let scene = start("");
    let mut peer = scene.open();
    for (path, stream, status) in
        [("/v3/tags/安", 1, GOOD), ("/v3/tags/..;", 3, BAD), ("/v3/tags/%0d", 5, BAD)]
    {
        let block = delete(&field(&[0x04], path));
        peer.0.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        assert_eq!(peer.next_of(HEADERS, stream).payload[0], status, "{path}");
    }
    assert_eq!(scene.vendor.only().line, "DELETE /v3/tags/%E5%AE%89 HTTP/1.1");
}

#[test]
fn hosts_and_authorities() {
    let scene = start("");
    let rows: [(Option<&str>, &[&str], u8); 11] = [
        (Some("localhost"), &[], GOOD),
        (Some("localhost"), &["LocalHost"], GOOD),
        (None, &["localhost:443"], GOOD),
        (None, &[], BAD),
        (Some("localhost"), &["localhost:443"], BAD),
        (Some("localhost"), &["elsewhere"], BAD),
        (Some("localhost"), &["localhost", "localhost"], BAD),
        (None, &["localhost", "elsewhere"], BAD),
        (None, &["a b"], BAD),
        (None, &["a@b"], BAD),
        (Some("a@b"), &[], BAD),
    ];
    let mut peer = scene.open();
    for ((authority, hosts, status), stream) in rows.into_iter().zip(streams(100)) {
        let mut block = vec![0x82, 0x87];
        block.extend(authority.iter().flat_map(|authority| field(&[0x01], authority)));
        block.extend(field(&[0x04], "/v3/tags"));
        block.extend(hosts.iter().flat_map(|host| field(&[0x0f, 0x17], host)));
        block.extend(field(&[0x0f, 0x08], &format!("Bearer {}", Tokens::ORDERS)));
        peer.0.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        assert_eq!(peer.next_of(HEADERS, stream).payload[0], status, "{authority:?} {hosts:?}");
    }
    assert_eq!(scene.vendor.requests().len(), 3);
}
