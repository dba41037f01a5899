//! A stub vendor that treats each connection exactly as a test says, and records the bytes it got.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::client::find;
use super::{PATIENCE, wait_until};

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The request line.
    pub(crate) line: String,
    /// Header fields in the order and case in which they were sent.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Names of the header fields, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.headers.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names
    }
}

/// Events at the stub.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    ended: AtomicUsize,
    requests: Mutex<Vec<Received>>,
}

/// A listening stub. It accepts no more connections after it is dropped.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    stopped: Arc<AtomicBool>,
}

impl Stub {
    /// Runs `talk` on every connection, each on a thread of its own.
    pub(crate) fn start(talk: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"), talk)
    }

    /// The same on this listener.
    pub(crate) fn on(listener: TcpListener, talk: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("an address");
        let (seen, stopped) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (seen_here, stopped_here) = (Arc::clone(&seen), Arc::clone(&stopped));
        let talk = Arc::new(talk);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped_here.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                seen_here.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, talk) = (Arc::clone(&seen_here), Arc::clone(&talk));
                std::thread::spawn(move || {
                    stream.set_nodelay(true).expect("no delay is set");
                    stream.set_read_timeout(Some(2 * PATIENCE)).expect("a time-out is set");
                    talk(&mut Talk { stream, over: false, seen: Arc::clone(&seen), unread: Vec::new() });
                    seen.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, stopped }
    }

    /// Starts a stub that answers every request with these bytes.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |talk| talk.answer_all(&answer))
    }

    /// Starts a stub that answers every request with an empty JSON object.
    pub(crate) fn good() -> Self {
        Self::answering(GOOD)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Complete requests, in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().expect("no stub panics").clone()
    }

    /// The only request so far; panics if there are none or more.
    #[track_caller]
    pub(crate) fn only(&self) -> Received {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "one request: {requests:?}");
        requests.into_iter().next().expect("one")
    }

    /// Waits until this many requests were received.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        wait_until("the vendor gets the request", || self.requests().len() >= count);
    }

    /// Waits until this many connections were closed here, and until the gateway can see that none is open.
    pub(crate) fn wait_for_ends(&self, count: usize) {
        wait_until("the vendor closes", || self.seen.ended.load(Ordering::SeqCst) >= count);
        // A busy system delivers a FIN or a reset a moment later.
        wait_until("the gateway's side sees the close", || !is_established_to(self.address.port()));
    }

    /// Number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

/// Whether any socket of this machine has an established connection to a port of the loopback address.
fn is_established_to(port: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux lists its sockets");
    let remote = format!("0100007F:{port:04X}");
    // Its columns: a number, the own address, the other one, and the state, of which 01 is ESTABLISHED.
    sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|columns| columns[2..4] == [&*remote, "01"])
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // A last connection wakes the listener up.
        let _ = TcpStream::connect(self.address);
    }
}

/// The vendor's answer of success.
pub(crate) const GOOD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// An answer with a JSON body.
pub(crate) fn json_answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// One connection to the stub.
pub(crate) struct Talk {
    stream: TcpStream,
    over: bool,
    seen: Arc<Seen>,
    unread: Vec<u8>,
}

impl Talk {
    /// Answers every request on this connection with these bytes.
    pub(crate) fn answer_all(&mut self, answer: impl AsRef<[u8]>) {
        while self.read_request().is_some() {
            self.write(&answer);
        }
    }

    /// Reads a whole request; `None` at the end of the connection.
    pub(crate) fn read_request(&mut self) -> Option<Received> {
        let (line, headers) = self.read_head()?;
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.map_or(0, |(_, value)| value.parse().expect("a length"));
        while self.unread.len() < length {
            self.read_more()?;
        }
        let body = self.unread.drain(..length).collect();
        let received = Received { line, headers, body };
        self.seen.requests.lock().expect("no stub panics").push(received.clone());
        Some(received)
    }

    /// Answers as a proxy that opened a tunnel, and relays bytes until both sides end.
    pub(crate) fn tunnel_to(&mut self, address: SocketAddr) {
        self.write("HTTP/1.1 200 Connection established\r\n\r\n");
        let vendor = TcpStream::connect(address).expect("the vendor accepts");
        let copy = |from: &TcpStream, to: &TcpStream| {
            let ends = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
            std::thread::spawn(move || {
                let (mut from, mut to) = ends;
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            })
        };
        let ways = [copy(&self.stream, &vendor), copy(&vendor, &self.stream)];
        for way in ways {
            way.join().expect("copying does not panic");
        }
    }

    /// Reads a head and leaves the body unread.
    pub(crate) fn read_head(&mut self) -> Option<(String, Vec<(String, String)>)> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end;
            }
            self.read_more()?;
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8(head[..end].to_vec()).expect("heads are UTF-8 here");
        let mut lines = head.split("\r\n").map(str::to_owned);
        let line = lines.next().expect("a request line");
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.to_owned()))
        });
        Some((line, headers.collect()))
    }

    /// Writes bytes. Errors are ignored: the gateway may have closed.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Waits until the gateway closes.
    pub(crate) fn wait_for_end(&mut self) {
        while self.read_more().is_some() {
            self.unread.clear();
        }
    }

    /// Makes the close a reset. Closing with unread or unsent bytes does that by itself; this always does.
    pub(crate) fn reset(&mut self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Resets the connection and does nothing more with it.
    pub(crate) fn reset_now(&mut self) {
        self.reset();
        // Nothing more is read; the reset is sent when `talk` returns.
        self.over = true;
    }

    /// Closes the stub's sending side.
    pub(crate) fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn read_more(&mut self) -> Option<()> {
        if self.over {
            return None;
        }
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(length) if length > 0 => {
                self.unread.extend_from_slice(&buffer[..length]);
                Some(())
            }
            _ => None,
        }
    }
}

/// A port on which nobody listens and that nobody else can take.
pub(crate) struct ClosedPort {
    pub(crate) address: SocketAddr,
    socket: socket2::Socket,
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.bind(&any.into()).expect("a port");
        let address = socket.local_addr().expect("an address").as_socket().expect("one of IPv4");
        Self { address, socket }
    }

    /// Starts to listen on the port.
    pub(crate) fn open(self) -> TcpListener {
        self.socket.listen(128).expect("the socket listens");
        self.socket.into()
    }
}
