//! Heads of HTTP/1.1 answers as bytes (RFC 9112). Pure.
//!
//! No server is asked for more than an answer: no upgrades, no trailers, no `HEAD`. What can be read in two ways is no
//! answer.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::StatusCode;

use crate::http1::fields::{self, Fields, title_case};
use crate::http1::framing::{Chunk, Framing, Malformed};

/// Longest head, interim answers before it apart, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Number of header fields of a head.
const FIELDS_MAX: usize = 100;
/// Interim answers (1xx) before the answer.
const INTERIM_MAX: u32 = 16;

/// A head without what belongs to the server's connection.
pub struct AnswerHead {
    /// The status code.
    pub status: StatusCode,
    /// The reason phrase, if it is not the usual one.
    pub reason: Option<Box<str>>,
    /// Its header fields, without those of the connection and of framing.
    pub fields: Fields,
    /// Whether the connection can serve another call after the body.
    pub keep_alive: bool,
}

/// Reads heads out of a buffer until there is one that is no interim answer.
#[derive(Default)]
pub struct HeadReader {
    interim: u32,
}

impl HeadReader {
    /// The head and the framing of its body, if the buffer holds all of it. What was read is taken out.
    pub fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<(AnswerHead, Framing)>, Malformed> {
        loop {
            if buffer.is_empty() {
                return Ok(None);
            }
            let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
            let mut answer = httparse::Response::new(&mut []);
            let parsed = httparse::ParserConfig::default()
                .parse_response_with_uninit_headers(&mut answer, buffer, &mut fields)
                .map_err(|_| Malformed)?;
            let httparse::Status::Complete(length) = parsed else {
                return if buffer.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
            };
            if length > HEAD_BYTES_MAX {
                return Err(Malformed);
            }
            let code = answer.code.unwrap_or_default();
            if (100..200).contains(&code) {
                self.interim += 1;
                // Nothing that would switch protocols was asked for.
                if code == 101 || self.interim > INTERIM_MAX {
                    return Err(Malformed);
                }
                buffer.advance(length);
                continue;
            }
            let head = head(&answer, &buffer[..length])?;
            buffer.advance(length);
            return Ok(Some(head));
        }
    }
}

fn head(answer: &httparse::Response<'_, '_>, raw: &[u8]) -> Result<(AnswerHead, Framing), Malformed> {
    let status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(|_| Malformed)?;
    let mut fields = Fields::with_room(answer.headers.len(), raw.len());
    let mut framed = FramingHeaders::default();
    let mut connection =
        ConnectionField { keep_alive: answer.version == Some(1), closes: false, named: Vec::new() };
    for field in answer.headers.iter() {
        match HopByHop::named(field.name) {
            None => fields.append_parsed(field),
            Some(HopByHop::Length) => framed.length(field.value)?,
            Some(HopByHop::Coding) => framed.coding(answer.version, field.value)?,
            Some(HopByHop::Options) => connection.read(field.value),
            Some(HopByHop::Other) => {}
        }
    }
    for name in &connection.named {
        fields.remove(name);
    }
    let framing = framed.of(status)?;
    let reason =
        answer.reason.filter(|reason| !reason.is_empty() && Some(*reason) != status.canonical_reason());
    let keep_alive = connection.keep_alive && !connection.closes && framing != Framing::UntilClose;
    Ok((AnswerHead { status, reason: reason.map(Box::from), fields, keep_alive }, framing))
}

/// A field that belongs to the server's connection (RFC 9110, 7.6.1, and what older programs send) or frames the body.
#[derive(Clone, Copy)]
enum HopByHop {
    Length,
    Coding,
    Options,
    Other,
}

impl HopByHop {
    fn named(name: &str) -> Option<Self> {
        const NAMES: [(&str, HopByHop); 10] = [
            ("content-length", HopByHop::Length),
            ("transfer-encoding", HopByHop::Coding),
            ("connection", HopByHop::Options),
            ("keep-alive", HopByHop::Other),
            ("proxy-authenticate", HopByHop::Other),
            ("proxy-authorization", HopByHop::Other),
            ("proxy-connection", HopByHop::Other),
            ("te", HopByHop::Other),
            ("trailer", HopByHop::Other),
            ("upgrade", HopByHop::Other),
        ];
        NAMES.iter().find_map(|(known, kind)| known.eq_ignore_ascii_case(name).then_some(*kind))
    }
}

/// The content of the `Connection` fields.
struct ConnectionField {
    keep_alive: bool,
    /// `close` was named, so `keep-alive` does not count.
    closes: bool,
    /// Fields that end with this connection, in title case.
    named: Vec<String>,
}

impl ConnectionField {
    fn read(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                // An HTTP/1.0 answer is kept open by it.
                self.keep_alive = true;
            } else if let Ok(name) = std::str::from_utf8(token) {
                self.named.push(title_case(name));
            }
        }
    }
}

/// The header fields that frame a body.
#[derive(Default)]
struct FramingHeaders {
    length: Option<u64>,
    chunked: bool,
}

impl FramingHeaders {
    /// `Content-Length`, once or the same number several times.
    fn length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for number in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let number = fields::number(number).ok_or(Malformed)?;
            if self.length.is_some_and(|known| known != number) {
                return Err(Malformed);
            }
            self.length = Some(number);
        }
        Ok(())
    }

    /// `Transfer-Encoding`: nothing but `chunked`, as no other coding was offered, and not in HTTP/1.0, which has none.
    fn coding(&mut self, version: Option<u8>, value: &[u8]) -> Result<(), Malformed> {
        let only = value.trim_ascii().eq_ignore_ascii_case(b"chunked") && !self.chunked && version == Some(1);
        self.chunked = true;
        if only { Ok(()) } else { Err(Malformed) }
    }

    /// RFC 9112, 6.3. Both fields at once are an attempt to be read in two ways.
    fn of(&self, status: StatusCode) -> Result<Framing, Malformed> {
        if self.length.is_some() && self.chunked {
            return Err(Malformed);
        }
        if matches!(status.as_u16(), 204 | 304) {
            return Ok(Framing::Length(0));
        }
        Ok(match self.length {
            _ if self.chunked => Framing::Chunked(Chunk::Head),
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}
