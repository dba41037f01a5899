//! Multipart forms as real clients write them, read in place.
//!
//! Written by hand because the streaming parsers refuse what is seen on the wire (`vendor-protocol`, 8): one SDK
//! starts with CRLF, another never sends the closing boundary, so the end of the body ends the last part. Parts come
//! in any order and need no type of their own; names are raw UTF-8. Bounded in parts and in the bytes of their heads.

use std::borrow::Cow;

use memchr::memmem::Finder;

use super::query::decode;
use super::{Ahead, Fault, Rule};

/// A form of the vendor's has three parts at most.
const PARTS_MAX: usize = 32;
const HEAD_BYTES_MAX: usize = 8 * 1024;
const BOUNDARY_BYTES_MAX: usize = 256;
/// Delimiters remembered: more than a form may have.
const FOUND_MAX: usize = 2 * PARTS_MAX;

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// The field's name; empty if the part has none.
    pub(super) name: Cow<'a, [u8]>,
    /// Its file's name ends in `.txt`, in any case.
    pub(super) names_txt: bool,
    /// The bytes between the head and the next boundary.
    pub(super) content: &'a [u8],
    /// Where in the body they start.
    pub(super) start: usize,
}

/// The parts of a form, in order.
#[derive(Debug)]
pub(super) struct Form<'a>(Vec<Part<'a>>);

impl<'a> Form<'a> {
    /// Splits a body at the boundary its `Content-Type` tells.
    pub(super) fn parse(
        content_type: Option<&[u8]>,
        body: &'a [u8],
        ahead: Option<&Ahead>,
    ) -> Result<Self, Fault> {
        let mut fresh = None;
        let delimiters = ahead
            .and_then(Ahead::delimiters)
            .or_else(|| {
                fresh = Delimiters::of(content_type);
                fresh.as_ref()
            })
            .ok_or_else(|| bad("Content-Type tells no boundary; send multipart/form-data; boundary=…"))?;
        let cutter = Cutter { body, delimiters };
        let mut next =
            cutter.first().ok_or_else(|| bad("the boundary of Content-Type is not in the body"))?;
        let mut parts = Vec::new();
        while let Boundary { behind: Some(start), .. } = next {
            if parts.len() == PARTS_MAX {
                return Err(Fault::new(Rule::Form, format!("the form has over {PARTS_MAX} parts")));
            }
            // Searched from the line's own CRLF: it may be the next boundary's, too.
            next = cutter.next(start - 2);
            let end = next.at.max(start);
            let part = part(&body[start..end])?;
            parts.push(Part { start: end - part.content.len(), ..part });
        }
        Ok(Self(parts))
    }

    /// Whether a part has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|part| *part.name == *name.as_bytes())
    }

    /// The part of this name; a second one makes it unknown which of them counts.
    pub(super) fn part(&self, name: &str) -> Result<Option<&Part<'a>>, Fault> {
        let mut named = self.0.iter().filter(|part| *part.name == *name.as_bytes());
        let first = named.next();
        if named.next().is_some() {
            return Err(Fault::new(
                Rule::FormPartTwice,
                format!("the form has two parts named {name}; send one"),
            ));
        }
        Ok(first)
    }
}

fn bad(what: &str) -> Fault {
    Fault::new(Rule::Form, format!("the body is not a multipart form: {what}"))
}

/// A boundary line.
struct Boundary {
    /// Where the part in front of it ends.
    at: usize,
    /// Where the part behind it starts; `None`: there is none.
    behind: Option<usize>,
}

/// Where a delimiter, which is CRLF, two dashes and the boundary, stands in a body.
pub(super) struct Delimiters {
    finder: Finder<'static>,
    /// The first of them, in order: all that start in front of `searched`.
    found: Vec<usize>,
    searched: usize,
}

impl Delimiters {
    /// Those of the boundary that a `Content-Type` tells; nothing is searched yet.
    pub(super) fn of(content_type: Option<&[u8]>) -> Option<Self> {
        let delimiter = [b"\r\n--", &*boundary(content_type?)?].concat();
        Some(Self { finder: Finder::new(&delimiter).into_owned(), found: Vec::new(), searched: 0 })
    }

    /// Searches what was added to the beginning of a body that was searched before.
    pub(super) fn search(&mut self, beginning: &[u8]) {
        while self.found.len() < FOUND_MAX {
            let Some(at) = self.finder.find(&beginning[self.searched..]) else {
                let cut = self.finder.needle().len() - 1;
                self.searched = self.searched.max(beginning.len().saturating_sub(cut));
                return;
            };
            self.found.push(self.searched + at);
            self.searched += at + 1;
        }
    }

    /// The first one in a body at or behind a position.
    fn find(&self, body: &[u8], from: usize) -> Option<usize> {
        let known = self.found.iter().copied().find(|&at| at >= from);
        known.or_else(|| {
            let from = from.max(self.searched);
            Some(from + self.finder.find(body.get(from..)?)?)
        })
    }
}

/// Finds boundary lines.
struct Cutter<'a, 'd> {
    body: &'a [u8],
    delimiters: &'d Delimiters,
}

impl Cutter<'_, '_> {
    /// The first boundary; whatever is in front of it is no part.
    fn first(&self) -> Option<Boundary> {
        let dashed = &self.delimiters.finder.needle()[2..];
        let opening = self.body.starts_with(dashed).then(|| self.read(0, dashed.len())).flatten();
        opening.or_else(|| self.search(0))
    }

    /// The next boundary; the end of the body stands for a missing one.
    fn next(&self, from: usize) -> Boundary {
        self.search(from).unwrap_or(Boundary { at: self.body.len(), behind: None })
    }

    fn search(&self, mut from: usize) -> Option<Boundary> {
        loop {
            let at = self.delimiters.find(self.body, from)?;
            from = at + self.delimiters.finder.needle().len();
            if let Some(boundary) = self.read(at, from) {
                return Some(boundary);
            }
        }
    }

    /// Reads the rest of a boundary line; `None`: it is a longer one, and so content.
    fn read(&self, at: usize, end: usize) -> Option<Boundary> {
        let rest = &self.body[end..];
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if rest[padding..].starts_with(b"\r\n") {
            return Some(Boundary { at, behind: Some(end + padding + 2) });
        }
        (rest.starts_with(b"--") || rest.len() == padding).then_some(Boundary { at, behind: None })
    }
}

/// Reads a part: its head, an empty line, its content.
fn part(bytes: &[u8]) -> Result<Part<'_>, Fault> {
    if let Some(content) = bytes.strip_prefix(b"\r\n") {
        return Ok(Part { name: Cow::Borrowed(b""), names_txt: false, content, start: 0 });
    }
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let end = memchr::memmem::find(window, b"\r\n\r\n")
        .ok_or_else(|| bad("a part's head does not end in an empty line within 8 KiB"))?;
    let content = &bytes[end + 4..];
    let mut part = Part { name: Cow::Borrowed(b""), names_txt: false, content, start: 0 };
    let mut disposed = false;
    for line in bytes[..end].split(|&byte| byte == b'\n') {
        let Some((field, value)) = split_at_byte(line, b':') else { continue };
        if !field.trim_ascii().eq_ignore_ascii_case(b"content-disposition") {
            continue;
        }
        if std::mem::replace(&mut disposed, true) {
            return Err(bad("a part has two Content-Disposition lines"));
        }
        read_disposition(&mut part, value)?;
    }
    Ok(part)
}

fn read_disposition<'a>(part: &mut Part<'a>, value: &'a [u8]) -> Result<(), Fault> {
    let mut named = false;
    for (name, value) in parameters(value) {
        if name.eq_ignore_ascii_case(b"name") {
            if std::mem::replace(&mut named, true) {
                return Err(bad("a part has two names"));
            }
            part.name = value;
        } else if name.eq_ignore_ascii_case(b"filename") {
            part.names_txt |= ends_in_txt(&value);
        } else if name.eq_ignore_ascii_case(b"filename*") {
            // RFC 5987, as older clients send names beyond ASCII: percent-encoded.
            let value = String::from_utf8_lossy(&value);
            part.names_txt |= ends_in_txt(decode(&value).as_bytes());
        }
    }
    Ok(())
}

/// Whether a file's name ends in `.txt`, in any case.
pub(super) fn ends_in_txt(name: &[u8]) -> bool {
    let name = name.trim_ascii_end();
    name.len().checked_sub(4).is_some_and(|stem| name[stem..].eq_ignore_ascii_case(b".txt"))
}

/// The boundary that a `Content-Type` of a multipart body tells.
fn boundary(content_type: &[u8]) -> Option<Cow<'_, [u8]>> {
    let kind = content_type.trim_ascii_start();
    if !kind.get(..10)?.eq_ignore_ascii_case(b"multipart/") {
        return None;
    }
    let (_, value) = parameters(kind).find(|(name, _)| name.eq_ignore_ascii_case(b"boundary"))?;
    matches!(value.len(), 1..=BOUNDARY_BYTES_MAX).then_some(value)
}

/// The `; name=value` behind a header's first word. In quotes only `\"` is an escape: names of files come with
/// single backslashes.
fn parameters(header: &[u8]) -> impl Iterator<Item = (&[u8], Cow<'_, [u8]>)> {
    let mut rest = split_at_byte(header, b';').map_or(&b""[..], |(_, rest)| rest);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr::memchr2(b'=', b';', rest).unwrap_or(rest.len());
            let name = rest[..end].trim_ascii();
            let behind = rest.get(end + 1..).unwrap_or_default();
            if rest.get(end) != Some(&b'=') {
                rest = behind;
                continue;
            }
            let (value, behind) = parameter_value(behind.trim_ascii_start());
            rest = behind;
            return Some((name, value));
        }
        None
    })
}

/// A value and what is behind its semicolon.
fn parameter_value(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (value, behind) = split_at_byte(text, b';').unwrap_or((text, b""));
        return (Cow::Borrowed(value.trim_ascii()), behind);
    };
    let closing = memchr::memchr_iter(b'"', quoted).find(|&at| at == 0 || quoted[at - 1] != b'\\');
    let end = closing.unwrap_or(quoted.len());
    let behind = quoted.get(end + 1..).unwrap_or_default();
    let behind = split_at_byte(behind, b';').map_or(&b""[..], |(_, behind)| behind);
    let value = &quoted[..end];
    if memchr::memmem::find(value, b"\\\"").is_none() {
        return (Cow::Borrowed(value), behind);
    }
    let escape =
        |(at, &byte): (usize, &u8)| (byte != b'\\' || value.get(at + 1) != Some(&b'"')).then_some(byte);
    (Cow::Owned(value.iter().enumerate().filter_map(escape).collect()), behind)
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}
