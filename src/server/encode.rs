//! Heads of answers as bytes of HTTP/1.1 (RFC 9112, 4). Pure, but for the date.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderName, Version};
use hyper::ext::ReasonPhrase;

use super::http1::Asked;

/// Room for a head; longer ones grow.
const HEAD_BYTES: usize = 640;

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none, and nothing is said about it.
    None,
    /// After so many bytes; with a `HEAD`, it would.
    Bytes(u64),
    /// With its last chunk.
    Chunks,
    /// With the connection.
    Close,
}

impl Length {
    /// What fits an answer whose body has so many bytes, or nobody knows how many.
    pub(super) fn of(parts: &Parts, bytes: Option<u64>, asked: Asked) -> Self {
        match bytes {
            _ if matches!(parts.status.as_u16(), 204 | 304) => Self::None,
            Some(bytes) => Self::Bytes(bytes),
            None if asked.version == Version::HTTP_10 => Self::Close,
            None => Self::Chunks,
        }
    }
}

/// Writes the head of an answer, with room for so many bytes behind it.
pub(super) fn head(parts: &Parts, length: Length, keeps: bool, asked: Asked, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + room);
    // As the request: some old clients read nothing else.
    bytes.extend_from_slice(if asked.version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    bytes.extend_from_slice(parts.status.as_str().as_bytes());
    bytes.push(b' ');
    let usual = || parts.status.canonical_reason().unwrap_or_default().as_bytes();
    bytes.extend_from_slice(parts.extensions.get().map_or_else(usual, ReasonPhrase::as_bytes));
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        // These are ours to say.
        if *name != CONTENT_LENGTH && *name != CONNECTION && *name != TRANSFER_ENCODING {
            write_name(&mut bytes, name);
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
    }
    match length {
        Length::Bytes(number) => {
            bytes.extend_from_slice(b"Content-Length: ");
            bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        Length::Chunks => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Length::None | Length::Close => {}
    }
    if !keeps {
        bytes.extend_from_slice(b"Connection: close\r\n");
    } else if asked.version == Version::HTTP_10 {
        bytes.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    if !parts.headers.contains_key(DATE) {
        bytes.extend_from_slice(b"Date: ");
        append_date(&mut bytes);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A chunk of a body; of no bytes, its end.
pub(super) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// In title case, as some old clients expect it.
fn write_name(bytes: &mut Vec<u8>, name: &HeaderName) {
    let start = bytes.len();
    bytes.extend_from_slice(name.as_str().as_bytes());
    let mut begins = true;
    for byte in &mut bytes[start..] {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = *byte == b'-';
    }
    bytes.extend_from_slice(b": ");
}

/// The time as a header says it; written once a second.
fn append_date(bytes: &mut Vec<u8>) {
    thread_local!(static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    WRITTEN.with_borrow_mut(|(written, text)| {
        if *written != second || text.is_empty() {
            (*written, *text) = (second, httpdate::fmt_http_date(now));
        }
        bytes.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Response};

    use super::*;

    const ASKED: Asked = Asked { version: Version::HTTP_11, head: false };

    fn written(answer: http::response::Builder, bytes: Option<u64>, keeps: bool, asked: Asked) -> String {
        let parts = answer.header("date", "now").body(()).expect("an answer").into_parts().0;
        let length = Length::of(&parts, bytes, asked);
        String::from_utf8(head(&parts, length, keeps, asked, 0)).expect("ASCII")
    }

    #[test]
    fn heads_say_how_their_bodies_end_and_whether_the_connection_does() {
        let answer = || Response::builder();
        let old = Asked { version: Version::HTTP_10, ..ASKED };
        let stray =
            |answer: http::response::Builder| answer.header("content-length", "9").header("connection", "x");
        let rows = [
            (written(answer(), Some(2), true, ASKED), "1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n"),
            (
                written(stray(answer()), Some(2), true, ASKED),
                "1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n",
            ),
            (
                written(answer(), None, true, ASKED),
                "1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n",
            ),
            (written(answer(), None, false, old), "1.0 200 OK\r\nDate: now\r\nConnection: close\r\n"),
            (
                written(answer(), Some(0), true, old),
                "1.0 200 OK\r\nDate: now\r\nContent-Length: 0\r\nConnection: keep-alive\r\n",
            ),
            (written(answer().status(204), Some(0), true, ASKED), "1.1 204 No Content\r\nDate: now\r\n"),
            (
                written(answer().status(599).header("x-a-bC", "1"), Some(0), false, ASKED),
                "1.1 599 \r\nX-A-Bc: 1\r\nDate: now\r\nContent-Length: 0\r\nConnection: close\r\n",
            ),
        ];
        for (written, expected) in rows {
            assert_eq!(written, format!("HTTP/{expected}\r\n"));
        }
    }

    #[test]
    fn the_vendors_reason_and_every_value_of_a_field_stay() {
        let mut answer = Response::new(());
        answer.extensions_mut().insert(ReasonPhrase::from_static(b"Fine"));
        for value in ["1", "2"] {
            answer.headers_mut().append("link", HeaderValue::from_static(value));
        }
        let parts = answer.into_parts().0;
        let text = String::from_utf8(head(&parts, Length::None, true, ASKED, 0)).expect("ASCII");
        assert!(text.starts_with("HTTP/1.1 200 Fine\r\nLink: 1\r\nLink: 2\r\nDate: "), "{text}");
        assert!(text.ends_with(" GMT\r\n\r\n"), "{text}");
    }
}
