//! Answers by hand, and the same answers read by hyper's client: whatever is accepted here is read as hyper reads it.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::http1::framing::Malformed;

/// An answer as a caller would see it, trailing bytes apart.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// Whether another call may follow.
    kept: bool,
}

fn listed(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut listed: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    listed.sort();
    listed
}

/// Reads an answer that arrives in these pieces, with the end of the connection after them.
fn read(pieces: &[&[u8]]) -> Result<Seen, Malformed> {
    let (mut reader, mut buffer) = (HeadReader::default(), BytesMut::new());
    let (mut head, mut body) = (None, Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if head.is_none() {
            head = reader.read(&mut buffer)?;
        }
        if let Some((_, framing)) = &mut head {
            while let BodyPart::Data(bytes) = framing.take(&mut buffer)? {
                body.extend_from_slice(&bytes);
            }
        }
    }
    let (head, framing) = head.ok_or(Malformed)?;
    if !framing.is_done() && framing != Framing::UntilClose {
        return Err(Malformed);
    }
    let kept = head.keep_alive && buffer.is_empty();
    Ok(Seen { status: head.status.as_u16(), headers: listed(&HeaderMap::from(&head.fields)), body, kept })
}

/// The same by hyper's client; `None` if it sees no whole answer.
async fn read_by_hyper(pieces: &[&[u8]]) -> Option<Seen> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.expect("a connection");
    let driver = tokio::spawn(connection);
    let request = http::Request::post("/").body(Empty::<Bytes>::new()).expect("a request");
    let answer = tokio::spawn(async move {
        let answer = sender.send_request(request).await.ok()?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.ok()?.to_bytes().to_vec();
        Some((parts, body))
    });
    // The client must be waiting: an answer before the request is none.
    while !answer.is_finished() {
        let mut byte = [0; 256];
        if theirs.read(&mut byte).await.expect("a request") > 0 {
            break;
        }
    }
    for piece in pieces {
        theirs.write_all(piece).await.ok();
        tokio::task::yield_now().await;
    }
    drop(theirs);
    let seen = answer.await.expect("no panic");
    let _ = driver.await;
    let (parts, body) = seen?;
    Some(Seen { status: parts.status.as_u16(), headers: listed(&parts.headers), body, kept: true })
}

fn hyper_reads(pieces: &[&[u8]]) -> Option<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(read_by_hyper(pieces))
}

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn without_hop_by_hop(mut seen: Seen) -> Seen {
    seen.headers.retain(|(name, _)| !HOP_BY_HOP.contains(&name.as_str()));
    seen
}

/// Status, body, and whether another call may follow.
type Brief = (u16, &'static str, bool);

#[test]
fn answers_by_hand() {
    let rows: [(&str, Option<Brief>); 42] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}", true))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}", Some((200, "{}", true))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}", true))),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Some((200, "", true))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", Some((200, "{}", false))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, CLOSE\r\n\r\n{}", Some((200, "{}", false))),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nConnection: Keep-Alive\r\n\r\n{}",
            Some((200, "{}", false)),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: x, keep-alive\r\n\r\n{}",
            Some((200, "{}", true)),
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}", false))),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}", Some((200, "{}", true))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}trailing", Some((200, "{}", false))),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", Some((200, "to the end", false))),
        ("HTTP/1.1 204 No Content\r\n\r\n", Some((204, "", true))),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Some((304, "", true))),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some((200, "", true))),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            Some((200, "{}", true)),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;a=b\r\n{\r\n01 \r\n}\r\n0\r\nx: y\r\n\r\n",
            Some((200, "{}", true)),
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}X\n0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", None),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", None),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            None,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n{}", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", None),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA b\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", Some((200, "{}", true))),
        ("HTTP/2 200\r\n\r\n", None),
        ("SSH-2.0-x\r\n\r\n", None),
    ];
    for (answer, expected) in rows {
        let whole = read(&[answer.as_bytes()]).map(|seen| (seen.status, seen.body, seen.kept)).ok();
        let expected = expected.map(|(status, body, kept)| (status, body.as_bytes().to_vec(), kept));
        assert_eq!(whole, expected, "{answer:?}");
        let bytes: Vec<&[u8]> = answer.as_bytes().chunks(1).collect();
        if !answer.ends_with("trailing") {
            let split = read(&bytes).map(|seen| (seen.status, seen.body, seen.kept)).ok();
            assert_eq!(split, expected, "byte by byte: {answer:?}");
        }
    }
}

/// A stream that brings an answer and then fails, as TLS does whose end was not announced.
struct Unannounced(&'static [u8]);

impl AsyncRead for Unannounced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.put_slice(std::mem::take(&mut self.0));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Unannounced {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl ServerStream for Unannounced {
    fn written(&self) -> u64 {
        1
    }
}

#[tokio::test]
async fn an_end_that_was_not_meant_ends_no_answer() {
    let message = Message::to("GET", "/", 0).body(Bytes::new());
    let (start, response) = (Instant::now(), Duration::from_secs(10));
    let limits = CallLimits { start, due: start + response, response };
    for (answer, is_whole) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n{}"[..], false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", true),
    ] {
        let mut connection = ClientConnection::new(Unannounced(answer));
        let TimedHead { mut framing, due, .. } = connection.exchange(&message, limits).await.expect("a head");
        let mut next = async || poll_fn(|cx| connection.poll_body(&mut framing, due, cx)).await;
        assert_eq!(next().await.expect("some of it").as_deref(), Some(&b"{}"[..]));
        assert_eq!(matches!(next().await, Ok(None)), is_whole);
    }
}

#[test]
fn what_belongs_to_the_connection_stays_there() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Authenticate: x\r\nTE: x\r\nTrailer: x\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\
                  X-Kept: a\r\nX-Kept: b\r\n\r\n0\r\n\r\n";
    let kept = [("x-kept".to_owned(), b"a".to_vec()), ("x-kept".to_owned(), b"b".to_vec())];
    assert_eq!(read(&[answer.as_bytes()]).expect("an answer").headers, kept);
}

#[test]
fn heads_and_lines_of_chunks_have_a_longest_length() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let long = |bytes: usize| format!("{ok}X: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(bytes));
    assert!(read(&[long(60 * 1024).as_bytes()]).is_ok());
    assert_eq!(read(&[long(64 * 1024).as_bytes()]), Err(Malformed));
    assert_eq!(
        read(&[format!("{ok}X: {}", "x".repeat(66 * 1024)).as_bytes()]),
        Err(Malformed),
        "without end"
    );
    let fields = |count: usize| format!("{ok}{}Content-Length: 0\r\n\r\n", "x: y\r\n".repeat(count));
    assert!(read(&[fields(99).as_bytes()]).is_ok());
    assert_eq!(read(&[fields(100).as_bytes()]), Err(Malformed));
    let chunk =
        |bytes: usize| format!("{ok}Transfer-Encoding: chunked\r\n\r\n0;{}\r\n\r\n", "x".repeat(bytes));
    assert!(read(&[chunk(252).as_bytes()]).is_ok());
    assert_eq!(read(&[chunk(253).as_bytes()]), Err(Malformed));
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let after = |count: usize| format!("{}{ok}Content-Length: 0\r\n\r\n", interim.repeat(count));
    assert!(read(&[after(16).as_bytes()]).is_ok());
    assert_eq!(read(&[after(17).as_bytes()]), Err(Malformed));
}

/// Heads and bodies as servers write them, and as they should not.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        Just("200 OK"),
        Just("204 No Content"),
        Just("429 Slow Down"),
        Just("304 x"),
        Just("500 ")
    ];
    let field = prop_oneof![
        Just("Content-Type: application/json\r\n"),
        Just("x-rate-limit-remaining:  7 \r\n"),
        Just("Connection: close\r\n"),
        Just("Connection: Keep-Alive\r\n"),
        Just("Content-Length: 5\r\n"),
        Just("Content-Length: 0\r\n"),
        Just("content-length: 05\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Set-Cookie: a=b; c\r\n"),
        Just("Empty:\r\n"),
        Just("High: \u{e9}\r\n"),
    ];
    let body = prop_oneof![
        Just("hello"),
        Just("5\r\nhello\r\n0\r\n\r\n"),
        Just("3;x\r\nhel\r\n2 \r\nlo\r\n00\r\na: b\r\n\r\n"),
        Just(""),
        Just("hello, and more"),
    ];
    let version = prop_oneof![4 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
    (version, status, prop::collection::vec(field, 0..5), body).prop_map(|(version, status, fields, body)| {
        format!("{version} {status}\r\n{}\r\n{body}", fields.concat()).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// The law of a relay: what is passed on is what another reader of the same bytes would have seen.
    #[test]
    fn what_is_accepted_is_read_as_hyper_reads_it(
        mut answer in answers(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        fault in prop::option::weighted(0.4, (any::<prop::sample::Index>(), any::<u8>())),
    ) {
        if let Some((at, byte)) = fault {
            let at = at.index(answer.len());
            answer[at] = byte;
        }
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(answer.len())).collect();
        places.extend([0, answer.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect();
        let ours = read(&pieces);
        if let Ok(mut ours) = ours {
            let theirs = hyper_reads(&pieces).map(without_hop_by_hop);
            let text = String::from_utf8_lossy(&answer);
            prop_assert!(theirs.is_some(), "only accepted here: {text:?}");
            let mut theirs = theirs.expect("just seen");
            ours.kept = true;
            // Several equal lengths stand as one for hyper, and as they came here.
            for seen in [&mut ours, &mut theirs] {
                seen.headers.retain(|(name, _)| name != CONTENT_LENGTH.as_str());
            }
            prop_assert_eq!(ours, theirs, "{:?}", text);
        }
    }

    #[test]
    fn any_bytes_in_any_pieces_end_without_a_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        begun in any::<bool>(),
    ) {
        let head: &[u8] = if begun { b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { b"" };
        let pieces: Vec<&[u8]> = std::iter::once(head).chain(pieces.iter().map(Vec::as_slice)).collect();
        let _ = read(&pieces);
    }

    #[test]
    fn the_pieces_an_answer_comes_in_do_not_matter(answer in answers(), cut in any::<prop::sample::Index>()) {
        let (left, right) = answer.split_at(cut.index(answer.len()));
        let (mut whole, mut split) = (read(&[&answer]), read(&[left, right]));
        for seen in [&mut whole, &mut split].into_iter().flatten() {
            seen.kept = true;
        }
        prop_assert_eq!(whole, split);
    }
}
