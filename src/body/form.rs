//! Reads multipart forms in place, as real clients write them.
//!
//! Written by hand because the streaming parsers refuse forms that are seen on the wire (`docs/vendor.md`, V65): one
//! SDK starts with CRLF; another never sends the closing boundary, so the end of the body ends the last part. Parts
//! come in any order and need no `Content-Type`; names are raw UTF-8. The number of parts and the bytes of their heads
//! are limited.
//!
//! Parsers disagree about nearly everything that is not written plainly, and a file that only the vendor's parser finds
//! would escape its budget. So the boundary may occur only in a line of its own that all parsers recognise.

use super::delimiters::{Delimiters, PARTS_MAX};
use super::part_head::PartHead;
use super::{BodyFault, Prescan, Rule};

const HEAD_BYTES_MAX: usize = 8 * 1024;

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FormPart<'a> {
    /// Field name and file name.
    pub(super) head: PartHead,
    /// Bytes between the head and the next boundary.
    pub(super) content: &'a [u8],
    /// Position of the content in the body.
    pub(super) start: usize,
}

/// The parts of a form, in order.
#[derive(Debug)]
pub(super) struct Form<'a>(Vec<FormPart<'a>>);

impl<'a> Form<'a> {
    /// Splits a body at the boundary that its `Content-Type` names. `prescan` may already know the boundaries.
    pub(super) fn parse(
        content_type: Option<&[u8]>,
        body: &'a [u8],
        prescan: Option<&Prescan>,
    ) -> Result<Self, BodyFault> {
        let fresh = match prescan.and_then(Prescan::delimiters) {
            Some(_) => None,
            None => Some(Delimiters::of(content_type).map_err(bad)?),
        };
        let known =
            prescan.and_then(Prescan::delimiters).or(fresh.as_ref()).expect("one of the two is there");
        let mut boundaries = Boundaries { body, delimiters: known, from: 0 };
        let mut next = boundaries.next()?.ok_or_else(|| bad("the boundary of Content-Type is not in it"))?;
        let mut parts = Vec::new();
        while let Some(start) = next.next_part {
            if parts.len() == PARTS_MAX {
                return Err(BodyFault::new(Rule::Form, format!("the form has over {PARTS_MAX} parts")));
            }
            let end = Boundary { end: body.len(), next_part: None };
            next = boundaries.next()?.unwrap_or(end);
            parts.push(FormPart::parse(body, start, next.end)?);
        }
        if boundaries.next()?.is_some() {
            return Err(bad("the boundary stands behind the closing one"));
        }
        Ok(Self(parts))
    }

    /// The part of this name, if there is one. Two parts of one name are a fault: which of them the vendor reads is
    /// unknown.
    pub(super) fn part(&self, name: &str) -> Result<Option<&FormPart<'a>>, BodyFault> {
        let mut named = self.0.iter().filter(|part| part.head.name == name.as_bytes());
        let first = named.next();
        if named.next().is_some() {
            return Err(BodyFault::new(
                Rule::FormPartTwice,
                format!("the form has two parts named {name}; send one"),
            ));
        }
        Ok(first)
    }

    /// Whether a part of this name has content.
    pub(super) fn fills(&self, name: &str) -> bool {
        self.0.iter().any(|part| part.head.name == name.as_bytes() && !part.content.is_empty())
    }
}

fn bad(what: &str) -> BodyFault {
    BodyFault::new(
        Rule::Form,
        format!("the body is not a multipart form that can be read in one way: {what}"),
    )
}

impl<'a> FormPart<'a> {
    /// Reads a part: head, empty line, content.
    fn parse(body: &'a [u8], start: usize, end: usize) -> Result<Self, BodyFault> {
        let bytes = body.get(start..end).unwrap_or_default();
        let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let head = memchr::memmem::find(window, b"\r\n\r\n");
        let head = head.ok_or_else(|| bad("a part has no head that ends in an empty line within 8 KiB"))? + 2;
        let content = &bytes[head + 2..];
        let head = PartHead::parse(&bytes[..head]).map_err(bad)?;
        Ok(Self { head, content, start: end - content.len() })
    }
}

/// A boundary line in a body.
struct Boundary {
    /// End of the part before the line.
    end: usize,
    /// Start of the part after the line; `None` for the closing boundary.
    next_part: Option<usize>,
}

/// Iterates over the boundary lines of a body.
struct Boundaries<'a, 'd> {
    body: &'a [u8],
    delimiters: &'d Delimiters,
    from: usize,
}

impl Boundaries<'_, '_> {
    fn next(&mut self) -> Result<Option<Boundary>, BodyFault> {
        let Some(at) = self.delimiters.find(self.body, self.from) else { return Ok(None) };
        self.from = at + self.delimiters.finder.needle().len();
        let next_part = bytes_to_part(&self.body[self.from..]).map_err(bad)?;
        // The line break before a boundary belongs to the boundary; at the start of the body there need be none.
        let end = at.saturating_sub(2);
        if at != 0 && self.body[end..at] != *b"\r\n" {
            return Err(bad("the boundary stands in the middle of a line"));
        }
        Ok(Some(Boundary { end, next_part: next_part.map(|bytes| self.from + bytes) }))
    }
}

/// Bytes from a boundary to the part after it; `None` for the closing boundary.
fn bytes_to_part(rest: &[u8]) -> Result<Option<usize>, &'static str> {
    let Some(line) = rest.strip_prefix(b"--") else {
        return match rest {
            [] => Ok(None),
            [b'\r', b'\n', ..] => Ok(Some(2)),
            _ => Err("behind the boundary there is neither CRLF nor two dashes"),
        };
    };
    match line.iter().find(|byte| !matches!(byte, b' ' | b'\t')) {
        None | Some(b'\r' | b'\n') => Ok(None),
        Some(_) => Err("behind the closing boundary the line goes on"),
    }
}
