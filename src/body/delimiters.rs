//! Finds the boundary of a multipart form: in its `Content-Type`, and in a body that may still arrive.

use std::borrow::Cow;

use memchr::memmem::Finder;

use super::parameters::split;

/// Upper bound of parts. The vendor's forms have three at most.
pub(super) const PARTS_MAX: usize = 32;
const BOUNDARY_BYTES_MAX: usize = 256;
/// Upper bound of boundary positions that are remembered, more than an accepted form can have.
const FOUND_MAX: usize = 2 * PARTS_MAX;

/// Positions of the delimiter, two dashes and the boundary, in a body.
pub(super) struct Delimiters {
    pub(super) finder: Finder<'static>,
    /// The first positions, in order: all that are below `searched`.
    found: Vec<usize>,
    searched: usize,
}

impl Delimiters {
    /// Takes the boundary from a `Content-Type`; nothing is searched yet.
    pub(super) fn of(content_type: Option<&[u8]>) -> Result<Self, &'static str> {
        let boundary = content_type.ok_or("Content-Type is absent or stands twice").and_then(boundary)?;
        let delimiter = [b"--", &*boundary].concat();
        Ok(Self { finder: Finder::new(&delimiter).into_owned(), found: Vec::new(), searched: 0 })
    }

    /// Searches the bytes that were added since the last call. `beginning` is the body so far.
    pub(super) fn search(&mut self, beginning: &[u8]) {
        while self.found.len() < FOUND_MAX {
            let Some(at) = self.finder.find(&beginning[self.searched..]) else {
                // The last bytes may be the beginning of a delimiter that is still incomplete, so they are searched
                // again.
                let cut = self.finder.needle().len() - 1;
                self.searched = self.searched.max(beginning.len().saturating_sub(cut));
                return;
            };
            self.found.push(self.searched + at);
            self.searched += at + 1;
        }
    }

    /// The first position in a body at or after `from`.
    pub(super) fn find(&self, body: &[u8], from: usize) -> Option<usize> {
        let known = self.found.iter().copied().find(|&at| at >= from);
        known.or_else(|| {
            let from = from.max(self.searched);
            Some(from + self.finder.find(body.get(from..)?)?)
        })
    }
}

/// The boundary in a multipart `Content-Type`. An error if parsers may read different ones.
fn boundary(content_type: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    const WANTED: &str =
        "Content-Type does not tell one boundary plainly; send multipart/form-data; boundary=…";
    let (kind, parameters) = split(content_type);
    let is_multipart = kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"));
    // Some parsers split at commas if one comes first, and a backslash may hide what follows it.
    if !is_multipart || kind.contains(&b',') || content_type.contains(&b'\\') {
        return Err(WANTED);
    }
    let mut found = None;
    for parameter in parameters {
        let (name, value) = parameter.map_err(|_| WANTED)?;
        let is_boundary = name.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"boundary"));
        // `boundary*` is the same parameter in another encoding.
        if is_boundary && (name.len() > 8 || found.replace(value).is_some()) {
            return Err(WANTED);
        }
    }
    found.filter(|boundary| is_plain(boundary)).ok_or(WANTED)
}

/// Whether a boundary is the same for parsers that trim it, decode it or end it early.
fn is_plain(boundary: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    matches!(boundary.len(), 1..=BOUNDARY_BYTES_MAX)
        && boundary.iter().all(plain)
        && memchr::memmem::find(boundary, b"=?").is_none()
}
