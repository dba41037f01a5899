//! The head of a request, whichever version of HTTP brought it. Pure.
//!
//! A few header fields are ever looked at. The others count towards the limits and are passed over.

use std::mem::MaybeUninit;

use http::uri::{Authority, PathAndQuery};
use http::{Method, Version};
use smallvec::SmallVec;

use super::fields::FieldValue;
use super::framing::{Chunk, Framing, ends_lines_plainly};
use super::target::Target;

/// Most header fields of a head that is read at all; the limit that callers are told is lower.
const FIELDS_MAX: usize = 128;
/// Fields we look at that a request usually has.
const FIELDS_USUAL: usize = 8;
/// Most names that a program can look at.
pub const FIELD_NAMES_MAX: u32 = 24;

/// The header fields that a program looks at, beside those that HTTP/1.1 itself needs.
pub trait FieldName: Copy + Eq {
    /// Reads a name as it stands on the wire, in any case; `None` if it is not one of them.
    fn read(name: &[u8]) -> Option<Self>;

    /// Its number among them, from zero and below [`FIELD_NAMES_MAX`].
    fn number(self) -> u32;
}

/// A field that HTTP/1.1 itself looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnField {
    Connection,
    ContentLength,
    Expect,
    Host,
    TransferEncoding,
}

/// A field that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptField<F> {
    Own(OwnField),
    Other(F),
}

impl<F: FieldName> KeptField<F> {
    fn read(name: &[u8]) -> Option<Self> {
        static OWN: [(OwnField, &str); 5] = [
            (OwnField::Connection, "connection"),
            (OwnField::ContentLength, "content-length"),
            (OwnField::Expect, "expect"),
            (OwnField::Host, "host"),
            (OwnField::TransferEncoding, "transfer-encoding"),
        ];
        find_name(&OWN, name).map(Self::Own).or_else(|| F::read(name).map(Self::Other))
    }

    /// A bit of its own.
    fn bit(self) -> u32 {
        match self {
            Self::Other(field) => {
                debug_assert!(field.number() < FIELD_NAMES_MAX, "or two fields share a bit");
                1 << field.number()
            }
            Self::Own(field) => 1 << (FIELD_NAMES_MAX + field as u32),
        }
    }
}

/// Finds what a name, in any case, stands for; the names of the table are in lower case.
pub fn find_name<F: Copy>(table: &[(F, &str)], name: &[u8]) -> Option<F> {
    let is_it = |known: &str| known.len() == name.len() && known.as_bytes().eq_ignore_ascii_case(name);
    table.iter().find_map(|(field, known)| is_it(known).then_some(*field))
}

/// The reason why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// The bytes are not HTTP/1.
    Malformed,
    /// There are too many fields.
    TooLarge,
}

/// The reason why the end of a request's body is unknown, or could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFraming {
    /// There are two `Content-Length` fields.
    RepeatedLength,
    /// `Content-Length` is no number of bytes.
    BadLength,
    /// A `Transfer-Encoding` other than one `chunked`.
    OtherCoding,
    /// There are both `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
}

/// A field was sent more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// The head of a request.
#[derive(Debug)]
pub struct Head<F> {
    /// The request method.
    pub method: Method,
    /// Its target, as it came.
    pub target: Target,
    /// The version it was sent in.
    pub version: Version,
    /// Bytes of all header fields as they stood on the wire, line ends included.
    pub section_bytes: usize,
    /// Number of all header fields.
    pub section_fields: usize,
    bad_framing: Option<BadFraming>,
    text: Box<[u8]>,
    fields: SmallVec<[FieldSpan<F>; FIELDS_USUAL]>,
    /// The bits of these fields: most that are asked for are not there.
    present: u32,
}

/// The place of a field's value in the text.
#[derive(Debug)]
struct FieldSpan<F> {
    field: KeptField<F>,
    start: u32,
    end: u32,
}

impl<F: FieldName> Head<F> {
    /// Reads a head of HTTP/1 that is here from its first byte to its empty line and no further, and judges how the
    /// body behind it ends. A head whose framing is bad can still be answered; its connection has no next request.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Result<Framing, BadFraming>), BadHead> {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(bytes, &mut fields).map_err(|error| match error {
            httparse::Error::TooManyHeaders => BadHead::TooLarge,
            _ => BadHead::Malformed,
        })?;
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
        else {
            return Err(BadHead::Malformed);
        };
        if parsed != httparse::Status::Complete(bytes.len()) || !ends_lines_plainly(bytes) {
            return Err(BadHead::Malformed);
        }
        let mut head = Self {
            method: Method::from_bytes(method.as_bytes()).map_err(|_| BadHead::Malformed)?,
            target: Target::parse(target),
            version: if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 },
            section_bytes: 0,
            section_fields: request.headers.len(),
            bad_framing: None,
            text: Box::from(bytes),
            fields: SmallVec::new(),
            present: 0,
        };
        for field in request.headers.iter() {
            head.section_bytes += line_bytes(field.name.as_bytes(), field.value);
            if let Some(known) = KeptField::read(field.name.as_bytes()) {
                let start = field.value.as_ptr() as usize - bytes.as_ptr() as usize;
                head.place(known, start, field.value.len());
            }
        }
        // It came with HTTP/1.1 (RFC 9112, 6.1): who knows what the sender means by it.
        if minor == 0 && head.own(OwnField::TransferEncoding).next().is_some() {
            return Err(BadHead::Malformed);
        }
        let framing = head.judge_framing();
        head.bad_framing = framing.err();
        Ok((head, framing))
    }

    /// Whether a head may still come of these bytes, which hold no empty line yet.
    pub fn may_begin_with(bytes: &[u8]) -> bool {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let parsed = httparse::Request::new(&mut []).parse_with_uninit_headers(bytes, &mut fields);
        matches!(parsed, Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders))
            && ends_lines_plainly(bytes)
    }

    fn place(&mut self, field: KeptField<F>, start: usize, length: usize) {
        let at = |at| u32::try_from(at).expect("a head has a limit of kilobytes");
        self.fields.push(FieldSpan { field, start: at(start), end: at(start + length) });
        self.present |= field.bit();
    }

    /// The value of the first field of this name.
    pub fn first(&self, field: F) -> Option<FieldValue<'_>> {
        self.all(field).next()
    }

    /// The values of all fields of this name.
    pub fn all(&self, field: F) -> impl Iterator<Item = FieldValue<'_>> {
        self.values(KeptField::Other(field))
    }

    /// The value of the only field of this name.
    pub fn one(&self, field: F) -> Result<Option<FieldValue<'_>>, Repeated> {
        only(self.all(field))
    }

    fn own(&self, field: OwnField) -> impl Iterator<Item = FieldValue<'_>> {
        self.values(KeptField::Own(field))
    }

    fn values(&self, field: KeptField<F>) -> impl Iterator<Item = FieldValue<'_>> {
        let fields = if self.present & field.bit() == 0 { &[] } else { &self.fields[..] };
        let places = fields.iter().filter(move |place| place.field == field);
        places.map(|place| FieldValue::parsed(&self.text[place.start as usize..place.end as usize]))
    }

    /// The values of all `Host` fields.
    pub fn hosts(&self) -> impl Iterator<Item = FieldValue<'_>> {
        self.own(OwnField::Host)
    }

    /// Whether the caller waits to be asked for the body (RFC 9110, 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.own(OwnField::Expect).any(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }

    /// Whether it is known where the body ends.
    pub fn check_framing(&self) -> Result<(), BadFraming> {
        self.bad_framing.map_or(Ok(()), Err)
    }

    /// RFC 9112, 6.3, where it leaves one reading.
    fn judge_framing(&self) -> Result<Framing, BadFraming> {
        let length = only(self.own(OwnField::ContentLength)).map_err(|_| BadFraming::RepeatedLength)?;
        let coding = only(self.own(OwnField::TransferEncoding)).map_err(|_| BadFraming::OtherCoding)?;
        match (length, coding) {
            (None, None) => Ok(Framing::Length(0)),
            (Some(length), None) => length.number().map(Framing::Length).ok_or(BadFraming::BadLength),
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Framing::Chunked(Chunk::Head))
            }
            (None, Some(_)) => Err(BadFraming::OtherCoding),
            (Some(_), Some(_)) => Err(BadFraming::LengthAndCoding),
        }
    }

    /// Whether the connection should stay open behind the answer, as far as the caller is concerned
    /// (RFC 9112, 9.3).
    pub fn keeps_alive(&self) -> bool {
        let says = |option: &[u8]| {
            let values = self.own(OwnField::Connection);
            values
                .flat_map(|value| value.bytes().split(|byte| *byte == b','))
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(option))
        };
        !says(b"close") && (self.version != Version::HTTP_10 || says(b"keep-alive"))
    }
}

impl<F: FieldName> From<http::request::Parts> for Head<F> {
    fn from(parts: http::request::Parts) -> Self {
        let mut text = Vec::new();
        let path_and_query = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let mut head = Self {
            method: parts.method,
            target: Target::of_parts(parts.uri.authority().map(Authority::as_str), path_and_query),
            version: parts.version,
            section_bytes: 0,
            section_fields: parts.headers.len(),
            bad_framing: None,
            text: Box::default(),
            fields: SmallVec::new(),
            present: 0,
        };
        for (name, value) in &parts.headers {
            head.section_bytes += line_bytes(name.as_str().as_bytes(), value.as_bytes());
            if let Some(known) = KeptField::read(name.as_str().as_bytes()) {
                head.place(known, text.len(), value.len());
                text.extend_from_slice(value.as_bytes());
            }
        }
        head.text = text.into();
        // In HTTP/2 the stream tells where a body ends.
        if head.version != Version::HTTP_2 {
            head.bad_framing = head.judge_framing().err();
        }
        head
    }
}

pub(super) fn only<'h>(
    mut values: impl Iterator<Item = FieldValue<'h>>,
) -> Result<Option<FieldValue<'h>>, Repeated> {
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Repeated),
    }
}

/// Bytes of a field with what stands around it in HTTP/1.
fn line_bytes(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + ": \r\n".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Field {
        Accept,
        Prefer,
        Trace,
    }

    impl FieldName for Field {
        fn read(name: &[u8]) -> Option<Self> {
            find_name(
                &[(Self::Accept, "accept"), (Self::Prefer, "prefer"), (Self::Trace, "traceparent")],
                name,
            )
        }

        fn number(self) -> u32 {
            self as u32
        }
    }

    type Head = super::Head<Field>;

    fn parse(text: &str) -> Result<Head, BadHead> {
        Head::parse(text.as_bytes()).map(|(head, _)| head)
    }

    #[test]
    fn both_versions_of_http_say_the_same() {
        let one = parse(
            "POST /v3/push?a=1 HTTP/1.1\r\nHost: x\r\nACCEPT: a\r\nX-Other: o\r\nAccept:  b \r\nTraceparent:\r\n\r\n",
        );
        let two = http::Request::post("/v3/push?a=1")
            .header("host", "x")
            .header("accept", "a")
            .header("x-other", "o")
            .header("accept", "b")
            .header("traceparent", "");
        let two = Head::from(two.body(()).expect("a request").into_parts().0);
        for head in [one.expect("a head"), two] {
            assert_eq!(
                (head.method.as_str(), head.target.path(), head.target.query()),
                ("POST", "/v3/push", Some("a=1"))
            );
            assert_eq!((head.section_fields, head.section_bytes), (5, 58));
            assert_eq!(head.own(OwnField::Host).next().as_deref(), Some(&b"x"[..]));
            let accepted: Vec<_> = head.all(Field::Accept).map(|value| value.to_vec()).collect();
            assert_eq!(accepted, [b"a", b"b"]);
            assert_eq!(head.one(Field::Accept), Err(Repeated));
            assert_eq!(head.one(Field::Trace).map(|value| value.map(|value| value.len())), Ok(Some(0)));
            assert_eq!(head.one(Field::Prefer), Ok(None));
        }
    }

    #[test]
    fn only_whole_heads_of_http_1_are_read() {
        let rows = [
            ("GET / HTTP/1.1\r\n\r\nx", BadHead::Malformed),
            ("GET / HTTP/1.1\r\n", BadHead::Malformed),
            ("PRI * HTTP/2.0\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\r\nX : 1\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\r\nX: 1\r\n 2\r\n\r\n", BadHead::Malformed),
            ("GET /\u{1} HTTP/1.1\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\nHost: x\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\r\nHost: x\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\r\nX: 1\r2\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\r\n X: 1\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BadHead::Malformed),
        ];
        for (text, why) in rows {
            assert_eq!(parse(text).err(), Some(why), "{text}");
        }
        let fields = |count| parse(&format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(count)));
        assert_eq!(fields(FIELDS_MAX).map(|head| head.section_fields), Ok(FIELDS_MAX));
        assert_eq!(fields(FIELDS_MAX + 1).err(), Some(BadHead::TooLarge));
    }

    #[test]
    fn framing_is_judged_with_the_head() {
        let chunks = Framing::Chunked(Chunk::Head);
        let rows = [
            ("", Ok(Framing::Length(0))),
            ("Content-Length: 7\r\n", Ok(Framing::Length(7))),
            ("Transfer-Encoding: Chunked\r\n", Ok(chunks)),
            ("Content-Length: 7\r\nContent-Length: 7\r\n", Err(BadFraming::RepeatedLength)),
            ("Content-Length: 7, 7\r\n", Err(BadFraming::BadLength)),
            ("Content-Length: +7\r\n", Err(BadFraming::BadLength)),
            ("Content-Length:\r\n", Err(BadFraming::BadLength)),
            ("Content-Length: 18446744073709551616\r\n", Err(BadFraming::BadLength)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(BadFraming::OtherCoding)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(BadFraming::OtherCoding)),
            ("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", Err(BadFraming::LengthAndCoding)),
        ];
        for (fields, expected) in rows {
            let text = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            let (head, framing) = Head::parse(text.as_bytes()).expect("a head");
            assert_eq!((framing, head.check_framing()), (expected, expected.map(|_| ())), "{fields}");
        }
    }

    #[test]
    fn connections_are_kept_as_the_versions_have_it() {
        let kept = |version: &str, connection: &str| {
            parse(&format!("GET / HTTP/1.{version}\r\n{connection}\r\n")).expect("a head").keeps_alive()
        };
        assert!(kept("1", "") && kept("1", "Connection: x, keep-alive\r\n"));
        assert!(!kept("1", "Connection: x\r\nConnection: y , CLOSE\r\n"));
        assert!(!kept("0", "") && kept("0", "Connection: Keep-Alive\r\n"));
        assert!(!kept("0", "Connection: keep-alive, close\r\n"));
    }
}
