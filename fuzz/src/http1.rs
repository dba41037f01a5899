//! The gateway's HTTP/1.1 beside hyper's: whatever is accepted here, hyper accepts too and reads in the same way.
//!
//! hyper may accept more. What the gateway refuses, it refuses before anything is passed on.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jpush_gateway::http1::answer_head::HeadReader;
use jpush_gateway::http1::framing::{BodyPart, Chunk, Framing, Malformed};
use jpush_gateway::request::{Field, RequestHead, judge};
use jpush_gateway::strict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

/// More than any input has.
const PIPE_BYTES: usize = 1 << 20;

/// Fields that requests are compared by, beside `Host`.
const COMPARED: [(Field, &str); 5] = [
    (Field::Accept, "accept"),
    (Field::Authorization, "authorization"),
    (Field::ContentType, "content-type"),
    (Field::JpushTenant, "x-jpush-tenant"),
    (Field::RequestId, "x-request-id"),
];

/// Fields of an answer that end with the connection it came on, and the one that frames as `Framing` says.
const NOT_RELAYED: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request's head as its reader sees it.
#[derive(Debug, PartialEq, Eq)]
struct SeenRequest {
    method: String,
    authority: Option<String>,
    path: String,
    query: Option<String>,
    version: http::Version,
    fields: Vec<(&'static str, Vec<u8>)>,
    /// Of the body, where the head tells.
    length: Option<u64>,
}

/// An answer's head as its reader sees it.
#[derive(Debug, PartialEq, Eq)]
struct SeenAnswer {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    length: Option<u64>,
}

/// The head of a request: the input up to its first empty line.
pub fn request_head(input: &[u8]) {
    let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        RequestHead::may_begin_with(input);
        return;
    };
    let bytes = &input[..end + 4];
    for cut in 0..bytes.len().min(64) {
        RequestHead::may_begin_with(&bytes[..cut]);
    }
    let Ok((head, Ok(framing))) = RequestHead::parse(bytes) else { return };
    assert!(RequestHead::may_begin_with(&bytes[..end]), "the beginning of a head is refused as none");
    if strict::check(&head).is_err() || judge(&head.target).is_err() {
        return;
    }
    let fields =
        COMPARED.iter().flat_map(|(field, name)| head.all(*field).map(|value| (*name, value.to_vec())));
    let hosts = head.hosts().map(|value| ("host", value.to_vec()));
    let ours = SeenRequest {
        method: head.method.to_string(),
        authority: head.target.authority().map(str::to_owned),
        path: head.target.path().to_owned(),
        query: head.target.query().map(str::to_owned),
        version: head.version,
        fields: fields.chain(hosts).collect(),
        length: framing.left(),
    };
    assert_eq!(Some(ours), block_on(request_by_hyper(bytes)));
}

/// The head of an answer, interim answers before it included.
pub fn answer_head(input: &[u8]) {
    let mut buffer = BytesMut::from(input);
    let Ok(Some((head, framing))) = HeadReader::default().read(&mut buffer) else { return };
    let ours = SeenAnswer {
        status: head.status.as_u16(),
        fields: sorted(&HeaderMap::from(&head.fields)),
        length: framing.left(),
    };
    let theirs = block_on(async {
        let (parts, body) = answer_by_hyper(input).await?.into_parts();
        let named = parts
            .headers
            .get_all("connection")
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let named: Vec<_> = named.map(|token| token.trim_ascii().to_ascii_lowercase()).collect();
        let mut fields = sorted(&parts.headers);
        fields.retain(|(name, _)| {
            !NOT_RELAYED.contains(&name.as_str()) && !named.contains(&name.clone().into_bytes())
        });
        Some(SeenAnswer { status: parts.status.as_u16(), fields, length: body.size_hint().exact() })
    });
    assert_eq!(Some(ours), theirs);
}

/// A body. The first byte tells how it is framed, the second how it is cut into pieces.
pub fn framing(input: &[u8]) {
    let [kind, piece, body @ ..] = input else { return };
    let (framing, field) = match kind {
        0x00..0x80 => (Framing::Chunked(Chunk::Head), "Transfer-Encoding: chunked\r\n".to_owned()),
        0x80..0xf0 => {
            let length = u64::from(kind - 0x80);
            (Framing::Length(length), format!("Content-Length: {length}\r\n"))
        }
        0xf0.. => (Framing::UntilClose, String::new()),
    };
    let whole = read_body(framing, body, body.len().max(1));
    assert_eq!(read_body(framing, body, usize::from(*piece).max(1)), whole, "pieces make no difference");
    let Ok(Some(ours)) = whole else { return };
    let answer = [format!("HTTP/1.1 200 OK\r\n{field}\r\n").as_bytes(), body].concat();
    let theirs = block_on(async {
        let answer = answer_by_hyper(&answer).await?;
        Some(answer.into_body().collect().await.ok()?.to_bytes().to_vec())
    });
    assert_eq!(Some(ours), theirs);
}

/// A body that comes in pieces, with the end of the connection behind it; `None` if it is not whole.
fn read_body(mut framing: Framing, body: &[u8], piece: usize) -> Result<Option<Vec<u8>>, Malformed> {
    let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
    for piece in body.chunks(piece) {
        buffer.extend_from_slice(piece);
        while let BodyPart::Data(bytes) = framing.take(&mut buffer)? {
            read.extend_from_slice(&bytes);
        }
    }
    Ok((framing.is_done() || framing == Framing::UntilClose).then_some(read))
}

fn block_on<T>(story: impl Future<Output = T>) -> T {
    thread_local!(static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime"));
    RUNTIME.with(|runtime| runtime.block_on(story))
}

fn sorted(fields: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut sorted: Vec<_> =
        fields.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    sorted.sort();
    sorted
}

async fn request_by_hyper(head: &[u8]) -> Option<SeenRequest> {
    let (ours, mut theirs) = tokio::io::duplex(PIPE_BYTES);
    theirs.write_all(head).await.expect("there is room");
    theirs.shutdown().await.expect("the other end is open");
    let seen = Arc::new(Mutex::new(None));
    let service = service_fn(|request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let fields = COMPARED.iter().map(|(_, name)| *name).chain(["host"]).flat_map(|name| {
            parts.headers.get_all(name).iter().map(move |value| (name, value.as_bytes().to_vec()))
        });
        let request = SeenRequest {
            method: parts.method.to_string(),
            authority: parts.uri.authority().map(|authority| authority.as_str().to_owned()),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            version: parts.version,
            fields: fields.collect(),
            length: body.size_hint().exact(),
        };
        seen.lock().expect("no panic").get_or_insert(request);
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(ours), service);
    // Its error is that of the body, which is not there.
    let _ = served.await;
    seen.lock().expect("no panic").take()
}

async fn answer_by_hyper(answer: &[u8]) -> Option<Response<Incoming>> {
    let (ours, mut theirs) = tokio::io::duplex(PIPE_BYTES);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.expect("a connection");
    tokio::spawn(connection);
    let request = Request::post("/").body(Empty::<Bytes>::new()).expect("a request");
    let answered = tokio::spawn(sender.send_request(request));
    // An answer before the request is none.
    assert!(theirs.read(&mut [0; 256]).await.expect("a request") > 0, "the request was sent");
    theirs.write_all(answer).await.expect("there is room");
    drop(theirs);
    answered.await.expect("no panic").ok()
}
