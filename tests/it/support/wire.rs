//! Runs the request path in one process: bytes of a connection go in, and the outputs at both ends are checked.
//!
//! The server, the gateway's stages and the vendor's client are the real ones. Callers' connections are streams in
//! memory; the vendor is a stub on the loopback that records the bytes it gets. The clock is paused and jumps when
//! nothing is left to do, so the end of an exchange needs no timeout. The fuzz target uses this file as well.

use std::io::Write as _;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use jpush_gateway::active_config::ActiveConfig;
use jpush_gateway::admission::Admission;
use jpush_gateway::budget::{Budgets, Clock};
use jpush_gateway::config;
use jpush_gateway::gateway::{SharedState, Worker};
use jpush_gateway::operation::{self, CredentialRule, OperationId, Path, Scope};
use jpush_gateway::server::{CurrentWorker, serve_stream};
use jpush_gateway::telemetry::Telemetry;
use jpush_gateway::telemetry::access::AccessLog;
use jpush_gateway::telemetry::log_writer::LineLog;
use jpush_gateway::telemetry::metrics::log_lost;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Keys of the tenants with their secrets: app, dev and group of `shop`, and app of `market`.
const SHOP: (&str, &str) = ("7d431e42dfa6a6d693ac2d04", "5e987ac6d2e04d95a9d8f0d1");
const SHOP_DEV: (&str, &str) = ("115cc609860982ede0e3bdd4", "2e2023ade697b989087dcc53");
const SHOP_GROUP: (&str, &str) = ("group-e4c938578ee598be517a2243", "71d1dc4dae126674ed386b7b");
const MARKET: (&str, &str) = ("28a10c0904b5cd622aadaeb1", "e9fa2c9763debd20e7de1eb0");

/// A caller: its token, whether it may use `market`, and its scopes; `None` means all.
pub(crate) struct Caller {
    pub(crate) token: &'static str,
    market: bool,
    scopes: Option<&'static [Scope]>,
}

/// The callers of the configuration.
pub(crate) const CALLERS: [Caller; 3] = [
    Caller { token: "ordersTokenForTests20261", market: false, scopes: None },
    Caller { token: "bothTokenForTests2026abc", market: true, scopes: None },
    Caller { token: "pusherTokenForTests20262", market: false, scopes: Some(&[Scope::Push]) },
];

/// The stub's answer; none of the gateway's own answers looks like it.
const VENDOR_BODY: &str = r#"{"vendor":1}"#;

/// The only header names that may be sent to the vendor.
const HEADERS: [&str; 8] = [
    "host",
    "authorization",
    "user-agent",
    "x-request-id",
    "accept",
    "content-type",
    "x-encrypt-type",
    "content-length",
];

/// A gateway with its stub vendor.
pub(crate) struct World {
    runtime: Runtime,
    seat: Arc<CurrentWorker>,
    admission: Arc<Admission>,
    /// Requests that the vendor got since the last exchange began.
    sent: Arc<Mutex<Vec<Sent>>>,
    _log: LineLog,
}

/// A request as the vendor received it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    head: String,
    body: Vec<u8>,
}

/// The results of an exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) sent: Vec<Sent>,
    pub(crate) answers: Vec<u8>,
}

impl World {
    /// Starts the gateway and the stub vendor.
    pub(crate) fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
        let sent = Arc::new(Mutex::default());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let config = configuration(listener.local_addr().expect("an address").port());
        runtime.spawn(accept(listener, Arc::clone(&sent)));
        let active = Arc::new(ActiveConfig::new(&config, &Budgets::default()).expect("a good configuration"));
        let admission = Arc::new(Admission::new(&config.limits));
        let lost = log_lost();
        let log = LineLog::start("access-log", 1, AccessLog::new(std::io::sink(), lost.clone()), lost);
        let log = log.expect("a thread");
        let telemetry = Telemetry {
            metrics: Arc::default(),
            recent: Arc::default(),
            failures: Arc::default(),
            vendor_clock: Arc::default(),
            lane: log.lane(0),
            audit: None,
            spans: None,
        };
        let shared = SharedState {
            admission: Arc::clone(&admission),
            ledger: None,
            clock: Clock::start(),
            store: None,
        };
        let worker = Worker::new(active, shared, Arc::new(telemetry));
        Self { runtime, seat: Arc::new(CurrentWorker::from_pointee(worker)), admission, sent, _log: log }
    }

    /// Sends bytes on one connection, in pieces of this length, and reads until nothing more happens; then the caller
    /// disconnects. With an odd length, the caller ends its sending side together with the last piece and reads on.
    pub(crate) fn exchange(&self, input: &[u8], piece: usize) -> Exchange {
        let last =
            if piece.is_multiple_of(2) { input.len() } else { input.len().saturating_sub(1) / piece * piece };
        let (pieces, last) = input.split_at(last);
        self.sent.lock().expect("no panic").clear();
        let answers = self.runtime.block_on(async {
            let (mut caller, stream) = tokio::io::duplex(64 * 1024);
            let served = tokio::spawn(serve_stream(stream, Arc::clone(&self.seat)));
            let mut answers = Vec::new();
            for piece in pieces.chunks(piece) {
                // The gateway may have closed.
                let _ = self.until_idle(&mut answers, &mut caller, Some(piece)).await;
            }
            if !last.is_empty() {
                let sent = tokio::time::timeout(Duration::from_millis(1), caller.write_all(last));
                let _ = sent.await;
                let _ = caller.shutdown().await;
            }
            while self.until_idle(&mut answers, &mut caller, None).await.is_some() {}
            drop(caller);
            served.await.expect("a connection ends without a panic");
            // Waits for calls whose caller has disconnected.
            while self.admission.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answers
        });
        Exchange { sent: std::mem::take(&mut self.sent.lock().expect("no panic")), answers }
    }

    /// Writes and reads until both stop; `None` if nothing was read.
    async fn until_idle(
        &self,
        answers: &mut Vec<u8>,
        caller: &mut tokio::io::DuplexStream,
        piece: Option<&[u8]>,
    ) -> Option<()> {
        let (mut read, mut write) = tokio::io::split(caller);
        let (before, mut rest) = (answers.len(), piece.unwrap_or_default());
        loop {
            tokio::select! {
                biased;
                length = read.read_buf(answers) => if !matches!(length, Ok(1..)) { break },
                length = write.write(rest), if !rest.is_empty() => match length {
                    Ok(length) => rest = &rest[length..],
                    Err(_) => rest = &[],
                },
                // The paused clock moves only when all tasks wait.
                () = tokio::time::sleep(Duration::from_millis(1)) => break,
            }
        }
        (answers.len() > before).then_some(())
    }
}

/// The resend guard is off, because it would repeat the answer of one exchange in the next.
fn configuration(port: u16) -> config::Config {
    let url = format!("http://127.0.0.1:{port}");
    let budget = "{ limit: 4000000000, window: 1s }";
    let mut yaml = format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]\n\
         vendor: {{ api: \"{url}\", device: \"{url}\", report: \"{url}\", image_v4: \"{url}\" }}\n\
         budgets: {{ push: {budget}, file: {budget}, schedule: {budget}, device: {budget}, report: {budget} }}\n\
         limits: {{ json_body: 2KiB, batch_body: 4KiB }}\n\
         files: {{ max: 2KiB }}\n\
         tenants:\n  \
           shop:\n    \
             resend_guard: 0s\n    \
             app: {{ key: {}, secret: {{ value: {} }} }}\n    \
             dev: {{ key: {}, secret: {{ value: {} }} }}\n    \
             group: {{ key: {}, secret: {{ value: {} }} }}\n  \
           market:\n    \
             resend_guard: 0s\n    \
             app: {{ key: {}, secret: {{ value: {} }} }}\n\
         callers:\n",
        SHOP.0,
        SHOP.1,
        SHOP_DEV.0,
        SHOP_DEV.1,
        SHOP_GROUP.0.trim_start_matches("group-"),
        SHOP_GROUP.1,
        MARKET.0,
        MARKET.1
    )
    .into_bytes();
    for (number, caller) in CALLERS.iter().enumerate() {
        let digest = jpush_gateway::secret::TokenDigest::of(caller.token.as_bytes()).to_hex();
        let tenants = if caller.market { "shop, market" } else { "shop" };
        let scopes = match caller.scopes {
            None => "\"*\"".to_owned(),
            Some(scopes) => scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", "),
        };
        writeln!(
            yaml,
            "  c{number}: {{ tokens: [ {{ sha256: \"{digest}\" }} ], tenants: [ {tenants} ], allow: [ {scopes} ] }}"
        )
        .expect("writing to memory cannot fail");
    }
    let yaml = String::from_utf8(yaml).expect("ASCII");
    config::parse(&yaml, FilePath::new("."), &config::System).expect("a good configuration")
}

async fn accept(listener: TcpListener, sent: Arc<Mutex<Vec<Sent>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer_all(stream, Arc::clone(&sent)));
    }
}

/// Reads requests by the simplest rules, and answers them.
async fn answer_all(mut stream: TcpStream, sent: Arc<Mutex<Vec<Sent>>>) {
    let mut unread = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if !matches!(stream.read_buf(&mut unread).await, Ok(1..)) {
                return;
            }
        };
        let head = String::from_utf8_lossy(&unread[..end]).into_owned();
        unread.drain(..end + 4);
        let request = Sent { head, body: Vec::new() };
        let length = request.values("content-length").first().map_or(0, |value| value.parse().unwrap_or(0));
        while unread.len() < length {
            if !matches!(stream.read_buf(&mut unread).await, Ok(1..)) {
                return;
            }
        }
        let body = unread.drain(..length).collect();
        sent.lock().expect("no panic").push(Sent { body, ..request });
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{VENDOR_BODY}",
            VENDOR_BODY.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Sent {
    fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// Checks that the gateway may make this request for a caller whose token is in the input.
    fn judge(&self, input: &[u8], tokens: &[&Caller]) {
        let (line, headers) = self.head.split_once("\r\n").expect("a request has headers");
        let words: Vec<_> = line.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else { panic!("no request line: {line:?}") };
        assert!(asked_for(input).any(|asked| asked == target_parts(target)), "nobody asked for {target:?}");
        assert!(!target.contains('#'), "{target:?}");
        let path = target.split('?').next().unwrap_or_default();
        let sent = path;
        let path = Path::parse(path).unwrap_or_else(|bad| panic!("{target:?}: {bad}"));
        assert_eq!(path.as_str(), sent, "what was matched is what is sent");
        let operation = operation::find(method, &path);
        let operation = operation.unwrap_or_else(|_| panic!("not in the table: {line:?}")).operation;
        for header in headers.split("\r\n") {
            let (name, _) = header.split_once(": ").unwrap_or_else(|| panic!("no header: {header:?}"));
            assert!(HEADERS.contains(&&*name.to_ascii_lowercase()), "{name} has travelled");
        }
        for name in ["host", "authorization", "user-agent", "x-request-id"] {
            assert_eq!(self.values(name).len(), 1, "{name} in {:?}", self.head);
        }
        assert!(self.values("content-length").len() <= 1 && self.values("host")[0].starts_with("127.0.0.1:"));
        let may = tokens.iter().any(|caller| self.is_allowed(operation, caller));
        assert!(may, "nobody in the input may do this: {:?} {:?}", self.head, String::from_utf8_lossy(input));
        let chunked = input.windows(7).any(|word| word.eq_ignore_ascii_case(b"chunked"));
        let is_there = |body: &[u8]| body.is_empty() || input.windows(body.len()).any(|part| part == body);
        assert!(chunked || is_there(&self.body), "a body that nobody sent: {self:?}");
    }

    /// Whether the caller may use this credential for this operation.
    fn is_allowed(&self, operation: OperationId, caller: &Caller) -> bool {
        let used = self.values("authorization")[0];
        let shop: &[_] = match operation.credential {
            CredentialRule::App => &[SHOP],
            CredentialRule::AppOrDev => &[SHOP, SHOP_DEV],
            CredentialRule::Group => &[SHOP_GROUP],
        };
        let market = (caller.market && operation.credential != CredentialRule::Group).then_some(MARKET);
        let is_used = |(key, secret)| used == format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")));
        let scope = caller.scopes.is_none_or(|scopes| scopes.contains(&operation.scope));
        scope && shop.iter().copied().chain(market).any(is_used)
    }
}

/// A path, decoded and without redundant slashes, and its query as it is written.
type Parts = (Vec<u8>, Option<Vec<u8>>);

/// Every word of the input as if it were a target, so that anything cut off or changed is noticed.
fn asked_for(input: &[u8]) -> impl Iterator<Item = Parts> {
    input.split(|byte| *byte == b' ').map(target_parts)
}

fn target_parts(target: impl AsRef<[u8]>) -> Parts {
    let target = target.as_ref();
    let scheme = target.windows(3).position(|window| window == b"://").filter(|_| target[0] != b'/');
    let rooted = scheme.map_or(target, |at| {
        let rest = &target[at + 3..];
        &rest[rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len())..]
    });
    let mut parts = rooted.splitn(2, |byte| *byte == b'?');
    let path = decoded(parts.next().unwrap_or_default());
    let segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    (segments.collect::<Vec<_>>().join(&b'/'), parts.next().map(<[u8]>::to_vec))
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut rest, mut decoded) = (path, Vec::new());
    while let Some((byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *byte == b'%');
        decoded.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

/// Checks everything that must hold for any input.
pub(crate) fn judge(input: &[u8], exchange: &Exchange) {
    let tokens = tokens_in(input);
    for sent in &exchange.sent {
        sent.judge(input, &tokens);
    }
    assert!(exchange.sent.len() <= tokens.len(), "more calls than credentials: {:?}", exchange.sent);
    // An answer to HEAD announces a body that is not sent.
    if input.windows(4).any(|word| word == b"HEAD") {
        return;
    }
    let answers = answers_in(&exchange.answers);
    let of_vendor = answers.iter().filter(|(status, body)| *status == 200 && body == VENDOR_BODY.as_bytes());
    assert_eq!(of_vendor.count(), exchange.sent.len(), "every call that was made is answered, and no other");
    for (status, body) in &answers {
        let told = String::from_utf8_lossy(body);
        assert!((200..500).contains(status), "{status} {told}");
        for secret in [SHOP.1, SHOP_DEV.1, SHOP_GROUP.1, MARKET.1] {
            assert!(!told.contains(secret), "a secret in an answer");
        }
    }
}

/// The callers whose tokens occur in the input, plain or in base64, once for each occurrence.
fn tokens_in(input: &[u8]) -> Vec<&'static Caller> {
    let mut found = Vec::new();
    for caller in &CALLERS {
        let token = caller.token.as_bytes();
        let plain = input.windows(token.len()).filter(|window| *window == token).count();
        found.extend(std::iter::repeat_n(caller, plain));
    }
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    for run in input.split(|byte| !is_digit(byte)) {
        let digits = run.iter().rposition(|byte| *byte != b'=').map_or(&run[..0], |last| &run[..=last]);
        let Ok(pair) = STANDARD_NO_PAD.decode(digits) else { continue };
        found.extend(CALLERS.iter().find(|caller| {
            pair.strip_suffix(caller.token.as_bytes()).is_some_and(|user| user.ends_with(b":"))
        }));
    }
    found
}

/// Complete answers with their bodies, without interim ones.
fn answers_in(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).expect("heads are ASCII");
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let headers =
            lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}")));
        let length = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.map(|(_, value)| value.parse().expect("a length")).next().unwrap_or(0);
        assert!(length <= bytes.len(), "a cut answer: {head}");
        if status >= 200 {
            answers.push((status, bytes[..length].to_vec()));
        }
        bytes = &bytes[length..];
    }
    answers
}
