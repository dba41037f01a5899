//! What HTTP/1.1 costs a push on each side: the gateway's own code, and hyper behind the same seam. `cargo bench --bench codec`
//!
//! Everything runs over pipes in memory in one thread. `pipe` moves the same bytes and reads nothing of them; what the
//! others take beyond it is what they cost. `hyper` works with hyper's own types, `hyper_seam` turns them into ours and
//! back, as the rest of the gateway wants them. To count instructions, run one of them alone:
//! `valgrind --tool=callgrind target/release/deps/codec-… count server ours 1000`, with two numbers of rounds.

use std::convert::Infallible;
use std::future::poll_fn;
use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jpush_gateway::http1::body::{BodyCut, BodySource, Gone};
use jpush_gateway::http1::client::{CallLimits, ClientConnection, ServerStream};
use jpush_gateway::http1::fields::{FieldValue, Fields};
use jpush_gateway::http1::message::Message;
use jpush_gateway::http1::response::Response;
use jpush_gateway::http1::server::{Answer, NotARequest, Progress, ServerConnection, Service};
use jpush_gateway::request::{Field, RequestHead};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::runtime::Builder;

const PIPE_BYTES: usize = 64 * 1024;
const CREDENTIAL: &str = "Basic N2Q0MzFlNDJkZmE2YTZkNjkzYWMyZDA0OjVlOTg3YWM2ZDJlMDRkOTVhOWQ4ZjBkMQ==";
const REQUEST_ID: &str = "0b5c1ab4-2f0e-4f57-9d9c-0d2f3a6a1c55";
const NOW: &str = "Fri, 27 Nov 2026 06:00:00 GMT";
const SAID: &[u8] = br#"{"sendno":"0","msg_id":"18100287008546343"}"#;

/// An answer of the vendor's to a push.
const VENDOR: &str = "HTTP/1.1 200 OK\r\nServer: openresty\r\nDate: Fri, 27 Nov 2026 06:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 43\r\nConnection: keep-alive\r\nX-Rate-Limit-Limit: 600\r\n\
    X-Rate-Limit-Remaining: 599\r\nX-Rate-Limit-Reset: 60\r\nX-Jpush-Msgid: 18100287008546343\r\n\r\n\
    {\"sendno\":\"0\",\"msg_id\":\"18100287008546343\"}";

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Pipe,
    Ours,
    HyperSeam,
    Hyper,
}

const WAYS: [(&str, Way); 4] =
    [("pipe", Way::Pipe), ("ours", Way::Ours), ("hyper_seam", Way::HyperSeam), ("hyper", Way::Hyper)];

/// A body of 300 bytes.
fn push_body() -> Bytes {
    let text = "x".repeat(300 - r#"{"platform":"all","audience":"all","notification":{"alert":""}}"#.len());
    Bytes::from(format!(r#"{{"platform":"all","audience":"all","notification":{{"alert":"{text}"}}}}"#))
}

/// A caller's push.
fn push() -> Vec<u8> {
    let body = push_body();
    let head = format!(
        "POST /v3/push HTTP/1.1\r\nHost: gateway.local:8080\r\nUser-Agent: python-requests/2.32\r\nAccept: */*\r\n\
         Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nAuthorization: {CREDENTIAL}\r\nX-Request-Id: {REQUEST_ID}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// Length of the message that begins these bytes, once all of its head is here.
fn message_bytes(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head].split_once("content-length: ")?.1.split_once('\r')?.0;
    Some(head + length.parse::<usize>().ok()?)
}

/// Reads the first message, which tells how long the others are.
async fn first_message(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while message_bytes(&bytes) != Some(bytes.len()) {
        assert!(stream.read_buf(&mut bytes).await.expect("a pipe") > 0, "a whole message");
    }
    bytes
}

/// The header fields of an answer to a push.
fn answer_fields() -> Fields {
    let mut fields = Fields::with_room(8, 300);
    fields.append("Date", |value| value.text(NOW));
    fields.append("Content-Type", |value| value.text("application/json"));
    fields.append("X-Request-Id", |value| value.text(REQUEST_ID));
    for (name, value) in
        [("X-Rate-Limit-Limit", 600_u32), ("X-Rate-Limit-Quota", 600), ("X-Rate-Limit-Remaining", 599)]
    {
        fields.append(name, |written| written.number(value));
    }
    fields.append("X-Rate-Limit-Reset", |value| value.number(60_u32));
    fields.append("Ratelimit-Policy", |value| value.text("\"push\";q=600;w=60"));
    fields.append("Ratelimit", |value| value.text("\"push\";r=599;t=60"));
    fields
}

/// The same for hyper, whose names are parsed once.
fn answer_map() -> HeaderMap {
    static NUMBERS: [(HeaderName, u16); 4] = [
        (HeaderName::from_static("x-rate-limit-limit"), 600),
        (HeaderName::from_static("x-rate-limit-quota"), 600),
        (HeaderName::from_static("x-rate-limit-remaining"), 599),
        (HeaderName::from_static("x-rate-limit-reset"), 60),
    ];
    static TEXTS: [(HeaderName, &str); 2] = [
        (HeaderName::from_static("ratelimit-policy"), "\"push\";q=600;w=60"),
        (HeaderName::from_static("ratelimit"), "\"push\";r=599;t=60"),
    ];
    static ID: HeaderName = HeaderName::from_static("x-request-id");
    let mut map = HeaderMap::with_capacity(16);
    map.append(DATE, HeaderValue::from_static(NOW));
    map.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    map.append(&ID, HeaderValue::from_static(REQUEST_ID));
    for (name, value) in &NUMBERS {
        map.append(name, HeaderValue::from(*value));
    }
    for (name, value) in &TEXTS {
        map.append(name, HeaderValue::from_static(value));
    }
    map
}

/// Fields of a push that the gateway looks at.
static LOOKED_AT: [(Field, HeaderName); 6] = [
    (Field::Authorization, AUTHORIZATION),
    (Field::ContentType, CONTENT_TYPE),
    (Field::RequestId, HeaderName::from_static("x-request-id")),
    (Field::Prefer, HeaderName::from_static("prefer")),
    (Field::JpushTenant, HeaderName::from_static("x-jpush-tenant")),
    (Field::IdempotencyKey, HeaderName::from_static("idempotency-key")),
];

/// Reads a push and answers it.
struct Answering;

/// An answer that nobody misses.
struct Answered(Response<Full<Bytes>>, Bytes);

impl Service for Answering {
    type Field = Field;
    type Progress = Self;
    type Answer = Answered;
    type Room = ();

    const HEAD_BYTES_MAX: usize = 48 * 1024;

    fn progress(&self) -> &Self {
        self
    }

    async fn answer(&self, head: &RequestHead, body: &mut dyn BodySource) -> Option<Answered> {
        for (field, _) in &LOOKED_AT {
            black_box(head.one(*field).is_ok());
        }
        let mut bytes = Vec::with_capacity(300);
        while poll_fn(|cx| body.poll_append(cx, &mut bytes, 64 * 1024)).await == Ok(true) {}
        black_box(&bytes);
        let said = Bytes::from_static(SAID);
        Some(Answered(Response::new(StatusCode::OK, answer_fields(), Full::new(said.clone())), said))
    }

    fn not_a_request(&self, _: NotARequest<'_>) {}

    fn room(&self, _: usize) -> Option<()> {
        Some(())
    }
}

impl Progress for Answering {
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

impl Answer for Answered {
    type Body = Full<Bytes>;
    type Held = ();

    fn response(&self) -> &Response<Full<Bytes>> {
        &self.0
    }

    fn whole_body(&self) -> Option<&Bytes> {
        Some(&self.1)
    }

    fn take_body(&mut self) -> Full<Bytes> {
        std::mem::take(&mut self.0.body)
    }

    fn take_held(&mut self) {}

    fn matters_if_lost(&self) -> bool {
        false
    }

    fn matters_at(&self, _: Instant) -> bool {
        false
    }

    fn may_be_lost(&self) {}

    fn lost(self) {}
}

/// A body of hyper's as the gateway reads it.
struct HyperBody(Incoming);

impl BodySource for HyperBody {
    fn declared(&self) -> Option<u64> {
        self.0.size_hint().exact()
    }

    fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        _: usize,
    ) -> Poll<Result<bool, BodyCut>> {
        match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            None => Poll::Ready(Ok(false)),
            Some(Ok(frame)) => {
                buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
                Poll::Ready(Ok(true))
            }
            Some(Err(_)) => Poll::Ready(Err(BodyCut)),
        }
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<Gone> {
        Poll::Pending
    }
}

async fn serve(way: Way, mut stream: DuplexStream) {
    let builder = hyper::server::conn::http1::Builder::new();
    match way {
        Way::Pipe => {
            let fields = answer_fields();
            let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
            fields.write(&mut answer);
            answer.extend_from_slice(format!("Content-Length: {}\r\n\r\n", SAID.len()).as_bytes());
            answer.extend_from_slice(SAID);
            let mut request = push();
            while stream.read_exact(&mut request).await.is_ok() {
                stream.write_all(&answer).await.expect("a pipe");
            }
        }
        Way::Ours => drop(ServerConnection::new(stream, &Answering).serve().await),
        Way::HyperSeam => {
            let service = service_fn(|request: Request<Incoming>| async {
                let (parts, incoming) = request.into_parts();
                let head = RequestHead::from(parts);
                let answer = Answering.answer(&head, &mut HyperBody(incoming)).await.expect("an answer").0;
                let mut response = http::Response::new(answer.body);
                *response.headers_mut() = HeaderMap::from(&answer.fields);
                Ok::<_, Infallible>(response)
            });
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
        Way::Hyper => {
            let service = service_fn(|request: Request<Incoming>| async {
                let (parts, incoming) = request.into_parts();
                for (_, name) in &LOOKED_AT {
                    black_box(parts.headers.get(name).is_some());
                }
                black_box(incoming.collect().await.expect("a body").to_bytes());
                let mut response = http::Response::new(Full::new(Bytes::from_static(SAID)));
                *response.headers_mut() = answer_map();
                Ok::<_, Infallible>(response)
            });
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    }
}

/// Asks so many times, one time after the other.
async fn server_side(way: Way, rounds: u64) -> Duration {
    let (theirs, mut caller) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(serve(way, theirs));
    let push = push();
    caller.write_all(&push).await.expect("a pipe");
    let mut answer = first_message(&mut caller).await;
    let start = Instant::now();
    for _ in 0..rounds {
        caller.write_all(&push).await.expect("a pipe");
        caller.read_exact(&mut answer).await.expect("an answer");
    }
    start.elapsed()
}

/// A pipe that counts what was written, as sockets to the vendor do.
struct Counted {
    stream: DuplexStream,
    written: u64,
}

impl ServerStream for Counted {
    fn written(&self) -> u64 {
        self.written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Fields of a push to the vendor, but for its length.
fn vendor_fields() -> [(&'static str, HeaderValue); 6] {
    let value = HeaderValue::from_static;
    [
        ("Host", value("api.jpush.cn")),
        ("Authorization", value(CREDENTIAL)),
        ("User-Agent", value("jpush-gateway/0.1.0")),
        ("X-Request-Id", value(REQUEST_ID)),
        ("Accept", value("*/*")),
        ("Content-Type", value("application/json")),
    ]
}

/// Answers pushes whose length the first one tells.
async fn vendor(mut stream: DuplexStream) {
    let mut request = first_message(&mut stream).await;
    loop {
        stream.write_all(VENDOR.as_bytes()).await.expect("a pipe");
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
    }
}

/// Calls so many times, one time after the other, with the answer's fields as the gateway wants them.
async fn client_side(way: Way, rounds: u64) -> Duration {
    let (mut stream, theirs) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(vendor(theirs));
    let (body, fields) = (push_body(), vendor_fields());
    match way {
        Way::Pipe => {
            let mut message =
                format!("POST /v3/push HTTP/1.1\r\nContent-Length: {}\r\n", body.len()).into_bytes();
            for (name, value) in &fields {
                message.extend_from_slice(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
            message.extend_from_slice(&[b"\r\n", &body[..]].concat());
            let mut answer = VENDOR.as_bytes().to_vec();
            let start = Instant::now();
            for _ in 0..rounds {
                stream.write_all(&message).await.expect("a pipe");
                stream.read_exact(&mut answer).await.expect("an answer");
            }
            start.elapsed()
        }
        Way::Ours => {
            let mut connection = ClientConnection::new(Counted { stream, written: 0 });
            let limits = Duration::from_hours(1);
            let start = Instant::now();
            for _ in 0..rounds {
                let mut head = Message::to("POST", "/v3/push", body.len());
                for (name, value) in &fields {
                    head = head.field(name, FieldValue::from(value));
                }
                let message = head.body(body.clone());
                let limits = CallLimits { start, due: start + limits, response: limits };
                let mut timed = connection.exchange(&message, limits).await.expect("a head");
                while let Some(part) = poll_fn(|cx| connection.poll_body(&mut timed.framing, timed.due, cx))
                    .await
                    .expect("a body")
                {
                    black_box(part);
                }
                black_box(timed.head.fields.get("X-Rate-Limit-Remaining"));
                assert!(connection.finish(), "it can be used again");
            }
            start.elapsed()
        }
        Way::HyperSeam | Way::Hyper => {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
            tokio::spawn(connection);
            let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).expect("a name");
            let fields = fields.map(|(known, value)| (name(known), value));
            let remaining = name("x-rate-limit-remaining");
            let start = Instant::now();
            for _ in 0..rounds {
                sender.ready().await.expect("it can be used again");
                let mut request = Request::post("/v3/push").body(Full::new(body.clone())).expect("a request");
                for (name, value) in &fields {
                    request.headers_mut().append(name, value.clone());
                }
                let (parts, body) = sender.send_request(request).await.expect("a head").into_parts();
                black_box(body.collect().await.expect("a body").to_bytes());
                if way == Way::Hyper {
                    black_box(parts.headers.get(&remaining));
                    continue;
                }
                black_box(fields_of(&parts.headers).get("X-Rate-Limit-Remaining"));
            }
            start.elapsed()
        }
    }
}

/// The fields that the rest of the gateway reads, of hyper's map.
fn fields_of(map: &HeaderMap) -> Fields {
    const NAMES: [(&str, &str); 7] = [
        ("server", "Server"),
        ("date", "Date"),
        ("content-type", "Content-Type"),
        ("x-rate-limit-limit", "X-Rate-Limit-Limit"),
        ("x-rate-limit-remaining", "X-Rate-Limit-Remaining"),
        ("x-rate-limit-reset", "X-Rate-Limit-Reset"),
        ("x-jpush-msgid", "X-Jpush-Msgid"),
    ];
    let mut fields = Fields::with_room(map.len(), 300);
    for (name, value) in map {
        if let Some((_, written)) = NAMES.iter().find(|(known, _)| known == name) {
            fields.append(written, |written| written.value(value));
        }
    }
    fields
}

fn run(side: &str, way: Way, rounds: u64) -> Duration {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async move {
        match side {
            "server" => server_side(way, rounds).await,
            _ => client_side(way, rounds).await,
        }
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, count, side, name, rounds] = &arguments[..]
        && count == "count"
    {
        let way = WAYS.iter().find(|(known, _)| known == name).expect("one of the ways").1;
        black_box(run(side, way, rounds.parse().expect("a number of rounds")));
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for side in ["server", "client"] {
        let mut group = criterion.benchmark_group(side);
        for (name, way) in WAYS {
            group.bench_function(name, |bencher| bencher.iter_custom(|rounds| run(side, way, rounds)));
        }
        group.finish();
    }
    criterion.final_summary();
}
