//! The `; name=value` behind a header's first word, read only where every reader sees the same.
//!
//! Readers differ in what a stray quote, a blank or a backslash means, and so in which parameters there are. A header
//! that is written plainly has one reading; any other is refused by whoever asks.

use std::borrow::Cow;

/// A header that readers may read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// A parameter: its name as it stands, and its value without quotes.
pub(super) type Parameter<'a> = (&'a [u8], Cow<'a, [u8]>);

/// What stands in front of the first semicolon, and the parameters behind it.
pub(super) fn split(header: &[u8]) -> (&[u8], Parameters<'_>) {
    let (word, rest) = split_at_byte(header, b';').unwrap_or((header, b""));
    (word.trim_ascii(), Parameters(rest))
}

/// Parameters of a header, in order. Empty ones are passed over.
pub(super) struct Parameters<'a>(&'a [u8]);

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<Parameter<'a>, Unclear>;

    fn next(&mut self) -> Option<Self::Item> {
        // A semicolon at the end, or two, are harmless.
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

/// The first parameter, and what is behind its semicolon; `None`: it can be read in more than one way.
fn parameter(text: &[u8]) -> Option<(Parameter<'_>, &[u8])> {
    let (name, value) = split_at_byte(text, b'=')?;
    let name = name.trim_ascii();
    let (value, behind) = value_of(value.trim_ascii_start())?;
    is_token(name).then_some(((name, value), behind))
}

/// A value, and what is behind its semicolon; `None`: there are quotes or blanks that are not around it. In quotes only
/// `\"` is an escape: names of files come with single backslashes.
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

/// Whether it is a token (RFC 9110, 5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    let is_mark = |byte| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// Whether no reader ends it early.
fn is_word(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'"'))
}

pub(super) fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}
