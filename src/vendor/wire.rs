//! Heads of HTTP/1.1 answers as bytes (RFC 9112). Pure.
//!
//! The vendor's answers are the only ones read here, and it is not asked for more than an answer: no upgrades, no
//! trailers, no `HEAD`. What can be read in two ways is no answer.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Extensions, StatusCode};
use hyper::ext::ReasonPhrase;

use crate::framing::{Chunk, Framing, Malformed};

/// Longest head, interim answers before it apart, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Number of header fields of a head.
const FIELDS_MAX: usize = 100;
/// Interim answers (1xx) before the answer.
const INTERIM_MAX: u32 = 16;
/// Fields that the gateway adds to an answer, a request id and six about its budget: room for them is made at once.
const FIELDS_TO_COME: usize = 7;

/// `D/rest_api_v3_push`, on the rate of calls.
static RATE_FIELDS: [HeaderName; 4] = [
    HeaderName::from_static("x-rate-limit-limit"),
    HeaderName::from_static("x-rate-limit-quota"),
    HeaderName::from_static("x-rate-limit-remaining"),
    HeaderName::from_static("x-rate-limit-reset"),
];
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// A head without what belongs to the vendor's connection.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Holds the reason phrase if it is not the usual one.
    pub(super) extensions: Extensions,
    /// Whether the connection can serve another call after the body.
    pub(super) keep_alive: bool,
}

/// Reads heads out of a buffer until there is one that is no interim answer.
#[derive(Default)]
pub(super) struct HeadReader {
    interim: u32,
}

impl HeadReader {
    /// The head and the framing of its body, if the buffer holds all of it. What was read is taken out.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<(Head, Framing)>, Malformed> {
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

fn head(answer: &httparse::Response<'_, '_>, raw: &[u8]) -> Result<(Head, Framing), Malformed> {
    let status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(|_| Malformed)?;
    let ours = Bytes::copy_from_slice(raw);
    let mut headers = HeaderMap::with_capacity(answer.headers.len() + FIELDS_TO_COME);
    let mut framing = Fields::default();
    let mut connection =
        Connection { keep_alive: answer.version == Some(1), closes: false, named: Vec::new() };
    for field in answer.headers.iter() {
        let name = name(field.name.as_bytes())?;
        if name == CONTENT_LENGTH {
            framing.length(field.value)?;
        } else if name == TRANSFER_ENCODING {
            framing.coding(answer.version, field.value)?;
            continue;
        } else if name == CONNECTION {
            connection.read(field.value);
            continue;
        } else if belongs_to_the_connection(&name) {
            continue;
        }
        let at = field.value.as_ptr() as usize - raw.as_ptr() as usize;
        let value = ours.slice(at..at + field.value.len());
        headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| Malformed)?);
    }
    for name in &connection.named {
        headers.remove(name);
    }
    let framing = framing.of(status)?;
    if matches!(framing, Framing::Chunked(_)) {
        headers.remove(CONTENT_LENGTH);
    }
    let mut extensions = Extensions::new();
    let reason = answer.reason.unwrap_or_default();
    if !reason.is_empty()
        && Some(reason) != status.canonical_reason()
        && let Ok(phrase) = ReasonPhrase::try_from(reason.as_bytes())
    {
        extensions.insert(phrase);
    }
    let keep_alive = connection.keep_alive && !connection.closes && framing != Framing::UntilClose;
    Ok((Head { status, headers, extensions, keep_alive }, framing))
}

/// A field's name. Those the vendor sends with every answer are kept ready: reading one anew allocates.
fn name(bytes: &[u8]) -> Result<HeaderName, Malformed> {
    let kept = RATE_FIELDS.iter().find(|kept| kept.as_str().as_bytes().eq_ignore_ascii_case(bytes));
    match kept {
        Some(kept) => Ok(kept.clone()),
        None => HeaderName::from_bytes(bytes).map_err(|_| Malformed),
    }
}

/// RFC 9110, 7.6.1, and what older programs send; `Connection` and `Transfer-Encoding` are read apart.
fn belongs_to_the_connection(name: &HeaderName) -> bool {
    [&KEEP_ALIVE, &PROXY_AUTHENTICATE, &PROXY_AUTHORIZATION, &PROXY_CONNECTION, &TE, &TRAILER, &UPGRADE]
        .contains(&name)
}

/// What `Connection` says.
struct Connection {
    keep_alive: bool,
    /// It was said once, so whatever else is said does not count.
    closes: bool,
    /// Fields that end with this connection.
    named: Vec<HeaderName>,
}

impl Connection {
    fn read(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                // An HTTP/1.0 answer is kept open by it.
                self.keep_alive = true;
            } else if let Ok(name) = HeaderName::from_bytes(token) {
                self.named.push(name);
            }
        }
    }
}

/// The header fields that frame a body.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    /// `Content-Length`, once or the same number several times.
    fn length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for number in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
                return Err(Malformed);
            }
            let text = std::str::from_utf8(number).map_err(|_| Malformed)?;
            let number = text.parse().map_err(|_| Malformed)?;
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
