//! Header fields of an answer, kept as the lines they will be on the wire. Pure.
//!
//! An answer's fields are written once, looked at a few times and sent: a map that hashes every name and shares every
//! value was a twelfth of the instructions of a push.

use std::ops::{Deref, Range};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that the gateway adds to an answer, a request id and six about its budget: room for them is made at once.
const FIELDS_TO_COME: usize = 8;
/// Room for the text of these fields, in bytes.
const BYTES_TO_COME: usize = 256;
/// Bytes of a name that are put in title case at once.
const WORD_BYTES: usize = 16;

/// The value of a header field. It cannot hold a line end, wherever it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldValue<'v>(&'v [u8]);

impl<'v> FieldValue<'v> {
    /// From bytes that a parser of heads found to be a value.
    pub(crate) fn parsed(value: &'v [u8]) -> Self {
        debug_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "a value has no line end");
        Self(value)
    }

    /// The bytes of the value.
    pub fn bytes(self) -> &'v [u8] {
        self.0
    }

    /// As a text, if it is ASCII.
    pub fn text(self) -> Option<&'v str> {
        std::str::from_utf8(self.0).ok().filter(|text| text.is_ascii())
    }

    /// As a number, if it is digits alone and fits.
    pub fn number(self) -> Option<u64> {
        number(self.0)
    }
}

impl Deref for FieldValue<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl<'v> From<&'v HeaderValue> for FieldValue<'v> {
    fn from(value: &'v HeaderValue) -> Self {
        Self(value.as_bytes())
    }
}

/// The value of a field that we write ourselves. Nothing that can be added holds a line end.
pub struct ValueWriter<'f>(&'f mut Vec<u8>);

impl ValueWriter<'_> {
    /// Adds a text of the gateway's own.
    #[inline]
    pub fn text(&mut self, words: &'static str) {
        self.0.extend_from_slice(words.as_bytes());
    }

    /// Adds a decimal number.
    pub fn number(&mut self, number: impl Into<u64>) {
        self.0.extend_from_slice(itoa::Buffer::new().format(number.into()).as_bytes());
    }

    /// Adds a value that came from somebody else.
    pub fn value<'v>(&mut self, value: impl Into<FieldValue<'v>>) {
        self.0.extend_from_slice(&value.into());
    }
}

/// Header fields in their order. Names are in title case: `X-Request-Id`.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    lines: Vec<FieldLine>,
}

/// The place of a line in the text, its end included.
#[derive(Clone, Copy, Debug)]
struct FieldLine {
    start: u32,
    name_end: u32,
    end: u32,
}

impl Fields {
    /// None yet; room is made for so many of so many bytes, and for those that the gateway adds.
    pub fn with_room(fields: usize, bytes: usize) -> Self {
        Self {
            text: Vec::with_capacity(bytes + BYTES_TO_COME),
            lines: Vec::with_capacity(fields + FIELDS_TO_COME),
        }
    }

    /// Adds a field behind the others.
    ///
    /// The parts of the value are known where this is called, so that most of them are copied without a call.
    #[inline]
    pub fn append(&mut self, name: &'static str, write: impl FnOnce(&mut ValueWriter<'_>)) {
        debug_assert_eq!(name, title_case(name), "or it is never found");
        let name = |text: &mut Vec<u8>| text.extend_from_slice(name.as_bytes());
        self.append_line(name, |text| write(&mut ValueWriter(text)));
    }

    /// Adds a field with the value of the first one of another name, if there is one.
    pub fn append_copy(&mut self, name: &'static str, of: &str) {
        let Some(line) = self.lines.iter().find(|line| line.is_named(&self.text, of)) else { return };
        let value = line.value_range();
        self.append_line(
            |text| text.extend_from_slice(name.as_bytes()),
            |text| text.extend_from_within(value),
        );
    }

    /// Adds a field as it was parsed.
    pub(crate) fn append_parsed(&mut self, field: &httparse::Header<'_>) {
        let value = FieldValue::parsed(field.value);
        self.append_line(
            |text| append_title_case(text, field.name.as_bytes()),
            |text| text.extend_from_slice(&value),
        );
    }

    #[inline]
    fn append_line(&mut self, name: impl FnOnce(&mut Vec<u8>), write: impl FnOnce(&mut Vec<u8>)) {
        let at = |length: usize| u32::try_from(length).expect("heads have limits of kilobytes");
        let start = self.text.len();
        name(&mut self.text);
        let name_end = self.text.len();
        self.text.extend_from_slice(b": ");
        write(&mut self.text);
        self.text.extend_from_slice(b"\r\n");
        self.lines.push(FieldLine { start: at(start), name_end: at(name_end), end: at(self.text.len()) });
    }

    /// Puts a field in the place of all of its name.
    pub fn set(&mut self, name: &'static str, write: impl FnOnce(&mut ValueWriter<'_>)) {
        self.remove(name);
        self.append(name, write);
    }

    /// Removes all fields of a name, which is spelled in title case.
    pub fn remove(&mut self, name: &str) {
        // Nearly always there is none, and looking costs less than keeping.
        if self.get(name).is_some() {
            self.retain(|known| known != name.as_bytes());
        }
    }

    /// Removes the fields whose names, in title case, are not wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(&[u8]) -> bool) {
        let text = &self.text;
        self.lines.retain(|line| is_wanted(line.name(text)));
    }

    /// The first field of a name, which is spelled in title case.
    pub fn get(&self, name: &str) -> Option<FieldValue<'_>> {
        let line = self.lines.iter().find(|line| line.is_named(&self.text, name))?;
        Some(line.value(&self.text))
    }

    /// The first field of each of these names, found by one look at all fields.
    pub fn first_of<const NAMES: usize>(&self, names: [&str; NAMES]) -> [Option<FieldValue<'_>>; NAMES] {
        let mut found = [None; NAMES];
        for line in &self.lines {
            let known = line.name(&self.text);
            if let Some(place) = names.iter().position(|name| name.as_bytes() == known) {
                found[place].get_or_insert_with(|| line.value(&self.text));
            }
        }
        found
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], FieldValue<'_>)> {
        self.lines.iter().map(|line| (line.name(&self.text), line.value(&self.text)))
    }

    /// A copy of the fields that some names are not.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let mut kept = self.clone();
        for name in names {
            kept.remove(name);
        }
        kept
    }

    /// Bytes of all lines, those that were removed included.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes that the fields hold in memory, about.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.lines.len() * size_of::<FieldLine>()
    }

    /// Writes the lines, each with its end.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        // Lines that stand side by side are copied together; most do, because few are removed.
        let mut run = 0..0;
        for line in &self.lines {
            if line.start as usize != run.end {
                bytes.extend_from_slice(&self.text[run]);
                run = line.start as usize..0;
            }
            run.end = line.end as usize;
        }
        bytes.extend_from_slice(&self.text[run]);
    }
}

/// A name as it is kept here.
pub fn title_case(name: &str) -> String {
    let mut bytes = Vec::new();
    append_title_case(&mut bytes, name.as_bytes());
    String::from_utf8(bytes).expect("the case of ASCII letters is no matter of UTF-8")
}

/// Appends a name in title case. It has room behind it meanwhile, so that whole words can be changed, each at once.
fn append_title_case(text: &mut Vec<u8>, name: &[u8]) {
    let start = text.len();
    text.extend_from_slice(name);
    text.extend_from_slice(&[0; WORD_BYTES]);
    let mut last = b'-';
    for word in text[start..].as_chunks_mut::<WORD_BYTES>().0 {
        *word = word_in_title_case(*word, last);
        last = word[WORD_BYTES - 1];
    }
    text.truncate(start + name.len());
}

/// A part of a name in title case, by the byte before it.
fn word_in_title_case(mut word: [u8; WORD_BYTES], last: u8) -> [u8; WORD_BYTES] {
    let mut before = [last; WORD_BYTES];
    before[1..].copy_from_slice(&word[..WORD_BYTES - 1]);
    for (byte, before) in word.iter_mut().zip(before) {
        let is_wrong = if before == b'-' { byte.is_ascii_lowercase() } else { byte.is_ascii_uppercase() };
        // The bit in which the cases differ.
        *byte ^= u8::from(is_wrong) << 5;
    }
    word
}

/// A number of digits alone; `None` if there is none, anything else, or if it does not fit.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

impl FieldLine {
    fn name(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.name_end as usize]
    }

    /// The length is compared first: it tells most names apart without a look at the text.
    #[inline]
    fn is_named(self, text: &[u8], name: &str) -> bool {
        (self.name_end - self.start) as usize == name.len() && self.name(text) == name.as_bytes()
    }

    fn value(self, text: &[u8]) -> FieldValue<'_> {
        FieldValue(&text[self.value_range()])
    }

    fn value_range(self) -> Range<usize> {
        self.name_end as usize + ": ".len()..self.end as usize - "\r\n".len()
    }
}

impl From<&Fields> for HeaderMap {
    fn from(fields: &Fields) -> Self {
        let field = |(name, value): (&[u8], FieldValue<'_>)| {
            Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(&value).ok()?))
        };
        fields.iter().filter_map(field).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_of_any_length_are_put_in_title_case(name in "[a-cX-Z0-9_é-]{0,50}") {
            let mut begins = true;
            let title = |letter: char| {
                let titled = if begins { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
                begins = letter == '-';
                titled
            };
            prop_assert_eq!(title_case(&name), name.chars().map(title).collect::<String>());
        }

        #[test]
        fn numbers_are_digits_alone(text in "[0-9]{0,21}|[0-9+ -]{0,4}") {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(number(text.as_bytes()), text.parse().ok().filter(|_| digits));
        }
    }

    fn written(fields: &Fields) -> String {
        let mut bytes = Vec::new();
        fields.write(&mut bytes);
        String::from_utf8(bytes).expect("ASCII")
    }

    #[test]
    fn fields_are_written_as_they_were_put_together() {
        let mut fields = Fields::with_room(4, 0);
        fields.append_parsed(&httparse::Header { name: "x-ONE", value: b"1" });
        fields.append("Two", |value| {
            value.text("a=");
            value.number(2_u32);
        });
        fields.append_parsed(&httparse::Header { name: "two", value: b"" });
        assert_eq!(written(&fields), "X-One: 1\r\nTwo: a=2\r\nTwo: \r\n");
        assert_eq!(fields.get("X-One").as_deref(), Some(&b"1"[..]));
        let copy = fields.without(&["X-One"]);
        fields.set("Two", |value| value.value(FieldValue(b"new")));
        assert_eq!(written(&fields), "X-One: 1\r\nTwo: new\r\n");
        assert_eq!(written(&copy), "Two: a=2\r\nTwo: \r\n");
        assert_eq!((fields.get("Three"), fields.iter().count()), (None, 2));
        let map = HeaderMap::from(&fields);
        assert_eq!((map.len(), map["two"].as_bytes()), (2, &b"new"[..]));
    }
}
