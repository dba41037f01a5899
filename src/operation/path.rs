//! Normalises request paths into the one form that is matched and sent on.
//!
//! SDKs send `/v3//push/validate` and `/v3/schedules/`, so repeated slashes collapse and one trailing slash goes
//! (`docs/vendor.md`, V58). Old SDKs send Chinese tags as raw UTF-8, which has one meaning and is sent percent-encoded.
//! Anything else that two programs could read in two ways is refused: the vendor must see the path that was matched.

use std::borrow::Cow;

/// A path in ASCII without repeated or trailing slashes, and without anything ambiguous in it.
///
/// ```
/// use jpush_gateway::operation::{BadPath, Path};
///
/// assert_eq!(Path::parse("/v3//push/validate/").expect("as some SDKs send it").as_str(), "/v3/push/validate");
/// assert_eq!(Path::parse("/v3/files/%2e%2e/push"), Err(BadPath::DotSegment));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a>(Cow<'a, str>);

impl<'a> Path<'a> {
    /// Normalises a raw path. Borrows if nothing had to change. An ambiguous path is an error.
    pub fn parse(raw: &'a str) -> Result<Self, BadPath> {
        let bytes = raw.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(BadPath::Relative);
        }
        let plain = bytes.iter().copied().all(is_plain);
        if !plain {
            refuse_ambiguity(bytes)?;
        }
        // A dot segment has a dot after a slash or is encoded, so this cheap search decides whether segments are looked
        // at. Paths are so short that a search that prepares itself takes longer.
        let has = |pair: &[u8; 2]| bytes.array_windows().any(|found| found == pair);
        if has(b"/.") || (!plain && bytes.contains(&b'%')) {
            raw.split('/').try_for_each(refuse_dots)?;
        }
        let is_normal = !has(b"//") && (raw.len() == 1 || !raw.ends_with('/'));
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

    /// The documented path for one of the Beijing data centre, which SDKs send that are set to it; others stay as they
    /// are (`docs/vendor.md`, V4).
    #[must_use]
    pub fn documented(self) -> Self {
        moved(&self.0, BEIJING.iter().copied()).map_or(self, |path| Self(Cow::Owned(path)))
    }

    /// The path of the same call in the Beijing data centre.
    pub fn in_beijing(&self) -> Cow<'_, str> {
        let theirs = BEIJING.iter().map(|&(theirs, ours)| (ours, theirs));
        moved(&self.0, theirs).map_or(Cow::Borrowed(&self.0), Cow::Owned)
    }

    /// The normalised path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path is exactly what the caller sent, so that the request target can be sent on without a copy.
    pub fn is_as_sent(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }
}

/// Beginnings of paths in the Beijing data centre, and what the table of operations has for them (`docs/vendor.md`,
/// V4). The longer of two that match comes first.
const BEIJING: [(&str, &str); 9] = [
    ("/v3/push/schedules", "/v3/schedules"),
    ("/v3/report/received", "/v3/received"),
    ("/v3/report/messages", "/v3/messages"),
    ("/v3/report/users", "/v3/users"),
    ("/v3/report/status", "/v3/status"),
    ("/v3/report/group", "/v3/group"),
    ("/v3/device/aliases", "/v3/aliases"),
    ("/v3/device/tags", "/v3/tags"),
    ("/v3/device", "/v3/devices"),
];

/// The path with another beginning, if it has one of the table.
fn moved<'t>(path: &str, mut table: impl Iterator<Item = (&'t str, &'t str)>) -> Option<String> {
    table.find_map(|(from, to)| {
        let rest = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        Some(format!("{to}{rest}"))
    })
}

/// The reason why a request target is refused as ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// The path does not start with a slash.
    #[error("the path does not start with a slash")]
    Relative,
    /// The path has a segment `.` or `..`, plain or encoded, also with parameters after a `;`.
    #[error("the path has a '.' or '..' segment; send the path without it")]
    DotSegment,
    /// The path has `%2F` or `%5C`.
    #[error("the path has an encoded slash or backslash; values with these cannot be sent")]
    EncodedSeparator,
    /// The path has `%00` to `%1F`, or `%7F`.
    #[error("the path has an encoded control byte; values with these cannot be sent")]
    EncodedControl,
    /// The path has a raw backslash, control byte, space, `<`, `>` or backtick.
    #[error("the path has a byte that must be percent-encoded: a backslash, a control byte, '<', '>' or '`'")]
    RawByte,
    /// The target has a `#`, from which on libraries cut it off.
    #[error("the request target has a '#'; send '%23' for one in a value")]
    Fragment,
    /// The path has a `%` without two hexadecimal digits after it.
    #[error("the path has a '%' without two hexadecimal digits behind it; send '%25' for a percent sign")]
    Escape,
    /// The query has a quotation mark, `<` or `>`.
    #[error("the query has a byte that must be percent-encoded: a quotation mark, '<' or '>'")]
    RawQueryByte,
}

/// Checks that a query can be sent on unchanged.
pub fn check_query(query: &str) -> Result<(), BadPath> {
    match query.bytes().find(|byte| matches!(byte, b'#' | b'"' | b'<' | b'>')) {
        None => Ok(()),
        Some(b'#') => Err(BadPath::Fragment),
        Some(_) => Err(BadPath::RawQueryByte),
    }
}

/// Whether a byte has only one meaning anywhere in a path.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'%' | b'\\' | b'#' | b'<' | b'>' | b'`')
}

fn refuse_ambiguity(bytes: &[u8]) -> Result<(), BadPath> {
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            // Part of a UTF-8 character: the path is a `str`.
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

/// Decodes the byte that two hexadecimal digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let &[high, low, ..] = digits else { return None };
    Some(hex(high)? << 4 | hex(low)?)
}

/// Refuses a segment of one or two dots, also with parameters after a `;`, which some servers cut off.
fn refuse_dots(segment: &str) -> Result<(), BadPath> {
    let mut rest = segment.as_bytes();
    let mut dots = 0;
    while let Some((b'.', tail)) = first_decoded(rest) {
        (rest, dots) = (tail, dots + 1);
    }
    let ends = matches!(first_decoded(rest), None | Some((b';', _)));
    if matches!(dots, 1 | 2) && ends { Err(BadPath::DotSegment) } else { Ok(()) }
}

/// The first byte, decoded if it is an escape, and the bytes after it.
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

/// A table path with the names inside `{…}` replaced by their position, as the router needs them.
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
