//! Heads of answers as bytes of HTTP/1.1 (RFC 9112, 4). Pure, but for the date.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Version;

use super::response::Response;

/// Room for what a head has beside its fields: the status line, the length, and what it says of the connection.
const HEAD_BYTES: usize = 128;

/// The properties of a request that its answer depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestTraits {
    pub(super) version: Version,
    /// Whether only the head of the answer is wanted.
    pub(super) head: bool,
}

/// The way the end of an answer's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none, and nothing is said about it.
    None,
    /// After so many bytes; with a `HEAD`, it would.
    Bytes(u64),
    /// With its last chunk.
    Chunks,
    /// The body ends with the connection.
    Close,
}

impl Length {
    /// The way that suits an answer with a body of so many bytes, or of unknown length.
    pub(super) fn of<B>(answer: &Response<B>, bytes: Option<u64>, asked: RequestTraits) -> Self {
        match bytes {
            _ if matches!(answer.status.as_u16(), 204 | 304) => Self::None,
            Some(bytes) => Self::Bytes(bytes),
            None if asked.version == Version::HTTP_10 => Self::Close,
            None => Self::Chunks,
        }
    }
}

/// Writes the head of an answer, with room for so many bytes behind it.
pub(super) fn head<B>(
    answer: &Response<B>,
    length: Length,
    keeps: bool,
    asked: RequestTraits,
    room: usize,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + answer.fields.text_bytes() + room);
    // As the request: some old clients read nothing else.
    bytes.extend_from_slice(if asked.version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    bytes.extend_from_slice(answer.status.as_str().as_bytes());
    bytes.push(b' ');
    let usual = || answer.status.canonical_reason().unwrap_or_default();
    bytes.extend_from_slice(answer.reason.as_deref().unwrap_or_else(usual).as_bytes());
    bytes.extend_from_slice(b"\r\n");
    answer.fields.write(&mut bytes);
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
    if answer.fields.get("Date").is_none() {
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
    use http::StatusCode;

    use super::*;
    use crate::http1::fields::Fields;

    const ASKED: RequestTraits = RequestTraits { version: Version::HTTP_11, head: false };
    const OLD: RequestTraits = RequestTraits { version: Version::HTTP_10, head: false };

    fn answer(status: u16) -> Response<()> {
        let mut fields = Fields::default();
        fields.append("Date", |value| value.text("now"));
        Response::new(StatusCode::from_u16(status).expect("a status"), fields, ())
    }

    #[test]
    fn heads_say_how_their_bodies_end_and_whether_the_connection_does() {
        let rows = [
            (200, Some(2), true, ASKED, "1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n"),
            (200, None, true, ASKED, "1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n"),
            (200, None, false, OLD, "1.0 200 OK\r\nDate: now\r\nConnection: close\r\n"),
            (
                200,
                Some(0),
                true,
                OLD,
                "1.0 200 OK\r\nDate: now\r\nContent-Length: 0\r\nConnection: keep-alive\r\n",
            ),
            (204, Some(0), true, ASKED, "1.1 204 No Content\r\nDate: now\r\n"),
            (
                599,
                Some(0),
                false,
                ASKED,
                "1.1 599 \r\nDate: now\r\nContent-Length: 0\r\nConnection: close\r\n",
            ),
        ];
        for (status, bytes, keeps, asked, expected) in rows {
            let answer = answer(status);
            let written = head(&answer, Length::of(&answer, bytes, asked), keeps, asked, 0);
            assert_eq!(String::from_utf8(written).expect("ASCII"), format!("HTTP/{expected}\r\n"));
        }
    }

    #[test]
    fn the_vendors_reason_stays_and_a_date_is_added() {
        let mut answer = Response { reason: Some("Fine".into()), ..answer(200) };
        answer.fields.remove("Date");
        let text = String::from_utf8(head(&answer, Length::None, true, ASKED, 0)).expect("ASCII");
        assert!(text.starts_with("HTTP/1.1 200 Fine\r\nDate: "), "{text}");
        assert!(text.ends_with(" GMT\r\n\r\n"), "{text}");
    }
}
