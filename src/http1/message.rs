//! One request as it stands on the wire, written once and sent as often as it may be.

use bytes::Bytes;

use crate::http1::fields::FieldValue;

/// Bodies up to this length are copied behind the head, so that both leave in one write.
const JOINED_BYTES: usize = 16 * 1024;
/// Room for a head beside its target: longer ones grow.
const HEAD_BYTES: usize = 320;

/// A request. It may hold a credential in clear, so nothing prints it.
pub struct Message {
    /// The head, and a short body.
    joined: Vec<u8>,
    head_bytes: usize,
    /// A body too long to be copied behind the head.
    apart: Bytes,
}

/// A head that is being written.
pub struct HeadWriter {
    bytes: Vec<u8>,
    /// A body is expected, so that one that is not there has a length too (RFC 9110, 8.6).
    expects_body: bool,
}

impl Message {
    /// Begins a head: `target` is a path with its query, as it was parsed; room is made for a body of so many bytes.
    pub fn to(method: &'static str, target: &str, body_bytes: usize) -> HeadWriter {
        let joined = if body_bytes > JOINED_BYTES { 0 } else { body_bytes };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + target.len() + joined);
        for part in [method, " ", target, " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        HeadWriter { bytes, expects_body: method != "GET" }
    }

    /// The path it is sent to, without its query.
    pub fn path(&self) -> &str {
        let line = self.joined.split(|byte| *byte == b' ' || *byte == b'?').nth(1);
        std::str::from_utf8(line.unwrap_or_default()).expect("a target is written from a str")
    }

    /// The body of the message.
    pub fn body(&self) -> &[u8] {
        if self.apart.is_empty() { &self.joined[self.head_bytes..] } else { &self.apart }
    }

    /// Writes other bytes over those of the head that begin at `at`, as [`HeadWriter::len`] told it.
    pub fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        self.joined[..self.head_bytes][at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Both parts; the second is empty for short bodies.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        [&self.joined, &self.apart]
    }

    /// Length of both parts.
    pub(super) fn len(&self) -> usize {
        self.joined.len() + self.apart.len()
    }
}

impl HeadWriter {
    /// One header field. Neither part can hold a line end.
    #[must_use]
    #[expect(
        clippy::inline_always,
        reason = "the names are known where it is called, and are copied without a call"
    )]
    #[inline(always)]
    pub fn field<'v>(mut self, name: &'static str, value: impl Into<FieldValue<'v>>) -> Self {
        let value = value.into();
        self.bytes.reserve(name.len() + value.len() + 4);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(&value);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// Number of bytes so far.
    #[expect(clippy::len_without_is_empty, reason = "a head has a first line")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The body, and with it the end of the head. A body that is not there has a length too where one is expected.
    ///
    /// A short one is copied: kept, it would hold on to the buffer that the caller's connection reads into.
    pub fn body(self, body: Bytes) -> Message {
        let Self { mut bytes, expects_body } = self;
        if !body.is_empty() || expects_body {
            bytes.extend_from_slice(b"Content-Length: ");
            bytes.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        let head_bytes = bytes.len();
        if body.len() > JOINED_BYTES {
            return Message { joined: bytes, head_bytes, apart: body };
        }
        bytes.extend_from_slice(&body);
        Message { joined: bytes, head_bytes, apart: Bytes::new() }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn written(method: &'static str, body: &[u8]) -> (Vec<u8>, Message) {
        let message = Message::to(method, "/v3/x?a=1", body.len())
            .field("Host", &HeaderValue::from_static("vendor"))
            .body(Bytes::copy_from_slice(body));
        (message.parts().concat(), message)
    }

    #[test]
    fn heads_say_how_long_the_body_is() {
        let rows: [(&str, &[u8], &str); 4] = [
            ("POST", b"{}", "POST /v3/x?a=1 HTTP/1.1\r\nHost: vendor\r\nContent-Length: 2\r\n\r\n{}"),
            ("PUT", b"", "PUT /v3/x?a=1 HTTP/1.1\r\nHost: vendor\r\nContent-Length: 0\r\n\r\n"),
            ("DELETE", b"", "DELETE /v3/x?a=1 HTTP/1.1\r\nHost: vendor\r\nContent-Length: 0\r\n\r\n"),
            ("GET", b"", "GET /v3/x?a=1 HTTP/1.1\r\nHost: vendor\r\n\r\n"),
        ];
        for (method, body, expected) in rows {
            let (bytes, message) = written(method, body);
            assert_eq!((bytes.as_slice(), message.path()), (expected.as_bytes(), "/v3/x"));
        }
    }

    #[test]
    fn a_long_body_is_not_copied() {
        for length in [JOINED_BYTES, JOINED_BYTES + 1] {
            let (bytes, message) = written("POST", &vec![b'x'; length]);
            assert_eq!(bytes.len(), message.len());
            assert_eq!(message.body(), vec![b'x'; length]);
            assert_eq!(message.parts()[1].len(), if length > JOINED_BYTES { length } else { 0 });
        }
    }
}
