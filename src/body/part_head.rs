//! Reads the head of a form's part: the field it is for, and whether its file name ends in `.txt`.
//!
//! The vendor's parser is not known. So a head is accepted only if all parsers find the same field in it; otherwise a
//! form could carry a file that no rule and no budget sees.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::parameters::{Unclear, is_token, split, split_at_byte};
use super::query::unescape;

/// The facts in a part's head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PartHead {
    /// Name of the field; empty if the part has none.
    pub(super) name: Vec<u8>,
    /// Whether its file name ends in `.txt`, in any case, or is encoded so that this cannot be told.
    pub(super) names_txt: bool,
}

impl PartHead {
    /// Parses a head, including the CRLF of its last line. The error says what can be read in more than one way.
    pub(super) fn parse(head: &[u8]) -> Result<Self, &'static str> {
        const LINES: &str = "a line of a part's head is not NAME: VALUE and CRLF";
        let mut found = None;
        for line in lines(head).ok_or(LINES)? {
            let (field, value) =
                split_at_byte(&line, b':').filter(|(field, _)| is_token(field)).ok_or(LINES)?;
            let value = value.trim_ascii();
            if field.eq_ignore_ascii_case(b"content-disposition") {
                if found.replace(Self::of_disposition(value)?).is_some() {
                    return Err("a part has two Content-Disposition lines");
                }
            } else if field.eq_ignore_ascii_case(b"content-type") && is_multipart(value) {
                return Err("a part is a multipart form itself");
            }
        }
        Ok(found.unwrap_or_default())
    }

    fn of_disposition(disposition: &[u8]) -> Result<Self, &'static str> {
        let (kind, parameters) = split(disposition);
        if !kind.eq_ignore_ascii_case(b"form-data") {
            return Err("a part's Content-Disposition is not form-data");
        }
        let (mut name, mut file) = (None, FileName::default());
        for parameter in parameters {
            let (key, value) = parameter.map_err(
                |Unclear| "a Content-Disposition has quotes or blanks that are not around a value",
            )?;
            let key = key.to_ascii_lowercase();
            if key.starts_with(b"name*") || (key == b"name" && !is_plain(&value)) {
                return Err("a part's name is encoded or has blanks around it");
            }
            file.take(&key, &value);
            if key == b"name" {
                name = Some(value);
            }
        }
        if count_names(disposition) != usize::from(name.is_some()) {
            return Err("a Content-Disposition says name= twice, or inside of quotes");
        }
        Ok(Self { name: name.unwrap_or_default().into_owned(), names_txt: file.is_txt() })
    }
}

/// The lines of a head, folded ones joined by a blank. `None` if one does not end in CRLF, the first is a continuation,
/// or there are control characters.
fn lines(head: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let mut lines: Vec<Cow<'_, [u8]>> = Vec::new();
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r\n")?;
        if line.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
            return None;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            let folded = lines.last_mut()?.to_mut();
            folded.push(b' ');
            folded.extend_from_slice(line.trim_ascii_start());
        } else {
            lines.push(Cow::Borrowed(line));
        }
    }
    Some(lines)
}

fn is_multipart(content_type: &[u8]) -> bool {
    content_type.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
}

/// Counts the places that look like the name of a part. Parsers find different parameters after a backslash in quotes,
/// and some ignore quotes altogether; but none finds a name where there is no such text.
fn count_names(disposition: &[u8]) -> usize {
    let text = disposition.to_ascii_lowercase();
    let looks_like_one = |&at: &usize| {
        let next = text[at + b"name".len()..].trim_ascii_start().first();
        matches!(text[..at].last(), Some(b';' | b' ' | b'\t')) && matches!(next, Some(b'=' | b'*'))
    };
    memmem::find_iter(&text, b"name").filter(looks_like_one).count()
}

/// Whether a name is the same for parsers that trim it and for those that decode it.
fn is_plain(name: &[u8]) -> bool {
    name.trim_ascii() == name
        && memmem::find(name, b"=?").is_none()
        && !name.iter().any(|byte| matches!(byte, b'"' | b'%' | b'\\'))
}

/// The file name of a part, collected from its parameters.
#[derive(Default)]
struct FileName {
    is_txt: bool,
    /// Decoded pieces of a name that is split (RFC 2231).
    pieces: Vec<u8>,
}

impl FileName {
    fn take(&mut self, key: &[u8], value: &[u8]) {
        match key.strip_prefix(b"filename") {
            Some(b"") => self.is_txt |= ends_in_txt(value) || words_end_in_txt(value),
            // RFC 5987: older clients send names beyond ASCII so, percent-encoded.
            Some(b"*") => self.is_txt |= ends_in_txt(&unescape(value, b'%', b' ')),
            Some([b'*', .., b'*']) => self.pieces.extend(unescape(value, b'%', b' ')),
            Some([b'*', ..]) => self.pieces.extend_from_slice(value),
            _ => {}
        }
    }

    fn is_txt(&self) -> bool {
        self.is_txt || ends_in_txt(&self.pieces)
    }
}

/// Whether a file name ends in `.txt`, in any case.
pub(super) fn ends_in_txt(name: &[u8]) -> bool {
    let name = name.trim_ascii_end();
    name.len().checked_sub(4).is_some_and(|stem| name[stem..].eq_ignore_ascii_case(b".txt"))
}

/// The same for a name in encoded words (RFC 2047), as Spring's `RestTemplate` and Python's email write it. A word that
/// cannot be decoded counts as good.
fn words_end_in_txt(name: &[u8]) -> bool {
    let mut text = Vec::new();
    for word in name.split(u8::is_ascii_whitespace) {
        match word.strip_prefix(b"=?").map(decode_word) {
            None => text.extend_from_slice(word),
            Some(Some(decoded)) => text.extend(decoded),
            Some(None) => return true,
        }
    }
    ends_in_txt(&text)
}

/// Decodes a word whose `=?` is cut off. `None` for charsets that do not write ASCII as it is.
fn decode_word(word: &[u8]) -> Option<Vec<u8>> {
    let mut fields = word.strip_suffix(b"?=")?.splitn(3, |&byte| byte == b'?');
    let charset = fields.next()?.to_ascii_lowercase();
    let (encoding, text) = (fields.next()?, fields.next()?);
    match encoding {
        _ if charset.starts_with(b"utf-16") || charset.starts_with(b"utf-32") => None,
        b"B" | b"b" => STANDARD.decode(text).ok(),
        b"Q" | b"q" => Some(unescape(text, b'=', b'_')),
        _ => None,
    }
}
