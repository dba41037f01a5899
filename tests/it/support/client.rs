//! A client that sends exactly the bytes it is given, and shows exactly what it gets: the case of header names, and how
//! connections end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::PATIENCE;

/// An `Authorization` value with Basic credentials.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A request to send.
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: None }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST request with a JSON body.
    pub(crate) fn post(target: &str, json: &str) -> Self {
        Self::new("POST", target).header("Content-Type", "application/json").body(json)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn basic(self, user: &str, token: &str) -> Self {
        self.header("Authorization", &basic(user, token))
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// The head without the empty line at its end.
    pub(crate) fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: gateway\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head
    }

    /// The whole request, with a `Content-Length` if it has a body.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head().into_bytes();
        if let Some(body) = &self.body {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(body);
        } else {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// An answer as it was received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body was complete by its framing.
    pub(crate) whole: bool,
}

impl Answer {
    /// The only value of a header whose name has exactly this case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice in {self:?}");
        value
    }

    /// The value of a header as a number.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.parse().unwrap_or_else(|_| panic!("{name}: {value} is no number"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.in_any_case(name).is_some()
    }

    fn in_any_case(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| &**value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON in {self:?}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of `X-JPush-Gateway-Reason`.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.header("X-Jpush-Gateway-Reason")
    }

    /// Checks status, reason and nested code of an answer of the gateway's own.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, reason: &str, code: u64) -> &Self {
        let json = self.json();
        assert_eq!(
            (self.status, self.reason(), json["error"]["code"].as_u64()),
            (status, Some(reason), Some(code)),
            "{self:?} {}",
            self.text()
        );
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(1), "only the nested form: {json}");
        let section = format!(" (docs/answers.md#{reason})");
        assert!(json["error"]["message"].as_str().is_some_and(|told| told.ends_with(&section)), "{json}");
        self.assert_ours()
    }

    /// Checks the headers that every answer of the gateway's own has.
    #[track_caller]
    pub(crate) fn assert_ours(&self) -> &Self {
        assert!(self.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json")));
        assert_eq!(self.number("Content-Length"), self.body.len() as u64);
        assert!(self.header("X-Request-Id").is_some_and(|id| !id.is_empty()), "{self:?}");
        self
    }
}

/// A connection over TCP or TLS.
pub(crate) struct Connection<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out is set");
        stream.set_nodelay(true).expect("no delay is set");
        Self::over(stream)
    }

    /// The client's address.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("an address")
    }

    /// Waits until there are bytes to read, without reading them.
    pub(crate) fn wait_for_bytes(&self) {
        assert!(self.stream.peek(&mut [0]).expect("bytes") > 0, "an answer");
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    }

    /// Closes the sending side; answers can still be read.
    pub(crate) fn finish_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the gateway reads");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call(&mut self, request: &Request) -> Answer {
        self.send(request.bytes());
        if request.is_head() { self.read_head() } else { self.read_answer() }
    }

    /// Reads the next answer. Interim answers count, and have no body.
    pub(crate) fn read_answer(&mut self) -> Answer {
        self.try_read_answer().expect("an answer")
    }

    /// Reads the next answer. The error says how the connection ended before its head was complete.
    pub(crate) fn try_read_answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.try_read_head()?;
        if (100..200).contains(&answer.status) || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        if answer.in_any_case("transfer-encoding") == Some("chunked") {
            answer.whole = self.read_chunks(&mut answer.body).is_ok();
        } else if let Some(length) = answer.in_any_case("content-length") {
            let length: usize = length.parse().expect("a length");
            answer.whole = self.fill(length).is_ok();
            let length = length.min(self.unread.len());
            answer.body = self.unread.drain(..length).collect();
        } else {
            answer.whole = self.rest().is_ok();
            answer.body = std::mem::take(&mut self.unread);
        }
        Ok(answer)
    }

    /// Reads the next head without its body.
    pub(crate) fn read_head(&mut self) -> Answer {
        self.try_read_head().expect("an answer")
    }

    /// Reads the next head. The error says how the connection ended.
    pub(crate) fn try_read_head(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end;
            }
            self.read_more()?;
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8(head[..end].to_vec()).expect("heads are UTF-8 here");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status line");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("a header line: {line:?}"));
            (name.to_owned(), value.to_owned())
        });
        Ok(Answer {
            status: status[..3].parse().expect("a status"),
            headers: headers.collect(),
            body: Vec::new(),
            whole: true,
        })
    }

    /// Reads this many bytes without parsing them.
    pub(crate) fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        self.fill(length).expect("more bytes");
        self.unread.drain(..length).collect()
    }

    /// Whether the gateway closes the connection, with nothing more to read.
    pub(crate) fn ends(&mut self) -> bool {
        let ended = self.rest();
        ended.is_ok_and(|()| self.unread.is_empty())
    }

    /// Reads until the end; a reset counts as one.
    pub(crate) fn rest(&mut self) -> io::Result<()> {
        loop {
            match self.read_more() {
                Ok(()) => {}
                Err(error) if is_time_out(&error) => return Err(error),
                Err(_) => return Ok(()),
            }
        }
    }

    /// Takes the bytes that were read and not parsed.
    pub(crate) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = loop {
                if let Some(end) = find(&self.unread, b"\r\n") {
                    break self.unread.drain(..end + 2).collect::<Vec<_>>();
                }
                self.read_more()?;
            };
            let size = std::str::from_utf8(&line[..line.len() - 2]).expect("a chunk's size");
            let size = usize::from_str_radix(size, 16).expect("a chunk's size");
            self.fill(size + 2)?;
            body.extend(self.unread.drain(..size));
            self.unread.drain(..2);
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.unread.len() < length {
            self.read_more()?;
        }
        Ok(())
    }

    fn read_more(&mut self) -> io::Result<()> {
        match self.try_read()? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Reads once. Returns the number of bytes; 0 means the end.
    pub(crate) fn try_read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let length = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.unread.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

pub(super) fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
