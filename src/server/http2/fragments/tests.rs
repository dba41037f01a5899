//! Handwritten and generated heads, read here and by hyper's server: the original of every path that hyper shortened is
//! known.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::huffman::tests::encode;
use super::*;

/// The encoding of a path in a header block.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// The bits of the first byte that select the representation, and the number of bits left for an integer.
    kind: (u8, usize),
    /// Whether the name is a literal as well.
    named: bool,
    coded: bool,
}

fn number(first: u8, bits: usize, number: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if number < most {
        return vec![first | u8::try_from(number).expect("few bits")];
    }
    let mut bytes = vec![first | u8::try_from(most).expect("few bits")];
    let mut rest = number - most;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).expect("seven bits") | 0x80);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
    bytes
}

fn text(text: &[u8], coded: bool) -> Vec<u8> {
    let bytes = if coded { encode(text) } else { text.to_vec() };
    [number(if coded { 0x80 } else { 0 }, 7, bytes.len()), bytes].concat()
}

impl Written {
    fn block(self, path: &[u8]) -> Vec<u8> {
        let (kind, bits) = self.kind;
        let name = number(kind, bits, if self.named { 0 } else { 4 });
        let name = if self.named { [name, text(b":path", self.coded)].concat() } else { name };
        // GET, https, an authority, and a field with a value like a path.
        let start = [vec![0x82, 0x87, 0x01], text(b"x", false), name, text(path, self.coded)].concat();
        [start, vec![0x0f, 0x24], text(b"/like#a/path", false)].concat()
    }
}

/// The frames of one head, with its fields split into `pieces` parts.
fn frames(stream: u32, block: &[u8], pieces: usize) -> Vec<u8> {
    let size = block.len().div_ceil(pieces).max(1);
    let count = block.chunks(size).count();
    let frame = |(at, piece): (usize, &[u8])| {
        let length = u32::try_from(piece.len()).expect("short").to_be_bytes();
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let end_stream = u8::from(at == 0);
        let flags = end_stream | if at + 1 == count { END_HEADERS } else { 0 };
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), piece].concat()
    };
    block.chunks(size).enumerate().flat_map(frame).collect()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The paths of all requests as hyper reports them.
fn by_hyper(bytes: &[u8]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut theirs, ours) = tokio::io::duplex(1 << 20);
        let paths = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&paths);
        let service = service_fn(move |request: Request<Incoming>| {
            let path = request.uri().path_and_query().map(|path| path.as_str().to_owned());
            seen.lock().expect("no panic").extend(path);
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let served = tokio::spawn(http2.serve_connection(TokioIo::new(ours), service));
        theirs.write_all(bytes).await.expect("room");
        // No task waits for anything outside, so after these turns all are done.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(theirs);
        let _ = served.await;
        let paths = paths.lock().expect("no panic");
        paths.clone()
    })
}

fn read(bytes: &[u8], piece: usize) -> Fragments {
    let (mut reader, fragments) = (Reader::new(), Fragments::default());
    bytes.chunks(piece).for_each(|piece| reader.read(piece, &fragments));
    assert!(!reader.is_lost);
    fragments
}

fn written() -> impl Strategy<Value = Written> {
    let kind = prop::sample::select(vec![(0x40, 6), (0x00, 4), (0x10, 4)]);
    (kind, any::<bool>(), any::<bool>()).prop_map(|(kind, named, coded)| Written { kind, named, coded })
}

/// Pieces of paths, most of them valid.
fn path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["/", "a", "#", "?", "安", "%2e", "*", " ", "\u{7f}", "v3/tags/"]);
    (any::<bool>(), prop::collection::vec(piece, 0..6))
        .prop_map(|(rooted, pieces)| format!("{}{}", if rooted { "/" } else { "" }, pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_path_is_other_than_it_was_sent(
        heads in prop::collection::vec((path(), written(), 1_usize..4), 1..6),
        piece in 1_usize..200,
    ) {
        let mut bytes = PREFACE.to_vec();
        for ((path, written, pieces), stream) in heads.iter().zip((1..).step_by(2)) {
            bytes.extend(frames(stream, &written.block(path.as_bytes()), *pieces));
        }
        let fragments = read(&bytes, piece);
        let sent: Vec<&str> = heads.iter().map(|(path, ..)| &**path).collect();
        for path in by_hyper(&bytes) {
            let path = fragments.sent_as(&path).map_or(path, String::from);
            prop_assert!(sent.contains(&&*path), "{path:?} of {sent:?}");
        }
    }

    #[test]
    fn no_bytes_make_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
        let (mut reader, fragments) = (Reader::new(), Fragments::default());
        let framed = frames(1, &bytes, 2);
        for piece in [PREFACE, &framed, &bytes].concat().chunks(piece) {
            reader.read(piece, &fragments);
        }
        prop_assert!(!reader.is_lost || fragments.sent_as("/").is_some(), "what is not read is refused");
    }
}

#[test]
fn a_path_from_the_table_of_the_connection_is_known() {
    let indexed = Written { kind: (0x40, 6), named: false, coded: true };
    let again = [&[0x82, 0x87, 0x01][..], &text(b"x", false), &[0xbe]].concat();
    let bytes = [PREFACE, &frames(1, &indexed.block(b"/a?b#c"), 1), &frames(3, &again, 1)].concat();
    assert_eq!(by_hyper(&bytes), ["/a?b", "/a?b"]);
    let fragments = read(&bytes, 1);
    assert_eq!(fragments.sent_as("/a?b").as_deref(), Some("/a?b#c"));
    assert_eq!((fragments.sent_as("/a"), fragments.sent_as("/like")), (None, None), "no other path is meant");
}

#[test]
fn too_many_are_all_of_them() {
    let fragments = Fragments::default();
    (0..CUT_MAX).for_each(|number| fragments.add(&format!("/{number}#")));
    assert_eq!(fragments.sent_as("/other"), None);
    fragments.add("/one/more#");
    assert_eq!(fragments.sent_as("/other").as_deref(), Some("#"));
}
