//! Reads the `; name=value` parameters of a header, if every parser reads the same ones.
//!
//! Parsers differ in what a stray quote, a blank or a backslash means, and so in which parameters they find. A header
//! that is written plainly has one reading; callers refuse any other.

use std::borrow::Cow;

/// A header that parsers may read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// A parameter: its name as spelled, and its value without quotes.
pub(super) type Parameter<'a> = (&'a [u8], Cow<'a, [u8]>);

/// The text before the first semicolon, and the parameters after it.
pub(super) fn split(header: &[u8]) -> (&[u8], Parameters<'_>) {
    let (word, rest) = split_at_byte(header, b';').unwrap_or((header, b""));
    (word.trim_ascii(), Parameters(rest))
}

/// Iterates over the parameters of a header, skipping empty ones.
pub(super) struct Parameters<'a>(&'a [u8]);

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<Parameter<'a>, Unclear>;

    fn next(&mut self) -> Option<Self::Item> {
        // Parsers agree that a semicolon at the end, or two in a row, mean nothing.
        while let [b';', rest @ ..] = self.0.trim_ascii_start() {
            self.0 = rest;
        }
        if self.0.trim_ascii_start().is_empty() {
            return None;
        }
        let parameter = parameter(self.0);
        self.0 = parameter.as_ref().map_or(&b""[..], |(_, behind)| behind);
        Some(parameter.map(|(parameter, _)| parameter).ok_or(Unclear))
    }
}

/// The first parameter, and the text after its semicolon; `None` if it can be read in more than one way.
fn parameter(text: &[u8]) -> Option<(Parameter<'_>, &[u8])> {
    let (name, value) = split_at_byte(text, b'=')?;
    let name = name.trim_ascii();
    let (value, behind) = value_of(value.trim_ascii_start())?;
    is_token(name).then_some(((name, value), behind))
}

/// A value, and the text after its semicolon; `None` if quotes or blanks occur inside it. In quotes only `\"` is an
/// escape: file names come with single backslashes.
fn value_of(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (value, behind) = split_at_byte(text, b';').unwrap_or((text, b""));
        let value = value.trim_ascii();
        return is_word(value).then_some((Cow::Borrowed(value), behind));
    };
    let end = memchr::memchr_iter(b'"', quoted).find(|&at| at == 0 || quoted[at - 1] != b'\\')?;
    let (rest, behind) = split_at_byte(&quoted[end + 1..], b';').unwrap_or((&quoted[end + 1..], b""));
    rest.trim_ascii().is_empty().then(|| (without_escapes(&quoted[..end]), behind))
}

fn without_escapes(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memmem::find(value, b"\\\"").is_none() {
        return Cow::Borrowed(value);
    }
    let escape =
        |(at, &byte): (usize, &u8)| (byte != b'\\' || value.get(at + 1) != Some(&b'"')).then_some(byte);
    Cow::Owned(value.iter().enumerate().filter_map(escape).collect())
}

/// Whether a text is a token (RFC 9110, 5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    let is_mark = |byte| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// Whether no parser ends an unquoted value early.
fn is_word(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'"'))
}

pub(super) fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}
