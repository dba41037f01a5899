//! Request paths in the one form that is matched and sent on.
//!
//! SDKs send `/v3//push/validate` and `/v3/schedules/`, so repeated slashes collapse and one trailing slash goes.
//! Whatever else two programs could read in two ways is refused: what was matched must be what the vendor sees.

use std::borrow::Cow;

/// A path without repeated or trailing slashes, and without anything ambiguous in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a>(Cow<'a, str>);

impl<'a> Path<'a> {
    /// Normalises a raw path. Borrows when nothing had to change.
    pub fn parse(raw: &'a str) -> Result<Self, BadPath> {
        let bytes = raw.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(BadPath::Relative);
        }
        if !bytes.iter().copied().all(is_plain) {
            refuse_ambiguity(bytes)?;
        }
        // A dot segment has a dot right behind a slash, so the cheap look comes first.
        if memchr::memmem::find(bytes, b"/.").is_some() || memchr::memchr(b'%', bytes).is_some() {
            raw.split('/').try_for_each(refuse_dots)?;
        }
        if memchr::memmem::find(bytes, b"//").is_none() && (raw.len() == 1 || !raw.ends_with('/')) {
            return Ok(Self(Cow::Borrowed(raw)));
        }
        let mut path = String::with_capacity(raw.len());
        for segment in raw.split('/').filter(|segment| !segment.is_empty()) {
            path.push('/');
            path.push_str(segment);
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

/// What makes a path ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Does not start at the root.
    #[error("the path does not start with a slash")]
    Relative,
    /// `.` or `..`, written out or encoded.
    #[error("the path has a '.' or '..' segment; send the path without it")]
    DotSegment,
    /// `%2F`, `%5C` or `%00`.
    #[error("the path has an encoded slash, backslash or NUL; values with these cannot be sent")]
    EncodedSeparator,
    /// A raw backslash, control byte or byte outside ASCII.
    #[error(
        "the path has a backslash, a control byte or a byte outside ASCII; percent-encode values as UTF-8"
    )]
    RawByte,
    /// `%` without two hexadecimal digits.
    #[error("the path has a '%' without two hexadecimal digits behind it; send '%25' for a percent sign")]
    Escape,
}

/// Bytes that mean one thing only, wherever they stand in a path.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'%' | b'\\')
}

fn refuse_ambiguity(bytes: &[u8]) -> Result<(), BadPath> {
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if is_plain(byte) {
            continue;
        }
        if byte != b'%' {
            return Err(BadPath::RawByte);
        }
        let &[high, low, ..] = tail else { return Err(BadPath::Escape) };
        match (hex(high), hex(low)) {
            (Some(high), Some(low)) => match high << 4 | low {
                b'/' | b'\\' | 0 => return Err(BadPath::EncodedSeparator),
                _ => rest = &tail[2..],
            },
            _ => return Err(BadPath::Escape),
        }
    }
    Ok(())
}

fn refuse_dots(segment: &str) -> Result<(), BadPath> {
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        rest = match rest.strip_prefix('.') {
            Some(rest) => rest,
            None if rest.get(..3).is_some_and(|escape| escape.eq_ignore_ascii_case("%2e")) => &rest[3..],
            None => return Ok(()),
        };
        dots += 1;
    }
    if matches!(dots, 1 | 2) { Err(BadPath::DotSegment) } else { Ok(()) }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
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
