//! Request paths in the one form that is matched and sent on.
//!
//! SDKs send `/v3//push/validate` and `/v3/schedules/`, so repeated slashes collapse and one trailing slash goes
//! (`docs/vendor.md`, V58); old ones send Chinese tags in raw UTF-8, which is read in one way and so sent
//! percent-encoded. Whatever else two programs could read in two ways is refused: what was matched must be what the
//! vendor sees.

use std::borrow::Cow;

/// A path in ASCII without repeated or trailing slashes, and without anything ambiguous in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a>(Cow<'a, str>);

impl<'a> Path<'a> {
    /// Normalises a raw path. Borrows when nothing had to change.
    pub fn parse(raw: &'a str) -> Result<Self, BadPath> {
        let bytes = raw.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(BadPath::Relative);
        }
        let plain = bytes.iter().copied().all(is_plain);
        if !plain {
            refuse_ambiguity(bytes)?;
        }
        // A dot segment has a dot right behind a slash, so the cheap look comes first.
        if memchr::memmem::find(bytes, b"/.").is_some() || memchr::memchr(b'%', bytes).is_some() {
            raw.split('/').try_for_each(refuse_dots)?;
        }
        let is_normal =
            memchr::memmem::find(bytes, b"//").is_none() && (raw.len() == 1 || !raw.ends_with('/'));
        if is_normal && (plain || raw.is_ascii()) {
            return Ok(Self(Cow::Borrowed(raw)));
        }
        let mut path = String::with_capacity(raw.len());
        for segment in raw.split('/').filter(|segment| !segment.is_empty()) {
            path.push('/');
            append_encoded(&mut path, segment);
        }
        Ok(Self(Cow::Owned(if path.is_empty() { String::from("/") } else { path })))
    }

    /// The normalised path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path is exactly what the caller sent, so that the request target can travel as it is.
    pub fn is_as_sent(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }
}

/// What makes a target ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Does not start at the root.
    #[error("the path does not start with a slash")]
    Relative,
    /// `.` or `..`, written out or encoded, also with parameters behind `;`.
    #[error("the path has a '.' or '..' segment; send the path without it")]
    DotSegment,
    /// `%2F` or `%5C`.
    #[error("the path has an encoded slash or backslash; values with these cannot be sent")]
    EncodedSeparator,
    /// `%00` to `%1F`, or `%7F`.
    #[error("the path has an encoded control byte; values with these cannot be sent")]
    EncodedControl,
    /// A raw backslash, control byte, space, `<`, `>` or backtick.
    #[error("the path has a byte that must be percent-encoded: a backslash, a control byte, '<', '>' or '`'")]
    RawByte,
    /// `#`: libraries cut it off with all that follows.
    #[error("the request target has a '#'; send '%23' for one in a value")]
    Fragment,
    /// `%` without two hexadecimal digits.
    #[error("the path has a '%' without two hexadecimal digits behind it; send '%25' for a percent sign")]
    Escape,
    /// A quotation mark, `<` or `>` in the query.
    #[error("the query has a byte that must be percent-encoded: a quotation mark, '<' or '>'")]
    RawQueryByte,
}

/// Whether a query can be sent as it came.
pub fn check_query(query: &str) -> Result<(), BadPath> {
    match query.bytes().find(|byte| matches!(byte, b'#' | b'"' | b'<' | b'>')) {
        None => Ok(()),
        Some(b'#') => Err(BadPath::Fragment),
        Some(_) => Err(BadPath::RawQueryByte),
    }
}

/// Bytes that mean one thing only, wherever they stand in a path.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'%' | b'\\' | b'#' | b'<' | b'>' | b'`')
}

fn refuse_ambiguity(bytes: &[u8]) -> Result<(), BadPath> {
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            // Of UTF-8, as the path is a text.
            0x80.. => {}
            b'#' => return Err(BadPath::Fragment),
            b'%' => {
                let Some(byte) = escaped(tail) else { return Err(BadPath::Escape) };
                match byte {
                    b'/' | b'\\' => return Err(BadPath::EncodedSeparator),
                    _ if byte.is_ascii_control() => return Err(BadPath::EncodedControl),
                    _ => rest = &tail[2..],
                }
            }
            _ if is_plain(byte) => {}
            _ => return Err(BadPath::RawByte),
        }
    }
    Ok(())
}

/// The byte that two hexadecimal digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let &[high, low, ..] = digits else { return None };
    Some(hex(high)? << 4 | hex(low)?)
}

/// One or two dots, and nothing behind them but what some servers cut off.
fn refuse_dots(segment: &str) -> Result<(), BadPath> {
    let mut rest = segment.as_bytes();
    let mut dots = 0;
    while let Some((b'.', tail)) = first_decoded(rest) {
        (rest, dots) = (tail, dots + 1);
    }
    let ends = matches!(first_decoded(rest), None | Some((b';', _)));
    if matches!(dots, 1 | 2) && ends { Err(BadPath::DotSegment) } else { Ok(()) }
}

/// The first byte, also if it is encoded, and what follows.
fn first_decoded(bytes: &[u8]) -> Option<(u8, &[u8])> {
    match bytes.split_first()? {
        (b'%', tail) => escaped(tail).map(|byte| (byte, &tail[2..])),
        (byte, tail) => Some((*byte, tail)),
    }
}

fn append_encoded(path: &mut String, segment: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in segment.bytes() {
        if byte.is_ascii() {
            path.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
            path.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// A table path with the names inside `{…}` replaced by their position, as the router wants them.
pub(super) fn shape(path: &str) -> String {
    let mut shape = String::with_capacity(path.len());
    for (position, segment) in path.split('/').enumerate().skip(1) {
        shape.push('/');
        if segment.starts_with('{') {
            shape.extend(["{v", &position.to_string(), "}"]);
        } else {
            shape.push_str(segment);
        }
    }
    shape
}
